/* One connection: datagrams in, trains out, timers, streams, and its end. */
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "proto/quic_priv.h"
#include "proto/quic_reach.h"

enum {
  TRAIN_PACKETS_MIN = 10,
  TRAIN_PACKETS_MAX = 44,    /* 64 KiB at 1472 bytes: what one GSO send takes */
  OUTPUT_ROUNDS_MAX = 16384, /* of one packet: more than there can be streams that are blocked */
};

enum quic_state quic_state(const struct quic_conn *conn) { return conn->state; }
void *quic_owner(const struct quic_conn *conn) { return conn->owner; }
void quic_set_owner(struct quic_conn *conn, void *owner) { conn->owner = owner; }
const char *quic_name(const struct quic_conn *conn) { return conn->name; }
const char *quic_reason(const struct quic_conn *conn) { return conn->reason; }
bool quic_failed(const struct quic_conn *conn) { return conn->end >= END_FAILED; }

bool quic_refused(const struct quic_conn *conn) { return conn->end == END_REFUSED; }

bool quic_silent(const struct quic_conn *conn) { return conn->end == END_SILENT; }
bool quic_confirmed(const struct quic_conn *conn) { return conn->confirmed; }

static struct address address_of(const ngtcp2_addr *from) {
  struct address address = {.len = 0};
  if (from->addr != NULL)
    address_set(&address, (const struct sockaddr *)(const void *)from->addr, from->addrlen);
  return address;
}

struct address quic_peer(const struct quic_conn *conn) {
  return address_of(&ngtcp2_conn_get_path2(conn->ngtcp2)->remote);
}

struct address quic_local(const struct quic_conn *conn) {
  return address_of(&ngtcp2_conn_get_path2(conn->ngtcp2)->local);
}

void quic_stats(const struct quic_conn *conn, struct quic_stats *stats) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->ngtcp2, &info);
  *stats = (struct quic_stats){
      .rtt_latest_ns = info.latest_rtt,
      .rtt_min_ns = info.min_rtt == UINT64_MAX ? 0 : info.min_rtt,
      .rtt_smoothed_ns = info.smoothed_rtt,
      .cwnd = info.cwnd,
      .bytes_in_flight = info.bytes_in_flight,
      .packets_sent = info.pkt_sent,
      .packets_received = info.pkt_recv,
      .packets_discarded = info.pkt_discarded,
      .packets_lost = info.pkt_lost,
      .packets_repeated = conn->repeat.packets,
      .bytes_sent = info.bytes_sent,
      .bytes_received = info.bytes_recv,
      .mtu = ngtcp2_conn_get_path_max_tx_udp_payload_size2(conn->ngtcp2),
  };
}

void quic_mark_ready(struct quic_conn *conn) {
  if (list_empty(&conn->ready))
    list_push(&conn->endpoint->ready, &conn->ready);
}

static bool is_over(const struct quic_conn *conn) { return conn->state >= QUIC_CLOSING; }

/* The end */

static void become_closed(struct quic_conn *conn) {
  conn->state = QUIC_CLOSED;
  quic_mark_ready(conn);
}

/* RFC 9000 section 10.2: long enough for what is still on the way, and for the peer's retransmissions. */
static void become_closing(struct quic_conn *conn, enum quic_closing how, uint64_t now_ns) {
  must(!is_over(conn));
  conn->state = QUIC_CLOSING;
  conn->closing = (uint8_t)how;
  conn->closed_ns = now_ns + 3 * ngtcp2_conn_get_pto2(conn->ngtcp2);
  quic_mark_ready(conn);
}

static void peer_closed(struct quic_conn *conn, uint64_t now_ns) {
  quic_say_error(conn, ngtcp2_conn_get_ccerr2(conn->ngtcp2), true); /* unless a stateless reset was recorded */
  become_closing(conn, CLOSING_DRAINS, now_ns);
}

