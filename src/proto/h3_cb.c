/* The callbacks: what nghttp3 tells of the peer's messages, and what QUIC tells of the streams. They record in heads,
   flows and events; the session acts later. None of them calls quic, but for credit.

   Credit: the connection's is given for every byte as it comes, so that a stream that nobody reads holds up no other;
   the stream's for what nghttp3 has consumed itself (frame headers, field sections) and for what is thrown away here at
   once, for a body when its consumer has released it (h3_input).

   Malformed messages. nghttp3 1.15 takes most of them for connection errors (RELIABILITY.md 0.1) and cannot be told
   otherwise. What we see first is kept from it and becomes a stream error: everything that head_add_http3 and the
   checks of the head refuse, and a message that ends before its head or its content-length is complete: FIN is handed
   on apart from the bytes before it, and only if it is due.

   Fields that nghttp3 would drop without a trace are handed to recv_header and recv_trailer as well (tools/deps): those
   with an empty name, with a character in the name that is not a token's (upper case is a connection error), with CR,
   LF, NUL or other control characters in the value, and host with an invalid value; the head refuses them. Only
   content-length is dropped in trailers, in 1xx and, if "0", in 204. */
#include "base/limits.h"
#include "base/must.h"
#include "base/random.h"
#include "proto/h3_priv.h"

/* --- nghttp3: messages in -------------------------------------------------------------------------------------------
 */

static struct bytes rcbuf_bytes(const nghttp3_rcbuf *rcbuf) {
  nghttp3_vec vec = nghttp3_rcbuf_get_buf(rcbuf);
  return bytes_of(vec.base, vec.len);
}

/* A new request; one that is not taken has no stream: |stream_context| stays NULL in what follows. */
static int request_begins(struct h3 *h3, nghttp3_conn *http, int64_t id) {
  if (id > h3->newest_id) {
    /* Priorities may be set for streams that QUIC may open, and no others. */
    nghttp3_conn_set_max_client_streams_bidi(http, (uint64_t)id / 4 + 1 + h3->settings.streams->capacity);
    h3->newest_id = id;
  }
  struct h3_stream *stream = h3_stream_get(h3);
  if (stream != NULL)
    h3_stream_list(stream, id);
  if (stream != NULL && !h3->events->accept(h3->context, stream)) {
    h3_stream_unlist(stream);
    list_remove(&stream->ready);
    pool_put(stream->pool, stream);
    stream = NULL;
  }
  if (stream == NULL) {
    h3_reject(h3, id);
    return 0;
  }
  must(stream->head != NULL && stream->in != NULL);
  stream->state = H3_IN_HEAD;
  return nghttp3_conn_set_stream_user_data(http, id, stream);
}

static int begin_headers(nghttp3_conn *http, int64_t id, void *context, void *stream_context) {
  struct h3 *h3 = context;
  struct h3_stream *stream = stream_context;
  if (h3->settings.server)
    return request_begins(h3, http, id);
  if (stream != NULL && stream->state == H3_IN_START)
    stream->state = H3_IN_STATUS;
  return 0;
}

/* Where the fields of a response go. */
static enum h3_in response_target(struct h3_stream *stream, struct bytes status) {
  if (status.data[0] != '1')
    return H3_IN_HEAD;
  if (stream->informational_count == INFORMATIONAL_MAX) {
    h3_break(stream, ERR_BAD_MESSAGE);
    return H3_IN_DISCARD;
  }
  stream->informational_count++;
  bool free = stream->informational != NULL && stream->informational->status == 0;
  return free ? H3_IN_INTERIM : H3_IN_SKIP;
}

static int recv_header(nghttp3_conn *http, int64_t id, int32_t token, nghttp3_rcbuf *name_buf, nghttp3_rcbuf *value_buf,
                       uint8_t flags, void *context, void *stream_context) {
  (void)http, (void)id, (void)flags;
  struct h3 *h3 = context;
  struct h3_stream *stream = stream_context;
  if (stream == NULL)
    return 0;
  struct bytes name = rcbuf_bytes(name_buf), value = rcbuf_bytes(value_buf);
  if (stream->state == H3_IN_STATUS && token == NGHTTP3_QPACK_TOKEN__STATUS)
    stream->state = (uint8_t)response_target(stream, value);
  enum err err = ERR_OK;
  if (stream->state == H3_IN_HEAD)
    err = head_add_http3(stream->head, !h3->settings.server, name, value);
  else if (stream->state == H3_IN_INTERIM)
    err = head_add_http3(stream->informational, true, name, value);
  if (err != ERR_OK)
    h3_break(stream, err);
  return 0;
}

