#include "unit/support.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "link/link_model.h"
#include "link/link_settings.h"

/* The seeds are fixed, so that a bound that holds once holds always. */

enum { PACKETS = 1000000, LEN = 1250 };

static const uint64_t start_ns = 1000 * NS_PER_S;

static struct link_direction direction_of(const char *words, uint64_t seed) {
  struct link_settings settings[] = {link_settings_default, link_settings_default};
  char error[128] = "";
  assert_true(link_settings_apply(settings, words, error, sizeof error));
  struct link_direction direction;
  link_direction_open(&direction, seed, LINK_AB, start_ns);
  direction.settings = settings[LINK_AB];
  return direction;
}

static struct link_fate judge(struct link_direction *direction, uint64_t now_ns) {
  return link_direction_judge(direction, now_ns, LEN);
}

struct losses {
  unsigned lost, runs;
};

static struct losses count_losses(struct link_direction *direction, enum link_verdict verdict) {
  struct losses losses = {0};
  bool before = false;
  for (int i = 0; i < PACKETS; i++) {
    bool lost = judge(direction, start_ns).verdict == verdict;
    losses.lost += lost;
    losses.runs += lost && !before;
    before = lost;
  }
  return losses;
}

/* 2.576 standard deviations: the binomial 99 % interval. */
static void assert_share(unsigned seen, double share) {
  double expected = share * PACKETS;
  if (fabs(seen - expected) > 2.576 * sqrt(expected * (1 - share)))
    fail_msg("%u of %d, expected %.0f", seen, PACKETS, expected);
}

static void assert_near(double seen, double expected, double share) {
  if (fabs(seen - expected) > expected * share)
    fail_msg("%g, expected %g within %g %%", seen, expected, share * 100);
}

static void test_without_settings_all_pass_at_once(void **state) {
  (void)state;
  struct link_direction direction = direction_of("", 1);
  for (int i = 0; i < 1000; i++) {
    struct link_fate fate = judge(&direction, start_ns + (uint64_t)i);
    assert_int_equal(fate.verdict, LINK_PASS);
    assert_int_equal(fate.due_ns, start_ns + (uint64_t)i);
    assert_false(fate.duplicate || fate.corrupt || fate.mangle || fate.reordered);
  }
}

static void test_random_loss(void **state) {
  (void)state;
  static const double percents[] = {0.1, 1, 5, 20, 50, 99};
  for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
    struct link_direction direction = direction_of("", i + 1);
    direction.settings.loss_ppb = (uint64_t)(percents[i] * 1e7);
    struct losses losses = count_losses(&direction, LINK_DROP_LOSS);
    assert_share(losses.lost, percents[i] / 100);
    /* Each for itself: a run ends with the chance of a packet to pass. */
    assert_near((double)losses.lost / losses.runs, 1 / (1 - percents[i] / 100), 0.05);
  }
}

static void test_loss_at_its_ends(void **state) {
  (void)state;
  struct link_direction all = direction_of("loss=100", 1), none = direction_of("loss=0", 1);
  struct link_direction bursts = direction_of("burst_loss=100 burst_run=3", 1);
  assert_int_equal(count_losses(&all, LINK_DROP_LOSS).lost, PACKETS);
  assert_int_equal(count_losses(&none, LINK_DROP_LOSS).lost, 0);
  assert_int_equal(count_losses(&bursts, LINK_DROP_BURST).lost, PACKETS);
}

static void test_burst_loss(void **state) {
  (void)state;
  static const double shares[] = {0.01, 0.05, 0.3}, runs[] = {1, 3, 8, 30};
  for (size_t i = 0; i < 3; i++)
    for (size_t j = 0; j < 4; j++) {
      struct link_direction direction = direction_of("", 10 * i + j);
      direction.settings.burst_loss_ppb = (uint64_t)(shares[i] * 1e9);
      direction.settings.burst_run_ppb = (uint64_t)(runs[j] * 1e9);
      struct losses losses = count_losses(&direction, LINK_DROP_BURST);
      assert_near((double)losses.lost / PACKETS, shares[i], 0.15);
      assert_near((double)losses.lost / losses.runs, runs[j], 0.1);
    }
}

