/* An exchange is a block of one pool: both heads' descriptors, both flows. The state is written in one place, moves by
   one table, and decides only what an end may still do; bytes go through the flows without it.

   Who may hold an exchange: its near end (until exchange_near_done), its far end (until exchange_far_done), the ready
   list. It is freed in the tick's last step, when both ends are gone, so that no function on the stack ever sees it go.
 */
#include "proxy/exchange.h"

#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "proxy/access.h"

/* Row: state. Column: event, in the order of enum exchange_event. X: cannot happen. */
enum {
  WAITING = EXCHANGE_WAITING,
  FORWARDED = EXCHANGE_FORWARDED,
  ANSWERING = EXCHANGE_ANSWERING,
  OVER = EXCHANGE_OVER,
  X = EXCHANGE_STATES,
};
// clang-format off
static const uint8_t transitions[EXCHANGE_STATES][EXCHANGE_EVENTS] = {
    /*                      REQUEST  SENT       RETRY    RESPONSE   FAILURE    DONE */
    [EXCHANGE_READING]   = {WAITING, X,         X,       X,         ANSWERING, OVER},
    [EXCHANGE_WAITING]   = {X,       FORWARDED, WAITING, X,         ANSWERING, OVER},
    [EXCHANGE_FORWARDED] = {X,       X,         WAITING, ANSWERING, ANSWERING, OVER},
    [EXCHANGE_ANSWERING] = {X,       X,         X,       X,         ANSWERING, OVER},
    [EXCHANGE_OVER]      = {X,       X,         X,       X,         OVER,      X},
};
// clang-format on

enum exchange_state exchange_next(enum exchange_state state, enum exchange_event event) {
  must(state < EXCHANGE_STATES && event < EXCHANGE_EVENTS);
  return transitions[state][event];
}

const char *exchange_state_name(enum exchange_state state) {
  static const char *const names[EXCHANGE_STATES] = {"reading", "waiting", "forwarded", "answering", "over"};
  return state < EXCHANGE_STATES ? names[state] : "?";
}

static void set_state(struct exchange *exchange, enum exchange_event event) {
  enum exchange_state next = exchange_next(exchange->state, event);
  must(next != EXCHANGE_STATES && "the table has no such transition");
  exchange->state = (uint8_t)next;
}

struct exchange *exchange_open(struct proxy *proxy, const struct exchange_ops *ops, void *near) {
  must(near != NULL);
  struct exchange *exchange = pool_get(&proxy->exchanges);
  if (exchange == NULL)
    return NULL;
  memset(exchange, 0, offsetof(struct exchange, informational));
  exchange->proxy = proxy;
  exchange->near_ops = ops;
  exchange->near = near;
  exchange->started_ns = proxy->now_ns;
  list_init(&exchange->ready);
  list_init(&exchange->queue);
  flow_open(&exchange->req, &proxy->chunks);
  flow_open(&exchange->resp, &proxy->chunks);
  head_open(&exchange->req_head, &proxy->chunks, proxy->limits);
  head_open(&exchange->resp_head, &proxy->chunks, proxy->limits);
  fields_open(&exchange->req_trailers, &proxy->chunks, proxy->limits);
  fields_open(&exchange->resp_trailers, &proxy->chunks, proxy->limits);
  return exchange;
}

static void exchange_free(struct exchange *exchange) {
  must(exchange->near == NULL && exchange->far == NULL);
  must(list_empty(&exchange->queue));
  flow_close(&exchange->req);
  flow_close(&exchange->resp);
  head_close(&exchange->req_head);
  head_close(&exchange->resp_head);
  for (size_t i = 0; i < exchange->informational_opened; i++)
    head_close(&exchange->informational[i]);
  fields_close(&exchange->req_trailers);
  fields_close(&exchange->resp_trailers);
  must(exchange->proxy->yield.leaving_bytes >= exchange->leaving_bytes);
  exchange->proxy->yield.leaving_bytes -= exchange->leaving_bytes;
  pool_put(&exchange->proxy->exchanges, exchange);
}

void exchange_request(struct exchange *exchange) {
  struct proxy *proxy = exchange->proxy;
  set_state(exchange, EXCHANGE_ON_REQUEST);
  if (!exchange->relayed)
    access_begun(exchange);
  if (PTPROXY_BUSY_LOOP_US > 0 &&
      !exchange->relayed) /* CMake's option of this name; only the bench's test of itself sets it */
    clock_burn_us(PTPROXY_BUSY_LOOP_US);
  proxy->route(proxy->router, exchange);
}