static void head_ends(struct h3_stream *stream) {
  enum err err = stream->h3->settings.server ? head_check_request_http3(stream->head)
                                             : head_check_response_http3(stream->head, stream->no_body);
  if (err != ERR_OK) {
    h3_break(stream, err);
    return;
  }
  stream->state = H3_IN_BODY;
  h3_raise(stream, H3_HEAD);
}

static int end_headers(nghttp3_conn *http, int64_t id, int fin, void *context, void *stream_context) {
  (void)http, (void)id, (void)fin;
  struct h3 *h3 = context;
  struct h3_stream *stream = stream_context;
  h3->decoder_owes++;
  if (stream == NULL)
    return 0;
  if (stream->state == H3_IN_HEAD) {
    head_ends(stream);
  } else if (stream->state == H3_IN_INTERIM) {
    enum err err = head_check_response_http3(stream->informational, true);
    stream->state = H3_IN_START;
    if (err != ERR_OK) {
      h3_break(stream, err);
      return 0;
    }
    h3_raise(stream, H3_INFORMATIONAL);
    if (h3->events->informed != NULL)
      h3->events->informed(h3->context, stream);
  } else if (stream->state == H3_IN_SKIP) {
    stream->state = H3_IN_START;
  }
  return 0;
}

static int recv_data(nghttp3_conn *http, int64_t id, const uint8_t *data, size_t len, void *context,
                     void *stream_context) {
  (void)http;
  struct h3 *h3 = context;
  struct h3_stream *stream = stream_context;
  if (stream != NULL)
    stream->unread_bytes -= len;
  if (stream == NULL || stream->state != H3_IN_BODY || stream->in->end != FLOW_OPEN) {
    quic_stream_credit(h3->quic, id, len);
    return 0;
  }
  stream->received_bytes += len;
  uint64_t pushed = stream->in->pushed;
  enum err err = flow_push_copy(stream->in, data, len);
  if (err == ERR_OK) {
    h3_raise(stream, H3_DATA);
    return 0;
  }
  quic_stream_credit(h3->quic, id, len - (stream->in->pushed - pushed));
  h3_break(stream, err);
  return 0;
}

static int deferred_consume(nghttp3_conn *http, int64_t id, size_t len, void *context, void *stream_context) {
  (void)http;
  struct h3 *h3 = context;
  struct h3_stream *stream = stream_context;
  if (stream != NULL)
    stream->unread_bytes -= len;
  quic_stream_credit(h3->quic, id, len);
  return 0;
}

static int recv_trailer(nghttp3_conn *http, int64_t id, int32_t token, nghttp3_rcbuf *name, nghttp3_rcbuf *value,
                        uint8_t flags, void *context, void *stream_context) {
  (void)http, (void)id, (void)token, (void)flags, (void)context;
  struct h3_stream *stream = stream_context;
  if (stream == NULL || stream->state != H3_IN_BODY || stream->trailers == NULL)
    return 0;
  enum err err = trailers_add_http3(stream->trailers, rcbuf_bytes(name), rcbuf_bytes(value));
  if (err != ERR_OK)
    h3_break(stream, err);
  return 0;
}

static int end_trailers(nghttp3_conn *http, int64_t id, int fin, void *context, void *stream_context) {
  (void)http, (void)id, (void)fin, (void)context;
  struct h3_stream *stream = stream_context;
  if (stream == NULL || stream->state != H3_IN_BODY || stream->trailers == NULL)
    return 0;
  enum err err = trailers_check(stream->trailers);
  if (err != ERR_OK)
    h3_break(stream, err);
  return 0;
}

static int end_stream(nghttp3_conn *http, int64_t id, void *context, void *stream_context) {
  (void)http, (void)id;
  struct h3 *h3 = context;
  struct h3_stream *stream = stream_context;
  if (stream == NULL || stream->state != H3_IN_BODY)
    return 0;
  /* A request that was only a head is told so if nobody has seen the head yet: it needs no chunked coding then. */
  bool bare = stream->received_bytes == 0 && (stream->trailers == NULL || stream->trailers->count == 0);
  if (h3->settings.server && bare && stream->head->body == BODY_CHUNKED && (stream->events & H3_HEAD) != 0)
    stream->head->body = BODY_NONE;
  stream->state = H3_IN_END;
  if (flow_end(stream->in, FLOW_EOF, ERR_OK))
    h3_raise(stream, H3_END);
  return 0;
}

