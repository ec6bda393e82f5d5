/* A link that is gone for a while, or bad (RELIABILITY.md F-5 to F-9), and how soon service is back. */
#include <stdio.h>
#include <string.h>

#include "sim/actors.h"
#include "sim/lab.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum { RTT_MS = 2 * LAB_ONE_WAY_MS, BACK_MS_MAX = 3000, PROBES_PER_S_MAX = 25 };

static void no_link(struct scenario *scenario, uint64_t from_ns, uint64_t to_ns) {
  scenario->link.blackouts[0].begin_ns = from_ns;
  scenario->link.blackouts[0].end_ns = to_ns;
  scenario->link.blackout_count = 1;
  link_change(&scenario->link);
}

/* F-5. A download goes on, on the same session; what is lost is the outage and a second at most, but for CUBIC and
   NewReno: they take the outage for persistent congestion and begin again at two packets, NewReno by one a round trip.
 */
static bool short_outage(const char *congestion, uint64_t down_ms) {
  enum { BODY = 5000000 };
  struct scenario *scenario = lab_open(1, congestion, 1);
  scenario->plans[0].down_bytes = BODY;
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  no_link(scenario, world.now_ns + 400 * NS_PER_MS, world.now_ns + (400 + down_ms) * NS_PER_MS);
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  bool good = pair_lost() == 0;
  if (!good)
    printf("FAILED: the session was lost in an outage of %.1f s\n", (double)down_ms / 1e3);
  lab_close(scenario);
  double more_ms = strcmp(congestion, "newreno") == 0 ? 30000 : strcmp(congestion, "cubic") == 0 ? 4000 : 1300;
  double whole_ms = RTT_MS + (double)BODY * 1000 / LAB_BYTES_PER_S * 1500 / 1430;
  char what[64];
  snprintf(what, sizeof what, "5 MB and an outage of %.1f s", (double)down_ms / 1e3);
  return lab_within(what, congestion, "ms", took_ms, (double)down_ms, whole_ms + (double)down_ms + more_ms) && good;
}

/* F-6. Milliseconds from the end of an outage of 30 s and |more_ms| to the response of a request that then comes, or
   came before and is answered 503 at once, and asks again. Settings are the defaults, which fit no link. */
static double back_after(uint64_t more_ms) {
  struct scenario *scenario = lab_open(1 + more_ms, "bbr", 1);
  scenario->initial_rtt_ms = 333;
  scenario->initial_window = 14720;
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  uint64_t end_ns = world.now_ns + (30000 + more_ms) * NS_PER_MS;
  no_link(scenario, world.now_ns, end_ns);
  pair_run_until(end_ns);
  if (pair_up())
    world_fail("a session through a link that is down for 30 s");
  if (!pair_run(pair_up, end_ns + 30 * NS_PER_S))
    world_fail("no session after the outage");
  scenario->plans[0].down_bytes = 1000;
  clients_open(scenario);
  if (!pair_run(clients_done, world.now_ns + 30 * NS_PER_S))
    world_fail("the request hangs");
  lab_expect(scenario, 200);
  double took_ms = (double)(scenario->plans[0].ended_ns - end_ns) / 1e6;
  lab_close(scenario);
  return took_ms;
}

/* Whatever the moment of its end is within what the client repeats. */
static bool long_outage(void) {
  enum { MOMENTS = 64, STEP_MS = 110 };
  double most_ms = 0;
  for (uint64_t i = 0; i < MOMENTS; i++) {
    double took_ms = back_after(i * STEP_MS);
    most_ms = took_ms > most_ms ? took_ms : most_ms;
  }
  return lab_within("back after 30 s without a link, the latest of 64", "bbr", "ms", most_ms, 2 * RTT_MS, BACK_MS_MAX);
}

