/* Tests of virtual time: no jitter, no loss, no delay anywhere but on the link, so that what a request takes is a figure
   and not a distribution. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "sim/actors.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum { ONE_WAY_MS = 50, BYTES_PER_S = 6250000, BDP = 625000 };

static struct scenario *exact_open(const char *congestion) {
  struct scenario *scenario = calloc(1, sizeof *scenario);
  must(scenario != NULL);
  world_open(1);
  world.exact = true;
  *scenario = (struct scenario){
      .link = {.delay_ns = ONE_WAY_MS * NS_PER_MS, .bytes_per_s = BYTES_PER_S, .queue_bytes = 4000000, .mtu = 1472},
      .congestion = congestion,
      .initial_window = BDP,
      .initial_rtt_ms = 2 * ONE_WAY_MS,
      .stream_window = 1000000,
      .streams = 100,
      .qpack = 16384,
      .idle_timeout_ms = 5000,
      .keep_alive_ms = 2000,
      .origin_response_ms = 5000,
      .request_body_ms = 5000,
      .clients = 1,
      .pipeline = 1,
      .exchanges = 1,
  };
  scenario->plans[0] = (struct plan){.method = "GET", .status = 200, .down_framing = FRAMING_LENGTH,
                                     .down_stop = UINT64_MAX, .up_stop = UINT64_MAX};
  link_open(&scenario->link);
  origin_script_open(scenario);
  pair_open(scenario);
  return scenario;
}

/* Milliseconds that the exchange took. */
static double exact_exchange(struct scenario *scenario) {
  const struct plan *plan = &scenario->plans[0];
  clients_open(scenario);
  if (!pair_run(clients_done, world.now_ns + 10 * NS_PER_S))
    world_fail("the exchange is not over");
  if (plan->outcome != OUTCOME_RESPONSE || plan->by_proxy)
    world_fail("the exchange failed: %s %d", outcome_name((enum outcome)plan->outcome), plan->got_status);
  return (double)(plan->ended_ns - plan->began_ns) / 1e6;
}

static void exact_close(struct scenario *scenario) {
  pair_drain(HOST_CLIENT);
  pair_drain(HOST_SERVER);
  if (!pair_run(pair_drained, world.now_ns + 25 * NS_PER_S))
    world_fail("the workers do not end");
  pair_close();
  clients_close();
  origin_script_close();
  wires_close();
  link_close();
  world_close();
  free(scenario);
}

static bool within(const char *what, const char *congestion, double took_ms, double least_ms, double most_ms) {
  bool good = took_ms >= least_ms && took_ms <= most_ms;
  printf("%s: %s, %s: %.3f ms, expected %.1f to %.1f\n", good ? "ok" : "FAILED", what, congestion, took_ms, least_ms,
         most_ms);
  return good;
}

static bool warm_request(const char *congestion) {
  struct scenario *scenario = exact_open(congestion);
  if (!pair_run(pair_up, world.now_ns + 5 * NS_PER_S))
    world_fail("no session");
  pair_run_until(world.now_ns + NS_PER_S);
  scenario->plans[0].down_bytes = 1000;
  double took_ms = exact_exchange(scenario);
  exact_close(scenario);
  return within("1 KB on a warm session in one round trip", congestion, took_ms, 2 * ONE_WAY_MS, 2 * ONE_WAY_MS + 1);
}

static bool first_bdp(const char *congestion) {
  struct scenario *scenario = exact_open(congestion);
  if (!pair_run(pair_up, world.now_ns + 5 * NS_PER_S))
    world_fail("no session");
  scenario->plans[0].down_bytes = BDP;
  double took_ms = exact_exchange(scenario);
  exact_close(scenario);
  double serialisation_ms = (double)BDP * 1000 / BYTES_PER_S;
  return within("one BDP on a fresh session in two round trips and its serialisation", congestion, took_ms,
                2 * ONE_WAY_MS + serialisation_ms, 4 * ONE_WAY_MS + serialisation_ms + 5);
}

bool run_exact(void) {
  static const char *const algorithms[] = {"bbr", "cubic", "newreno", "none"};
  bool good = true;
  for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
    good = warm_request(algorithms[i]) && good;
    good = first_bdp(algorithms[i]) && good;
  }
  return good;
}