static int acked_stream_data(nghttp3_conn *http, int64_t id, uint64_t len, void *context, void *stream_context) {
  (void)http, (void)id, (void)context;
  struct h3_stream *stream = stream_context;
  flow_release(stream->out, len);
  if (stream->out->end == FLOW_OPEN && flow_untaken(stream->out) == 0)
    h3_raise(stream, H3_ROOM); /* its producer may have waited for the account of all flows */
  return 0;
}

/* --- nghttp3: the connection ----------------------------------------------------------------------------------------
 */

/* nghttp3 rejects requests after our GOAWAY by this and the next. For a unidirectional stream of unknown type there is
   nothing to do: its bytes are skipped. */
static int stop_sending(nghttp3_conn *http, int64_t id, uint64_t code, void *context, void *stream_context) {
  (void)http, (void)code, (void)stream_context;
  struct h3 *h3 = context;
  if (h3->settings.server && id % 4 == 0 && h3_find(h3, id) == NULL)
    h3_reject(h3, id);
  return 0;
}

static int reset_stream(nghttp3_conn *http, int64_t id, uint64_t code, void *context, void *stream_context) {
  return stop_sending(http, id, code, context, stream_context);
}

static int shutdown_begun(nghttp3_conn *http, int64_t id, void *context) {
  (void)http, (void)id;
  struct h3 *h3 = context;
  h3->peer_goaway = true;
  return 0;
}

static int recv_settings(nghttp3_conn *http, const nghttp3_proto_settings *settings, void *context) {
  (void)http;
  struct h3 *h3 = context;
  h3->peer_settings = true;
  h3->peer_section_bytes_max = settings->max_field_section_size;
  return 0;
}

static void random_bytes(uint8_t *out, size_t len) { random_fill(out, len); }

const nghttp3_callbacks h3_callbacks = {
    .acked_stream_data = acked_stream_data,
    .recv_data = recv_data,
    .deferred_consume = deferred_consume,
    .begin_headers = begin_headers,
    .recv_header = recv_header,
    .end_headers = end_headers,
    .recv_trailer = recv_trailer,
    .end_trailers = end_trailers,
    .stop_sending = stop_sending,
    .end_stream = end_stream,
    .reset_stream = reset_stream,
    .shutdown = shutdown_begun,
    .rand = random_bytes,
    .recv_settings2 = recv_settings,
};

/* --- quic_app -------------------------------------------------------------------------------------------------------
 */

static bool is_request(int64_t id) { return id % 4 == 0; }

/* nghttp3's result as quic wants it. */
static enum err app_result(struct h3 *h3, int fault) { return fault == 0 ? ERR_OK : h3_fail(h3, fault); }

/* For functions that come after the end: quic goes on closing. */
static enum err app_over(struct h3 *h3) { return h3->life == H3_FAILED ? h3_fail(h3, 0) : ERR_OK; }

static enum err bytes_in(struct h3 *h3, int64_t id, const uint8_t *data, size_t len) {
  quic_credit(h3->quic, len);
  if (!is_request(id))
    h3->decoder_owes++; /* table entries may have come */
  struct h3_stream *stream = h3_find(h3, id);
  if (stream != NULL && stream->state == H3_IN_DISCARD) {
    quic_stream_credit(h3->quic, id, len);
    return ERR_OK;
  }
  /* No time is given, which turns nghttp3's limit for odd behaviour off: the peer is authenticated, and a lossy link
     must not look like an attack. */
  nghttp3_ssize consumed = nghttp3_conn_read_stream2(h3->http, id, data, len, 0, UINT64_MAX);
  if (consumed < 0)
    return h3_fail(h3, (int)consumed);
  quic_stream_credit(h3->quic, id, (uint64_t)consumed);
  stream = h3_find(h3, id); /* it may be new */
  if (stream != NULL)
    stream->unread_bytes += len - (uint64_t)consumed;
  return ERR_OK;
}

/* What waits behind a gap does not count for the window while the reader keeps up (quic_window.c); it may hold what the
   last tick brought. Half as much again, as our word is on the way for half a round trip, and may be lost, too. */
static void app_stream_ahead(void *app, int64_t id, uint64_t len) {
  const struct h3 *h3 = app;
  if (h3->life != H3_ALIVE)
    return;
  struct h3_stream *stream = h3_find(h3, id);
  if (stream == NULL || stream->state != H3_IN_BODY || stream->in->end != FLOW_OPEN ||
      stream->in->pushed - stream->in->released > FLOW_UNTAKEN_BYTES_MAX)
    return;
  h3_credit(stream, stream->in->released + len + len / 2);
}

