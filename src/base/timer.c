/* A 4-ary heap ordered by queued_ns. A deadline that moves later leaves the heap alone (due_ns > queued_ns) and is
   sifted down only when its old time has come. While timers fire, new ones are parked at the far end of the same array
   and enter the heap afterwards: so none can fire twice in one call, and the array never needs more than capacity. */
#include "base/timer.h"

#include <stdlib.h>

#include "base/must.h"

enum { ARITY = 4 };
static const uint32_t NO_SLOT = UINT32_MAX;

static void place(struct timers *timers, uint32_t slot, struct timer *timer) {
  timers->heap[slot] = timer;
  timer->slot = slot;
}

static void sift_up(struct timers *timers, uint32_t slot, struct timer *timer) {
  while (slot > 0) {
    uint32_t parent = (slot - 1) / ARITY;
    if (timers->heap[parent]->queued_ns <= timer->queued_ns)
      break;
    place(timers, slot, timers->heap[parent]);
    slot = parent;
  }
  place(timers, slot, timer);
}

static void sift_down(struct timers *timers, uint32_t slot, struct timer *timer) {
  for (;;) {
    uint64_t first = (uint64_t)slot * ARITY + 1;
    if (first >= timers->count)
      break;
    uint32_t least = (uint32_t)first;
    for (uint32_t child = least + 1; child < first + ARITY && child < timers->count; child++)
      if (timers->heap[child]->queued_ns < timers->heap[least]->queued_ns)
        least = child;
    if (timers->heap[least]->queued_ns >= timer->queued_ns)
      break;
    place(timers, slot, timers->heap[least]);
    slot = least;
  }
  place(timers, slot, timer);
}

static void heap_add(struct timers *timers, struct timer *timer) {
  timer->queued_ns = timer->due_ns;
  sift_up(timers, timers->count++, timer);
}

static void heap_remove(struct timers *timers, struct timer *timer) {
  uint32_t slot = timer->slot;
  must(slot < timers->count && timers->heap[slot] == timer);
  timer->slot = NO_SLOT;
  struct timer *last = timers->heap[--timers->count];
  if (last == timer)
    return;
  if (slot > 0 && timers->heap[(slot - 1) / ARITY]->queued_ns > last->queued_ns)
    sift_up(timers, slot, last);
  else
    sift_down(timers, slot, last);
}

static bool is_parked(const struct timers *timers, const struct timer *timer) {
  return timer->slot >= timers->capacity - timers->parked;
}

static void park(struct timers *timers, struct timer *timer) {
  timers->parked++;
  place(timers, timers->capacity - timers->parked, timer);
}

static void unpark(struct timers *timers, struct timer *timer) {
  uint32_t slot = timer->slot;
  uint32_t newest = timers->capacity - timers->parked;
  must(timers->heap[slot] == timer);
  timer->slot = NO_SLOT;
  if (slot != newest)
    place(timers, slot, timers->heap[newest]);
  timers->parked--;
}

enum err timers_open(struct timers *timers, uint32_t capacity) {
  must(capacity > 0 && capacity < NO_SLOT);
  *timers = (struct timers){.capacity = capacity};
  timers->heap = malloc(capacity * sizeof *timers->heap);
  return timers->heap == NULL ? ERR_NO_MEMORY : ERR_OK;
}

void timers_close(struct timers *timers) {
  must(!timers->expiring);
  for (uint32_t i = 0; i < timers->count; i++)
    must(!timer_is_set(timers->heap[i]));
  free(timers->heap);
  *timers = (struct timers){.heap = NULL};
}

void timer_init(struct timer *timer, timer_fire_f *fire) {
  *timer = (struct timer){.fire = fire, .due_ns = TIMER_NEVER, .queued_ns = TIMER_NEVER, .slot = NO_SLOT};
}

void timer_set(struct timers *timers, struct timer *timer, uint64_t due_ns) {
  timer->due_ns = due_ns;
  if (timer->slot == NO_SLOT) {
    if (due_ns == TIMER_NEVER)
      return;
    must(timers->count + timers->parked < timers->capacity);
    if (timers->expiring)
      park(timers, timer);
    else
      heap_add(timers, timer);
  } else if (due_ns < timer->queued_ns && !is_parked(timers, timer)) {
    timer->queued_ns = due_ns;
    sift_up(timers, timer->slot, timer);
  }
}

void timer_cancel(struct timers *timers, struct timer *timer) {
  timer->due_ns = TIMER_NEVER;
  if (timer->slot == NO_SLOT)
    return;
  if (is_parked(timers, timer))
    unpark(timers, timer);
  else
    heap_remove(timers, timer);
}

uint64_t timers_next(const struct timers *timers) {
  return timers->count == 0 ? TIMER_NEVER : timers->heap[0]->queued_ns;
}

/* The parked ones enter the heap. A slot freed by the taking out is never one that the heap grows into too early:
   count + parked does not change. */
static void unpark_all(struct timers *timers) {
  while (timers->parked > 0) {
    struct timer *timer = timers->heap[timers->capacity - timers->parked];
    timers->parked--;
    timer->slot = NO_SLOT;
    if (timer_is_set(timer))
      heap_add(timers, timer);
  }
}

void timers_expire(struct timers *timers, uint64_t now_ns) {
  must(!timers->expiring);
  timers->expiring = true;
  while (timers->count > 0 && timers->heap[0]->queued_ns <= now_ns) {
    struct timer *timer = timers->heap[0];
    if (!timer_is_set(timer)) {
      heap_remove(timers, timer);
    } else if (timer->due_ns != timer->queued_ns) {
      timer->queued_ns = timer->due_ns;
      sift_down(timers, 0, timer);
    } else {
      heap_remove(timers, timer);
      timer->due_ns = TIMER_NEVER;
      timer->fire(timer, now_ns);
    }
  }
  timers->expiring = false;
  unpark_all(timers);
}
