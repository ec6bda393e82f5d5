/* proxy/exchange: the table of its states, and what either end is told when the other one ends. */
#include "proxy/exchange.h"

#include <string.h>

#include "base/must.h"
#include "support.h"

/* An end that counts what it is asked. */
struct end {
  int outputs, inputs, cancels;
  enum err reason;
  bool holds; /* a cancelled far end lets go later: something is still in flight */
};

static struct proxy proxy;
static struct metrics figures;
static struct end near, far;
static struct exchange *routed;

static void on_output(void *end, struct exchange *exchange) {
  (void)exchange;
  ((struct end *)end)->outputs++;
}

static void on_input(void *end, struct exchange *exchange) {
  (void)exchange;
  ((struct end *)end)->inputs++;
}

static void on_cancel(void *end, struct exchange *exchange, enum err reason) {
  struct end *self = end;
  self->cancels++;
  self->reason = reason;
  if (!self->holds)
    exchange_far_done(exchange);
}

static const struct exchange_ops near_ops = {.output = on_output, .input = on_input};
static const struct exchange_ops far_ops = {.output = on_output, .input = on_input, .cancel = on_cancel};

static void route(void *router, struct exchange *exchange) {
  (void)router;
  routed = exchange;
}

static int set_up(void **state) {
  (void)state;
  memset(&proxy, 0, sizeof proxy);
  memset(&figures, 0, sizeof figures);
  near = far = (struct end){0};
  routed = NULL;
  list_init(&proxy.ready);
  list_init(&proxy.dead);
  proxy.limits = (struct head_limits){.bytes = 4096, .count = 32};
  proxy.metrics = &figures;
  proxy.route = route;
  memcpy(proxy.date, "Sun, 06 Nov 1994 08:49:37 GMT", 30);
  return chunks_open(&proxy.chunks, 64, 16, 64) != ERR_OK ||
         pool_open(&proxy.exchanges, "exchanges", sizeof(struct exchange), 2) != ERR_OK;
}

static int tear_down(void **state) {
  (void)state;
  exchange_bury(&proxy);
  pool_close(&proxy.exchanges); /* dies when one is left */
  chunks_close(&proxy.chunks);
  return 0;
}

static struct exchange *open_waiting(void) {
  struct exchange *exchange = exchange_open(&proxy, &near_ops, &near);
  assert_non_null(exchange);
  assert_int_equal(head_set(&exchange->req_head, &exchange->req_head.method, BYTES_LITERAL("GET")), ERR_OK);
  exchange_request(exchange);
  assert_ptr_equal(routed, exchange);
  return exchange;
}

static struct exchange *open_forwarded(void) {
  struct exchange *exchange = open_waiting();
  exchange_attach(exchange, &far_ops, &far);
  exchange_sent(exchange);
  return exchange;
}

static size_t untaken_text(const struct exchange *exchange, char *out, size_t size) {
  struct iovec iov[4];
  size_t len = 0, count = flow_peek(&exchange->resp, iov, 4, NULL);
  for (size_t i = 0; i < count && len + iov[i].iov_len < size; i++) {
    memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
    len += iov[i].iov_len;
  }
  out[len] = '\0';
  return len;
}

static void test_table(void **state) {
  (void)state;
  static const struct {
    enum exchange_state from;
    enum exchange_event event;
    enum exchange_state to;
  } legal[] = {
      {EXCHANGE_READING, EXCHANGE_ON_REQUEST, EXCHANGE_WAITING},
      {EXCHANGE_READING, EXCHANGE_ON_FAILURE, EXCHANGE_ANSWERING},
      {EXCHANGE_READING, EXCHANGE_ON_DONE, EXCHANGE_OVER},
      {EXCHANGE_WAITING, EXCHANGE_ON_SENT, EXCHANGE_FORWARDED},
      {EXCHANGE_WAITING, EXCHANGE_ON_RETRY, EXCHANGE_WAITING},
      {EXCHANGE_WAITING, EXCHANGE_ON_FAILURE, EXCHANGE_ANSWERING},
      {EXCHANGE_WAITING, EXCHANGE_ON_DONE, EXCHANGE_OVER},
      {EXCHANGE_FORWARDED, EXCHANGE_ON_RETRY, EXCHANGE_WAITING},
      {EXCHANGE_FORWARDED, EXCHANGE_ON_RESPONSE, EXCHANGE_ANSWERING},
      {EXCHANGE_FORWARDED, EXCHANGE_ON_FAILURE, EXCHANGE_ANSWERING},
      {EXCHANGE_FORWARDED, EXCHANGE_ON_DONE, EXCHANGE_OVER},
      {EXCHANGE_ANSWERING, EXCHANGE_ON_FAILURE, EXCHANGE_ANSWERING},
      {EXCHANGE_ANSWERING, EXCHANGE_ON_DONE, EXCHANGE_OVER},
      {EXCHANGE_OVER, EXCHANGE_ON_FAILURE, EXCHANGE_OVER},
  };
  size_t found = 0;
  for (int from = 0; from < EXCHANGE_STATES; from++) {
    for (int event = 0; event < EXCHANGE_EVENTS; event++) {
      enum exchange_state expected = EXCHANGE_STATES;
      for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++) {
        if ((int)legal[i].from == from && (int)legal[i].event == event)
          expected = legal[i].to;
      }
      found += expected != EXCHANGE_STATES;
      assert_int_equal(exchange_next((enum exchange_state)from, (enum exchange_event)event), expected);
    }
    assert_string_not_equal(exchange_state_name((enum exchange_state)from), "?");
  }
  assert_int_equal(found, sizeof legal / sizeof legal[0]);
}

