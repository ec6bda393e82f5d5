/* A pair for experiments: no jitter, no loss, no delay anywhere but on the link that the experiment wants, so that what
   a request takes is a figure and not a distribution. */
#ifndef PTP_TESTS_SIM_LAB_H
#define PTP_TESTS_SIM_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/plan.h"

enum {
  LAB_ONE_WAY_MS = 50,
  LAB_BYTES_PER_S = 6250000, /* 50 Mbit/s */
  LAB_BDP = 625000,
  LAB_IDLE_MS = 5000,
  LAB_KEEP_ALIVE_MS = 2000,
};

/* From now on lab_open gives both ends transport.redundancy. */
void lab_use_redundancy(void);
/* |exchanges| GETs by as many clients, on a link of 100 ms and 50 Mbit/s with an initial window and an initial RTT that
   fit it. The caller may change all of it before lab_start. The world is that of |seed|. */
struct scenario *lab_open(uint64_t seed, const char *congestion, uint32_t exchanges);
/* Opens both ends. */
void lab_start(struct scenario *scenario);
/* Opens both ends and waits for the session. */
void lab_start_session(struct scenario *scenario);
/* Runs the clients to their end; the milliseconds that the last exchange took. */
double lab_exchange(struct scenario *scenario);
/* The last exchange must have been answered with |status|. */
void lab_expect(const struct scenario *scenario, int status);
/* The end of both workers: pools are empty. Frees |scenario|. */
void lab_close(struct scenario *scenario);

/* Prints a line for a figure and says whether it is in its bounds. */
bool lab_within(const char *what, const char *congestion, const char *unit, double got, double least, double most);

#endif
