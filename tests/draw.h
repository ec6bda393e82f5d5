/* A generator of test data that repeats itself from the same |*state|, which is not 0 (xorshift64). */
#ifndef PTP_TESTS_DRAW_H
#define PTP_TESTS_DRAW_H

#include <stdint.h>

static inline uint64_t draw(uint64_t *state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *state = x;
}

static inline uint32_t draw_below(uint64_t *state, uint32_t limit) { return (uint32_t)((draw(state) >> 16) % limit); }

#endif
