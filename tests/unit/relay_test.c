/* run/relay: an exchange between two workers, one case after the other; what may happen in any order is in
   relay_model_test.c. */
#include "unit/support_relay.h"

#include <string.h>

enum { MUCH = 1000000 }; /* bytes: some times what may be under way */

static int set_up(void **state) {
  (void)state;
  sites_open(64, 4, 400);
  return 0;
}

/* A mailbox that holds one item: every way to find it full. */
static int set_up_narrow(void **state) {
  (void)state;
  sites_open(1, 4, 400);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  sites_close();
  return 0;
}

static struct talk *begin(struct talk plan) {
  struct talk *talk = talk_open(0, &plan);
  assert_non_null(talk);
  sites_settle();
  assert_non_null(talk->far);
  far_begin(talk);
  return talk;
}

/* Both ends do all they can until nothing moves. */
static void run(struct talk *talk) {
  uint64_t moved;
  do {
    moved = near_send(talk, ALL);
    sites_settle();
    moved += far_read(talk, ALL);
    far_release(talk, ALL);
    sites_settle();
    if (talk->far != NULL && talk->far->state == EXCHANGE_ANSWERING)
      moved += far_send(talk, ALL);
    sites_settle();
    moved += near_read(talk, ALL);
    near_release(talk, ALL);
    sites_settle();
  } while (moved > 0);
}

static void expect_whole(const struct talk *talk) {
  assert_int_equal(talk->status, 200);
  assert_int_equal(talk->end, FLOW_EOF);
  assert_int_equal(talk->reason, ERR_OK);
  assert_int_equal(talk->resp_got, talk->resp_len);
}

static void finish(struct talk *talk) {
  if (talk->near != NULL)
    near_done(talk);
  sites_settle();
  if (talk->far != NULL)
    far_done(talk);
  sites_settle();
  assert_true(sites_idle());
}

static void whole(uint64_t up, uint64_t down, bool trailers) {
  struct talk *talk =
      begin((struct talk){.req_len = up, .resp_len = down, .req_trailers = trailers, .resp_trailers = trailers});
  run(talk);
  assert_true(talk->req_complete);
  assert_int_equal(talk->req_got, up);
  assert_int_equal(talk->status, 0);
  far_head(talk);
  run(talk);
  expect_whole(talk);
  far_done(talk);
  finish(talk);
  assert_false(talk->cancelled);
  memset(talks, 0, sizeof talks);
}

static void test_whole(void **state) {
  (void)state;
  whole(0, 0, false);
  whole(1, 1, false);
  whole(0, 0, true);
  whole(MUCH, 0, false);
  whole(0, MUCH, true);
  whole(MUCH + 1, MUCH + 2, true);
}

static void test_both_ways_at_once(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.req_len = MUCH, .resp_len = MUCH});
  far_head(talk);
  run(talk);
  assert_true(talk->req_complete);
  expect_whole(talk);
  finish(talk);
}

/* Nobody takes the request: what is sent is bounded; what is taken makes room for as much. */
static void test_request_waits_for_its_taker(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.req_len = MUCH});
  for (int i = 0; i < 20; i++) {
    near_send(talk, ALL);
    sites_settle();
  }
  assert_int_equal(talk->far->req.pushed, FLOW_UNTAKEN_BYTES_MAX);
  assert_int_equal(talk->req_sent, 2 * FLOW_UNTAKEN_BYTES_MAX); /* as much again waits before the relay */
  assert_false(talk->near_may_send);
  assert_int_equal(far_read(talk, FLOW_UNTAKEN_BYTES_MAX / 2), FLOW_UNTAKEN_BYTES_MAX / 2);
  sites_settle();
  assert_int_equal(talk->far->req.pushed, FLOW_UNTAKEN_BYTES_MAX * 3 / 2);
  assert_true(talk->near_may_send); /* woken */
  run(talk);
  assert_true(talk->req_complete);
  far_head(talk);
  run(talk);
  expect_whole(talk);
  finish(talk);
}

