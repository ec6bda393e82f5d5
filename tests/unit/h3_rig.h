/* Two ends of an HTTP/3 connection in one process, without QUIC: this file defines the functions of quic.h that h3
   calls (the linker then leaves the real ones in their library), and carries bytes, acknowledgements, resets and credit
   between the ends in pieces of random size. It is strict where quic.h is: nothing but credit may be called from within
   a callback, no limit may be passed, and memory that was lent must be untouched until it is acknowledged.

   For one source file per test program. What each end says is up to the test: struct rig_end's functions, which are
   h3's or those of a hand-made peer. */
#ifndef PTP_TESTS_UNIT_H3_RIG_H
#define PTP_TESTS_UNIT_H3_RIG_H

#include <stdlib.h>
#include <string.h>

#include "proto/h3.h"
#include "proto/quic.h"
#include "unit/support.h"

enum { CLIENT, SERVER, SIDES };
enum { RIG_STREAMS = 256, RIG_PIECES = 4096 };

/* Our copy of what one end has sent on one stream, and how far it has come. */
struct rig_half {
  uint8_t *bytes;
  size_t sent, delivered, acked;
  const uint8_t *lent[RIG_PIECES]; /* where the pieces are that were not acknowledged */
  size_t lent_len[RIG_PIECES];
  size_t lent_first, lent_count, lent_skip;
  bool fin_sent, fin_delivered, blocked, held;
  bool reset_sent, reset_asked, reset_delivered, stop_sent, stop_delivered;
  uint64_t reset_code, stop_code;
  uint64_t credited; /* by the receiver */
};

struct rig_stream {
  bool used, closed[SIDES];
  struct rig_half half[SIDES]; /* by sender */
};

struct quic_conn {
  struct rig *rig;
  int side;
  const struct quic_app *ops;
  void *app;
  bool inside; /* a callback */
  int64_t next_bidi, next_uni;
  uint64_t bidi_max, uni_max;
  uint64_t received, credited;
  enum err failure;
  uint64_t failure_code;
};

struct rig {
  struct quic_conn conn[SIDES];
  struct rig_stream *streams[4][RIG_STREAMS]; /* by the low bits of the id */
  uint64_t seed;
  uint64_t stream_window, connection_window;
  size_t piece_max;
  bool dead;
};

static struct rig_stream *rig_stream(struct rig *rig, int64_t id) {
  assert_true(id >= 0 && id / 4 < RIG_STREAMS);
  struct rig_stream **at = &rig->streams[id % 4][id / 4];
  if (*at == NULL)
    *at = calloc(1, sizeof **at);
  assert_non_null(*at);
  return *at;
}

static struct rig_half *rig_half(struct rig *rig, int64_t id, int sender) { return &rig_stream(rig, id)->half[sender]; }

static bool rig_uni(int64_t id) { return (id & 2) != 0; }
static int rig_opener(int64_t id) { return (id & 1) != 0 ? SERVER : CLIENT; }
/* True when |side| has a sending part of the stream. */
static bool rig_sends(int64_t id, int side) { return !rig_uni(id) || rig_opener(id) == side; }

static void rig_open(struct rig *rig, uint64_t seed) {
  *rig = (struct rig){.seed = seed, .stream_window = 100000, .connection_window = 1000000, .piece_max = 3000};
  for (int side = 0; side < SIDES; side++)
    rig->conn[side] = (struct quic_conn){
        .rig = rig, .side = side, .next_bidi = side, .next_uni = 2 + side, .bidi_max = RIG_STREAMS, .uni_max = 3};
}

static void rig_close(struct rig *rig) {
  for (int kind = 0; kind < 4; kind++)
    for (int i = 0; i < RIG_STREAMS; i++)
      if (rig->streams[kind][i] != NULL) {
        free(rig->streams[kind][i]->half[CLIENT].bytes);
        free(rig->streams[kind][i]->half[SERVER].bytes);
        free(rig->streams[kind][i]);
      }
}