static void test_other_shares(void **state) {
  (void)state;
  struct link_direction direction = direction_of("dup=10 reorder=3 corrupt=1 mangle=2", 7);
  unsigned duplicates = 0, reordered = 0, corrupt = 0, mangled = 0;
  for (int i = 0; i < PACKETS; i++) {
    struct link_fate fate = judge(&direction, start_ns);
    assert_int_equal(fate.verdict, LINK_PASS);
    duplicates += fate.duplicate;
    reordered += fate.reordered;
    corrupt += fate.corrupt;
    mangled += fate.mangle;
  }
  assert_share(duplicates, 0.1);
  assert_share(reordered, 0.03);
  assert_share(corrupt, 0.01);
  assert_share(mangled, 0.02);
}

static bool same_fate(const struct link_fate *a, const struct link_fate *b) {
  return a->verdict == b->verdict && a->due_ns == b->due_ns && a->duplicate == b->duplicate &&
         a->reordered == b->reordered && a->corrupt == b->corrupt && a->random == b->random;
}

static void test_same_seed_same_fate(void **state) {
  (void)state;
  const char *words = "delay=10 jitter=5 loss=5 burst_loss=5 reorder=5 dup=5 corrupt=5";
  struct link_direction one = direction_of(words, 42), same = direction_of(words, 42), other = direction_of(words, 43);
  struct link_direction back = one;
  link_direction_open(&back, 42, LINK_BA, start_ns);
  back.settings = one.settings;
  unsigned differ_seed = 0, differ_direction = 0;
  for (int i = 0; i < 10000; i++) {
    struct link_fate a = judge(&one, start_ns), b = judge(&same, start_ns);
    struct link_fate c = judge(&other, start_ns), d = judge(&back, start_ns);
    assert_true(same_fate(&a, &b));
    differ_seed += a.verdict != c.verdict;
    differ_direction += a.verdict != d.verdict;
  }
  assert_true(differ_seed > 500 && differ_direction > 500);
}

/* What became of the packets before does not matter. */
static void test_fate_follows_the_number(void **state) {
  (void)state;
  struct link_direction one = direction_of("loss=10", 5), other = direction_of("loss=10", 5);
  other.settings.mtu = LEN - 1;
  other.settings.burst_loss_ppb = 500000000;
  for (int i = 0; i < 1000; i++) {
    judge(&one, start_ns);
    judge(&other, start_ns);
  }
  other.settings = one.settings;
  for (int i = 0; i < 10000; i++)
    assert_int_equal(judge(&one, start_ns).verdict, judge(&other, start_ns).verdict);
}

static void test_restart(void **state) {
  (void)state;
  struct link_direction direction = direction_of("loss=10 burst_loss=10", 5);
  enum link_verdict verdicts[1000];
  for (int i = 0; i < 1000; i++)
    verdicts[i] = judge(&direction, start_ns).verdict;
  link_direction_restart(&direction, start_ns);
  for (int i = 0; i < 1000; i++)
    assert_int_equal(judge(&direction, start_ns).verdict, verdicts[i]);
}

static void test_another_seed_later_is_as_that_seed_from_the_start(void **state) {
  (void)state;
  struct link_direction seeded = direction_of("loss=10 burst_loss=10", 5);
  struct link_direction fresh = direction_of("loss=10 burst_loss=10", 9);
  unsigned differ = 0;
  for (int i = 0; i < 1000; i++)
    differ += judge(&seeded, start_ns).verdict != judge(&fresh, start_ns).verdict;
  assert_true(differ > 100);
  link_direction_seed(&seeded, 9, LINK_AB);
  link_direction_restart(&seeded, start_ns);
  link_direction_restart(&fresh, start_ns);
  for (int i = 0; i < 1000; i++)
    assert_int_equal(judge(&seeded, start_ns).verdict, judge(&fresh, start_ns).verdict);
}

