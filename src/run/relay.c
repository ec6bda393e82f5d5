/* See relay.h. Mail, in the order in which it can come:

     outer -> inner   REQUEST  SPAN*  END  CREDIT*  INFORMED*  STOP  CANCEL  DONE
     inner -> outer   STARTED  INFORM*  HEAD  SPAN*  END  CREDIT*  STOP  FAIL  DETACH

   Who may hold a side: its exchange (as an end), its peer's list, mail on its way to it. DONE is the outer side's last
   word and DETACH the inner one's: after it, no mail is on its way to either. */
#include "run/relay.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"

enum kind {
  REQUEST = 1, /* data: the exchange; detail: it has no body */
  STARTED,     /* the far end sends the request */
  INFORM,      /* data: a head, which stays until INFORMED */
  INFORMED,
  HEAD,   /* data: the exchange with the response head */
  SPAN,   /* data, len: payload, which stays until it is released by CREDIT or DONE */
  END,    /* detail: enum flow_end; data: the trailers */
  CREDIT, /* number: bytes that may be sent in all; len: bytes that are released, since the last one */
  STOP,   /* nobody wants the rest */
  FAIL,   /* detail: enum err */
  CANCEL, /* detail: enum err */
  DONE,   /* the caller's side is over: everything of the response is released */
  DETACH,
};

enum {
  CREDIT_STEP_BYTES = 32768, /* less is not worth a mail */
  PEEK_MAX = 8,
  APART = 128,
};

/* What was told or heard: side->told. */
enum {
  TOLD_HEAD = 1,
  TOLD_END = 2,
  TOLD_STOP = 4,
  TOLD_FAIL = 8,
  TOLD_INFORM = 16, /* and no INFORMED has come */
  HEARD_FAIL = 32,
  HEARD_CANCEL = 64,
  HEARD_DONE = 128,
  TOLD_STARTED = 256,
};

/* What the outer side is to tell: side->tell. */
enum { TELL_REQUEST = 1, TELL_INFORMED = 2, TELL_CANCEL = 4, TELL_DONE = 8 };

struct side {
  struct list dirty;
  struct relays *relays;
  struct relay *relay;
  struct exchange *exchange;            /* NULL: inner side, refused or detached */
  const struct head *informational;     /* outer: heard, and no slot was free */
  uint64_t granted;                     /* bytes of the flow that leaves here that may be sent, in all */
  uint64_t granted_told, released_told; /* of the flow that arrives here */
  uint16_t peer;
  uint16_t told;
  uint8_t tell;
  uint8_t reason; /* enum err: of CANCEL; inner: why it was refused */
  bool outer;
};

struct relay {
  _Alignas(APART) struct side outer;
  _Alignas(APART) struct side inner; /* the inner worker's alone from REQUEST to DETACH */
};

static struct flow *leaving(const struct side *side) {
  return side->outer ? &side->exchange->req : &side->exchange->resp;
}

static struct flow *arriving(const struct side *side) {
  return side->outer ? &side->exchange->resp : &side->exchange->req;
}

static void mark(struct side *side) {
  if (list_empty(&side->dirty))
    list_push(&side->relays->peers[side->peer].dirty, &side->dirty);
}

/* Wakes who consumes what arrives here; who produces what leaves here. */
static void wake_consumer(struct side *side) {
  exchange_wake(side->exchange, side->outer ? WAKE_NEAR_OUTPUT : WAKE_FAR_OUTPUT);
}

static void wake_producer(struct side *side) {
  exchange_wake(side->exchange, side->outer ? WAKE_NEAR_INPUT : WAKE_FAR_INPUT);
}

/* ---- as an end of an exchange ---- */

static void on_flow(void *end, struct exchange *exchange) {
  (void)exchange;
  mark(end);
}

static void outer_cancel(void *end, struct exchange *exchange, enum err reason) {
  (void)exchange;
  struct side *side = end;
  if ((side->told & HEARD_FAIL) == 0) {
    side->tell |= TELL_CANCEL;
    side->reason = (uint8_t)reason;
  }
  mark(side);
}

