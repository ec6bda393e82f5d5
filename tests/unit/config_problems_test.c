/* The configuration: what is refused or warned of, and every message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "unit/support_config.h"

/* |text| has exactly one problem: |expected|, or any when that is NULL. */
static void expect_in(const char *text, size_t len, bool fatal, const char *expected) {
  struct problems problems = {.fatal = 0};
  struct config *config = config_parse_text(text, len, &problems);
  if (problems.fatal + problems.warnings != 1)
    print_error("for: %.*s\n", (int)len, text);
  for (size_t i = 0; problems.fatal + problems.warnings != 1 && i < problems.fatal + problems.warnings; i++)
    print_error("  %s\n", problems.line[i]);
  assert_int_equal(problems.fatal, fatal ? 1 : 0);
  assert_int_equal(problems.warnings, fatal ? 0 : 1);
  if (expected != NULL)
    assert_string_equal(problems.line[0], expected);
  config_forget(&problems);
  config_free(config);
}

static void expect(const char *general, const char *rest, bool fatal, const char *expected) {
  char *text = config_client_text(general, rest);
  expect_in(text, strlen(text), fatal, expected);
  free(text);
}

static void refused(const char *general, const char *rest, const char *expected) {
  expect(general, rest, true, expected);
}

/* ---- what is refused, and how ---- */

static void numbers_that_are_wrong(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"70000", "must be 1-65535, got 70000"},
      {"0", "must be 1-65535, got 0"},
      {"-1", "must be 1-65535, got -1"},
      {"1.5", "must be a whole number: 1-65535, got 1.5"},
      {"1e999", "must be 1-65535, got a number that is too large"},
      {"1e300", "must be 1-65535, got 1e+300"},
      {"\"20010\"", "must be 1-65535, got \"20010\""},
      {"null", "must be 1-65535, got null"},
      {"true", "must be 1-65535, got true"},
      {"false", "must be 1-65535, got false"},
      {"[1]", "must be 1-65535, got an array"},
      {"{}", "must be 1-65535, got an object"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char general[64], expected[128];
    snprintf(general, sizeof general, ", \"quic_port\": %s", rows[i][0]);
    snprintf(expected, sizeof expected, "FILE: general.quic_port: %s", rows[i][1]);
    refused(general, "", expected);
  }
  struct config *c = config_load_client(", \"quic_port\": 1e3", "");
  assert_int_equal(c->general.quic_port, 1000);
  config_free(c);
}

static void values_that_are_wrong(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"\"transport\": {\"max_idle_timeout\": \"5\"}",
       "transport.max_idle_timeout: must be 10-86400000 ms or a string such as \"150ms\" or \"5s\", got \"5\""},
      {"\"transport\": {\"max_idle_timeout\": \"25h\"}", NULL},
      {"\"transport\": {\"initial_window\": \"64k\"}",
       "transport.initial_window: must be 1200-1073741824 bytes or a string such as \"64KiB\" or \"1MB\", got \"64k\""},
      {"\"transport\": {\"mtu\": 1199}",
       "transport.mtu: must be 0 or 1200-65527 bytes or a string such as \"64KiB\" or \"1MB\", got 1199"},
      {"\"transport\": {\"congestion_algorithm\": \"vegas\"}",
       "transport.congestion_algorithm: must be \"bbr\", \"cubic\", \"newreno\" or \"none\", got \"vegas\""},
      {"\"transport\": {\"congestion_algorithm\": \"bbr cubic\"}", NULL},
      {"\"transport\": {\"congestion_algorithm\": \"\"}", NULL},
      {"\"transport\": {\"congestion_algorithm\": 1}", NULL},
      {"\"system\": {\"tcp_nodelay\": 1}", "system.tcp_nodelay: must be true or false, got 1"},
      {"\"system\": {\"threads\": \"all\"}", "system.threads: must be \"auto\" or 1-256, got \"all\""},
      {"\"system\": {\"threads\": 0}", "system.threads: must be \"auto\" or 1-256, got 0"},
      {"\"system\": {\"watchdog_factor\": 1}", "system.watchdog_factor: must be a number above 1, up to 100, got 1"},
      {"\"system\": {\"watchdog_factor\": \"2\"}", NULL},
      {"\"admin\": {\"bind_address\": \"127.0.0.1\"}",
       "admin.bind_address: must be IP:port or unix:/path, got \"127.0.0.1\""},
      {"\"admin\": {\"bind_address\": \"192.0.2.1:9000\"}",
       "admin.bind_address: must be a loopback address or unix:/path: it asks for no password"},
      {"\"admin\": {\"bind_address\": \"[::]:9000\"}",
       "admin.bind_address: must be a loopback address or unix:/path: it asks for no password"},
      {"\"admin\": []", "admin: must be an object, got an array"},
      {"\"admin\": \"\\n\\u001b[31m\"", "admin: must be an object, got \"??[31m\""},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char rest[256], expected[256];
    snprintf(rest, sizeof rest, ", %s", rows[i][0]);
    snprintf(expected, sizeof expected, "FILE: %s", rows[i][1] == NULL ? "" : rows[i][1]);
    refused("", rest, rows[i][1] == NULL ? NULL : expected);
  }
}

