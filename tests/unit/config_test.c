/* The configuration: what is accepted, the defaults, the dump, and the files of config/ that are generated from the
   table. PTP_UPDATE=1 in the environment writes those anew instead of comparing them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config/config_table.h"
#include "unit/support_config.h"

/* ---- what is accepted ---- */

static void defaults_of_a_client(void **state) {
  (void)state;
  struct config *c = config_load_client("", "");
  assert_int_equal(c->general.mode, MODE_CLIENT);
  assert_int_equal(c->general.peer_hostname.count, 1);
  assert_string_equal(c->general.peer_hostname.item[0], "b.example");
  assert_int_equal(c->general.quic_port, 20010);
  assert_string_equal(c->general.bind_address, "::");
  assert_null(c->general.connect_address);
  assert_int_equal(c->general.http_bind_address.count, 1);
  assert_string_equal(c->general.http_bind_address.item[0], "[::]:20080");
  assert_null(c->general.http_connect_address);
  assert_false(c->tls.skip_verify);
  assert_int_equal(c->transport.max_idle_timeout_ms, 5000);
  assert_int_equal(c->transport.keep_alive_interval_ms, 2000);
  assert_int_equal(c->transport.initial_rtt_ms, 333);
  assert_int_equal(c->transport.initial_window, 14720);
  assert_int_equal(c->transport.congestion_algorithm, CONGESTION_BBR);
  assert_int_equal(c->transport.max_concurrent_http_streams, 1024);
  assert_int_equal(c->transport.stream_receive_window, 1000000);
  assert_int_equal(c->transport.receive_window, 16 << 20);
  assert_int_equal(c->transport.send_window, 16 << 20);
  assert_int_equal(c->transport.socket_receive_buffer_size, 7340032);
  assert_int_equal(c->transport.socket_send_buffer_size, 7340032);
  assert_int_equal(c->transport.mtu, 0);
  assert_int_equal(c->transport.qpack_table_capacity, 16384);
  assert_false(c->transport.redundancy);
  config_free(c);
}

static void defaults_of_the_process(void **state) {
  (void)state;
  struct config *c = config_load_client("", "");
  assert_int_equal(c->system.threads, 0);
  assert_int_equal(c->system.connect_interval_ms, 1000);
  assert_true(c->system.tcp_nodelay);
  assert_true(c->system.wait_for_first_attempt);
  assert_true(c->system.watchdog_factor == 1.5);
  assert_false(c->system.add_forwarded);
  assert_int_equal(c->system.drain_timeout_ms, 30000);
  assert_int_equal(c->system.origin_idle_timeout_ms, 90000);
  assert_int_equal(c->system.tcp_keepalive_ms, 15000);
  assert_int_equal(c->timeouts.request_head_ms, 10000);
  assert_int_equal(c->timeouts.request_body_ms, 60000);
  assert_int_equal(c->timeouts.keep_alive_ms, 75000);
  assert_int_equal(c->timeouts.origin_connect_ms, 5000);
  assert_int_equal(c->timeouts.origin_response_ms, 60000);
  assert_int_equal(c->limits.head_size, 65536);
  assert_int_equal(c->limits.header_count, 128);
  assert_int_equal(c->limits.connections, 10000);
  assert_int_equal(c->log.level, LOG_INFO);
  assert_false(c->log.json);
  assert_false(c->log.access);
  assert_null(c->admin.bind_address);
  config_free(c);
}

/* The choices stand in the table in the order of the enums. */
static void choices_match_their_enums(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int value;
  } congestion[] = {{"bbr", CONGESTION_BBR},
                    {"Cubic", CONGESTION_CUBIC},
                    {"NEWRENO", CONGESTION_NEWRENO},
                    {"none", CONGESTION_NONE}},
    level[] = {{"error", LOG_ERROR}, {"warn", LOG_WARN}, {"Info", LOG_INFO}, {"debug", LOG_DEBUG}};
  char rest[128];
  for (size_t i = 0; i < 4; i++) {
    snprintf(rest, sizeof rest, ", \"transport\": {\"congestion_algorithm\": \"%s\"}, \"log\": {\"level\": \"%s\"}",
             congestion[i].text, level[i].text);
    struct config *c = config_load_client("", rest);
    assert_int_equal(c->transport.congestion_algorithm, congestion[i].value);
    assert_int_equal(c->log.level, level[i].value);
    config_free(c);
  }
  struct config *c = config_load_client("", ", \"log\": {\"format\": \"JSON\"}");
  assert_true(c->log.json);
  config_free(c);
}

