/* proto knows nothing of the configuration, so the translation is here. */
#include "run/credentials.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert((int)CONFIG_LIST_MAX <= (int)TLS_NAMES_MAX, "every peer name of the configuration fits the settings");

struct check {
  const char *name;
  config_report_f *report;
  void *context;
};

static void pass_on(void *context, bool fatal, const char *text) {
  const struct check *check = context;
  char line[1024];
  snprintf(line, sizeof line, "%s: tls: %s", check->name, text);
  check->report(check->context, fatal, line);
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
  struct check check = {.name = name, .report = report, .context = context};
  enum err err = tls_context_open(&tls, &settings, pass_on, &check);
  tls_context_close(tls);
  return err == ERR_OK ? ERR_OK : ERR_BAD_CONFIG;
}
