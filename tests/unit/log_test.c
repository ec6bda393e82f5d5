#include "unit/support.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

enum { TS_BYTES = 27 }; /* 2026-11-22T14:30:00.123456Z */

static int set_up(void **state) {
  (void)state;
  log_setup(LOG_INFO, false);
  return 0;
}

static bool is_timestamp(const char *text) {
  static const char shape[] = "0000-00-00T00:00:00.000000Z";
  for (size_t i = 0; i < TS_BYTES; i++)
    if (shape[i] == '0' ? !isdigit((unsigned char)text[i]) : text[i] != shape[i])
      return false;
  return true;
}

static void assert_text(const char *expected_after_time) {
  const char *line = capture_stop();
  assert_true(is_timestamp(line));
  assert_string_equal(line + TS_BYTES, expected_after_time);
}

static void assert_json(const char *expected_after_time) {
  const char *line = capture_stop();
  assert_memory_equal(line, "{\"ts\":\"", 7);
  assert_true(is_timestamp(line + 7));
  assert_string_equal(line + 7 + TS_BYTES, expected_after_time);
}

static void test_text(void **state) {
  (void)state;
  capture_start();
  log_info("listening on %s:%d", "127.0.0.1", 80);
  assert_text("  INFO ptproxy: listening on 127.0.0.1:80\n");
  capture_start();
  log_warn("slow");
  assert_text("  WARN ptproxy: slow\n");
  capture_start();
  log_error("broken");
  assert_text(" ERROR ptproxy: broken\n");
}

static void test_levels(void **state) {
  (void)state;
  assert_true(log_wants(LOG_INFO));
  assert_false(log_wants(LOG_DEBUG));
  capture_start();
  log_debug("not wanted");
  assert_string_equal(capture_stop(), "");
  log_setup(LOG_DEBUG, false);
  capture_start();
  log_debug("wanted");
  assert_text(" DEBUG ptproxy: wanted\n");
  log_setup(LOG_ERROR, false);
  capture_start();
  log_warn("not wanted");
  log_write(LOG_INFO, "not wanted");
  assert_string_equal(capture_stop(), "");
}

static void test_json(void **state) {
  (void)state;
  log_setup(LOG_DEBUG, true);
  capture_start();
  log_info("a \"quoted\" \\ path");
  assert_json("\",\"level\":\"info\",\"msg\":\"a \\\"quoted\\\" \\\\ path\"}\n");
  capture_start();
  log_debug("%s", "");
  assert_json("\",\"level\":\"debug\",\"msg\":\"\"}\n");
}

static void test_control_bytes(void **state) {
  (void)state;
  capture_start();
  log_info("%s", "a\nb\r\x1b[2J\x7f\tz");
  assert_text("  INFO ptproxy: a\\x0ab\\x0d\\x1b[2J\\x7f\\x09z\n");
  capture_start();
  log_info("%s", "\xc2\x9b"); /* U+009B, the CSI of 8-bit terminals */
  assert_text("  INFO ptproxy: \\xc2\\x9b\n");
  log_setup(LOG_INFO, true);
  capture_start();
  log_info("%s", "a\nb\x1b\xc2\x9b\x7f");
  assert_json("\",\"level\":\"info\",\"msg\":\"a\\u000ab\\u001b\\u009b\\u007f\"}\n");
}

static void test_utf8(void **state) {
  (void)state;
  static const char good[] = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xed\x9f\xbf \xf4\x8f\xbf\xbf";
  static const char *const bad[] = {"\x80", "\xc0", "\xc3", "\xe2", "\xff", "\xf5"};
  char expected[128];
  capture_start();
  log_info("%s", good);
  snprintf(expected, sizeof expected, "  INFO ptproxy: %s\n", good);
  assert_text(expected);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    capture_start();
    log_info("%s.", bad[i]);
    snprintf(expected, sizeof expected, "  INFO ptproxy: \\x%02x.\n", (unsigned char)bad[i][0]);
    assert_text(expected);
  }
  log_setup(LOG_INFO, true);
  capture_start();
  log_info("%s", "<\xe0\x9f\xbf>"); /* overlong */
  assert_json("\",\"level\":\"info\",\"msg\":\"<\\ufffd\\ufffd\\ufffd>\"}\n");
  capture_start();
  log_info("%s", "<\xed\xa0\x80\xf4\x90\x80\x80\xf0\x8f\xbf\xbf>"); /* a surrogate, beyond U+10FFFF, overlong */
  const char *line = capture_stop();
  size_t count = 0;
  for (const char *at = line; (at = strstr(at, "\\ufffd")) != NULL; at++)
    count++;
  assert_int_equal(count, 11);
}