static void windows_follow_the_initial_window(void **state) {
  (void)state;
  struct config *c =
      config_load_client("", ", \"transport\": {\"initial_window\": \"20MB\", \"send_window\": \"1MiB\"}");
  assert_int_equal(c->transport.receive_window, 40000000);
  assert_int_equal(c->transport.send_window, 1 << 20);
  config_free(c);
}

static void server_mode(void **state) {
  (void)state;
  struct config *c =
      config_load_ok("{\"general\": {\"mode\": \"Server\", \"peer_hostname\": [\"a.example\", \"192.0.2.1\", "
                     "\"2001:db8::1\"], \"http_connect_address\": \"origin\"},"
                     "\"tls\": {\"ca\": \"ca.pem\", \"cert\": \"cert.pem\", \"key\": \"key.pem\"}}");
  assert_int_equal(c->general.mode, MODE_SERVER);
  assert_int_equal(c->general.peer_hostname.count, 3);
  assert_string_equal(c->general.peer_hostname.item[2], "2001:db8::1");
  assert_string_equal(c->general.http_connect_address, "origin");
  assert_int_equal(c->general.http_bind_address.count, 0);
  config_free(c);
}

static void quantities(void **state) {
  (void)state;
  static const struct {
    enum key_type type;
    const char *text;
    uint64_t value; /* UINT64_MAX: refused */
  } rows[] = {
      {KEY_TIME, "150ms", 150},
      {KEY_TIME, "5s", 5000},
      {KEY_TIME, "1.5s", 1500},
      {KEY_TIME, "0.1s", 100},
      {KEY_TIME, "1.0ms", 1},
      {KEY_TIME, "2m", 120000},
      {KEY_TIME, "2 min", 120000},
      {KEY_TIME, "1H", 3600000},
      {KEY_TIME, "0.5ms", UINT64_MAX},
      {KEY_TIME, "5", UINT64_MAX},
      {KEY_TIME, "", UINT64_MAX},
      {KEY_TIME, "s", UINT64_MAX},
      {KEY_TIME, ".5s", UINT64_MAX},
      {KEY_TIME, "5.s", UINT64_MAX},
      {KEY_TIME, "1.2.3s", UINT64_MAX},
      {KEY_TIME, "-5s", UINT64_MAX},
      {KEY_TIME, "+5s", UINT64_MAX},
      {KEY_TIME, " 5s", UINT64_MAX},
      {KEY_TIME, "5s ", UINT64_MAX},
      {KEY_TIME, "5  s", UINT64_MAX},
      {KEY_TIME, "5kB", UINT64_MAX},
      {KEY_TIME, "1e3ms", UINT64_MAX},
      {KEY_TIME, "18446744073709551615ms", UINT64_MAX},
      {KEY_TIME, "18446744073709551616ms", UINT64_MAX},
      {KEY_TIME, "18446744073709551615s", UINT64_MAX},
      {KEY_TIME, "1.00000000000000000000000000s", UINT64_MAX},
      {KEY_SIZE, "0B", 0},
      {KEY_SIZE, "500kB", 500000},
      {KEY_SIZE, "500KB", 500000},
      {KEY_SIZE, "64KiB", 65536},
      {KEY_SIZE, "1MiB", 1048576},
      {KEY_SIZE, "1.5MiB", 1572864},
      {KEY_SIZE, "1GB", 1000000000},
      {KEY_SIZE, "4GiB", 4294967296},
      {KEY_SIZE, "64k", UINT64_MAX},
      {KEY_SIZE, "1.0001KiB", UINT64_MAX},
      {KEY_SIZE, "5s", UINT64_MAX},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint64_t value = UINT64_MAX;
    bool ok = text_quantity(rows[i].type, rows[i].text, &value);
    if (value != rows[i].value)
      print_error("for: %s\n", rows[i].text);
    assert_int_equal(value, rows[i].value);
    assert_true(ok || value == UINT64_MAX);
  }
}

static void comments_are_blanked_outside_strings(void **state) {
  (void)state;
  struct config *c =
      config_load_client(", // one: \"quoted\" /* not opened\n\"quic_port\": /* two // lines\n**/ 1 /**/",
                         ", /*/ \"tls\": {} */ \"admin\": {}//\n");
  assert_int_equal(c->general.quic_port, 1);
  config_free(c);
  c = config_load_client(", \"http_bind_address\": \"unix:/a//b/*c*/\\\"//\"", "");
  assert_string_equal(c->general.http_bind_address.item[0], "unix:/a//b/*c*/\"//");
  config_free(c);
}