static void tls_failed(struct quic_conn *conn) {
  enum { HANDSHAKE_FAILURE = 40 };
  uint8_t alert = ngtcp2_conn_get_tls_alert2(conn->ngtcp2);
  char reason[TLS_REASON_MAX];
  if (conn->error.error_code == 0)
    ngtcp2_ccerr_set_tls_alert(&conn->error, alert != 0 ? alert : HANDSHAKE_FAILURE, NULL, 0);
  quic_say(conn, END_FAILED, "handshake: %s", tls_failure(conn->tls, alert, reason));
}

/* ngtcp2 has returned |result|, which is not 0. */
static void settle(struct quic_conn *conn, int result, uint64_t now_ns) {
  switch (result) {
  case NGTCP2_ERR_DRAINING:
    peer_closed(conn, now_ns);
    return;
  case NGTCP2_ERR_IDLE_CLOSE: /* RFC 9000 section 10.1: silently */
    quic_say(conn, END_SILENT, conn->confirmed ? "idle timeout" : "handshake timeout");
    become_closed(conn);
    return;
  case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
    quic_say(conn, END_FAILED, "handshake timeout");
    become_closed(conn);
    return;
  case NGTCP2_ERR_DROP_CONN:
    quic_say(conn, END_FAILED, "handshake: the first packet was not usable");
    become_closed(conn);
    return;
  case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
    quic_say(conn, END_FAILED, "handshake: the peer does not speak QUIC version 1");
    become_closed(conn);
    return;
  case NGTCP2_ERR_CRYPTO:
    tls_failed(conn);
    break;
  default:
    if (conn->error.error_code == 0) {
      ngtcp2_ccerr_set_liberr(&conn->error, result, NULL, 0);
      quic_say(conn, END_FAILED, "%s", ngtcp2_strerror(result));
    }
  }
  quic_say_error(conn, &conn->error, false);
  become_closing(conn, CLOSING_UNSENT, now_ns);
}

/* Nothing went wrong in ngtcp2, but the path may. */
static void follow_path(struct quic_conn *conn, uint64_t now_ns) {
  const char *fault = quic_path_follow(conn, now_ns);
  if (fault == NULL || is_over(conn))
    return;
  ngtcp2_ccerr_set_liberr(&conn->error, NGTCP2_ERR_INTERNAL, NULL, 0);
  quic_say(conn, END_FAILED, "%s", fault);
  become_closing(conn, CLOSING_UNSENT, now_ns);
}

void quic_close(struct quic_conn *conn, uint64_t code, const char *reason, uint64_t now_ns) {
  if (is_over(conn))
    return;
  size_t len = strnlen(reason, sizeof conn->phrase);
  memcpy(conn->phrase, reason, len);
  ngtcp2_ccerr_set_application_error(&conn->error, code, (const uint8_t *)conn->phrase, len);
  quic_say_error(conn, &conn->error, false);
  become_closing(conn, CLOSING_UNSENT, now_ns);
}

void quic_give_up(struct quic_conn *conn, const char *reason) {
  if (is_over(conn))
    return;
  quic_say(conn, END_SILENT, "%s", reason);
  become_closed(conn);
}

void quic_free(struct quic_conn *conn) {
  struct quic_endpoint *endpoint = conn->endpoint;
  quic_cc_use(NULL);
  if (conn->app == NULL) {
    must(endpoint->half_open > 0);
    endpoint->half_open--;
  }
  list_remove(&conn->ready);
  list_remove(&conn->all);
  for (size_t i = 0; i < QUIC_CIDS_MAX; i++)
    if (conn->routes[i].conn != NULL)
      quic_route_remove(conn, &conn->routes[i].cid);
  ngtcp2_conn_del(conn->ngtcp2);
  tls_session_close(conn->tls);
  pool_put(&endpoint->conns, conn);
}

/* In */

/* RFC 9000 section 10.2.1: the answers get rarer. */
static void closing_received(struct quic_conn *conn) {
  conn->close_received++;
  if (conn->closing != CLOSING_QUIET || conn->close_received < 2 * conn->close_answered)
    return;
  conn->close_answered = conn->close_received;
  conn->closing = CLOSING_REPEAT;
  quic_mark_ready(conn);
}