static void test_response_waits_for_its_taker(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.resp_len = MUCH});
  far_head(talk);
  for (int i = 0; i < 20; i++) {
    far_send(talk, ALL);
    sites_settle();
  }
  assert_int_equal(talk->near->resp.pushed, FLOW_UNTAKEN_BYTES_MAX);
  assert_int_equal(talk->resp_sent, 2 * FLOW_UNTAKEN_BYTES_MAX);
  assert_false(talk->far_may_send);
  assert_int_equal(near_read(talk, FLOW_UNTAKEN_BYTES_MAX / 2), FLOW_UNTAKEN_BYTES_MAX / 2);
  sites_settle();
  assert_int_equal(talk->near->resp.pushed, FLOW_UNTAKEN_BYTES_MAX * 3 / 2);
  assert_true(talk->far_may_send);
  run(talk);
  expect_whole(talk);
  finish(talk);
}

/* What was taken stays where it is until it is released: the memory is the other worker's. */
static void test_release_goes_home(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.resp_len = FLOW_UNTAKEN_BYTES_MAX});
  far_head(talk);
  far_send(talk, ALL);
  sites_settle();
  assert_int_equal(near_read(talk, ALL), FLOW_UNTAKEN_BYTES_MAX);
  sites_settle();
  assert_int_equal(talk->far->resp.taken, FLOW_UNTAKEN_BYTES_MAX);
  assert_int_equal(talk->far->resp.released, 0);
  near_release(talk, FLOW_UNTAKEN_BYTES_MAX / 2);
  sites_settle();
  assert_int_equal(talk->far->resp.released, FLOW_UNTAKEN_BYTES_MAX / 2);
  assert_int_equal(sites[0].proxy.chunks.borrowed.live > 0, 1);
  finish(talk);
  assert_int_equal(sites[0].proxy.chunks.borrowed.live, 0);
}

/* ... however little it is: the window of a stream may be smaller than what is worth a mail while more is on its way.
   Who produces is told, since it is he who opens that window. */
static void test_little_is_released_at_once(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.req_len = MUCH, .resp_len = MUCH});
  far_head(talk);
  for (uint64_t sum = 1000; sum <= 5000; sum += 1000) {
    assert_int_equal(near_send(talk, 1000) + far_send(talk, 1000), 2000);
    sites_settle();
    assert_int_equal(near_read(talk, ALL) + far_read(talk, ALL), 2000);
    sites_settle();
    talk->near_may_send = talk->far_may_send = false;
    near_release(talk, ALL);
    far_release(talk, ALL);
    sites_settle();
    assert_int_equal(talk->far->resp.released, sum);
    assert_int_equal(talk->near->req.released, sum);
    assert_true(talk->near_may_send && talk->far_may_send);
  }
  near_done(talk);
  finish(talk);
}

static void test_more_informational_responses_than_slots(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.resp_len = 10});
  unsigned wanted = 3 * INFORMATIONAL_MAX;
  while (far_inform(talk) || talk->informs < wanted) {
    if (talk->informs >= wanted)
      break;
    sites_settle();
    if (exchange_informational_slot(talk->far) == NULL)
      near_read(talk, ALL);
    sites_settle();
  }
  far_head(talk);
  sites_settle();
  assert_true(talk->near->state == EXCHANGE_FORWARDED || talk->near->informational_count > 0);
  run(talk);
  expect_whole(talk);
  assert_int_equal(talk->informed, talk->informs);
  assert_true(talk->informed >= wanted);
  finish(talk);
}

/* Nobody passes them on: as many as there are slots wait at each side, and one between. */
static void test_informational_responses_wait(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.resp_len = 10});
  for (int i = 0; i < 3 * INFORMATIONAL_MAX; i++) {
    far_inform(talk);
    sites_settle();
  }
  assert_int_equal(talk->informs, 2 * INFORMATIONAL_MAX);
  assert_int_equal(talk->near->informational_count, INFORMATIONAL_MAX);
  near_done(talk); /* and nobody ever will */
  sites_settle();
  assert_true(sites_idle());
  assert_true(talk->cancelled);
}

static void test_failure_before_the_head(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.req_len = MUCH, .resp_len = 10});
  near_send(talk, ALL);
  sites_settle();
  far_read(talk, 1000);
  exchange_fail(talk->far, ERR_ORIGIN_TIMEOUT);
  assert_true(talk->cancelled);
  run(talk);
  assert_int_equal(talk->status, 504);
  assert_int_equal(talk->end, FLOW_EOF);
  assert_int_equal(talk->reason, ERR_ORIGIN_TIMEOUT);
  assert_int_equal(talk->near->req.end, FLOW_CANCELLED);
  finish(talk);
}

