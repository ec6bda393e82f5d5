/* Parts of ngtcp2's connection for which it has no functions. */
#ifndef PTP_PROTO_QUIC_REACH_H
#define PTP_PROTO_QUIC_REACH_H

#include <ngtcp2/ngtcp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Probe timeouts one after the other, as the doubling counts them. */
size_t quic_reach_probes(const ngtcp2_conn *ngtcp2);
/* Undoes the doubling as far as the timeout is above |most_ns|; one that is without doubling stays. */
void quic_reach_end_doubling(ngtcp2_conn *ngtcp2, uint64_t most_ns, uint64_t now_ns);
/* Sends packets of up to |bytes| from now on, and searches for no larger size. */
void quic_reach_shrink(ngtcp2_conn *ngtcp2, size_t bytes);
/* Begins to search for the largest packet that passes; false: it does so already, or a new path is not proven yet. */
bool quic_reach_search(ngtcp2_conn *ngtcp2);

/* When a connection that has no data to send has something to do; UINT64_MAX: never. Not when its pace would allow the
   next packet, as there is none, and not before |held_ns| after the first packet came that is not acknowledged. */
uint64_t quic_reach_expiry_idle(ngtcp2_conn *ngtcp2, uint64_t held_ns);
/* Something that came in is not acknowledged yet. */
bool quic_reach_unacked(const ngtcp2_conn *ngtcp2);
/* What is not acknowledged yet is to be, in the packet that is written next. */
void quic_reach_ack_along(ngtcp2_conn *ngtcp2);

/* After a pass of writing: what was lost, or probes, wait for the pace, the congestion window, or the proof of a path.
 */
bool quic_reach_queued(const ngtcp2_conn *ngtcp2);

/* What is sent a second time (quic_repeat.c): packets in flight that carry stream data and are neither copies nor
   copied already.

   The number of the packet that was sent last. */
int64_t quic_reach_last_number(const ngtcp2_conn *ngtcp2);
/* When the oldest one behind number |*done| was sent, into |*sent_ns|; false: there is none. Those sent before
   |from_ns| are passed over: |*done| goes forward, so that none is looked at twice. */
bool quic_reach_oldest(const ngtcp2_conn *ngtcp2, int64_t *done, uint64_t from_ns, uint64_t *sent_ns);
/* Queues the data of those behind number |*done|, oldest first, that were sent until |until_ns| and are |bytes| long
   together, at least one. Their own loss is of no account from then on, the copies' is. Returns false when out of
   memory. */
bool quic_reach_repeat(ngtcp2_conn *ngtcp2, int64_t *done, uint64_t until_ns, uint64_t bytes);
/* What was sent behind number |before| and has stream data is copies; returns how many packets. */
uint64_t quic_reach_mark_copies(ngtcp2_conn *ngtcp2, int64_t before);
/* When the pace allows the next packet; 0: now. */
uint64_t quic_reach_pace(const ngtcp2_conn *ngtcp2);

/* Before anything is written, or a timer handled, after an idle time: ngtcp2 takes the time since its pace would have
   allowed a packet for delay of ours, and would send at twice the pace to make up for it. */
void quic_reach_rest(ngtcp2_conn *ngtcp2, uint64_t now_ns);

#endif