int quic_conn_receive(struct quic_conn *conn, const ngtcp2_path *path, const uint8_t *data, size_t len,
                      uint64_t now_ns) {
  if (conn->state == QUIC_CLOSED)
    return 0;
  if (conn->state == QUIC_CLOSING) {
    closing_received(conn);
    return 0;
  }
  ngtcp2_path single = *path;
  if (!conn->endpoint->settings.server) /* the address of our own end is the kernel's to change */
    single.local = ngtcp2_conn_get_path2(conn->ngtcp2)->local;
  quic_cc_use(conn);
  int result = ngtcp2_conn_read_pkt(conn->ngtcp2, &single, NULL, data, len, now_ns);
  conn->hold.owed_packets++;
  conn->hold.owed_bytes += (uint32_t)len;
  quic_mark_ready(conn);
  if (result == NGTCP2_ERR_RETRY)
    return result;
  if (result != 0)
    settle(conn, result, now_ns);
  else
    follow_path(conn, now_ns);
  return result == NGTCP2_ERR_DROP_CONN ? result : 0;
}

/* Out */

/* What the application has to send next; nothing while the connection's flow control limit is reached, else ngtcp2
   would take its streams for blocked by their own. */
size_t quic_next_output(struct quic_conn *conn, int64_t *stream, bool *fin, struct iovec vecs[QUIC_OUTPUT_VECS]) {
  *stream = -1;
  *fin = false;
  if (conn->app == NULL || ngtcp2_conn_get_max_data_left2(conn->ngtcp2) == 0)
    return 0;
  return conn->ops->output(conn->app, stream, fin, vecs);
}

_Static_assert(sizeof(struct iovec) == sizeof(ngtcp2_vec) &&
                   offsetof(struct iovec, iov_len) == offsetof(ngtcp2_vec, len) &&
                   offsetof(struct iovec, iov_base) == offsetof(ngtcp2_vec, base),
               "an iovec is an ngtcp2_vec");

/* One packet, of frames of as many streams as fit; |*fresh| is set when it has new data. Between two calls for the same
   packet ngtcp2 may not be called otherwise (NGTCP2_ERR_WRITE_MORE), so a packet is always finished, at last without a
   stream. */
static ngtcp2_ssize fill_packet(struct quic_conn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *out,
                                size_t size, bool *fresh, ngtcp2_tstamp now_ns) {
  for (unsigned round = 0;; round++) {
    struct iovec vecs[QUIC_OUTPUT_VECS];
    int64_t stream = -1;
    bool fin = false;
    size_t count = round < OUTPUT_ROUNDS_MAX ? quic_next_output(conn, &stream, &fin, vecs) : 0;
    /* Padding keeps a train going over a packet that the last frame left not quite full. The packet that ends the data
       ends the train: it is as small as it can be. */
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
    ngtcp2_ssize taken = -1;
    if (count == QUIC_OUTPUT_FAILED)
      return quic_app_failed(conn);
    if (stream < 0)
      count = 0;
    else
      flags = NGTCP2_WRITE_STREAM_FLAG_MORE | NGTCP2_WRITE_STREAM_FLAG_PADDING;
    if (stream >= 0 && fin)
      flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
    ngtcp2_ssize written = ngtcp2_conn_writev_stream(conn->ngtcp2, path, info, out, size, &taken, flags, stream,
                                                     (const ngtcp2_vec *)(const void *)vecs, count, now_ns);
    if (taken >= 0 && stream >= 0) {
      *fresh = true;
      conn->repeat.blocked = false;
    }
    if (taken >= 0 && stream >= 0 && conn->ops->output_written(conn->app, stream, (size_t)taken) != ERR_OK)
      return quic_app_failed(conn);
    switch (written) {
    case NGTCP2_ERR_WRITE_MORE:
      break;
    case NGTCP2_ERR_STREAM_DATA_BLOCKED:
      conn->repeat.blocked = true;
      conn->ops->output_blocked(conn->app, stream);
      break;
    case NGTCP2_ERR_STREAM_NOT_FOUND:
    case NGTCP2_ERR_STREAM_SHUT_WR:
      conn->ops->output_shut(conn->app, stream);
      break;
    default:
      return written;
    }
  }
}

