#include "unit/support.h"

#include <unistd.h>

#include "base/must.h"

static void break_it(void *context) { must(context == NULL && "a reason"); }
static void reach_it(void *context) {
  (void)context;
  must_never("the caller checked it");
}

static void dump_text(const void *object) {
  const char *text = object;
  must(write(STDERR_FILENO, text, 9) == 9);
}
static void dump_badly(const void *object) {
  (void)object;
  must_never("in a dump");
}
static void break_with_dump(void *context) {
  must_set_dump(dump_text, "object 42");
  break_it(context);
}
static void break_without_dump(void *context) {
  must_set_dump(dump_text, "object 42");
  must_set_dump(NULL, NULL);
  break_it(context);
}
static void break_with_bad_dump(void *context) {
  must_set_dump(dump_badly, NULL);
  break_it(context);
}
static void break_at_length(void *context) {
  (void)context;
  char condition[2000];
  for (size_t i = 0; i < sizeof condition; i++)
    condition[i] = 'x';
  condition[sizeof condition - 1] = '\0';
  must_fail(condition, "file", -1, "function");
}

static void test_holds(void **state) {
  (void)state;
  int evaluated = 0;
  must(++evaluated == 1);
  assert_int_equal(evaluated, 1);
}

static void test_fails(void **state) {
  (void)state;
  int object;
  assert_false(dies(break_it, NULL, ""));
  assert_true(dies(break_it, &object, "broken invariant: context == NULL && \"a reason\" (break_it, "));
  assert_true(dies(break_it, &object, "must_test.c:"));
  assert_true(dies(reach_it, NULL, "never: the caller checked it (reach_it"));
}

static void test_dump(void **state) {
  (void)state;
  int object;
  assert_true(dies(break_with_dump, &object, "object 42"));
  assert_false(dies(break_without_dump, &object, "object 42"));
  assert_true(dies(break_with_bad_dump, &object, "never: in a dump"));
}

static void test_long_condition_is_cut(void **state) {
  (void)state;
  assert_true(dies(break_at_length, NULL, "xxxx"));
}

struct holder {
  int before;
  int member;
};

static void test_container_of(void **state) {
  (void)state;
  struct holder holder = {0};
  int *member = &holder.member;
  assert_ptr_equal(container_of(member, struct holder, member), &holder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_holds),        cmocka_unit_test(test_fails),
      cmocka_unit_test(test_dump),         cmocka_unit_test(test_long_condition_is_cut),
      cmocka_unit_test(test_container_of),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