/* --- what h3 calls --------------------------------------------------------------------------------------------------
 */

enum err quic_open_stream(struct quic_conn *conn, int64_t *stream) {
  assert_false(conn->inside);
  if ((uint64_t)conn->next_bidi / 4 >= conn->bidi_max)
    return ERR_AGAIN;
  *stream = conn->next_bidi;
  conn->next_bidi += 4;
  rig_stream(conn->rig, *stream)->used = true;
  return ERR_OK;
}

enum err quic_open_uni_stream(struct quic_conn *conn, int64_t *stream) {
  if ((uint64_t)conn->next_uni / 4 >= conn->uni_max)
    return ERR_AGAIN;
  *stream = conn->next_uni;
  conn->next_uni += 4;
  rig_stream(conn->rig, *stream)->used = true;
  return ERR_OK;
}

uint64_t quic_streams_left(const struct quic_conn *conn) { return conn->bidi_max - (uint64_t)conn->next_bidi / 4; }

void quic_credit(struct quic_conn *conn, uint64_t len) {
  conn->credited += len;
  assert_true(conn->credited <= conn->received);
}

void quic_stream_credit(struct quic_conn *conn, int64_t stream, uint64_t len) {
  struct rig_half *half = rig_half(conn->rig, stream, !conn->side);
  half->credited += len;
  assert_true(half->credited <= half->delivered);
}

void quic_stream_reset(struct quic_conn *conn, int64_t stream, uint64_t code) {
  assert_false(conn->inside);
  struct rig_half *half = rig_half(conn->rig, stream, conn->side);
  bool over = half->reset_sent || (half->fin_sent && half->acked == half->sent && half->fin_delivered);
  if (over)
    return;
  half->reset_sent = half->reset_asked = true;
  half->reset_code = code;
}

void quic_stream_stop(struct quic_conn *conn, int64_t stream, uint64_t code) {
  assert_false(conn->inside);
  struct rig_half *half = rig_half(conn->rig, stream, !conn->side);
  if (half->stop_sent || half->fin_delivered || half->reset_delivered)
    return;
  half->stop_sent = true;
  half->stop_code = code;
}

/* --- the shuttle ----------------------------------------------------------------------------------------------------
 */

static bool rig_check(struct quic_conn *conn, enum err err) {
  conn->inside = false;
  if (err == ERR_OK)
    return true;
  if (conn->failure == ERR_OK) {
    conn->failure = err;
    conn->failure_code = conn->ops->app_error(conn->app);
  }
  conn->rig->dead = true;
  return false;
}

static size_t rig_min(size_t a, uint64_t b) { return a < b ? a : (size_t)b; }

static uint64_t rig_sent_bytes(struct rig *rig, int side) {
  uint64_t sum = 0;
  for (int kind = 0; kind < 4; kind++)
    for (int i = 0; i < RIG_STREAMS; i++)
      if (rig->streams[kind][i] != NULL)
        sum += rig->streams[kind][i]->half[side].sent;
  return sum;
}

static size_t rig_window(struct rig *rig, int side, const struct rig_half *half) {
  uint64_t stream = rig->stream_window + half->credited - half->sent;
  uint64_t all = rig->connection_window + rig->conn[!side].credited - rig_sent_bytes(rig, side);
  return rig_min((size_t)stream, all);
}

static void rig_append(struct rig_half *half, const uint8_t *data, size_t len) {
  half->bytes = realloc(half->bytes, half->sent + len);
  assert_non_null(half->bytes);
  memcpy(half->bytes + half->sent, data, len);
  half->sent += len;
  size_t at = (half->lent_first + half->lent_count++) % RIG_PIECES;
  assert_true(half->lent_count <= RIG_PIECES);
  half->lent[at] = data;
  half->lent_len[at] = len;
}