void exchange_attach(struct exchange *exchange, const struct exchange_ops *ops, void *far) {
  must(far != NULL && exchange->state == EXCHANGE_WAITING);
  exchange->far_ops = ops;
  exchange->far = far;
}

void exchange_sent(struct exchange *exchange) {
  set_state(exchange, EXCHANGE_ON_SENT);
  if (exchange->relayed && exchange->req.end == FLOW_OPEN)
    exchange_wake(exchange, WAKE_NEAR_INPUT); /* that its caller's body is waited for now is of interest there */
  exchange->forwarded_ns = exchange->proxy->now_ns;
}

void exchange_retry(struct exchange *exchange) {
  set_state(exchange, EXCHANGE_ON_RETRY);
  exchange->retried = true;
  head_close(&exchange->resp_head);
  head_open(&exchange->resp_head, &exchange->proxy->chunks, exchange->proxy->limits);
}

struct head *exchange_informational_slot(struct exchange *exchange) {
  struct proxy *proxy = exchange->proxy;
  unsigned slot = (exchange->informational_first + exchange->informational_count) % INFORMATIONAL_MAX;
  if (exchange->informational_count == INFORMATIONAL_MAX)
    return NULL;
  if (slot == exchange->informational_opened) {
    head_open(&exchange->informational[slot], &proxy->chunks, proxy->limits);
    exchange->informational_opened++;
  }
  return &exchange->informational[slot];
}

void exchange_inform(struct exchange *exchange) {
  must(exchange->informational_count < INFORMATIONAL_MAX);
  exchange->informational_count++;
  exchange_wake(exchange, WAKE_NEAR_OUTPUT);
}

struct head *exchange_informational(struct exchange *exchange) {
  return exchange->informational_count > 0 ? &exchange->informational[exchange->informational_first] : NULL;
}

void exchange_informed(struct exchange *exchange) {
  must(exchange->informational_count > 0);
  head_close(&exchange->informational[exchange->informational_first]);
  exchange->informational_first = (uint8_t)((exchange->informational_first + 1) % INFORMATIONAL_MAX);
  exchange->informational_count--;
  exchange_wake(exchange, WAKE_FAR_INPUT);
}

void exchange_response(struct exchange *exchange) {
  set_state(exchange, EXCHANGE_ON_RESPONSE);
  exchange->answered_ns = exchange->proxy->now_ns;
  exchange_wake(exchange, WAKE_NEAR_OUTPUT);
}

/* Makes the response ourselves. What the far end had begun of one is dropped: nobody has looked at it. False when even
   that is not possible, for want of a chunk. */
static bool answer(struct exchange *exchange, enum err reason) {
  struct proxy *proxy = exchange->proxy;
  char text[160];
  size_t len = strlen(err_text(reason));
  must(len + 1 < sizeof text);
  memcpy(text, err_text(reason), len);
  text[len++] = '\n';

  must(exchange->resp.taken == 0 && "the near end takes nothing before it has the head");
  struct flow_account *account = exchange->resp.account;
  flow_close(&exchange->resp);
  flow_open(&exchange->resp, &proxy->chunks);
  flow_set_account(&exchange->resp, account);
  head_close(&exchange->resp_head);
  head_open(&exchange->resp_head, &proxy->chunks, proxy->limits);
  fields_close(&exchange->resp_trailers);
  if (head_answer(&exchange->resp_head, err_status(reason), proxy->server, len, proxy->date) != ERR_OK)
    return false;
  if (!head_method_is(&exchange->req_head, "HEAD") && flow_push_copy(&exchange->resp, text, len) != ERR_OK)
    return false;
  flow_end(&exchange->resp, FLOW_EOF, ERR_OK);
  return true;
}

static enum flow_end end_of(enum err reason) {
  switch (reason) {
  case ERR_LINK_DOWN:
    return FLOW_LINK_DOWN;
  case ERR_ORIGIN_TIMEOUT:
  case ERR_ORIGIN_CONNECT_TIMEOUT:
  case ERR_REQUEST_BODY_TIMEOUT:
  case ERR_REQUEST_HEAD_TIMEOUT:
  case ERR_CLIENT_STALLED:
  case ERR_READ_YIELDED:
  case ERR_BODY_YIELDED:
    return FLOW_TIMED_OUT;
  case ERR_ORIGIN_CLOSED:
    return FLOW_TRUNCATED;
  default:
    return FLOW_ABORTED;
  }
}