static void addresses_that_are_wrong(void **state) {
  (void)state;
  static const char *const general[] = {
      "\"bind_address\": \"localhost\"",
      "\"bind_address\": \"unix:/a\"",
      "\"bind_address\": \"192.0.2.300\"",
      "\"bind_address\": \"192.0.2.1:70000\"",
      "\"bind_address\": \"\"",
      "\"connect_address\": \"192.0.2.300\"",
      "\"connect_address\": \"b:0\"",
      "\"connect_address\": \"b:70000\"",
      "\"connect_address\": \"https://b\"",
      "\"connect_address\": \"b..example\"",
      "\"connect_address\": \"-b.example\"",
      "\"connect_address\": \"b-.example\"",
      "\"connect_address\": \".\"",
      "\"connect_address\": \"unix:/a\"",
      "\"connect_address\": \"a b\"",
      "\"connect_address\": [\"b\"]",
      "\"http_bind_address\": \"127.0.0.1\"",
      "\"http_bind_address\": \"localhost:80\"",
      "\"http_bind_address\": \"::1\"",
      "\"http_bind_address\": \"unix:\"",
      "\"http_bind_address\": []",
      "\"http_bind_address\": [[]]",
      "\"http_bind_address\": 80",
  };
  for (size_t i = 0; i < sizeof general / sizeof *general; i++) {
    char text[128];
    snprintf(text, sizeof text, ", %s", general[i]);
    refused(text, "", NULL);
  }
  refused(", \"bind_address\": \"localhost\"", "",
          "FILE: general.bind_address: must be an IP address or IP:port, got \"localhost\"");
  refused(", \"http_bind_address\": [\"[::]:80\", \"[::]:81\", \"[::]:80\"]", "",
          "FILE: general.http_bind_address[2]: is there twice: \"[::]:80\"");
}

static void peer_names_that_are_wrong(void **state) {
  (void)state;
  static const char *const names[] = {"\"*.example\"", "\"b:443\"",   "\"[::1]\"",  "\"\"", "[]",
                                      "\"1.2.3.4:5\"", "\"unix:/a\"", "[\"b\", 1]", "{}",   "[\"b\", \"B\"]"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char text[256];
    snprintf(text, sizeof text,
             "{\"general\": {\"mode\": \"client\", \"peer_hostname\": %s}, \"tls\": {\"ca\": \"ca.pem\", \"cert\": "
             "\"cert.pem\", \"key\": \"key.pem\"}}",
             names[i]);
    expect_in(text, strlen(text), true, NULL);
  }
  refused(", \"http_bind_address\": [\"[::]:1\",\"[::]:2\",\"[::]:3\",\"[::]:4\",\"[::]:5\",\"[::]:6\",\"[::]:7\","
          "\"[::]:8\",\"[::]:9\",\"[::]:10\",\"[::]:11\",\"[::]:12\",\"[::]:13\",\"[::]:14\",\"[::]:15\",\"[::]:16\","
          "\"[::]:17\"]",
          "", "FILE: general.http_bind_address: must have 1-16 elements, got 17");
}

