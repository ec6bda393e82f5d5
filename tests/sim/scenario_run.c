/* One seed: both workers, the clients, the origin; then silence, the drain, and the oracle. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "sim/actors.h"
#include "sim/pair.h"
#include "sim/runs.h"
#include "sim/shortage.h"

enum { UP_S = 60, STUCK_S = 60, SILENCE_S = 8, DRAIN_S = 30, STOP_MS = 100 };

void scene_open(struct scenario *scenario) {
  link_open(&scenario->link);
  origin_script_open(scenario);
  pair_open(scenario);
}

void scene_close(struct scenario *scenario) {
  clients_close();
  origin_script_close();
  wires_close();
  link_close();
  world_close();
  free(scenario);
}

static bool stuck(void) {
  uint64_t since = actors_progress_ns() > link_quiet_ns() ? actors_progress_ns() : link_quiet_ns();
  return world.now_ns > since + STUCK_S * NS_PER_S;
}

static bool over(void) { return clients_done() || stuck(); }

static void print_open(const struct scenario *scenario) {
  unsigned printed = 0;
  for (uint32_t i = 0; i < scenario->exchanges && printed < 10; i++) {
    const struct plan *plan = &scenario->plans[i];
    if (plan->outcome != OUTCOME_NONE || plan->attempts == 0)
      continue;
    fprintf(stderr,
            "  exchange %u: %s, client %s, origin %s, up %" PRIu64 " down %" PRIu64 ", since %.3f s, origin %u/%u/%u\n",
            plan->id, plan->method, client_manner_name((enum client_manner)plan->client),
            origin_manner_name((enum origin_manner)plan->origin), plan->up_bytes, plan->down_bytes,
            (double)(plan->began_ns - 1000 * NS_PER_S) / 1e9, plan->origin_requests, plan->origin_bodies,
            plan->origin_responses);
    printed++;
  }
}

static void run_exchanges(struct scenario *scenario) {
  shortage_begin(scenario->shortage_ppm);
  for (size_t i = 0; i < scenario->crash_count; i++) {
    if (!pair_run(over, scenario->crashes[i].at_ns))
      pair_crash(scenario, scenario->crashes[i].host, scenario->crashes[i].down_ns);
  }
  if (scenario->drain_ns > 0 && !pair_run(over, scenario->drain_ns)) {
    pair_drain(scenario->drain_host);
    pair_run_until(world.now_ns + STOP_MS * NS_PER_MS);
    clients_stop();
  }
  bool ended = pair_run(over, world.now_ns + scenario->limit_ns) && !stuck();
  shortage_begin(0);
  if (ended)
    return;
  fprintf(stderr, "seed %" PRIu64 " (%s, %s):\n", scenario->seed, scenario->name, scenario->congestion);
  print_open(scenario);
  world_fail("exchanges hang: no byte moved for %d s, or the limit is over", STUCK_S);
}

/* Once nothing disturbs it, the session is there and nothing is left of the exchanges. */
static void finish(const struct scenario *scenario) {
  uint64_t quiet_ns = link_quiet_ns() > world.now_ns ? link_quiet_ns() : world.now_ns;
  pair_run_until(quiet_ns + SILENCE_S * NS_PER_S);
  if (scenario->drain_ns == 0 && !pair_up())
    world_fail("no session %d s after the last fault", SILENCE_S);
  pair_check_idle();
  pair_drain((int)(world.seed % HOSTS));
  pair_run_until(world.now_ns + (world.seed % 3) * 100 * NS_PER_MS);
  pair_drain(1 - (int)(world.seed % HOSTS));
  if (!pair_run(pair_drained, world.now_ns + DRAIN_S * NS_PER_S))
    world_fail("the workers do not end within %d s of being drained", DRAIN_S);
}

bool run_scenario(uint64_t seed) {
  struct scenario *scenario = calloc(1, sizeof *scenario);
  must(scenario != NULL);
  world_open(seed);
  world.workers = seed % 2 == 0 ? 2 : seed % 5 == 0 ? 3 : 1;
  scenario_draw(scenario, seed);
  world.wake_ns = scenario->wake_ns;
  scene_open(scenario);
  if (seed % 4 != 0 && !pair_run(pair_up, world.now_ns + UP_S * NS_PER_S))
    world_fail("no session within %d s", UP_S);
  clients_open(scenario);
  run_exchanges(scenario);
  uint64_t took_ns = world.now_ns - 1000 * NS_PER_S;
  finish(scenario);
  pair_close();
  bool good = oracle_check(scenario, pair_trouble);
  if (!scenario->faults && pair_lost() > 2) {
    fprintf(stderr, "seed %" PRIu64 ": a session was lost without a fault of the link\n", seed);
    good = false;
  }
  char summary[240];
  oracle_summary(scenario, summary, sizeof summary);
  printf("seed %" PRIu64 "%s, %d workers: hash %016" PRIx64 ", %" PRIu64
         " events, %.1f s; %s%s, %s, %u clients; %s; %" PRIu64 " sessions lost\n",
         seed, good ? "" : " FAILED", world.workers, world.trace_hash, world.trace_count, (double)took_ns / 1e9,
         scenario->name, scenario->events, scenario->congestion, scenario->clients, summary, pair_lost());
  scene_close(scenario);
  return good;
}
