/* What the daemon may do once its keys are read and its sockets are bound: as little as it needs (README, "What it may
   do"). To be called while the process has one thread: all later ones inherit it, and so do their io_uring operations.
 */
#ifndef PTP_RUN_PRIVILEGE_H
#define PTP_RUN_PRIVILEGE_H

#include <stddef.h>

#include "config/config.h"

enum { PRIVILEGE_READER_MAX = 128 };

/* For messages of later. */
struct privilege {
  char reader[PRIVILEGE_READER_MAX]; /* "user proxy (13)" */
};

/* Reports a system.user that does not exist, beginning with |name|, the configuration file's. ERR_OK or ERR_BAD_CONFIG.
 */
must_use enum err privilege_check(const struct config *config, const char *name, config_report_f *report,
                                  void *context);

/* Becomes system.user, to whom the UNIX sockets that are listened on pass, and gives up everything else: new
   privileges, core dumps, capabilities, and with Landlock the files, ports and processes that |config|, read from
   |config_path|, does not lead to. What the kernel cannot do is left out; one line of the log says what is in effect,
   and a warning each names a file that a reload will not be able to read. ERR_SYSTEM, with a sentence in |reason|, when
   the user could not be changed. */
must_use enum err privilege_drop(struct privilege *privilege, const struct config *config, const char *config_path,
                                 char *reason, size_t reason_size);

#endif
