/* run/relay in any order: requests that come in at both workers, whose ends and workers each do one step at a time,
   drawn by lot, through mailboxes of all sizes. Whatever the order, each exchange ends at both sides, the bytes are the
   right ones, and nothing is left. What nobody broke arrives whole. */
#include "unit/support_relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 1500, STEPS_MAX = 400000, FEW_EXCHANGES = 5, PLENTY = 800, SHORT = 14 };

struct run {
  bool wild[TALKS_MAX]; /* something may break it */
  bool is_short;        /* of exchanges and chunks */
  unsigned opened, wanted;
};

static unsigned whole, answered, cut, gone; /* how they ended, over all seeds */

static uint32_t below(uint32_t limit) { return draw_below(&relay_random, limit); }
static bool one_in(uint32_t n) { return below(n) == 0; }

static uint64_t some_len(void) {
  static const uint32_t limits[] = {1, 2, 500, 5000, 100000, 400000};
  return below(limits[below(sizeof limits / sizeof limits[0])]);
}

static uint64_t some_part(void) { return one_in(2) ? ALL : some_len(); }

static void open_one(struct run *run) {
  struct talk plan = {
      .req_len = some_len(),
      .resp_len = some_len(),
      .req_trailers = one_in(4),
      .resp_trailers = one_in(4),
      .holds = one_in(2),
  };
  run->opened++;
  struct talk *talk = talk_open(below(SITES), &plan);
  if (talk != NULL)
    run->wild[talk - talks] = run->is_short || one_in(2);
}

/* ---- the ends ---- */

static void near_breaks(struct talk *talk) {
  if (one_in(2))
    near_done(talk);
  else
    exchange_fail(talk->near, one_in(2) ? ERR_REQUEST_BODY_TIMEOUT : ERR_LINK_DOWN);
}

static void near_finishes(struct talk *talk, bool wild) {
  const struct exchange *exchange = talk->near;
  if (exchange->req.end != FLOW_OPEN) {
    if (one_in(2))
      near_done(talk);
  } else if (wild && one_in(10)) { /* an early response: it does not send the rest */
    flow_end(&talk->near->req, FLOW_CANCELLED, ERR_OK);
    exchange_wake(talk->near, WAKE_FAR_OUTPUT);
  }
}

static void near_step(struct talk *talk, bool wild) {
  if (talk->near == NULL)
    return;
  if (wild && one_in(100)) {
    near_breaks(talk);
    return;
  }
  switch (below(3)) {
  case 0:
    near_send(talk, some_part());
    break;
  case 1:
    near_read(talk, some_part());
    break;
  default:
    near_release(talk, some_part());
    break;
  }
  if (talk->end != FLOW_OPEN)
    near_finishes(talk, wild);
}

static void far_breaks(struct talk *talk) {
  if (one_in(2))
    far_stop(talk);
  else
    exchange_fail(talk->far, one_in(2) ? ERR_ORIGIN_CLOSED : ERR_ORIGIN_TIMEOUT);
}

static void far_answers(struct talk *talk) {
  if (talk->far->state == EXCHANGE_ANSWERING)
    far_send(talk, some_part());
  else if (one_in(3))
    far_inform(talk);
  else if (one_in(4))
    far_head(talk);
}

static void far_step(struct talk *talk, bool wild) {
  if (talk->far == NULL)
    return;
  if (talk->cancelled) {
    if (one_in(10))
      far_done(talk);
    return;
  }
  if (!talk->begun) {
    if (one_in(3))
      far_begin(talk);
    return;
  }
  if (wild && one_in(100)) {
    far_breaks(talk);
    return;
  }
  switch (below(3)) {
  case 0:
    far_answers(talk);
    break;
  case 1:
    far_read(talk, some_part());
    break;
  default:
    far_release(talk, some_part());
    break;
  }
  bool request_over = talk->req_complete || (talk->far != NULL && talk->far->req.end == FLOW_CANCELLED);
  if (talk->far != NULL && !talk->cancelled && talk->far->resp.end == FLOW_EOF && request_over && one_in(2))
    far_done(talk);
}

