/* One request and its response: two heads, two flows, and two ends that know each other only through this.

                                             client mode               server mode
     near end   where the request comes from   an ingress connection     a stream of the session
     far end    where it goes                  a stream of the session   an origin connection

   An end fills the flow that it produces, consumes the other, and says what happened with exchange_wake; the pump, once
   a tick, calls the ends' functions for it. So nothing is called back from inside a call, and an end on another worker
   (the dispatcher) looks like any other. Each end holds the exchange until it says that it is done with it; no flow
   memory goes before that. */
#ifndef PTP_PROXY_EXCHANGE_H
#define PTP_PROXY_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "flow/flow.h"
#include "proto/fields.h"
#include "proxy/proxy.h"

/* Figure: what leads from one state to the next is the table in exchange.c. */
enum exchange_state {
  EXCHANGE_READING,   /* the request head is on its way in */
  EXCHANGE_WAITING,   /* it is complete; the far end has no stream or connection for it yet */
  EXCHANGE_FORWARDED, /* the far end sends it; no final response head yet */
  EXCHANGE_ANSWERING, /* the final response head is there: from the far end, or our own */
  EXCHANGE_OVER,      /* the near end is done with it */
  EXCHANGE_STATES
};

enum exchange_event {
  EXCHANGE_ON_REQUEST, /* the request head is complete */
  EXCHANGE_ON_SENT,    /* the far end has begun to send it */
  EXCHANGE_ON_RETRY,   /* it goes to another connection of the far end */
  EXCHANGE_ON_RESPONSE,
  EXCHANGE_ON_FAILURE,
  EXCHANGE_ON_DONE, /* the near end lets go */
  EXCHANGE_EVENTS
};

enum exchange_wake {
  WAKE_NEAR_OUTPUT = 1, /* response: a head, bytes or the end */
  WAKE_NEAR_INPUT = 2,  /* request: its flow has room again, or nobody wants the rest */
  WAKE_FAR_OUTPUT = 4,  /* request: bytes or the end */
  WAKE_FAR_INPUT = 8,   /* response: its flow has room again, or nobody wants the rest */
};

struct exchange_ops {
  /* The flow that this end consumes (or a head for it) has something new. */
  void (*output)(void *end, struct exchange *exchange);
  /* The flow that this end produces has room again, or was CANCELLED. */
  void (*input)(void *end, struct exchange *exchange);
  /* Far ends only: give up now: nothing is added to the response any more. Then, or later, exchange_far_done when
     nothing refers to the flows any more. Called from within exchange_fail and exchange_near_done. */
  void (*cancel)(void *end, struct exchange *exchange, enum err reason);
  /* The other end has let go. NULL: of no interest. */
  void (*left)(void *end, struct exchange *exchange);
};

struct exchange {
  struct list ready; /* in proxy->ready or proxy->dead */
  struct list queue; /* the far end's: requests that wait for a stream or a connection */
  struct proxy *proxy;
  uint8_t state;           /* enum exchange_state */
  uint8_t wakes;           /* enum exchange_wake bits for the pump */
  uint8_t reason;          /* enum err: why it failed; ERR_OK */
  bool retried, requested; /* requested: the head was complete */
  bool relayed;            /* begun on another worker, where it is counted and logged */
  struct flow req, resp;
  struct head req_head, resp_head;
  uint8_t informational_first, informational_count, informational_opened;
  struct fields req_trailers, resp_trailers;
  const struct exchange_ops *near_ops, *far_ops;
  void *near, *far;       /* NULL: that end has let go, or has not taken it yet */
  void *link;             /* the session module's: the session that carries it */
  uint64_t leaving_bytes; /* of the response, when it was ended for others: counted in proxy->yield, too */
  uint64_t started_ns, requested_ns, queued_ns, forwarded_ns, answered_ns;
  /* 1xx responses that wait for the near end. There is a slot for each that may come, so that none is lost; opened, and
     its memory touched, when it is used: most exchanges have none. */
  struct head informational[INFORMATIONAL_MAX];
};

/* A new exchange with its request in |near|'s hands; NULL when there are too many. */
struct exchange *exchange_open(struct proxy *proxy, const struct exchange_ops *ops, void *near);

/* Near end: the request head is complete and checked; finds the far end (proxy->route). */
void exchange_request(struct exchange *exchange);
/* Far end: takes the exchange; again when it moves from its queue to a stream or connection. */
void exchange_attach(struct exchange *exchange, const struct exchange_ops *ops, void *far);
/* Far end: the request is being sent. */
void exchange_sent(struct exchange *exchange);
/* Far end: once more, from the head, on another connection; nothing of the response may be there. */
void exchange_retry(struct exchange *exchange);
/* 1xx responses in their order. Far end: where the next one goes, an empty head; NULL: all are taken, WAKE_FAR_INPUT
   tells when one is free. Then: it is complete. */
struct head *exchange_informational_slot(struct exchange *exchange);
void exchange_inform(struct exchange *exchange);
/* Near end: the oldest that waits, borrowed until exchange_informed; NULL: none. Then: it was passed on, or dropped. */
struct head *exchange_informational(struct exchange *exchange);
void exchange_informed(struct exchange *exchange);
/* Far end: the final response head is in resp_head, checked. */
void exchange_response(struct exchange *exchange);

/* Either end: it cannot go on. Without a response head yet: the answer of SPEC 5 becomes the response; else the
   response flow is ABORTED. The request flow is CANCELLED, the far end is told to let go. A second failure changes
   nothing. |reason| without a status of its own (ERR_CLIENT_GONE) only ends it. */
void exchange_fail(struct exchange *exchange, enum err reason);

/* The near end has nothing more to do with it; the far end is cancelled unless its part is complete. */
void exchange_near_done(struct exchange *exchange);
void exchange_far_done(struct exchange *exchange);

/* Asks the pump to call what the bits say. */
void exchange_wake(struct exchange *exchange, unsigned wakes);

/* The tick's step 5: every ready exchange moves its two flows one step. */
void exchange_pump(struct proxy *proxy);
/* The tick's step 7: frees exchanges that both ends let go. */
void exchange_bury(struct proxy *proxy);

/* The state after |event| in |state|; EXCHANGE_STATES when that cannot happen. */
enum exchange_state exchange_next(enum exchange_state state, enum exchange_event event);
const char *exchange_state_name(enum exchange_state state);

#endif