static void unknown_keys(void **state) {
  (void)state;
  refused(", \"quic_prot\": 1", "", "FILE: general.quic_prot: unknown key, did you mean \"quic_port\"?");
  refused(", \"Quic_Port\": 1", "", "FILE: general.Quic_Port: unknown key, did you mean \"quic_port\"?");
  refused(", \"port\": 1", "", "FILE: general.port: unknown key, did you mean \"quic_port\"?");
  refused(", \"initial_windw\": 1", "",
          "FILE: general.initial_windw: unknown key, did you mean \"transport.initial_window\"?");
  refused("", ", \"quic_port\": 1", "FILE: quic_port: unknown key, did you mean \"general.quic_port\"?");
  refused("", ", \"sytsem\": {}", "FILE: sytsem: unknown key, did you mean \"system\"?");
  refused("", ", \"log\": {\"zzzzzzz\\u0007\": 1}",
          "FILE: log.zzzzzzz?: unknown key, known here: level, format, access");
  refused("", ", \"zzzzzzzz\": 1",
          "FILE: zzzzzzzz: unknown key, known here: general, tls, transport, system, timeouts, limits, log, admin");
  refused("", ", \"\": 1", NULL);
}

static void repeated_keys(void **state) {
  (void)state;
  refused(", \"quic_port\": 1, \"quic_port\": 1", "", "FILE: general.quic_port: is there twice");
  refused("", ", \"log\": {}, \"log\": {}", "FILE: log: is there twice");
}

static void keys_of_the_other_mode(void **state) {
  (void)state;
  refused(", \"http_connect_address\": \"a:1\"", "", "FILE: general.http_connect_address: not in client mode");
  struct problems problems = {.fatal = 0};
  const char *text = "{\"general\": {\"mode\": \"server\", \"peer_hostname\": \"a\", \"connect_address\": \"b\", "
                     "\"http_bind_address\": \"[::]:1\"}, \"tls\": {\"ca\": \"ca.pem\", \"cert\": \"cert.pem\"}}";
  assert_null(config_parse_text(text, strlen(text), &problems));
  assert_int_equal(problems.fatal, 4);
  assert_string_equal(problems.line[0], "FILE: general.connect_address: not in server mode");
  assert_string_equal(problems.line[1], "FILE: general.http_bind_address: not in server mode");
  assert_string_equal(problems.line[2],
                      "FILE: general.http_connect_address: is missing; it is required in server mode");
  assert_string_equal(problems.line[3], "FILE: tls.key: is missing; it is required");
  config_forget(&problems);
}

static void all_problems_are_reported(void **state) {
  (void)state;
  struct problems problems = {.fatal = 0};
  const char *text = "{\"general\": {\"mode\": \"relay\", \"quic_port\": 70000, \"bind\": 1}, \"tls\": 5, "
                     "\"transport\": {\"mtu\": \"x\"}, \"x\": 1}";
  assert_null(config_parse_text(text, strlen(text), &problems));
  assert_string_equal(problems.line[0], "FILE: general.mode: must be \"client\" or \"server\", got \"relay\"");
  assert_string_equal(problems.line[1], "FILE: general.quic_port: must be 1-65535, got 70000");
  assert_string_equal(problems.line[2], "FILE: general.bind: unknown key, did you mean \"bind_address\"?");
  assert_string_equal(problems.line[3], "FILE: tls: must be an object, got 5");
  assert_int_equal(problems.fatal, 9); /* mtu, x, and that peer_hostname, cert and key are missing */
  config_forget(&problems);
}

static void files_that_cannot_be_read(void **state) {
  (void)state;
  struct problems problems = {.fatal = 0};
  struct config *config;
  char expected[PATH_MAX], line[256];
  const char *text = "{\"general\": {\"mode\": \"client\", \"peer_hostname\": \"b\"}, \"tls\": {\"ca\": \".\", "
                     "\"cert\": \"none.pem\", \"key\": \"a\\nb\\u007f.pem\"}}";
  assert_null(config_parse_text(text, strlen(text), &problems));
  assert_int_equal(problems.fatal, 3);
  snprintf(expected, sizeof expected, "FILE: tls.cert: cannot read %s/none.pem: No such file or directory",
           config_directory);
  assert_string_equal(problems.line[1], expected);
  snprintf(expected, sizeof expected, "FILE: tls.key: cannot read %s/a?b?.pem: No such file or directory",
           config_directory);
  assert_string_equal(problems.line[2], expected);
  config_forget(&problems);
  assert_int_equal(config_load("/nonexistent/x.json", config_collect, &problems, &config), ERR_BAD_CONFIG);
  assert_null(config);
  assert_string_equal(problems.line[0], "/nonexistent/x.json: cannot be read: No such file or directory");
  config_forget(&problems);
  assert_int_equal(config_load(config_directory, config_collect, &problems, &config), ERR_BAD_CONFIG);
  snprintf(line, sizeof line, "%s: cannot be read: Is a directory", config_directory);
  assert_string_equal(problems.line[0], line);
  config_forget(&problems);
}

