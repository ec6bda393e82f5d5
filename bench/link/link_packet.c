/* Only what a middle box looks at: UDP directly after the IP header. Checksums are changed by the difference, as
   RFC 1624 has it, so that a wrong one stays wrong. */
#include "link/link_packet.h"

#include <string.h>

#include "base/must.h"

enum {
  IPV4_HEADER = 20,
  IPV6_HEADER = 40,
  UDP_HEADER = 8,
  UDP_CHECKSUM = 6,
  PROTOCOL_ICMP = 1,
  PROTOCOL_UDP = 17,
  PROTOCOL_ICMPV6 = 58,
  DONT_FRAGMENT = 0x40,
};

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void put16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void find_udp(struct link_packet *packet, size_t header, uint8_t protocol) {
  if (protocol != PROTOCOL_UDP || packet->len < header + UDP_HEADER)
    return;
  size_t udp_len = get16(packet->bytes + header + 4);
  if (udp_len < UDP_HEADER || udp_len > packet->len - header)
    return;
  packet->udp = header;
  packet->payload_len = udp_len - UDP_HEADER;
}

struct link_packet link_packet_read(uint8_t *bytes, size_t len) {
  struct link_packet packet = {.bytes = bytes, .len = len};
  int version = len > 0 ? bytes[0] >> 4 : 0;
  if (version == 4 && len >= IPV4_HEADER) {
    packet.version = 4;
    packet.multicast = bytes[16] >= 224;
    size_t header = (size_t)(bytes[0] & 15) * 4;
    bool fragment = (get16(bytes + 6) & 0x3fff) != 0;
    if (header >= IPV4_HEADER && !fragment)
      find_udp(&packet, header, bytes[9]);
  } else if (version == 6 && len >= IPV6_HEADER) {
    packet.version = 6;
    bool link_local = bytes[24] == 0xfe && (bytes[25] & 0xc0) == 0x80;
    packet.multicast = bytes[24] == 0xff || link_local;
    find_udp(&packet, IPV6_HEADER, bytes[6]);
  }
  return packet;
}

uint16_t link_packet_port(const struct link_packet *packet, size_t which) {
  must(packet->udp > 0);
  return get16(packet->bytes + packet->udp + which);
}

/* The word at |offset|, even within the UDP datagram, gets the value |word|. */
static void put_summed(struct link_packet *packet, size_t offset, uint16_t word) {
  uint8_t *at = packet->bytes + packet->udp + offset, *checksum = packet->bytes + packet->udp + UDP_CHECKSUM;
  uint16_t old = get16(at), sum = get16(checksum);
  put16(at, word);
  if (sum == 0) /* IPv4 without a checksum */
    return;
  uint32_t changed = (uint32_t)(uint16_t)~sum + (uint16_t)~old + word;
  changed = (changed & 0xffff) + (changed >> 16);
  changed = (changed & 0xffff) + (changed >> 16);
  uint16_t now = (uint16_t)~changed;
  put16(checksum, now != 0 ? now : 0xffff);
}

void link_packet_set_port(struct link_packet *packet, size_t which, uint16_t port) {
  must(packet->udp > 0);
  put_summed(packet, which, port);
}

