#include "unit/support.h"

#include <ctype.h>
#include <string.h>

#include "base/err.h"

static void test_rows(void **state) {
  (void)state;
  assert_string_equal(err_name(ERR_OK), "ok");
  assert_string_equal(err_name(ERR_ORIGIN_CONNECT_TIMEOUT), "origin_connect_timeout");
  assert_string_equal(err_text(ERR_NO_TUNNEL), "tunnel not established");
  assert_int_equal(err_status(ERR_NO_TUNNEL), 503);
  assert_int_equal(err_status(ERR_CLIENT_GONE), 0);
  assert_int_equal(err_h3_code(ERR_OK), 0x100);
  assert_int_equal(err_h3_code(ERR_CLIENT_GONE), 0x10c);
}

/* Names are metrics labels and texts are answers' bodies: no row may be empty or of another kind of letters. */
static void test_every_row_is_fit_to_be_shown(void **state) {
  (void)state;
  for (int i = 0; i < ERR_COUNT; i++) {
    const char *name = err_name((enum err)i);
    assert_true(strlen(name) > 0 && strlen(err_text((enum err)i)) > 0);
    for (const char *c = name; *c != '\0'; c++)
      assert_true(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '_');
    for (int other = 0; other < i; other++)
      assert_string_not_equal(name, err_name((enum err)other));
    uint16_t status = err_status((enum err)i);
    assert_true(status == 0 || (status >= 400 && status <= 599));
    uint64_t code = err_h3_code((enum err)i);
    assert_true(code >= 0x100 && code <= 0x110); /* RFC 9114 section 8.1 */
  }
}

static void name_of(void *context) { (void)err_name(*(enum err *)context); }
static void text_of(void *context) { (void)err_text(*(enum err *)context); }
static void status_of(void *context) { (void)err_status(*(enum err *)context); }
static void code_of(void *context) { (void)err_h3_code(*(enum err *)context); }

static void test_beyond_the_table(void **state) {
  (void)state;
  enum err beyond = ERR_COUNT;
  assert_true(dies(name_of, &beyond, "broken invariant"));
  assert_true(dies(text_of, &beyond, "broken invariant"));
  assert_true(dies(status_of, &beyond, "broken invariant"));
  assert_true(dies(code_of, &beyond, "broken invariant"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rows),
      cmocka_unit_test(test_every_row_is_fit_to_be_shown),
      cmocka_unit_test(test_beyond_the_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
