/* What transport.redundancy gives on 100 ms and 50 Mbit/s at 1 % loss, single and in bursts, and what it costs. */
#include <stdio.h>
#include <stdlib.h>

#include "sim/actors.h"
#include "sim/lab.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum { SEEDS_MAX = 400, FIRST_BODY = 100000, SMALL_BODY = 1000, SMALL = 400 };

enum losses { LOSES_NOTHING, LOSES_SINGLY, LOSES_IN_BURSTS };
static const char *const losses_names[] = {"no loss", "1 % loss", "1 % loss in bursts of 3"};

static int by_value(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return left < right ? -1 : left > right;
}

static struct scenario *open_lossy(uint64_t seed, const char *congestion, enum losses losses, bool redundancy,
                                   uint32_t exchanges) {
  struct scenario *scenario = lab_open(seed, congestion, exchanges);
  scenario->redundancy = redundancy;
  scenario->qpack = 0;
  scenario->link.loss_ppm = losses == LOSES_SINGLY ? 10000 : 0;
  if (losses == LOSES_IN_BURSTS) { /* a fiftieth of the time, and half of the packets then */
    scenario->link.burst_begin_ppm = 6800;
    scenario->link.burst_end_ppm = 333333;
  }
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S); /* silence; the path's MTU is known */
  return scenario;
}

/* Milliseconds for the first response in a session. */
static double first_response(uint64_t seed, const char *congestion, enum losses losses, bool redundancy) {
  struct scenario *scenario = open_lossy(seed, congestion, losses, redundancy, 1);
  scenario->plans[0].down_bytes = FIRST_BODY;
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 200);
  lab_close(scenario);
  return took_ms;
}

struct spread {
  double median_ms, p90_ms, p95_ms, p99_ms, most_ms;
  double in_time; /* per cent within the time of the goal */
};

static struct spread spread_of(double *took_ms, size_t count, double goal_ms) {
  size_t in_time = 0;
  for (size_t i = 0; i < count; i++)
    in_time += took_ms[i] <= goal_ms;
  qsort(took_ms, count, sizeof took_ms[0], by_value);
  return (struct spread){.median_ms = took_ms[count / 2],
                         .p90_ms = took_ms[count * 9 / 10],
                         .p95_ms = took_ms[count * 95 / 100],
                         .p99_ms = took_ms[count * 99 / 100],
                         .most_ms = took_ms[count - 1],
                         .in_time = 100.0 * (double)in_time / (double)count};
}

static void print_spread(const char *what, const char *congestion, enum losses losses, bool redundancy,
                         const struct spread *spread) {
  printf("%s, %s, %s, %s: median %.0f, p90 %.0f, p95 %.0f, p99 %.0f, most %.0f ms; %.1f %% in time\n", what, congestion,
         losses_names[losses], redundancy ? "redundancy" : "without", spread->median_ms, spread->p90_ms, spread->p95_ms,
         spread->p99_ms, spread->most_ms, spread->in_time);
}

static struct spread first_responses(uint64_t seeds, const char *congestion, enum losses losses, bool redundancy) {
  double took_ms[SEEDS_MAX];
  for (uint64_t seed = 1; seed <= seeds; seed++)
    took_ms[seed - 1] = first_response(seed, congestion, losses, redundancy);
  struct spread spread = spread_of(took_ms, seeds, 130);
  print_spread("the first 100 KB", congestion, losses, redundancy, &spread);
  return spread;
}

/* One request after the other, of one packet each way. */
static struct spread small_requests(uint64_t seed, const char *congestion, enum losses losses, bool redundancy) {
  struct scenario *scenario = open_lossy(seed, congestion, losses, redundancy, SMALL);
  scenario->clients = 1;
  for (uint32_t i = 0; i < SMALL; i++) {
    scenario->plans[i].down_bytes = SMALL_BODY;
    scenario->plans[i].think_ns = 30 * NS_PER_MS;
  }
  (void)lab_exchange(scenario);
  double took_ms[SMALL];
  for (uint32_t i = 0; i < SMALL; i++)
    took_ms[i] = (double)(scenario->plans[i].ended_ns - scenario->plans[i].began_ns) / 1e6;
  lab_expect(scenario, 200);
  lab_close(scenario);
  struct spread spread = spread_of(took_ms, SMALL, 110);
  print_spread("1 KB, one after the other", congestion, losses, redundancy, &spread);
  return spread;
}

/* Datagrams from the server for one response on a link without loss. */
static double sent_for(uint64_t body, bool redundancy) {
  struct scenario *scenario = open_lossy(1, "bbr", LOSES_NOTHING, redundancy, 1);
  uint64_t before = link_counters(HOST_SERVER)->sent;
  scenario->plans[0].down_bytes = body;
  (void)lab_exchange(scenario);
  lab_expect(scenario, 200);
  pair_run_until(world.now_ns + NS_PER_S);
  double sent = (double)(link_counters(HOST_SERVER)->sent - before);
  lab_close(scenario);
  return sent;
}

static bool costs(const char *what, uint64_t body, double least, double most) {
  double more = sent_for(body, true) / sent_for(body, false);
  return lab_within(what, "bbr", "times the datagrams", more, least, most);
}

/* The goal is 130 ms. A copy of the last packet of 100 KB comes when all are sent twice: after 134 ms. */
static bool gives(uint64_t seeds, const char *congestion, enum losses losses, double without_most) {
  struct spread without = first_responses(seeds, congestion, losses, false);
  struct spread with = first_responses(seeds, congestion, losses, true);
  bool good = lab_within("in time without it", congestion, "%", without.in_time, 40, without_most);
  good = lab_within("and with it", congestion, "%", with.in_time, 85, 100) && good;
  good = lab_within("nine of ten with it", congestion, "ms", with.p90_ms, 2 * LAB_ONE_WAY_MS, 134) && good;
  without = small_requests(1, congestion, losses, false);
  with = small_requests(1, congestion, losses, true);
  good = lab_within("99 of 100 small ones without it", congestion, "ms", without.p99_ms, 200, 320) && good;
  return lab_within("and with it", congestion, "ms", with.p99_ms, 2 * LAB_ONE_WAY_MS, 110) && good;
}

bool run_redundancy(uint64_t seeds) {
  bool good = true;
  seeds = seeds < SEEDS_MAX ? seeds : SEEDS_MAX;
  good = gives(seeds, "bbr", LOSES_SINGLY, 65) && good;
  good = gives(seeds, "none", LOSES_SINGLY, 65) && good;
  good = gives(seeds, "bbr", LOSES_IN_BURSTS, 80) && good;
  /* A small message, its copy, and the acknowledgement of the request's copy: */
  good = costs("1 KB", 1000, 2, 3) && good;
  good = costs("100 KB", 100000, 1.9, 2.1) && good;
  good = costs("1 MB", 1000000, 1, 1.15) && good;
  return costs("20 MB", 20000000, 1, 1.01) && good;
}
