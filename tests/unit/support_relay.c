#include "unit/support_relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/support_io.h"

enum { RESP_AT = 1 << 20, PIECE_MAX = 40000, MAILS = 64 };

struct site sites[SITES];
struct talk talks[TALKS_MAX];
uint64_t relay_random = 88172645463325252u;

/* Bodies begin at different places of the pattern, so that no byte of another one fits. */
static uint64_t req_at(const struct talk *talk) { return (uint64_t)(talk - talks) * 1000003; }
static uint64_t resp_at(const struct talk *talk) { return req_at(talk) + RESP_AT; }

/* ---- what both ends do ---- */

static uint64_t min_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Pushes what there is room for; pieces of all sizes. */
static uint64_t push(struct exchange *exchange, struct flow *flow, uint64_t at, uint64_t max) {
  static uint8_t data[PIECE_MAX];
  uint64_t done = 0;
  while (done < max && flow_room(flow) > 0) {
    uint64_t len = min_of(1 + draw_below(&relay_random, draw_below(&relay_random, 4) > 0 ? PIECE_MAX : 300), PIECE_MAX);
    len = min_of(len, min_of(max - done, flow_room(flow)));
    pattern_fill(data, len, at + done);
    if (flow_push_copy(flow, data, len) != ERR_OK) {
      exchange_fail(exchange, ERR_OVERLOADED);
      return done;
    }
    done += len;
  }
  return done;
}

static uint64_t take(struct flow *flow, uint64_t at, uint64_t max, bool checked) {
  uint64_t done = 0;
  while (done < max && flow_untaken(flow) > 0) {
    struct iovec iov[4];
    size_t count = flow_peek(flow, iov, 4, NULL);
    for (size_t i = 0; i < count && done < max; i++) {
      uint64_t len = min_of(iov[i].iov_len, max - done);
      assert_true(!checked || pattern_holds(iov[i].iov_base, len, at + done));
      flow_take(flow, len);
      done += len;
    }
  }
  return done;
}

static void expect_field(const struct fields *fields, const char *text) {
  struct bytes name, value;
  assert_int_equal(fields->count, 1);
  assert_true(fields_get(fields, 0, &name, &value));
  assert_int_equal(value.len, strlen(text));
  assert_memory_equal(value.data, text, value.len);
}

static unsigned field_number(const struct fields *fields) {
  struct bytes name, value;
  assert_true(fields->count == 1 && fields_get(fields, 0, &name, &value));
  unsigned number = 0;
  for (size_t i = 0; i < value.len; i++)
    number = number * 10 + (unsigned)(value.data[i] - '0');
  return number;
}

static void add_field(struct exchange *exchange, struct fields *fields, const char *text) {
  if (fields_add(fields, BYTES_LITERAL("x-it"), (struct bytes){(const uint8_t *)text, strlen(text)}) != ERR_OK)
    exchange_fail(exchange, ERR_OVERLOADED);
}

/* ---- the near end ---- */

static void near_on_output(void *end, struct exchange *exchange) {
  (void)exchange;
  ((struct talk *)end)->near_may_read = true;
}

static void near_on_input(void *end, struct exchange *exchange) {
  (void)exchange;
  ((struct talk *)end)->near_may_send = true;
}

static const struct exchange_ops near_ops = {.output = near_on_output, .input = near_on_input};

struct talk *talk_open(unsigned from, const struct talk *plan) {
  struct talk *talk = talks;
  while (talk->used)
    assert_true(++talk < talks + TALKS_MAX);
  struct exchange *exchange = exchange_open(&sites[from].proxy, &near_ops, talk);
  if (exchange == NULL)
    return NULL;
  *talk = *plan;
  talk->used = talk->near_may_send = true;
  talk->from = from;
  talk->near = exchange;
  char target[16];
  int len = snprintf(target, sizeof target, "/%d", (int)(talk - talks));
  struct head *head = &exchange->req_head;
  if (head_set(head, &head->method, BYTES_LITERAL("PUT")) != ERR_OK ||
      head_set(head, &head->target, (struct bytes){(const uint8_t *)target, (size_t)len}) != ERR_OK) {
    exchange_fail(exchange, ERR_OVERLOADED);
    return talk;
  }
  if (talk->req_len == 0 && !talk->req_trailers)
    flow_end(&exchange->req, FLOW_EOF, ERR_OK);
  exchange_request(exchange);
  return talk;
}

uint64_t near_send(struct talk *talk, uint64_t max) {
  struct exchange *exchange = talk->near;
  if (exchange == NULL || !talk->near_may_send || exchange->req.end != FLOW_OPEN)
    return 0;
  uint64_t done =
      push(exchange, &exchange->req, req_at(talk) + talk->req_sent, min_of(max, talk->req_len - talk->req_sent));
  talk->req_sent += done;
  if (talk->req_sent == talk->req_len && exchange->reason == ERR_OK) {
    if (talk->req_trailers)
      add_field(exchange, &exchange->req_trailers, "after the request");
    flow_end(&exchange->req, FLOW_EOF, ERR_OK);
  }
  talk->near_may_send = flow_room(&exchange->req) > 0;
  exchange_wake(exchange, WAKE_FAR_OUTPUT);
  return done;
}

