/* What the service manager is told, as sd_notify(3) says but without libsystemd: datagrams of NAME=VALUE lines to the
   UNIX socket that $NOTIFY_SOCKET names. Without one every function does nothing. For the main thread. */
#ifndef PTP_RUN_NOTIFY_H
#define PTP_RUN_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"

enum { NOTIFY_STATUS_MAX = 320 };

struct notify {
  int fd; /* -1: nobody listens */
  struct address to;
  uint64_t watchdog_ns; /* pause between two pings; 0: none are wanted */
  bool ready;
  char status[NOTIFY_STATUS_MAX];
};

/* Reads $NOTIFY_SOCKET ("/path" or "@abstract"), $WATCHDOG_USEC and $WATCHDOG_PID. A ping is due every WATCHDOG_USEC
   divided by |watchdog_factor|, which is above 1. */
void notify_open(struct notify *notify, double watchdog_factor);
void notify_close(struct notify *notify);

/* READY=1; only the first call counts. */
void notify_ready(struct notify *notify);
/* RELOADING=1 at |now_ns| of CLOCK_MONOTONIC, and READY=1 after it. Nothing before the first notify_ready. */
void notify_reloading(struct notify *notify, uint64_t now_ns);
void notify_reloaded(struct notify *notify);
void notify_stopping(struct notify *notify);
/* STATUS=, unless it is the same as before. Control characters become spaces. */
void notify_status(struct notify *notify, const char *format, ...) __attribute__((format(printf, 2, 3)));
void notify_watchdog(struct notify *notify);
/* EXTEND_TIMEOUT_USEC=: it goes on for so long at least. */
void notify_extend(struct notify *notify, uint64_t ns);

#endif