/* True when the message is not complete although its stream is. What nghttp3 holds back may complete it. */
static bool ends_short(const struct h3_stream *stream) {
  if (stream->state < H3_IN_BODY)
    return stream->unread_bytes == 0;
  return stream->head->has_length && stream->head->body == BODY_SIZED && stream->in->end == FLOW_OPEN &&
         stream->received_bytes != stream->head->content_length;
}

static enum err end_in(struct h3 *h3, int64_t id) {
  struct h3_stream *stream = h3_find(h3, id);
  if (is_request(id) && stream == NULL) {
    /* Rejected already, or ended before it began. */
    if (h3->settings.server)
      h3_incomplete(h3, id);
    return ERR_OK;
  }
  if (stream != NULL && stream->state < H3_IN_DISCARD && ends_short(stream))
    h3_break(stream, ERR_BAD_MESSAGE);
  if (stream != NULL && stream->state >= H3_IN_DISCARD)
    return ERR_OK;
  nghttp3_ssize consumed = nghttp3_conn_read_stream2(h3->http, id, NULL, 0, 1, UINT64_MAX);
  return consumed < 0 ? h3_fail(h3, (int)consumed) : ERR_OK;
}

static enum err app_stream_data(void *app, int64_t id, const uint8_t *data, size_t len, bool fin) {
  struct h3 *h3 = app;
  if (h3->life != H3_ALIVE)
    return app_over(h3);
  enum err err = len > 0 ? bytes_in(h3, id, data, len) : ERR_OK;
  if (err == ERR_OK && fin)
    err = end_in(h3, id);
  return err == ERR_OK ? app_over(h3) : err;
}

static enum err app_stream_acked(void *app, int64_t id, uint64_t len) {
  struct h3 *h3 = app;
  if (h3->life != H3_ALIVE)
    return app_over(h3);
  return app_result(h3, nghttp3_conn_add_ack_offset(h3->http, id, len));
}

static enum err app_stream_room(void *app, int64_t id) {
  struct h3 *h3 = app;
  if (h3->life != H3_ALIVE)
    return app_over(h3);
  if (id == h3->decoder_id && !h3->decoder_free)
    return ERR_OK;
  /* nghttp3 would offer the rest of what it had queued before a reset. */
  const struct h3_stream *stream = h3_find(h3, id);
  if (stream != NULL && stream->out_state == H3_OUT_RESET)
    return ERR_OK;
  return app_result(h3, nghttp3_conn_unblock_stream(h3->http, id));
}

static enum err app_stream_reset(void *app, int64_t id, uint64_t code) {
  struct h3 *h3 = app;
  if (h3->life != H3_ALIVE)
    return app_over(h3);
  h3->decoder_owes += H3_DECODER_OWES_MAX; /* a cancellation is an answer */
  struct h3_stream *stream = h3_find(h3, id);
  bool news = stream != NULL && stream->state < H3_IN_DISCARD;
  if (stream != NULL)
    stream->state = H3_IN_END;
  else if (h3->settings.server && is_request(id))
    h3_reject(h3, id); /* reset before it began: our part has to be closed all the same */
  if (news) {
    stream->error = code == NGHTTP3_H3_REQUEST_REJECTED ? ERR_STREAM_REJECTED : ERR_STREAM_RESET;
    stream->code = code;
    if (stream->in != NULL)
      flow_end(stream->in, FLOW_ABORTED, (enum err)stream->error);
    h3_raise(stream, H3_RESET);
  }
  return app_result(h3, nghttp3_conn_shutdown_stream_read(h3->http, id));
}

/* QUIC has answered with RESET_STREAM already. */
static void stream_unwanted(struct h3 *h3, int64_t id, uint64_t code) {
  struct h3_stream *stream = h3_find(h3, id);
  nghttp3_conn_shutdown_stream_write(h3->http, id);
  if (stream == NULL || stream->out_state == H3_OUT_RESET)
    return;
  stream->out_state = H3_OUT_RESET;
  stream->code = code;
  enum err reason = code == NGHTTP3_H3_REQUEST_REJECTED ? ERR_STREAM_REJECTED : ERR_STREAM_RESET;
  if (stream->out != NULL)
    flow_end(stream->out, FLOW_CANCELLED, reason);
  h3_raise(stream, H3_STOPPED);
}