static void test_length(void **state) {
  (void)state;
  static char text[4000];
  memset(text, 'x', 1024);
  capture_start();
  log_info("%s", text);
  assert_null(strstr(capture_stop(), "..."));
  memset(text, 'x', sizeof text - 1);
  capture_start();
  log_info("%s", text);
  const char *line = capture_stop();
  size_t head = TS_BYTES + strlen("  INFO ptproxy: ");
  assert_int_equal(strlen(line), head + 1024 + 1);
  assert_string_equal(line + head + 1021, "...\n");
  for (size_t i = 0; i + 1 < sizeof text; i++) /* characters of two bytes: the cut is not within one */
    text[i] = i % 2 == 0 ? '\xc3' : '\xa9';
  capture_start();
  log_info("%s", text);
  line = capture_stop();
  assert_null(strstr(line, "\\x"));
  assert_int_equal(strlen(line), head + 1020 + 3 + 1);
  memset(text, '\x01', sizeof text - 1); /* the longest line there is */
  log_setup(LOG_INFO, true);
  capture_start();
  log_info("%s", text);
  assert_int_equal(strlen(strstr(capture_stop(), "\"msg\":\"")), 7 + 1021 * 6 + 3 + 3);
}

static void test_errno_is_kept_and_losses_are_counted(void **state) {
  (void)state;
  uint64_t before = log_dropped();
  int saved = dup(STDERR_FILENO);
  close(STDERR_FILENO);
  errno = ERANGE;
  log_info("nobody hears this");
  int errno_after = errno;
  dup2(saved, STDERR_FILENO);
  close(saved);
  assert_int_equal(errno_after, ERANGE);
  assert_int_equal(log_dropped(), before + 1);
}

static void *write_lines(void *letter) {
  for (int i = 0; i < 100; i++)
    log_info("%s", (const char *)letter);
  return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state) {
  (void)state;
  pthread_t threads[2];
  char a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
  capture_start();
  assert_int_equal(pthread_create(&threads[0], NULL, write_lines, a), 0);
  assert_int_equal(pthread_create(&threads[1], NULL, write_lines, b), 0);
  pthread_join(threads[0], NULL);
  pthread_join(threads[1], NULL);
  size_t lines = 0;
  for (const char *line = capture_stop(); *line != '\0'; line = strchr(line, '\n') + 1, lines++) {
    assert_true(is_timestamp(line));
    const char *letters = line + TS_BYTES + strlen("  INFO ptproxy: ");
    assert_true(memcmp(letters, a, sizeof a - 1) == 0 || memcmp(letters, b, sizeof b - 1) == 0);
  }
  assert_int_equal(lines, 200);
}

static struct log_field field_of(const char *name, const char *text, size_t len) {
  return (struct log_field){.name = name, .text = text, .len = len};
}

static void test_fields(void **state) {
  (void)state;
  static const char path[] = "/a\"b\\\n\x1b[31m";
  const struct log_field fields[] = {
      field_of("method", "GET", 3),
      field_of("path", path, sizeof path - 1),
      {.name = "status", .number = 200},
      {.name = "total_s", .number = 1000002999, .nanoseconds = true},
  };
  log_setup(LOG_ERROR, false); /* it is not a matter of the level */
  capture_start();
  log_fields("request", fields, 4);
  assert_text("  INFO ptproxy: request method=\"GET\" path=\"/a\\\"b\\\\\\x0a\\x1b[31m\" status=200 "
              "total_s=1.000002\n");
  log_setup(LOG_ERROR, true);
  capture_start();
  log_fields("request", fields, 4);
  assert_json("\",\"level\":\"info\",\"msg\":\"request\",\"method\":\"GET\",\"path\":\"/a\\\"b\\\\\\u000a\\u001b[31m\","
              "\"status\":200,\"total_s\":1.000002}\n");
  assert_false(log_wants_access());
  log_setup_access(true);
  assert_true(log_wants_access());
  log_setup_access(false);
}