static void near_ended(struct talk *talk) {
  const struct exchange *exchange = talk->near;
  if (talk->end != FLOW_OPEN)
    return;
  talk->end = exchange->resp.end;
  talk->reason = exchange->reason;
  if (talk->end == FLOW_EOF && talk->reason == ERR_OK && talk->resp_trailers)
    expect_field(&exchange->resp_trailers, "after the response");
}

uint64_t near_read(struct talk *talk, uint64_t max) {
  struct exchange *exchange = talk->near;
  if (exchange == NULL || !talk->near_may_read)
    return 0;
  const struct head *head;
  while ((head = exchange_informational(exchange)) != NULL) {
    unsigned number = field_number(&head->fields);
    assert_true(number >= talk->informed); /* in their order; one that there was no chunk for is missing */
    talk->informed = number + 1;
    exchange_informed(exchange);
  }
  if (exchange->state != EXCHANGE_ANSWERING) {
    talk->near_may_read = false;
    return 0;
  }
  talk->status = exchange->resp_head.status;
  uint64_t done = take(&exchange->resp, resp_at(talk) + talk->resp_got, max, talk->status == 200);
  talk->resp_got += done;
  if (done > 0)
    exchange_wake(exchange, WAKE_FAR_INPUT);
  if (flow_untaken(&exchange->resp) == 0) {
    talk->near_may_read = false;
    if (exchange->resp.end != FLOW_OPEN)
      near_ended(talk);
  }
  return done;
}

void near_release(struct talk *talk, uint64_t max) {
  if (talk->near == NULL)
    return;
  uint64_t len = min_of(max, talk->resp_got - talk->resp_released);
  flow_release(&talk->near->resp, len);
  talk->resp_released += len;
  if (len > 0)
    exchange_wake(talk->near, WAKE_FAR_INPUT);
}

void near_done(struct talk *talk) {
  struct exchange *exchange = talk->near;
  talk->near = NULL;
  exchange_near_done(exchange);
}

/* ---- the far end ---- */

static void far_on_output(void *end, struct exchange *exchange) {
  (void)exchange;
  ((struct talk *)end)->far_may_read = true;
}

static void far_on_input(void *end, struct exchange *exchange) {
  (void)exchange;
  ((struct talk *)end)->far_may_send = true;
}

static void far_on_cancel(void *end, struct exchange *exchange, enum err reason) {
  struct talk *talk = end;
  assert_ptr_equal(talk->far, exchange);
  assert_true(reason != ERR_OK && !talk->cancelled);
  talk->cancelled = true;
  if (!talk->holds)
    far_done(talk);
}

static const struct exchange_ops far_ops = {.output = far_on_output, .input = far_on_input, .cancel = far_on_cancel};

/* What has come from the other site ends here; what came in here goes there. */
static void route(void *router, struct exchange *exchange) {
  struct site *site = router;
  unsigned self = (unsigned)(site - sites);
  if (!exchange->relayed) {
    assert_true(relay_begin(&site->relays, exchange, self, 1 - self));
    return;
  }
  struct bytes target = head_target(&exchange->req_head);
  assert_true(target.len == 2 && head_method_is(&exchange->req_head, "PUT"));
  struct talk *talk = &talks[target.data[1] - '0'];
  assert_true(talk->used && talk->from != self && !talk->came);
  talk->came = true;
  talk->far = exchange;
  exchange_attach(exchange, &far_ops, talk);
}

void far_begin(struct talk *talk) {
  talk->begun = talk->far_may_read = talk->far_may_send = true;
  exchange_sent(talk->far);
}

bool far_inform(struct talk *talk) {
  struct head *slot = exchange_informational_slot(talk->far);
  if (slot == NULL)
    return false;
  char number[16];
  int len = snprintf(number, sizeof number, "%u", talk->informs);
  slot->status = 103;
  if (fields_add(&slot->fields, BYTES_LITERAL("x-it"), (struct bytes){(const uint8_t *)number, (size_t)len}) !=
      ERR_OK) {
    exchange_fail(talk->far, ERR_OVERLOADED);
    return false;
  }
  talk->informs++;
  exchange_inform(talk->far);
  return true;
}

void far_head(struct talk *talk) {
  talk->far->resp_head.status = 200;
  exchange_response(talk->far);
}

uint64_t far_send(struct talk *talk, uint64_t max) {
  struct exchange *exchange = talk->far;
  if (exchange == NULL || talk->cancelled || !talk->far_may_send || exchange->resp.end != FLOW_OPEN)
    return 0;
  assert_int_equal(exchange->state, EXCHANGE_ANSWERING);
  uint64_t done =
      push(exchange, &exchange->resp, resp_at(talk) + talk->resp_sent, min_of(max, talk->resp_len - talk->resp_sent));
  talk->resp_sent += done;
  if (talk->far == NULL || talk->cancelled) /* it has failed for want of memory */
    return done;
  if (talk->resp_sent == talk->resp_len) {
    if (talk->resp_trailers)
      add_field(exchange, &exchange->resp_trailers, "after the response");
    flow_end(&exchange->resp, FLOW_EOF, ERR_OK);
  }
  talk->far_may_send = flow_room(&exchange->resp) > 0;
  if (talk->far != NULL)
    exchange_wake(exchange, WAKE_NEAR_OUTPUT);
  return done;
}

