/* What may wait for company. Acknowledgements, credit and what HTTP/3 owes its peer leave alone only when no data comes
   along for a while: a request, its response and the next request then are one datagram each, where every little thing
   would be a datagram of its own, that wakes the other end and is acknowledged by another.

   Nothing waits that somebody waits for. More than a few packets or bytes that are not acknowledged may be all that the
   peer's congestion window lets it send; lost packets, timers, resets and the last streams that the peer may open go at
   once, and so does what ngtcp2 has yet to send again: its timers count then. The delay is below max_ack_delay, which
   the peer's probe timeout adds (RFC 9002 section 6.2.1), and an acknowledgement tells how long it was delayed, so that
   neither probes nor round-trip times notice. */
#include "base/must.h"
#include "proto/quic_priv.h"
#include "proto/quic_reach.h"

enum {
  HELD_PACKETS_MAX = 8,
  HELD_BYTES_MAX = 8192, /* less than the smallest initial window, RFC 9002 section 7.2 */
};

static uint64_t packets_lost(const struct quic_conn *conn) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->ngtcp2, &info);
  return info.pkt_lost;
}

/* Nothing to send but, perhaps, what ngtcp2 itself has to say. */
static bool no_data(struct quic_conn *conn) {
  struct iovec vecs[QUIC_OUTPUT_VECS];
  int64_t stream;
  bool fin;
  (void)quic_next_output(conn, &stream, &fin, vecs);
  return stream < 0 && packets_lost(conn) == conn->hold.lost_packets;
}

static bool owes_little(const struct quic_conn *conn) {
  return conn->hold.owed_packets < HELD_PACKETS_MAX && conn->hold.owed_bytes < HELD_BYTES_MAX;
}

static bool may_hold(const struct quic_conn *conn, uint64_t now_ns) {
  return conn->state == QUIC_OPEN && conn->confirmed && !conn->hold.urgent && !conn->hold.writing &&
         !conn->hold.queued && owes_little(conn) && (conn->hold.until_ns == 0 || now_ns < conn->hold.until_ns);
}

bool quic_hold(struct quic_conn *conn, uint64_t now_ns) {
  bool may = may_hold(conn, now_ns);
  if (!may || conn->repeat.copies || !no_data(conn)) {
    conn->hold.writing = true;
    if (may)
      quic_reach_ack_along(conn->ngtcp2);
    return false;
  }
  conn->hold.idle = true;
  if (conn->hold.until_ns == 0 && conn->hold.owed_packets + conn->hold.owed_bytes > 0)
    conn->hold.until_ns = now_ns + QUIC_HELD_NS;
  return true;
}

void quic_hold_over(struct quic_conn *conn) {
  conn->hold.queued = quic_reach_queued(conn->ngtcp2);
  conn->hold.idle = conn->confirmed && !conn->hold.queued && owes_little(conn) && no_data(conn);
  conn->hold.writing = conn->hold.urgent = false;
  if (!quic_reach_unacked(conn->ngtcp2))
    conn->hold.owed_packets = conn->hold.owed_bytes = 0;
  conn->hold.until_ns = 0;
  conn->hold.lost_packets = packets_lost(conn);
}

/* The peer gets its streams back in batches, as long as it may open half of them without. */
static void give_streams_back(struct quic_conn *conn) {
  uint64_t left = conn->peer_streams_max - conn->peer_streams;
  if (conn->closed_streams == 0 || 2 * left > conn->endpoint->settings.max_streams)
    return;
  ngtcp2_conn_extend_max_streams_bidi(conn->ngtcp2, (size_t)conn->closed_streams);
  conn->peer_streams_max += conn->closed_streams;
  conn->closed_streams = 0;
  conn->hold.urgent = true;
}

void quic_stream_seen(struct quic_conn *conn, int64_t stream) {
  if (!conn->endpoint->settings.server || !ngtcp2_is_bidi_stream(stream))
    return;
  uint64_t count = (uint64_t)stream / 4 + 1; /* those with lower ids exist, too: RFC 9000 section 3.2 */
  if (count <= conn->peer_streams)
    return;
  must(count <= conn->peer_streams_max);
  conn->peer_streams = count;
  give_streams_back(conn);
}

void quic_stream_gone(struct quic_conn *conn) {
  conn->closed_streams++;
  give_streams_back(conn);
}
