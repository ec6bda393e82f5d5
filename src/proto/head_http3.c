/* Heads and trailers that came as HTTP/3 field sections, with the checks that nghttp3 leaves to its user
   (RELIABILITY.md 0.5), and the responses that we make ourselves. */
#include <stdio.h>

#include "proto/fields.h"
#include "proto/syntax.h"

enum pseudo {
  PSEUDO_METHOD = 1,
  PSEUDO_SCHEME = 2,
  PSEUDO_AUTHORITY = 4,
  PSEUDO_PATH = 8,
  PSEUDO_STATUS = 16,
  SEEN_HOST = 32, /* not a pseudo-header field, but as little allowed twice */
  SEEN_LENGTH = 64,
  SEEN_EXPECT = 128,
};

#define PSEUDO_NAME(text)                                                                                              \
  { (const uint8_t *)(text), sizeof(text) - 1 }

static const struct pseudo_row {
  struct bytes name;
  enum pseudo bit;
  bool response;
} pseudo_rows[] = {
    {PSEUDO_NAME(":method"), PSEUDO_METHOD, false},       {PSEUDO_NAME(":scheme"), PSEUDO_SCHEME, false},
    {PSEUDO_NAME(":authority"), PSEUDO_AUTHORITY, false}, {PSEUDO_NAME(":path"), PSEUDO_PATH, false},
    {PSEUDO_NAME(":status"), PSEUDO_STATUS, true},
};

static bool scheme_valid(struct bytes text) {
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i];
    bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    if (!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.')))
      return false;
  }
  return text.len > 0;
}

static enum err set_status(struct head *head, struct bytes value) {
  uint64_t status;
  if (value.len != 3 || !syntax_decimal(value, 999, &status) || status < 100)
    return ERR_BAD_MESSAGE;
  head->status = (uint16_t)status;
  return ERR_OK;
}

static enum err pseudo_set(struct head *head, const struct pseudo_row *row, struct bytes value) {
  switch (row->bit) {
  case PSEUDO_METHOD:
    return syntax_method(value) ? head_set(head, &head->method, value) : ERR_BAD_MESSAGE;
  case PSEUDO_AUTHORITY:
    return syntax_host(value) ? head_set(head, &head->authority, value) : ERR_BAD_MESSAGE;
  case PSEUDO_PATH:
    return syntax_path(value) ? head_set(head, &head->target, value) : ERR_BAD_MESSAGE;
  case PSEUDO_SCHEME:
    if (!scheme_valid(value))
      return ERR_BAD_MESSAGE;
    break;
  case PSEUDO_STATUS:
    if (set_status(head, value) != ERR_OK)
      return ERR_BAD_MESSAGE;
    break;
  case SEEN_HOST:
  case SEEN_LENGTH:
  case SEEN_EXPECT:
    break;
  }
  return head_count(head, row->name.len + value.len + FIELD_OVERHEAD_BYTES);
}

static enum err pseudo_add(struct head *head, bool response, struct bytes name, struct bytes value) {
  for (size_t i = 0; i < sizeof(pseudo_rows) / sizeof(pseudo_rows[0]); i++) {
    const struct pseudo_row *row = &pseudo_rows[i];
    if (!bytes_equal(name, row->name))
      continue;
    if (row->response != response || head->pseudo_done || (head->pseudo_seen & row->bit))
      return ERR_BAD_MESSAGE;
    head->pseudo_seen |= (uint8_t)row->bit;
    return pseudo_set(head, row, value);
  }
  return ERR_BAD_MESSAGE;
}

/* Host may stand for :authority, or repeat it (RFC 9114 section 4.3.1). */
static enum err host_add(struct head *head, struct bytes value) {
  if ((head->pseudo_seen & SEEN_HOST) || !syntax_host(value))
    return ERR_BAD_MESSAGE;
  head->pseudo_seen |= SEEN_HOST;
  if (!(head->pseudo_seen & PSEUDO_AUTHORITY))
    return head_set(head, &head->authority, value);
  return bytes_equal_nocase(value, head_authority(head)) ? ERR_OK : ERR_BAD_MESSAGE;
}

enum err head_add_http3(struct head *head, bool response, struct bytes name, struct bytes value) {
  if (name.len > 0 && name.data[0] == ':')
    return pseudo_add(head, response, name, value);
  head->pseudo_done = true;
  const struct name_rule *rule = syntax_rule_checked(name);
  if (rule == NULL || !syntax_value(value))
    return ERR_BAD_MESSAGE;
  if (rule->flags & NAME_NOT_HTTP3)
    return ERR_BAD_MESSAGE;
  if (rule->id == NAME_HOST && !response)
    return host_add(head, value);
  if (rule->id == NAME_TE) {
    if (!bytes_equal_nocase(value, BYTES_LITERAL("trailers")))
      return ERR_BAD_MESSAGE;
    head->trailers_accepted = true;
  }
  if (rule->flags & NAME_HOP)
    return head_count(head, name.len + value.len + FIELD_OVERHEAD_BYTES);
  if (rule->id == NAME_CONTENT_LENGTH)
    head->pseudo_seen |= SEEN_LENGTH;
  if (rule->id == NAME_EXPECT)
    head->pseudo_seen |= SEEN_EXPECT;
  return fields_add_noted(&head->fields, name, value, rule->flags);
}

