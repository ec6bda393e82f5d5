/* What unit tests share. Include it instead of cmocka.h: that one needs these headers in this order. */
#ifndef PTP_TESTS_UNIT_SUPPORT_H
#define PTP_TESTS_UNIT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "draw.h"

struct chunks;

/* True when |act| ends a forked process with SIGABRT after writing |text| to stderr: a broken must(). */
bool dies(void (*act)(void *context), void *context, const char *text);

/* Between the two, stderr goes to a pipe (at most 64 KiB); the second gives it back and returns what came, with a NUL.
 */
void capture_start(void);
const char *capture_stop(void);

/* Objects in use and pools open in the whole process. */
uint64_t pools_live(void);
unsigned pools_open(void);
/* Closes |chunks| at the end of a test: 0 when nothing of any pool was in use and no pool is open afterwards, else -1.
 */
int chunks_end(struct chunks *chunks);

#endif