static void text_that_is_not_json(void **state) {
  (void)state;
#define ROW(text, problem)                                                                                             \
  { text, sizeof(text) - 1, problem }
  static const struct {
    const char *text;
    size_t len;
    const char *problem;
  } rows[] = {
      ROW("", "line 1, column 1: is empty"),
      ROW(" // nothing", "line 1, column 12: is empty"),
      ROW("x", "line 1, column 1: must be an object: {\"general\": {...}, \"tls\": {...}}"),
      ROW("[]", "must be an object, got an array"),
      ROW("7", "must be an object, got 7"),
      ROW("{\"general\": {}", "line 1, column 15: the file ends before the last bracket is closed"),
      ROW("{\"log\": {\"level\": }}", "line 1, column 19: expected a value"),
      ROW("{\"log\": {},}", "line 1, column 11: a comma before a closing bracket"),
      ROW("{\"log\": [1,]}", "line 1, column 11: a comma before a closing bracket"),
      ROW("{\n  log: {}}", "line 2, column 3: expected a key in double quotes"),
      ROW("{'log': {}}", "line 1, column 2: expected a key in double quotes"),
      ROW("{\"log\": 'x'}", "line 1, column 9: expected a value"),
      ROW("{\"log\": {}\n \"admin\": {}}", "line 2, column 2: a comma or colon is missing before this"),
      ROW("{\"log\" {}}", "line 1, column 8: not expected here"),
      ROW("{} {}", "line 1, column 4: not expected here"),
      ROW("{\"log\": nan}", "line 1, column 9: expected a value"),
      ROW("{\"log\": NaN}", "line 1, column 9: expected a value"),
      ROW("{\"log\": 0x10}", "line 1, column 10: not expected here"),
      ROW("{\"\u00e9\u00e9\": nan}", "line 1, column 8: expected a value"),
      ROW("{\n  \"log: {}\n}", "line 2, column 3: a string without an end"),
      ROW("{\"log\\", "line 1, column 2: a string without an end"),
      ROW("{\n/* x", "line 2, column 1: a comment without an end"),
      ROW("{/*/", "line 1, column 2: a comment without an end"),
      ROW("{/", "line 1, column 2: expected a key in double quotes"),
      ROW("{\"log\": \"a\tb\"}", "line 1, column 11: a control character in a string"),
      ROW("{\"log\": \"a\\u0000b\"}", "line 1, column 11: a control character in a string"),
      ROW("{\"log\": {\0}}", "line 1, column 10: a NUL byte"),
      ROW("{\f}", "line 1, column 2: a control character"),
      ROW("{\"\xff\"}", "line 1, column 3: not UTF-8"),
      ROW("{\"\xc3", "line 1, column 3: not UTF-8"),
      ROW("{\"\xed\xa0\x80\"}", "line 1, column 3: not UTF-8"),
      ROW("{\"\xf4\x90\x80\x80\"}", "line 1, column 3: not UTF-8"),
      ROW("{\"\xe0\x80\x80\"}", "line 1, column 3: not UTF-8"),
      ROW("\xef\xbb\xbf{}", "line 1, column 1: starts with a byte order mark: save the file as UTF-8 without BOM"),
      ROW("\xff\xfe{\0", "line 1, column 1: looks like UTF-16: save the file as UTF-8 without BOM"),
      ROW("{\"a\":[[[[[[[[[[[[[[[[[[[[", "line 1, column 21: nested too deeply"),
  };
#undef ROW
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char expected[256];
    snprintf(expected, sizeof expected, "FILE: %s", rows[i].problem);
    expect_in(rows[i].text, rows[i].len, true, expected);
  }
}

