/* proxy/yield: what the session's worker wishes for, and what it is promised. The callers are stalls_test.c's. */
#include "proxy/yield.h"

#include "base/clock.h"
#include "proxy/proxy.h"
#include "unit/support.h"

enum { CHUNKS = 40, IN_USE = 36, LOOK_MS = 100 };

static struct proxy proxy;
static struct chunk *in_use[IN_USE];
static unsigned wakes;

static void wake_others(void *context) {
  (void)context;
  wakes++;
}

/* The session's worker of two, with nearly all of its large buffers in use. */
static int set_up(void **state) {
  (void)state;
  proxy = (struct proxy){.now_ns = 1000 * NS_PER_S, .wake_others = wake_others, .workers = 2};
  proxy.wishes = &proxy.own_wishes;
  wakes = 0;
  if (chunks_open(&proxy.chunks, CHUNKS, CHUNKS, CHUNKS) != ERR_OK || timers_open(&proxy.timers, 1) != ERR_OK)
    return -1;
  yield_open(&proxy);
  for (int i = 0; i < IN_USE; i++)
    in_use[i] = chunk_get(&proxy.chunks, CHUNK_LARGE);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  for (int i = 0; i < IN_USE; i++)
    chunk_unref(in_use[i]);
  yield_close(&proxy);
  timers_close(&proxy.timers);
  chunks_close(&proxy.chunks);
  return 0;
}

static void tick(uint64_t ms) {
  proxy.now_ns += ms * NS_PER_MS;
  yield_consider(&proxy);
  timers_expire(&proxy.timers, proxy.now_ns);
}

static uint64_t wanted(void) { return atomic_load(&proxy.wishes->bytes); }

static void give(uint64_t bytes) { atomic_fetch_add(&proxy.wishes->bytes_given, bytes); }

static void test_promise(void **state) {
  (void)state;
  struct promise promise = {.amount = 0};
  promise_add(&promise, 5, 1000 * NS_PER_S);
  promise_add(&promise, 3, 1000 * NS_PER_S + 900 * NS_PER_MS);
  assert_int_equal(promise.amount, 8);
  promise_add(&promise, 0, 1001 * NS_PER_S - 1);
  assert_int_equal(promise.amount, 8);
  promise_add(&promise, 2, 1001 * NS_PER_S);
  assert_int_equal(promise.amount, 2);
  promise_add(&promise, 0, 1002 * NS_PER_S - 1);
  assert_int_equal(promise.amount, 2);
  promise_add(&promise, 0, 1002 * NS_PER_S);
  assert_int_equal(promise.amount, 0);
}

static void test_wish(void **state) {
  (void)state;
  tick(0);
  assert_int_equal(wanted(), 0);
  assert_true(timer_is_set(&proxy.yield.timer));
  tick(LOOK_MS);
  uint64_t missing = chunks_excess(&proxy.chunks, CHUNK_LARGE, 75, 60);
  assert_true(missing > 0);
  assert_int_equal(wanted(), missing);
  assert_int_equal(wakes, 1);
  give(missing / 3);
  tick(LOOK_MS);
  assert_int_equal(wanted(), missing - missing / 3);
  assert_int_equal(wakes, 2);
}

/* More was given than was asked for, and nothing of it came: it is asked for once more. */
static void test_broken_promise(void **state) {
  (void)state;
  tick(0);
  tick(LOOK_MS);
  uint64_t missing = wanted();
  give(2 * missing);
  tick(LOOK_MS);
  assert_int_equal(wanted(), 0);
  for (int i = 0; i < 9; i++) {
    tick(LOOK_MS);
    assert_int_equal(wanted(), 0);
  }
  for (int i = 0; i < 2; i++)
    tick(LOOK_MS);
  assert_int_equal(wanted(), missing);
}

/* With nothing missing and nothing promised nobody looks. */
static void test_rest(void **state) {
  (void)state;
  tick(0);
  tick(LOOK_MS);
  give(wanted());
  tick(LOOK_MS);
  for (int i = 0; i < IN_USE; i++)
    chunk_unref(in_use[i]);
  for (int i = 0; i < 12; i++)
    tick(LOOK_MS);
  assert_false(timer_is_set(&proxy.yield.timer));
  for (int i = 0; i < IN_USE; i++)
    in_use[i] = chunk_get(&proxy.chunks, CHUNK_LARGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_promise),
      cmocka_unit_test_setup_teardown(test_wish, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_broken_promise, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_rest, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