void link_packet_corrupt(struct link_packet *packet, uint64_t random) {
  uint64_t bit = random % (packet->len * 8);
  packet->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

bool link_packet_mangle(struct link_packet *packet, uint64_t random) {
  if (packet->udp == 0 || packet->payload_len < 2)
    return false;
  size_t words = packet->payload_len / 2, offset = UDP_HEADER + random % words * 2;
  uint16_t bit = (uint16_t)(1U << (random >> 32) % 16);
  put_summed(packet, offset, (uint16_t)(get16(packet->bytes + packet->udp + offset) ^ bit));
  return true;
}

/* FNV-1a, 64 bits. */
static uint64_t hash(uint64_t value, const uint8_t *bytes, size_t len) {
  for (size_t i = 0; i < len; i++)
    value = (value ^ bytes[i]) * 0x100000001b3;
  return value;
}

bool link_packet_initial(const struct link_packet *packet, uint64_t *connection) {
  if (packet->udp == 0 || packet->payload_len < 7)
    return false;
  const uint8_t *at = packet->bytes + packet->udp + UDP_HEADER;
  uint32_t version = (uint32_t)get16(at + 1) << 16 | get16(at + 3);
  bool initial = (version == 1 && (at[0] & 0xf0) == 0xc0) || (version == 0x6b3343cf && (at[0] & 0xf0) == 0xd0);
  size_t source = 6 + (size_t)at[5]; /* its length byte */
  if (!initial || source >= packet->payload_len || source + 1 + at[source] > packet->payload_len)
    return false;
  size_t address = packet->version == 4 ? 12 : 8, address_len = packet->version == 4 ? 4 : 16;
  *connection = hash(0xcbf29ce484222325, packet->bytes + address, address_len);
  *connection = hash(*connection, packet->bytes + packet->udp, 2);
  *connection = hash(*connection, at + source, 1 + (size_t)at[source]);
  return true;
}

static uint16_t checksum(uint32_t sum, const uint8_t *bytes, size_t len) {
  for (size_t i = 0; i + 1 < len; i += 2)
    sum += get16(bytes + i);
  if (len % 2 == 1)
    sum += (uint32_t)bytes[len - 1] << 8;
  while (sum >> 16 != 0)
    sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static size_t too_big_4(const struct link_packet *packet, uint32_t mtu, uint8_t *out) {
  static const uint8_t router[] = {10, 77, 0, 254};
  size_t quoted = packet->len < 548 ? packet->len : 548; /* RFC 1812 section 4.3.2.3: 576 in all */
  size_t len = IPV4_HEADER + 8 + quoted;
  uint8_t *icmp = out + IPV4_HEADER;
  memset(out, 0, IPV4_HEADER + 8);
  out[0] = 0x45;
  put16(out + 2, (uint16_t)len);
  out[8] = 64;
  out[9] = PROTOCOL_ICMP;
  memcpy(out + 12, router, 4);
  memcpy(out + 16, packet->bytes + 12, 4);
  put16(out + 10, checksum(0, out, IPV4_HEADER));
  icmp[0] = 3; /* destination unreachable: */
  icmp[1] = 4; /* fragmentation needed and DF set */
  put16(icmp + 6, (uint16_t)mtu);
  memcpy(icmp + 8, packet->bytes, quoted);
  put16(icmp + 2, checksum(0, icmp, 8 + quoted));
  return len;
}

static size_t too_big_6(const struct link_packet *packet, uint32_t mtu, uint8_t *out) {
  static const uint8_t router[] = {0xfd, 0x77, [15] = 0xfe};
  size_t quoted = packet->len < LINK_ICMP_MAX - 48 ? packet->len : LINK_ICMP_MAX - 48;
  uint8_t *icmp = out + IPV6_HEADER;
  memset(out, 0, IPV6_HEADER + 8);
  out[0] = 0x60;
  put16(out + 4, (uint16_t)(8 + quoted));
  out[6] = PROTOCOL_ICMPV6;
  out[7] = 64;
  memcpy(out + 8, router, 16);
  memcpy(out + 24, packet->bytes + 8, 16);
  icmp[0] = 2; /* packet too big */
  put16(icmp + 6, (uint16_t)mtu);
  memcpy(icmp + 8, packet->bytes, quoted);
  /* The pseudo header is the addresses, the length and the protocol. */
  put16(icmp + 2, checksum((uint32_t)(8 + quoted) + PROTOCOL_ICMPV6, out + 8, 32 + 8 + quoted));
  return IPV6_HEADER + 8 + quoted;
}

size_t link_packet_too_big(const struct link_packet *packet, uint32_t mtu, uint8_t out[LINK_ICMP_MAX]) {
  if (packet->version == 4 && (packet->bytes[6] & DONT_FRAGMENT) != 0)
    return too_big_4(packet, mtu, out);
  if (packet->version == 6)
    return too_big_6(packet, mtu, out);
  return 0;
}