static void outer_left(void *end, struct exchange *exchange) {
  (void)exchange;
  struct side *side = end;
  side->tell |= TELL_DONE;
  mark(side);
}

static const struct exchange_ops outer_ops = {
    .output = on_flow, .input = on_flow, .cancel = outer_cancel, .left = outer_left};
static const struct exchange_ops inner_ops = {.output = on_flow, .input = on_flow, .left = on_flow};

static void side_init(struct side *side, struct relay *relay, unsigned peer, bool outer) {
  *side = (struct side){
      .relay = relay,
      .granted = FLOW_UNTAKEN_BYTES_MAX,
      .granted_told = FLOW_UNTAKEN_BYTES_MAX,
      .peer = (uint16_t)peer,
      .outer = outer,
  };
  list_init(&side->dirty);
}

bool relay_begin(struct relays *relays, struct exchange *exchange, unsigned self, unsigned peer) {
  struct relay *relay = pool_get(&relays->pool);
  if (relay == NULL)
    return false;
  side_init(&relay->outer, relay, peer, true);
  side_init(&relay->inner, relay, self, false);
  relay->outer.relays = relays;
  relay->outer.exchange = exchange;
  relay->outer.tell = TELL_REQUEST;
  relays->peers[peer].outer_count++;
  exchange_attach(exchange, &outer_ops, &relay->outer);
  mark(&relay->outer);
  return true;
}

/* ---- telling ---- */

/* False: the mailbox is full. */
static bool tell(const struct side *side, struct mailbox *mailbox, struct mail mail) {
  if (mailbox_room(mailbox) == 0)
    return false;
  mail.object = side->outer ? &side->relay->inner : &side->relay->outer;
  mailbox_push(mailbox, &mail);
  return true;
}

static bool tell_body(struct side *side, struct mailbox *mailbox) {
  struct flow *flow = leaving(side);
  uint64_t before = flow->taken;
  bool room = true;
  while (room && flow->end != FLOW_CANCELLED && flow->taken < side->granted && flow_untaken(flow) > 0) {
    struct iovec iov[PEEK_MAX];
    size_t count = flow_peek(flow, iov, PEEK_MAX, NULL);
    for (size_t i = 0; room && i < count && flow->taken < side->granted; i++) {
      uint64_t left = side->granted - flow->taken;
      uint32_t len = iov[i].iov_len < left ? (uint32_t)iov[i].iov_len : (uint32_t)left;
      room = tell(side, mailbox, (struct mail){.kind = SPAN, .len = len, .data = iov[i].iov_base});
      if (room)
        flow_take(flow, len);
    }
  }
  if (flow->taken != before && flow->end == FLOW_OPEN)
    wake_producer(side);
  bool over = flow->end == FLOW_EOF ? flow_untaken(flow) == 0 : flow->end == FLOW_CANCELLED;
  if (!room || !over || (side->told & TOLD_END))
    return room;
  const struct fields *trailers = side->outer ? &side->exchange->req_trailers : &side->exchange->resp_trailers;
  if (!tell(side, mailbox, (struct mail){.kind = END, .detail = flow->end, .data = trailers}))
    return false;
  side->told |= TOLD_END;
  return true;
}

/* What the consumer here has taken makes room for more; what it has released goes home: by steps, and the rest of it
   when nothing is left here, since the window of a stream may be smaller than a step, and that of a session smaller
   than a step for each of its streams. */
static bool tell_credit(struct side *side, struct mailbox *mailbox) {
  const struct flow *flow = arriving(side);
  uint64_t limit = flow->pushed + flow_room(flow), released = flow->released - side->released_told;
  if (limit < side->granted_told)
    limit = side->granted_told; /* the account is full: nothing is taken back */
  bool all = released > 0 && flow->released == flow->pushed;
  if (limit - side->granted_told >= CREDIT_STEP_BYTES || released >= CREDIT_STEP_BYTES || all) {
    if (!tell(side, mailbox, (struct mail){.kind = CREDIT, .number = limit, .len = (uint32_t)released}))
      return false;
    side->granted_told = limit;
    side->released_told += (uint32_t)released;
  }
  if (flow->end == FLOW_CANCELLED && side->exchange->reason == ERR_OK && (side->told & TOLD_STOP) == 0) {
    if (!tell(side, mailbox, (struct mail){.kind = STOP}))
      return false;
    side->told |= TOLD_STOP;
  }
  return true;
}