void exchange_fail(struct exchange *exchange, enum err reason) {
  must(reason != ERR_OK);
  if (exchange->reason != ERR_OK || exchange->state == EXCHANGE_OVER)
    return;
  exchange->reason = (uint8_t)reason;
  /* At once, not by the pump: the far end must not add to a head or a flow that is our own answer by then. */
  if (exchange->far != NULL)
    exchange->far_ops->cancel(exchange->far, exchange, reason);
  bool answered = exchange->state != EXCHANGE_ANSWERING && err_status(reason) != 0 && answer(exchange, reason);
  set_state(exchange, EXCHANGE_ON_FAILURE);
  if (!answered)
    flow_end(&exchange->resp, end_of(reason), reason);
  flow_end(&exchange->req, FLOW_CANCELLED, reason);
  exchange_wake(exchange, WAKE_NEAR_OUTPUT | WAKE_NEAR_INPUT);
}

/* An exchange without ends waits in proxy->dead, whatever list it was in. */
static void bury_when_alone(struct exchange *exchange) {
  if (exchange->near != NULL || exchange->far != NULL)
    return;
  exchange->wakes = 0;
  list_remove(&exchange->ready);
  list_push(&exchange->proxy->dead, &exchange->ready);
}

void exchange_near_done(struct exchange *exchange) {
  must(exchange->near != NULL);
  if (!exchange->relayed)
    access_ended(exchange);
  set_state(exchange, EXCHANGE_ON_DONE);
  exchange->near = NULL;
  /* The end of the response is where a request is over; a far end that still sends the rest of the request stops. */
  bool complete = flow_finished(&exchange->resp) && exchange->req.end == FLOW_EOF && exchange->reason == ERR_OK;
  if (exchange->far != NULL && !complete) {
    if (exchange->reason == ERR_OK)
      exchange->reason = ERR_CLIENT_GONE;
    flow_end(&exchange->req, FLOW_ABORTED, exchange->reason);
    flow_end(&exchange->resp, FLOW_CANCELLED, exchange->reason);
    exchange->far_ops->cancel(exchange->far, exchange, exchange->reason);
  }
  if (exchange->far != NULL && exchange->far_ops->left != NULL)
    exchange->far_ops->left(exchange->far, exchange);
  bury_when_alone(exchange);
}

void exchange_far_done(struct exchange *exchange) {
  must(exchange->far != NULL);
  exchange->far = NULL;
  if (exchange->near != NULL && exchange->near_ops->left != NULL)
    exchange->near_ops->left(exchange->near, exchange);
  bury_when_alone(exchange);
}

void exchange_wake(struct exchange *exchange, unsigned wakes) {
  must(exchange->near != NULL || exchange->far != NULL);
  if (exchange->wakes == 0)
    list_push(&exchange->proxy->ready, &exchange->ready);
  exchange->wakes |= (uint8_t)wakes;
}

static void pump(struct exchange *exchange) {
  unsigned wakes = exchange->wakes;
  exchange->wakes = 0;
  if ((wakes & WAKE_FAR_OUTPUT) && exchange->far != NULL)
    exchange->far_ops->output(exchange->far, exchange);
  if ((wakes & WAKE_NEAR_OUTPUT) && exchange->near != NULL)
    exchange->near_ops->output(exchange->near, exchange);
  if ((wakes & WAKE_FAR_INPUT) && exchange->far != NULL)
    exchange->far_ops->input(exchange->far, exchange);
  if ((wakes & WAKE_NEAR_INPUT) && exchange->near != NULL)
    exchange->near_ops->input(exchange->near, exchange);
}

void exchange_pump(struct proxy *proxy) {
  /* What is woken by the pump itself waits for the next round, so that one exchange cannot hold the worker. */
  struct list round;
  list_init(&round);
  list_splice(&round, &proxy->ready);
  struct list *node;
  while ((node = list_pop(&round)) != NULL)
    pump(container_of(node, struct exchange, ready));
}

void exchange_bury(struct proxy *proxy) {
  struct list *node;
  while ((node = list_pop(&proxy->dead)) != NULL)
    exchange_free(container_of(node, struct exchange, ready));
}
