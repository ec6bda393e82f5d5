/* What is to be sent is always this sequence, of which any part may be empty or still unknown:

     heads | chunk size line | body bytes | CRLF | last chunk, trailers

   http1_writer_fill lends from the first unsent byte on, as far as things are known, and http1_writer_sent walks the
   same sequence: so a send that took only a part leaves nothing to repair. Nothing is taken from the flow before it is
   sent. The texts between the body bytes are constants or lie in |frame|; heads and trailers lie in chunks.

   A small body that is there with its head is copied behind it, so that both are one piece: the kernel takes 190 ns
   more for a list of two than to copy 1 KB and to send one. */
#include "proto/http1_write.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "proto/http1_text.h"

enum { JOIN_BYTES_MAX = CHUNK_SMALL_BYTES };

enum stage {
  STAGE_WRITTEN,  /* no message under way */
  STAGE_INFORMED, /* 1xx heads were written, the final one is to come */
  STAGE_BODY,     /* body bytes go out; with HTTP1_BY_CHUNKS: between two chunks */
  STAGE_CHUNK,    /* the size line, or data, or the CRLF of a chunk */
};

static const char crlf[] = "\r\n";
static const char last_chunk[] = "0\r\n\r\n";

void http1_writer_open(struct http1_writer *writer, struct chunks *chunks) {
  *writer = (struct http1_writer){.chunks = chunks, .stage = STAGE_WRITTEN};
}

static void head_pop(struct http1_writer *writer) {
  struct chunk *chunk = writer->head;
  writer->head = chunk->next;
  writer->head_sent = 0;
  chunk->next = NULL;
  chunk_unref(chunk);
}

void http1_writer_close(struct http1_writer *writer) {
  while (writer->head != NULL)
    head_pop(writer);
  if (writer->tail != NULL)
    chunk_unref(writer->tail);
  *writer = (struct http1_writer){.chunks = writer->chunks, .stage = STAGE_WRITTEN};
}

/* The chunk that the next |len| bytes of head go to: the last one in the queue when they fit, else a new one at its
   end. What is lent already stays where it is. NULL when there is none. */
static struct chunk *head_chunk(struct http1_writer *writer, size_t len) {
  struct chunk **link = &writer->head;
  while (*link != NULL) {
    if ((*link)->next == NULL && chunk_room(*link) >= len)
      return *link;
    link = &(*link)->next;
  }
  if (len <= CHUNK_SMALL_BYTES)
    *link = chunk_get(writer->chunks, CHUNK_SMALL);
  if (*link == NULL && len <= CHUNK_LARGE_BYTES)
    *link = chunk_get(writer->chunks, CHUNK_LARGE);
  return *link;
}

/* The message before is out of the way; its flow may be gone. */
static bool may_start(const struct http1_writer *writer) {
  return writer->stage < STAGE_BODY || (writer->framing == HTTP1_BY_LENGTH && writer->length_left == 0);
}

static void start(struct http1_writer *writer, struct flow *body, const struct fields *trailers,
                  enum http1_framing framing, uint64_t length) {
  writer->body = framing == HTTP1_NO_BODY ? NULL : body;
  writer->trailers = trailers;
  writer->framing = (uint8_t)framing;
  writer->length_left = framing == HTTP1_BY_LENGTH ? length : UINT64_MAX;
  writer->chunk_left = 0;
  writer->joined = 0;
  writer->last_len = 0;
  writer->last_sent = 0;
  writer->stage = framing == HTTP1_NO_BODY ? STAGE_WRITTEN : STAGE_BODY;
}

/* A request without a body says nothing about it; one whose body turns out to be empty is the same. */
static enum http1_framing request_framing(const struct head *head, const struct flow *body,
                                          const struct fields *trailers) {
  if (head->body == BODY_SIZED)
    return HTTP1_BY_LENGTH;
  if (head->body == BODY_NONE)
    return HTTP1_NO_BODY;
  bool empty = body->end == FLOW_EOF && body->pushed == 0 && (trailers == NULL || trailers->count == 0);
  return empty ? HTTP1_NO_BODY : HTTP1_BY_CHUNKS;
}

/* Such a method without content says so (RFC 9110 section 8.6); some origins answer 411 else. */
static bool anticipates_content(const struct head *head) {
  return head_method_is(head, "POST") || head_method_is(head, "PUT") || head_method_is(head, "PATCH");
}

