/* Tests of virtual time: no jitter, no loss, no delay anywhere but on the link, so that what a request takes is a
   figure and not a distribution. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "sim/actors.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum {
  ONE_WAY_MS = 50,
  BYTES_PER_S = 6250000,
  BDP = 625000,
  IDLE_MS = 5000,
  KEEP_ALIVE_MS = 2000,
  SLOW_BODY = 2000000
};

static void wait_for_session(void) {
  if (!pair_run(pair_up, world.now_ns + 5 * NS_PER_S))
    world_fail("no session");
}

/* One GET, or two by two clients. */
static struct scenario *exact_open(const char *congestion, uint32_t exchanges) {
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
      .idle_timeout_ms = IDLE_MS,
      .keep_alive_ms = KEEP_ALIVE_MS,
      .origin_response_ms = 5000,
      .request_body_ms = 5000,
      .clients = exchanges,
      .pipeline = 1,
      .exchanges = exchanges,
  };
  for (uint32_t id = 0; id < exchanges; id++)
    scenario->plans[id] = (struct plan){.id = id,
                                        .method = "GET",
                                        .status = 200,
                                        .down_framing = FRAMING_LENGTH,
                                        .down_stop = UINT64_MAX,
                                        .up_stop = UINT64_MAX};
  link_open(&scenario->link);
  origin_script_open(scenario);
  pair_open(scenario);
  return scenario;
}

/* Runs the clients to their end; the milliseconds that the last exchange took. */
static double exact_exchange(struct scenario *scenario) {
  const struct plan *plan = &scenario->plans[scenario->exchanges - 1];
  clients_open(scenario);
  if (!pair_run(clients_done, world.now_ns + 30 * NS_PER_S))
    world_fail("the exchange is not over");
  return (double)(plan->ended_ns - plan->began_ns) / 1e6;
}

static void expect_answer(const struct scenario *scenario, int status) {
  const struct plan *plan = &scenario->plans[scenario->exchanges - 1];
  if (plan->outcome != OUTCOME_RESPONSE || plan->got_status != status)
    world_fail("the exchange ended with: %s %d", outcome_name((enum outcome)plan->outcome), plan->got_status);
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
  struct scenario *scenario = exact_open(congestion, 1);
  wait_for_session();
  pair_run_until(world.now_ns + NS_PER_S);
  scenario->plans[0].down_bytes = 1000;
  double took_ms = exact_exchange(scenario);
  expect_answer(scenario, 200);
  exact_close(scenario);
  return within("1 KB on a warm session in one round trip", congestion, took_ms, 2 * ONE_WAY_MS, 2 * ONE_WAY_MS + 1);
}

static bool first_bdp(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 1);
  wait_for_session();
  scenario->plans[0].down_bytes = BDP;
  double took_ms = exact_exchange(scenario);
  expect_answer(scenario, 200);
  exact_close(scenario);
  double serialisation_ms = (double)BDP * 1000 / BYTES_PER_S;
  return within("one BDP on a fresh session in two round trips and its serialisation", congestion, took_ms,
                2 * ONE_WAY_MS + serialisation_ms, 4 * ONE_WAY_MS + serialisation_ms + 5);
}

/* A response that its client reads slowly fills windows and buffers, and costs its neighbour nothing. */
static bool slow_neighbour(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 2);
  wait_for_session();
  scenario->plans[0].down_bytes = SLOW_BODY;
  scenario->plans[0].client = CLIENT_SLOW_READER;
  scenario->plans[1].down_bytes = 1000;
  scenario->plans[1].think_ns = NS_PER_S;
  double took_ms = exact_exchange(scenario);
  expect_answer(scenario, 200);
  exact_close(scenario);
  return within("1 KB beside a slow reader", congestion, took_ms, 2 * ONE_WAY_MS, 2 * ONE_WAY_MS + 5);
}

/* The link goes silent for good while the origin thinks. The keep-alive PING, the first packet sent after the last one
   was received, restarts QUIC's idle timer (RFC 9000 section 10.1): the session has one of its own. */
static bool silent_link(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 1);
  wait_for_session();
  pair_run_until(world.now_ns + NS_PER_S);
  scenario->plans[0].down_bytes = 1000;
  scenario->plans[0].answer_ns = 3 * NS_PER_S;
  scenario->link.blackouts[0].begin_ns = world.now_ns + 300 * NS_PER_MS;
  scenario->link.blackouts[0].end_ns = UINT64_MAX;
  scenario->link.blackout_count = 1;
  link_change(&scenario->link);
  (void)exact_exchange(scenario);
  expect_answer(scenario, 502);
  double took_ms = (double)(scenario->plans[0].ended_ns - scenario->link.blackouts[0].begin_ns) / 1e6;
  exact_close(scenario);
  return within("an error on a silent link", congestion, took_ms, 0, IDLE_MS + 1000);
}

/* The server is killed and there again at once; the first request that meets it is repeated on a new session: a round
   trip until the stateless reset, two for the handshake and the settings, one for the request. */
static bool killed_server(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 1);
  wait_for_session();
  pair_run_until(world.now_ns + NS_PER_S);
  pair_crash(scenario, HOST_SERVER, 0);
  scenario->plans[0].down_bytes = 1000;
  double took_ms = exact_exchange(scenario);
  expect_answer(scenario, 200);
  exact_close(scenario);
  return within("a request to a server that was killed and is back", congestion, took_ms, 8 * ONE_WAY_MS,
                8 * ONE_WAY_MS + 50);
}

bool run_exact(void) {
  static const char *const algorithms[] = {"bbr", "cubic", "newreno", "none"};
  bool good = true;
  for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
    good = warm_request(algorithms[i]) && good;
    good = first_bdp(algorithms[i]) && good;
    good = slow_neighbour(algorithms[i]) && good;
  }
  good = silent_link("bbr") && good;
  return killed_server("bbr") && good;
}
