/* The initial window of every controller, the constant one, and the pace of a first flight. */
#include <stdio.h>

#include "base/clock.h"
#include "unit/support.h"
#include "unit/support_quic.h"

static struct sim *pair(uint64_t seed, int congestion, uint64_t window, uint64_t initial_rtt_ms) {
  struct sim *sim = sim_new(seed);
  sim->client_settings.congestion = sim->server_settings.congestion = congestion;
  sim->client_settings.initial_window = sim->server_settings.initial_window = window;
  sim->client_settings.initial_rtt_ms = sim->server_settings.initial_rtt_ms = initial_rtt_ms;
  sim->client_settings.stream_receive_window = sim->server_settings.stream_receive_window = 16 << 20;
  sim->link_mtu = 1472;
  sim_start(sim);
  sim_connect(sim, "server.test");
  return sim;
}

static uint64_t cwnd(const struct quic_conn *conn) {
  struct quic_stats stats;
  quic_stats(conn, &stats);
  return stats.cwnd;
}

static void test_initial_window(void **state) {
  (void)state;
  static const uint64_t windows[] = {5000, 14720, 100000, 3000000};
  for (int congestion = QUIC_BBR; congestion <= QUIC_CONSTANT; congestion++) {
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
      struct sim *sim = pair(1, congestion, windows[i], 100);
      assert_int_equal(cwnd(sim->client), windows[i]);
      assert_true(sim_run(sim, sim_both_open, 4000));
      assert_true(cwnd(sim->server_app->conn) >= windows[i]);
      sim_free(sim);
    }
  }
}

/* RFC 9002 section 7.2: two packets at least, whatever is configured. */
static void test_smallest_window(void **state) {
  (void)state;
  struct sim *sim = pair(2, QUIC_CONSTANT, 1, 100);
  assert_int_equal(cwnd(sim->client), 2400);
  assert_true(sim_run(sim, sim_both_confirmed, 4000));
  assert_non_null(sim_open(sim, 20000, true));
  assert_true(sim_run(sim, sim_echoed, 10000));
  sim_free(sim);
}

static void test_constant_under_loss(void **state) {
  (void)state;
  struct sim *sim = pair(3, QUIC_CONSTANT, 60000, 100);
  assert_true(sim_run(sim, sim_both_confirmed, 4000));
  sim->loss = 2000;
  assert_non_null(sim_open(sim, 2 << 20, true));
  for (int i = 0; i < 50; i++) {
    sim_run(sim, sim_never, 20);
    struct quic_stats stats;
    quic_stats(sim->client, &stats);
    assert_int_equal(stats.cwnd, 60000);
    assert_true(stats.bytes_in_flight <= 60000 + 4 * 1472); /* probes may exceed it (RFC 9002 section 7.5) */
  }
  assert_true(sim_run(sim, sim_echoed, 60000));
  sim_free(sim);
}

/* Everything is lost for two seconds: a few probes go out, no storm, and the window is there again afterwards. */
static void test_constant_in_an_outage(void **state) {
  (void)state;
  struct sim *sim = pair(4, QUIC_CONSTANT, 300000, 100);
  assert_true(sim_run(sim, sim_both_confirmed, 4000));
  assert_non_null(sim_open(sim, 8 << 20, true));
  sim_run(sim, sim_never, 200);
  sim->cut = true;
  sim_run(sim, sim_never, 200); /* the window is sent out, and then nothing is acknowledged */
  uint64_t before = sim->datagrams;
  sim_run(sim, sim_never, 1800);
  assert_in_range(sim->datagrams - before, 2, 60);
  sim->cut = false;
  assert_true(sim_run(sim, sim_echoed, 60000));
  assert_int_equal(cwnd(sim->client), 300000);
  sim_free(sim);
}

/* Bytes that leave within |ms| after a large window was opened at once, before the first acknowledgement of it. */
static uint64_t sent_within(struct sim *sim, uint64_t ms) {
  uint64_t before = sim->bytes_to_server;
  assert_non_null(sim_open(sim, 4 << 20, true));
  sim_run(sim, sim_never, ms);
  return sim->bytes_to_server - before;
}

/* A megabyte at a round trip of 200 ms: one millisecond may let go a train or two, not the megabyte. */
static void test_first_flight_is_paced(void **state) {
  (void)state;
  for (int congestion = QUIC_BBR; congestion <= QUIC_CONSTANT; congestion++) {
    struct sim *sim = pair(5, congestion, 1000000, 200);
    sim->delay_ns = 100 * NS_PER_MS;
    assert_true(sim_run(sim, sim_both_confirmed, 4000));
    uint64_t early = sent_within(sim, 2);
    assert_in_range(early, 5000, 120000);
    sim_run(sim, sim_never, 190);
    uint64_t all = sim->bytes_to_server;
    print_message("  controller %d: %llu bytes in 2 ms, %llu in all after 192 ms\n", congestion,
                  (unsigned long long)early, (unsigned long long)all);
    assert_true(all > 900000); /* but the whole window within one round trip */
    sim_free(sim);
  }
}

/* A guess of the round-trip time that is far too long must not slow down a connection that knows better. */
static void test_wrong_guess(void **state) {
  (void)state;
  for (int congestion = QUIC_BBR; congestion <= QUIC_CONSTANT; congestion++) {
    struct sim *sim = pair(6, congestion, 200000, 2000);
    sim->delay_ns = 5 * NS_PER_MS;
    uint64_t start = sim->now_ns;
    assert_true(sim_run(sim, sim_both_confirmed, 4000));
    assert_true(sim->now_ns - start < 150 * NS_PER_MS);
    assert_non_null(sim_open(sim, 200000, true));
    start = sim->now_ns;
    assert_true(sim_run(sim, sim_echoed, 10000));
    print_message("  controller %d: 200 kB and back in %llu ms\n", congestion,
                  (unsigned long long)((sim->now_ns - start) / NS_PER_MS));
    assert_true(sim->now_ns - start < 120 * NS_PER_MS);
    sim_free(sim);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_initial_window),        cmocka_unit_test(test_smallest_window),
      cmocka_unit_test(test_constant_under_loss),   cmocka_unit_test(test_constant_in_an_outage),
      cmocka_unit_test(test_first_flight_is_paced), cmocka_unit_test(test_wrong_guess),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
