/* Message heads: the field lists of requests, responses and trailers, and the rules about them that RFC 9110, 9112 and
   9114 set for an intermediary. One representation for both versions of HTTP: names in lower case, hop-by-hop fields
   gone, the request target in origin form, the authority apart from the list. What is in a checked head may be written
   to HTTP/1.1 and to HTTP/3 alike: nothing in it can break out of its line, and no peer's nghttp3 refuses it
   (RELIABILITY.md T-1, T-2).

   A list lives in one chunk: bytes from the front, descriptors from the back; a small chunk first, moved once into a
   large one when it grows. Offsets, never pointers, are kept. */
#ifndef PTP_PROTO_FIELDS_H
#define PTP_PROTO_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "flow/chunk.h"

struct head_limits {
  uint32_t bytes; /* names + values + FIELD_OVERHEAD_BYTES each, request line or pseudo-header fields included */
  uint32_t count;
};

struct fields {
  struct chunks *chunks; /* borrowed */
  struct chunk *store;   /* owned; NULL while empty */
  uint32_t used;         /* bytes at the front of the store */
  uint32_t count;        /* fields added, removed ones included */
  uint32_t counted;      /* towards limits.bytes */
  struct head_limits limits;
  uint32_t open_name_len; /* of the field that is being received; its value starts after it */
  uint32_t open_start;
};

struct text_at { /* a text in a store */
  uint32_t offset, len;
};

enum body_kind {
  BODY_NONE,        /* no body follows the head */
  BODY_SIZED,       /* content_length bytes */
  BODY_CHUNKED,     /* HTTP/1: chunked; HTTP/3: no content-length; the length is not known */
  BODY_UNTIL_CLOSE, /* HTTP/1 responses only */
};

struct head {
  struct fields fields;                     /* "host" is not in it, "content-length" is, in its shortest form */
  struct text_at method, target, authority; /* of a request; target in origin form or "*" */
  uint16_t status;                          /* of a response; 0 in a request */
  uint8_t body;                             /* enum body_kind */
  uint8_t minor_version;                    /* of HTTP/1.x as received; 1 for HTTP/3 */
  bool has_length;                          /* a content-length field was there: also for HEAD and 304 */
  bool close;                               /* HTTP/1: the connection ends after this message */
  bool keep_alive;                          /* HTTP/1.0 with "Connection: keep-alive" */
  bool trailers_accepted;                   /* "TE: trailers" */
  bool expects_continue;
  bool pseudo_done;    /* HTTP/3: a regular field was seen */
  uint8_t pseudo_seen; /* HTTP/3: bits, for duplicates */
  uint64_t content_length;
};

/* An empty list; takes its chunk from |chunks| when the first field comes. */
void fields_open(struct fields *fields, struct chunks *chunks, struct head_limits limits);
/* Lets HEAD_MARKS_MAX more fields in than the limits say, as far as the chunk goes: those that a proxy adds, so that a
   request within the limits is not refused for what it gets on its way. Once for each end that it passes. */
void fields_allow_marks(struct fields *fields);
/* Gives the chunk back. The list is empty then and may be filled again; closing twice is harmless. */
void fields_close(struct fields *fields);

/* Receiving piece by piece, as llhttp delivers: name bytes (lower-cased on the way), then value bytes, then the end of
   the field (white space around the value is trimmed). ERR_HEAD_TOO_LARGE past the limits, ERR_OVERLOADED without a
   chunk. Characters are not checked here. */
must_use enum err fields_name(struct fields *fields, struct bytes piece);
must_use enum err fields_value(struct fields *fields, struct bytes piece);
must_use enum err fields_commit(struct fields *fields);
/* The three at once, for a field that lies in one piece. */
must_use enum err fields_line(struct fields *fields, struct bytes name, struct bytes value);

/* Makes |to|, which must be empty, equal to |from|, in a chunk of its own; |from| may be another worker's, as long as
   nobody changes it meanwhile. ERR_OVERLOADED without a chunk. */
must_use enum err fields_copy(struct fields *to, const struct fields *from);

/* A whole field at once; |name| in lower case already, no white space around |value|. */
must_use enum err fields_add(struct fields *fields, struct bytes name, struct bytes value);
/* The same, of a name whose rule is known: |flags| are NAME_... of syntax.h. */
must_use enum err fields_add_noted(struct fields *fields, struct bytes name, struct bytes value, uint8_t flags);
/* Notes the flags of the rule for field |index|, so that they need not be looked up again. */
void fields_note(struct fields *fields, uint32_t index, uint8_t flags);
/* These flags, noted or looked up. */
uint8_t fields_flags(const struct fields *fields, uint32_t index);

