/* Tests of virtual time: how long requests take, exactly. */
#include "sim/lab.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum { SLOW_BODY = 2000000, LONG_BODY = 4000000, BDP = LAB_BDP, ONE_WAY_MS = LAB_ONE_WAY_MS };

static struct scenario *exact_open(const char *congestion, uint32_t exchanges) {
  struct scenario *scenario = lab_open(1, congestion, exchanges);
  lab_start_session(scenario);
  return scenario;
}

static bool within(const char *what, const char *congestion, double took_ms, double least_ms, double most_ms) {
  return lab_within(what, congestion, "ms", took_ms, least_ms, most_ms);
}

static bool warm_request(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 1);
  pair_run_until(world.now_ns + NS_PER_S);
  scenario->plans[0].down_bytes = 1000;
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  lab_close(scenario);
  return within("1 KB on a warm session in one round trip", congestion, took_ms, 2 * ONE_WAY_MS, 2 * ONE_WAY_MS + 1);
}

static bool first_bdp(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 1);
  scenario->plans[0].down_bytes = BDP;
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  lab_close(scenario);
  double serialisation_ms = (double)BDP * 1000 / LAB_BYTES_PER_S; /* which is the second round trip */
  return within("one BDP on a fresh session, a round trip and its serialisation", congestion, took_ms,
                2 * ONE_WAY_MS + serialisation_ms, 2 * ONE_WAY_MS + serialisation_ms + 10);
}

/* A response that its client reads slowly fills windows and buffers, and costs its neighbour nothing. */
static bool slow_neighbour(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 2);
  scenario->plans[0].down_bytes = SLOW_BODY;
  scenario->plans[0].client = CLIENT_SLOW_READER;
  scenario->plans[1].down_bytes = 1000;
  scenario->plans[1].think_ns = NS_PER_S;
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  lab_close(scenario);
  return within("1 KB beside a slow reader", congestion, took_ms, 2 * ONE_WAY_MS, 2 * ONE_WAY_MS + 5);
}

/* All streams are with callers: one who has stopped sending its body, one who does not read for a while, and one who
   reads slowly. Then others come, who need a stream each: soon the one who sends nothing makes room, and when there are
   two, a second later the one who was not seen to read, too. A round trip and a half after that the stream is free. Who
   moves keeps his, and so does who is not needed. */
static bool still_callers(uint32_t waiting) {
  struct scenario *scenario = lab_open(1, "bbr", 3 + waiting);
  struct plan *writer = &scenario->plans[0], *reader = &scenario->plans[1], *slow = &scenario->plans[2];
  scenario->streams = 3;
  lab_start_session(scenario);
  writer->method = "POST";
  writer->client = CLIENT_STALLS;
  writer->up_framing = FRAMING_LENGTH;
  writer->up_bytes = 1000;
  writer->up_stop = 100;
  reader->client = CLIENT_PAUSES;
  slow->client = CLIENT_SLOW_READER;
  reader->down_bytes = slow->down_bytes = LONG_BODY;
  reader->down_stop = LONG_BODY / 8;
  for (uint32_t i = 3; i < 3 + waiting; i++) {
    scenario->plans[i].down_bytes = 1000;
    scenario->plans[i].think_ns = 2 * NS_PER_S;
    scenario->plans[i].answer_ns = 2 * NS_PER_S; /* none has its stream from the other */
  }
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  if (scenario->plans[3].outcome != OUTCOME_RESPONSE || scenario->plans[3].got_status != 200)
    world_fail("the first of those who waited got: %s", outcome_name((enum outcome)scenario->plans[3].outcome));
  if (writer->outcome != OUTCOME_RESPONSE || !writer->by_proxy || writer->got_status != 408)
    world_fail("the caller that stopped sending got: %s %d", outcome_name((enum outcome)writer->outcome),
               writer->got_status);
  enum outcome wanted = waiting > 1 ? OUTCOME_CUT : OUTCOME_RESPONSE;
  if (reader->outcome != wanted)
    world_fail("the caller that stopped reading got: %s", outcome_name((enum outcome)reader->outcome));
  if (slow->outcome != OUTCOME_RESPONSE || slow->by_proxy)
    world_fail("the caller that reads slowly got: %s", outcome_name((enum outcome)slow->outcome));
  lab_close(scenario);
  return within(waiting > 1 ? "two requests behind callers that do not move" : "a request behind them", "bbr", took_ms,
                waiting > 1 ? 3500 : 2500, waiting > 1 ? 3900 : 2900);
}

/* The link goes silent for good while the origin thinks. The keep-alive PING, the first packet sent after the last one
   was received, restarts QUIC's idle timer (RFC 9000 section 10.1): the session has one of its own. */
static bool silent_link(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 1);
  pair_run_until(world.now_ns + NS_PER_S);
  scenario->plans[0].down_bytes = 1000;
  scenario->plans[0].answer_ns = 3 * NS_PER_S;
  scenario->link.blackouts[0].begin_ns = world.now_ns + 300 * NS_PER_MS;
  scenario->link.blackouts[0].end_ns = UINT64_MAX;
  scenario->link.blackout_count = 1;
  link_change(&scenario->link);
  (void)lab_exchange(scenario);
  lab_expect(scenario, 502);
  double took_ms = (double)(scenario->plans[0].ended_ns - scenario->link.blackouts[0].begin_ns) / 1e6;
  lab_close(scenario);
  return within("an error on a silent link", congestion, took_ms, 0, LAB_IDLE_MS + 1000);
}

/* The server is killed and there again at once; the first request that meets it is repeated on a new session: a round
   trip until the stateless reset, two for the handshake and the settings, one for the request. */
static bool killed_server(const char *congestion) {
  struct scenario *scenario = exact_open(congestion, 1);
  pair_run_until(world.now_ns + NS_PER_S);
  pair_crash(scenario, HOST_SERVER, 0);
  scenario->plans[0].down_bytes = 1000;
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  lab_close(scenario);
  /* Less than four round trips when something was under way to the server that was killed: it brings the reset. */
  return within("a request to a server that was killed and is back", congestion, took_ms, 6 * ONE_WAY_MS,
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
  good = still_callers(1) && still_callers(2) && good;
  return killed_server("bbr") && good;
}
