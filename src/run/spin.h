/* Whether a worker looks for new work for a moment before it goes to sleep. To be woken takes 5 us on bare metal and 30
   to 50 in a virtual machine, and leaves cold caches, four times in each request that goes through a pair. So a worker
   that expects the next event soon waits awake; it lets others run all the while.

   What it expects it learns: a look that found nothing makes it skip the next 1, 3, 7, ... waits of that kind, one that
   found something makes it look again. So neither an idle worker nor one whose peer is far away burns time. */
#ifndef PTP_RUN_SPIN_H
#define PTP_RUN_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/* One kind of wait. All zero: it has learned nothing yet, and looks. */
struct spin {
  uint32_t failures; /* in a row */
  uint32_t skip;     /* so many waits of this kind go to sleep at once */
};

/* How long to look in the next wait of this kind, in ns; 0: not at all. To be asked once for each wait. */
uint64_t spin_begin(struct spin *spin);

/* After a look that spin_begin allowed: whether it |found| something to do. */
void spin_end(struct spin *spin, bool found);

#endif
