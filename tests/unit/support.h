/* What unit tests share. Include it instead of cmocka.h: that one needs these headers in this order. */
#ifndef PTP_TESTS_UNIT_SUPPORT_H
#define PTP_TESTS_UNIT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* True when |act| ends a forked process with SIGABRT after writing |text| to stderr: a broken must(). */
bool dies(void (*act)(void *context), void *context, const char *text);

/* Between the two, stderr goes to a pipe (at most 64 KiB); the second gives it back and returns what came, with a NUL.
 */
void capture_start(void);
const char *capture_stop(void);

/* Objects in use and pools open in the whole process. */
uint64_t pools_live(void);
unsigned pools_open(void);

/* A generator of test data that repeats itself from the same |*state|, which is not 0 (xorshift64). */
uint64_t draw(uint64_t *state);
static inline uint32_t draw_below(uint64_t *state, uint32_t limit) { return (uint32_t)((draw(state) >> 16) % limit); }

#endif
