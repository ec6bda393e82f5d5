/* HTTP/3 towards the session: streams, resets and stops, credits, close. What arrives is in h3_cb.c, what is sent in
   h3_out.c.

   Callbacks may not call quic: they ask for resets and stops, and h3_carry_out sends them when the session is next
   here.

   Streams are found by their id: ids go up by four, so a table of lists indexed by their low bits has few collisions as
   long as not many more streams are alive than it has places. */
#include "proto/h3.h"

#include <stdlib.h>

#include "base/must.h"
#include "proto/h3_priv.h"

/* --- streams --------------------------------------------------------------------------------------------------------
 */

static struct h3_stream **bucket_of(struct h3 *h3, int64_t id) { return &h3->buckets[(uint64_t)id / 4 % H3_BUCKETS]; }

struct h3_stream *h3_find(const struct h3 *h3, int64_t id) {
  struct h3_stream *stream = h3->buckets[(uint64_t)id / 4 % H3_BUCKETS];
  while (stream != NULL && stream->id != id)
    stream = stream->bucket_next;
  return stream;
}

struct h3_stream *h3_stream_get(struct h3 *h3) {
  struct h3_stream *stream = pool_get(h3->settings.streams);
  if (stream == NULL)
    return NULL;
  *stream = (struct h3_stream){
      .h3 = h3,
      .id = -1,
      .pool = h3->settings.streams,
      .state = H3_IN_START,
      .out_state = H3_OUT_IDLE,
      .stop_code = H3_NO_CODE,
      .reset_code = H3_NO_CODE,
  };
  list_init(&stream->ready);
  list_init(&stream->pending);
  return stream;
}

void h3_stream_list(struct h3_stream *stream, int64_t id) {
  struct h3_stream **bucket = bucket_of(stream->h3, id);
  stream->id = id;
  stream->bucket_next = *bucket;
  *bucket = stream;
  stream->h3->stream_count++;
}

void h3_stream_unlist(struct h3_stream *stream) {
  struct h3_stream **at = bucket_of(stream->h3, stream->id);
  while (*at != stream)
    at = &(*at)->bucket_next;
  *at = stream->bucket_next;
  must(stream->h3->stream_count > 0);
  stream->h3->stream_count--;
  list_remove(&stream->pending);
}

void h3_raise(struct h3_stream *stream, unsigned events) {
  stream->events |= events;
  if (list_empty(&stream->ready))
    list_push(&stream->h3->ready, &stream->ready);
}

static void stream_end(struct h3_stream *stream, enum flow_end end, enum err reason) {
  if (stream->state < H3_IN_DISCARD)
    stream->error = (uint8_t)reason;
  if (stream->in != NULL)
    flow_end(stream->in, end, reason);
  if (stream->out != NULL)
    flow_end(stream->out, FLOW_CANCELLED, reason);
  stream->state = H3_IN_END;
  stream->over = true;
  h3_stream_unlist(stream);
  h3_raise(stream, H3_CLOSED);
}

void h3_stream_over(struct h3_stream *stream) { stream_end(stream, FLOW_ABORTED, ERR_STREAM_RESET); }

void h3_stream_done(struct h3_stream *stream) {
  must(stream->over);
  list_remove(&stream->ready);
  pool_put(stream->pool, stream);
}

struct h3_stream *h3_ready(struct h3 *h3) {
  h3_carry_out(h3);
  struct list *node = list_pop(&h3->ready);
  return node != NULL ? container_of(node, struct h3_stream, ready) : NULL;
}

uint32_t h3_stream_count(const struct h3 *h3) { return h3->stream_count; }

/* --- open and close -------------------------------------------------------------------------------------------------
 */

static void *memory_malloc(size_t size, void *arena) { return arena_malloc(arena, size); }
static void memory_free(void *block, void *arena) { arena_free(arena, block); }
static void *memory_calloc(size_t count, size_t size, void *arena) { return arena_calloc(arena, count, size); }
static void *memory_realloc(void *block, size_t size, void *arena) { return arena_realloc(arena, block, size); }