/* F-7. One direction only, with a download under way: no storm of the other one, and back as soon as after F-6. */
static bool one_way(const char *congestion, int mute_host) {
  enum { DOWN_S = 30 };
  const char *what = mute_host == HOST_CLIENT ? "the client is not heard for 30 s" : "the server is not heard for 30 s";
  struct scenario *scenario = lab_open(1, congestion, 1);
  scenario->plans[0].down_bytes = UINT64_C(1) << 30;
  lab_start_session(scenario);
  clients_open(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  link_mute(mute_host, true);
  pair_run_until(world.now_ns + 2 * NS_PER_S); /* the windows are spent */
  uint64_t before = link_counters(1 - mute_host)->sent;
  pair_run_until(world.now_ns + (DOWN_S - 2) * NS_PER_S);
  double a_second = (double)(link_counters(1 - mute_host)->sent - before) / (DOWN_S - 2);
  bool good = lab_within(what, congestion, "datagrams a second", a_second, 0, PROBES_PER_S_MAX);
  link_mute(mute_host, false);
  uint64_t end_ns = world.now_ns;
  if (!pair_run(pair_up, end_ns + 30 * NS_PER_S))
    world_fail("no session after the outage");
  double took_ms = (double)(world.now_ns - end_ns) / 1e6;
  if (!pair_run(clients_done, world.now_ns + 60 * NS_PER_S))
    world_fail("%s: the download hangs", what);
  lab_close(scenario);
  return lab_within("and back", congestion, "ms", took_ms, 0, BACK_MS_MAX) && good;
}

/* F-8. The session comes, and small requests are answered; it may be lost meanwhile, requests are not. */
static bool half_lost(uint64_t seed) {
  enum { SMALL = 10 };
  struct scenario *scenario = lab_open(seed, "bbr", SMALL);
  scenario->link.loss_ppm = 500000;
  for (uint32_t i = 0; i < SMALL; i++)
    scenario->plans[i].down_bytes = 1000;
  uint64_t began_ns = world.now_ns;
  lab_start_session(scenario);
  double took_ms = (double)(world.now_ns - began_ns) / 1e6;
  (void)lab_exchange(scenario);
  unsigned answered = 0;
  for (uint32_t i = 0; i < SMALL; i++)
    answered += scenario->plans[i].outcome == OUTCOME_RESPONSE && scenario->plans[i].got_status == 200;
  scenario->link.loss_ppm = 0;
  link_change(&scenario->link);
  lab_close(scenario);
  bool good = lab_within("a session at 50 % loss", "bbr", "ms", took_ms, 2 * RTT_MS, 30000);
  return lab_within("and ten small requests", "bbr", "answered", answered, SMALL, SMALL) && good;
}

/* F-9 and the limits of the libraries for odd behaviour: every byte is right (the clients look), no session is lost. */
bool run_hostile(uint64_t megabytes, uint64_t times) {
  bool good = true;
  for (uint64_t seed = 1; seed <= times; seed++) {
    struct scenario *scenario = lab_open(seed, seed % 2 == 0 ? "none" : "bbr", 1);
    scenario->link.loss_ppm = 100000;
    scenario->link.reorder_ppm = 50000;
    scenario->link.duplicate_ppm = 50000;
    scenario->link.corrupt_ppm = seed % 3 == 0 ? 10000 : 0;
    scenario->plans[0].down_bytes = megabytes * 1000000;
    lab_start_session(scenario);
    double took_ms = lab_exchange(scenario);
    lab_expect(scenario, 200);
    double lost = (double)pair_lost();
    const char *congestion = scenario->congestion;
    lab_close(scenario);
    printf("%.1f Mbit/s; ", (double)megabytes * 8000 / took_ms);
    good = lab_within("10 % loss, 5 % reordered, 5 % twice", congestion, "sessions lost", lost, 0, 0) && good;
  }
  return good;
}

/* F-8, F-9. Links that no one would call links any more: 4 MB come through, on the same session. */
static bool bad_links(void) {
  static const struct {
    const char *what;
    struct link_profile link;
  } links[] = {
      {"30 % loss", {.loss_ppm = 300000}},
      {"30 % reordered, 10 % twice, 1 % corrupted",
       {.reorder_ppm = 300000, .duplicate_ppm = 100000, .corrupt_ppm = 10000}},
      {"bursts of 3, half of them lost", {.burst_begin_ppm = 10000, .burst_end_ppm = 333333}},
      {"bursts of 30, half of them lost", {.burst_begin_ppm = 1000, .burst_end_ppm = 33333}},
  };
  bool good = true;
  for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
    struct scenario *scenario = lab_open(i + 1, "bbr", 1);
    struct link_profile *link = &scenario->link;
    link->loss_ppm = links[i].link.loss_ppm;
    link->reorder_ppm = links[i].link.reorder_ppm;
    link->duplicate_ppm = links[i].link.duplicate_ppm;
    link->corrupt_ppm = links[i].link.corrupt_ppm;
    link->burst_begin_ppm = links[i].link.burst_begin_ppm;
    link->burst_end_ppm = links[i].link.burst_end_ppm;
    scenario->plans[0].down_bytes = 4000000;
    lab_start_session(scenario);
    double took_ms = lab_exchange(scenario);
    lab_expect(scenario, 200);
    double lost = (double)pair_lost();
    lab_close(scenario);
    good = lab_within(links[i].what, "bbr, 4 MB", "ms", took_ms, 640, 5000) && good;
    good = lab_within(links[i].what, "bbr", "sessions lost", lost, 0, 0) && good;
  }
  return good;
}

/* A request while there is no link, and it is known: it is told so at once, and does not wait in memory. */
static bool told_at_once(void) {
  struct scenario *scenario = lab_open(1, "bbr", 1);
  lab_start_session(scenario);
  no_link(scenario, world.now_ns, UINT64_MAX);
  pair_run_until(world.now_ns + 10 * NS_PER_S);
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 503);
  lab_close(scenario);
  return lab_within("503 while there is no link", "bbr", "ms", took_ms, 0, 5);
}

bool run_outages(void) {
  static const char *const algorithms[] = {"bbr", "cubic", "newreno", "none"};
  bool good = true;
  for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
    good = short_outage(algorithms[i], 1000) && good;
    good = one_way(algorithms[i], HOST_CLIENT) && good;
    good = one_way(algorithms[i], HOST_SERVER) && good;
  }
  good = short_outage("bbr", 3500) && good;
  good = long_outage() && good;
  good = told_at_once() && bad_links() && good;
  for (uint64_t seed = 1; seed <= 5; seed++)
    good = half_lost(seed) && good;
  return run_hostile(10, 3) && good;
}
