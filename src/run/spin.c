#include "run/spin.h"

#include "base/clock.h"
#include "base/must.h"

enum {
  SPIN_US = 100,    /* two processes on one machine answer each other within that; 50 was too short to begin with */
  FAILURES_MAX = 8, /* 255 waits without a look, then one more try */
};

uint64_t spin_begin(struct spin *spin) {
  if (spin->skip == 0)
    return SPIN_US * NS_PER_US;
  spin->skip--;
  return 0;
}

void spin_end(struct spin *spin, bool found) {
  must(spin->skip == 0);
  if (found) {
    spin->failures = 0;
    return;
  }
  if (spin->failures < FAILURES_MAX)
    spin->failures++;
  spin->skip = (1U << spin->failures) - 1;
}
