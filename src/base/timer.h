/* Deadlines of one worker: a heap of intrusive timers with times in nanoseconds of the worker's monotonic clock.
   Moving a deadline to later, what idle timeouts do all the time, costs a store: the heap is corrected when the old
   deadline comes. Not for use by two threads. */
#ifndef PTP_BASE_TIMER_H
#define PTP_BASE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define TIMER_NEVER UINT64_MAX

struct timer;
/* Called by timers_expire, in order of deadlines; the timer is off by then and may be set again. */
typedef void timer_fire_f(struct timer *timer, uint64_t now_ns);

struct timer {
  timer_fire_f *fire;
  uint64_t due_ns;    /* TIMER_NEVER: off */
  uint64_t queued_ns; /* where the heap has it: never later than due_ns */
  uint32_t slot;      /* in the heap; UINT32_MAX: not in it */
};

struct timers {
  struct timer **heap;
  uint32_t count, capacity;
  uint32_t parked; /* at the end of the array: set while timers_expire runs, not in the heap yet */
  bool expiring;
};

must_use enum err timers_open(struct timers *timers, uint32_t capacity);
/* All timers must be off, and those that were only turned off lazily must still be there. */
void timers_close(struct timers *timers);

void timer_init(struct timer *timer, timer_fire_f *fire);
/* (Re)sets the deadline; TIMER_NEVER turns it off lazily. The timer is borrowed until timer_cancel. */
void timer_set(struct timers *timers, struct timer *timer, uint64_t due_ns);
/* Off, and out of the heap: must be called before the timer's memory goes. Harmless when it is off. */
void timer_cancel(struct timers *timers, struct timer *timer);
static inline bool timer_is_set(const struct timer *timer) { return timer->due_ns != TIMER_NEVER; }

/* The earliest deadline, possibly too early by a moved one; TIMER_NEVER when there is none. */
uint64_t timers_next(const struct timers *timers);
/* Fires what is due at |now_ns|, each at most once, so that a timer set again to the past waits for the next call. What
   fires may set and cancel any timer; timers_next tells of a timer set meanwhile only after the return. */
void timers_expire(struct timers *timers, uint64_t now_ns);

#endif