static ngtcp2_ssize write_packet(ngtcp2_conn *ngtcp2, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *out,
                                 size_t size, ngtcp2_tstamp now_ns, void *user) {
  struct quic_conn *conn = user;
  int64_t before = quic_reach_last_number(ngtcp2);
  bool fresh = false;
  ngtcp2_ssize written = fill_packet(conn, path, info, out, size, &fresh, now_ns);
  if (written > 0)
    quic_repeat_written(conn, fresh, before, now_ns);
  return written;
}

/* clamp(what the pace allows in one go, 10 packets, 44 packets), but room for a probe of the path's MTU, and what the
   buffer holds. */
static size_t train_bytes(const struct quic_conn *conn, size_t size) {
  size_t packet = ngtcp2_conn_get_path_max_tx_udp_payload_size2(conn->ngtcp2);
  size_t probe = ngtcp2_conn_get_max_tx_udp_payload_size2(conn->ngtcp2);
  size_t bytes = ngtcp2_conn_get_send_quantum2(conn->ngtcp2);
  must(size >= packet);
  if (bytes < TRAIN_PACKETS_MIN * packet)
    bytes = TRAIN_PACKETS_MIN * packet;
  if (bytes > TRAIN_PACKETS_MAX * packet)
    bytes = TRAIN_PACKETS_MAX * packet;
  if (bytes < probe)
    bytes = probe;
  return bytes < size ? bytes : size;
}

static void set_train(struct quic_train *train, size_t len, size_t segment, const ngtcp2_path *path) {
  *train = (struct quic_train){
      .len = len, .segment_bytes = segment, .local = address_of(&path->local), .remote = address_of(&path->remote)};
}

/* CONNECTION_CLOSE is written once and kept, so that it can be repeated without state. */
static bool emit_close(struct quic_conn *conn, uint8_t *buffer, size_t size, struct quic_train *train,
                       uint64_t now_ns) {
  if (conn->closing == CLOSING_UNSENT) {
    ngtcp2_path_storage path;
    ngtcp2_path_storage_zero(&path);
    ngtcp2_ssize len = ngtcp2_conn_write_connection_close(conn->ngtcp2, &path.path, NULL, conn->close_packet,
                                                          sizeof conn->close_packet, &conn->error, now_ns);
    if (len <= 0) { /* no keys yet, or too much was sent to an unproven address */
      become_closed(conn);
      return false;
    }
    set_train(&conn->close_train, (size_t)len, (size_t)len, &path.path);
    conn->close_answered = 1;
  } else if (conn->closing != CLOSING_REPEAT) {
    return false;
  }
  conn->closing = CLOSING_QUIET;
  must(size >= conn->close_train.len);
  *train = conn->close_train;
  memcpy(buffer, conn->close_packet, train->len);
  return true;
}

static bool emit_failed(struct quic_conn *conn, int result, uint8_t *buffer, size_t size, struct quic_train *train,
                        uint64_t now_ns) {
  settle(conn, result, now_ns);
  return conn->state == QUIC_CLOSING && emit_close(conn, buffer, size, train, now_ns);
}

bool quic_emit(struct quic_conn *conn, uint8_t *buffer, size_t size, struct quic_train *train, uint64_t now_ns) {
  if (conn->state == QUIC_CLOSED)
    return false;
  if (conn->state == QUIC_CLOSING)
    return emit_close(conn, buffer, size, train, now_ns);
  size_t most = train_bytes(conn, size);
  if (!quic_repeat(conn, most, now_ns))
    return emit_failed(conn, NGTCP2_ERR_NOMEM, buffer, size, train, now_ns);
  if (quic_hold(conn, now_ns)) {
    quic_repeat_over(conn, now_ns);
    return false;
  }
  if (conn->hold.idle)
    quic_reach_rest(conn->ngtcp2, now_ns);
  ngtcp2_path_storage path;
  ngtcp2_path_storage_zero(&path);
  size_t segment = 0;
  quic_cc_use(conn);
  ngtcp2_ssize len =
      ngtcp2_conn_write_aggregate_pkt2(conn->ngtcp2, &path.path, NULL, buffer, most, &segment, write_packet, 0, now_ns);
  if (len < 0)
    return emit_failed(conn, (int)len, buffer, size, train, now_ns);
  ngtcp2_conn_update_pkt_tx_time(conn->ngtcp2, now_ns);
  conn->hold.idle = false;
  if (len == 0) {
    quic_hold_over(conn);
    quic_repeat_over(conn, now_ns);
    return false;
  }
  set_train(train, (size_t)len, segment, &path.path);
  return true;
}

