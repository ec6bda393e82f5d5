/* Who does what: http1_line.c reads the start line, llhttp the field lines and the chunked coding, head_http1.c decides
   what they mean, and this file moves from one to the next. llhttp is started anew for each head, on a request line
   that is always the same: it never learns method, status or version, so that it has nothing to decide about the body
   (it would read past a HEAD's response, or stop at its own idea of an upgrade), and its request mode, the stricter
   one, serves for responses too. It is stopped at the end of the head and goes on only when the body is chunked. */
#include "proto/http1_read.h"

#include <llhttp.h>
#include <pthread.h>

#include "base/must.h"
#include "proto/http1_line.h"
#include "proto/syntax.h"

enum state {
  STATE_IDLE, /* between messages: http1_reader_next */
  STATE_LINE,
  STATE_FIELDS,
  STATE_INFORMED, /* a 1xx head is with the caller: http1_reader_final */
  STATE_NO_BODY,
  STATE_SIZED,
  STATE_CHUNKED,
  STATE_UNTIL_CLOSE,
  STATE_BROKEN,
};

enum {
  EXTENSION_BYTES_MAX = 4096, /* chunk extensions of a message; they are dropped */
  CHUNK_LINE_BYTES = 24,      /* what a chunk costs beside its data: size, two CRLF, and some leading zeros */
};

static_assert(sizeof(llhttp_t) <= HTTP1_PARSER_BYTES, "the parser has room");

static llhttp_t *parser_of(struct http1_reader *reader) { return (llhttp_t *)(void *)reader->parser; }

/* Notes why the message is broken; llhttp stops. */
static int callback_end(struct http1_reader *reader, enum err err) {
  if (err == ERR_OK)
    return HPE_OK;
  reader->error = (uint8_t)err;
  return HPE_USER;
}

static struct fields *list_of(struct http1_reader *reader) {
  return reader->state == STATE_CHUNKED ? reader->trailers : &reader->head->fields;
}

/* A field that lies in the input whole is added to the list at once. One that comes in pieces is put together there. */

static enum err store_pieces(struct http1_reader *reader) {
  struct bytes name = reader->name, value = reader->value;
  reader->name = reader->value = bytes_of(NULL, 0);
  enum err err = name.len > 0 ? fields_name(list_of(reader), name) : ERR_OK;
  return err == ERR_OK && value.len > 0 ? fields_value(list_of(reader), value) : err;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len) {
  struct http1_reader *reader = parser->data;
  if (list_of(reader)->open_name_len == 0 && reader->name.len == 0) {
    reader->name = bytes_of(at, len);
    return len > FIELD_NAME_BYTES_MAX ? callback_end(reader, store_pieces(reader)) : HPE_OK;
  }
  enum err err = store_pieces(reader);
  return callback_end(reader, err == ERR_OK ? fields_name(list_of(reader), bytes_of(at, len)) : err);
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len) {
  struct http1_reader *reader = parser->data;
  if (reader->name.len > 0 && reader->value.len == 0) {
    reader->value = bytes_of(at, len);
    return HPE_OK;
  }
  enum err err = store_pieces(reader);
  return callback_end(reader, err == ERR_OK ? fields_value(list_of(reader), bytes_of(at, len)) : err);
}

static int on_header_value_complete(llhttp_t *parser) {
  struct http1_reader *reader = parser->data;
  struct bytes name = reader->name, value = reader->value;
  reader->name = reader->value = bytes_of(NULL, 0);
  struct fields *list = list_of(reader);
  return callback_end(reader, name.len > 0 ? fields_line(list, name, value) : fields_commit(list));
}

static int on_complete(llhttp_t *parser) {
  (void)parser;
  return HPE_PAUSED;
}

static enum err push_body(struct http1_reader *reader, uint32_t offset, uint32_t len) {
  reader->body_bytes += len;
  return flow_push(reader->body, reader->chunk, offset, len);
}

static int on_body(llhttp_t *parser, const char *at, size_t len) {
  struct http1_reader *reader = parser->data;
  size_t offset = (size_t)((const uint8_t *)at - reader->chunk->data);
  return callback_end(reader, push_body(reader, (uint32_t)offset, (uint32_t)len));
}

static int on_chunk_extension(llhttp_t *parser, const char *at, size_t len) {
  struct http1_reader *reader = parser->data;
  (void)at;
  reader->extension_bytes += (uint32_t)len + 1;
  return callback_end(reader, reader->extension_bytes > EXTENSION_BYTES_MAX ? ERR_BAD_REQUEST : ERR_OK);
}

/* A size that no body can have is one that somebody else will read as another. */
static int on_chunk_header(llhttp_t *parser) {
  struct http1_reader *reader = parser->data;
  reader->overhead_allowed += CHUNK_LINE_BYTES;
  return callback_end(reader, parser->content_length > CONTENT_LENGTH_MAX ? ERR_BAD_REQUEST : ERR_OK);
}

