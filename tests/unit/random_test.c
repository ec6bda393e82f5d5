#include "unit/support.h"

#include <pthread.h>
#include <string.h>

#include "base/random.h"

static void test_unpredictable(void **state) {
  (void)state;
  uint8_t a[64] = {0}, b[64] = {0};
  random_fill(a, sizeof a);
  random_fill(b, sizeof b);
  assert_memory_not_equal(a, b, sizeof a);
}

static void test_stays_within_its_bounds(void **state) {
  (void)state;
  for (size_t len = 0; len < 20; len++) {
    uint8_t out[32];
    memset(out, 0xaa, sizeof out);
    random_fill(out, len);
    for (size_t i = len; i < sizeof out; i++)
      assert_int_equal(out[i], 0xaa);
  }
  static uint8_t large[100000]; /* more than getrandom gives at once when a signal comes */
  random_fill(large, sizeof large);
}

/* A thread of its own: the seed stays with the thread. */
static void *fill_seeded(void *out) {
  random_seed(42);
  random_fill(out, 64);
  return NULL;
}

static void *fill_seeded_otherwise(void *out) {
  random_seed(43);
  random_fill(out, 64);
  return NULL;
}

static void run(void *(*body)(void *), void *out) {
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, body, out), 0);
  pthread_join(thread, NULL);
}

static void test_seeded(void **state) {
  (void)state;
  uint8_t a[64], b[64], c[64], d[64];
  run(fill_seeded, a);
  run(fill_seeded, b);
  run(fill_seeded_otherwise, c);
  random_fill(d, sizeof d);
  assert_memory_equal(a, b, sizeof a);
  assert_memory_not_equal(a, c, sizeof a);
  assert_memory_not_equal(a, d, sizeof a);
  assert_memory_not_equal(a, a + 32, 32);
}

static void *fill_seeded_odd(void *out) {
  random_seed(0);
  random_fill(out, 7);
  return NULL;
}

static void test_seeded_is_splitmix64(void **state) {
  (void)state;
  uint8_t out[8] = {0};
  uint64_t expected = 0xe220a8397b1dcdaf; /* the first word from seed 0 */
  run(fill_seeded_odd, out);
  assert_memory_equal(out, &expected, 7);
  assert_int_equal(out[7], 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unpredictable),
      cmocka_unit_test(test_stays_within_its_bounds),
      cmocka_unit_test(test_seeded),
      cmocka_unit_test(test_seeded_is_splitmix64),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