/* Timers */

static uint64_t ngtcp2_expiry(const struct quic_conn *conn) {
  if (conn->hold.until_ns != 0 && conn->state == QUIC_OPEN)
    return conn->hold.until_ns;
  return conn->hold.idle ? quic_reach_expiry_idle(conn->ngtcp2, QUIC_HELD_NS) : ngtcp2_conn_get_expiry2(conn->ngtcp2);
}

uint64_t quic_expiry(const struct quic_conn *conn) {
  if (conn->state == QUIC_CLOSED)
    return UINT64_MAX;
  if (conn->state == QUIC_CLOSING)
    return conn->closed_ns;
  uint64_t at_ns = ngtcp2_expiry(conn);
  return conn->repeat.due_ns < at_ns ? conn->repeat.due_ns : at_ns;
}

void quic_expire(struct quic_conn *conn, uint64_t now_ns) {
  if (quic_expiry(conn) > now_ns)
    return;
  if (conn->state == QUIC_CLOSING) {
    become_closed(conn);
    return;
  }
  if (conn->hold.idle)
    quic_reach_rest(conn->ngtcp2, now_ns);
  conn->hold.urgent = true;
  quic_cc_use(conn);
  int result = quic_path_expire(conn, now_ns);
  if (result != 0)
    settle(conn, result, now_ns);
  else
    follow_path(conn, now_ns);
  quic_mark_ready(conn);
}

/* Streams */

static enum err open_result(int result) {
  switch (result) {
  case 0:
    return ERR_OK;
  case NGTCP2_ERR_NOMEM:
    return ERR_NO_MEMORY;
  default:
    return ERR_AGAIN;
  }
}

enum err quic_open_stream(struct quic_conn *conn, int64_t *stream) {
  return is_over(conn) ? ERR_LINK_DOWN : open_result(ngtcp2_conn_open_bidi_stream(conn->ngtcp2, stream, NULL));
}

enum err quic_open_uni_stream(struct quic_conn *conn, int64_t *stream) {
  return is_over(conn) ? ERR_LINK_DOWN : open_result(ngtcp2_conn_open_uni_stream(conn->ngtcp2, stream, NULL));
}

uint64_t quic_streams_left(const struct quic_conn *conn) {
  return conn->state == QUIC_OPEN ? ngtcp2_conn_get_streams_bidi_left2(conn->ngtcp2) : 0;
}

void quic_credit(struct quic_conn *conn, uint64_t len) {
  if (!is_over(conn))
    ngtcp2_conn_extend_max_offset(conn->ngtcp2, len);
}

/* The results are ignored where a stream that is gone, or out of memory, which the next write finds, are all there is
   to say. */
void quic_stream_credit(struct quic_conn *conn, int64_t stream, uint64_t len) {
  if (is_over(conn))
    return;
  conn->hold.owed_bytes += len < UINT16_MAX ? (uint32_t)len : UINT16_MAX;
  (void)ngtcp2_conn_extend_max_stream_offset(conn->ngtcp2, stream, len);
}

void quic_stream_reset(struct quic_conn *conn, int64_t stream, uint64_t code) {
  if (is_over(conn))
    return;
  conn->hold.urgent = true;
  (void)ngtcp2_conn_shutdown_stream_write(conn->ngtcp2, 0, stream, code);
}

void quic_stream_stop(struct quic_conn *conn, int64_t stream, uint64_t code) {
  if (is_over(conn))
    return;
  conn->hold.urgent = true;
  (void)ngtcp2_conn_shutdown_stream_read(conn->ngtcp2, 0, stream, code);
}
