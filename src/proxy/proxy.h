/* What the parts of one worker's proxy share: its resources, the time of the tick, and where a request goes. Owned and
   driven by run/worker.c; nothing in it is shared with another thread. */
#ifndef PTP_PROXY_PROXY_H
#define PTP_PROXY_PROXY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/timer.h"
#include "config/config.h"
#include "flow/chunk.h"
#include "io/resolve.h"
#include "io/ring.h"
#include "io/tcp.h"
#include "metrics/metrics.h"
#include "proto/fields.h"
#include "proxy/marks.h"
#include "proxy/stalls.h"
#include "proxy/yield.h"

struct exchange;

struct proxy {
  const struct config *config; /* borrowed */
  uint64_t now_ns;             /* read once a tick */
  uint64_t date_s;             /* the second that |date| is for */
  char date[30];               /* for Date fields (RFC 9110 section 5.6.7) */
  struct chunks chunks;
  struct timers timers;
  struct ring *ring;
  struct tcp_stack *tcp;
  struct resolver *resolver;
  struct pool exchanges;
  struct list ready;    /* exchanges to be pumped */
  struct list dead;     /* exchanges that both ends let go: freed in the tick's last step */
  struct stalls stalls; /* client mode: callers that are waited for */
  struct yield yield;   /* client mode: what some of them are to give back */
  struct metrics *metrics;
  struct head_limits limits;
  struct log_rate refused_requests; /* lines about them in the access log */
  struct log_rate cut_responses;
  char loop_mark[LOOP_MARK_MAX];
  struct wishes *wishes, own_wishes;  /* of all workers; |own_wishes|: when there is one only */
  void (*wake_others)(void *context); /* NULL: there are none */
  void *wake_context;
  _Atomic uint32_t *callers; /* connections of callers on all workers, when there are several */
  uint16_t worker, workers;  /* which one of how many: 0 of 1 when there is no other */
  bool server;
  bool draining; /* nothing new is begun */
  /* Where a request whose head is complete goes: the session (client mode) or the origin (server mode). Becomes the
     exchange's far end, or fails it. */
  void (*route)(void *router, struct exchange *exchange);
  void *router;
};

/* This worker's share of |burst| log lines of one kind, for log_rate_ok. */
static inline unsigned proxy_log_burst(const struct proxy *proxy, unsigned burst) {
  return burst > proxy->workers ? burst / proxy->workers : 1;
}

/* Connections of callers on all workers, one that was just made included; |here|: those of this worker. */
static inline uint64_t proxy_callers_with_one_more(struct proxy *proxy, uint64_t here) {
  if (proxy->callers == NULL)
    return here;
  return atomic_fetch_add_explicit(proxy->callers, 1, memory_order_relaxed) + (uint64_t)1;
}

static inline uint64_t proxy_deadline(const struct proxy *proxy, uint64_t after_ms) {
  return after_ms == 0 ? TIMER_NEVER : proxy->now_ns + after_ms * NS_PER_MS;
}

#endif
