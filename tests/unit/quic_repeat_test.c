/* What is sent a second time, when, and what is not. */
#include <stdio.h>

#include "base/clock.h"
#include "unit/support.h"
#include "unit/support_quic.h"

enum { RTT_MS = 100, WINDOW = 625000, PACKET = 1472 };

static struct sim *open_long(uint64_t seed, bool redundancy, uint64_t rtt_ms, int congestion) {
  struct sim *sim = sim_new(seed);
  sim->delay_ns = rtt_ms * NS_PER_MS / 2;
  sim->link_mtu = PACKET;
  sim->client_settings.redundancy = sim->server_settings.redundancy = redundancy;
  sim->client_settings.initial_window = sim->server_settings.initial_window = WINDOW;
  sim->client_settings.initial_rtt_ms = sim->server_settings.initial_rtt_ms = rtt_ms;
  sim->client_settings.congestion = sim->server_settings.congestion = congestion;
  sim_connect_pair(sim);
  sim_run(sim, sim_never, 3000); /* the path's MTU is known */
  return sim;
}

static struct quic_stats stats_of(const struct quic_conn *conn) {
  struct quic_stats stats;
  quic_stats(conn, &stats);
  return stats;
}

static uint64_t copies(const struct sim *sim) { return stats_of(sim->client).packets_repeated; }
static uint64_t copies_back(const struct sim *sim) { return stats_of(sim->server_app->conn).packets_repeated; }

static const struct sim_stream *latest;

static bool latest_back(struct sim *sim) {
  (void)sim;
  return latest->fin_received;
}

/* Milliseconds until all of |len| bytes has come back; what the client sends in the first |cut_ms| is lost. */
static double echo(struct sim *sim, uint64_t len, uint64_t cut_ms) {
  uint64_t begun = sim->now_ns;
  latest = sim_open(sim, len, true);
  assert_non_null(latest);
  sim->cut = cut_ms > 0;
  sim_run(sim, sim_never, cut_ms);
  sim->cut = false;
  assert_true(sim_run(sim, latest_back, 10000));
  assert_int_equal(latest->received, len);
  double took_ms = (double)(sim->now_ns - begun) / 1e6;
  sim_run(sim, sim_never, 2000);
  assert_int_equal(sim->client_app->mismatches + sim->server_app->mismatches, 0);
  return took_ms;
}

/* The copy comes a sixteenth of a round trip later. Also a FIN alone has one. */
static void test_loss_costs_the_spacing(void **state) {
  (void)state;
  static const uint64_t lengths[] = {1000, 0};
  for (size_t i = 0; i < 2; i++) {
    struct sim *sim = open_long(1, true, RTT_MS, QUIC_BBR);
    assert_in_range(echo(sim, lengths[i], 3), RTT_MS + 6, RTT_MS + 8);
    assert_int_equal(copies(sim), 1);
    assert_int_equal(copies_back(sim), 1);
    assert_int_equal(stats_of(sim->client).packets_lost, 1); /* which congestion control hears of */
    sim_free(sim);
    sim = open_long(1, false, RTT_MS, QUIC_BBR);
    assert_in_range(echo(sim, lengths[i], 3), 2 * RTT_MS, 4 * RTT_MS);
    assert_int_equal(copies(sim), 0);
    sim_free(sim);
  }
}

/* Both are lost: the probe timeout sees to it, and has no copies. */
static void test_both_lost(void **state) {
  (void)state;
  struct sim *sim = open_long(2, true, RTT_MS, QUIC_BBR);
  assert_in_range(echo(sim, 1000, 20), 2 * RTT_MS, 4 * RTT_MS);
  assert_int_equal(copies(sim), 1);
  sim_free(sim);
}

/* Once each, whatever the controller; nothing is taken for lost, and the round trip is what it is. */
static void test_once(void **state) {
  (void)state;
  static const int algorithms[] = {QUIC_BBR, QUIC_CUBIC, QUIC_NEWRENO, QUIC_CONSTANT};
  for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
    struct sim *sim = open_long(3, true, RTT_MS, algorithms[i]);
    (void)echo(sim, 1000, 0);
    assert_int_equal(copies(sim), 1);
    (void)echo(sim, 100000, 0);
    assert_in_range(copies(sim), 1 + 100000 / PACKET, 1 + 100000 / PACKET * 11 / 10);
    assert_in_range(copies_back(sim), 1 + 100000 / PACKET, 1 + 100000 / PACKET * 11 / 10);
    struct quic_stats stats = stats_of(sim->client);
    assert_int_equal(stats.packets_lost, 0);
    assert_int_equal(stats.bytes_in_flight, 0);
    assert_in_range(stats.rtt_smoothed_ns, RTT_MS * NS_PER_MS, (RTT_MS + 6) * NS_PER_MS);
    assert_in_range(stats.cwnd, WINDOW, 4 * WINDOW);
    sim_free(sim);
  }
}

