/* UDP on a ring: trains of datagrams in (multishot recvmsg with GRO) and out (GSO). A train is a run of datagrams of
   one size, the last may be shorter, between the same two addresses (STACK.md D2, D3). */
#ifndef PTP_IO_UDP_H
#define PTP_IO_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/err.h"
#include "base/limits.h"
#include "io/ring.h"

struct udp;

struct udp_config {
  struct address bind;                              /* local address; port 0: any */
  struct address connect;                           /* the peer, when the socket serves one only; len 0: unconnected */
  uint64_t receive_buffer_bytes, send_buffer_bytes; /* asked of the kernel (SO_RCVBUFFORCE, then SO_RCVBUF) */
  /* Sockets of this process that share the port, and this one's number among them: they are opened in that order. Each
     hears nothing before its ring waits for the first time; then the kernel steers datagrams by the number that stands
     first in our connection IDs. 0 or 1: it has the port to itself. */
  uint16_t sharers, number;
};

/* A received train; everything is borrowed until udp_release. */
struct udp_train {
  const uint8_t *data;
  size_t len;
  size_t segment_bytes; /* the size of each datagram but the last: 1 .. len */
  struct address remote;
  struct address local;
};

struct udp_counters {
  uint64_t trains_received, datagrams_received, bytes_received;
  uint64_t trains_sent, datagrams_sent, bytes_sent;
  uint64_t truncated, send_errors, out_of_buffers;
};

/* Opens, binds (SO_REUSEADDR off; SO_REUSEPORT only for the sharers), sets buffers, IP_MTU_DISCOVER = PROBE, UDP_GRO,
   packet info when bound to the wildcard address, and starts to receive. ERR_SYSTEM: |reason| gets a sentence. */
must_use enum err udp_open(struct udp **udp, struct ring *ring, const struct udp_config *config, char *reason,
                           size_t reason_size);
/* Closes; memory goes when the last operation has completed (udp_bury). NULL is allowed. */
void udp_close(struct udp *udp);
/* Frees closed sockets of |ring| with nothing in flight: the tick's last step. */
void udp_bury(struct ring *ring);

/* The next received train, oldest first; false when there is none. One at a time: udp_release before the next. */
bool udp_receive(struct udp *udp, struct udp_train *train);
void udp_release(struct udp *udp);

/* A buffer of TRAIN_BYTES_MAX to write a train into; NULL when all are in flight: stop writing until udp_can_send. */
uint8_t *udp_send_buffer(struct udp *udp);
bool udp_can_send(const struct udp *udp);
/* Sends the |len| bytes in the buffer that udp_send_buffer gave last, as datagrams of |segment_bytes|, from |local|
   (len 0: as bound) to |remote| (ignored when connected); falls back to single datagrams when the kernel refuses GSO.
 */
void udp_send(struct udp *udp, const struct address *local, const struct address *remote, size_t len,
              size_t segment_bytes);

/* A connected socket was told by ICMP that nobody listens there; reading it resets it. */
bool udp_refused(struct udp *udp);

/* The last sends all failed: the address it is bound to, or the route, is gone. */
bool udp_failing(const struct udp *udp);

/* The address it is bound to (port resolved), and the local address that a connected socket uses. */
struct address udp_local(const struct udp *udp);
/* Buffers that the kernel granted, in bytes as setsockopt takes them (half of what it reports). */
uint64_t udp_receive_buffer_granted(const struct udp *udp);
uint64_t udp_send_buffer_granted(const struct udp *udp);
bool udp_gso(const struct udp *udp);
bool udp_gro(const struct udp *udp);
const struct udp_counters *udp_counters(const struct udp *udp);

#endif
