/* What an intermediary does to a head that came as HTTP/1.x: one pass over the fields gathers everything that the
   rules ask about, then each rule is one function. Framing is decided here and nowhere else: head->body. */
#include "base/must.h"
#include "proto/fields.h"
#include "proto/syntax.h"

enum { NOMINATED_MAX = 32 }; /* fields that Connection may name: each costs a pass */

/* What the fields say. Counts, not flags, where a second field is an error. */
struct survey {
  uint32_t hosts, host;     /* number, and index of the last */
  uint32_t lengths, length; /* Content-Length likewise */
  uint32_t codings;         /* elements of Transfer-Encoding */
  bool coding_malformed;    /* one that is not a token */
  bool chunked_early;       /* "chunked", and then another element */
  bool chunked_last;
  uint32_t expects, expect;
  bool expect_unknown;
  uint32_t connections; /* Connection fields, which stay in the list until what they name is gone */
  uint32_t nominated;   /* names in them, other than those of hop-by-hop fields and options */
  bool close, keep_alive, trailers;
};

static bool is_option(struct bytes element, const char *option) {
  return bytes_equal_nocase(element, bytes_of_text(option));
}

static void survey_connection(struct survey *survey, struct bytes value) {
  struct bytes element;
  while (syntax_list_next(&value, &element)) {
    if (is_option(element, "close"))
      survey->close = true;
    else if (is_option(element, "keep-alive"))
      survey->keep_alive = true;
    else if (!is_option(element, "te") && !is_option(element, "upgrade") && syntax_token(element))
      survey->nominated++;
  }
}

static void survey_codings(struct survey *survey, struct bytes value) {
  struct bytes element;
  while (syntax_list_next(&value, &element)) {
    survey->codings++;
    survey->chunked_early |= survey->chunked_last;
    survey->chunked_last = is_option(element, "chunked");
    survey->coding_malformed |= !syntax_token(element);
  }
}

static void survey_te(struct survey *survey, struct bytes value) {
  struct bytes element;
  while (syntax_list_next(&value, &element))
    survey->trailers |= is_option(element, "trailers");
}

static void survey_field(struct survey *survey, uint32_t index, enum name_id id, struct bytes value) {
  switch (id) {
  case NAME_CONNECTION:
    survey->connections++;
    survey_connection(survey, value);
    break;
  case NAME_CONTENT_LENGTH:
    survey->lengths++;
    survey->length = index;
    break;
  case NAME_EXPECT:
    survey->expects++;
    survey->expect = index;
    survey->expect_unknown |= !is_option(value, "100-continue");
    break;
  case NAME_HOST:
    survey->hosts++;
    survey->host = index;
    break;
  case NAME_TE:
    survey_te(survey, value);
    break;
  case NAME_TRANSFER_ENCODING:
    survey_codings(survey, value);
    break;
  case NAME_OTHER:
    break;
  }
}

/* Removes the fields that are called |name| in whatever case, unless they are not Connection's to remove. */
static void remove_nominated(struct fields *fields, struct bytes name) {
  struct bytes have, value;
  for (uint32_t i = 0; i < fields->count; i++)
    if (fields_get(fields, i, &have, &value) && bytes_equal_nocase(have, name) &&
        (fields_flags(fields, i) & (NAME_FIXED | NAME_HOP)) == 0)
      fields_remove(fields, i);
}

/* Removes the Connection fields and what they name (RFC 9110 section 7.6.1). */
static void remove_connections(struct fields *fields, const struct survey *survey) {
  struct bytes name, value, element;
  uint32_t index = 0;
  for (uint32_t left = survey->connections; left > 0; left--) {
    index = fields_find(fields, BYTES_LITERAL("connection"), index);
    must(index < fields->count);
    fields_get(fields, index, &name, &value);
    while (survey->nominated > 0 && syntax_list_next(&value, &element))
      remove_nominated(fields, element);
    fields_remove(fields, index);
  }
}

