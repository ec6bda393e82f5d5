#include "unit/support.h"

#include <stdlib.h>

#include "base/must.h"
#include "base/timer.h"

enum { COUNT = 200, ROUNDS = 4000 };

/* A timer of the test: what the heap should know of it, kept apart from the heap. */
struct item {
  struct timer timer;
  uint64_t due_ns;
  bool touched; /* set or cancelled while timers_expire runs */
  bool fired;   /* in the running timers_expire */
};

static struct {
  struct timers timers;
  struct item items[COUNT];
  struct item *fired[COUNT * 2];
  uint32_t fired_count;
  uint64_t seed;
  bool meddle; /* what fires sets and cancels timers */
} world;

static void item_set(struct item *item, uint64_t due_ns) {
  item->due_ns = due_ns;
  item->touched = true;
  timer_set(&world.timers, &item->timer, due_ns);
}

static void item_cancel(struct item *item) {
  item->due_ns = TIMER_NEVER;
  item->touched = true;
  timer_cancel(&world.timers, &item->timer);
}

static void fire(struct timer *timer, uint64_t now_ns) {
  struct item *item = container_of(timer, struct item, timer);
  assert_false(timer_is_set(timer));
  assert_false(item->fired);
  assert_true(item->due_ns <= now_ns);
  item->fired = true;
  world.fired[world.fired_count++] = item;
  if (!world.meddle) {
    return;
  }
  item->due_ns = TIMER_NEVER;
  struct item *other = &world.items[draw_below(&world.seed, COUNT)];
  switch (draw_below(&world.seed, 6)) {
  case 0:
    item_set(item, now_ns - draw_below(&world.seed, 50));
    break;
  case 1:
    item_set(item, now_ns + draw_below(&world.seed, 500));
    break;
  case 2:
    item_set(other, now_ns + draw_below(&world.seed, 500));
    break;
  case 3:
    item_cancel(other);
    break;
  case 4:
    item_set(other, now_ns - draw_below(&world.seed, 50));
    break;
  default:
    break;
  }
}

static int set_up(void **state) {
  (void)state;
  world.fired_count = 0;
  world.meddle = false;
  world.seed = 20261122;
  for (int i = 0; i < COUNT; i++) {
    world.items[i] = (struct item){.due_ns = TIMER_NEVER};
    timer_init(&world.items[i].timer, fire);
  }
  return timers_open(&world.timers, COUNT) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  for (int i = 0; i < COUNT; i++)
    timer_cancel(&world.timers, &world.items[i].timer);
  bool empty = world.timers.count == 0 && timers_next(&world.timers) == TIMER_NEVER;
  timers_close(&world.timers);
  return empty ? 0 : -1;
}

static void expire(uint64_t now_ns) {
  world.fired_count = 0;
  for (int i = 0; i < COUNT; i++)
    world.items[i].fired = world.items[i].touched = false;
  timers_expire(&world.timers, now_ns);
}

static void test_order(void **state) {
  (void)state;
  assert_int_equal(timers_next(&world.timers), TIMER_NEVER);
  item_set(&world.items[0], 30);
  item_set(&world.items[1], 10);
  item_set(&world.items[2], 20);
  assert_int_equal(timers_next(&world.timers), 10);
  expire(9);
  assert_int_equal(world.fired_count, 0);
  expire(20);
  assert_int_equal(world.fired_count, 2);
  assert_ptr_equal(world.fired[0], &world.items[1]);
  assert_ptr_equal(world.fired[1], &world.items[2]);
  assert_true(timer_is_set(&world.items[0].timer));
  assert_int_equal(timers_next(&world.timers), 30);
}

static void test_moved_later_costs_no_sifting(void **state) {
  (void)state;
  struct item *item = &world.items[0];
  item_set(item, 10);
  item_set(item, 100);
  assert_int_equal(item->timer.queued_ns, 10);
  assert_int_equal(timers_next(&world.timers), 10); /* too early, as the header allows */
  expire(50);
  assert_int_equal(world.fired_count, 0);
  assert_int_equal(timers_next(&world.timers), 100);
  item_set(item, 60);
  assert_int_equal(timers_next(&world.timers), 60);
  expire(60);
  assert_int_equal(world.fired_count, 1);
}

static void test_never_turns_off(void **state) {
  (void)state;
  item_set(&world.items[0], TIMER_NEVER);
  assert_int_equal(world.timers.count, 0);
  item_set(&world.items[0], 10);
  item_set(&world.items[0], TIMER_NEVER);
  assert_false(timer_is_set(&world.items[0].timer));
  expire(1000);
  assert_int_equal(world.fired_count, 0);
  assert_int_equal(world.timers.count, 0);
}

static void test_cancel(void **state) {
  (void)state;
  item_cancel(&world.items[0]); /* harmless when off */
  for (uint32_t i = 0; i < COUNT; i++)
    item_set(&world.items[i], (uint64_t)(i * 7919) % 1000);
  for (uint32_t i = 0; i < COUNT; i += 2)
    item_cancel(&world.items[i]);
  item_cancel(&world.items[0]);
  expire(1000);
  assert_int_equal(world.fired_count, COUNT / 2);
  for (uint32_t i = 1; i < world.fired_count; i++)
    assert_true(world.fired[i - 1]->due_ns <= world.fired[i]->due_ns);
}

