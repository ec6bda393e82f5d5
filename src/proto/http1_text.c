#include "proto/http1_text.h"

#include "base/must.h"
#include "proto/http1_write.h"
#include "proto/syntax.h"

enum { TEXT_SPARE_BYTES = 256 }; /* lines that are not in the list: fields.c leaves as much of a large chunk unused */

static const char *const reasons[] = {
    [100] = "Continue",
    [101] = "Switching Protocols",
    [102] = "Processing",
    [103] = "Early Hints",
    [200] = "OK",
    [201] = "Created",
    [202] = "Accepted",
    [203] = "Non-Authoritative Information",
    [204] = "No Content",
    [205] = "Reset Content",
    [206] = "Partial Content",
    [207] = "Multi-Status",
    [208] = "Already Reported",
    [226] = "IM Used",
    [300] = "Multiple Choices",
    [301] = "Moved Permanently",
    [302] = "Found",
    [303] = "See Other",
    [304] = "Not Modified",
    [305] = "Use Proxy",
    [307] = "Temporary Redirect",
    [308] = "Permanent Redirect",
    [400] = "Bad Request",
    [401] = "Unauthorized",
    [402] = "Payment Required",
    [403] = "Forbidden",
    [404] = "Not Found",
    [405] = "Method Not Allowed",
    [406] = "Not Acceptable",
    [407] = "Proxy Authentication Required",
    [408] = "Request Timeout",
    [409] = "Conflict",
    [410] = "Gone",
    [411] = "Length Required",
    [412] = "Precondition Failed",
    [413] = "Content Too Large",
    [414] = "URI Too Long",
    [415] = "Unsupported Media Type",
    [416] = "Range Not Satisfiable",
    [417] = "Expectation Failed",
    [421] = "Misdirected Request",
    [422] = "Unprocessable Content",
    [423] = "Locked",
    [424] = "Failed Dependency",
    [425] = "Too Early",
    [426] = "Upgrade Required",
    [428] = "Precondition Required",
    [429] = "Too Many Requests",
    [431] = "Request Header Fields Too Large",
    [451] = "Unavailable For Legal Reasons",
    [500] = "Internal Server Error",
    [501] = "Not Implemented",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
    [504] = "Gateway Timeout",
    [505] = "HTTP Version Not Supported",
    [506] = "Variant Also Negotiates",
    [507] = "Insufficient Storage",
    [508] = "Loop Detected",
    [510] = "Not Extended",
    [511] = "Network Authentication Required",
};

const char *http1_reason(uint16_t status) {
  const char *reason = status < sizeof(reasons) / sizeof(reasons[0]) ? reasons[status] : NULL;
  return reason != NULL ? reason : "Unknown";
}

size_t http1_text_bound(const struct fields *fields) {
  return fields->used + (size_t)fields->count * 4 + TEXT_SPARE_BYTES; /* ": " and CRLF */
}

struct http1_text http1_text_open(struct chunk *chunk) {
  return (struct http1_text){chunk, chunk->data + chunk->used, chunk->data + chunk->capacity};
}

static void add(struct http1_text *text, const void *data, size_t len) {
  must(len <= (size_t)(text->end - text->at));
  text->at = bytes_put(text->at, bytes_of(data, len));
}

static void add_bytes(struct http1_text *text, struct bytes bytes) { add(text, bytes.data, bytes.len); }

void http1_text_add(struct http1_text *text, const char *literal) { add(text, literal, strlen(literal)); }

void http1_text_request_line(struct http1_text *text, const struct head *head) {
  add_bytes(text, head_method(head));
  add(text, " ", 1);
  add_bytes(text, head_target(head));
  http1_text_add(text, " HTTP/1.1\r\nHost: ");
  add_bytes(text, head_authority(head));
  add(text, "\r\n", 2);
}

void http1_text_status_line(struct http1_text *text, uint16_t status) {
  const char digits[] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10), (char)('0' + status % 10)};
  add(text, "HTTP/1.1 ", 9);
  add(text, digits, sizeof(digits));
  add(text, " ", 1);
  http1_text_add(text, http1_reason(status));
  add(text, "\r\n", 2);
}

void http1_text_field(struct http1_text *text, struct bytes name, struct bytes value) {
  uint8_t *start = text->at;
  must(name.len + value.len + 4 <= (size_t)(text->end - start)); /* ": " and CRLF */
  syntax_capitalise(start, name);
  uint8_t *at = bytes_put(start + name.len, BYTES_LITERAL(": "));
  at = bytes_put(at, value);
  text->at = bytes_put(at, BYTES_LITERAL("\r\n"));
}

/* All cookie fields from |first| on as one. Empty ones are left out: the value would begin or end with a separator. */
static void add_cookies(struct http1_text *text, const struct fields *fields, uint32_t first) {
  struct bytes name, value;
  const char *before = "";
  http1_text_add(text, "Cookie: ");
  for (uint32_t i = first; i < fields->count; i++) {
    if (!fields_get(fields, i, &name, &value) || value.len == 0 || !bytes_equal(name, BYTES_LITERAL("cookie")))
      continue;
    http1_text_add(text, before);
    add_bytes(text, value);
    before = "; ";
  }
  add(text, "\r\n", 2);
}

void http1_text_fields(struct http1_text *text, const struct fields *fields, bool join_cookies) {
  struct bytes name, value;
  bool joined = false;
  for (uint32_t i = 0; i < fields->count; i++) {
    if (!fields_get(fields, i, &name, &value))
      continue;
    bool cookie = join_cookies && bytes_equal(name, BYTES_LITERAL("cookie"));
    if (!cookie)
      http1_text_field(text, name, value);
    else if (!joined)
      add_cookies(text, fields, i);
    joined |= cookie;
  }
}

void http1_text_close(struct http1_text *text) {
  add(text, "\r\n", 2);
  text->chunk->used = (uint32_t)(text->at - text->chunk->data);
}