static int conn_open(struct h3 *h3) {
  h3->memory = (nghttp3_mem){h3->settings.arena, memory_malloc, memory_free, memory_calloc, memory_realloc};
  const nghttp3_mem *memory = h3->settings.arena != NULL ? &h3->memory : NULL;
  nghttp3_settings settings;
  nghttp3_settings_default(&settings);
  settings.max_field_section_size = h3->settings.limits.bytes;
  settings.qpack_max_dtable_capacity = h3->settings.qpack_table_capacity;
  settings.qpack_encoder_max_dtable_capacity = h3->settings.qpack_table_capacity;
  settings.qpack_blocked_streams = h3->settings.qpack_table_capacity > 0 ? H3_BLOCKED_STREAMS_MAX : 0;
  settings.qpack_indexing_strat = NGHTTP3_QPACK_INDEXING_STRAT_EAGER;
  int fault = h3->settings.server ? nghttp3_conn_server_new(&h3->http, &h3_callbacks, &settings, memory, h3)
                                  : nghttp3_conn_client_new(&h3->http, &h3_callbacks, &settings, memory, h3);
  if (fault != 0)
    return fault;
  /* Bounds what QPACK keeps for the peer to read; every stream may be cancelled between two writes. */
  nghttp3_conn_set_max_concurrent_streams(h3->http, h3->settings.streams->capacity);
  if (h3->settings.server)
    nghttp3_conn_set_max_client_streams_bidi(h3->http, h3->settings.streams->capacity);
  return 0;
}

static enum err control_streams_open(struct h3 *h3) {
  int64_t control, encoder, decoder;
  enum err err = quic_open_uni_stream(h3->quic, &control);
  if (err == ERR_OK)
    err = quic_open_uni_stream(h3->quic, &encoder);
  if (err == ERR_OK)
    err = quic_open_uni_stream(h3->quic, &decoder);
  if (err != ERR_OK)
    return err;
  if (nghttp3_conn_bind_control_stream(h3->http, control) != 0 ||
      nghttp3_conn_bind_qpack_streams(h3->http, encoder, decoder) != 0)
    return ERR_NO_MEMORY;
  h3->control_id = control;
  h3->decoder_id = decoder;
  h3->decoder_free = true;
  return ERR_OK;
}

enum err h3_open(struct h3 **h3_out, struct quic_conn *conn, const struct h3_settings *settings,
                 const struct h3_events *events, void *context) {
  struct h3 *h3 = malloc(sizeof *h3);
  if (h3 == NULL)
    return ERR_NO_MEMORY;
  *h3 = (struct h3){
      .quic = conn,
      .settings = *settings,
      .events = events,
      .context = context,
      .life = H3_ALIVE,
      .peer_section_bytes_max = UINT64_MAX,
      .newest_id = -1,
      .reject_first = INT64_MAX,
      .reject_last = -1,
  };
  list_init(&h3->ready);
  list_init(&h3->pending);
  list_init(&h3->late);
  enum err err = conn_open(h3) == 0 ? control_streams_open(h3) : ERR_NO_MEMORY;
  if (err != ERR_OK) {
    nghttp3_conn_del(h3->http);
    free(h3);
    return err;
  }
  *h3_out = h3;
  return ERR_OK;
}

void h3_abandon(struct h3 *h3) {
  h3->life = H3_ABANDONED;
  for (size_t i = 0; i < H3_BUCKETS; i++)
    while (h3->buckets[i] != NULL)
      stream_end(h3->buckets[i], FLOW_LINK_DOWN, ERR_LINK_DOWN);
}

void h3_close(struct h3 *h3) {
  h3_abandon(h3);
  struct list *node;
  while ((node = list_pop(&h3->ready)) != NULL)
    container_of(node, struct h3_stream, ready)->h3 = NULL;
  nghttp3_conn_del(h3->http);
  free(h3);
}