/* Behind a consumer that has taken nothing yet: what came before the failure comes before it there, too. */
static void test_failure_after_the_head(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.resp_len = MUCH});
  far_head(talk);
  assert_int_equal(far_send(talk, ALL), FLOW_UNTAKEN_BYTES_MAX);
  sites_settle();
  uint64_t sent = FLOW_UNTAKEN_BYTES_MAX + far_send(talk, 50000);
  exchange_fail(talk->far, ERR_ORIGIN_CLOSED);
  sites_settle();
  assert_int_equal(talk->near->reason, ERR_OK);
  run(talk);
  assert_int_equal(talk->status, 200);
  assert_int_equal(talk->end, FLOW_TRUNCATED);
  assert_int_equal(talk->reason, ERR_ORIGIN_CLOSED);
  assert_int_equal(talk->resp_got, sent);
  finish(talk);
}

/* The caller goes at one moment after the other. */
enum moment { BEFORE_REQUEST, AT_REQUEST, BEGUN, HALF_SENT, INFORMED, HEAD, HALF_TAKEN, ENDED, MOMENTS };

static void go_at(enum moment moment, bool holds) {
  struct talk *talk =
      talk_open(0, &(struct talk){.req_len = MUCH, .resp_len = moment == ENDED ? 20 : MUCH, .holds = holds});
  if (moment > BEFORE_REQUEST)
    sites_settle();
  if (moment >= BEGUN)
    far_begin(talk);
  if (moment >= HALF_SENT) {
    near_send(talk, ALL);
    sites_settle();
    far_read(talk, 70000);
  }
  if (moment >= INFORMED)
    assert_true(far_inform(talk));
  if (moment >= HEAD) {
    sites_settle();
    near_read(talk, ALL);
    far_head(talk);
    far_send(talk, ALL);
  }
  if (moment >= HALF_TAKEN) {
    sites_settle();
    near_read(talk, 50000);
  }
  bool had_far = talk->far != NULL;
  near_done(talk);
  sites_settle();
  assert_int_equal(talk->cancelled, true);
  if (had_far || talk->came)
    assert_int_equal(talk->far != NULL, holds);
  assert_int_equal(sites_idle(), !holds);
  finish(talk);
  memset(talks, 0, sizeof talks);
}

static void test_caller_goes(void **state) {
  (void)state;
  for (enum moment moment = 0; moment < MOMENTS; moment++) {
    go_at(moment, false);
    go_at(moment, true);
  }
}

/* The other worker has no exchange left for it; the next one is served. */
static void test_refused(void **state) {
  (void)state;
  static const struct exchange_ops ops = {.output = NULL};
  struct exchange *taken[4];
  for (int i = 0; i < 4; i++) {
    taken[i] = exchange_open(&sites[1].proxy, &ops, taken);
    assert_non_null(taken[i]);
  }
  struct talk *talk = talk_open(0, &(struct talk){.req_len = MUCH});
  near_send(talk, ALL);
  sites_settle();
  assert_false(talk->came);
  run(talk);
  assert_int_equal(talk->status, 503);
  assert_int_equal(talk->reason, ERR_OVERLOADED);
  for (int i = 0; i < 4; i++)
    exchange_near_done(taken[i]);
  finish(talk);
  whole(MUCH, MUCH, false);
}

/* The far end wants nothing more of the request, and answers. */
static void test_far_end_stops_the_request(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.req_len = MUCH, .resp_len = 1000});
  near_send(talk, ALL);
  sites_settle();
  far_read(talk, 100);
  sites_settle();
  near_send(talk, ALL);
  sites_settle();
  assert_false(talk->near_may_send);
  far_stop(talk);
  sites_settle();
  assert_int_equal(talk->near->req.end, FLOW_CANCELLED);
  assert_true(talk->near_may_send); /* woken, to see that */
  far_head(talk);
  far_send(talk, ALL);
  far_done(talk);
  run(talk);
  expect_whole(talk);
  finish(talk);
  assert_false(talk->cancelled);
}

