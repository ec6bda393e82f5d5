/* Messages out. nghttp3 does framing and QPACK; it asks for the body of a message by read_data and lends what it gets
   to QUIC, so the bytes of a flow stay where they are until they are acknowledged. A message that cannot be completed
   is reset before nghttp3 hears of its end: FIN is only ever sent for a flow that has EOF and as many bytes as its head
   promises (RELIABILITY.md T-1).

   nghttp3 writes a head later than it was submitted and takes names and values from the head's own store: a head and
   trailers that were handed over must not be changed until H3_CLOSED. */
#include <string.h>

#include "base/limits.h"
#include "base/must.h"
#include "proto/h3_priv.h"
#include "proto/syntax.h"

/* Responses of a known small size go first; all others share the link in turns, as they belong to different users. */
enum { SMALL_RESPONSE_BYTES = 16384, SMALL_RESPONSE_URGENCY = NGHTTP3_DEFAULT_URGENCY - 1 };

/* --- heads ------------------------------------------------------------------------------------------------------ */

struct nv_list {
  nghttp3_nv nv[HEAD_FIELDS_MAX + 2 * HEAD_MARKS_MAX + 5]; /* pseudo-header fields and TE */
  size_t count;
  uint64_t bytes; /* as RFC 9114 section 4.2.2 counts */
  bool full;
};

static void nv_add(struct nv_list *list, struct bytes name, struct bytes value, uint8_t flags) {
  if (list->count == sizeof list->nv / sizeof list->nv[0]) {
    list->full = true;
    return;
  }
  list->bytes += name.len + value.len + FIELD_OVERHEAD_BYTES;
  list->nv[list->count++] = (nghttp3_nv){
      .name = name.data,
      .value = value.data,
      .namelen = name.len,
      .valuelen = value.len,
      .flags = flags,
  };
}

static void nv_add_fields(struct nv_list *list, const struct fields *fields, bool drop_length, uint8_t flags) {
  for (uint32_t i = 0; i < fields->count; i++) {
    struct bytes name, value;
    if (!fields_get(fields, i, &name, &value))
      continue;
    if (drop_length && bytes_equal(name, BYTES_LITERAL("content-length")))
      continue;
    bool no_index = (fields_flags(fields, i) & NAME_NO_INDEX) != 0;
    nv_add(list, name, value, no_index ? flags | NGHTTP3_NV_FLAG_NEVER_INDEX : flags);
  }
}

static void nv_open(struct nv_list *list) {
  list->count = 0;
  list->bytes = 0;
  list->full = false;
}

/* |flags|: whether nghttp3 is to copy names and values. */
static void nv_request(struct nv_list *list, const struct head *head, uint8_t flags) {
  /* HTTP/1.0 allows a request without Host, but nghttp3 at the other end ends the connection, and with it everybody's
     requests, over one that has neither :authority nor host, or an empty one. */
  struct bytes authority = head_authority(head);
  if (authority.len == 0)
    authority = BYTES_LITERAL("localhost");
  nv_open(list);
  nv_add(list, BYTES_LITERAL(":method"), head_method(head), flags);
  nv_add(list, BYTES_LITERAL(":scheme"), BYTES_LITERAL("https"), flags);
  nv_add(list, BYTES_LITERAL(":authority"), authority, flags);
  nv_add(list, BYTES_LITERAL(":path"), head_target(head), flags);
  nv_add_fields(list, &head->fields, false, flags);
  if (head->trailers_accepted)
    nv_add(list, BYTES_LITERAL("te"), BYTES_LITERAL("trailers"), flags);
}

static void nv_response(struct nv_list *list, const struct head *head, char status_text[3], uint8_t flags) {
  must(head->status >= 100 && head->status <= 999);
  status_text[0] = (char)('0' + head->status / 100);
  status_text[1] = (char)('0' + head->status / 10 % 10);
  status_text[2] = (char)('0' + head->status % 10);
  nv_open(list);
  nv_add(list, BYTES_LITERAL(":status"), bytes_of(status_text, 3), flags);
  /* RFC 9110 section 8.6 forbids the length there; nghttp3 at the other end takes one in 204 for a connection error. */
  nv_add_fields(list, &head->fields, head->status < 200 || head->status == 204, flags);
}

static bool nv_fits(const struct nv_list *list, const struct h3 *h3) {
  return !list->full && list->bytes <= h3->peer_section_bytes_max;
}

enum { NV_LENT = NGHTTP3_NV_FLAG_NO_COPY_NAME | NGHTTP3_NV_FLAG_NO_COPY_VALUE };

/* --- messages --------------------------------------------------------------------------------------------------- */

