/* proxy/marks: what is added to a request on its way. */
#include "proxy/marks.h"

#include <string.h>

#include "support.h"

static struct chunks chunks;
static struct head head;

static int set_up(void **state) {
  (void)state;
  if (chunks_open(&chunks, 4, 2, 4) != ERR_OK)
    return 1;
  head_open(&head, &chunks, (struct head_limits){.bytes = 600, .count = 8});
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  head_close(&head);
  chunks_close(&chunks);
  return 0;
}

static void assert_field(uint32_t index, const char *name, const char *value) {
  struct bytes got_name, got_value;
  assert_true(fields_get(&head.fields, index, &got_name, &got_value));
  assert_true(bytes_equal(got_name, bytes_of_text(name)));
  assert_int_equal(got_value.len, strlen(value));
  assert_memory_equal(got_value.data, value, got_value.len);
}

static void test_marks_differ(void **state) {
  (void)state;
  char one[LOOP_MARK_MAX], other[LOOP_MARK_MAX];
  loop_mark_make(one);
  loop_mark_make(other);
  assert_int_equal(strncmp(one, "ptproxy-", 8), 0);
  assert_string_not_equal(one, other);
}

static void test_second_passage_is_a_loop(void **state) {
  (void)state;
  assert_int_equal(loop_mark_add(&head, "ptproxy-00000001"), ERR_OK);
  assert_field(0, "cdn-loop", "ptproxy-00000001");
  assert_int_equal(loop_mark_add(&head, "ptproxy-00000002"), ERR_OK); /* another pair on the way is none */
  assert_int_equal(loop_mark_add(&head, "ptproxy-00000001"), ERR_LOOP);
  assert_int_equal(loop_mark_add(&head, "ptproxy-00000002"), ERR_LOOP);
  assert_int_equal(head.fields.count, 2);
}

static void test_mark_within_a_list(void **state) {
  (void)state;
  assert_int_equal(fields_add(&head.fields, BYTES_LITERAL("cdn-loop"), BYTES_LITERAL("foo, ptproxy-00000001; a=b")),
                   ERR_OK);
  assert_int_equal(loop_mark_add(&head, "ptproxy-00000001"), ERR_LOOP);
}

static void test_forwarded_comes_after_others(void **state) {
  (void)state;
  struct address peer, local;
  assert_int_equal(address_parse(&peer, "127.0.0.1:35974", 0), ERR_OK);
  assert_int_equal(address_parse(&local, "[::1]:20080", 0), ERR_OK);
  assert_int_equal(fields_add(&head.fields, BYTES_LITERAL("forwarded"), BYTES_LITERAL("for=a")), ERR_OK);
  assert_int_equal(forwarded_add(&head, &peer, &local, "http"), ERR_OK);
  assert_field(0, "forwarded", "for=a");
  assert_field(1, "forwarded", "for=\"127.0.0.1:35974\";by=\"[::1]:20080\";proto=http");
}

static void test_forwarded_of_a_unix_socket(void **state) {
  (void)state;
  struct address peer = {0}, local;
  assert_int_equal(address_parse(&local, "unix:/run/p.sock", 0), ERR_OK);
  assert_int_equal(forwarded_add(&head, &peer, &local, "http3"), ERR_OK);
  assert_field(0, "forwarded", "for=\"_unix\";by=\"_unix\";proto=http3");
}

static void test_limits_hold(void **state) {
  (void)state;
  struct address peer;
  assert_int_equal(address_parse(&peer, "192.0.2.1:1", 0), ERR_OK);
  enum err err = ERR_OK;
  int added = 0;
  while ((err = forwarded_add(&head, &peer, &peer, "http")) == ERR_OK && added < 100)
    added++;
  assert_int_equal(err, ERR_HEAD_TOO_LARGE);
  assert_true(added > 0);
  while ((err = loop_mark_add(&head, added++ % 2 == 0 ? "ptproxy-a" : "ptproxy-b")) == ERR_OK)
    continue;
  assert_true(err == ERR_HEAD_TOO_LARGE || err == ERR_LOOP);
}

/* A list that is full takes what is added on the way, and nothing more. */
static void test_marks_have_room_of_their_own(void **state) {
  (void)state;
  struct address peer;
  assert_int_equal(address_parse(&peer, "192.0.2.1:1", 0), ERR_OK);
  while (head.fields.count < head.fields.limits.count)
    assert_int_equal(fields_add(&head.fields, BYTES_LITERAL("x"), BYTES_LITERAL("y")), ERR_OK);
  assert_int_equal(head_count(&head, head.fields.limits.bytes - head.fields.counted), ERR_OK);
  assert_int_equal(loop_mark_add(&head, "ptproxy-00000001"), ERR_HEAD_TOO_LARGE);
  fields_allow_marks(&head.fields);
  assert_int_equal(loop_mark_add(&head, "ptproxy-00000001"), ERR_OK);
  assert_int_equal(forwarded_add(&head, &peer, &peer, "http"), ERR_OK);
  assert_int_equal(fields_add(&head.fields, BYTES_LITERAL("x"), BYTES_LITERAL("y")), ERR_HEAD_TOO_LARGE);
  for (int i = 0; i < 1000; i++) /* never past what the chunk holds */
    fields_allow_marks(&head.fields);
  assert_true(head.fields.limits.bytes < CHUNK_LARGE_BYTES);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_marks_differ),     TEST(test_second_passage_is_a_loop),   TEST(test_mark_within_a_list),
      TEST(test_forwarded_comes_after_others), TEST(test_forwarded_of_a_unix_socket), TEST(test_limits_hold),
      TEST(test_marks_have_room_of_their_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
