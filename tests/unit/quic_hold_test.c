/* What waits for company, and what does not. */
#include <stdio.h>

#include "base/clock.h"
#include "unit/support.h"
#include "unit/support_quic.h"

enum { EXCHANGES = 200 };

static const struct sim_stream *latest;

static bool latest_back(struct sim *sim) {
  (void)sim;
  return latest->fin_received;
}

/* Until everything has come back, whether or not that is acknowledged. */
static void exchange(struct sim *sim, uint64_t len) {
  latest = sim_open(sim, len, true);
  assert_non_null(latest);
  assert_true(sim_run(sim, latest_back, 1000));
  assert_int_equal(latest->received, len);
}

/* One after another: each acknowledgement rides on the next message. */
static void test_few_datagrams(void **state) {
  (void)state;
  struct sim *sim = sim_new(1);
  sim->delay_ns = 50 * NS_PER_US;
  sim_connect_pair(sim);
  sim_run(sim, sim_never, 2000); /* the path's MTU is known */
  uint64_t before = sim->datagrams;
  for (int i = 0; i < EXCHANGES; i++)
    exchange(sim, 200);
  uint64_t sent = sim->datagrams - before;
  print_message("%llu datagrams for %d exchanges\n", (unsigned long long)sent, EXCHANGES);
  assert_in_range(sent, 2 * EXCHANGES, 2 * EXCHANGES + EXCHANGES / 10);
  sim_free(sim);
}

static bool all_acked(struct sim *sim) {
  struct quic_stats stats;
  quic_stats(sim->server_app->conn, &stats);
  return stats.bytes_in_flight == 0;
}

/* The last message is acknowledged without another one: not at once, but before the peer would ask. */
static void test_last_one(void **state) {
  (void)state;
  struct sim *sim = sim_new(2);
  sim->delay_ns = 50 * NS_PER_US;
  sim_connect_pair(sim);
  sim_run(sim, sim_never, 2000);
  for (int i = 0; i < 20; i++) {
    exchange(sim, 200);
    uint64_t over = sim->now_ns, datagrams = sim->datagrams;
    assert_false(all_acked(sim));
    assert_true(sim_run(sim, all_acked, 10));
    assert_in_range(sim->now_ns - over, 500 * NS_PER_US, NS_PER_MS);
    assert_int_equal(sim->datagrams, datagrams + 1);
    sim_run(sim, sim_never, 100);
  }
  struct quic_stats stats;
  quic_stats(sim->client, &stats);
  assert_in_range(stats.rtt_smoothed_ns, 100 * NS_PER_US, 200 * NS_PER_US);
  sim_free(sim);
}

/* A peer whose congestion window is small waits for nothing but the way there and back. */
static void test_bulk_is_not_held(void **state) {
  (void)state;
  struct sim *sim = sim_new(3);
  sim->delay_ns = 50 * NS_PER_US;
  sim->client_settings.congestion = QUIC_CONSTANT;
  sim->client_settings.initial_window = 14720;
  sim->client_settings.initial_rtt_ms = 1;
  sim_connect_pair(sim);
  sim_run(sim, sim_never, 2000);
  uint64_t begun = sim->now_ns;
  exchange(sim, 1 << 20);
  /* 72 windows, each in a round trip of 0.1 ms with its pace */
  assert_in_range(sim->now_ns - begun, 7 * NS_PER_MS, 25 * NS_PER_MS);
  sim_free(sim);
}

/* Streams come back in batches, but long-lived ones do not make what is held back a limit of its own. */
static void test_streams_come_back(void **state) {
  (void)state;
  struct sim *sim = sim_new(4);
  sim->server_settings.max_streams = 10;
  sim_connect_pair(sim);
  for (int i = 0; i < 3; i++)
    assert_non_null(sim_open(sim, 10, false));
  for (int i = 0; i < 100; i++) {
    struct sim_stream *stream = sim_open(sim, 10, true);
    assert_non_null(stream);
    for (int ms = 0; !stream->closed; ms++) {
      assert_true(ms < 1000);
      sim_run(sim, sim_never, 1);
    }
  }
  uint32_t open = 3;
  for (int ms = 0; ms < 200; ms++) {
    while (sim_open(sim, 10, false) != NULL)
      open++;
    sim_run(sim, sim_never, 1);
  }
  assert_int_equal(open, 10);
  sim_free(sim);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_few_datagrams),
      cmocka_unit_test(test_last_one),
      cmocka_unit_test(test_bulk_is_not_held),
      cmocka_unit_test(test_streams_come_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
