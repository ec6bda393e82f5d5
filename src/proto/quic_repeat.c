/* Redundancy (transport.redundancy): when there is nothing else to send, what was sent last is sent a second time, so
   that the loss of one packet costs no round trip. A response of 70 packets has one lost in every second case at 1 %
   loss, and both copies of one in 140 cases.

   The copy follows a spacing behind the packet, so that a burst of losses does not take both, and only while there is
   no new data. On a link that is more than a quarter full, an application that pauses for a moment goes on before the
   pause is as long as the spacing: then nothing is sent twice in the middle of a transfer, only its end. A packet of
   half a round trip ago is not copied any more: its acknowledgement, or that it is missing, is known before a copy
   would arrive. So at most half a window is repeated after a long transfer, and a short message once.

   Copies are packets like others: they are paced, count in the congestion window, and their loss is detected and
   repaired. That of a packet which was copied is still a loss for congestion control, and repairs nothing. When probes
   are due, the link is worse than copies could help. */
#include "base/clock.h"
#include "proto/quic_priv.h"
#include "proto/quic_reach.h"

enum { SPACINGS_IN_RTT = 16, BURST_BYTES = 14720 };

#define SPACING_NS_MIN NS_PER_MS
#define RTT_NS_MIN (10 * NS_PER_MS) /* below it the ordinary recovery is as quick */

/* Data that waits for flow control is data: the next credit lets it go. */
static bool no_data(struct quic_conn *conn) {
  struct iovec vecs[QUIC_OUTPUT_VECS];
  int64_t stream;
  bool fin;
  if (conn->repeat.blocked || ngtcp2_conn_get_max_data_left2(conn->ngtcp2) == 0)
    return false;
  (void)quic_next_output(conn, &stream, &fin, vecs);
  return stream < 0;
}

/* Of the least round-trip time: a queue that copies might have made must not lead to more of them. */
static uint64_t spacing_ns(const ngtcp2_conn_info *info) {
  uint64_t spacing = info->min_rtt / SPACINGS_IN_RTT;
  return spacing > SPACING_NS_MIN ? spacing : SPACING_NS_MIN;
}

/* Bytes that may be in flight together with copies: three quarters of what the operator takes for the bandwidth-delay
   product, as BBR's own window is twice as large or, before it was ever full, anything; but ten packets at any time. */
static uint64_t flight_most(const struct quic_conn *conn, const ngtcp2_conn_info *info) {
  uint64_t most = conn->endpoint->settings.initial_window / 4 * 3;
  most = most > BURST_BYTES ? most : BURST_BYTES;
  return most < info->cwnd ? most : info->cwnd;
}

/* When the next packet is to be copied if no data comes; UINT64_MAX: not before something else happens. */
static uint64_t due(struct quic_conn *conn, const ngtcp2_conn_info *info, uint64_t now_ns) {
  uint64_t sent_ns;
  if (info->min_rtt < RTT_NS_MIN || info->min_rtt == UINT64_MAX || info->bytes_in_flight >= flight_most(conn, info) ||
      quic_reach_probes(conn->ngtcp2) > 0 || quic_reach_queued(conn->ngtcp2) ||
      !quic_reach_oldest(conn->ngtcp2, &conn->repeat.done, now_ns - info->min_rtt / 2, &sent_ns))
    return UINT64_MAX;
  if (info->bytes_in_flight >= flight_most(conn, info) / 3 && sent_ns < conn->repeat.fresh_ns)
    sent_ns = conn->repeat.fresh_ns;
  uint64_t at_ns = sent_ns + spacing_ns(info), pace_ns = quic_reach_pace(conn->ngtcp2);
  return at_ns > pace_ns ? at_ns : pace_ns;
}

static bool is_on(const struct quic_conn *conn) {
  return conn->endpoint->settings.redundancy && conn->state == QUIC_OPEN && conn->confirmed;
}

bool quic_repeat(struct quic_conn *conn, uint64_t bytes, uint64_t now_ns) {
  if (!is_on(conn))
    return true;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->ngtcp2, &info);
  if (due(conn, &info, now_ns) > now_ns || !no_data(conn))
    return true;
  if (bytes > flight_most(conn, &info) - info.bytes_in_flight)
    bytes = flight_most(conn, &info) - info.bytes_in_flight;
  uint64_t until_ns = now_ns - spacing_ns(&info);
  bool good = quic_reach_repeat(conn->ngtcp2, &conn->repeat.done, until_ns, bytes);
  conn->repeat.copies = quic_reach_queued(conn->ngtcp2);
  return good;
}

void quic_repeat_over(struct quic_conn *conn, uint64_t now_ns) {
  conn->repeat.due_ns = UINT64_MAX;
  if (!is_on(conn))
    return;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->ngtcp2, &info);
  if (!quic_reach_queued(conn->ngtcp2))
    conn->repeat.copies = false;
  if (no_data(conn))
    conn->repeat.due_ns = due(conn, &info, now_ns);
}

void quic_repeat_written(struct quic_conn *conn, bool fresh, int64_t before, uint64_t now_ns) {
  if (fresh)
    conn->repeat.fresh_ns = now_ns;
  else if (conn->repeat.copies)
    conn->repeat.packets += quic_reach_mark_copies(conn->ngtcp2, before);
}
