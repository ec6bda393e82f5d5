/* HTTP/1.1 messages out: a checked head and a flow become the bytes of a connection. The head is written into a chunk;
   body bytes are lent from the flow, framed by length, by chunked coding or by the close. Sans-I/O: the caller sends
   what http1_writer_fill lends and says how much went. */
#ifndef PTP_PROTO_HTTP1_WRITE_H
#define PTP_PROTO_HTTP1_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "flow/flow.h"
#include "proto/fields.h"

enum { HTTP1_WRITE_IOV_MAX = FLOW_IOV_MAX + 4 };

enum http1_framing { HTTP1_NO_BODY, HTTP1_BY_LENGTH, HTTP1_BY_CHUNKS, HTTP1_BY_CLOSE };

enum http1_progress {
  HTTP1_WRITING, /* there is more to send now: http1_writer_fill */
  HTTP1_WAITING, /* all there is was sent; the flow is still open */
  HTTP1_WRITTEN, /* the message is complete and sent */
  HTTP1_CUT,     /* the flow ended otherwise than complete, or its length does not fit: close the connection */
};

struct http1_writer {
  struct chunks *chunks; /* borrowed */
  struct chunk *head;    /* owned, a queue: heads not yet sent; NULL when there are none */
  struct chunk *tail;    /* owned: the last chunk with trailers; NULL: none, or it has no trailers */
  uint32_t head_sent;
  uint32_t last_len, last_sent; /* of the last chunk; 0: its time has not come */
  struct flow *body;            /* borrowed from http1_write_* until HTTP1_WRITTEN or http1_writer_close */
  const struct fields *trailers;
  uint64_t length_left; /* HTTP1_BY_LENGTH */
  uint64_t chunk_left;  /* HTTP1_BY_CHUNKS: of the chunk under way */
  uint64_t lent;        /* bytes that the last fill lent */
  uint32_t joined;      /* body bytes that stand behind the head in its chunk, too */
  uint8_t framing;      /* enum http1_framing */
  uint8_t stage;        /* private */
  uint8_t frame_len, frame_sent;
  uint8_t crlf_sent; /* of the one after the data of the chunk under way */
  char frame[20];    /* chunk size line */
};

/* How a response is to be written to this client. */
struct http1_reply_style {
  bool client_http10; /* the request was HTTP/1.0: never chunked */
  bool request_was_head;
  bool keep_alive;  /* false: "Connection: close" */
  const char *date; /* for a response without Date; NULL: none is added */
};

void http1_writer_open(struct http1_writer *writer, struct chunks *chunks);
/* Nothing may be in flight. */
void http1_writer_close(struct http1_writer *writer);

/* Starts a request: "METHOD target HTTP/1.1", Host first, title-case names, cookies joined (RFC 9114 section 4.2.1),
   Content-Length as in the head or Transfer-Encoding: chunked, "TE: trailers" with "Connection: TE" when the head
   accepts trailers. ERR_OVERLOADED without a chunk. The previous message must be WRITTEN. */
must_use enum err http1_write_request(struct http1_writer *writer, const struct head *head, struct flow *body,
                                      const struct fields *trailers);
/* Starts a response. Sets |*close| when the connection must end after it (HTTP1_BY_CLOSE, or !keep_alive). */
must_use enum err http1_write_response(struct http1_writer *writer, const struct head *head, struct flow *body,
                                       const struct fields *trailers, const struct http1_reply_style *style,
                                       bool *close);
/* A 1xx response; may be followed by others and by the final one before it is sent. */
must_use enum err http1_write_informational(struct http1_writer *writer, const struct head *head);

/* Lends what can be sent now: the number of entries of |iov| (at most |max|, at least 4 of room), 0 when there is
   nothing. Until http1_writer_sent nothing else may be lent. */
size_t http1_writer_fill(struct http1_writer *writer, struct iovec *iov, size_t max);
/* The first |len| bytes of what was lent are sent (0: none): they are released from the flow; the rest is lent anew. */
void http1_writer_sent(struct http1_writer *writer, size_t len);
enum http1_progress http1_writer_progress(const struct http1_writer *writer);

/* The standard reason phrase of |status| (RFC 9110 section 15); "Unknown" when there is none. Static. */
const char *http1_reason(uint16_t status);

#endif
