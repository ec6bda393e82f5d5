/* The scripted ends: clients of the client-mode worker, and the origin behind the server-mode worker. What they see of
   each exchange they note in its plan. */
#ifndef PTP_TESTS_SIM_ACTORS_H
#define PTP_TESTS_SIM_ACTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/plan.h"

/* --- clients.c --- */

/* Starts scenario->clients clients, which share the exchanges. |scenario| is borrowed until clients_close. */
void clients_open(struct scenario *scenario);
void clients_close(void);
/* Every exchange is over and every connection closed. */
bool clients_done(void);
/* No client begins anything from now on: a worker is being drained. */
void clients_stop(void);
/* When one of the scripted ends last moved a byte or finished anything. */
uint64_t actors_progress_ns(void);
void actors_note_progress(void);
/* All that the clients have read so far. */
uint64_t actors_received_bytes(void);

/* --- origin.c --- */

void origin_script_open(struct scenario *scenario);
void origin_script_close(void);

/* --- scenario_run.c: the whole scene --- */

/* Opens the link, the origin and both workers, in a world that is open. */
void scene_open(struct scenario *scenario);
/* After pair_close: closes what is left, the clients and the world too, and frees |scenario|. */
void scene_close(struct scenario *scenario);

/* --- oracle.c --- */

/* Checks every exchange against what its plan and the link allow; prints what is wrong. |trouble|: whether the session
   was down or lost at some time between the two. False: something is wrong. */
bool oracle_check(const struct scenario *scenario, bool (*trouble)(uint64_t from_ns, uint64_t to_ns));
/* "412 responses, 30 cut ...": for the report. */
void oracle_summary(const struct scenario *scenario, char *out, size_t size);

#endif