enum err http1_write_request(struct http1_writer *writer, const struct head *head, struct flow *body,
                             const struct fields *trailers) {
  must(may_start(writer));
  enum http1_framing framing = request_framing(head, body, trailers);
  struct chunk *chunk = head_chunk(writer, http1_text_bound(&head->fields));
  if (chunk == NULL)
    return ERR_OVERLOADED;
  struct http1_text text = http1_text_open(chunk);
  http1_text_request_line(&text, head);
  http1_text_fields(&text, &head->fields, true);
  if (framing == HTTP1_BY_CHUNKS)
    http1_text_add(&text, "Transfer-Encoding: chunked\r\n");
  else if (framing == HTTP1_NO_BODY && !head->has_length && anticipates_content(head))
    http1_text_add(&text, "Content-Length: 0\r\n");
  if (head->trailers_accepted)
    http1_text_add(&text, "TE: trailers\r\nConnection: TE\r\n");
  http1_text_close(&text);
  start(writer, body, trailers, framing, head->content_length);
  return ERR_OK;
}

static enum http1_framing response_framing(const struct head *head, const struct http1_reply_style *style) {
  if (style->request_was_head || head->status == 204 || head->status == 304)
    return HTTP1_NO_BODY;
  switch ((enum body_kind)head->body) {
  case BODY_NONE:
    return HTTP1_NO_BODY;
  case BODY_SIZED:
    return HTTP1_BY_LENGTH;
  case BODY_CHUNKED:
  case BODY_UNTIL_CLOSE:
    break;
  }
  return style->client_http10 ? HTTP1_BY_CLOSE : HTTP1_BY_CHUNKS;
}

enum err http1_write_response(struct http1_writer *writer, const struct head *head, struct flow *body,
                              const struct fields *trailers, const struct http1_reply_style *style, bool *close) {
  must(may_start(writer) && head->status >= 200);
  enum http1_framing framing = response_framing(head, style);
  struct chunk *chunk = head_chunk(writer, http1_text_bound(&head->fields));
  if (chunk == NULL)
    return ERR_OVERLOADED;
  *close = !style->keep_alive || framing == HTTP1_BY_CLOSE;
  struct http1_text text = http1_text_open(chunk);
  http1_text_status_line(&text, head->status);
  http1_text_fields(&text, &head->fields, false);
  if (style->date != NULL && fields_find(&head->fields, BYTES_LITERAL("date"), 0) == head->fields.count)
    http1_text_field(&text, BYTES_LITERAL("date"), bytes_of_text(style->date));
  if (framing == HTTP1_BY_CHUNKS)
    http1_text_add(&text, "Transfer-Encoding: chunked\r\n");
  /* Without a length the client would wait for the close. */
  if (framing == HTTP1_NO_BODY && !head->has_length && !style->request_was_head && head->status != 204 &&
      head->status != 304)
    http1_text_add(&text, "Content-Length: 0\r\n");
  if (*close)
    http1_text_add(&text, "Connection: close\r\n");
  else if (style->client_http10)
    http1_text_add(&text, "Connection: keep-alive\r\n");
  http1_text_close(&text);
  start(writer, body, trailers, framing, head->content_length);
  return ERR_OK;
}

enum err http1_write_informational(struct http1_writer *writer, const struct head *head) {
  must(may_start(writer) && head->status >= 100 && head->status < 200);
  struct chunk *chunk = head_chunk(writer, http1_text_bound(&head->fields));
  if (chunk == NULL)
    return ERR_OVERLOADED;
  struct http1_text text = http1_text_open(chunk);
  http1_text_status_line(&text, head->status);
  http1_text_fields(&text, &head->fields, false);
  http1_text_close(&text);
  start(writer, NULL, NULL, HTTP1_NO_BODY, 0);
  writer->stage = STAGE_INFORMED;
  return ERR_OK;
}

/* Gets the last chunk ready: a constant, or a chunk with the trailers. Without a chunk for them they are dropped: RFC
   9110 section 6.5 lets an intermediary do that, and there is no way to wait here. */
static void last_prepare(struct http1_writer *writer) {
  writer->last_len = sizeof(last_chunk) - 1;
  if (writer->trailers == NULL || writer->trailers->count == 0)
    return;
  size_t bound = http1_text_bound(writer->trailers);
  writer->tail = bound <= CHUNK_SMALL_BYTES ? chunk_get(writer->chunks, CHUNK_SMALL) : NULL;
  if (writer->tail == NULL)
    writer->tail = chunk_get(writer->chunks, CHUNK_LARGE);
  if (writer->tail == NULL)
    return;
  struct http1_text text = http1_text_open(writer->tail);
  http1_text_add(&text, "0\r\n");
  http1_text_fields(&text, writer->trailers, false);
  http1_text_close(&text);
  writer->last_len = writer->tail->used;
}

