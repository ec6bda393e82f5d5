/* One worker: a ring, pools, timers, and the proxy on them. Whoever drives it calls worker_wait and worker_tick in
   turn; in the daemon that is the worker's thread, in the simulation the test.

   The tick does its steps always in this order, each bounded: wait and reap (worker_wait); ingress: datagrams, TCP,
   names; timers; pump; emit; bury. */
#ifndef PTP_RUN_WORKER_H
#define PTP_RUN_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "metrics/metrics.h"
#include "proto/tls.h"
#include "proxy/session.h"
#include "run/cluster.h"

struct worker;

enum worker_phase {
  WORKER_SERVING,
  WORKER_DRAINING, /* nothing new; what is in flight goes on */
  WORKER_CLOSING,  /* everything is being closed */
  WORKER_DONE,     /* worker_close is left */
};

/* Opens everything on the calling thread, which must be the one that drives the worker; listens, and in client mode
   begins to connect. |config| and |tls| are borrowed (worker_set_tls replaces the latter), and so is |cluster|: NULL
   when there is one worker only; else this is number |index| of it, and those before it are open. On failure |reason|
   has a sentence. */
must_use enum err worker_open(struct worker **worker, const struct config *config, struct tls_context *tls,
                              struct cluster *cluster, unsigned index, uint64_t now_ns, uint64_t wall_us, char *reason,
                              size_t reason_size);
/* After WORKER_DONE. NULL is allowed. Every pool is empty by then (a broken invariant else). */
void worker_close(struct worker *worker);

/* Step 1 and 2: waits for completions until the next timer is due, not at all when there is work. */
void worker_wait(struct worker *worker, uint64_t now_ns);
/* Steps 3 to 7. */
void worker_tick(struct worker *worker, uint64_t now_ns, uint64_t wall_us);
/* When the next tick must be at the latest: 0 when there is work now. */
uint64_t worker_due(const struct worker *worker);

/* Ends worker_wait; any thread, signal handlers too. */
void worker_wake(struct worker *worker);

/* Begins the graceful stop (SPEC 3): ends by itself in WORKER_DONE, after system.drain_timeout at the latest. */
void worker_drain(struct worker *worker);
/* Closes everything now. */
void worker_abort(struct worker *worker);
enum worker_phase worker_phase(const struct worker *worker);

void worker_set_tls(struct worker *worker, struct tls_context *tls);
void worker_report(const struct worker *worker, struct session_report *report);
const struct metrics *worker_metrics(const struct worker *worker);
/* Lines for the start-up log: what is bound, what the ring and the sockets can do. */
typedef void worker_line_f(void *context, const char *line);
void worker_describe(const struct worker *worker, worker_line_f *line, void *context);

#endif
