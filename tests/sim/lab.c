#include "sim/lab.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "sim/actors.h"
#include "sim/pair.h"

enum { SESSION_S = 30, EXCHANGE_S = 300, DRAIN_S = 25 };

static bool redundancy;

void lab_use_redundancy(void) { redundancy = true; }

struct scenario *lab_open(uint64_t seed, const char *congestion, uint32_t exchanges) {
  struct scenario *scenario = calloc(1, sizeof *scenario);
  must(scenario != NULL && exchanges <= EXCHANGES);
  world_open(seed);
  world.exact = true;
  *scenario = (struct scenario){
      .seed = seed,
      .link = {.delay_ns = LAB_ONE_WAY_MS * NS_PER_MS,
               .bytes_per_s = LAB_BYTES_PER_S,
               .queue_bytes = 4000000,
               .mtu = 1472},
      .congestion = congestion,
      .initial_window = LAB_BDP,
      .initial_rtt_ms = 2 * LAB_ONE_WAY_MS,
      .stream_window = 1000000,
      .streams = 100,
      .qpack = 16384,
      .idle_timeout_ms = LAB_IDLE_MS,
      .keep_alive_ms = LAB_KEEP_ALIVE_MS,
      .connect_interval_ms = 1000,
      .origin_response_ms = 5000,
      .request_body_ms = 5000,
      .clients = exchanges,
      .pipeline = 1,
      .redundancy = redundancy,
      .exchanges = exchanges,
  };
  for (uint32_t id = 0; id < exchanges; id++)
    scenario->plans[id] = (struct plan){.id = id,
                                        .method = "GET",
                                        .status = 200,
                                        .down_framing = FRAMING_LENGTH,
                                        .down_stop = UINT64_MAX,
                                        .up_stop = UINT64_MAX};
  return scenario;
}

void lab_start(struct scenario *scenario) { scene_open(scenario); }

void lab_start_session(struct scenario *scenario) {
  lab_start(scenario);
  if (!pair_run(pair_up, world.now_ns + SESSION_S * NS_PER_S))
    world_fail("no session");
}

double lab_exchange(struct scenario *scenario) {
  const struct plan *plan = &scenario->plans[scenario->exchanges - 1];
  clients_open(scenario);
  if (!pair_run(clients_done, world.now_ns + EXCHANGE_S * NS_PER_S))
    world_fail("the exchange is not over");
  return (double)(plan->ended_ns - plan->began_ns) / 1e6;
}

void lab_expect(const struct scenario *scenario, int status) {
  const struct plan *plan = &scenario->plans[scenario->exchanges - 1];
  if (plan->outcome != OUTCOME_RESPONSE || plan->got_status != status)
    world_fail("the exchange ended with: %s %d", outcome_name((enum outcome)plan->outcome), plan->got_status);
}

void lab_close(struct scenario *scenario) {
  pair_drain(HOST_CLIENT);
  pair_drain(HOST_SERVER);
  if (!pair_run(pair_drained, world.now_ns + DRAIN_S * NS_PER_S))
    world_fail("the workers do not end");
  pair_close();
  scene_close(scenario);
}

bool lab_within(const char *what, const char *congestion, const char *unit, double got, double least, double most) {
  bool good = got >= least && got <= most;
  printf("%s: %s, %s: %.3f %s, expected %.1f to %.1f\n", good ? "ok" : "FAILED", what, congestion, got, unit, least,
         most);
  return good;
}
