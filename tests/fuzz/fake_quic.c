#include "fuzz/fake_quic.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"

void fake_open(struct quic_conn *conn, bool server, struct quic_conn *peer) {
  *conn = (struct quic_conn){.server = server, .peer = peer, .next_bidi = server, .next_uni = 2 + server};
}

static struct fake_stream *stream_of(struct quic_conn *conn, int64_t id) {
  must(id >= 0 && id / 4 < FAKE_STREAMS);
  return &conn->streams[id % 4][id / 4];
}

static bool is_uni(int64_t id) { return (id & 2) != 0; }
static bool is_ours(const struct quic_conn *conn, int64_t id) { return ((id & 1) != 0) == conn->server; }

/* --- what h3 calls -------------------------------------------------------------------------------------------------
 */

static enum err open_stream(struct quic_conn *conn, int64_t *next, int64_t *id) {
  must(!conn->inside);
  if (*next / 4 >= FAKE_STREAMS)
    return ERR_AGAIN;
  *id = *next;
  *next += 4;
  stream_of(conn, *id)->used = true;
  return ERR_OK;
}

enum err quic_open_stream(struct quic_conn *conn, int64_t *stream) {
  return open_stream(conn, &conn->next_bidi, stream);
}

enum err quic_open_uni_stream(struct quic_conn *conn, int64_t *stream) {
  return open_stream(conn, &conn->next_uni, stream);
}

uint64_t quic_streams_left(const struct quic_conn *conn) { return FAKE_STREAMS - (uint64_t)conn->next_bidi / 4; }

void quic_credit(struct quic_conn *conn, uint64_t len) {
  conn->credited += len;
  must(conn->credited <= conn->received);
}

void quic_stream_credit(struct quic_conn *conn, int64_t id, uint64_t len) {
  struct fake_stream *stream = stream_of(conn, id);
  stream->credited += len;
  must(stream->credited <= stream->received);
}

void quic_stream_reset(struct quic_conn *conn, int64_t id, uint64_t code) {
  must(!conn->inside);
  struct fake_stream *stream = stream_of(conn, id);
  if (stream->fin_sent || stream->reset_sent)
    return;
  stream->reset_sent = true;
  stream->reset_code = code;
}

void quic_stream_stop(struct quic_conn *conn, int64_t id, uint64_t code) {
  must(!conn->inside);
  struct fake_stream *stream = stream_of(conn, id);
  if (stream->fin_received || stream->reset_received || stream->stop_sent)
    return;
  stream->stop_sent = true;
  stream->stop_code = code;
}

/* --- the way in ----------------------------------------------------------------------------------------------------
 */

static void result(struct quic_conn *conn, enum err err) {
  conn->inside = false;
  if (err != ERR_OK && !conn->dead) {
    conn->dead = true;
    must(conn->ops->app_error(conn->app) != 0);
  }
}

/* The stream when the peer can still say something on it. */
static struct fake_stream *stream_in(struct quic_conn *conn, int64_t id) {
  struct fake_stream *stream = stream_of(conn, id);
  if (conn->dead || (is_ours(conn, id) && (is_uni(id) || !stream->used)))
    return NULL;
  stream->used = true;
  return stream->closed || stream->fin_received || stream->reset_received ? NULL : stream;
}

void fake_deliver(struct quic_conn *conn, int64_t id, const void *data, size_t len, bool fin) {
  struct fake_stream *stream = stream_in(conn, id);
  if (stream == NULL || (len == 0 && !fin))
    return;
  conn->received += len;
  stream->received += len;
  stream->fin_received = fin;
  if (stream->stop_sent) { /* as ngtcp2: nobody is asked any more */
    quic_credit(conn, len);
    return;
  }
  uint8_t *copy = NULL; /* of just that size, and it dies with the call */
  if (len > 0) {
    copy = malloc(len);
    must(copy != NULL);
    memcpy(copy, data, len);
  }
  conn->inside = true;
  result(conn, conn->ops->stream_data(conn->app, id, copy, len, fin));
  must(conn->dead || conn->credited == conn->received);
  free(copy);
}