static void test_delay_and_jitter_keep_the_order(void **state) {
  (void)state;
  struct link_direction direction = direction_of("delay=20 jitter=10", 3);
  uint64_t last = 0, least = UINT64_MAX, most = 0;
  for (uint64_t i = 0; i < 10000; i++) {
    uint64_t now = start_ns + i * 100 * NS_PER_MS, due = judge(&direction, now).due_ns;
    assert_true(due >= last);
    last = due;
    least = due - now < least ? due - now : least;
    most = due - now > most ? due - now : most;
  }
  assert_true(least >= 20 * NS_PER_MS && least < 20 * NS_PER_MS + NS_PER_MS / 20);
  assert_true(most < 30 * NS_PER_MS && most > 30 * NS_PER_MS - NS_PER_MS / 20);
  for (uint64_t i = 0; i < 10000; i++) { /* close together, the jitter would let them overtake */
    uint64_t due = judge(&direction, start_ns + 2000 * NS_PER_S + i * NS_PER_MS).due_ns;
    assert_true(due >= last);
    last = due;
  }
}

static void test_less_delay_overtakes_nothing(void **state) {
  (void)state;
  struct link_direction direction = direction_of("delay=300", 3);
  uint64_t due = judge(&direction, start_ns).due_ns;
  direction.settings.delay_ns = 10 * NS_PER_MS;
  assert_int_equal(judge(&direction, start_ns + NS_PER_MS).due_ns, due);
  assert_int_equal(judge(&direction, start_ns + NS_PER_S).due_ns, start_ns + NS_PER_S + 10 * NS_PER_MS);
}

static void test_reordered_comes_later_and_is_overtaken(void **state) {
  (void)state;
  struct link_direction direction = direction_of("delay=10 reorder=10 reorder_ms=3", 3);
  unsigned overtaken = 0;
  uint64_t last = 0;
  for (uint64_t i = 0; i < 10000; i++) {
    uint64_t now = start_ns + i * NS_PER_MS;
    struct link_fate fate = judge(&direction, now);
    assert_int_equal(fate.due_ns, now + (fate.reordered ? 13 : 10) * NS_PER_MS);
    overtaken += fate.due_ns < last;
    last = fate.due_ns > last ? fate.due_ns : last;
  }
  assert_true(overtaken > 1000);
}

/* 1250 bytes at 10 Mbit/s are 1 ms. */
static void test_rate(void **state) {
  (void)state;
  struct link_direction direction = direction_of("rate=10", 1);
  for (uint64_t i = 1; i <= 5000; i++)
    assert_int_equal(judge(&direction, start_ns).due_ns, start_ns + i * NS_PER_MS);
  uint64_t later = start_ns + 10 * NS_PER_S;
  assert_int_equal(judge(&direction, later).due_ns, later + NS_PER_MS);
  assert_int_equal(link_direction_judge(&direction, later, 125).due_ns, later + NS_PER_MS + NS_PER_MS / 10);
}

static void test_queue_in_time(void **state) {
  (void)state;
  struct link_direction direction = direction_of("rate=10 queue_ms=20", 1);
  for (uint64_t i = 0; i <= 20; i++)
    assert_int_equal(judge(&direction, start_ns).verdict, LINK_PASS);
  assert_int_equal(judge(&direction, start_ns).verdict, LINK_DROP_QUEUE);
  assert_int_equal(judge(&direction, start_ns + NS_PER_MS).verdict, LINK_PASS);
  assert_int_equal(judge(&direction, start_ns + NS_PER_MS).verdict, LINK_DROP_QUEUE);
}

static void test_queue_in_bytes(void **state) {
  (void)state;
  struct link_direction direction = direction_of("rate=10 queue_bytes=12500", 1);
  for (uint64_t i = 0; i < 10; i++)
    assert_int_equal(judge(&direction, start_ns).verdict, LINK_PASS);
  assert_int_equal(judge(&direction, start_ns).verdict, LINK_DROP_QUEUE);
  assert_int_equal(link_direction_judge(&direction, start_ns + NS_PER_MS, LEN).verdict, LINK_PASS);
}

