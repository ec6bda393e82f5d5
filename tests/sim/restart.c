/* Either end is stopped or killed and comes back, under 100 requests a second that do not wait for it. */
#include <stdio.h>

#include "sim/actors.h"
#include "sim/lab.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum {
  RTT_MS = 2 * LAB_ONE_WAY_MS,
  EVERY_MS = 10,
  REQUESTS = 400,
  AFTER_MS = 700,         /* from the first request to the end of the one end or the other */
  BACK_MS = RTT_MS + 100, /* after the return */
  SOON_MS = 2 * RTT_MS    /* for who comes while the session is made */
};

/* GETs, and POSTs that must not be made twice, in turn; each by a caller of its own. */
static struct scenario *load_open(void) {
  struct scenario *scenario = lab_open(1, "bbr", REQUESTS);
  scenario->streams = 1024; /* the default: who finds none left sends nothing by which the client would notice */
  for (uint32_t i = 0; i < REQUESTS; i++) {
    struct plan *plan = &scenario->plans[i];
    plan->think_ns = i * EVERY_MS * NS_PER_MS;
    plan->down_bytes = 1000;
    if (i % 2 == 0)
      continue;
    plan->method = "POST";
    plan->up_framing = FRAMING_LENGTH;
    plan->up_bytes = 100;
  }
  return scenario;
}

static bool answered(const struct plan *plan) {
  return plan->outcome == OUTCOME_RESPONSE && !plan->by_proxy && plan->got_status == 200;
}

/* SPEC 5: what may become of a request that has met the end of one of the ends. */
static bool fails_as_it_may(const struct plan *plan) {
  if (plan->outcome == OUTCOME_RESPONSE)
    return plan->by_proxy && (plan->got_status == 502 || plan->got_status == 503);
  return plan->outcome == OUTCOME_CUT;
}

/* Milliseconds from the return to the begin of the last request that failed. All before the end of the one end and all
   after that are answered, no POST twice. */
static double last_failure_ms(const struct scenario *scenario, uint64_t went_ns, uint64_t back_ns) {
  double last_ms = 0;
  unsigned late = 0;
  for (uint32_t i = 0; i < REQUESTS; i++) {
    const struct plan *plan = &scenario->plans[i];
    if (plan_is(plan, "POST") && plan->origin_requests > 1)
      world_fail("request %u was made twice", i);
    late += plan->began_ns > back_ns + SOON_MS * NS_PER_MS;
    if (answered(plan))
      continue;
    if (plan->ended_ns < went_ns || !fails_as_it_may(plan))
      world_fail("request %u ended with: %s %d", i, outcome_name((enum outcome)plan->outcome), plan->got_status);
    double after_ms = plan->began_ns > back_ns ? (double)(plan->began_ns - back_ns) / 1e6 : 0;
    last_ms = after_ms > last_ms ? after_ms : last_ms;
  }
  if (late < 20)
    world_fail("%u requests after the return", late);
  return last_ms;
}

static bool restart(int host, bool kill, uint64_t away_ms) {
  struct scenario *scenario = load_open();
  lab_start_session(scenario);
  clients_open(scenario);
  pair_run_until(world.now_ns + AFTER_MS * NS_PER_MS);
  uint64_t went_ns = world.now_ns;
  (kill ? pair_crash : pair_restart)(scenario, host, away_ms * NS_PER_MS);
  uint64_t back_ns = world.now_ns;
  if (!pair_run(clients_done, world.now_ns + 60 * NS_PER_S))
    world_fail("a request hangs");
  double took_ms = last_failure_ms(scenario, went_ns, back_ns);
  lab_close(scenario);
  char what[80];
  snprintf(what, sizeof what, "the %s %s for %d ms, back after", host == HOST_CLIENT ? "client" : "server",
           kill ? "killed" : "stopped", (int)away_ms);
  return lab_within(what, "bbr", "ms", took_ms, 0, BACK_MS);
}

bool run_restarts(void) {
  /* Not a multiple of anything; the last is longer than what was under way takes to be given up. */
  static const uint64_t away_ms[] = {0, 7, 33, 61, 158, 342, 777, 1333, 2113};
  bool good = true;
  for (size_t i = 0; i < sizeof away_ms / sizeof away_ms[0]; i++) {
    for (int host = 0; host < HOSTS; host++) {
      good = restart(host, false, away_ms[i]) && good;
      good = restart(host, true, away_ms[i]) && good;
    }
  }
  return good;
}
