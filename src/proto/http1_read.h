/* HTTP/1.x messages in: bytes of a connection become heads, body spans in a flow, and trailers. llhttp parses
   (strictly: nothing lenient is ever switched on), fields.h holds the rules, this file joins the two and adds what
   llhttp leaves to its user (RELIABILITY.md T-9): versions, request-targets, limits. Sans-I/O; the caller feeds chunks.
 */
#ifndef PTP_PROTO_HTTP1_READ_H
#define PTP_PROTO_HTTP1_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "flow/chunk.h"
#include "flow/flow.h"
#include "proto/fields.h"

enum http1_role { HTTP1_READS_REQUESTS, HTTP1_READS_RESPONSES };

enum http1_step {
  HTTP1_MORE,          /* all input consumed, the message goes on */
  HTTP1_HEAD,          /* the head is complete and checked: exactly once a message, before any body byte is consumed */
  HTTP1_INFORMATIONAL, /* a 1xx head is complete: take it from |head|, call http1_reader_final to go on */
  HTTP1_MESSAGE,       /* the message is complete (trailers too, the flow has EOF): http1_reader_next for another */
  HTTP1_BROKEN,        /* malformed or over a limit: http1_reader_error; the flow, if open, was ABORTED */
};

enum { HTTP1_PARSER_BYTES = 160 };

struct http1_reader {
  uint8_t role;      /* enum http1_role */
  uint8_t state;     /* private */
  uint8_t error;     /* enum err */
  bool no_body;      /* responses: the request was HEAD */
  bool started;      /* a byte of the current message was consumed */
  struct head *head; /* borrowed, all three: where the current message goes */
  struct flow *body;
  struct fields *trailers;
  struct chunk *chunk;      /* during http1_read only, as the next two */
  struct bytes name, value; /* of the field line that is being read, as long as each is one piece and nothing else */
  uint64_t body_bytes;
  uint32_t extension_bytes;
  uint32_t line_bytes;                 /* of the field lines of the head, white space included */
  uint64_t overhead, overhead_allowed; /* chunked: bytes that are not body */
  uint8_t informational;               /* 1xx heads of this message so far */
  uint8_t line_part;                   /* of the start line: http1_line.c, as the next three */
  uint8_t empty_lines;
  uint8_t line_text_len;
  uint8_t line_text[12];
  _Alignas(16) unsigned char parser[HTTP1_PARSER_BYTES]; /* llhttp_t */
};

/* A reader for a new connection. */
void http1_reader_open(struct http1_reader *reader, enum http1_role role);

/* Where the next message goes: an opened head, an open flow, an opened list; borrowed until the message is complete or
   given up. |no_body|: the response to HEAD. */
void http1_reader_next(struct http1_reader *reader, struct head *head, struct flow *body, struct fields *trailers,
                       bool no_body);
/* After HTTP1_INFORMATIONAL: the same message goes on with another, empty head. */
void http1_reader_final(struct http1_reader *reader);

/* Consumes bytes |*offset| to |end| of |chunk|, moves |*offset| past what was consumed, and returns when something is
   to be told. Body bytes go to the flow as spans of |chunk| (which get references of their own). Back-pressure is the
   caller's: it asks flow_room before it calls. After HTTP1_HEAD it is to be called even when no bytes are left: a
   message without a body is complete at once. Not to be called again after HTTP1_BROKEN, or after HTTP1_MESSAGE before
   http1_reader_next. Leading empty lines before a request are skipped (RFC 9112 section 2.2). */
enum http1_step http1_read(struct http1_reader *reader, struct chunk *chunk, uint32_t *offset, uint32_t end);

/* The connection ended: HTTP1_MESSAGE when that completes a response that runs until the close, HTTP1_MORE between
   messages, else HTTP1_BROKEN (the flow, if the head was there, gets TRUNCATED). */
enum http1_step http1_read_end(struct http1_reader *reader);

/* Why it is broken: of a request, how to answer; of a response ERR_ORIGIN_BAD_RESPONSE or ERR_ORIGIN_CLOSED. */
enum err http1_reader_error(const struct http1_reader *reader);
/* A byte of the current message has been consumed (for the timeouts and for retries). */
bool http1_reader_started(const struct http1_reader *reader);

#endif
