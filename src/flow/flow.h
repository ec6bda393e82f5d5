/* One direction of one exchange: a body on its way from one producer to one consumer.

     producer --push--> [ queue of spans ] --peek, take--> consumer --release--> gone
                                                     released <= taken <= pushed

   Bytes stay where they were received. `taken` moves when the consumer has the bytes in hand (a send in flight, a QUIC
   packet); `released` moves when nobody will look at them again (the send completed, the packet was acknowledged): only
   then does the chunk go home. For HTTP/1 the two are one send apart, for HTTP/3 one round trip.

   A flow ends once, by whoever knows first; the table says what its consumer does then:

     end         what the producer saw             HTTP/1 consumer                        HTTP/3 consumer
     EOF         message complete                  last chunk or length met; keep alive   FIN
     TRUNCATED   peer closed before the end        close, no last chunk                   RESET_STREAM
     ABORTED     RESET_STREAM, malformed rest      close (502 if no head sent)            RESET_STREAM
     TIMED_OUT   a timeout                         408/504 if no head sent, else close    RESET_STREAM
     LINK_DOWN   session lost                      502 if no head sent, else close        -
     CANCELLED   (set by the consumer: it is gone) producer: close, or drain a little     producer: STOP_SENDING

   Trailers, if any, are in the exchange and are complete before EOF is set. Not for use by two threads. */
#ifndef PTP_FLOW_FLOW_H
#define PTP_FLOW_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "flow/chunk.h"

enum flow_end {
  FLOW_OPEN,
  FLOW_EOF,
  FLOW_TRUNCATED,
  FLOW_ABORTED,
  FLOW_TIMED_OUT,
  FLOW_LINK_DOWN,
  FLOW_CANCELLED,
};

struct span {
  struct span *next;
  struct chunk *chunk; /* one reference is the span's */
  uint32_t offset, len;
};

/* What several flows towards one peer hold together, and how much that may be. */
struct flow_account {
  uint64_t held; /* pushed and not released, of all of them */
  uint64_t limit;
};

struct flow {
  struct chunks *chunks;
  struct flow_account *account; /* borrowed; NULL: none */
  struct span *first;           /* oldest span with bytes that are not released */
  struct span *next;            /* span with the first byte that is not taken; NULL when all are */
  struct span *last;
  uint32_t first_released;          /* bytes of *first that are released */
  uint32_t next_taken;              /* bytes of *next that are taken */
  uint64_t pushed, taken, released; /* bytes since flow_open */
  uint8_t end;                      /* enum flow_end */
  uint8_t reason;                   /* enum err; ERR_OK while open and for EOF */
  bool filling;                     /* *last ends where its chunk is filled up to, and nobody else fills that chunk */
};

/* Makes an empty, open flow that takes its spans and its copies from |chunks| (borrowed until flow_close). */
void flow_open(struct flow *flow, struct chunks *chunks);

/* Drops every byte. Nobody may hold pointers into it any more: for HTTP/3 the stream is closed, for HTTP/1 no send is
   in flight. The flow may be opened again. */
void flow_close(struct flow *flow);

/* From now on what |flow| holds counts for |account|, which is borrowed until flow_close or another call; NULL: for
   none. */
void flow_set_account(struct flow *flow, struct flow_account *account);

/* Bytes that the producer should still add before it stops asking its source for more; 0: stop (back-pressure). What
   was already received may be pushed all the same: the overshoot is bounded by one receive buffer. 0 when ended. While
   the account is over its limit, only a flow that holds nothing has room: each one goes on, none goes ahead. */
uint32_t flow_room(const struct flow *flow);

/* Adds |len| bytes at |offset| of |chunk|; takes a reference of its own. Small pieces are copied together instead, so
   that they do not pin a buffer. Bytes after the end are dropped (the producer learns of a CANCELLED flow by its end).
   |chunk->used| covers them already. ERR_OK, or ERR_OVERLOADED when no span or chunk is left, after perhaps a part of
   the bytes: the caller ends the flow with ABORTED. */
must_use enum err flow_push(struct flow *flow, struct chunk *chunk, uint32_t offset, uint32_t len);

/* Adds a copy of |len| bytes. As flow_push otherwise. */
must_use enum err flow_push_copy(struct flow *flow, const void *data, size_t len);

/* Sets the end, once: a later call changes nothing and returns false. */
bool flow_end(struct flow *flow, enum flow_end end, enum err reason);

/* The bytes that are not taken yet, oldest first: fills |iov| and returns the number of entries (at most |max|) and
   the number of bytes in |bytes| (may be NULL). Borrowed until released. */
size_t flow_peek(const struct flow *flow, struct iovec *iov, size_t max, size_t *bytes);

/* Marks the next |len| bytes as taken; there must be that many. */
void flow_take(struct flow *flow, uint64_t len);

/* Lets go of the oldest |len| bytes; they must have been taken. */
void flow_release(struct flow *flow, uint64_t len);

static inline uint64_t flow_untaken(const struct flow *flow) { return flow->pushed - flow->taken; }
/* True when the producer's message is complete and the consumer has taken all of it. */
static inline bool flow_finished(const struct flow *flow) {
  return flow->end == FLOW_EOF && flow->taken == flow->pushed;
}

#endif