static bool tell_once(struct side *side, struct mailbox *mailbox, unsigned what, struct mail mail) {
  if ((side->tell & what) == 0)
    return true;
  if (!tell(side, mailbox, mail))
    return false;
  side->tell &= (uint8_t)~what;
  return true;
}

static void take_informational(struct side *side);

static bool tell_outer(struct side *side, struct mailbox *mailbox) {
  struct exchange *exchange = side->exchange;
  if (side->tell & TELL_REQUEST) {
    bool bare = exchange->req.end == FLOW_EOF && exchange->req.pushed == 0 && exchange->req_trailers.count == 0;
    if (!tell_once(side, mailbox, TELL_REQUEST, (struct mail){.kind = REQUEST, .data = exchange, .detail = bare}))
      return false;
    side->told |= bare ? TOLD_END : 0;
  }
  take_informational(side);
  bool fine = exchange->reason == ERR_OK;
  if (!tell_once(side, mailbox, TELL_INFORMED, (struct mail){.kind = INFORMED}) ||
      (fine && !tell_body(side, mailbox)) || (fine && exchange->near != NULL && !tell_credit(side, mailbox)) ||
      !tell_once(side, mailbox, TELL_CANCEL, (struct mail){.kind = CANCEL, .detail = side->reason}))
    return false;
  if (fine && (side->told & TOLD_END) == 0)
    return true; /* the response is complete, the rest of the request still goes its way */
  return tell_once(side, mailbox, TELL_DONE, (struct mail){.kind = DONE});
}

static bool tell_head(struct side *side, struct mailbox *mailbox) {
  struct exchange *exchange = side->exchange;
  if (exchange->state == EXCHANGE_FORWARDED && (side->told & TOLD_STARTED) == 0) {
    if (!tell(side, mailbox, (struct mail){.kind = STARTED}))
      return false;
    side->told |= TOLD_STARTED;
  }
  const struct head *head = exchange_informational(exchange);
  if (head != NULL && (side->told & TOLD_INFORM) == 0) {
    if (!tell(side, mailbox, (struct mail){.kind = INFORM, .data = head}))
      return false;
    side->told |= TOLD_INFORM;
  }
  if (head != NULL || exchange->state != EXCHANGE_ANSWERING || (side->told & TOLD_HEAD))
    return true;
  if (!tell(side, mailbox, (struct mail){.kind = HEAD, .data = exchange}))
    return false;
  side->told |= TOLD_HEAD;
  return true;
}

/* A failure follows what was received before it. */
static bool tell_failure(struct side *side, struct mailbox *mailbox) {
  const struct exchange *exchange = side->exchange;
  enum err reason = exchange == NULL ? side->reason : exchange->reason;
  if (reason == ERR_OK || (side->told & TOLD_FAIL))
    return true;
  if (exchange != NULL && (side->told & TOLD_HEAD) && flow_untaken(&exchange->resp) > 0)
    return true;
  if (!tell(side, mailbox, (struct mail){.kind = FAIL, .detail = (uint16_t)reason}))
    return false;
  side->told |= TOLD_FAIL;
  return true;
}

static bool tell_inner(struct side *side, struct mailbox *mailbox) {
  struct exchange *exchange = side->exchange;
  if (exchange != NULL && (side->told & (HEARD_CANCEL | HEARD_DONE)) == 0) {
    bool fine = exchange->reason == ERR_OK || exchange->answered_ns != 0; /* else the outer half makes the answer */
    if (!tell_credit(side, mailbox) || (fine && !tell_head(side, mailbox)) ||
        ((side->told & TOLD_HEAD) && !tell_body(side, mailbox)))
      return false;
  }
  if ((side->told & (HEARD_CANCEL | HEARD_DONE)) == 0 && !tell_failure(side, mailbox))
    return false;
  if ((side->told & HEARD_DONE) == 0 || (exchange != NULL && exchange->far != NULL))
    return true;
  if (mailbox_room(mailbox) == 0)
    return false;
  if (exchange != NULL)
    exchange_near_done(exchange);
  must(side->relays->inner_count > 0);
  side->relays->inner_count--;
  return tell(side, mailbox, (struct mail){.kind = DETACH}); /* the relay may go now */
}