void fake_deliver_reset(struct quic_conn *conn, int64_t id, uint64_t code) {
  struct fake_stream *stream = stream_in(conn, id);
  if (stream == NULL)
    return;
  stream->reset_received = true;
  conn->inside = true;
  result(conn, conn->ops->stream_reset(conn->app, id, code));
}

void fake_deliver_stop(struct quic_conn *conn, int64_t id, uint64_t code) {
  struct fake_stream *stream = stream_of(conn, id);
  bool sends = !is_uni(id) || is_ours(conn, id);
  if (conn->dead || !sends || !stream->used || stream->closed || stream->fin_sent || stream->reset_sent)
    return;
  stream->reset_sent = true; /* QUIC answers by itself */
  stream->reset_code = code;
  conn->inside = true;
  result(conn, conn->ops->stream_stopped(conn->app, id, code));
}

/* --- the way out ---------------------------------------------------------------------------------------------------
 */

static size_t gather(const struct iovec *vecs, size_t count, uint8_t **bytes) {
  size_t len = 0;
  for (size_t i = 0; i < count; i++)
    len += vecs[i].iov_len;
  *bytes = malloc(len + 1);
  must(*bytes != NULL);
  for (size_t i = 0, at = 0; i < count; at += vecs[i].iov_len, i++)
    memcpy(*bytes + at, vecs[i].iov_base, vecs[i].iov_len);
  return len;
}

bool fake_emit(struct quic_conn *conn) {
  bool any = false;
  while (!conn->dead) {
    struct iovec vecs[QUIC_OUTPUT_VECS];
    int64_t id;
    bool fin;
    size_t count = conn->ops->output(conn->app, &id, &fin, vecs);
    if (id < 0)
      break;
    any = true;
    struct fake_stream *stream = stream_of(conn, id);
    must(!stream->fin_sent);
    if (stream->reset_sent) {
      conn->ops->output_shut(conn->app, id);
      continue;
    }
    uint8_t *bytes;
    size_t len = gather(vecs, count, &bytes);
    stream->fin_sent = fin;
    result(conn, conn->ops->output_written(conn->app, id, len));
    if (conn->peer != NULL)
      fake_deliver(conn->peer, id, bytes, len, fin);
    free(bytes);
    conn->inside = true;
    if (!conn->dead && len > 0)
      result(conn, conn->ops->stream_acked(conn->app, id, len));
    conn->inside = false;
  }
  return any;
}

static void settle_stream(struct quic_conn *conn, int64_t id, struct fake_stream *stream) {
  if (stream->reset_sent && !stream->reset_told && conn->peer != NULL)
    fake_deliver_reset(conn->peer, id, stream->reset_code);
  stream->reset_told = stream->reset_sent;
  if (stream->stop_sent && !stream->stop_told && conn->peer != NULL)
    fake_deliver_stop(conn->peer, id, stream->stop_code);
  stream->stop_told = stream->stop_sent;
  bool out_over = stream->fin_sent || stream->reset_sent || (is_uni(id) && !is_ours(conn, id));
  bool in_over = stream->fin_received || stream->reset_received || (is_uni(id) && is_ours(conn, id));
  if (!out_over || !in_over || conn->dead)
    return;
  stream->closed = true;
  conn->inside = true;
  result(conn, conn->ops->stream_closed(conn->app, id, stream->reset_sent ? stream->reset_code : 0x100));
}

void fake_settle(struct quic_conn *conn) {
  for (int kind = 0; kind < 4; kind++)
    for (int i = 0; i < FAKE_STREAMS; i++)
      if (conn->streams[kind][i].used && !conn->streams[kind][i].closed)
        settle_stream(conn, 4 * i + kind, &conn->streams[kind][i]);
}