/* A long transfer: its end at most, and no more than a window. */
static void test_end_of_a_transfer(void **state) {
  (void)state;
  static const int algorithms[] = {QUIC_BBR, QUIC_CUBIC, QUIC_NEWRENO, QUIC_CONSTANT};
  for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
    struct sim *sim = open_long(4, true, RTT_MS, algorithms[i]);
    (void)echo(sim, 20000000, 0);
    assert_in_range(copies(sim), 0, WINDOW / PACKET);
    assert_int_equal(stats_of(sim->client).packets_lost, 0);
    sim_free(sim);
  }
}

/* Where a round trip is short, loss detection is as quick. */
static void test_short_link(void **state) {
  (void)state;
  struct sim *sim = open_long(5, true, 8, QUIC_BBR);
  (void)echo(sim, 1000, 0);
  (void)echo(sim, 100000, 0);
  assert_int_equal(copies(sim) + copies_back(sim), 0);
  sim_free(sim);
}

/* Data that waits for flow control waits for the reader, and the link is not idle because of that. */
static void test_blocked(void **state) {
  (void)state;
  struct sim *sim = open_long(6, true, RTT_MS, QUIC_BBR);
  sim->server_app->hungry = true;
  const struct sim_stream *stream = sim_open(sim, 2000000, true);
  assert_non_null(stream);
  sim_run(sim, sim_never, 1000);
  assert_in_range(stream->sent, 999000, 1000000);
  assert_int_equal(copies(sim), 0);
  sim_free(sim);
}

/* A little every few milliseconds: each has its copy, and none waits for another one's. */
static void test_steady(void **state) {
  (void)state;
  enum { MESSAGES = 100 };
  struct sim *sim = open_long(7, true, RTT_MS, QUIC_BBR);
  uint64_t before = stats_of(sim->client).packets_sent;
  for (int i = 0; i < MESSAGES; i++) {
    latest = sim_open(sim, 500, true);
    assert_non_null(latest);
    sim_run(sim, sim_never, 0);
    assert_true(latest->fin_sent);
    sim_run(sim, sim_never, 5);
  }
  sim_run(sim, sim_never, 1000);
  assert_true(sim_echoed(sim));
  assert_in_range(copies(sim), MESSAGES / 2, MESSAGES); /* those that are due together share a packet */
  assert_true(stats_of(sim->client).packets_sent - before < 4 * MESSAGES);
  sim_free(sim);
}

/* With many losses in both directions all comes, and once: the echo compares every byte. */
static void test_losses(void **state) {
  (void)state;
  for (uint64_t seed = 10; seed < 30; seed++) {
    static const int algorithms[] = {QUIC_BBR, QUIC_CUBIC, QUIC_NEWRENO, QUIC_CONSTANT};
    struct sim *sim = open_long(seed, true, 40, algorithms[seed % 4]);
    sim->loss = 1500;
    sim->duplicates = 500;
    sim->jitter_ns = 3 * NS_PER_MS;
    for (int i = 0; i < 40; i++) {
      assert_non_null(sim_open(sim, (uint64_t)i * 977, true));
      sim_run(sim, sim_never, 7 * (uint64_t)(i % 5));
    }
    sim_echo(sim, 60000);
    assert_true(copies(sim) > 0);
    sim_free(sim);
  }
}

/* A stream that is given up has no copies, nor has a connection that is closed. */
static void test_given_up(void **state) {
  (void)state;
  struct sim *sim = open_long(8, true, RTT_MS, QUIC_BBR);
  const struct sim_stream *stream = sim_open(sim, 5000, false);
  assert_non_null(stream);
  sim_run(sim, sim_never, 2);
  quic_stream_reset(sim->client, stream->id, 0x10c);
  sim_run(sim, sim_never, 1000);
  assert_int_equal(copies(sim), 0);
  assert_non_null(sim_open(sim, 5000, true));
  sim_run(sim, sim_never, 2);
  quic_close(sim->client, 0x100, "done", sim->now_ns);
  sim_run(sim, sim_never, 1000);
  assert_int_equal(copies(sim), 0);
  sim_free(sim);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_loss_costs_the_spacing),
      cmocka_unit_test(test_both_lost),
      cmocka_unit_test(test_once),
      cmocka_unit_test(test_end_of_a_transfer),
      cmocka_unit_test(test_short_link),
      cmocka_unit_test(test_blocked),
      cmocka_unit_test(test_steady),
      cmocka_unit_test(test_losses),
      cmocka_unit_test(test_given_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
