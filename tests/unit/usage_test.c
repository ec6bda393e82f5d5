/* The manual page has what the table of options says; and how arguments are read by it. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/usage.h"
#include "unit/support.h"

static const char page[] = "../tools/man/ptproxy.1";
static const char begin[] = ".SH OPTIONS\n", end[] = ".SH SIGNALS\n";

static char *read_page(void) {
  FILE *file = fopen(page, "r");
  assert_non_null(file);
  char *text = calloc(1, 65536);
  assert_non_null(text);
  size_t len = fread(text, 1, 65535, file);
  fclose(file);
  assert_in_range(len, 1000, 65534);
  return text;
}

/* PTP_UPDATE in the environment writes the sections anew. */
static void the_manual_page_is_current(void **state) {
  (void)state;
  char *wanted = NULL, *text = read_page();
  size_t size;
  FILE *out = open_memstream(&wanted, &size);
  assert_non_null(out);
  usage_man(out);
  fclose(out);
  char *from = strstr(text, begin), *to = strstr(text, end);
  assert_true(from != NULL && to != NULL && from < to);
  bool same = (size_t)(to - from) == size && memcmp(from, wanted, size) == 0;
  if (!same && getenv("PTP_UPDATE") != NULL) {
    out = fopen(page, "w");
    assert_non_null(out);
    fprintf(out, "%.*s%s%s", (int)(from - text), text, wanted, to);
    fclose(out);
  } else if (!same) {
    fail_msg("tools/man/ptproxy.1 is not what usage.c gives: run this test with PTP_UPDATE=1");
  }
  free(wanted);
  free(text);
}

enum { ARGUMENTS_MAX = 8 };

/* Reads |arguments| and compares the options with |wanted|, up to USAGE_END or USAGE_WRONG. */
static void check_options(enum usage_command command, const char *const *arguments, const enum usage_option *wanted) {
  char *argv[ARGUMENTS_MAX + 1] = {NULL};
  int argc = 0;
  for (; arguments[argc] != NULL; argc++)
    argv[argc] = (char *)(uintptr_t)arguments[argc];
  optind = 0; /* anew */
  opterr = 0;
  enum usage_option option;
  do {
    option = usage_next(command, argc, argv);
    assert_int_equal(option, *wanted++);
  } while (option != USAGE_END && option != USAGE_WRONG);
}

#define CHECK(command, arguments, ...) check_options(command, arguments, (const enum usage_option[]){__VA_ARGS__})

static void options_are_of_their_command(void **state) {
  (void)state;
  static const char *const config[] = {"x", "-c", "a", "--config=b", "--check", "file", NULL};
  CHECK(USAGE_DAEMON, config, USAGE_CONFIG, USAGE_CONFIG, USAGE_CHECK, USAGE_END);
  CHECK(USAGE_STATUS, config, USAGE_CONFIG, USAGE_CONFIG, USAGE_WRONG);
  CHECK(USAGE_CERTS, config, USAGE_WRONG);
  static const char *const certs[] = {"x", "--client", "a", "--server=b", "-o", "c", "--days", "7", NULL};
  CHECK(USAGE_CERTS, certs, USAGE_CLIENT, USAGE_SERVER, USAGE_OUTPUT, USAGE_DAYS, USAGE_END);
  CHECK(USAGE_DAEMON, certs, USAGE_WRONG);
  static const char *const status[] = {"x", "-a", "a", "--address", "b", "--help", NULL};
  CHECK(USAGE_STATUS, status, USAGE_ADDRESS, USAGE_ADDRESS, USAGE_HELP, USAGE_END);
  static const char *const nothing[] = {"x", "--config", NULL};
  CHECK(USAGE_DAEMON, nothing, USAGE_WRONG);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_manual_page_is_current),
      cmocka_unit_test(options_are_of_their_command),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
