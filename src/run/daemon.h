/* The process: plans the workers, starts their threads, turns signals into requests to them. */
#ifndef PTP_RUN_DAEMON_H
#define PTP_RUN_DAEMON_H

#include "config/config.h"

/* Runs until it is told to stop by SIGINT or SIGTERM. SIGHUP reads certificates, key and log settings again from
   |path|. Returns the exit status: 0 after a graceful stop, 1 after a failure, 130 after a second SIGINT or SIGTERM. */
int daemon_run(const struct config *config, const char *path);

#endif
