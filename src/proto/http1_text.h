/* Heads as HTTP/1.1 text, written into a chunk. For http1_write.c only. */
#ifndef PTP_PROTO_HTTP1_TEXT_H
#define PTP_PROTO_HTTP1_TEXT_H

#include "flow/chunk.h"
#include "proto/fields.h"

struct http1_text {
  struct chunk *chunk;
  uint8_t *at, *end;
};

/* The room that a head or a trailer section with these fields needs at most. */
size_t http1_text_bound(const struct fields *fields);

/* Writing begins behind what |chunk| holds; there must be room for the bound. */
struct http1_text http1_text_open(struct chunk *chunk);
void http1_text_add(struct http1_text *text, const char *literal);
/* The request line and Host. */
void http1_text_request_line(struct http1_text *text, const struct head *head);
void http1_text_status_line(struct http1_text *text, uint16_t status);
void http1_text_field(struct http1_text *text, struct bytes name, struct bytes value);
/* |join_cookies|: into one line (RFC 9114 section 4.2.1). */
void http1_text_fields(struct http1_text *text, const struct fields *fields, bool join_cookies);
/* The empty line; the chunk's `used` covers what was written. */
void http1_text_close(struct http1_text *text);

#endif
