/* What udp.c (opening, receiving, closing) and udp_send.c share. */
#ifndef PTP_IO_UDP_PRIV_H
#define PTP_IO_UDP_PRIV_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/list.h"
#include "io/ring_priv.h"
#include "io/udp.h"

enum {
  UDP_PIECES_MAX = 64, /* datagrams or sub-trains of one train that are sent at a time */
  UDP_PACKET_INFO_BYTES = CMSG_SPACE(sizeof(struct in6_pktinfo)),
  UDP_SEGMENT_BYTES = CMSG_SPACE(sizeof(uint16_t)),
};

struct udp_piece {
  struct msghdr message;
  struct iovec iov;
};

/* A train on its way out: one sendmsg as a rule; more when it has too many segments or the kernel refuses GSO. */
struct udp_slot {
  struct list node; /* in the socket's free list */
  struct udp *udp;
  struct ring_op op; /* all pieces in flight */
  uint8_t *buffer;
  struct udp_piece *pieces; /* UDP_PIECES_MAX */
  size_t len, segment_bytes;
  size_t offset, batch_offset; /* the next byte to send; the first of the pieces in flight */
  struct address remote;
  size_t info_bytes; /* of the packet info in `control` */
  bool gso;          /* the pieces in flight are trains */
  bool loud;         /* the socket had no room: wait until it has */
  bool again;        /* the kernel refused them as trains: send the same bytes split */
  bool split;        /* they are sent split because of that */
  /* The segment size comes first, so that a single datagram's control data begins after it. */
  _Alignas(struct cmsghdr) uint8_t control[UDP_SEGMENT_BYTES + UDP_PACKET_INFO_BYTES];
};

struct udp_received {
  uint16_t id;
  int32_t result;
};

struct udp {
  struct ring *ring;
  int fd;
  int family;
  bool connected, wildcard, closed;
  bool gso, gro, gso_told, refused;
  bool deaf;        /* until udp_listen */
  uint32_t failing; /* sends that failed one after the other, but for refusals and packets too large */
  struct address local, remote;
  uint64_t receive_granted, send_granted;
  struct ring_hook arm;
  struct ring_corpse corpse;

  struct ring_op receive;
  struct msghdr receive_message;
  struct ring_group group;
  uint32_t lent;                                     /* buffers that the kernel can choose from */
  struct udp_received received[UDP_RECEIVE_BUFFERS]; /* a queue of what it used */
  uint32_t received_first, received_count;
  int32_t held; /* the buffer of the train that udp_receive gave; -1: none */

  struct udp_slot slots[UDP_SEND_BUFFERS];
  struct list free_slots;
  struct udp_slot *current; /* that udp_send_buffer gave */

  uint8_t *memory; /* receive buffers, send buffers, pieces */
  size_t memory_bytes;
  struct udp_counters counters;
};

/* udp_send.c: prepares the slots, whose memory is at |buffers| and |pieces|. */
void udp_slots_init(struct udp *udp, uint8_t *buffers, struct udp_piece *pieces);
/* udp_socket.c: takes in what comes from now on. */
void udp_listen(struct udp *udp);
/* udp_socket.c: the socket with its options set, bound and connected; -1 with |what| failed and errno. */
int udp_socket(struct udp *udp, const struct udp_config *config, const char **what);

#endif