static void test_whole_life(void **state) {
  (void)state;
  struct exchange *exchange = open_forwarded();
  flow_end(&exchange->req, FLOW_EOF, ERR_OK);
  exchange_wake(exchange, WAKE_FAR_OUTPUT);
  exchange_pump(&proxy);
  assert_int_equal(far.outputs, 1);
  assert_int_equal(near.outputs, 0);
  exchange_response(exchange);
  assert_int_equal(flow_push_copy(&exchange->resp, "body", 4), ERR_OK);
  flow_end(&exchange->resp, FLOW_EOF, ERR_OK);
  exchange_far_done(exchange);
  exchange_pump(&proxy);
  assert_int_equal(near.outputs, 1);
  flow_take(&exchange->resp, 4);
  exchange_near_done(exchange);
  assert_int_equal(far.cancels, 0);
  assert_int_equal(proxy.exchanges.live, 1); /* until the tick's last step */
  exchange_bury(&proxy);
  assert_int_equal(proxy.exchanges.live, 0);
}

static void test_complete_exchange_leaves_far_end_alone(void **state) {
  (void)state;
  struct exchange *exchange = open_forwarded();
  flow_end(&exchange->req, FLOW_EOF, ERR_OK);
  exchange_response(exchange);
  flow_end(&exchange->resp, FLOW_EOF, ERR_OK);
  exchange_near_done(exchange); /* the far end waits for acknowledgements */
  assert_int_equal(far.cancels, 0);
  exchange_bury(&proxy);
  assert_int_equal(proxy.exchanges.live, 1);
  exchange_far_done(exchange);
}

static void test_failure_before_the_head_is_answered(void **state) {
  (void)state;
  static const struct {
    enum err reason;
    uint16_t status;
  } cases[] = {
      {ERR_NO_TUNNEL, 503},     {ERR_LINK_DOWN, 502},    {ERR_ORIGIN_UNREACHABLE, 502},   {ERR_ORIGIN_TIMEOUT, 504},
      {ERR_ORIGIN_CLOSED, 502}, {ERR_STREAM_RESET, 502}, {ERR_REQUEST_BODY_TIMEOUT, 408}, {ERR_OVERLOADED, 503},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    far = (struct end){0};
    struct exchange *exchange = open_forwarded();
    /* What the far end had begun of a response is nothing that may be seen. */
    flow_end(&exchange->resp, FLOW_ABORTED, ERR_STREAM_RESET);
    exchange->resp_head.status = 200;
    exchange_fail(exchange, cases[i].reason);
    assert_int_equal(far.cancels, 1);
    assert_int_equal(far.reason, cases[i].reason);
    assert_int_equal(exchange->state, EXCHANGE_ANSWERING);
    assert_int_equal(exchange->resp_head.status, cases[i].status);
    assert_int_equal(exchange->resp.end, FLOW_EOF);
    assert_int_equal(exchange->req.end, FLOW_CANCELLED);
    char text[200];
    size_t len = untaken_text(exchange, text, sizeof text);
    assert_int_equal(len, exchange->resp_head.content_length);
    assert_int_equal(strncmp(text, err_text(cases[i].reason), strlen(err_text(cases[i].reason))), 0);
    exchange_fail(exchange, ERR_BAD_MESSAGE); /* a second failure changes nothing */
    assert_int_equal(exchange->reason, cases[i].reason);
    flow_take(&exchange->resp, len);
    exchange_near_done(exchange);
    exchange_bury(&proxy);
  }
}

static void test_failure_after_the_head_cuts(void **state) {
  (void)state;
  static const struct {
    enum err reason;
    enum flow_end end;
  } cases[] = {{ERR_LINK_DOWN, FLOW_LINK_DOWN},
               {ERR_ORIGIN_TIMEOUT, FLOW_TIMED_OUT},
               {ERR_ORIGIN_CLOSED, FLOW_TRUNCATED},
               {ERR_STREAM_RESET, FLOW_ABORTED}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct exchange *exchange = open_forwarded();
    exchange_response(exchange);
    assert_int_equal(flow_push_copy(&exchange->resp, "part", 4), ERR_OK);
    exchange_fail(exchange, cases[i].reason);
    assert_int_equal(exchange->resp.end, cases[i].end);
    assert_int_equal(exchange->resp.pushed, 4);
    exchange_near_done(exchange);
    exchange_bury(&proxy);
  }
}