/* Fills |survey| and takes hop-by-hop fields out of the list. */
static enum err survey_fields(struct fields *fields, struct survey *survey) {
  struct bytes name, value;
  *survey = (struct survey){.hosts = 0};
  for (uint32_t i = 0; i < fields->count; i++) {
    if (!fields_get(fields, i, &name, &value))
      continue;
    const struct name_rule *rule = syntax_rule_checked(name);
    if (rule == NULL || !syntax_value(value))
      return ERR_BAD_REQUEST;
    fields_note(fields, i, rule->flags);
    if (rule->id != NAME_OTHER)
      survey_field(survey, i, rule->id, value);
    if ((rule->flags & NAME_HOP) && rule->id != NAME_CONNECTION)
      fields_remove(fields, i);
  }
  if (survey->nominated > NOMINATED_MAX)
    return ERR_HEAD_TOO_LARGE;
  if (survey->connections > 0)
    remove_connections(fields, survey);
  return ERR_OK;
}

static enum err take_length(struct head *head, const struct survey *survey) {
  if (survey->lengths == 0)
    return ERR_OK;
  return survey->lengths == 1 && head_take_length(head, survey->length) ? ERR_OK : ERR_BAD_REQUEST;
}

/* The body of a message that may have one. |chunked| is what the parser has understood: the two must agree. */
static enum err take_framing(struct head *head, const struct survey *survey, bool chunked) {
  if (survey->codings > 0) {
    if (survey->lengths > 0 || head->minor_version == 0 || survey->coding_malformed || survey->chunked_early ||
        !survey->chunked_last)
      return ERR_BAD_REQUEST;
    if (survey->codings > 1)
      return survey->codings == 2 ? ERR_NOT_IMPLEMENTED : ERR_BAD_REQUEST;
  }
  if (chunked != (survey->codings > 0))
    return ERR_BAD_REQUEST;
  enum err err = take_length(head, survey);
  if (err != ERR_OK)
    return err;
  if (chunked)
    head->body = BODY_CHUNKED;
  else
    head->body = head->content_length > 0 ? BODY_SIZED : BODY_NONE;
  return ERR_OK;
}

static void take_persistence(struct head *head, const struct survey *survey) {
  head->keep_alive = head->minor_version == 0 && survey->keep_alive && !survey->close;
  head->close = survey->close || (head->minor_version == 0 && !head->keep_alive);
}

/* Splits "http://authority/path?query": the authority is returned apart, the target becomes origin form. The two lie in
   one text; where a "/" is missing between them, the authority moves onto the last "/" of "://" to make room. */
static enum err split_absolute(struct head *head, struct text_at *authority) {
  static const char *const schemes[] = {"http://", "https://"};
  struct bytes target = head_target(head);
  size_t scheme_len = 0;
  for (size_t i = 0; i < 2; i++)
    if (target.len > strlen(schemes[i]) && strncasecmp((const char *)target.data, schemes[i], strlen(schemes[i])) == 0)
      scheme_len = strlen(schemes[i]);
  if (scheme_len == 0)
    return ERR_BAD_REQUEST;
  size_t end = scheme_len;
  while (end < target.len && target.data[end] != '/' && target.data[end] != '?')
    end++;
  uint32_t offset = head->target.offset + (uint32_t)scheme_len, len = (uint32_t)(end - scheme_len);
  uint32_t rest_len = head->target.len - (uint32_t)end;
  *authority = (struct text_at){offset, len};
  if (!syntax_host(head_text(head, *authority)))
    return ERR_BAD_REQUEST;
  head->target = (struct text_at){offset + len, rest_len};
  if (rest_len > 0 && target.data[end] == '/')
    return ERR_OK;
  uint8_t *store = head->fields.store->data;
  memmove(store + offset - 1, store + offset, len);
  authority->offset--;
  /* RFC 9112 section 3.2.4: OPTIONS for a whole server */
  store[offset + len - 1] = rest_len == 0 && head_method_is(head, "OPTIONS") ? '*' : '/';
  head->target = (struct text_at){offset + len - 1, rest_len + 1};
  return ERR_OK;
}