void relay_tell(struct relays *relays, unsigned peer, struct mailbox *mailbox) {
  struct list round, *node;
  list_init(&round);
  list_splice(&round, &relays->peers[peer].dirty);
  while ((node = list_pop(&round)) != NULL) {
    struct side *side = container_of(node, struct side, dirty);
    if (side->outer ? tell_outer(side, mailbox) : tell_inner(side, mailbox))
      continue;
    list_push(&round, &side->dirty); /* the mailbox is full: all of them wait */
    list_splice(&relays->peers[peer].dirty, &round);
    return;
  }
}

/* ---- hearing ---- */

static void refuse(struct side *side, enum err reason) {
  if (side->exchange != NULL)
    exchange_near_done(side->exchange);
  side->exchange = NULL;
  side->reason = (uint8_t)reason;
  mark(side);
}

static void hear_request(struct relays *relays, struct side *side, const struct mail *mail) {
  const struct exchange *from = mail->data;
  side->relays = relays;
  relays->inner_count++;
  struct exchange *exchange = exchange_open(relays->proxy, &inner_ops, side);
  if (exchange == NULL) {
    refuse(side, ERR_OVERLOADED);
    return;
  }
  side->exchange = exchange;
  exchange->relayed = true;
  if (head_copy(&exchange->req_head, &from->req_head) != ERR_OK) {
    refuse(side, ERR_OVERLOADED);
    return;
  }
  if (mail->detail)
    flow_end(&exchange->req, FLOW_EOF, ERR_OK);
  exchange_request(exchange);
}

static void hear_started(struct exchange *exchange) {
  if (exchange->state == EXCHANGE_WAITING)
    exchange_sent(exchange);
}

/* Passes on what was heard while no slot was free. */
static void take_informational(struct side *side) {
  struct exchange *exchange = side->exchange;
  if (side->informational == NULL)
    return;
  struct head *slot = exchange_informational_slot(exchange);
  if (slot == NULL)
    return;
  hear_started(exchange);
  if (exchange->state == EXCHANGE_FORWARDED && head_copy(slot, side->informational) == ERR_OK)
    exchange_inform(exchange);
  side->informational = NULL;
  side->tell |= TELL_INFORMED;
}

static void hear_head(struct side *side, const struct exchange *from) {
  struct exchange *exchange = side->exchange;
  hear_started(exchange);
  if (exchange->state != EXCHANGE_FORWARDED)
    return;
  if (head_copy(&exchange->resp_head, &from->resp_head) != ERR_OK) {
    exchange_fail(exchange, ERR_OVERLOADED);
    return;
  }
  exchange->forwarded_ns = from->forwarded_ns; /* until then it waited for a stream or a connection there */
  exchange_response(exchange);
}

static void hear_span(struct side *side, const struct mail *mail) {
  struct flow *flow = arriving(side);
  if (flow->end != FLOW_OPEN)
    return;
  struct chunk *chunk = chunk_borrow(&side->relays->proxy->chunks, mail->data, mail->len);
  enum err err = chunk == NULL ? ERR_OVERLOADED : flow_push(flow, chunk, 0, mail->len);
  if (chunk != NULL)
    chunk_unref(chunk);
  if (err != ERR_OK)
    exchange_fail(side->exchange, err);
  else
    wake_consumer(side);
}

static void hear_end(struct side *side, const struct mail *mail) {
  struct flow *flow = arriving(side);
  const struct fields *trailers = mail->data;
  struct fields *to = side->outer ? &side->exchange->resp_trailers : &side->exchange->req_trailers;
  if (flow->end != FLOW_OPEN)
    return;
  if (mail->detail == FLOW_EOF && trailers->count > 0 && fields_copy(to, trailers) != ERR_OK) {
    exchange_fail(side->exchange, ERR_OVERLOADED);
    return;
  }
  if (mail->detail == FLOW_CANCELLED)
    side->told |= TOLD_STOP; /* it knows */
  flow_end(flow, (enum flow_end)mail->detail, ERR_OK);
  wake_consumer(side);
}

