/* The two clocks. Only run/ reads them, once a tick; everything below is told the time. */
#ifndef PTP_BASE_CLOCK_H
#define PTP_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_US 1000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_S 1000000000ULL
#define US_PER_S 1000000ULL

/* CLOCK_MONOTONIC in nanoseconds: for deadlines. */
uint64_t clock_monotonic_ns(void);
/* CLOCK_REALTIME in microseconds since 1970: for logs and Date. */
uint64_t clock_wall_us(void);
/* Writes the IMF-fixdate of |wall_us| (RFC 9110 section 5.6.7), 29 characters and a NUL. */
void clock_http_date(uint64_t wall_us, char out[30]);

/* Keeps the processor busy for |us| microseconds. For the bench's test of itself. */
void clock_burn_us(uint64_t us);

#endif
