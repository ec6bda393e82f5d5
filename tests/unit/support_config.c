/* See support_config.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "unit/support_config.h"

char config_directory[] = "/tmp/ptproxy-config-test-XXXXXX";

void config_collect(void *context, bool fatal, const char *text) {
  struct problems *problems = context;
  size_t count = problems->fatal + problems->warnings;
  assert_true(count < PROBLEMS_MAX);
  assert_null(strchr(text, '\n'));
  problems->line[count] = strdup(text);
  *(fatal ? &problems->fatal : &problems->warnings) += 1;
}

void config_forget(struct problems *problems) {
  for (size_t i = 0; i < problems->fatal + problems->warnings; i++)
    free(problems->line[i]);
  *problems = (struct problems){.fatal = 0};
}

struct config *config_parse_text(const char *text, size_t len, struct problems *problems) {
  struct config *config;
  char *copy = malloc(len > 0 ? len : 1); /* without a NUL, so that AddressSanitizer sees a read beyond the end */
  assert_non_null(copy);
  memcpy(copy, text, len);
  enum err err = config_parse(copy, len, "FILE", config_directory, config_collect, problems, &config);
  free(copy);
  assert_int_equal(err == ERR_OK, config != NULL);
  assert_int_equal(err == ERR_OK, problems->fatal == 0);
  return config;
}

char *config_client_text(const char *general, const char *rest) {
  char *text;
  int len = asprintf(&text,
                     "{\"general\": {\"mode\": \"client\", \"peer_hostname\": \"b.example\"%s},\n"
                     "\"tls\": {\"ca\": \"ca.pem\", \"cert\": \"cert.pem\", \"key\": \"key.pem\"}%s}",
                     general, rest);
  assert_true(len > 0);
  return text;
}

struct config *config_load_ok(const char *text) {
  struct problems problems = {.fatal = 0};
  struct config *config = config_parse_text(text, strlen(text), &problems);
  for (size_t i = 0; i < problems.fatal + problems.warnings; i++)
    print_error("%s\n", problems.line[i]);
  assert_int_equal(problems.fatal + problems.warnings, 0);
  config_forget(&problems);
  return config;
}

struct config *config_load_client(const char *general, const char *rest) {
  char *text = config_client_text(general, rest);
  struct config *config = config_load_ok(text);
  free(text);
  return config;
}

int config_directory_make(void **state) {
  (void)state;
  static const char *const names[] = {"ca.pem",     "cert.pem",   "key.pem",   "client.pem",
                                      "client.key", "server.pem", "server.key"};
  char path[64];
  if (mkdtemp(config_directory) == NULL)
    return 1;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", config_directory, names[i]);
    FILE *file = fopen(path, "w");
    if (file == NULL || fclose(file) != 0)
      return 1;
  }
  return 0;
}

int config_directory_remove(void **state) {
  (void)state;
  char command[96];
  snprintf(command, sizeof command, "rm -rf %s", config_directory);
  return system(command);
}