static void paths_are_relative_to_the_file(void **state) {
  (void)state;
  char expected[PATH_MAX], path[64];
  struct config *c = config_load_client(", \"http_bind_address\": [\"unix:run/a\", \"unix:/b\"]", "");
  snprintf(expected, sizeof expected, "%s/cert.pem", config_directory);
  assert_string_equal(c->tls.cert, expected);
  snprintf(expected, sizeof expected, "unix:%s/run/a", config_directory);
  assert_string_equal(c->general.http_bind_address.item[0], expected);
  assert_string_equal(c->general.http_bind_address.item[1], "unix:/b");
  config_free(c);
  struct problems problems = {.fatal = 0};
  snprintf(path, sizeof path, "%s/minimal.json", config_directory);
  char *text = config_client_text("", "");
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
  free(text);
  assert_int_equal(config_load(path, config_collect, &problems, &c), ERR_OK);
  assert_int_equal(problems.fatal + problems.warnings, 0);
  snprintf(expected, sizeof expected, "%s/key.pem", config_directory);
  assert_string_equal(c->tls.key, expected);
  config_free(c);
}

static void addresses_that_are_right(void **state) {
  (void)state;
  static const char *const general[] = {
      ", \"bind_address\": \"192.0.2.1\"",
      ", \"bind_address\": \"192.0.2.1:4433\"",
      ", \"bind_address\": \"[2001:db8::1]:4433\"",
      ", \"connect_address\": \"b\"",
      ", \"connect_address\": \"b.example.:443\"",
      ", \"connect_address\": \"my_host-1:443\"",
      ", \"connect_address\": \"2001:db8::1\"",
      ", \"connect_address\": \"[2001:db8::1]:443\"",
      ", \"http_bind_address\": \"127.0.0.1:0\"",
      ", \"http_bind_address\": [\"127.0.0.1:80\", \"[::1]:80\", \"unix:/run/x\"]",
  };
  for (size_t i = 0; i < sizeof general / sizeof *general; i++)
    config_free(config_load_client(general[i], ""));
}

/* ---- what is written ---- */

static char *dump(const struct config *config) {
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  assert_non_null(out);
  config_dump(config, out);
  fclose(out);
  return text;
}

/* Gives |config| back, and fails unless its dump reads back to it. */
static struct config *dumps_and_reads_back(struct config *config, bool warns) {
  char *first = dump(config);
  struct problems problems = {.fatal = 0};
  struct config *again = config_parse_text(first, strlen(first), &problems);
  assert_non_null(again);
  assert_true(warns || problems.warnings == 0);
  config_forget(&problems);
  char *second = dump(again);
  assert_string_equal(first, second);
  for (size_t i = 0; i < CONFIG_KEYS; i++)
    assert_true(key_number(config, &config_keys[i]) == key_number(again, &config_keys[i]));
  config_free(again);
  free(second);
  free(first);
  return config;
}

static void dump_reads_back(void **state) {
  (void)state;
  config_free(dumps_and_reads_back(config_load_client("", ""), false));
  struct config *c = config_load_client(
      ", \"connect_address\": \"c:1\", \"http_bind_address\": [\"[::]:1\", \"unix:a\\\"\\\\\u00e9\"], \"quic_port\": 9",
      ", \"transport\": {\"congestion_algorithm\": \"none\", \"initial_window\": \"1GiB\", \"mtu\": 1200}, "
      "\"log\": {\"level\": \"debug\", \"format\": \"json\"}, \"system\": {\"threads\": 1, \"tcp_nodelay\": false}");
  char *text = dump(c);
  assert_non_null(strstr(text, "\"connect_address\": \"c:1\""));
  assert_non_null(strstr(text, "\"receive_window\": 2147483648"));
  assert_non_null(strstr(text, "\"threads\": 1,"));
  assert_null(strstr(text, "http_connect_address"));
  free(text);
  config_free(dumps_and_reads_back(c, false));
}

