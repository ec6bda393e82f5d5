#include "unit/support.h"

#include "base/clock.h"

static void test_monotonic(void **state) {
  (void)state;
  uint64_t before = clock_monotonic_ns();
  for (int i = 0; i < 1000; i++) {
    uint64_t now = clock_monotonic_ns();
    assert_true(now >= before);
    before = now;
  }
  assert_true(before > 0);
}

static void test_wall(void **state) {
  (void)state;
  assert_true(clock_wall_us() > 1700000000ULL * 1000000); /* in microseconds: later than November 2023 */
}

static void assert_date(uint64_t seconds, const char *expected) {
  char text[30];
  clock_http_date(seconds * 1000000 + 999999, text);
  assert_string_equal(text, expected);
}

static void test_http_date(void **state) {
  (void)state;
  assert_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
  assert_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT"); /* RFC 9110 section 5.6.7 */
  assert_date(1709251199, "Thu, 29 Feb 2024 23:59:59 GMT");
  assert_date(253402300799, "Fri, 31 Dec 9999 23:59:59 GMT");
}

static void test_http_date_beyond_its_format(void **state) {
  (void)state;
  assert_date(253402300800, "Fri, 31 Dec 9999 23:59:59 GMT");
  assert_date(UINT64_MAX / 1000000 - 1, "Fri, 31 Dec 9999 23:59:59 GMT");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_monotonic),
      cmocka_unit_test(test_wall),
      cmocka_unit_test(test_http_date),
      cmocka_unit_test(test_http_date_beyond_its_format),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
