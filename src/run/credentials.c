/* proto knows nothing of the configuration, so the translation is here. */
#include "run/credentials.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

static_assert((int)CONFIG_LIST_MAX <= (int)TLS_NAMES_MAX, "every peer name of the configuration fits the settings");

struct check {
  const char *name;
  FILE *problems; /* a line for each; whether they are fatal is known only at the end */
};

static void keep(void *context, const char *text) {
  const struct check *check = context;
  fprintf(check->problems, "%s: tls: %s\n", check->name, text);
}

struct tls_settings credentials_settings(const struct config *config) {
  struct tls_settings settings = {
      .server = config->general.mode == MODE_SERVER,
      .ca = config->tls.ca,
      .cert = config->tls.cert,
      .key = config->tls.key,
      .skip_verify = config->tls.skip_verify,
      .peer_name_count = config->general.peer_hostname.count,
  };
  memcpy(settings.peer_names, config->general.peer_hostname.item,
         settings.peer_name_count * sizeof settings.peer_names[0]);
  return settings;
}

enum err credentials_check(const struct config *config, const char *name, config_report_f *report, void *context) {
  struct tls_settings settings = credentials_settings(config);
  struct tls_context *tls = NULL;
  char *problems = NULL;
  size_t size;
  struct check check = {.name = name, .problems = open_memstream(&problems, &size)};
  if (check.problems == NULL) {
    report(context, true, "out of memory");
    return ERR_BAD_CONFIG;
  }
  enum err err = tls_context_open(&tls, &settings, keep, &check);
  tls_context_close(tls);
  fclose(check.problems);
  must(problems != NULL);
  for (char *line = problems, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    *end = '\0';
    report(context, err != ERR_OK, line);
  }
  free(problems);
  return err == ERR_OK ? ERR_OK : ERR_BAD_CONFIG;
}