/* Submits the trailers; false: there are none, or the peer would not take them, and they may be left out then
   (RFC 9110 section 6.5.1). */
static bool submit_trailers(struct h3_stream *stream, int *fault) {
  *fault = 0;
  if (stream->trailers_out == NULL || stream->trailers_out->count == 0)
    return false;
  struct nv_list list;
  nv_open(&list);
  nv_add_fields(&list, stream->trailers_out, true, NV_LENT);
  if (list.count == 0 || !nv_fits(&list, stream->h3))
    return false;
  *fault = nghttp3_conn_submit_trailers(stream->h3->http, stream->id, list.nv, list.count);
  return true;
}

/* True when the message out can never be completed; |code| is what to reset it with. */
static bool output_spoilt(const struct h3_stream *stream, uint64_t *code) {
  const struct flow *out = stream->out;
  if (out->end != FLOW_OPEN && out->end != FLOW_EOF) {
    /* H3_NO_ERROR would say that the message was complete. */
    *code = err_h3_code(out->reason != ERR_OK ? (enum err)out->reason : ERR_STREAM_RESET);
    return true;
  }
  if (!stream->head_out->has_length)
    return false;
  uint64_t bytes = stream->sent_bytes + flow_untaken(out);
  *code = err_h3_code(ERR_BAD_MESSAGE);
  return bytes > stream->head_out->content_length || (out->end == FLOW_EOF && bytes < stream->head_out->content_length);
}

/* Nothing more to lend: FIN, or trailers and FIN. */
static nghttp3_ssize body_ends(struct h3_stream *stream, uint32_t *flags) {
  int fault;
  *flags |= NGHTTP3_DATA_FLAG_EOF;
  if (submit_trailers(stream, &fault))
    *flags |= NGHTTP3_DATA_FLAG_NO_END_STREAM;
  if (fault != 0)
    return NGHTTP3_ERR_CALLBACK_FAILURE;
  stream->out_state = H3_OUT_DONE;
  return 0;
}

static nghttp3_ssize read_data(nghttp3_conn *http, int64_t id, nghttp3_vec *vec, size_t veccnt, uint32_t *flags,
                               void *context, void *stream_context) {
  (void)http, (void)id, (void)context;
  struct h3_stream *stream = stream_context;
  uint64_t code;
  if (stream->out_state != H3_OUT_OPEN)
    return NGHTTP3_ERR_WOULDBLOCK;
  if (output_spoilt(stream, &code)) {
    h3_ask_reset(stream, code);
    return NGHTTP3_ERR_WOULDBLOCK;
  }
  struct flow *out = stream->out;
  struct iovec iov[FLOW_IOV_MAX];
  size_t bytes, count = flow_peek(out, iov, veccnt < FLOW_IOV_MAX ? veccnt : FLOW_IOV_MAX, &bytes);
  for (size_t i = 0; i < count; i++)
    vec[i] = (nghttp3_vec){.base = iov[i].iov_base, .len = iov[i].iov_len};
  if (bytes > 0) {
    flow_take(out, bytes);
    stream->sent_bytes += bytes;
    if (out->end == FLOW_OPEN)
      h3_raise(stream, H3_ROOM);
  }
  if (flow_finished(out)) {
    nghttp3_ssize fault = body_ends(stream, flags);
    return fault < 0 ? fault : (nghttp3_ssize)count;
  }
  if (bytes > 0)
    return (nghttp3_ssize)count;
  stream->out_state = H3_OUT_WAITING;
  return NGHTTP3_ERR_WOULDBLOCK;
}

static bool has_body(const struct h3_stream *stream, const struct head *head) {
  if (head->body == BODY_NONE || head->status == 204 || head->status == 304)
    return false;
  return !stream->h3->settings.server || stream->head == NULL || !head_method_is(stream->head, "HEAD");
}

/* Binds the message and says how nghttp3 gets the body: the result points to |reader|, or is NULL. */
static const nghttp3_data_reader *message_bind(struct h3_stream *stream, const struct head *head, struct flow *out,
                                               const struct fields *trailers, nghttp3_data_reader *reader) {
  bool body = has_body(stream, head);
  if (body && out == NULL) {
    must(head->has_length && head->content_length == 0);
    body = false;
  }
  stream->head_out = head;
  stream->out = out;
  stream->trailers_out = trailers;
  stream->out_state = body ? H3_OUT_OPEN : H3_OUT_DONE;
  *reader = (nghttp3_data_reader){.read_data = read_data};
  return body ? reader : NULL;
}