static void again_in_the_past(struct timer *timer, uint64_t now_ns) {
  world.fired_count++;
  timer_set(&world.timers, timer, now_ns - 1);
}

static void test_set_again_to_the_past_waits(void **state) {
  (void)state;
  struct timer timer;
  timer_init(&timer, again_in_the_past);
  timer_set(&world.timers, &timer, 5);
  for (uint32_t call = 1; call <= 3; call++) {
    timers_expire(&world.timers, 10);
    assert_int_equal(world.fired_count, call);
    assert_int_equal(timers_next(&world.timers), 9);
  }
  timer_cancel(&world.timers, &timer);
}

static void set_beyond_capacity(void *context) {
  struct timer one_more;
  (void)context;
  timer_init(&one_more, fire);
  timer_set(&world.timers, &one_more, 1);
}
static void close_with_one_set(void *context) {
  (void)context;
  timers_close(&world.timers);
}
static void expire_inside(struct timer *timer, uint64_t now_ns) {
  (void)timer;
  timers_expire(&world.timers, now_ns);
}
static void expire_nested(void *context) {
  struct timer nested;
  (void)context;
  timer_init(&nested, expire_inside);
  timer_set(&world.timers, &nested, 1);
  timers_expire(&world.timers, 1);
}

static void test_misuse(void **state) {
  (void)state;
  assert_true(dies(expire_nested, NULL, "!timers->expiring"));
  for (uint32_t i = 0; i < COUNT; i++)
    item_set(&world.items[i], i + 1);
  assert_true(dies(set_beyond_capacity, NULL, "timers->capacity"));
  assert_true(dies(close_with_one_set, NULL, "timer_is_set"));
}

static void test_close_when_turned_off_lazily(void **state) {
  (void)state;
  struct timers timers;
  struct timer timer;
  assert_int_equal(timers_open(&timers, 1), ERR_OK);
  timer_init(&timer, fire);
  timer_set(&timers, &timer, 5);
  timer_set(&timers, &timer, TIMER_NEVER);
  timers_close(&timers);
}

static void random_step(uint64_t now_ns) {
  struct item *item = &world.items[draw_below(&world.seed, COUNT)];
  switch (draw_below(&world.seed, 8)) {
  case 0:
    item_cancel(item);
    break;
  case 1:
    item_set(item, TIMER_NEVER);
    break;
  case 2:
    item_set(item, now_ns - draw_below(&world.seed, 100));
    break;
  default:
    item_set(item, now_ns + draw_below(&world.seed, 2000));
    break;
  }
}

static uint64_t earliest(void) {
  uint64_t least = TIMER_NEVER;
  for (int i = 0; i < COUNT; i++)
    if (world.items[i].due_ns < least)
      least = world.items[i].due_ns;
  return least;
}

static int by_due(const void *a, const void *b) {
  const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;
  return x->due_ns < y->due_ns ? -1 : x->due_ns > y->due_ns;
}

/* Against a sorted array: the very same timers in the very same order of deadlines. */
static void test_random_against_sorted_array(void **state) {
  (void)state;
  uint64_t now_ns = 1000;
  for (int round = 0; round < ROUNDS; round++) {
    for (uint32_t step = draw_below(&world.seed, 40); step > 0; step--)
      random_step(now_ns);
    assert_true(timers_next(&world.timers) <= earliest());
    now_ns += draw_below(&world.seed, 300);
    struct item *expected[COUNT];
    uint32_t count = 0;
    for (int i = 0; i < COUNT; i++)
      if (world.items[i].due_ns <= now_ns)
        expected[count++] = &world.items[i];
    qsort(expected, count, sizeof *expected, by_due);
    expire(now_ns);
    assert_int_equal(world.fired_count, count);
    for (uint32_t i = 0; i < count; i++) {
      assert_int_equal(world.fired[i]->due_ns, expected[i]->due_ns);
      assert_true(expected[i]->fired);
    }
    for (uint32_t i = 0; i < count; i++)
      expected[i]->due_ns = TIMER_NEVER;
    assert_true(timers_next(&world.timers) > now_ns);
  }
}

/* What fires sets and cancels others and itself: nothing fires twice in a call, nothing due is left but what was set
   while it ran. */
static void test_random_with_meddling(void **state) {
  (void)state;
  uint64_t now_ns = 1000;
  world.meddle = true;
  for (int round = 0; round < ROUNDS; round++) {
    for (uint32_t step = draw_below(&world.seed, 40); step > 0; step--)
      random_step(now_ns);
    now_ns += draw_below(&world.seed, 300);
    expire(now_ns);
    assert_int_equal(world.timers.parked, 0);
    for (int i = 0; i < COUNT; i++) {
      const struct item *item = &world.items[i];
      assert_int_equal(item->timer.due_ns, item->due_ns);
      assert_true(item->due_ns > now_ns || item->touched);
    }
    assert_true(timers_next(&world.timers) <= earliest());
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_moved_later_costs_no_sifting, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_never_turns_off, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_cancel, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_set_again_to_the_past_waits, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_misuse, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_close_when_turned_off_lazily, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_random_against_sorted_array, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_random_with_meddling, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
