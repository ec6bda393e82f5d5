/* The two workers, and the loop that drives them by the world's clock. */
#ifndef PTP_TESTS_SIM_PAIR_H
#define PTP_TESTS_SIM_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/plan.h"

/* Opens both workers. */
void pair_open(const struct scenario *scenario);
/* Runs until |done| says so; false when |until_ns| came first. */
bool pair_run(bool (*done)(void), uint64_t until_ns);
void pair_run_until(uint64_t until_ns);
/* A session is up at the client. */
bool pair_up(void);
/* The session was down or lost at either end at some time between the two. */
bool pair_trouble(uint64_t from_ns, uint64_t to_ns);
/* Sessions lost after they were up, at both ends together. */
uint64_t pair_lost(void);
/* Nothing of any exchange may be left in the pools of both. */
void pair_check_idle(void);
/* The worker is gone as if it was killed: its connections are reset, its peer hears nothing. It is opened again after
   |down_ns|. */
void pair_crash(const struct scenario *scenario, int host, uint64_t down_ns);
/* The same by a graceful stop, which may take as long as the exchanges in flight. */
void pair_restart(const struct scenario *scenario, int host, uint64_t down_ns);
void pair_drain(int host);
bool pair_drained(void);
/* After both are WORKER_DONE: checks that all pools are empty and closes them. */
void pair_close(void);

#endif