/* Host becomes the authority, unless the target brings its own (RFC 9112 sections 3.2 and 3.2.2). */
static enum err take_authority(struct head *head, const struct survey *survey) {
  struct bytes name, value;
  struct text_at absolute = {0, 0};
  if (survey->hosts > 1 || (survey->hosts == 0 && head->minor_version > 0))
    return ERR_BAD_HOST;
  if (survey->hosts == 1) {
    fields_get(&head->fields, survey->host, &name, &value);
    if (!syntax_host(value))
      return ERR_BAD_HOST;
    head->authority = (struct text_at){(uint32_t)(value.data - head->fields.store->data), (uint32_t)value.len};
    fields_remove(&head->fields, survey->host);
  }
  struct bytes target = head_target(head);
  if (target.len == 0)
    return ERR_BAD_REQUEST;
  if (target.data[0] != '/' && !(target.len == 1 && target.data[0] == '*')) {
    enum err err = split_absolute(head, &absolute);
    if (err != ERR_OK)
      return err;
    head->authority = absolute;
  }
  target = head_target(head);
  if (!syntax_path(target) || (target.data[0] == '*' && !head_method_is(head, "OPTIONS")))
    return ERR_BAD_REQUEST;
  return ERR_OK;
}

/* RFC 9110 section 10.1.1: an HTTP/1.0 client means nothing by it. */
static enum err take_expectation(struct head *head, const struct survey *survey) {
  struct bytes name, value;
  if (survey->expects == 0)
    return ERR_OK;
  if (head->minor_version == 0) {
    while (fields_find(&head->fields, BYTES_LITERAL("expect"), 0) < head->fields.count)
      fields_remove(&head->fields, fields_find(&head->fields, BYTES_LITERAL("expect"), 0));
    return ERR_OK;
  }
  if (survey->expect_unknown || survey->expects > 1)
    return ERR_EXPECTATION;
  head->expects_continue = fields_get(&head->fields, survey->expect, &name, &value);
  return ERR_OK;
}

enum err head_check_request_http1(struct head *head, bool chunked) {
  struct survey survey;
  if (!syntax_method(head_method(head)))
    return ERR_BAD_REQUEST;
  enum err err = survey_fields(&head->fields, &survey);
  if (err != ERR_OK)
    return err;
  if (head_method_is(head, "CONNECT"))
    return ERR_CONNECT_METHOD;
  head->trailers_accepted = survey.trailers;
  take_persistence(head, &survey);
  err = take_authority(head, &survey);
  if (err == ERR_OK)
    err = take_framing(head, &survey, chunked);
  if (err == ERR_OK)
    err = take_expectation(head, &survey);
  return err;
}

/* A response that never has a body: its framing fields mean nothing, and where they have no business at all
   (RFC 9112 section 6.1, RFC 9110 section 8.6) the connection is not trusted with another message. */
static enum err take_no_body(struct head *head, const struct survey *survey) {
  if (survey->codings > 0 && survey->lengths > 0)
    return ERR_BAD_REQUEST;
  enum err err = take_length(head, survey);
  if (err != ERR_OK)
    return err;
  head->body = BODY_NONE;
  if (head->status >= 200 && head->status != 204)
    return ERR_OK;
  if (survey->codings > 0 || head->content_length > 0)
    head->close = true;
  if (head->has_length)
    fields_remove(&head->fields, survey->length);
  head->has_length = false;
  head->content_length = 0;
  return ERR_OK;
}

static enum err take_response_body(struct head *head, const struct survey *survey, bool chunked, bool no_body) {
  if (no_body || head->status < 200 || head->status == 204 || head->status == 304)
    return take_no_body(head, survey);
  enum err err = take_framing(head, survey, chunked);
  if (err == ERR_OK && head->body == BODY_NONE && !head->has_length) {
    head->body = BODY_UNTIL_CLOSE;
    head->close = true;
  }
  return err;
}

enum err head_check_response_http1(struct head *head, bool chunked, bool no_body) {
  struct survey survey;
  if (head->status < 100 || head->status > 999 || head->status == 101)
    return ERR_ORIGIN_BAD_RESPONSE;
  if (survey_fields(&head->fields, &survey) != ERR_OK)
    return ERR_ORIGIN_BAD_RESPONSE;
  take_persistence(head, &survey);
  return take_response_body(head, &survey, chunked, no_body) == ERR_OK ? ERR_OK : ERR_ORIGIN_BAD_RESPONSE;
}
