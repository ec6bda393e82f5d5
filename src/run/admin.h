/* The admin endpoint (admin.bind_address): plain HTTP/1.x on a listener of its own, for Prometheus, probes and people.

     /metrics  Prometheus text      /ready   200 or 503, JSON
     /status   JSON                 /status.txt  the same for people; 503 when no session is up
     /         a page that shows /status to a person

     admin.c       connections: one request at a time, answered from a buffer of the connection's own
     admin_text.c  the bodies
     admin_page.c  the page

   It lives on a worker's ring, but takes next to nothing from it: few connections, few timers, and no payload buffer
   but the one that a request arrives in. */
#ifndef PTP_RUN_ADMIN_H
#define PTP_RUN_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "metrics/metrics.h"
#include "proxy/proxy.h"
#include "proxy/session.h"

struct admin;

enum { ADMIN_CONNECTIONS_MAX = 16, ADMIN_SESSIONS_MAX = 32, ADMIN_WORKERS_MAX = WORKERS_MAX, ADMIN_BODY_MAX = 81920 };

/* All that is told. */
struct admin_view {
  bool server, draining;
  uint64_t up_ns;                  /* since the start */
  uint64_t started_s;              /* of CLOCK_REALTIME */
  int64_t certificate_not_after_s; /* our own certificate's end */
  struct session_report report;
  struct metrics sum;
  size_t workers;
  uint64_t lag_ns[ADMIN_WORKERS_MAX]; /* the longest recent pass through the loop */
  size_t sessions;
  struct session_view session[ADMIN_SESSIONS_MAX];
};

/* Fills |view|, which is all zeros. */
typedef void admin_look_f(void *context, struct admin_view *view);

/* Listens on proxy->config->admin.bind_address; a UNIX socket gets mode 0600. |proxy| and |context| are borrowed.
   ERR_SYSTEM, ERR_NO_MEMORY with a sentence in |reason|. */
must_use enum err admin_open(struct admin **admin, struct proxy *proxy, admin_look_f *look, void *context, char *reason,
                             size_t reason_size);
/* Closes the listener and all connections; those go in the next ticks. NULL is allowed, and so is a second call. */
void admin_stop(struct admin *admin);
/* All connections must be gone. NULL is allowed. */
void admin_close(struct admin *admin);
/* Where it listens. */
struct address admin_address(const struct admin *admin);

/* admin_text.c: the length of the body written to |out| of |size| bytes; 0 when it does not fit. */
size_t admin_text_metrics(const struct admin_view *view, char *out, size_t size);
size_t admin_text_status(const struct admin_view *view, char *out, size_t size);
size_t admin_text_people(const struct admin_view *view, char *out, size_t size);
size_t admin_text_ready(const struct admin_view *view, char *out, size_t size);
bool admin_is_ready(const struct admin_view *view);

/* admin_page.c */
extern const char admin_page[];

#endif