static void dump_of_unusual_values_reads_back(void **state) {
  (void)state;
  struct problems problems = {.fatal = 0};
  char *text = config_client_text("", ", \"system\": {\"watchdog_factor\": 1.1000000000000001, \"threads\": 3}, "
                                      "\"admin\": {\"bind_address\": \"[::1]:9\"}, \"log\": {\"access\": true}");
  struct config *c = config_parse_text(text, strlen(text), &problems);
  assert_int_equal(problems.warnings, 0);
  config_forget(&problems);
  free(text);
  text = dump(c);
  assert_non_null(strstr(text, "\"threads\": 3,"));
  assert_non_null(strstr(text, "\"watchdog_factor\": 1.1,"));
  free(text);
  config_free(dumps_and_reads_back(c, true));
  config_free(dumps_and_reads_back(
      config_load_ok(
          "{\"general\": {\"mode\": \"server\", \"peer_hostname\": [\"a\", \"b\"], \"http_connect_address\": "
          "\"unix:o\"}, \"tls\": {\"ca\": \"ca.pem\", \"cert\": \"cert.pem\", \"key\": \"key.pem\"}}"),
      false));
}

static void free_takes_null(void **state) {
  (void)state;
  config_free(NULL);
}

/* The files of config/ */

static char *source_path(const char *name, char path[PATH_MAX]) {
  const char *source = getenv("PTP_SOURCE_DIR");
  snprintf(path, PATH_MAX, "%s/config/%s", source == NULL ? ".." : source, name);
  return path;
}

static char *read_source(const char *name) {
  char path[PATH_MAX];
  FILE *file = fopen(source_path(name, path), "r");
  if (file == NULL)
    fail_msg("cannot open %s", path);
  char *text = calloc(1, 1 << 20);
  assert_non_null(text);
  assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
  fclose(file);
  return text;
}

static void compare_generated(const char *name, void write(FILE *)) {
  char *text = NULL, path[PATH_MAX];
  size_t size;
  FILE *out = open_memstream(&text, &size);
  assert_non_null(out);
  write(out);
  fclose(out);
  if (getenv("PTP_UPDATE") != NULL) {
    out = fopen(source_path(name, path), "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
  }
  char *committed = read_source(name);
  if (strcmp(committed, text) != 0)
    fail_msg("config/%s is not what config.tbl gives: run this test with PTP_UPDATE=1", name);
  free(committed);
  free(text);
}

static void man_page_is_current(void **state) {
  (void)state;
  compare_generated("ptproxy.json.5", config_man);
}

static void schema_is_current(void **state) {
  (void)state;
  compare_generated("schema.json", config_schema);
}

static void reference_is_current(void **state) {
  (void)state;
  compare_generated("reference.md", config_reference);
}

static void examples_load(void **state) {
  (void)state;
  static const char *const names[] = {"client.json", "server.json"};
  for (size_t i = 0; i < 2; i++) {
    char *text = read_source(names[i]);
    struct config *c = config_load_ok(text);
    assert_int_equal(c->general.mode, i == 0 ? MODE_CLIENT : MODE_SERVER);
    config_free(c);
    free(text);
  }
}

static void full_example_has_every_key_with_its_default(void **state) {
  (void)state;
  char *text = read_source("full.json"), name[64];
  struct config *full = config_load_ok(text), *plain = config_load_client("", "");
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    const struct config_key *key = &config_keys[i];
    snprintf(name, sizeof name, "\"%s\":", key->name);
    if (strstr(text, name) == NULL)
      fail_msg("full.json has no %s.%s", key->section, key->name);
    if (!key->required && i != CONFIG_KEY_general_connect_address && key_number(full, key) != key_number(plain, key))
      fail_msg("full.json has another value than the default for %s.%s", key->section, key->name);
  }
  config_free(full);
  config_free(plain);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_of_a_client),
      cmocka_unit_test(defaults_of_the_process),
      cmocka_unit_test(choices_match_their_enums),
      cmocka_unit_test(windows_follow_the_initial_window),
      cmocka_unit_test(server_mode),
      cmocka_unit_test(quantities),
      cmocka_unit_test(comments_are_blanked_outside_strings),
      cmocka_unit_test(paths_are_relative_to_the_file),
      cmocka_unit_test(addresses_that_are_right),
      cmocka_unit_test(dump_reads_back),
      cmocka_unit_test(dump_of_unusual_values_reads_back),
      cmocka_unit_test(free_takes_null),
      cmocka_unit_test(man_page_is_current),
      cmocka_unit_test(schema_is_current),
      cmocka_unit_test(reference_is_current),
      cmocka_unit_test(examples_load),
      cmocka_unit_test(full_example_has_every_key_with_its_default),
  };
  return cmocka_run_group_tests(tests, config_directory_make, config_directory_remove);
}