static void test_excess_is_dropped(void **state) {
  (void)state;
  struct link_direction direction = direction_of("rate=10 queue_ms=20", 1);
  unsigned at_90 = 0, at_120 = 0;
  for (uint64_t i = 0; i < 10000; i++)
    at_90 += judge(&direction, start_ns + i * NS_PER_MS * 10 / 9).verdict == LINK_DROP_QUEUE;
  direction = direction_of("rate=10 queue_ms=20", 1);
  for (uint64_t i = 0; i < 10000; i++)
    at_120 += judge(&direction, start_ns + i * NS_PER_MS * 10 / 12).verdict == LINK_DROP_QUEUE;
  assert_int_equal(at_90, 0);
  assert_near(at_120 / 10000.0, 1.0 / 6, 0.02);
}

static void test_duplicates_take_rate(void **state) {
  (void)state;
  struct link_direction direction = direction_of("rate=10 dup=100", 1);
  struct link_fate fate = judge(&direction, start_ns);
  assert_true(fate.duplicate);
  assert_int_equal(fate.due_ns, start_ns + NS_PER_MS);
  assert_int_equal(fate.duplicate_due_ns, start_ns + 2 * NS_PER_MS);
}

static void test_mtu(void **state) {
  (void)state;
  struct link_direction direction = direction_of("mtu=1280", 1);
  assert_int_equal(link_direction_judge(&direction, start_ns, 1280).verdict, LINK_PASS);
  assert_int_equal(link_direction_judge(&direction, start_ns, 1281).verdict, LINK_DROP_MTU);
}

static void test_down(void **state) {
  (void)state;
  struct link_direction direction = direction_of("delay=50", 1);
  uint64_t before = judge(&direction, start_ns).due_ns;
  link_direction_down(&direction, start_ns + NS_PER_MS, 3 * NS_PER_S);
  assert_int_equal(before, start_ns + 50 * NS_PER_MS);
  assert_int_equal(judge(&direction, start_ns + NS_PER_MS).verdict, LINK_DROP_BLACKOUT);
  assert_int_equal(judge(&direction, start_ns + 3 * NS_PER_S).verdict, LINK_DROP_BLACKOUT);
  assert_int_equal(judge(&direction, start_ns + 3 * NS_PER_S + NS_PER_MS).verdict, LINK_PASS);
}

static void test_blackouts_by_the_clock(void **state) {
  (void)state;
  struct link_direction direction = direction_of("blackout_ms=3000 blackout_every_ms=20000", 1);
  for (uint64_t ms = 0; ms < 100000; ms += 100) {
    bool down = judge(&direction, start_ns + ms * NS_PER_MS).verdict == LINK_DROP_BLACKOUT;
    assert_int_equal(down, ms % 20000 >= 17000);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_without_settings_all_pass_at_once),
      cmocka_unit_test(test_random_loss),
      cmocka_unit_test(test_loss_at_its_ends),
      cmocka_unit_test(test_burst_loss),
      cmocka_unit_test(test_other_shares),
      cmocka_unit_test(test_same_seed_same_fate),
      cmocka_unit_test(test_fate_follows_the_number),
      cmocka_unit_test(test_restart),
      cmocka_unit_test(test_another_seed_later_is_as_that_seed_from_the_start),
      cmocka_unit_test(test_delay_and_jitter_keep_the_order),
      cmocka_unit_test(test_less_delay_overtakes_nothing),
      cmocka_unit_test(test_reordered_comes_later_and_is_overtaken),
      cmocka_unit_test(test_rate),
      cmocka_unit_test(test_queue_in_time),
      cmocka_unit_test(test_queue_in_bytes),
      cmocka_unit_test(test_excess_is_dropped),
      cmocka_unit_test(test_duplicates_take_rate),
      cmocka_unit_test(test_mtu),
      cmocka_unit_test(test_down),
      cmocka_unit_test(test_blackouts_by_the_clock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