struct lending {
  struct iovec *iov;
  size_t count, max;
  uint64_t bytes;
};

static void lend(struct lending *lending, const void *data, size_t len) {
  if (len == 0 || lending->count == lending->max)
    return;
  lending->iov[lending->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
  lending->bytes += len;
}

/* Lends up to |limit| body bytes and returns how many. Leaves two entries free for what follows. */
static uint64_t lend_body(const struct http1_writer *writer, struct lending *lending, uint64_t limit) {
  size_t room = lending->max - lending->count;
  if (room <= 2 || limit == 0)
    return 0;
  room = room - 2 < FLOW_IOV_MAX ? room - 2 : FLOW_IOV_MAX;
  struct iovec *iov = lending->iov + lending->count;
  size_t count = flow_peek(writer->body, iov, room, NULL);
  uint64_t sum = 0;
  for (size_t i = 0; i < count && sum < limit; i++) {
    if (iov[i].iov_len > limit - sum)
      iov[i].iov_len = (size_t)(limit - sum);
    sum += iov[i].iov_len;
    lending->count++;
  }
  lending->bytes += sum;
  return sum;
}

/* Opens a chunk over what the flow has: at most as much as one list of entries takes. */
static void chunk_begin(struct http1_writer *writer) {
  struct iovec iov[FLOW_IOV_MAX];
  size_t bytes;
  flow_peek(writer->body, iov, FLOW_IOV_MAX, &bytes);
  if (bytes == 0)
    return;
  writer->chunk_left = bytes;
  writer->frame_len = (uint8_t)snprintf(writer->frame, sizeof(writer->frame), "%zx\r\n", bytes);
  writer->frame_sent = 0;
  writer->crlf_sent = 0;
  writer->stage = STAGE_CHUNK;
}

/* The open chunk, or a new one; then, when nothing comes after it, the last one: a small message is one send. */
static void lend_chunked(struct http1_writer *writer, struct lending *lending) {
  if (writer->stage == STAGE_BODY)
    chunk_begin(writer);
  if (writer->stage == STAGE_CHUNK) {
    lend(lending, writer->frame + writer->frame_sent, (size_t)writer->frame_len - writer->frame_sent);
    if (lend_body(writer, lending, writer->chunk_left) < writer->chunk_left)
      return;
    lend(lending, crlf + writer->crlf_sent, sizeof(crlf) - 1 - writer->crlf_sent);
  }
  if (writer->body->end != FLOW_EOF || flow_untaken(writer->body) != writer->chunk_left)
    return;
  if (writer->last_len == 0)
    last_prepare(writer);
  const void *last = writer->tail != NULL ? (const void *)writer->tail->data : last_chunk;
  lend(lending, (const uint8_t *)last + writer->last_sent, writer->last_len - writer->last_sent);
}

static void lend_heads(const struct http1_writer *writer, struct lending *lending) {
  uint32_t skip = writer->head_sent;
  for (const struct chunk *chunk = writer->head; chunk != NULL; chunk = chunk->next) {
    if (lending->max - lending->count <= 3)
      return;
    lend(lending, chunk->data + skip, chunk->used - skip);
    skip = 0;
  }
}

/* Copies a whole small body behind its head. It stays in the flow until it is sent, as any other. */
static void join(struct http1_writer *writer) {
  struct chunk *head = writer->head;
  const struct flow *body = writer->body;
  if (head == NULL || head->next != NULL || writer->joined > 0 || writer->stage != STAGE_BODY ||
      writer->framing != HTTP1_BY_LENGTH || writer->length_left > JOIN_BYTES_MAX ||
      writer->length_left > chunk_room(head) || body->end != FLOW_EOF || flow_untaken(body) != writer->length_left)
    return;
  struct iovec iov[FLOW_IOV_MAX];
  size_t bytes, count = flow_peek(body, iov, FLOW_IOV_MAX, &bytes);
  if (bytes != writer->length_left)
    return; /* in too many pieces */
  for (size_t i = 0; i < count; i++) {
    memcpy(head->data + head->used, iov[i].iov_base, iov[i].iov_len);
    head->used += (uint32_t)iov[i].iov_len;
  }
  writer->joined = (uint32_t)bytes;
}

static bool cancelled(const struct http1_writer *writer) {
  return writer->stage >= STAGE_BODY && writer->body->end == FLOW_CANCELLED;
}

size_t http1_writer_fill(struct http1_writer *writer, struct iovec *iov, size_t max) {
  must(writer->lent == 0 && max >= 4);
  struct lending lending = {.iov = iov, .max = max};
  /* All of a sized body is sent: from here on the flow may be gone, when HTTP1_WRITTEN was told. */
  if ((writer->framing == HTTP1_BY_LENGTH && writer->length_left == 0) || cancelled(writer))
    return 0;
  join(writer);
  lend_heads(writer, &lending);
  if (writer->stage >= STAGE_BODY && writer->joined == 0 && lending.max - lending.count >= 3) {
    if (writer->framing == HTTP1_BY_CHUNKS)
      lend_chunked(writer, &lending);
    else
      lend_body(writer, &lending, writer->length_left);
  }
  writer->lent = lending.bytes;
  return lending.count;
}

static void finish(struct http1_writer *writer) {
  if (writer->tail != NULL)
    chunk_unref(writer->tail);
  writer->tail = NULL;
  writer->body = NULL;
  writer->stage = STAGE_WRITTEN;
}

/* The part of |*len| bytes sent that a piece of |size| bytes accounts for. */
static uint32_t part_of(size_t *len, uint64_t size) {
  size_t part = *len < size ? *len : (size_t)size;
  *len -= part;
  return (uint32_t)part;
}

static void heads_sent(struct http1_writer *writer, size_t *len) {
  while (writer->head != NULL && *len > 0) {
    writer->head_sent += part_of(len, writer->head->used - writer->head_sent);
    if (writer->head_sent == writer->head->used)
      head_pop(writer);
  }
}

static size_t body_sent(struct http1_writer *writer, size_t *len, uint64_t limit) {
  size_t part = part_of(len, limit);
  flow_take(writer->body, part);
  flow_release(writer->body, part);
  return part;
}

static void chunked_sent(struct http1_writer *writer, size_t *len) {
  if (writer->stage == STAGE_CHUNK) {
    writer->frame_sent += (uint8_t)part_of(len, (uint64_t)writer->frame_len - writer->frame_sent);
    writer->chunk_left -= body_sent(writer, len, writer->chunk_left);
    writer->crlf_sent += (uint8_t)part_of(len, sizeof(crlf) - 1 - writer->crlf_sent);
    if (writer->crlf_sent == sizeof(crlf) - 1)
      writer->stage = STAGE_BODY;
  }
  writer->last_sent += part_of(len, writer->last_len - writer->last_sent);
  if (writer->last_len > 0 && writer->last_sent == writer->last_len)
    finish(writer);
}

/* What remains to be done for the body when the heads are sent. */
static enum http1_progress body_progress(const struct http1_writer *writer) {
  const struct flow *body = writer->body;
  bool more = flow_untaken(body) > 0, whole = body->end == FLOW_EOF;
  switch ((enum http1_framing)writer->framing) {
  case HTTP1_BY_CHUNKS:
    if (more || whole || writer->stage == STAGE_CHUNK)
      return HTTP1_WRITING;
    break;
  case HTTP1_BY_LENGTH:
    if (more)
      return writer->length_left > 0 ? HTTP1_WRITING : HTTP1_CUT;
    if (whole)
      return writer->length_left > 0 ? HTTP1_CUT : HTTP1_WRITTEN;
    break;
  case HTTP1_BY_CLOSE:
    if (more || whole)
      return more ? HTTP1_WRITING : HTTP1_WRITTEN;
    break;
  case HTTP1_NO_BODY:
    return HTTP1_WRITTEN;
  }
  return body->end == FLOW_OPEN ? HTTP1_WAITING : HTTP1_CUT;
}

void http1_writer_sent(struct http1_writer *writer, size_t len) {
  must(len <= writer->lent);
  writer->lent = 0;
  heads_sent(writer, &len);
  if (writer->joined > 0 && writer->head == NULL) { /* all of it went */
    len = writer->joined;
    writer->joined = 0;
  }
  if (len == 0)
    return;
  if (writer->framing == HTTP1_BY_CHUNKS) {
    chunked_sent(writer, &len);
  } else {
    writer->length_left -= body_sent(writer, &len, writer->length_left);
    if (body_progress(writer) == HTTP1_WRITTEN)
      finish(writer);
  }
  must(len == 0);
}

enum http1_progress http1_writer_progress(const struct http1_writer *writer) {
  if (cancelled(writer))
    return HTTP1_CUT;
  if (writer->head != NULL)
    return HTTP1_WRITING;
  if (writer->stage == STAGE_WRITTEN)
    return HTTP1_WRITTEN;
  return writer->stage == STAGE_INFORMED ? HTTP1_WAITING : body_progress(writer);
}
