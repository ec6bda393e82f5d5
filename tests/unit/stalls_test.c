/* proxy/stalls: who has not moved for longest. */
#include "proxy/stalls.h"

#include "base/clock.h"
#include "base/must.h"
#include "support.h"

enum { CALLERS = 5 };

/* What the exchange of a caller is does not matter here: only whether it is of use. */
struct caller {
  struct stall stall;
  uint64_t queued;
  bool useless;
  unsigned looks;
};

static struct stalls stalls;
static struct caller callers[CALLERS];
static uint64_t now_ns;

static uint64_t queued_bytes(struct stall *stall) {
  struct caller *caller = container_of(stall, struct caller, stall);
  caller->looks++;
  return caller->queued;
}

static const struct stall_ops ops = {.queued_bytes = queued_bytes};

static bool useful(const struct exchange *exchange) {
  return !((const struct caller *)(const void *)exchange)->useless;
}

static int set_up(void **state) {
  (void)state;
  now_ns = 1000 * NS_PER_S;
  stalls_init(&stalls);
  stalls.ops = &ops;
  for (int i = 0; i < CALLERS; i++) {
    callers[i] = (struct caller){.queued = 1000};
    stall_init(&callers[i].stall);
  }
  return 0;
}

static void note(int caller, enum stall_kind kind, bool moved) {
  stall_note(&stalls, &callers[caller].stall, kind, (struct exchange *)(void *)&callers[caller], moved, now_ns);
}

static void pass(uint64_t ms) { now_ns += ms * NS_PER_MS; }

static void watch(void) { stalls_watch(&stalls, now_ns, 100 * NS_PER_MS); }

/* The number of the caller to be ended, as it would be after a second; -1: nobody. */
static int longest(enum stall_kind kind) {
  struct stall *stall = stalls_longest(&stalls, kind, now_ns, NS_PER_S, useful);
  return stall != NULL ? (int)(container_of(stall, struct caller, stall) - callers) : -1;
}

static void test_longest_first(void **state) {
  (void)state;
  for (int i = 0; i < CALLERS; i++) {
    note(i, STALL_READ, false);
    pass(10);
  }
  note(1, STALL_READ, true); /* has moved: behind all others */
  note(3, STALL_NONE, false);
  pass(200);
  watch();
  assert_int_equal(longest(STALL_READ), -1);
  pass(1000);
  static const int order[] = {0, 2, 4, 1};
  for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
    assert_int_equal(longest(STALL_READ), order[i]);
    assert_int_equal(longest(STALL_READ), order[i]); /* it stays where it is */
    note(order[i], STALL_NONE, false);
  }
  assert_int_equal(longest(STALL_READ), -1);
}

static void test_not_before_its_time(void **state) {
  (void)state;
  note(0, STALL_BODY, false);
  pass(100);
  watch();
  pass(899);
  assert_int_equal(longest(STALL_BODY), -1);
  pass(1);
  assert_int_equal(longest(STALL_BODY), 0);
}

/* Who moves all the time costs no look at the kernel's queue. */
static void test_who_moves_is_not_watched(void **state) {
  (void)state;
  for (int i = 0; i < 100; i++) {
    note(0, STALL_READ, i > 0);
    pass(99);
    watch();
    assert_int_equal(longest(STALL_READ), -1);
  }
  assert_int_equal(callers[0].looks, 0);
}

/* Only watched ones are ended: what nobody has looked at before may just have been taken from the kernel's queue. */
static void test_unwatched_is_not_ended(void **state) {
  (void)state;
  note(0, STALL_READ, false);
  pass(5000);
  assert_int_equal(longest(STALL_READ), -1);
  watch(); /* from now on it would be seen */
  pass(999);
  assert_int_equal(longest(STALL_READ), -1);
  pass(1);
  assert_int_equal(longest(STALL_READ), 0);
}

/* No send completes, but the kernel's queue gets shorter: somebody reads, a little at a time. */
static void test_slow_reader_moves(void **state) {
  (void)state;
  note(0, STALL_READ, false);
  note(1, STALL_READ, false);
  pass(100);
  watch();
  for (int i = 0; i < 20; i++) {
    callers[0].queued--;
    pass(1000);
    assert_int_equal(longest(STALL_READ), 1); /* behind him there is one who does not */
  }
  note(1, STALL_NONE, false);
  assert_int_equal(longest(STALL_READ), -1); /* it has been shorter ever since it was last looked at */
  pass(999);
  assert_int_equal(longest(STALL_READ), -1);
  pass(1);
  assert_int_equal(longest(STALL_READ), 0);
}

static void test_useless_are_passed_over(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++)
    note(i, STALL_BODY, false);
  callers[0].useless = true;
  pass(1000);
  watch();
  assert_int_equal(longest(STALL_BODY), 1);
  callers[0].useless = false; /* not looked at again before it has been still for another second */
  assert_int_equal(longest(STALL_BODY), 1);
  note(1, STALL_NONE, false);
  note(2, STALL_NONE, false);
  assert_int_equal(longest(STALL_BODY), -1);
  pass(1000);
  assert_int_equal(longest(STALL_BODY), 0);
}

static void test_kinds_are_apart(void **state) {
  (void)state;
  note(0, STALL_BODY, false);
  note(1, STALL_READ, false);
  pass(1000);
  watch();
  assert_int_equal(longest(STALL_BODY), 0);
  assert_int_equal(longest(STALL_READ), -1);
  pass(1000);
  assert_int_equal(longest(STALL_READ), 1);
  assert_int_equal(callers[0].looks, 0); /* what a caller is to send is not in a queue of ours */
  note(0, STALL_READ, false);            /* it is to do something else now: that begins anew */
  pass(500);
  watch();
  note(1, STALL_NONE, false);
  assert_int_equal(longest(STALL_READ), -1);
  pass(1000);
  assert_int_equal(longest(STALL_READ), 0);
}

/* A connection that goes on with its next exchange. */
static void test_another_exchange_begins_anew(void **state) {
  (void)state;
  note(0, STALL_BODY, false);
  pass(900);
  stall_note(&stalls, &callers[0].stall, STALL_BODY, (struct exchange *)(void *)&callers[1], false, now_ns);
  pass(900);
  watch();
  assert_int_equal(longest(STALL_BODY), -1);
  pass(100);
  assert_int_equal(longest(STALL_BODY), 0);
  assert_ptr_equal(callers[0].stall.exchange, &callers[1]);
}

#define TEST(function) cmocka_unit_test_setup(function, set_up)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_longest_first),
      TEST(test_not_before_its_time),
      TEST(test_who_moves_is_not_watched),
      TEST(test_unwatched_is_not_ended),
      TEST(test_slow_reader_moves),
      TEST(test_useless_are_passed_over),
      TEST(test_kinds_are_apart),
      TEST(test_another_exchange_begins_anew),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
