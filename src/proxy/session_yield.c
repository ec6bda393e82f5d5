/* Client mode: how many streams the requests that wait want from exchanges whose callers do not move (yield.h). */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/must.h"
#include "proxy/session_priv.h"

enum {
  LOOK_MS = 100,
  STARVED_MS = 300, /* a queue whose oldest has waited less is a burst */
};

/* What was taken off the wish is promised, until a request has got it. */
static void count_promises(struct sessions *sessions, uint64_t now_ns) {
  uint32_t left = atomic_exchange_explicit(&sessions->proxy->wishes->streams, 0, memory_order_relaxed);
  uint32_t given = sessions->wanted > left ? sessions->wanted - left : 0;
  promise_add(&sessions->promised, given, now_ns);
  sessions->wanted = 0;
}

static uint32_t wanted(const struct sessions *sessions, uint64_t now_ns) {
  if (list_empty(&sessions->waiting) || !sessions_exhausted(sessions) ||
      sessions->waiting_count <= sessions->promised.amount)
    return 0;
  const struct exchange *oldest = container_of(sessions->waiting.next, struct exchange, queue);
  if (now_ns - oldest->queued_ns < STARVED_MS * NS_PER_MS)
    return 0;
  return sessions->waiting_count - (uint32_t)sessions->promised.amount;
}

void sessions_on_yield_timer(struct timer *timer, uint64_t now_ns) {
  struct sessions *sessions = container_of(timer, struct sessions, yield_timer);
  struct proxy *proxy = sessions->proxy;
  count_promises(sessions, now_ns);
  sessions->wanted = wanted(sessions, now_ns);
  atomic_store_explicit(&proxy->wishes->streams, sessions->wanted, memory_order_relaxed);
  if (sessions->wanted > 0 && proxy->wake_others != NULL)
    proxy->wake_others(proxy->wake_context);
  sessions_consider_yield(sessions);
}

void sessions_consider_yield(struct sessions *sessions) {
  if (!timer_is_set(&sessions->yield_timer) && (!list_empty(&sessions->waiting) || sessions->wanted > 0))
    timer_set(&sessions->proxy->timers, &sessions->yield_timer, proxy_deadline(sessions->proxy, LOOK_MS));
}
