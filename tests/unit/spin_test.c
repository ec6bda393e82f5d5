#include "run/spin.h"

#include "base/clock.h"
#include "unit/support.h"

/* Waits that go to sleep until the next look. */
static uint32_t skipped(struct spin *spin) {
  uint32_t count = 0;
  while (spin_begin(spin) == 0) {
    count++;
    assert_true(count < 100000);
  }
  return count;
}

static void test_looks_while_it_finds(void **state) {
  (void)state;
  struct spin spin = {0};
  for (int i = 0; i < 1000; i++) {
    uint64_t ns = spin_begin(&spin);
    assert_true(ns >= 10 * NS_PER_US && ns <= NS_PER_MS);
    spin_end(&spin, true);
  }
}

static void test_failures_make_it_rare(void **state) {
  (void)state;
  struct spin spin = {0};
  uint32_t expected = 0;
  for (int i = 0; i < 20; i++) {
    assert_int_equal(skipped(&spin), expected);
    spin_end(&spin, false);
    expected = expected < 255 ? expected * 2 + 1 : 255;
  }
  assert_int_equal(expected, 255);
}

/* Of ten thousand waits beside a long link, a few dozen cost a look. */
static void test_hopeless_waits_cost_little(void **state) {
  (void)state;
  struct spin spin = {0};
  uint32_t looks = 0;
  for (int i = 0; i < 10000; i++) {
    if (spin_begin(&spin) > 0) {
      looks++;
      spin_end(&spin, false);
    }
  }
  assert_true(looks >= 39 && looks < 60);
}

static void test_one_success_brings_it_back(void **state) {
  (void)state;
  struct spin spin = {0};
  for (int i = 0; i < 30; i++) {
    skipped(&spin);
    spin_end(&spin, false);
  }
  assert_int_equal(skipped(&spin), 255);
  spin_end(&spin, true);
  assert_int_equal(skipped(&spin), 0);
  spin_end(&spin, false);
  assert_int_equal(skipped(&spin), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_looks_while_it_finds),
      cmocka_unit_test(test_failures_make_it_rare),
      cmocka_unit_test(test_hopeless_waits_cost_little),
      cmocka_unit_test(test_one_success_brings_it_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
