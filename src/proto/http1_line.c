/* One state for each part of a line; a part is consumed as one run of the characters that it may consist of, so that a
   line that arrives whole costs a few loops, and one that arrives byte by byte ends up in the same place. Strict as
   llhttp is: one space between the parts, CRLF and nothing else at the end. */
#include "proto/http1_line.h"

#include "proto/syntax.h"

enum part {
  PART_BEFORE,    /* a request: empty lines are skipped (RFC 9112 section 2.2) */
  PART_BEFORE_LF, /* the CR of an empty line was there */
  PART_METHOD,
  PART_TARGET,
  PART_VERSION, /* the last of a request line */
  PART_STATUS,  /* "HTTP/1.1 200" */
  PART_AFTER_STATUS,
  PART_REASON,
  PART_LF,
  PART_DONE,
};

enum {
  EMPTY_LINES_MAX = 4,
  VERSION_BYTES = 8,     /* "HTTP/1.1" */
  STATUS_BYTES = 12,     /* "HTTP/1.1 200" */
  REQUEST_COUNTED = 90,  /* what :scheme and the :authority of a request without Host add in HTTP/3 */
  RESPONSE_COUNTED = 42, /* :status */
};

static_assert(sizeof(((struct http1_reader *)0)->line_text) >= STATUS_BYTES, "the longest text that is gathered fits");

void http1_line_open(struct http1_reader *reader) {
  reader->line_part = reader->role == HTTP1_READS_REQUESTS ? PART_BEFORE : PART_STATUS;
  reader->line_text_len = 0;
  reader->empty_lines = 0;
}

bool http1_line_done(const struct http1_reader *reader) { return reader->line_part == PART_DONE; }

/* The run of characters of class |set| at |at|. */
static struct bytes run_of(const uint8_t *at, const uint8_t *end, unsigned set) {
  const uint8_t *start = at;
  while (at < end && (syntax_class[*at] & set))
    at++;
  return bytes_of(start, (size_t)(at - start));
}

/* A part that is kept in the head and ends with a space. */
static enum err read_kept(struct http1_reader *reader, const uint8_t **at, const uint8_t *end, struct text_at *kept,
                          unsigned set, enum part after) {
  struct bytes run = run_of(*at, end, set);
  *at += run.len;
  if (run.len > 0) {
    enum err err = head_append(reader->head, kept, run);
    if (err != ERR_OK)
      return err;
  }
  if (*at == end)
    return ERR_OK;
  if (**at != ' ' || kept->len == 0)
    return ERR_BAD_REQUEST;
  ++*at;
  reader->line_part = (uint8_t)after;
  return ERR_OK;
}

static enum err read_method(struct http1_reader *reader, const uint8_t **at, const uint8_t *end) {
  reader->started = true;
  struct text_at *method = &reader->head->method;
  if ((size_t)(end - *at) > METHOD_BYTES_MAX + 1U - method->len)
    end = *at + METHOD_BYTES_MAX + 1 - method->len;
  enum err err = read_kept(reader, at, end, method, CHAR_TOKEN, PART_TARGET);
  return err == ERR_OK && method->len > METHOD_BYTES_MAX ? ERR_BAD_REQUEST : err;
}

static enum err read_target(struct http1_reader *reader, const uint8_t **at, const uint8_t *end) {
  enum err err = read_kept(reader, at, end, &reader->head->target, CHAR_TARGET, PART_VERSION);
  return err == ERR_HEAD_TOO_LARGE ? ERR_TARGET_TOO_LONG : err;
}