/* One call of output; false: there was nothing. */
static bool rig_emit_one(struct quic_conn *conn) {
  struct rig *rig = conn->rig;
  struct iovec vecs[QUIC_OUTPUT_VECS];
  int64_t id;
  bool fin;
  conn->inside = true;
  size_t count = conn->ops->output(conn->app, &id, &fin, vecs);
  conn->inside = false;
  if (id < 0)
    return false;
  struct rig_half *half = rig_half(rig, id, conn->side);
  assert_false(half->fin_sent);
  conn->inside = true;
  if (half->reset_sent) {
    assert_false(half->reset_asked); /* who resets a stream knows it */
    conn->ops->output_shut(conn->app, id);
    conn->inside = false;
    return true;
  }
  size_t total = 0, room = rig_window(rig, conn->side, half);
  for (size_t i = 0; i < count; i++)
    total += vecs[i].iov_len;
  if (total > 0 && room == 0) {
    half->blocked = true;
    conn->ops->output_blocked(conn->app, id);
    conn->inside = false;
    return true;
  }
  size_t limit = rig_min(1 + draw_below(&rig->seed, (uint32_t)rig->piece_max), room), done = 0;
  for (size_t i = 0; i < count && done < limit; i++) {
    size_t part = rig_min(vecs[i].iov_len, limit - done);
    rig_append(half, vecs[i].iov_base, part);
    done += part;
  }
  half->fin_sent = fin && done == total;
  return rig_check(conn, conn->ops->output_written(conn->app, id, done));
}

static bool rig_emit(struct quic_conn *conn) {
  bool busy = false;
  for (int i = 0; i < 20 && !conn->rig->dead && rig_emit_one(conn); i++)
    busy = true;
  return busy;
}

/* Bytes, and perhaps FIN, of what |conn|'s peer has sent. */
static bool rig_deliver_bytes(struct quic_conn *conn, int64_t id, struct rig_half *half) {
  struct rig *rig = conn->rig;
  size_t left = half->sent - half->delivered;
  if ((left == 0 && (!half->fin_sent || half->fin_delivered)) || half->held)
    return false;
  size_t len = rig_min(left, draw_below(&rig->seed, (uint32_t)rig->piece_max + 1));
  bool fin = half->fin_sent && len == left && (len == 0 || draw_below(&rig->seed, 2) == 0);
  if (len == 0 && !fin)
    return true;
  uint8_t *copy = malloc(len + 1); /* dies with the call */
  assert_non_null(copy);
  if (len > 0)
    memcpy(copy, half->bytes + half->delivered, len);
  half->delivered += len;
  half->fin_delivered = fin;
  conn->received += len;
  conn->inside = true;
  bool alive = true;
  if (half->stop_sent) { /* as ngtcp2: nobody is asked any more */
    conn->credited += len;
    half->credited += len;
    conn->inside = false;
  } else {
    alive = rig_check(conn, conn->ops->stream_data(conn->app, id, len > 0 ? copy : NULL, len, fin));
  }
  free(copy);
  return alive;
}

static bool rig_deliver_half(struct quic_conn *conn, int64_t id) {
  struct rig_half *half = rig_half(conn->rig, id, !conn->side);
  if (half->reset_delivered || half->fin_delivered)
    return false;
  if (half->reset_sent && draw_below(&conn->rig->seed, 2) == 0) {
    half->reset_delivered = true;
    conn->inside = true;
    /* The final size counts for the connection. */
    conn->received += half->sent - half->delivered;
    conn->credited += half->sent - half->delivered;
    return rig_check(conn, conn->ops->stream_reset(conn->app, id, half->reset_code));
  }
  return rig_deliver_bytes(conn, id, half) || half->reset_sent;
}

/* STOP_SENDING, and credit, for what |conn| sends. */
static bool rig_feedback(struct quic_conn *conn, int64_t id) {
  struct rig_half *half = rig_half(conn->rig, id, conn->side);
  bool busy = false;
  if (half->stop_sent && !half->stop_delivered) {
    half->stop_delivered = busy = true;
    if (!half->reset_sent && !half->fin_delivered) {
      half->reset_sent = true;
      half->reset_code = half->stop_code;
      conn->inside = true;
      rig_check(conn, conn->ops->stream_stopped(conn->app, id, half->stop_code));
    }
  }
  if (half->blocked && rig_window(conn->rig, conn->side, half) > 0) {
    half->blocked = false;
    busy = conn->inside = true;
    rig_check(conn, conn->ops->stream_room(conn->app, id));
  }
  return busy;
}

