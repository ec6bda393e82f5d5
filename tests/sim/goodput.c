/* Goodput of one download on 100 ms and 50 Mbit/s by loss and algorithm: RELIABILITY.md F-8 without the noise of a
   machine. The loss is random, in both directions, behind the line's rate: of what was sent, (1 - loss) can arrive. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/actors.h"
#include "sim/lab.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum { BEGIN_S = 2, LOSSES = 5, PPM = 1000000 };

static const uint32_t losses_ppm[LOSSES] = {0, 10000, 50000, 100000, 200000};

/* Mbit/s of body over |seconds|, after a while; 0 when a session was lost. */
static double download(uint64_t seed, const char *congestion, uint64_t window, uint32_t loss_ppm, uint64_t seconds) {
  struct scenario *scenario = lab_open(seed, congestion, 1);
  scenario->link.loss_ppm = loss_ppm;
  scenario->initial_window = window;
  scenario->plans[0].down_bytes = UINT64_C(1) << 40;
  scenario->plans[0].client = CLIENT_CUTS_RESPONSE;
  lab_start_session(scenario);
  clients_open(scenario);
  pair_run_until(world.now_ns + BEGIN_S * NS_PER_S);
  uint64_t before = actors_received_bytes();
  pair_run_until(world.now_ns + seconds * NS_PER_S);
  uint64_t bytes = actors_received_bytes() - before;
  bool lost = pair_lost() > 0;
  scenario->plans[0].down_stop = 0;
  if (!pair_run(clients_done, world.now_ns + 30 * NS_PER_S))
    world_fail("the client does not leave");
  lab_close(scenario);
  return lost ? 0 : (double)bytes * 8 / (double)seconds / 1e6;
}

static double mean(uint64_t seeds, const char *congestion, uint64_t window, uint32_t loss_ppm, uint64_t seconds) {
  double sum = 0;
  for (uint64_t seed = 1; seed <= seeds; seed++)
    sum += download(seed, congestion, window, loss_ppm, seconds);
  return sum / (double)seeds;
}

/* What waits behind a gap at the end of the time was sent and is not counted: that may be two windows of the link. */
static double uncounted(uint64_t seconds) { return 2.0 * LAB_BDP * 8 / (double)seconds / 1e6; }

/* A row of the table: every loss, and what it must be at least over a long time. */
static bool row(const char *congestion, uint64_t window, uint64_t seconds, uint64_t seeds, const double least[LOSSES]) {
  bool good = true;
  double got[LOSSES];
  printf("%-8s window %7" PRIu64 ":", congestion, window);
  for (size_t i = 0; i < LOSSES; i++) {
    got[i] = mean(seeds, congestion, window, losses_ppm[i], seconds);
    printf(" %6.2f", got[i]);
    fflush(stdout);
  }
  printf(" Mbit/s\n");
  for (size_t i = 0; i < LOSSES; i++) {
    if (got[i] + uncounted(seconds) < least[i]) {
      printf("FAILED: %s at %.0f %% loss: %.2f Mbit/s, expected %.2f\n", congestion, losses_ppm[i] / 1e4, got[i],
             least[i]);
      good = false;
    }
  }
  return good;
}

/* A constant window never gets less than what is not lost of what it carries without loss, a twentieth apart. */
static bool constant(uint64_t window, uint64_t seconds, uint64_t seeds) {
  double least[LOSSES], whole = mean(1, "none", window, 0, seconds);
  for (size_t i = 0; i < LOSSES; i++)
    least[i] = whole * 0.95 * (PPM - losses_ppm[i]) / PPM;
  return row("none", window, seconds, seeds, least);
}

static int by_value(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return left < right ? -1 : left > right;
}

/* 50 callers who ask for 10 KB again and again, four fifths of the link, 1 % loss: DESIGN's second row of links. Every
   request here has a field that no other has: with QPACK's dynamic table a lost one delays those behind it (the median
   is 127 to 172 ms), which config/tuning.md tells. */
static bool many_small(uint64_t seed, bool redundancy) {
  enum { CALLERS = 50, EACH = 10, WARM = 3 };
  struct scenario *scenario = lab_open(seed, "bbr", CALLERS * EACH);
  scenario->link.loss_ppm = 10000;
  scenario->clients = CALLERS;
  scenario->qpack = 0;
  scenario->redundancy = redundancy;
  for (uint32_t i = 0; i < CALLERS * EACH; i++) {
    scenario->plans[i].down_bytes = 10000;
    scenario->plans[i].think_ns = i < CALLERS ? i * 2 * NS_PER_MS : 0;
  }
  lab_start_session(scenario);
  (void)lab_exchange(scenario);
  double took_ms[CALLERS * EACH];
  size_t count = 0;
  for (uint32_t i = WARM * CALLERS; i < CALLERS * EACH; i++)
    took_ms[count++] = (double)(scenario->plans[i].ended_ns - scenario->plans[i].began_ns) / 1e6;
  qsort(took_ms, count, sizeof took_ms[0], by_value);
  if (redundancy)
    printf("with redundancy, for which there is no room:\n");
  bool good = lab_within("10 KB at 50 concurrent, 1 % loss, median", "bbr", "ms", took_ms[count / 2], 100, 106);
  good = lab_within("and 99 of 100", "bbr", "ms", took_ms[count * 99 / 100], 100, 320) && good;
  lab_close(scenario);
  return good;
}

static const double bbr_least[LOSSES] = {45, 45, 41, 37, 29};

bool run_goodput(uint64_t seconds, uint64_t seeds) {
  static const double by_loss_least[LOSSES] = {45, 1, 0.4, 0.3, 0.1}; /* they take every loss for congestion */
  printf("at a loss of 0, 1, 5, 10, 20 %%; %" PRIu64 " s, %" PRIu64 " seeds\n", seconds, seeds);
  bool good = row("bbr", LAB_BDP, seconds, seeds, bbr_least);
  good = row("bbr", 14720, seconds, seeds, bbr_least) && good;
  good = row("cubic", LAB_BDP, seconds, seeds, by_loss_least) && good;
  good = row("newreno", LAB_BDP, seconds, seeds, by_loss_least) && good;
  good = constant(LAB_BDP / 4, seconds, seeds) && good;
  good = constant(LAB_BDP, seconds, seeds) && good;
  return constant(2 * LAB_BDP, seconds, seeds) && good;
}

bool run_goodput_short(void) {
  enum { SECONDS = 10 };
  bool good = row("bbr", LAB_BDP, SECONDS, 1, bbr_least);
  for (uint64_t seed = 1; seed <= 2; seed++)
    good = many_small(seed, false) && many_small(seed, true) && good;
  return constant(LAB_BDP, SECONDS, 1) && good;
}