/* ---- the run ---- */

static void check(const struct talk *talk, bool wild, bool is_short) {
  if (talk->end == FLOW_OPEN) {
    assert_true(wild);
    gone++;
  } else if (talk->end != FLOW_EOF) {
    assert_true(wild && talk->reason != ERR_OK && talk->resp_got <= talk->resp_len);
    cut++;
  } else if (talk->status != 200) {
    assert_true(wild && talk->reason != ERR_OK && talk->status >= 400);
    answered++;
  } else { /* also when it failed behind the end of the response */
    assert_int_equal(talk->resp_got, talk->resp_len);
    if (!is_short) /* else one may be dropped */
      assert_int_equal(talk->informed, talk->informs);
    whole++;
  }
  if (!wild) {
    assert_true(talk->end == FLOW_EOF && talk->req_complete && !talk->cancelled);
    assert_int_equal(talk->req_got, talk->req_len);
  }
}

static bool over(const struct run *run) {
  if (run->opened < run->wanted || !sites_idle())
    return false;
  for (int i = 0; i < TALKS_MAX; i++) {
    if (talks[i].used && !talk_over(&talks[i]))
      return false;
  }
  return true;
}

static void one_step(struct run *run) {
  uint32_t what = below(10);
  if (what < 4) {
    site_tick(what % SITES, one_in(4) ? ALL : below(6));
  } else if (what == 4 && run->opened < run->wanted && one_in(10)) {
    open_one(run);
  } else {
    struct talk *talk = &talks[below(TALKS_MAX)];
    bool wild = run->wild[talk - talks];
    if (talk->used && one_in(2))
      near_step(talk, wild);
    else if (talk->used)
      far_step(talk, wild);
  }
}

static void show_talks(void) {
  for (const struct talk *talk = talks; talk < talks + TALKS_MAX; talk++) {
    if (talk->used && !talk_over(talk))
      fprintf(stderr, "talk %d: near %p sent %llu of %llu got %llu; far %p got %llu sent %llu of %llu\n",
              (int)(talk - talks), (void *)talk->near, (unsigned long long)talk->req_sent,
              (unsigned long long)talk->req_len, (unsigned long long)talk->resp_got, (void *)talk->far,
              (unsigned long long)talk->req_got, (unsigned long long)talk->resp_sent,
              (unsigned long long)talk->resp_len);
  }
}

static void run_seed(uint64_t seed) {
  static const uint32_t capacities[] = {1, 2, 4, 8, 64, 1024};
  relay_random = seed * 0x9e3779b97f4a7c15u;
  struct run run = {.is_short = seed % 4 == 0, .wanted = 1 + below(TALKS_MAX)};
  uint32_t capacity = capacities[below(sizeof capacities / sizeof capacities[0])];
  sites_open(capacity, run.is_short ? FEW_EXCHANGES : TALKS_MAX, run.is_short ? SHORT : PLENTY);
  int steps = 0;
  while (!over(&run)) {
    if (++steps > STEPS_MAX) {
      show_talks();
      fail_msg("seed %llu does not end", (unsigned long long)seed);
    }
    one_step(&run);
  }
  for (int i = 0; i < TALKS_MAX; i++) {
    if (talks[i].used)
      check(&talks[i], run.wild[i], run.is_short);
  }
  sites_close();
}

static void test_any_order(void **state) {
  (void)state;
  const char *only = getenv("RELAY_SEED");
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    if (only == NULL || strtoull(only, NULL, 10) == seed)
      run_seed(seed);
  }
  print_message("%u whole, %u answered by us, %u cut, %u whose caller went\n", whole, answered, cut, gone);
  if (only == NULL)
    assert_true(whole > SEEDS && answered > SEEDS / 5 && cut > SEEDS / 20 && gone > SEEDS / 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_order)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