static void test_longest_fields(void **state) {
  (void)state;
  static char text[65536];
  memset(text, '\x01', sizeof text);
  struct log_field fields[LOG_FIELDS_MAX];
  for (size_t i = 0; i < LOG_FIELDS_MAX; i++)
    fields[i] = (struct log_field){.name = "a_name_of_thirty_characters___", .number = UINT64_MAX, .nanoseconds = true};
  fields[0] = field_of("a", text, sizeof text);
  fields[1] = field_of("b", text, LOG_FIELD_TEXT_MAX);
  log_setup(LOG_INFO, true);
  capture_start();
  log_fields("request", fields, LOG_FIELDS_MAX);
  const char *line = capture_stop();
  assert_true(strlen(line) > 2 * 6 * LOG_FIELD_TEXT_MAX);
  assert_string_equal(line + strlen(line) - 2, "}\n");
  assert_non_null(strstr(line, "\\u0001...\",\"b\":\"\\u0001"));
  assert_non_null(strstr(line, "\\u0001\",\"a_name"));
}

/* F-35: who reads the log has stopped; nothing waits for it, and what is lost is counted. */
static void reader_has_stopped(bool socket) {
  int pipe_fds[2], before = dup(STDERR_FILENO);
  assert_int_equal(socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, pipe_fds) : pipe(pipe_fds), 0);
  assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
  log_setup(LOG_INFO, false);
  uint64_t dropped = log_dropped();
  for (int i = 0; i < 10000; i++) {
    errno = EINTR; /* of some call before: it says nothing about the pipe */
    log_info("line %d", i);
  }
  dup2(before, STDERR_FILENO);
  close(before);
  close(pipe_fds[1]);
  log_setup(LOG_INFO, false);
  uint64_t lines = 0;
  char text[4096];
  for (ssize_t len; (len = read(pipe_fds[0], text, sizeof text)) > 0;)
    for (ssize_t i = 0; i < len; i++)
      lines += text[i] == '\n';
  close(pipe_fds[0]);
  assert_true(lines > 20 && lines < 10000);
  assert_int_equal(log_dropped() - dropped, 10000 - lines);
}

static void test_a_reader_that_has_stopped(void **state) {
  (void)state;
  reader_has_stopped(false);
  reader_has_stopped(true); /* as journald's */
}

static void test_rate(void **state) {
  (void)state;
  static const unsigned long long s = 1000000000ULL;
  struct log_rate rate = {0};
  unsigned held = 99;
  assert_true(log_rate_ok(&rate, 2, 0, &held));
  assert_int_equal(held, 0);
  assert_true(log_rate_ok(&rate, 2, 0, &held));
  uint64_t dropped = log_dropped();
  for (int i = 0; i < 5; i++)
    assert_false(log_rate_ok(&rate, 2, s / 2, &held));
  assert_int_equal(log_dropped(), dropped + 5);
  assert_true(log_rate_ok(&rate, 2, s + 1, &held));
  assert_int_equal(held, 5);
  assert_false(log_rate_ok(&rate, 2, s + 2, &held));
  assert_false(log_rate_ok(&rate, 2, s - 1, &held)); /* time that goes back earns nothing */
  for (int i = 0; i < 2; i++)
    assert_true(log_rate_ok(&rate, 2, 1000000 * s, &held)); /* no more than the burst is ever saved up */
  assert_false(log_rate_ok(&rate, 2, 1000000 * s, &held));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_text, set_up),
      cmocka_unit_test_setup(test_levels, set_up),
      cmocka_unit_test_setup(test_json, set_up),
      cmocka_unit_test_setup(test_control_bytes, set_up),
      cmocka_unit_test_setup(test_utf8, set_up),
      cmocka_unit_test_setup(test_length, set_up),
      cmocka_unit_test_setup(test_errno_is_kept_and_losses_are_counted, set_up),
      cmocka_unit_test_setup(test_lines_of_threads_do_not_mix, set_up),
      cmocka_unit_test_setup(test_fields, set_up),
      cmocka_unit_test_setup(test_longest_fields, set_up),
      cmocka_unit_test_setup(test_a_reader_that_has_stopped, set_up),
      cmocka_unit_test_setup(test_rate, set_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