/* Gathers up to |want| bytes. */
static void gather(struct http1_reader *reader, const uint8_t **at, const uint8_t *end, uint8_t want) {
  while (*at < end && reader->line_text_len < want && **at != '\r')
    reader->line_text[reader->line_text_len++] = *(*at)++;
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* "HTTP/" DIGIT "." DIGIT is a version, and 1.0 and 1.1 are the ones that we speak. */
static enum err take_version(struct http1_reader *reader) {
  const uint8_t *text = reader->line_text;
  if (memcmp(text, "HTTP/", 5) != 0 || !is_digit(text[5]) || text[6] != '.' || !is_digit(text[7]))
    return ERR_BAD_REQUEST;
  if (text[5] != '1' || text[7] > '1')
    return ERR_HTTP_VERSION;
  reader->head->minor_version = (uint8_t)(text[7] - '0');
  return ERR_OK;
}

static enum err read_version(struct http1_reader *reader, const uint8_t **at, const uint8_t *end) {
  gather(reader, at, end, VERSION_BYTES);
  if (*at == end)
    return ERR_OK;
  if (**at != '\r' || reader->line_text_len != VERSION_BYTES)
    return ERR_BAD_REQUEST;
  ++*at;
  reader->line_part = PART_LF;
  enum err err = take_version(reader);
  return err == ERR_OK ? head_count(reader->head, REQUEST_COUNTED) : err;
}

static enum err read_status(struct http1_reader *reader, const uint8_t **at, const uint8_t *end) {
  reader->started = true;
  gather(reader, at, end, STATUS_BYTES);
  /* Not to wait for twelve bytes of something else. */
  size_t prefix = reader->line_text_len < 5 ? reader->line_text_len : 5;
  if (memcmp(reader->line_text, "HTTP/", prefix) != 0)
    return ERR_BAD_REQUEST;
  if (reader->line_text_len < STATUS_BYTES)
    return *at == end ? ERR_OK : ERR_BAD_REQUEST;
  uint64_t status;
  if (take_version(reader) != ERR_OK || reader->line_text[8] != ' ' ||
      !syntax_decimal(bytes_of(reader->line_text + 9, 3), 999, &status))
    return ERR_BAD_REQUEST;
  reader->head->status = (uint16_t)status;
  reader->line_part = PART_AFTER_STATUS;
  return head_count(reader->head, RESPONSE_COUNTED);
}

/* The reason phrase says nothing and may be missing, with or without its space. */
static enum err read_reason(struct http1_reader *reader, const uint8_t **at, const uint8_t *end) {
  const uint8_t *start = *at;
  while (*at < end && !(syntax_class[**at] & CHAR_CONTROL))
    ++*at;
  if (*at < end) {
    if (**at != '\r')
      return ERR_BAD_REQUEST;
    ++*at;
    reader->line_part = PART_LF;
  }
  return head_count(reader->head, (size_t)(*at - start));
}

static enum err read_byte(struct http1_reader *reader, uint8_t byte, uint8_t expected, enum part after) {
  reader->line_part = (uint8_t)after;
  return byte == expected ? ERR_OK : ERR_BAD_REQUEST;
}

static enum err read_part(struct http1_reader *reader, const uint8_t **at, const uint8_t *end) {
  switch ((enum part)reader->line_part) {
  case PART_BEFORE:
    if (**at != '\r') {
      reader->line_part = PART_METHOD;
      return ERR_OK;
    }
    ++*at;
    reader->line_part = PART_BEFORE_LF;
    return ++reader->empty_lines <= EMPTY_LINES_MAX ? ERR_OK : ERR_BAD_REQUEST;
  case PART_BEFORE_LF:
    return read_byte(reader, *(*at)++, '\n', PART_BEFORE);
  case PART_METHOD:
    return read_method(reader, at, end);
  case PART_TARGET:
    return read_target(reader, at, end);
  case PART_VERSION:
    return read_version(reader, at, end);
  case PART_STATUS:
    return read_status(reader, at, end);
  case PART_AFTER_STATUS:
    reader->line_part = PART_REASON;
    return **at == ' ' || **at == '\r' ? ERR_OK : ERR_BAD_REQUEST;
  case PART_REASON:
    return read_reason(reader, at, end);
  case PART_LF:
    return read_byte(reader, *(*at)++, '\n', PART_DONE);
  case PART_DONE:
    break;
  }
  return ERR_OK;
}

enum err http1_line_read(struct http1_reader *reader, const uint8_t **at, const uint8_t *end) {
  enum err err = ERR_OK;
  while (err == ERR_OK && *at < end && reader->line_part != PART_DONE)
    err = read_part(reader, at, end);
  return err;
}