enum err h3_request(struct h3 *h3, struct h3_stream **stream_out, void *owner, const struct head *head,
                    struct flow *out, const struct fields *trailers, struct head *head_in,
                    struct head *informational_in, struct flow *in, struct fields *trailers_in) {
  must(!h3->settings.server);
  if (h3->life != H3_ALIVE || h3->peer_goaway || h3->goaway_sent != H3_GOAWAY_NONE)
    return ERR_LINK_DOWN;
  struct nv_list list;
  nv_request(&list, head, NV_LENT);
  if (!nv_fits(&list, h3))
    return ERR_HEAD_TOO_LARGE;
  struct h3_stream *stream = h3_stream_get(h3);
  if (stream == NULL)
    return ERR_AGAIN;
  int64_t id;
  enum err err = quic_open_stream(h3->quic, &id);
  if (err != ERR_OK) {
    pool_put(stream->pool, stream);
    return err;
  }
  h3_stream_list(stream, id);
  stream->owner = owner;
  stream->head = head_in;
  stream->informational = informational_in;
  stream->in = in;
  stream->trailers = trailers_in;
  stream->no_body = head_method_is(head, "HEAD");
  nghttp3_data_reader reader;
  const nghttp3_data_reader *body = message_bind(stream, head, out, trailers, &reader);
  if (nghttp3_conn_submit_request(h3->http, id, list.nv, list.count, body, stream) != 0) {
    h3_stream_unlist(stream);
    pool_put(stream->pool, stream);
    quic_stream_reset(h3->quic, id, NGHTTP3_H3_INTERNAL_ERROR);
    return ERR_NO_MEMORY;
  }
  *stream_out = stream;
  h3_output(stream);
  return ERR_OK;
}

static enum err response_possible(const struct h3_stream *stream) {
  if (stream->over || stream->h3->life != H3_ALIVE)
    return ERR_LINK_DOWN;
  must(stream->h3->settings.server);
  must(stream->out_state == H3_OUT_IDLE || stream->out_state == H3_OUT_RESET);
  return stream->out_state == H3_OUT_IDLE ? ERR_OK : ERR_STREAM_RESET;
}

enum err h3_inform(struct h3_stream *stream, const struct head *head) {
  must(head->status >= 100 && head->status < 200 && head->status != 101);
  enum err err = response_possible(stream);
  if (err != ERR_OK)
    return err;
  struct nv_list list;
  char status_text[3];
  nv_response(&list, head, status_text, NGHTTP3_NV_FLAG_NONE);
  if (!nv_fits(&list, stream->h3))
    return ERR_HEAD_TOO_LARGE;
  int fault = nghttp3_conn_submit_info(stream->h3->http, stream->id, list.nv, list.count);
  return fault == 0 ? ERR_OK : ERR_NO_MEMORY;
}

enum err h3_respond(struct h3_stream *stream, const struct head *head, struct flow *out,
                    const struct fields *trailers) {
  must(head->status >= 200);
  enum err err = response_possible(stream);
  if (err != ERR_OK)
    return err;
  struct h3 *h3 = stream->h3;
  struct nv_list list;
  nv_response(&list, head, stream->status_text, NV_LENT);
  if (!nv_fits(&list, h3))
    return ERR_HEAD_TOO_LARGE;
  nghttp3_data_reader reader;
  const nghttp3_data_reader *body = message_bind(stream, head, out, trailers, &reader);
  bool small = body == NULL || (head->has_length && head->content_length <= SMALL_RESPONSE_BYTES);
  nghttp3_pri priority = {.urgency = small ? SMALL_RESPONSE_URGENCY : NGHTTP3_DEFAULT_URGENCY, .inc = !small};
  int fault = nghttp3_conn_set_server_stream_priority(h3->http, stream->id, &priority);
  if (fault == 0)
    fault = nghttp3_conn_submit_response(h3->http, stream->id, list.nv, list.count, body);
  if (fault != 0) {
    h3_cancel(stream, ERR_NO_MEMORY);
    return ERR_NO_MEMORY;
  }
  h3_output(stream);
  return ERR_OK;
}

void h3_output(struct h3_stream *stream) {
  if (stream->over || stream->h3->life != H3_ALIVE)
    return;
  if (stream->out_state != H3_OUT_OPEN && stream->out_state != H3_OUT_WAITING)
    return;
  uint64_t code;
  if (output_spoilt(stream, &code)) {
    h3_ask_reset(stream, code);
    h3_carry_out(stream->h3);
    return;
  }
  if (stream->out_state == H3_OUT_OPEN || (stream->out->end == FLOW_OPEN && flow_untaken(stream->out) == 0))
    return;
  stream->out_state = H3_OUT_OPEN;
  int fault = nghttp3_conn_resume_stream(stream->h3->http, stream->id);
  if (fault != 0)
    h3_fail(stream->h3, fault);
}
