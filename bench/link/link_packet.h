/* What the link reads of an IP packet, and writes to it. */
#ifndef PTP_BENCH_LINK_PACKET_H
#define PTP_BENCH_LINK_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINK_UDP_SOURCE_PORT = 0, LINK_UDP_DESTINATION_PORT = 2, LINK_ICMP_MAX = 1280 };

struct link_packet {
  uint8_t *bytes;
  size_t len;
  int version;        /* 4, 6, or 0: no IP */
  size_t udp;         /* offset of the UDP header; 0: there is none, or not a whole one */
  size_t payload_len; /* of the UDP datagram */
  bool multicast;     /* or of the local network: nothing a link between sites has */
};

/* |bytes| is borrowed by the result. */
struct link_packet link_packet_read(uint8_t *bytes, size_t len);

uint16_t link_packet_port(const struct link_packet *packet, size_t which);
/* Changes a port of a packet that has a UDP header, and its checksum. */
void link_packet_set_port(struct link_packet *packet, size_t which, uint16_t port);
/* Flips one bit anywhere; |random| says which. */
void link_packet_corrupt(struct link_packet *packet, uint64_t random);
/* Flips one bit of the UDP payload and makes the checksum right; false: there is no payload. */
bool link_packet_mangle(struct link_packet *packet, uint64_t random);

/* Whether the UDP payload begins with a QUIC Initial packet. If so |connection| is a number that is the same for all
   Initial packets that a client sends to set up one connection: of its source connection ID, address and port. */
bool link_packet_initial(const struct link_packet *packet, uint64_t *connection);

/* Writes what a router on the way, of address 10.77.0.254 or fd77::fe, answers to a packet larger than |mtu|. The
   length; 0: no answer (IPv4 that may be cut into fragments, or no IP at all). */
size_t link_packet_too_big(const struct link_packet *packet, uint32_t mtu, uint8_t out[LINK_ICMP_MAX]);

#endif
