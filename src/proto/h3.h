/* HTTP/3 (RFC 9114) on one QUIC connection, by nghttp3: request streams become heads, flows and trailers, and the
   reverse. What arrives is validated here as strictly as HTTP/1.1 input (RELIABILITY.md 0.5): a malformed message is
   reset as a stream error wherever nghttp3 allows. What is sent never ends with FIN unless it is complete (T-1).

   Callbacks only record: they fill heads and flows and put the stream on the ready list; the session asks for ready
   streams after each batch of datagrams and acts. */
#ifndef PTP_PROTO_H3_H
#define PTP_PROTO_H3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "base/pool.h"
#include "flow/flow.h"
#include "proto/fields.h"
#include "proto/quic.h"

struct h3;

enum h3_event {
  H3_HEAD = 1,          /* the (final) head is complete and valid */
  H3_INFORMATIONAL = 2, /* a 1xx head is in |informational| */
  H3_DATA = 4,          /* bytes were pushed to |in| */
  H3_END = 8,           /* the peer's message is complete, trailers included; |in| has EOF */
  H3_BROKEN = 16,       /* the peer's message is malformed, or a limit was passed: |error|; |in| was ABORTED */
  H3_RESET = 32,        /* RESET_STREAM came: |in| was ABORTED, |code| says why */
  H3_STOPPED = 64,      /* STOP_SENDING came, or |out| got more bytes than its head promised: |out| was CANCELLED,
                           |code| says why. H3_NO_ERROR: the peer's message is complete without the rest of ours */
  H3_ROOM = 128,        /* |out| was taken from: its producer may go on */
  H3_CLOSED = 256,      /* the stream is over and out of h3's hands: last event; h3_stream_done gives it back */
};

/* One request stream. The session binds where the message in goes and where the message out comes from; all borrowed
   until H3_CLOSED was handled. */
struct h3_stream {
  struct list ready; /* in the h3's ready list */
  struct h3 *h3;
  int64_t id;
  void *owner;
  unsigned events; /* enum h3_event bits not yet taken */
  uint8_t error;   /* enum err */
  uint64_t code;
  struct head *head;          /* in: the final head */
  struct head *informational; /* in, client: 1xx heads; one that comes before the last was taken is dropped */
  struct fields *trailers;    /* in */
  struct flow *in;
  const struct head *head_out;
  const struct fields *trailers_out; /* complete when |out| has EOF; NULL or empty: none */
  struct flow *out;
  uint64_t sent_bytes; /* body bytes taken from |out|, against head_out->content_length */
  uint64_t credited;   /* bytes of |in| for which stream credit was given, those behind a gap included */
  bool no_body;        /* client: the request was HEAD */
  uint8_t informational_count;
  /* private */
  uint8_t state;       /* enum h3_in */
  uint8_t out_state;   /* enum h3_out */
  char status_text[3]; /* of head_out: nghttp3 reads it when it writes the head */
  bool over;           /* H3_CLOSED was raised */
  struct pool *pool;
  struct h3_stream *bucket_next;
  struct list pending; /* in the h3's pending or late list */
  uint64_t stop_code, reset_code;
  uint64_t received_bytes; /* of the body in */
  uint64_t unread_bytes;   /* held back by nghttp3 until its QPACK decoder can go on */
};

struct h3_settings {
  bool server;
  struct head_limits limits; /* for heads and trailers that come in */
  uint64_t qpack_table_capacity;
  struct pool *streams; /* of struct h3_stream, borrowed */
  struct arena *arena;  /* what nghttp3 keeps, borrowed; NULL: the C library's memory */
};

struct h3_events {
  /* Server: a request stream began. Binds head, trailers, in (all opened) and owner of |stream|, or returns false to
     reject it with H3_REQUEST_REJECTED. Called from within quic_receive: takes from pools, does nothing else. */
  bool (*accept)(void *context, struct h3_stream *stream);
  /* Client, may be NULL: the 1xx head in |stream|->informational is complete. May point that to an empty one for the
     next or to NULL: the next is dropped. Called from within quic_receive, too. */
  void (*informed)(void *context, struct h3_stream *stream);
};