static bool rig_ack(struct quic_conn *conn, int64_t id) {
  struct rig_half *half = rig_half(conn->rig, id, conn->side);
  if (half->acked == half->delivered || half->reset_sent)
    return false;
  size_t len = 1 + draw_below(&conn->rig->seed, (uint32_t)(half->delivered - half->acked));
  for (size_t checked = 0; checked < len;) {
    size_t at = half->lent_first % RIG_PIECES, part = rig_min(half->lent_len[at] - half->lent_skip, len - checked);
    assert_memory_equal(half->lent[at] + half->lent_skip, half->bytes + half->acked + checked, part);
    checked += part;
    half->lent_skip += part;
    if (half->lent_skip == half->lent_len[at]) {
      half->lent_skip = 0;
      half->lent_first++;
      half->lent_count--;
    }
  }
  half->acked += len;
  conn->inside = true;
  rig_check(conn, conn->ops->stream_acked(conn->app, id, len));
  return true;
}

static bool rig_close_stream(struct quic_conn *conn, int64_t id) {
  struct rig_stream *stream = rig_stream(conn->rig, id);
  const struct rig_half *out = &stream->half[conn->side], *in = &stream->half[!conn->side];
  bool out_over = !rig_sends(id, conn->side) || out->reset_delivered ||
                  (out->fin_delivered && (out->acked == out->sent || out->reset_sent));
  bool in_over = !rig_sends(id, !conn->side) || in->reset_delivered || in->fin_delivered;
  if (stream->closed[conn->side] || !out_over || !in_over)
    return false;
  stream->closed[conn->side] = true;
  conn->inside = true;
  rig_check(conn, conn->ops->stream_closed(conn->app, id, out->reset_delivered ? out->reset_code : 0x100));
  return true;
}

typedef bool rig_step_f(struct quic_conn *conn, int64_t id);

static bool rig_each(struct quic_conn *conn, rig_step_f *step, int need_sender) {
  bool busy = false;
  for (int kind = 0; kind < 4; kind++)
    for (int64_t i = 0; i < RIG_STREAMS && !conn->rig->dead; i++) {
      int64_t id = 4 * i + kind;
      struct rig_stream *stream = conn->rig->streams[kind][i];
      if (stream == NULL || stream->closed[conn->side] || (need_sender >= 0 && !rig_sends(id, need_sender)))
        continue;
      busy = step(conn, id) || busy;
    }
  return busy;
}

/* Moves things between the ends once; |pump| lets the test act after each kind of movement. */
typedef bool rig_pump_f(void *context, int side);
static bool rig_tick(struct rig *rig, rig_pump_f *pump, void *context) {
  bool busy = false;
  for (int side = 0; side < SIDES; side++) {
    struct quic_conn *conn = &rig->conn[side];
    busy = rig_each(conn, rig_deliver_half, !side) || busy;
    busy = rig_each(conn, rig_feedback, side) || busy;
    busy = rig_each(conn, rig_ack, side) || busy;
    busy = (!rig->dead && pump(context, side)) || busy;
    busy = rig_each(conn, rig_close_stream, -1) || busy;
    busy = (!rig->dead && pump(context, side)) || busy;
    busy = (!rig->dead && rig_emit(conn)) || busy;
    busy = (!rig->dead && pump(context, side)) || busy;
  }
  return busy && !rig->dead;
}

static void rig_run(struct rig *rig, rig_pump_f *pump, void *context) {
  for (int i = 0; rig_tick(rig, pump, context); i++)
    assert_true(i < 100000);
}

#endif