enum err h3_fail(struct h3 *h3, int fault) {
  if (h3->life == H3_ALIVE) {
    h3->life = H3_FAILED;
    h3->fault = fault;
  }
  return h3->fault == NGHTTP3_ERR_NOMEM ? ERR_NO_MEMORY : ERR_BAD_MESSAGE;
}

bool h3_peer_settings(const struct h3 *h3) { return h3->peer_settings; }
bool h3_peer_goaway(const struct h3 *h3) { return h3->peer_goaway; }

void h3_goaway(struct h3 *h3, bool final) {
  if (h3->life != H3_ALIVE || h3->goaway_sent == H3_GOAWAY_FINAL || (!final && h3->goaway_sent == H3_GOAWAY_NOTICE))
    return;
  int fault = final ? nghttp3_conn_shutdown(h3->http) : nghttp3_conn_submit_shutdown_notice(h3->http);
  if (fault != 0) {
    h3_fail(h3, fault);
    return;
  }
  h3->goaway_sent = final ? H3_GOAWAY_FINAL : H3_GOAWAY_NOTICE;
}

bool h3_drained(const struct h3 *h3) {
  if (h3->life != H3_ALIVE)
    return true;
  if (h3->goaway_sent != H3_GOAWAY_FINAL || h3->stream_count > 0)
    return false;
  return !h3->settings.server || nghttp3_conn_is_drained(h3->http) != 0;
}

/* --- resets and stops -----------------------------------------------------------------------------------------------
 */

static void stream_pend(struct h3_stream *stream) {
  if (list_empty(&stream->pending))
    list_push(&stream->h3->pending, &stream->pending);
}

void h3_ask_stop(struct h3_stream *stream, uint64_t code) {
  if (stream->state >= H3_IN_DISCARD)
    return;
  stream->state = H3_IN_DISCARD;
  stream->stop_code = code;
  stream_pend(stream);
}

void h3_ask_reset(struct h3_stream *stream, uint64_t code) {
  if (stream->out_state == H3_OUT_RESET)
    return;
  stream->out_state = H3_OUT_RESET;
  stream->reset_code = code;
  stream_pend(stream);
  /* The producer goes on otherwise: it has pushed more than its head promised. */
  if (stream->out != NULL && flow_end(stream->out, FLOW_CANCELLED, ERR_BAD_MESSAGE)) {
    stream->code = code;
    h3_raise(stream, H3_STOPPED);
  }
}

void h3_break(struct h3_stream *stream, enum err error) {
  if (stream->state >= H3_IN_DISCARD)
    return;
  /* H3_REQUEST_REJECTED, which is the row's code, would promise that nothing was done with the request. */
  uint64_t code = error == ERR_OVERLOADED ? NGHTTP3_H3_EXCESSIVE_LOAD : err_h3_code(error);
  stream->error = (uint8_t)error;
  stream->code = code;
  if (stream->in != NULL)
    flow_end(stream->in, FLOW_ABORTED, error);
  h3_ask_stop(stream, code);
  h3_raise(stream, H3_BROKEN);
}

void h3_reject(struct h3 *h3, int64_t id) {
  if (id < h3->reject_first)
    h3->reject_first = id;
  if (id > h3->reject_last)
    h3->reject_last = id;
}

/* A rejected stream has no object to note it in, as often that is just what is missing. So their range is noted: what
   is in it and not in the table was rejected, is over, or has not begun; that, too, is then rejected, which its sender
   must be ready for (RFC 9114 section 4.1.1). */
static void carry_out_rejects(struct h3 *h3) {
  for (int64_t id = h3->reject_first; id <= h3->reject_last; id += 4) {
    if (h3_find(h3, id) != NULL)
      continue;
    quic_stream_stop(h3->quic, id, NGHTTP3_H3_REQUEST_REJECTED);
    quic_stream_reset(h3->quic, id, NGHTTP3_H3_REQUEST_REJECTED);
    nghttp3_conn_shutdown_stream_write(h3->http, id);
  }
  h3->reject_first = INT64_MAX;
  h3->reject_last = -1;
}

