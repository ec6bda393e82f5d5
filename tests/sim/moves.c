/* A path that changes under a session: another address of the client (RELIABILITY.md F-13, F-14), other delays (F-10),
   and a path that stops to carry large packets (F-11). */
#include <stdio.h>
#include <string.h>

#include "sim/actors.h"
#include "sim/lab.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum { BODY = 10000000, RTT_MS = 2 * LAB_ONE_WAY_MS };

static const double body_ms = (double)BODY * 1000 / LAB_BYTES_PER_S * 1500 / 1430;
static const double bdp_ms = (double)LAB_BDP * 1000 / LAB_BYTES_PER_S * 1500 / 1430;

static bool no_session_lost(const char *what, const char *congestion) {
  if (pair_lost() == 0)
    return true;
  printf("FAILED: %s, %s: the session was lost\n", what, congestion);
  return false;
}

/* What |scenario| transfers, with the client's address or port changed |after_ms| after the request. */
static bool moved_one(struct scenario *scenario, const char *what, uint64_t after_ms, bool address, double most_ms) {
  const char *congestion = scenario->congestion;
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  scenario->link.rebind_ns = world.now_ns + after_ms * NS_PER_MS;
  scenario->link.rebind_moves = address;
  link_change(&scenario->link);
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  bool good = no_session_lost(what, congestion);
  lab_close(scenario);
  return lab_within(what, congestion, "ms", took_ms, RTT_MS, most_ms) && good;
}

/* A response of |bytes|. */
static bool moved(const char *what, const char *congestion, uint64_t bytes, uint64_t after_ms, bool address,
                  double most_ms) {
  struct scenario *scenario = lab_open(1, congestion, 1);
  scenario->plans[0].down_bytes = bytes;
  return moved_one(scenario, what, after_ms, address, most_ms);
}

/* A request of BODY bytes. */
static bool moved_upload(const char *what, const char *congestion, bool address, double most_ms) {
  struct scenario *scenario = lab_open(1, congestion, 1);
  scenario->plans[0].method = "PUT";
  scenario->plans[0].up_framing = FRAMING_LENGTH;
  scenario->plans[0].up_bytes = BODY;
  return moved_one(scenario, what, 300, address, most_ms);
}

/* While nothing is under way it costs the proof of the new path, one round trip: the server may not send more than
   three times what it got before that (RFC 9000 section 9.3). Then the initial window and its pace are those of a fresh
   session. In a download it costs what was on the way to the old address, and the time to learn of that. Behind another
   port of the same address the window is kept as it was, so that NewReno has to grow again what the loss takes. */
static bool all_moves(const char *congestion) {
  double growth_ms = strcmp(congestion, "newreno") == 0 ? 1500 : 0;
  bool good = moved("one BDP after the NAT took another port", congestion, LAB_BDP, 1, false, 2 * RTT_MS + bdp_ms + 15);
  good = moved("one BDP after another address", congestion, LAB_BDP, 1, true, 2 * RTT_MS + bdp_ms + 15) && good;
  good = moved("10 MB, another port within it", congestion, BODY, 300, false, 5 * RTT_MS + body_ms + growth_ms) && good;
  good = moved("10 MB, another address within it", congestion, BODY, 300, true, 5 * RTT_MS + body_ms) && good;
  good = moved_upload("10 MB up, another port within it", congestion, false, 5 * RTT_MS + body_ms + 1500) && good;
  return moved_upload("10 MB up, another address within it", congestion, true, 5 * RTT_MS + body_ms + 1500) && good;
}

/* 10 MB, and after 300 ms the path is another one; it must have taken the session along. */
static bool changed(const char *what, void (*change)(struct link_profile *link), double most_ms) {
  struct scenario *scenario = lab_open(1, "bbr", 1);
  scenario->plans[0].down_bytes = BODY;
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S); /* the size of the path is found */
  clients_open(scenario);
  uint64_t began_ns = world.now_ns;
  pair_run_until(world.now_ns + 300 * NS_PER_MS);
  change(&scenario->link);
  link_change(&scenario->link);
  if (!pair_run(clients_done, world.now_ns + 60 * NS_PER_S))
    world_fail("%s: the download hangs", what);
  lab_expect(scenario, 200);
  double took_ms = (double)(scenario->plans[0].ended_ns - began_ns) / 1e6;
  bool good = no_session_lost(what, "bbr");
  lab_close(scenario);
  return lab_within(what, "bbr", "ms", took_ms, body_ms, most_ms) && good;
}

static void to_1280(struct link_profile *link) { link->mtu = 1252; }
static void to_1228(struct link_profile *link) { link->mtu = 1200; }

static void to_300_ms(struct link_profile *link) {
  link->delay_ns = 150 * NS_PER_MS;
  link->jitter_ns = 50 * NS_PER_MS;
}

static bool new_size(void) {
  double small_ms = body_ms * 1430 / 1158; /* there is more overhead */
  bool good = changed("10 MB, the MTU falls to 1280 within them", to_1280, small_ms + 1000);
  good = changed("10 MB, the MTU falls to 1228 within them", to_1228, small_ms + 1000) && good;
  return changed("10 MB, from 100 to 300 ms and 50 ms of jitter", to_300_ms, 10000) && good;
}

/* Small requests pass all the while; a large response meets the hole, and the next one does not. */
static bool hole_beside_small_ones(void) {
  enum { SMALL = 40, LARGE = 100000 };
  struct scenario *scenario = lab_open(1, "bbr", SMALL + 1);
  for (uint32_t i = 0; i < SMALL; i++) {
    scenario->plans[i].down_bytes = 100;
    scenario->plans[i].think_ns = (500 + i * 20) * NS_PER_MS;
  }
  scenario->plans[SMALL].down_bytes = LARGE;
  scenario->plans[SMALL].think_ns = 600 * NS_PER_MS;
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  scenario->link.mtu = 1252;
  link_change(&scenario->link);
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  bool good = no_session_lost("a hole beside small responses", "bbr");
  lab_close(scenario);
  return lab_within("100 KB into a hole, with small responses beside", "bbr", "ms", took_ms, RTT_MS, 1500) && good;
}

/* A path too small for QUIC: the session is lost and tried again all the time, until there is one that suffices. */
static bool too_small(void) {
  struct scenario *scenario = lab_open(1, "bbr", 1);
  scenario->plans[0].down_bytes = BODY;
  lab_start_session(scenario);
  scenario->link.mtu = 1199;
  link_change(&scenario->link);
  (void)lab_exchange(scenario);
  pair_run_until(world.now_ns + 20 * NS_PER_S);
  bool good = !pair_up();
  if (!good)
    printf("FAILED: a session on a path that carries 1199 bytes\n");
  scenario->link.mtu = 1472;
  link_change(&scenario->link);
  uint64_t began_ns = world.now_ns;
  if (!pair_run(pair_up, world.now_ns + 20 * NS_PER_S))
    world_fail("no session on a path that is large enough again");
  double took_ms = (double)(world.now_ns - began_ns) / 1e6;
  lab_close(scenario);
  return lab_within("a session on a path that was too small", "bbr", "ms", took_ms, RTT_MS, 3000) && good;
}

bool run_moves(void) {
  static const char *const algorithms[] = {"bbr", "cubic", "newreno", "none"};
  bool good = true;
  for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++)
    good = all_moves(algorithms[i]) && good;
  good = new_size() && good;
  good = hole_beside_small_ones() && good;
  return too_small() && good;
}
