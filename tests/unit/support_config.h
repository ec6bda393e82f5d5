/* What the tests of the configuration share: a directory with empty certificate files, and a record of the problems
   that were reported. */
#ifndef PTP_TESTS_UNIT_SUPPORT_CONFIG_H
#define PTP_TESTS_UNIT_SUPPORT_CONFIG_H

#include "config/config.h"

enum { PROBLEMS_MAX = 256 };

struct problems {
  char *line[PROBLEMS_MAX];
  size_t fatal, warnings;
};

/* Where relative paths lead to, between the two functions below it, which are a group's set-up and tear-down. */
extern char config_directory[];
int config_directory_make(void **state);
int config_directory_remove(void **state);

/* A config_report_f for a struct problems. */
void config_collect(void *context, bool fatal, const char *text);
/* Frees what was collected and starts anew. */
void config_forget(struct problems *problems);

/* config_parse under the name FILE; NULL if and only if a fatal problem was reported. */
struct config *config_parse_text(const char *text, size_t len, struct problems *problems);

/* A client's configuration with |general| and |rest| added, which begin with a comma when they are not empty. */
char *config_client_text(const char *general, const char *rest);

/* These fail the test when there is any problem, be it a warning. */
struct config *config_load_ok(const char *text);
struct config *config_load_client(const char *general, const char *rest);

#endif
