/* What the configuration leads to, as rules for Landlock: the files that SIGHUP reads again, the origin's port, what it
   takes to resolve a name, and the socket files that go when the daemon ends. */
#ifndef PTP_RUN_REACH_H
#define PTP_RUN_REACH_H

#include "config/config.h"
#include "run/landlock.h"

/* |config| was read from |config_path|. Links are followed now; one that leads elsewhere later is not. */
void reach_allow(struct landlock *landlock, const struct config *config, const char *config_path);

#endif