/* Field number |index| below fields->count; false when it was removed. Borrowed until the list changes. */
bool fields_get(const struct fields *fields, uint32_t index, struct bytes *name, struct bytes *value);
/* The first field called |name| (lower case) at or after |from|: its index, or fields->count. */
uint32_t fields_find(const struct fields *fields, struct bytes name, uint32_t from);
void fields_remove(struct fields *fields, uint32_t index);
/* Cuts |len| bytes from the front of a value. */
void fields_skip(struct fields *fields, uint32_t index, uint32_t len);

/* An empty head. */
void head_open(struct head *head, struct chunks *chunks, struct head_limits limits);
/* Empty again; may be filled again without head_open. */
void head_close(struct head *head);
/* Moves |from| into |to|, which must be closed; |from| is empty afterwards, and may be filled again. */
void head_move(struct head *to, struct head *from);

/* Makes |to|, which must be empty, equal to |from|; as fields_copy. */
must_use enum err head_copy(struct head *to, const struct head *from);

/* Stores one of the texts apart from the list; counted like a field. */
must_use enum err head_set(struct head *head, struct text_at *which, struct bytes text);
/* The same piece by piece; nothing else may be stored between the pieces. */
must_use enum err head_append(struct head *head, struct text_at *which, struct bytes piece);
/* Counts |len| bytes that stand for something that is not stored. */
must_use enum err head_count(struct head *head, size_t len);
static inline struct bytes head_text(const struct head *head, struct text_at which) {
  if (which.len == 0)
    return bytes_of("", 0);
  return bytes_of(head->fields.store->data + which.offset, which.len);
}
static inline struct bytes head_method(const struct head *head) { return head_text(head, head->method); }
static inline struct bytes head_target(const struct head *head) { return head_text(head, head->target); }
static inline struct bytes head_authority(const struct head *head) { return head_text(head, head->authority); }
static inline bool head_method_is(const struct head *head, const char *method) {
  return bytes_equal(head_method(head), bytes_of_text(method));
}
/* GET, HEAD, OPTIONS, TRACE, PUT, DELETE (RFC 9110 section 9.2.2). */
bool head_idempotent(const struct head *head);

/* Content-Length, field |index|, becomes has_length and content_length, and the shortest text for it; false when it is
   not a number that a stream can carry. */
bool head_take_length(struct head *head, uint32_t index);

/* Checks and normalises what http1_read received: SPEC 4 and RFC 9112 sections 3.2, 6.1-6.3, 7.6.1. Sets authority
   (from Host or the absolute-form target), body, close, keep_alive; removes hop-by-hop fields and what Connection
   names. The error says how to answer a request; of a response it is ERR_ORIGIN_BAD_RESPONSE. */
must_use enum err head_check_request_http1(struct head *head, bool chunked);
/* |no_body|: the response to a HEAD request. */
must_use enum err head_check_response_http1(struct head *head, bool chunked, bool no_body);

/* One field line of an HTTP/3 field section, pseudo-header fields included (RFC 9114 sections 4.2, 4.3).
   ERR_BAD_MESSAGE when it is malformed, ERR_HEAD_TOO_LARGE past the limits. |response|: which pseudo-header fields are
   allowed. */
must_use enum err head_add_http3(struct head *head, bool response, struct bytes name, struct bytes value);
/* After the last one. */
must_use enum err head_check_request_http3(struct head *head);
must_use enum err head_check_response_http3(struct head *head, bool no_body);

/* Trailer fields of either version, one at a time, and after the last one: those that may not be in a trailer section
   (framing, routing, authentication, RFC 9110 section 6.5.1) are dropped. */
must_use enum err trailers_add_http3(struct fields *trailers, struct bytes name, struct bytes value);
must_use enum err trailers_check(struct fields *trailers);

/* Fills |head| with a response of our own (SPEC 5): status, Content-Type, Content-Length, Server ("ptproxy client" or
   "ptproxy server"), Retry-After for 503, Date as |date|. |body_len| is the length of the text that goes with it. */
must_use enum err head_answer(struct head *head, uint16_t status, bool server, size_t body_len, const char *date);

#endif