static const llhttp_settings_t settings = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_complete,
    .on_body = on_body,
    .on_message_complete = on_complete,
    .on_chunk_extension_name = on_chunk_extension,
    .on_chunk_extension_value = on_chunk_extension,
    .on_chunk_header = on_chunk_header,
};

/* llhttp behind the request line that is always the same: the line is parsed once, and the parser copied for each head.
 */
static llhttp_t behind_line;
static pthread_once_t behind_line_made = PTHREAD_ONCE_INIT;

static void make_behind_line(void) {
  static const char line[] = "POST / HTTP/1.1\r\n";
  llhttp_init(&behind_line, HTTP_REQUEST, &settings);
  must(llhttp_execute(&behind_line, line, sizeof(line) - 1) == HPE_OK);
}

void http1_reader_open(struct http1_reader *reader, enum http1_role role) {
  must(pthread_once(&behind_line_made, make_behind_line) == 0);
  *reader = (struct http1_reader){.role = (uint8_t)role, .state = STATE_IDLE};
}

void http1_reader_next(struct http1_reader *reader, struct head *head, struct flow *body, struct fields *trailers,
                       bool no_body) {
  must(reader->state == STATE_IDLE);
  reader->head = head;
  reader->body = body;
  reader->trailers = trailers;
  reader->no_body = no_body;
  reader->started = false;
  reader->error = ERR_OK;
  reader->informational = 0;
  reader->body_bytes = 0;
  reader->extension_bytes = 0;
  reader->line_bytes = 0;
  reader->state = STATE_LINE;
  http1_line_open(reader);
}

void http1_reader_final(struct http1_reader *reader) {
  must(reader->state == STATE_INFORMED);
  head_close(reader->head);
  reader->line_bytes = 0;
  reader->state = STATE_LINE;
  http1_line_open(reader);
}

static enum http1_step broken(struct http1_reader *reader, enum err err) {
  if (reader->role == HTTP1_READS_RESPONSES && err != ERR_OVERLOADED && err != ERR_ORIGIN_CLOSED)
    err = ERR_ORIGIN_BAD_RESPONSE;
  reader->error = (uint8_t)err;
  reader->state = STATE_BROKEN;
  flow_end(reader->body, FLOW_ABORTED, err);
  return HTTP1_BROKEN;
}

/* Lets llhttp consume. HPE_OK: all of it; HPE_PAUSED: up to what was waited for; else |reader->error| says why not. */
static llhttp_errno_t parse(struct http1_reader *reader, uint32_t *offset, uint32_t end) {
  llhttp_t *parser = parser_of(reader);
  const uint8_t *data = reader->chunk->data + *offset;
  parser->data = reader;
  reader->error = ERR_BAD_REQUEST;
  llhttp_errno_t result = llhttp_execute(parser, (const char *)data, end - *offset);
  if (result == HPE_OK)
    result = (llhttp_errno_t)callback_end(reader, store_pieces(reader));
  else
    reader->name = reader->value = bytes_of(NULL, 0);
  if (result == HPE_OK)
    *offset = end;
  else if (result == HPE_PAUSED)
    *offset += (uint32_t)((const uint8_t *)llhttp_get_error_pos(parser) - data);
  if (result == HPE_OK || result == HPE_PAUSED)
    reader->error = ERR_OK;
  return result;
}

static enum http1_step message_complete(struct http1_reader *reader) {
  flow_end(reader->body, FLOW_EOF, ERR_OK);
  reader->state = STATE_IDLE;
  reader->started = false;
  return HTTP1_MESSAGE;
}

static enum http1_step head_complete(struct http1_reader *reader) {
  static const uint8_t states[] = {
      [BODY_NONE] = STATE_NO_BODY,
      [BODY_SIZED] = STATE_SIZED,
      [BODY_CHUNKED] = STATE_CHUNKED,
      [BODY_UNTIL_CLOSE] = STATE_UNTIL_CLOSE,
  };
  struct head *head = reader->head;
  bool chunked = (parser_of(reader)->flags & F_CHUNKED) != 0;
  enum err err = reader->role == HTTP1_READS_REQUESTS ? head_check_request_http1(head, chunked)
                                                      : head_check_response_http1(head, chunked, reader->no_body);
  if (err == ERR_OK && head->status >= 100 && head->status < 200 && ++reader->informational > INFORMATIONAL_MAX)
    err = ERR_ORIGIN_BAD_RESPONSE;
  if (err != ERR_OK)
    return broken(reader, err);
  if (head->status >= 100 && head->status < 200) {
    reader->state = STATE_INFORMED;
    return HTTP1_INFORMATIONAL;
  }
  reader->state = states[head->body];
  if (head->body == BODY_CHUNKED) {
    llhttp_resume(parser_of(reader));
    reader->overhead = 0;
    reader->overhead_allowed = CHUNK_LINE_BYTES + EXTENSION_BYTES_MAX + reader->trailers->limits.bytes;
  }
  return HTTP1_HEAD;
}