static void text_that_is_too_large(void **state) {
  (void)state;
  size_t len = (1 << 20) + 1;
  char *text = malloc(len), path[64];
  assert_non_null(text);
  memset(text, '[', len);
  expect_in(text, len, true, "FILE: is larger than 1048576 bytes");
  expect_in(text, len - 1, true, "FILE: line 1, column 17: nested too deeply");
  memset(text, ' ', len);
  snprintf(path, sizeof path, "%s/large.json", config_directory);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, len, file), len);
  fclose(file);
  free(text);
  struct problems problems = {.fatal = 0};
  struct config *config;
  assert_int_equal(config_load(path, config_collect, &problems, &config), ERR_BAD_CONFIG);
  assert_non_null(strstr(problems.line[0], "is larger than 1048576 bytes"));
  config_forget(&problems);
}

static void warnings(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"\"transport\": {\"keep_alive_interval\": \"5s\"}",
       "transport.keep_alive_interval: is not below transport.max_idle_timeout: an idle session will be lost"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char rest[128], expected[256];
    snprintf(rest, sizeof rest, ", %s", rows[i][0]);
    snprintf(expected, sizeof expected, "FILE: %s", rows[i][1]);
    expect("", rest, false, expected);
  }
  config_free(config_load_client("", ", \"system\": {\"threads\": \"AUTO\", \"add_forwarded\": false}"));
  config_free(config_load_client("", ", \"system\": {\"threads\": 1, \"watchdog_factor\": 1.5}"));
}

static void warnings_about_trust(void **state) {
  (void)state;
  const char *text =
      "{\"general\": {\"mode\": \"client\", \"peer_hostname\": \"b\"}, \"tls\": {\"cert\": \"cert.pem\", "
      "\"key\": \"key.pem\"}}";
  expect_in(text, strlen(text), false, "FILE: tls.ca: is not set: every authority in the system's store is trusted");
  text = "{\"general\": {\"mode\": \"client\", \"peer_hostname\": \"b\"}, \"tls\": {\"cert\": \"cert.pem\", \"key\": "
         "\"key.pem\", \"skip_verify\": true}}";
  expect_in(text, strlen(text), false, "FILE: tls.skip_verify: is on: ANY peer is accepted, whatever its certificate");
}

/* Any cut, and any byte changed, ends with a configuration or with problems, never with a crash. */
static void damaged_text(void **state) {
  (void)state;
  char *text =
      config_client_text(", \"http_bind_address\": [\"[::]:1\", \"unix:x\"] /* c */, \"quic_port\": 1e3 // c\n", "");
  size_t len = strlen(text);
  struct problems problems = {.fatal = 0};
  for (size_t cut = 0; cut < len; cut++) {
    config_free(config_parse_text(text, cut, &problems));
    assert_true(problems.fatal > 0);
    config_forget(&problems);
  }
  static const char bytes[] = "\"{}[],:/*\\\0\n9e-\x80\xc3";
  for (size_t i = 0; i < len * (sizeof bytes - 1); i++) {
    char *at = &text[i / (sizeof bytes - 1)], old = *at;
    *at = bytes[i % (sizeof bytes - 1)];
    config_free(config_parse_text(text, len, &problems));
    config_forget(&problems);
    *at = old;
  }
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_that_are_wrong),
      cmocka_unit_test(values_that_are_wrong),
      cmocka_unit_test(addresses_that_are_wrong),
      cmocka_unit_test(peer_names_that_are_wrong),
      cmocka_unit_test(unknown_keys),
      cmocka_unit_test(repeated_keys),
      cmocka_unit_test(keys_of_the_other_mode),
      cmocka_unit_test(all_problems_are_reported),
      cmocka_unit_test(files_that_cannot_be_read),
      cmocka_unit_test(text_that_is_not_json),
      cmocka_unit_test(text_that_is_too_large),
      cmocka_unit_test(warnings),
      cmocka_unit_test(warnings_about_trust),
      cmocka_unit_test(damaged_text),
  };
  return cmocka_run_group_tests(tests, config_directory_make, config_directory_remove);
}