static void hear_credit(struct side *side, const struct mail *mail) {
  side->granted = mail->number;
  flow_release(leaving(side), mail->len);
  if (mail->len > 0)
    wake_producer(side); /* a stream's window follows what is released */
  mark(side);
}

/* What both sides understand alike. */
static void hear_flow(struct side *side, const struct mail *mail) {
  if (mail->kind == CREDIT) {
    hear_credit(side, mail);
  } else if (mail->kind == SPAN) {
    hear_span(side, mail);
  } else if (mail->kind == END) {
    hear_end(side, mail);
  } else {
    must(mail->kind == STOP);
    if (flow_end(leaving(side), FLOW_CANCELLED, ERR_OK))
      wake_producer(side);
    side->told |= TOLD_END;
  }
}

static void outer_hear(struct relays *relays, struct side *side, const struct mail *mail) {
  struct exchange *exchange = side->exchange;
  if (mail->kind == DETACH) {
    list_remove(&side->dirty);
    relays->peers[side->peer].outer_count--;
    pool_put(&relays->pool, side->relay);
    exchange_far_done(exchange);
    return;
  }
  if (exchange->reason != ERR_OK)
    return; /* CANCEL and DONE follow */
  if (exchange->near == NULL) {
    if (mail->kind == FAIL)
      side->told |= TOLD_END; /* nobody takes the rest of the request */
    else if (mail->kind == CREDIT || mail->kind == STOP)
      hear_flow(side, mail);
    mark(side);
  } else if (mail->kind == STARTED) {
    hear_started(exchange);
  } else if (mail->kind == HEAD) {
    hear_head(side, mail->data);
  } else if (mail->kind == INFORM) {
    side->informational = mail->data;
    mark(side);
  } else if (mail->kind == FAIL) {
    side->told |= HEARD_FAIL;
    exchange_fail(exchange, (enum err)mail->detail);
  } else {
    hear_flow(side, mail);
  }
}

static void inner_hear(struct side *side, const struct mail *mail) {
  struct exchange *exchange = side->exchange;
  if (mail->kind == DONE) {
    side->told |= HEARD_DONE;
    mark(side);
  } else if (exchange == NULL) {
    return; /* it was refused */
  } else if (mail->kind == CANCEL) {
    side->told |= HEARD_CANCEL;
    exchange_fail(exchange, (enum err)mail->detail);
  } else if (mail->kind == INFORMED) {
    side->told &= (uint16_t)~TOLD_INFORM;
    exchange_informed(exchange);
    mark(side);
  } else {
    hear_flow(side, mail);
  }
}

void relay_hear(struct relays *relays, unsigned peer, const struct mail *mail) {
  struct side *side = mail->object;
  must(side->peer == peer);
  if (mail->kind == REQUEST)
    hear_request(relays, side, mail);
  else if (side->outer)
    outer_hear(relays, side, mail);
  else
    inner_hear(side, mail);
}

/* ---- all of them ---- */

enum err relays_open(struct relays *relays, struct proxy *proxy, unsigned peers) {
  *relays = (struct relays){.proxy = proxy};
  relays->peers = calloc(peers, sizeof *relays->peers);
  if (relays->peers == NULL)
    return ERR_NO_MEMORY;
  for (unsigned i = 0; i < peers; i++)
    list_init(&relays->peers[i].dirty);
  static_assert(sizeof(struct relay) % APART == 0, "no relay shares a pair of lines with its neighbour");
  return pool_open(&relays->pool, "relays", sizeof(struct relay), EXCHANGES_MAX);
}

void relays_close(struct relays *relays) {
  free(relays->peers);
  if (relays->pool.memory != NULL)
    pool_close(&relays->pool);
  *relays = (struct relays){.proxy = NULL};
}

bool relays_none(const struct relays *relays) { return relays->pool.live == 0 && relays->inner_count == 0; }