/* The field called |name|, of which there is one at least; false when there is a second one. */
static bool find_single(const struct fields *fields, struct bytes name, uint32_t *index) {
  *index = fields_find(fields, name, 0);
  return *index == fields->count || fields_find(fields, name, *index + 1) == fields->count;
}

static enum err take_body(struct head *head) {
  uint32_t index;
  head->body = BODY_CHUNKED;
  if (!(head->pseudo_seen & SEEN_LENGTH))
    return ERR_OK;
  if (!find_single(&head->fields, BYTES_LITERAL("content-length"), &index))
    return ERR_BAD_MESSAGE;
  if (!head_take_length(head, index))
    return ERR_BAD_MESSAGE;
  head->body = head->content_length > 0 ? BODY_SIZED : BODY_NONE;
  return ERR_OK;
}

static enum err take_expectation(struct head *head) {
  struct bytes name, value;
  uint32_t index;
  if (!(head->pseudo_seen & SEEN_EXPECT))
    return ERR_OK;
  if (!find_single(&head->fields, BYTES_LITERAL("expect"), &index))
    return ERR_EXPECTATION;
  fields_get(&head->fields, index, &name, &value);
  if (!bytes_equal_nocase(value, BYTES_LITERAL("100-continue")))
    return ERR_EXPECTATION;
  head->expects_continue = true;
  return ERR_OK;
}

enum err head_check_request_http3(struct head *head) {
  const unsigned needed = PSEUDO_METHOD | PSEUDO_SCHEME | PSEUDO_PATH;
  if (head_method_is(head, "CONNECT"))
    return ERR_CONNECT_METHOD;
  if ((head->pseudo_seen & needed) != needed || head->authority.len == 0)
    return ERR_BAD_MESSAGE;
  if (head_target(head).data[0] == '*' && !head_method_is(head, "OPTIONS"))
    return ERR_BAD_MESSAGE;
  enum err err = take_body(head);
  return err == ERR_OK ? take_expectation(head) : err;
}

enum err head_check_response_http3(struct head *head, bool no_body) {
  if (!(head->pseudo_seen & PSEUDO_STATUS) || head->status == 101)
    return ERR_BAD_MESSAGE;
  enum err err = take_body(head);
  if (err != ERR_OK)
    return err;
  bool never = head->status < 200 || head->status == 204;
  if (no_body || never || head->status == 304)
    head->body = BODY_NONE;
  if (never && head->has_length) { /* RFC 9110 section 8.6: it must not be there, and must not be passed on */
    fields_remove(&head->fields, fields_find(&head->fields, BYTES_LITERAL("content-length"), 0));
    head->has_length = false;
    head->content_length = 0;
  }
  return ERR_OK;
}

enum err trailers_add_http3(struct fields *trailers, struct bytes name, struct bytes value) {
  const struct name_rule *rule = syntax_rule_checked(name);
  if (rule == NULL || !syntax_value(value) || (rule->flags & NAME_NOT_HTTP3))
    return ERR_BAD_MESSAGE;
  return fields_add(trailers, name, value);
}

enum err trailers_check(struct fields *trailers) {
  struct bytes name, value;
  for (uint32_t i = 0; i < trailers->count; i++) {
    if (!fields_get(trailers, i, &name, &value))
      continue;
    const struct name_rule *rule = syntax_rule_checked(name);
    if (rule == NULL || !syntax_value(value))
      return ERR_BAD_MESSAGE;
    fields_note(trailers, i, rule->flags);
    if (rule->flags & NAME_NO_TRAILER)
      fields_remove(trailers, i);
  }
  return ERR_OK;
}

enum err head_answer(struct head *head, uint16_t status, bool server, size_t body_len, const char *date) {
  char length[24];
  snprintf(length, sizeof(length), "%zu", body_len);
  const struct {
    const char *name, *value;
  } rows[] = {
      {"content-type", "text/plain;charset=UTF-8"},
      {"server", server ? "ptproxy server" : "ptproxy client"},
      {"content-length", length},
      {"date", date},
      {"retry-after", status == 503 ? "1" : NULL},
      /* RFC 9110 section 15.5.6; CONNECT is the only method that is refused */
      {"allow", status == 405 ? "GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH" : NULL},
  };
  head->status = status;
  head->body = body_len > 0 ? BODY_SIZED : BODY_NONE;
  head->has_length = true;
  head->content_length = body_len;
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    if (rows[i].value == NULL)
      continue;
    enum err err = fields_add(&head->fields, bytes_of_text(rows[i].name), bytes_of_text(rows[i].value));
    if (err != ERR_OK)
      return err;
  }
  return ERR_OK;
}
