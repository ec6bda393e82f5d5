/* What looks at eight bytes at once is compared with the plain rule, for every byte in every place; the other rules of
   the grammar are tested with the heads that they are for: fields_test.c, tests/fuzz. */
#include "unit/support.h"

#include <string.h>

#include "proto/syntax.h"

enum { LEN_MAX = 20 }; /* two words and a rest */

typedef void check_f(const uint8_t *text, size_t len);

/* Calls |check| with texts of all lengths that are |filler| but for one byte, which is everything once. */
static void each_text(uint8_t filler, check_f *check) {
  uint8_t text[LEN_MAX];
  memset(text, filler, sizeof text);
  for (size_t len = 1; len <= LEN_MAX; len++) {
    for (size_t at = 0; at < len; at++) {
      for (unsigned byte = 0; byte < 256; byte++) {
        text[at] = (uint8_t)byte;
        check(text, len);
      }
      text[at] = filler;
    }
  }
}

static bool is_control(uint8_t c) { return (c < 0x20 && c != '\t') || c == 0x7f; }
static bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

static void check_value(const uint8_t *text, size_t len) {
  bool valid = !is_blank(text[0]) && !is_blank(text[len - 1]);
  for (size_t i = 0; i < len; i++)
    valid = valid && !is_control(text[i]);
  assert_int_equal(syntax_value(bytes_of(text, len)), valid);
}

static void test_value(void **state) {
  (void)state;
  assert_true(syntax_value(bytes_of("", 0)));
  each_text('a', check_value);
  each_text(0x80, check_value);
  each_text(0xff, check_value);
  each_text('\t', check_value);
}

static void check_lower(const uint8_t *text, size_t len) {
  uint8_t out[LEN_MAX + 1];
  memset(out, '!', sizeof out);
  syntax_lower(out, bytes_of(text, len));
  for (size_t i = 0; i < len; i++)
    assert_int_equal(out[i], text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 0x20 : text[i]);
  assert_int_equal(out[len], '!');
}

static void test_lower(void **state) {
  (void)state;
  each_text('Z', check_lower);
  each_text('[', check_lower);
  each_text(0xc1, check_lower);
}

static void check_capitalise(const uint8_t *text, size_t len) {
  uint8_t out[LEN_MAX + 1];
  memset(out, '!', sizeof out);
  syntax_capitalise(out, bytes_of(text, len));
  for (size_t i = 0; i < len; i++) {
    bool begins = i == 0 || text[i - 1] == '-';
    assert_int_equal(out[i], begins && text[i] >= 'a' && text[i] <= 'z' ? text[i] - 0x20 : text[i]);
  }
  assert_int_equal(out[len], '!');
}

static void test_capitalise(void **state) {
  (void)state;
  each_text('a', check_capitalise);
  each_text('z', check_capitalise);
  each_text('-', check_capitalise);
  each_text(0xad, check_capitalise); /* "-" with the highest bit */
}

/* Of every length: copies end where they should, and texts that differ in one byte are not equal. */
static void test_bytes(void **state) {
  (void)state;
  enum { LONGEST = 70 };
  uint8_t text[LONGEST], out[LONGEST + 1];
  for (size_t i = 0; i < LONGEST; i++)
    text[i] = (uint8_t)(i * 7 + 1);
  for (size_t len = 0; len <= LONGEST; len++) {
    memset(out, '!', sizeof out);
    assert_ptr_equal(bytes_put(out, bytes_of(text, len)), out + len);
    assert_memory_equal(out, text, len);
    assert_int_equal(out[len], '!');
    assert_true(bytes_equal(bytes_of(text, len), bytes_of(out, len)));
    assert_false(bytes_equal(bytes_of(text, len), bytes_of(out, len + 1)));
    for (size_t at = 0; at < len; at++) {
      out[at] ^= 0x10;
      assert_false(bytes_equal(bytes_of(text, len), bytes_of(out, len)));
      out[at] ^= 0x10;
    }
  }
}

static void test_rule(void **state) {
  (void)state;
  static const struct {
    const char *name;
    enum name_id id;
    unsigned flags;
  } rows[] = {
      {"te", NAME_TE, NAME_HOP | NAME_NO_TRAILER},
      {"transfer-encoding", NAME_TRANSFER_ENCODING, NAME_HOP | NAME_NOT_HTTP3 | NAME_NO_TRAILER},
      {"content-length", NAME_CONTENT_LENGTH, NAME_FIXED | NAME_NO_TRAILER | NAME_NO_INDEX},
      {"set-cookie", NAME_OTHER, NAME_FIXED | NAME_NO_TRAILER | NAME_NO_INDEX},
      {"last-modified", NAME_OTHER, NAME_NO_INDEX},
      {"proxy-authorization", NAME_OTHER, NAME_HOP | NAME_NO_TRAILER},
      {"if-unmodified-since", NAME_OTHER, NAME_NO_TRAILER},
      {"", NAME_OTHER, 0},
      {"t", NAME_OTHER, 0},
      {"tf", NAME_OTHER, 0},
      {"content-lengti", NAME_OTHER, 0},
      {"content-lengths", NAME_OTHER, 0},
      {"proxy-authorizations", NAME_OTHER, 0},
      {"x-name-longer-than-every-rule", NAME_OTHER, 0},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const struct name_rule *rule = syntax_rule(bytes_of_text(rows[i].name));
    assert_int_equal(rule->id, rows[i].id);
    assert_int_equal(rule->flags, rows[i].flags);
    if (rows[i].name[0] != '\0')
      assert_ptr_equal(syntax_rule_checked(bytes_of_text(rows[i].name)), rule);
  }
  static const char *const no_names[] = {"", "Te", "content-lengtH", "content length", "x:", "x\x80", "\x7f"};
  for (size_t i = 0; i < sizeof no_names / sizeof no_names[0]; i++)
    assert_null(syntax_rule_checked(bytes_of_text(no_names[i])));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_value), cmocka_unit_test(test_lower),
                                     cmocka_unit_test(test_capitalise), cmocka_unit_test(test_bytes),
                                     cmocka_unit_test(test_rule)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
