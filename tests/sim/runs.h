/* The runs of the simulation; each leaves the process when something is wrong. */
#ifndef PTP_TESTS_SIM_RUNS_H
#define PTP_TESTS_SIM_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/plan.h"

/* A whole scenario of |seed|: 500 exchanges, then the end of both workers. False: the oracle found something. */
bool run_scenario(uint64_t seed);
/* exact.c: tests of virtual time. */
bool run_exact(void);
/* goodput.c: the table of goodput by loss and algorithm, a mean of |seeds|; and two of its rows. */
bool run_goodput(uint64_t seconds, uint64_t seeds);
bool run_goodput_short(void);
/* windows.c: windows and intervals on the wire. */
bool run_windows(void);
/* moves.c: paths that change under a session. */
bool run_moves(void);
/* restart.c: either end is stopped or killed and comes back, under a constant load. */
bool run_restarts(void);
/* redundancy.c: what transport.redundancy gives and costs, over |seeds|. */
bool run_redundancy(uint64_t seeds);
/* outage.c: links that are gone or bad; and |times| downloads over one that is very bad. */
bool run_outages(void);
bool run_hostile(uint64_t megabytes, uint64_t times);

#endif
