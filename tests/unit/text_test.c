#include "unit/support.h"

#include <string.h>

#include "base/text.h"

static void test_pieces(void **state) {
  (void)state;
  char out[64];
  struct text text = {.out = out, .size = sizeof out};
  text_put(&text, "%s=%d ", "a", 1);
  text_put_seconds(&text, 12000000);
  text_put(&text, " ");
  text_put_seconds(&text, 3000000001);
  assert_string_equal(out, "a=1 0.012000000 3.000000001");
  assert_int_equal(text_len(&text), strlen(out));
}

/* A piece that does not fit does not count, and no later one follows it, however short. */
static void test_full(void **state) {
  (void)state;
  char out[8];
  struct text text = {.out = out, .size = sizeof out};
  text_put(&text, "1234567");
  assert_int_equal(text_len(&text), 7);
  text_put(&text, "8");
  assert_true(text.full);
  text_put(&text, "%s", "");
  assert_int_equal(text_len(&text), 0);
  assert_int_equal(text.len, 7);
}

/* For those who print what there is. */
static void test_cut(void **state) {
  (void)state;
  char out[8];
  struct text text = {.out = out, .size = sizeof out};
  text_put(&text, "12345");
  text_put(&text, "6789");
  assert_string_equal(out, "1234567");
  text_put(&text, "0");
  assert_string_equal(out, "1234567");
  assert_int_equal(text_len(&text), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_full),
                                     cmocka_unit_test(test_cut)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