static enum err app_stream_stopped(void *app, int64_t id, uint64_t code) {
  struct h3 *h3 = app;
  if (h3->life != H3_ALIVE)
    return app_over(h3);
  stream_unwanted(h3, id, code);
  return ERR_OK;
}

static enum err app_stream_closed(void *app, int64_t id, uint64_t code) {
  struct h3 *h3 = app;
  if (h3->life != H3_ALIVE)
    return app_over(h3);
  struct h3_stream *stream = h3_find(h3, id);
  if (stream != NULL && stream->state < H3_IN_DISCARD && stream->unread_bytes > 0) {
    /* QUIC has handed everything over and forgets the stream, but the table entries that its head refers to are still
       on their way. */
    list_remove(&stream->pending);
    list_push(&h3->late, &stream->pending);
    return ERR_OK;
  }
  h3->decoder_owes++; /* it may be cancelled */
  int fault = nghttp3_conn_close_stream(h3->http, id, code);
  if (stream != NULL)
    h3_stream_over(stream);
  return app_result(h3, fault == NGHTTP3_ERR_STREAM_NOT_FOUND ? 0 : fault);
}

/* What QPACK's decoder has to say only lets the peer's encoder forget: nobody waits for it. It goes along with the next
   data, after it, or when there is much of it; with a stream of its own to be acknowledged it would else cost two
   datagrams for each message. */
static void decoder_free(struct h3 *h3) {
  if (h3->decoder_free || h3->decoder_owes == 0)
    return;
  h3->decoder_free = true;
  (void)nghttp3_conn_unblock_stream(h3->http, h3->decoder_id);
}

static void decoder_hold(struct h3 *h3) {
  if (!h3->decoder_free)
    return;
  h3->decoder_free = false;
  h3->decoder_owes = 0;
  nghttp3_conn_block_stream(h3->http, h3->decoder_id);
}

static size_t app_output(void *app, int64_t *id, bool *fin, struct iovec vecs[QUIC_OUTPUT_VECS]) {
  struct h3 *h3 = app;
  *id = -1;
  *fin = false;
  if (h3->life != H3_ALIVE)
    return h3->life == H3_FAILED ? QUIC_OUTPUT_FAILED : 0;
  nghttp3_vec vec[QUIC_OUTPUT_VECS];
  int end = 0;
  if (h3->decoder_owes >= H3_DECODER_OWES_MAX)
    decoder_free(h3);
  nghttp3_ssize count = nghttp3_conn_writev_stream(h3->http, id, &end, vec, QUIC_OUTPUT_VECS);
  if (*id != h3->decoder_id && *id != h3->control_id) /* it had nothing (more): only the control stream comes before */
    decoder_hold(h3);
  if (is_request(*id) && *id >= 0)
    decoder_free(h3); /* for the next call */
  if (count < 0) {
    (void)h3_fail(h3, (int)count);
    return QUIC_OUTPUT_FAILED;
  }
  *fin = end != 0;
  for (nghttp3_ssize i = 0; i < count; i++)
    vecs[i] = (struct iovec){.iov_base = vec[i].base, .iov_len = vec[i].len};
  return (size_t)count;
}

static enum err app_output_written(void *app, int64_t id, size_t len) {
  struct h3 *h3 = app;
  if (h3->life != H3_ALIVE)
    return app_over(h3);
  return app_result(h3, nghttp3_conn_add_write_offset(h3->http, id, len));
}

static void app_output_blocked(void *app, int64_t id) {
  struct h3 *h3 = app;
  if (h3->life == H3_ALIVE)
    nghttp3_conn_block_stream(h3->http, id);
}

static void app_output_shut(void *app, int64_t id) {
  struct h3 *h3 = app;
  if (h3->life == H3_ALIVE)
    stream_unwanted(h3, id, NGHTTP3_H3_NO_ERROR);
}

static uint64_t app_error(void *app) {
  const struct h3 *h3 = app;
  return nghttp3_err_infer_quic_app_error_code(h3->fault);
}

const struct quic_app h3_quic_app = {
    .stream_data = app_stream_data,
    .stream_ahead = app_stream_ahead,
    .stream_acked = app_stream_acked,
    .stream_room = app_stream_room,
    .stream_reset = app_stream_reset,
    .stream_stopped = app_stream_stopped,
    .stream_closed = app_stream_closed,
    .output = app_output,
    .output_written = app_output_written,
    .output_blocked = app_output_blocked,
    .output_shut = app_output_shut,
    .app_error = app_error,
};