static enum http1_step read_fields(struct http1_reader *reader, uint32_t *offset, uint32_t end) {
  uint32_t start = *offset;
  if (start == end)
    return HTTP1_MORE;
  llhttp_errno_t result = parse(reader, offset, end);
  if (result != HPE_OK && result != HPE_PAUSED)
    return broken(reader, reader->error);
  /* White space that llhttp drops is not in the list, but somebody has to read it. */
  reader->line_bytes += *offset - start;
  if (reader->line_bytes > reader->head->fields.limits.bytes)
    return broken(reader, ERR_HEAD_TOO_LARGE);
  return result == HPE_PAUSED ? head_complete(reader) : HTTP1_MORE;
}

static enum http1_step read_line(struct http1_reader *reader, uint32_t *offset, uint32_t end) {
  const uint8_t *data = reader->chunk->data, *at = data + *offset;
  enum err err = http1_line_read(reader, &at, data + end);
  *offset = (uint32_t)(at - data);
  if (err != ERR_OK)
    return broken(reader, err);
  if (!http1_line_done(reader))
    return HTTP1_MORE;
  *parser_of(reader) = behind_line;
  reader->state = STATE_FIELDS;
  return read_fields(reader, offset, end);
}

static enum http1_step read_sized(struct http1_reader *reader, uint32_t *offset, uint32_t end) {
  uint64_t left = reader->head->content_length - reader->body_bytes;
  uint32_t len = end - *offset < left ? end - *offset : (uint32_t)left;
  if (push_body(reader, *offset, len) != ERR_OK)
    return broken(reader, ERR_OVERLOADED);
  *offset += len;
  return len == left ? message_complete(reader) : HTTP1_MORE;
}

static enum http1_step read_chunked(struct http1_reader *reader, uint32_t *offset, uint32_t end) {
  uint32_t start = *offset;
  uint64_t body_bytes = reader->body_bytes;
  if (start == end)
    return HTTP1_MORE;
  llhttp_errno_t result = parse(reader, offset, end);
  if (result != HPE_OK && result != HPE_PAUSED)
    return broken(reader, reader->error);
  reader->overhead += *offset - start - (reader->body_bytes - body_bytes);
  if (reader->overhead > reader->overhead_allowed)
    return broken(reader, ERR_BAD_REQUEST);
  if (result == HPE_OK)
    return HTTP1_MORE;
  if (trailers_check(reader->trailers) != ERR_OK)
    return broken(reader, ERR_BAD_REQUEST);
  return message_complete(reader);
}

static enum http1_step read_until_close(struct http1_reader *reader, uint32_t *offset, uint32_t end) {
  if (push_body(reader, *offset, end - *offset) != ERR_OK)
    return broken(reader, ERR_OVERLOADED);
  *offset = end;
  return HTTP1_MORE;
}

static enum http1_step read_in_state(struct http1_reader *reader, uint32_t *offset, uint32_t end) {
  switch ((enum state)reader->state) {
  case STATE_LINE:
    return read_line(reader, offset, end);
  case STATE_FIELDS:
    return read_fields(reader, offset, end);
  case STATE_NO_BODY:
    return message_complete(reader);
  case STATE_SIZED:
    return read_sized(reader, offset, end);
  case STATE_CHUNKED:
    return read_chunked(reader, offset, end);
  case STATE_UNTIL_CLOSE:
    return read_until_close(reader, offset, end);
  case STATE_IDLE:
  case STATE_INFORMED:
  case STATE_BROKEN:
    break;
  }
  must_never("http1_read is called for a message that goes on");
}

enum http1_step http1_read(struct http1_reader *reader, struct chunk *chunk, uint32_t *offset, uint32_t end) {
  must(*offset <= end && end <= chunk->used);
  reader->chunk = chunk;
  enum http1_step step = read_in_state(reader, offset, end);
  reader->chunk = NULL;
  return step;
}

enum http1_step http1_read_end(struct http1_reader *reader) {
  bool requests = reader->role == HTTP1_READS_REQUESTS;
  enum err gone = requests ? ERR_CLIENT_GONE : ERR_ORIGIN_CLOSED;
  switch ((enum state)reader->state) {
  case STATE_IDLE:
    return HTTP1_MORE;
  case STATE_NO_BODY:
  case STATE_UNTIL_CLOSE:
    return message_complete(reader);
  case STATE_LINE:
    if (requests && !reader->started)
      return HTTP1_MORE;
    break;
  case STATE_SIZED:
  case STATE_CHUNKED:
    flow_end(reader->body, FLOW_TRUNCATED, gone);
    break;
  case STATE_FIELDS:
  case STATE_INFORMED:
    break;
  case STATE_BROKEN:
    return HTTP1_BROKEN;
  }
  reader->error = (uint8_t)gone;
  reader->state = STATE_BROKEN;
  return HTTP1_BROKEN;
}

enum err http1_reader_error(const struct http1_reader *reader) { return reader->error; }

bool http1_reader_started(const struct http1_reader *reader) { return reader->started; }