uint64_t far_read(struct talk *talk, uint64_t max) {
  struct exchange *exchange = talk->far;
  if (exchange == NULL || talk->cancelled || !talk->far_may_read || exchange->req.end == FLOW_CANCELLED)
    return 0;
  uint64_t done = take(&exchange->req, req_at(talk) + talk->req_got, max, true);
  talk->req_got += done;
  if (done > 0)
    exchange_wake(exchange, WAKE_NEAR_INPUT);
  if (flow_untaken(&exchange->req) == 0)
    talk->far_may_read = false;
  if (flow_finished(&exchange->req) && !talk->req_complete) {
    talk->req_complete = true;
    if (talk->req_trailers)
      expect_field(&exchange->req_trailers, "after the request");
  }
  return done;
}

void far_release(struct talk *talk, uint64_t max) {
  if (talk->far == NULL)
    return;
  uint64_t len = min_of(max, talk->req_got - talk->req_released);
  flow_release(&talk->far->req, len);
  talk->req_released += len;
  if (len > 0)
    exchange_wake(talk->far, WAKE_NEAR_INPUT);
}

void far_stop(struct talk *talk) {
  if (flow_end(&talk->far->req, FLOW_CANCELLED, ERR_OK))
    exchange_wake(talk->far, WAKE_NEAR_INPUT);
}

void far_done(struct talk *talk) {
  struct exchange *exchange = talk->far;
  talk->far = NULL;
  exchange_far_done(exchange);
}

/* ---- the sites ---- */

static void site_open(struct site *site, uint32_t capacity, uint32_t exchanges, uint32_t chunks) {
  struct proxy *proxy = &site->proxy;
  memset(site, 0, sizeof *site);
  list_init(&proxy->ready);
  list_init(&proxy->dead);
  proxy->now_ns = 1;
  proxy->workers = 1;
  proxy->limits = (struct head_limits){.bytes = 4096, .count = 32};
  proxy->metrics = &site->figures;
  proxy->route = route;
  proxy->router = site;
  memcpy(proxy->date, "Sun, 06 Nov 1994 08:49:37 GMT", 30);
  assert_int_equal(chunks_open(&proxy->chunks, chunks, chunks, 4 * chunks), ERR_OK);
  assert_int_equal(pool_open(&proxy->exchanges, "exchanges", sizeof(struct exchange), exchanges), ERR_OK);
  assert_int_equal(relays_open(&site->relays, proxy, SITES), ERR_OK);
  assert_int_equal(mailbox_open(&site->out, capacity), ERR_OK);
}

void sites_open(uint32_t capacity, uint32_t exchanges, uint32_t chunks) {
  memset(talks, 0, sizeof talks);
  for (int i = 0; i < SITES; i++)
    site_open(&sites[i], capacity, exchanges, chunks);
}

bool sites_idle(void) {
  bool idle = true;
  for (int i = 0; i < SITES; i++)
    idle = idle && relays_none(&sites[i].relays) && sites[i].proxy.exchanges.live == 0;
  return idle;
}

void sites_close(void) {
  assert_true(sites_idle());
  for (int i = 0; i < SITES; i++) {
    struct mail mail;
    assert_int_equal(mailbox_drain(sites[1 - i].out, &mail, 1), 0);
    for (int peer = 0; peer < SITES; peer++) {
      assert_true(list_empty(&sites[i].relays.peers[peer].dirty));
      assert_int_equal(sites[i].relays.peers[peer].outer_count, 0);
    }
  }
  assert_int_equal(pools_live(), 0);
  for (int i = 0; i < SITES; i++) {
    struct proxy *proxy = &sites[i].proxy;
    mailbox_close(sites[i].out);
    relays_close(&sites[i].relays);
    pool_close(&proxy->exchanges);
    chunks_close(&proxy->chunks);
  }
}

void site_tick(unsigned self, uint32_t mails) {
  struct site *site = &sites[self];
  struct mail mail[MAILS];
  uint32_t count = mailbox_drain(sites[1 - self].out, mail, mails < MAILS ? mails : MAILS);
  for (uint32_t i = 0; i < count; i++)
    relay_hear(&site->relays, 1 - self, &mail[i]);
  exchange_pump(&site->proxy);
  relay_tell(&site->relays, 1 - self, site->out);
  assert_false(mailbox_flush(site->out)); /* nobody sleeps */
  exchange_bury(&site->proxy);
}

void sites_settle(void) {
  for (int i = 0; i < 500; i++)
    site_tick((unsigned)i % SITES, MAILS);
}

bool talk_over(const struct talk *talk) { return talk->used && talk->near == NULL && talk->far == NULL; }