void h3_incomplete(struct h3 *h3, int64_t id) {
  if (h3->incomplete_count < H3_INCOMPLETE_MAX)
    h3->incomplete[h3->incomplete_count++] = id;
  else
    h3_reject(h3, id);
}

/* After the rejects: QUIC sends one RESET_STREAM for a stream, the first. */
static void carry_out_incomplete(struct h3 *h3) {
  for (uint8_t i = 0; i < h3->incomplete_count; i++) {
    quic_stream_reset(h3->quic, h3->incomplete[i], NGHTTP3_H3_REQUEST_INCOMPLETE);
    nghttp3_conn_shutdown_stream_write(h3->http, h3->incomplete[i]);
  }
  h3->incomplete_count = 0;
}

static void carry_out_stream(struct h3 *h3, struct h3_stream *stream) {
  if (stream->stop_code != H3_NO_CODE) {
    h3->decoder_owes += H3_DECODER_OWES_MAX; /* a cancellation goes along with STOP_SENDING */
    int fault = nghttp3_conn_shutdown_stream_read(h3->http, stream->id);
    if (fault != 0)
      h3_fail(h3, fault);
    quic_stream_stop(h3->quic, stream->id, stream->stop_code);
    stream->stop_code = H3_NO_CODE;
  }
  if (stream->reset_code != H3_NO_CODE) {
    if (h3->life == H3_ALIVE)
      nghttp3_conn_shutdown_stream_write(h3->http, stream->id);
    quic_stream_reset(h3->quic, stream->id, stream->reset_code);
    stream->reset_code = H3_NO_CODE;
  }
}

/* Streams of the late list whose head could be decoded meanwhile, or is not wanted any more. */
static void close_late(struct h3 *h3) {
  for (struct list *node = h3->late.next; node != &h3->late && h3->life == H3_ALIVE;) {
    struct h3_stream *stream = container_of(node, struct h3_stream, pending);
    node = node->next;
    if (stream->state < H3_IN_DISCARD && stream->unread_bytes > 0)
      continue;
    int fault = nghttp3_conn_close_stream(h3->http, stream->id, NGHTTP3_H3_NO_ERROR);
    if (fault != 0 && fault != NGHTTP3_ERR_STREAM_NOT_FOUND)
      h3_fail(h3, fault);
    h3_stream_over(stream);
  }
}

void h3_carry_out(struct h3 *h3) {
  if (h3->life == H3_ALIVE)
    close_late(h3);
  while (h3->life == H3_ALIVE && !list_empty(&h3->pending)) {
    struct list *node = list_pop(&h3->pending);
    carry_out_stream(h3, container_of(node, struct h3_stream, pending));
  }
  if (h3->life == H3_ALIVE && h3->reject_last >= 0)
    carry_out_rejects(h3);
  if (h3->life == H3_ALIVE)
    carry_out_incomplete(h3);
}

void h3_credit(struct h3_stream *stream, uint64_t upto) {
  if (upto <= stream->credited)
    return;
  quic_stream_credit(stream->h3->quic, stream->id, upto - stream->credited);
  stream->credited = upto;
}

void h3_input(struct h3_stream *stream) {
  if (stream->over || stream->in == NULL)
    return;
  const struct flow *in = stream->in;
  uint64_t gone = in->end == FLOW_CANCELLED ? in->pushed : in->released;
  h3_credit(stream, gone);
  if (in->end == FLOW_CANCELLED && stream->state < H3_IN_DISCARD) {
    h3_ask_stop(stream, err_h3_code((enum err)in->reason));
    h3_carry_out(stream->h3);
  }
}

void h3_cancel(struct h3_stream *stream, enum err reason) {
  if (stream->over)
    return;
  if (stream->in != NULL)
    flow_end(stream->in, FLOW_ABORTED, reason);
  if (stream->out != NULL)
    flow_end(stream->out, FLOW_CANCELLED, reason);
  h3_ask_stop(stream, err_h3_code(reason));
  h3_ask_reset(stream, err_h3_code(reason));
  h3_carry_out(stream->h3);
}