static void test_reason_without_status_ends_without_answer(void **state) {
  (void)state;
  struct exchange *exchange = open_forwarded();
  exchange_fail(exchange, ERR_CLIENT_GONE);
  assert_int_equal(exchange->resp_head.status, 0);
  assert_int_equal(exchange->resp.end, FLOW_ABORTED);
  exchange_near_done(exchange);
}

static void test_near_end_gone_cancels_the_far_end(void **state) {
  (void)state;
  far.holds = true;
  struct exchange *exchange = open_forwarded();
  exchange_near_done(exchange);
  assert_int_equal(far.cancels, 1);
  assert_int_equal(far.reason, ERR_CLIENT_GONE);
  assert_int_equal(exchange->req.end, FLOW_ABORTED);    /* towards HTTP/3: RESET_STREAM, never FIN */
  assert_int_equal(exchange->resp.end, FLOW_CANCELLED); /* STOP_SENDING */
  exchange_bury(&proxy);
  assert_int_equal(proxy.exchanges.live, 1);
  exchange_far_done(exchange);
  exchange_bury(&proxy);
  assert_int_equal(proxy.exchanges.live, 0);
}

static void test_failure_while_the_far_end_still_holds(void **state) {
  (void)state;
  far.holds = true;
  struct exchange *exchange = open_forwarded();
  exchange_fail(exchange, ERR_ORIGIN_TIMEOUT);
  /* The far end may still try to add to the response: nothing of that comes through. */
  assert_int_equal(flow_push_copy(&exchange->resp, "late", 4), ERR_OK);
  assert_false(flow_end(&exchange->resp, FLOW_ABORTED, ERR_STREAM_RESET));
  assert_int_equal(exchange->resp.pushed, exchange->resp_head.content_length);
  exchange_near_done(exchange);
  exchange_far_done(exchange);
}

static void test_retry_keeps_the_request(void **state) {
  (void)state;
  struct exchange *exchange = open_forwarded();
  exchange->resp_head.status = 100;
  exchange_retry(exchange);
  assert_int_equal(exchange->state, EXCHANGE_WAITING);
  assert_true(exchange->retried);
  assert_int_equal(exchange->resp_head.status, 0);
  assert_true(head_method_is(&exchange->req_head, "GET"));
  struct end second = {0};
  exchange_attach(exchange, &far_ops, &second);
  exchange_sent(exchange);
  exchange_near_done(exchange);
  assert_int_equal(second.cancels, 1);
  assert_int_equal(far.cancels, 0);
}

static void test_pool_is_bounded(void **state) {
  (void)state;
  struct exchange *first = exchange_open(&proxy, &near_ops, &near);
  struct exchange *second = exchange_open(&proxy, &near_ops, &near);
  assert_null(exchange_open(&proxy, &near_ops, &near));
  exchange_near_done(first);
  assert_null(exchange_open(&proxy, &near_ops, &near)); /* buried at the end of the tick, not before */
  exchange_bury(&proxy);
  first = exchange_open(&proxy, &near_ops, &near);
  assert_non_null(first);
  exchange_near_done(first);
  exchange_near_done(second);
}

/* Without a chunk for the answer the exchange ends all the same. */
static void test_no_chunk_for_the_answer(void **state) {
  (void)state;
  struct exchange *exchange = open_forwarded();
  struct chunk *taken[80];
  size_t count = 0;
  for (int size = 0; size < CHUNK_SIZES; size++) {
    while ((taken[count] = chunk_get(&proxy.chunks, (enum chunk_size)size)) != NULL)
      count++;
  }
  exchange_fail(exchange, ERR_LINK_DOWN);
  assert_int_equal(exchange->resp.end, FLOW_LINK_DOWN);
  exchange_near_done(exchange);
  while (count > 0)
    chunk_unref(taken[--count]);
}

static void test_wakes_are_done_once_a_round(void **state) {
  (void)state;
  struct exchange *exchange = open_forwarded();
  exchange_wake(exchange, WAKE_NEAR_INPUT);
  exchange_wake(exchange, WAKE_NEAR_INPUT | WAKE_FAR_INPUT);
  exchange_pump(&proxy);
  exchange_pump(&proxy);
  assert_int_equal(near.inputs, 1);
  assert_int_equal(far.inputs, 1);
  exchange_wake(exchange, WAKE_NEAR_INPUT);
  exchange_near_done(exchange); /* woken, but gone when the pump comes: nobody is called */
  exchange_pump(&proxy);
  assert_int_equal(near.inputs, 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      TEST(test_whole_life),
      TEST(test_complete_exchange_leaves_far_end_alone),
      TEST(test_failure_before_the_head_is_answered),
      TEST(test_failure_after_the_head_cuts),
      TEST(test_reason_without_status_ends_without_answer),
      TEST(test_near_end_gone_cancels_the_far_end),
      TEST(test_failure_while_the_far_end_still_holds),
      TEST(test_retry_keeps_the_request),
      TEST(test_pool_is_bounded),
      TEST(test_no_chunk_for_the_answer),
      TEST(test_wakes_are_done_once_a_round),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