/* The near end gives up the request after an early response, and stays for a while. */
static void test_near_end_gives_the_request_up(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.req_len = MUCH, .resp_len = 1000});
  near_send(talk, ALL);
  far_head(talk);
  far_send(talk, ALL);
  sites_settle();
  near_read(talk, ALL);
  expect_whole(talk);
  flow_end(&talk->near->req, FLOW_CANCELLED, ERR_OK);
  exchange_wake(talk->near, WAKE_FAR_OUTPUT);
  sites_settle();
  assert_int_equal(talk->far->req.end, FLOW_CANCELLED);
  assert_true(talk->far_may_read);
  far_done(talk);
  finish(talk);
}

/* The caller has everything and is gone; the rest of its request, which is complete, still goes its way. */
static void test_request_goes_on_after_the_response(void **state) {
  (void)state;
  uint64_t len = FLOW_UNTAKEN_BYTES_MAX * 3 / 2;
  struct talk *talk = begin((struct talk){.req_len = len, .resp_len = 1000, .req_trailers = true});
  near_send(talk, ALL);
  sites_settle();
  near_send(talk, ALL);
  assert_int_equal(talk->req_sent, len);
  far_head(talk);
  far_send(talk, ALL);
  sites_settle();
  near_read(talk, ALL);
  expect_whole(talk);
  near_done(talk);
  sites_settle();
  assert_false(sites_idle());
  assert_false(talk->cancelled);
  for (int i = 0; i < 10; i++) {
    far_read(talk, ALL);
    far_release(talk, ALL);
    sites_settle();
  }
  assert_true(talk->req_complete);
  far_done(talk);
  sites_settle();
  assert_true(sites_idle());
}

/* ... unless nobody takes it: the far end stops, or fails. */
static void test_rest_of_the_request_is_not_wanted(void **state) {
  (void)state;
  for (int fails = 0; fails < 2; fails++) {
    uint64_t len = FLOW_UNTAKEN_BYTES_MAX * 3 / 2;
    struct talk *talk = begin((struct talk){.req_len = len, .resp_len = 1000});
    near_send(talk, ALL);
    sites_settle();
    near_send(talk, ALL);
    far_head(talk);
    far_send(talk, ALL);
    sites_settle();
    near_read(talk, ALL);
    near_done(talk);
    sites_settle();
    assert_false(sites_idle());
    if (fails) {
      exchange_fail(talk->far, ERR_ORIGIN_CLOSED);
    } else {
      far_stop(talk);
      far_done(talk);
    }
    sites_settle();
    assert_true(sites_idle());
    memset(talks, 0, sizeof talks);
  }
}

/* A failure of one side's own, while the far end of the other side has not let go. */
static void test_near_side_fails(void **state) {
  (void)state;
  struct talk *talk = begin((struct talk){.req_len = MUCH, .resp_len = MUCH, .holds = true});
  near_send(talk, ALL);
  sites_settle();
  exchange_fail(talk->near, ERR_REQUEST_BODY_TIMEOUT);
  sites_settle();
  assert_true(talk->cancelled);
  assert_int_equal(talk->far->reason, ERR_REQUEST_BODY_TIMEOUT);
  run(talk);
  assert_int_equal(talk->status, 408);
  near_done(talk);
  sites_settle();
  assert_false(sites_idle());
  far_done(talk);
  sites_settle();
}

#define TEST(function)                                                                                                 \
  cmocka_unit_test_setup_teardown(function, set_up, tear_down), {                                                      \
#function " with a narrow mailbox", function, set_up_narrow, tear_down, NULL                                       \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_whole),
      TEST(test_both_ways_at_once),
      TEST(test_request_waits_for_its_taker),
      TEST(test_response_waits_for_its_taker),
      TEST(test_release_goes_home),
      TEST(test_little_is_released_at_once),
      TEST(test_more_informational_responses_than_slots),
      TEST(test_informational_responses_wait),
      TEST(test_failure_before_the_head),
      TEST(test_failure_after_the_head),
      TEST(test_caller_goes),
      TEST(test_refused),
      TEST(test_far_end_stops_the_request),
      TEST(test_near_end_gives_the_request_up),
      TEST(test_request_goes_on_after_the_response),
      TEST(test_rest_of_the_request_is_not_wanted),
      TEST(test_near_side_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