extern const struct quic_app h3_quic_app;

/* Makes the HTTP/3 layer of |conn| and opens its control and QPACK streams; to be called from quic_events.opened.
   ERR_OK, ERR_NO_MEMORY or ERR_AGAIN (the peer allows no unidirectional streams). */
must_use enum err h3_open(struct h3 **h3, struct quic_conn *conn, const struct h3_settings *settings,
                          const struct h3_events *events, void *context);
/* After the connection is closed, and after h3_abandon and the events that come of it: frees. Streams that were not
   done by then may be given back later (h3_stream_done); every other function does nothing with them. */
void h3_close(struct h3 *h3);
/* The connection is gone: ends |in| of every stream with LINK_DOWN, cancels |out|, and makes them ready with
   H3_CLOSED. */
void h3_abandon(struct h3 *h3);

/* The peer's SETTINGS have arrived. */
bool h3_peer_settings(const struct h3 *h3);
/* The peer sent GOAWAY: no new requests (client). */
bool h3_peer_goaway(const struct h3 *h3);
uint32_t h3_stream_count(const struct h3 *h3);

/* The next stream with events; NULL: none. The caller reads stream->events and sets it to 0. Sends the resets and
   stops that callbacks have asked for: so it must be called after each batch of datagrams, before quic_emit, and after
   it for H3_ROOM. */
struct h3_stream *h3_ready(struct h3 *h3);

/* Client: opens a stream and submits the request with its flow, which may be NULL if |head| says that there is no body.
   The caller has set nothing in the result but gets it with these bindings. |head| and |trailers| must not change until
   H3_CLOSED. A request without authority gets "localhost". ERR_AGAIN: no stream can be opened now; ERR_LINK_DOWN: the
   connection is closing; ERR_HEAD_TOO_LARGE: for the peer; ERR_NO_MEMORY. */
must_use enum err h3_request(struct h3 *h3, struct h3_stream **stream, void *owner, const struct head *head,
                             struct flow *out, const struct fields *trailers, struct head *head_in,
                             struct head *informational_in, struct flow *in, struct fields *trailers_in);
/* Server: submits a 1xx response, whose |head| is copied, or the final one with its flow. ERR_STREAM_RESET: the peer
   does not want a response any more; ERR_LINK_DOWN; ERR_HEAD_TOO_LARGE: for the peer, another response is possible;
   ERR_NO_MEMORY. */
must_use enum err h3_inform(struct h3_stream *stream, const struct head *head);
must_use enum err h3_respond(struct h3_stream *stream, const struct head *head, struct flow *out,
                             const struct fields *trailers);

/* The producer has pushed to |out| or ended it. An end other than EOF becomes RESET_STREAM with err_h3_code(reason), a
   length other than content_length RESET_STREAM with H3_MESSAGE_ERROR. */
void h3_output(struct h3_stream *stream);
/* The consumer of |in| has taken bytes (flow's `released` moved): gives stream credit for them. When |in| was
   CANCELLED: STOP_SENDING with |in|'s reason (ERR_OK gives H3_NO_ERROR, for after a complete response, RFC 9114
   section 4.1). */
void h3_input(struct h3_stream *stream);
/* Gives up both directions: RESET_STREAM and STOP_SENDING. H3_CLOSED follows when QUIC is done with it. */
void h3_cancel(struct h3_stream *stream, enum err reason);
/* After H3_CLOSED: gives the stream back to its pool. Its flows may be closed now. */
void h3_stream_done(struct h3_stream *stream);

/* Server: GOAWAY (RFC 9114 section 5.2): first a notice, then, a round trip later, the last stream that is served. */
void h3_goaway(struct h3 *h3, bool final);
/* After h3_goaway(final): true when all streams are over. */
bool h3_drained(const struct h3 *h3);

#endif
