/* Two endpoints over a simulated link: see support_quic.h. */
#include <stdio.h>
#include <string.h>

#include <ngtcp2/ngtcp2.h>

#include "base/clock.h"
#include "unit/support.h"
#include "unit/support_quic.h"

static void say_states(struct sim *sim) {
  print_message("client: %d %s\n", quic_state(sim->client), quic_reason(sim->client));
  for (uint32_t i = 0; i < sim->server_count; i++)
    print_message("server: %d %s\n", quic_state(sim->servers[i]), quic_reason(sim->servers[i]));
}

static void connect_pair(struct sim *sim) {
  sim_start(sim);
  sim_connect(sim, "server.test");
  if (!sim_run(sim, sim_both_confirmed, 4000)) {
    say_states(sim);
    fail();
  }
}

static struct sim *open_pair(uint64_t seed) {
  struct sim *sim = sim_new(seed);
  connect_pair(sim);
  return sim;
}

static void echo(struct sim *sim, uint64_t limit_ms) {
  if (!sim_run(sim, sim_echoed, limit_ms)) {
    say_states(sim);
    fail();
  }
  assert_int_equal(sim->client_app->mismatches + sim->server_app->mismatches, 0);
}

static bool client_closing(struct sim *sim) { return quic_state(sim->client) >= QUIC_CLOSING; }
static bool client_closed(struct sim *sim) { return quic_state(sim->client) == QUIC_CLOSED; }

static bool all_closed(struct sim *sim) {
  if (!client_closed(sim))
    return false;
  for (uint32_t i = 0; i < sim->server_count; i++)
    if (quic_state(sim->servers[i]) != QUIC_CLOSED)
      return false;
  return true;
}

/* Life */

static void test_handshake(void **state) {
  (void)state;
  struct sim *sim = sim_new(1);
  sim_start(sim);
  sim_connect(sim, "server.test");
  uint64_t start = sim->now_ns;
  assert_int_equal(quic_state(sim->client), QUIC_HANDSHAKE);
  assert_true(sim_run(sim, sim_both_open, 1000));
  assert_in_range((sim->now_ns - start) / NS_PER_MS, 25, 50); /* 1.5 round trips of 20 ms */
  assert_true(sim_run(sim, sim_both_confirmed, 1000));
  struct quic_conn *far = sim->server_app->conn;
  assert_string_equal(quic_name(sim->client), quic_name(far));
  assert_int_equal(strlen(quic_name(far)), 36);
  assert_string_equal(quic_reason(far), "");
  assert_ptr_equal(quic_owner(far), sim->server_app);
  struct address peer = quic_peer(far), local = quic_local(far);
  assert_true(address_equal(&peer, &sim->client_address) && address_equal(&local, &sim->server_address));
  assert_int_equal(quic_endpoint_count(sim->server_end), 1);
  assert_int_equal(quic_streams_left(sim->client), 1024);
  sim_free(sim);
}

static void test_thousand_streams(void **state) {
  (void)state;
  struct sim *sim = open_pair(2);
  for (int i = 0; i < 1000; i++)
    assert_non_null(sim_open(sim, (uint64_t)(i % 7) * 300, true));
  echo(sim, 60000);
  assert_int_equal(sim->client_app->closed, 1000);
  /* closed streams make room for others: far more than max_streams in the end */
  assert_true(sim_run(sim, sim_echoed, 1000));
  sim_run(sim, sim_never, 200);
  assert_int_equal(quic_streams_left(sim->client), 1024);
  for (int i = 0; i < 1000; i++)
    assert_non_null(sim_open(sim, 10, true));
  echo(sim, 60000);
  sim_free(sim);
}

static void test_streams_run_out(void **state) {
  (void)state;
  struct sim *sim = sim_new(3);
  sim->server_settings.max_streams = 3;
  connect_pair(sim);
  int64_t id;
  for (int i = 0; i < 3; i++)
    assert_non_null(sim_open(sim, 1, false));
  assert_int_equal(quic_streams_left(sim->client), 0);
  assert_int_equal(quic_open_stream(sim->client, &id), ERR_AGAIN);
  assert_int_equal(quic_open_uni_stream(sim->client, &id), ERR_OK);
  sim_free(sim);
}

static void transfer(uint64_t seed, int congestion, uint32_t loss, uint64_t window) {
  struct sim *sim = sim_new(seed);
  sim->client_settings.congestion = sim->server_settings.congestion = congestion;
  sim->client_settings.initial_window = sim->server_settings.initial_window = window;
  sim->link_mtu = 1472;
  connect_pair(sim);
  sim->loss = loss;
  sim->jitter_ns = 3 * NS_PER_MS;
  assert_non_null(sim_open(sim, 10 << 20, true));
  assert_non_null(sim_open(sim, 100000, true));
  uint64_t start = sim->now_ns;
  echo(sim, 600000);
  struct quic_stats stats;
  quic_stats(sim->client, &stats);
  print_message("  10 MB both ways, controller %d, loss %u: %llu ms, lost %llu of %llu, cwnd %llu, mtu %llu\n",
                congestion, loss, (unsigned long long)((sim->now_ns - start) / NS_PER_MS),
                (unsigned long long)stats.packets_lost, (unsigned long long)stats.packets_sent,
                (unsigned long long)stats.cwnd, (unsigned long long)stats.mtu);
  assert_true(loss == 0 || stats.packets_lost > 0);
  sim_free(sim);
}

static void test_transfer_with_loss_and_reordering(void **state) {
  (void)state;
  transfer(4, QUIC_CUBIC, 0, 14720);
  transfer(5, QUIC_CUBIC, 500, 14720);
  transfer(6, QUIC_NEWRENO, 500, 14720);
  transfer(7, QUIC_BBR, 500, 14720);
  transfer(8, QUIC_CONSTANT, 500, 200000);
}

static void test_same_seed_same_run(void **state) {
  (void)state;
  uint64_t datagrams[2];
  for (int i = 0; i < 2; i++) {
    struct sim *sim = open_pair(9);
    sim->loss = 200;
    assert_non_null(sim_open(sim, 300000, true));
    uint64_t start = sim->datagrams;
    echo(sim, 60000);
    datagrams[i] = sim->datagrams - start;
    sim_free(sim);
  }
  /* certificates differ in length from one signature to the next, so the handshake may; the transfer may not */
  assert_in_range(datagrams[1], datagrams[0] - datagrams[0] / 20, datagrams[0] + datagrams[0] / 20);
}

static bool server_got_stream(struct sim *sim) { return sim->server_app->count > 0; }
static bool client_was_reset(struct sim *sim) { return sim->client_app->streams[0].reset_code != 0; }
static bool client_was_stopped(struct sim *sim) { return sim->client_app->streams[0].stopped_code != 0; }
static bool first_closed(struct sim *sim) { return sim->client_app->streams[0].closed; }

static void test_reset_and_stop(void **state) {
  (void)state;
  struct sim *sim = open_pair(10);
  assert_non_null(sim_open(sim, 5000, false));
  assert_true(sim_run(sim, server_got_stream, 1000));
  quic_stream_reset(sim->server_app->conn, 0, 0x10c);
  assert_true(sim_run(sim, client_was_reset, 1000));
  assert_int_equal(sim->client_app->streams[0].reset_code, 0x10c);
  quic_stream_stop(sim->server_app->conn, 0, 0x10d);
  assert_true(sim_run(sim, client_was_stopped, 1000));
  assert_int_equal(sim->client_app->streams[0].stopped_code, 0x10d);
  assert_true(sim_run(sim, first_closed, 1000));
  quic_stream_reset(sim->client, 0, 1); /* harmless on what is over */
  quic_stream_stop(sim->client, 0, 1);
  quic_stream_credit(sim->client, 0, 1000);
  assert_non_null(sim_open(sim, 1000, true)); /* and the connection goes on */
  sim->client_app->streams[0] = sim->client_app->streams[1];
  sim->client_app->count = 1;
  echo(sim, 1000);
  sim_free(sim);
}

static void test_no_credit_no_more(void **state) {
  (void)state;
  struct sim *sim = sim_new(12);
  sim->server_settings.stream_receive_window = 50000;
  connect_pair(sim);
  sim->server_app->hungry = true;
  struct sim_stream *stream = sim_open(sim, 200000, true);
  sim_run(sim, sim_never, 2000);
  assert_int_equal(stream->sent, 50000);
  assert_true(stream->blocked);
  quic_credit(sim->server_app->conn, 50000);
  quic_stream_credit(sim->server_app->conn, stream->id, 50000);
  sim_run(sim, sim_never, 1000);
  assert_int_equal(stream->sent, 100000);
  sim_free(sim);
}

static void test_connection_window(void **state) {
  (void)state;
  struct sim *sim = sim_new(13);
  sim->server_settings.receive_window = 60000;
  connect_pair(sim);
  sim->server_app->hungry = true;
  struct sim_stream *a = sim_open(sim, 50000, false);
  struct sim_stream *b = sim_open(sim, 50000, false);
  sim_run(sim, sim_never, 2000);
  assert_int_equal(a->sent + b->sent, 60000);
  assert_false(a->blocked && b->blocked); /* by the connection, not each by its own limit */
  quic_credit(sim->server_app->conn, 60000);
  sim_run(sim, sim_never, 1000);
  assert_int_equal(a->sent + b->sent, 100000);
  sim_free(sim);
}

/* The end */

static void test_close_with_reason(void **state) {
  (void)state;
  struct sim *sim = open_pair(14);
  quic_close(sim->client, 0x100, "stopping", sim->now_ns);
  assert_int_equal(quic_state(sim->client), QUIC_CLOSING);
  assert_true(sim_run(sim, sim_over, 1000));
  assert_string_equal(quic_reason(sim->client), "closed: H3_NO_ERROR (stopping)");
  assert_string_equal(quic_reason(sim->servers[0]), "closed by the peer: H3_NO_ERROR (stopping)");
  assert_false(quic_failed(sim->client) || quic_failed(sim->servers[0]));
  int64_t id;
  assert_int_equal(quic_open_stream(sim->client, &id), ERR_LINK_DOWN);
  quic_close(sim->client, 0x102, "again", sim->now_ns); /* the first one stays */
  assert_true(sim_run(sim, all_closed, 10000));
  assert_string_equal(quic_reason(sim->client), "closed: H3_NO_ERROR (stopping)");
  assert_int_equal(quic_expiry(sim->client), UINT64_MAX);
  sim_free(sim);
}

static void test_close_is_repeated(void **state) {
  (void)state;
  struct sim *sim = open_pair(15);
  assert_non_null(sim_open(sim, 1 << 20, true));
  sim_run(sim, sim_never, 40);
  sim->cut = true; /* the first CONNECTION_CLOSE is lost */
  quic_close(sim->server_app->conn, 0x102, "broken", sim->now_ns);
  sim_run(sim, sim_never, 1);
  sim->cut = false;
  assert_true(sim_run(sim, client_closing, 3000));
  assert_string_equal(quic_reason(sim->client), "closed by the peer: H3_INTERNAL_ERROR (broken)");
  assert_true(quic_failed(sim->client));
  sim_free(sim);
}

static void test_failing_application(void **state) {
  (void)state;
  struct sim *sim = open_pair(16);
  sim->server_app->fail = ERR_BAD_MESSAGE;
  assert_non_null(sim_open(sim, 100, true));
  assert_true(sim_run(sim, sim_over, 1000));
  assert_string_equal(quic_reason(sim->servers[0]), "closed: H3_EXCESSIVE_LOAD");
  assert_string_equal(quic_reason(sim->client), "closed by the peer: H3_EXCESSIVE_LOAD");
  sim_free(sim);
}

static void test_close_in_the_handshake(void **state) {
  (void)state;
  struct sim *sim = sim_new(17);
  sim_start(sim);
  sim_connect(sim, "server.test");
  quic_close(sim->client, 0x100, "", sim->now_ns); /* before anything was sent: nothing to say to anybody */
  assert_true(sim_run(sim, client_closed, 1));
  quic_free(sim->client);
  sim_connect(sim, "server.test");
  sim_run(sim, sim_never, 5);
  quic_close(sim->client, 0x100, "", sim->now_ns);
  assert_true(sim_run(sim, sim_over, 1000));
  assert_null(sim->server_app);
  sim_free(sim);
}

static void test_idle_timeout(void **state) {
  (void)state;
  struct sim *sim = sim_new(18);
  sim->client_settings.keep_alive_ms = sim->server_settings.keep_alive_ms = 0;
  sim->client_settings.max_idle_timeout_ms = 3000; /* the smaller one counts */
  connect_pair(sim);
  uint64_t start = sim->now_ns;
  assert_true(sim_run(sim, all_closed, 20000));
  assert_in_range((sim->now_ns - start) / NS_PER_MS, 2800, 3200);
  assert_string_equal(quic_reason(sim->client), "idle timeout");
  assert_string_equal(quic_reason(sim->servers[0]), "idle timeout");
  assert_true(quic_failed(sim->client));
  sim_free(sim);
}

static void test_keep_alive(void **state) {
  (void)state;
  struct sim *sim = open_pair(19);
  sim_run(sim, sim_never, 1000); /* path MTU discovery is over by then */
  uint64_t before = sim->datagrams;
  sim_run(sim, sim_never, 60000);
  assert_true(sim_both_open(sim));
  assert_in_range(sim->datagrams - before, 30, 150); /* a PING every 2 s, and its acknowledgement */
  sim->cut = true;                                   /* and a dead link is noticed all the same */
  assert_true(sim_run(sim, all_closed, 20000));
  assert_string_equal(quic_reason(sim->client), "idle timeout");
  sim_free(sim);
}

static void test_nobody_there(void **state) {
  (void)state;
  struct sim *sim = sim_new(20);
  sim->cut = true;
  sim_start(sim);
  sim_connect(sim, "server.test");
  uint64_t start = sim->now_ns;
  assert_true(sim_run(sim, client_closed, 20000));
  assert_string_equal(quic_reason(sim->client), "handshake timeout");
  assert_in_range((sim->now_ns - start) / NS_PER_MS, 4900, 5100);
  sim_free(sim);
}

static void test_stateless_reset(void **state) {
  (void)state;
  struct sim *sim = open_pair(21);
  sim_run(sim, sim_never, 500);
  sim_restart_server(sim);
  uint64_t start = sim->now_ns;
  assert_non_null(sim_open(sim, 1000, true));
  assert_true(sim_run(sim, client_closing, 2000));
  assert_in_range((sim->now_ns - start) / NS_PER_MS, 19, 40); /* one round trip, not an idle timeout */
  assert_string_equal(quic_reason(sim->client), "the peer forgot the connection (stateless reset)");
  assert_true(quic_failed(sim->client));
  assert_int_equal(quic_endpoint_counters(sim->server_end)->resets_sent, 1);
  sim_free(sim);
}

static void test_reset_of_another_key(void **state) {
  (void)state;
  struct sim *sim = open_pair(22);
  sim->server_settings.reset_key[0] ^= 1;
  sim_restart_server(sim);
  assert_non_null(sim_open(sim, 1000, true));
  sim_run(sim, sim_never, 2000);
  assert_int_equal(quic_state(sim->client), QUIC_OPEN); /* forged, as far as the client can tell */
  assert_true(quic_endpoint_counters(sim->server_end)->resets_sent > 0);
  sim_free(sim);
}

/* The front door */

enum { INITIAL_BYTES = 1200 };

/* A datagram that is an Initial by its looks. */
static void fake_initial(uint8_t out[INITIAL_BYTES], uint32_t version, uint64_t number) {
  memset(out, 0x55, INITIAL_BYTES);
  out[0] = 0xc3;
  for (int i = 0; i < 4; i++)
    out[1 + i] = (uint8_t)(version >> (24 - 8 * i));
  out[5] = 8;
  memcpy(out + 6, &number, 8);
  out[14] = 4;
  out[19] = 0;    /* no token */
  out[20] = 0x44; /* length 1178 */
  out[21] = 0x9a;
}

static void inject(struct sim *sim, const uint8_t *data, size_t len) {
  quic_receive(sim->server_end, &sim->server_address, &sim->client_address, data, len, sim->now_ns);
}

static size_t answer(struct sim *sim, uint8_t out[1500]) {
  struct quic_train train;
  if (!quic_endpoint_emit(sim->server_end, out, 1500, &train))
    return 0;
  assert_int_equal(train.segment_bytes, train.len);
  assert_true(address_equal(&train.remote, &sim->client_address));
  return train.len;
}

static void test_version_negotiation(void **state) {
  (void)state;
  struct sim *sim = sim_new(23);
  uint8_t data[INITIAL_BYTES], out[1500];
  sim_start(sim);
  fake_initial(data, 0x0a1a2a3a, 1);
  inject(sim, data, sizeof data);
  size_t len = answer(sim, out);
  assert_true(len > 0 && (out[0] & 0x80) != 0);
  assert_memory_equal(out + 1, "\0\0\0\0", 4);                         /* the version of a negotiation */
  assert_memory_equal(out + len - 8, "\0\0\0\x01\x6b\x33\x43\xcf", 8); /* QUIC version 1 and 2 */
  inject(sim, data, INITIAL_BYTES - 1);                                /* too short to be answered */
  assert_int_equal(answer(sim, out), 0);
  assert_int_equal(quic_endpoint_counters(sim->server_end)->versions_sent, 1);
  for (int i = 0; i < 1000; i++)
    inject(sim, data, sizeof data);
  assert_in_range(quic_endpoint_counters(sim->server_end)->versions_sent, 10, 64); /* limited in rate */
  assert_int_equal(quic_endpoint_count(sim->server_end), 0);
  sim_free(sim);
}

static void test_retry(void **state) {
  (void)state;
  struct sim *sim = sim_new(24);
  sim->server_settings.handshakes_max = 3; /* a quarter of it is 0: always */
  connect_pair(sim);
  assert_int_equal(quic_endpoint_counters(sim->server_end)->retries_sent, 1);
  assert_string_equal(quic_name(sim->client), quic_name(sim->server_app->conn));
  assert_non_null(sim_open(sim, 1000, true));
  echo(sim, 1000);
  sim_free(sim);
}

/* The datagrams that a client sends are kept here instead of delivered. */
static size_t first_flight(struct sim *sim, uint8_t *out, size_t size) {
  struct quic_train train;
  sim_connect(sim, "server.test");
  assert_true(quic_emit(sim->client, out, size, &train, sim->now_ns));
  return train.segment_bytes;
}

static void test_retry_token_is_bound(void **state) {
  (void)state;
  struct sim *sim = sim_new(25);
  sim->server_settings.handshakes_max = 3;
  static uint8_t data[65507];
  uint8_t out[1500];
  struct quic_train train;
  sim_start(sim);
  inject(sim, data, first_flight(sim, data, sizeof data));
  size_t len = answer(sim, out);
  assert_true(len > 0);
  quic_receive(sim->client_end, &sim->client_address, &sim->server_address, out, len, sim->now_ns);
  assert_true(quic_emit(sim->client, data, sizeof data, &train, sim->now_ns));
  struct address elsewhere;
  assert_int_equal(address_parse(&elsewhere, "203.0.113.9", 1), ERR_OK);
  quic_receive(sim->server_end, &sim->server_address, &elsewhere, data, train.segment_bytes, sim->now_ns);
  assert_int_equal(quic_endpoint_counters(sim->server_end)->invalid_tokens, 1);
  quic_receive(sim->server_end, &sim->server_address, &sim->client_address, data, train.segment_bytes,
               sim->now_ns + 60 * NS_PER_S); /* expired */
  assert_int_equal(quic_endpoint_counters(sim->server_end)->invalid_tokens, 2);
  assert_int_equal(quic_endpoint_count(sim->server_end), 0);
  inject(sim, data, train.segment_bytes);
  assert_int_equal(quic_endpoint_count(sim->server_end), 1);
  sim_free(sim);
}

static void test_refused_while_stopping(void **state) {
  (void)state;
  struct sim *sim = sim_new(26);
  sim_start(sim);
  quic_endpoint_accept(sim->server_end, false);
  sim_connect(sim, "server.test");
  assert_true(sim_run(sim, client_closing, 3000));
  assert_string_equal(quic_reason(sim->client), "handshake: closed by the peer: CONNECTION_REFUSED");
  assert_true(quic_endpoint_counters(sim->server_end)->refused > 0);
  sim_free(sim);
}

static void test_flood_is_bounded(void **state) {
  (void)state;
  struct sim *sim = sim_new(27);
  static uint8_t data[65507];
  uint8_t out[1500];
  sim->client_settings.connections_max = 400;
  sim->server_settings.handshakes_max = 16;
  sim_start(sim);
  struct quic_conn *clients[300];
  uint64_t in = 0, answered = 0;
  for (int i = 0; i < 300; i++) {
    size_t len = first_flight(sim, data, sizeof data);
    clients[i] = sim->client;
    in += len;
    inject(sim, data, len);
    for (size_t got; (got = answer(sim, out)) > 0;)
      answered += got;
  }
  assert_int_equal(quic_endpoint_count(sim->server_end), 4); /* a quarter of 16, the others must prove their address */
  assert_int_equal(quic_endpoint_counters(sim->server_end)->retries_sent, 296);
  assert_true(answered < 3 * in);
  for (int i = 0; i < 300; i++)
    quic_free(clients[i]);
  sim->client = NULL;
  sim_free(sim);
}

static void test_amplification(void **state) {
  (void)state;
  struct sim *sim = sim_new(28);
  static uint8_t data[65507];
  sim_start(sim);
  size_t len = first_flight(sim, data, sizeof data);
  sim->cut = true; /* a forged address: what the server sends is counted, and reaches nobody */
  inject(sim, data, len);
  quic_free(sim->client);
  sim_connect(sim, "server.test");
  sim->bytes_to_client = 0;
  sim_run(sim, sim_never, 10000);
  assert_in_range(sim->bytes_to_client, 1, 3 * len);
  assert_int_equal(quic_state(sim->servers[0]), QUIC_CLOSED);
  assert_string_equal(quic_reason(sim->servers[0]), "handshake timeout");
  sim_free(sim);
}

static void test_connections_are_bounded(void **state) {
  (void)state;
  struct sim *sim = sim_new(29);
  sim->client_settings.connections_max = 3;
  sim->server_settings.connections_max = 2;
  connect_pair(sim);
  struct quic_conn *first = sim->client;
  sim_connect(sim, "server.test");
  sim_run(sim, sim_never, 200);
  assert_int_equal(quic_state(sim->client), QUIC_OPEN);
  struct quic_conn *second = sim->client;
  sim_connect(sim, "server.test");
  assert_null(quic_connect(sim->client_end, &sim->client_address, &sim->server_address, "server.test", sim->now_ns));
  assert_true(sim_run(sim, client_closing, 3000));
  assert_string_equal(quic_reason(sim->client), "handshake: closed by the peer: CONNECTION_REFUSED");
  sim_forget(sim, first);
  sim_forget(sim, second);
  sim_free(sim);
}

/* Paths */

static void test_rebinding(void **state) {
  (void)state;
  struct sim *sim = open_pair(30);
  assert_non_null(sim_open(sim, 3 << 20, true));
  for (uint16_t port = 40001; port < 40004; port++) {
    sim_run(sim, sim_never, 100);
    assert_false(sim_echoed(sim));
    address_set_port(&sim->client_address, port);
  }
  echo(sim, 60000);
  struct address peer = quic_peer(sim->server_app->conn);
  assert_int_equal(address_port(&peer), 40003);
  assert_int_equal(sim->server_count, 1); /* the same connection all the time */
  sim_free(sim);
}

/* What an attacker can see is sent again from elsewhere: the session stays where it is. */
static void test_replay_from_elsewhere(void **state) {
  (void)state;
  struct sim *sim = open_pair(31);
  static uint8_t data[65507];
  struct quic_train train;
  struct address elsewhere;
  assert_int_equal(address_parse(&elsewhere, "203.0.113.9", 1), ERR_OK);
  assert_non_null(sim_open(sim, 100, true));
  assert_true(quic_emit(sim->client, data, sizeof data, &train, sim->now_ns));
  quic_receive(sim->server_end, &sim->server_address, &sim->client_address, data, train.segment_bytes, sim->now_ns);
  quic_receive(sim->server_end, &sim->server_address, &elsewhere, data, train.segment_bytes, sim->now_ns);
  struct address peer = quic_peer(sim->server_app->conn);
  assert_true(address_equal(&peer, &sim->client_address));
  echo(sim, 1000);
  sim_free(sim);
}

static void test_mtu(void **state) {
  (void)state;
  struct quic_stats stats;
  struct sim *sim = open_pair(32);
  sim_run(sim, sim_never, 3000);
  quic_stats(sim->client, &stats);
  assert_int_equal(stats.mtu, 16332); /* nothing on this link is too large */
  sim_free(sim);
  sim = sim_new(33);
  sim->link_mtu = 1400; /* UDP payload */
  connect_pair(sim);
  sim_run(sim, sim_never, 3000);
  quic_stats(sim->client, &stats);
  assert_int_equal(stats.mtu, 1372);
  sim_free(sim);
  sim = sim_new(34);
  sim->client_settings.mtu = sim->server_settings.mtu = 1350;
  connect_pair(sim);
  quic_stats(sim->client, &stats);
  assert_int_equal(stats.mtu, 1350);
  assert_int_equal(sim->largest, 1350);
  sim_free(sim);
}

/* Junk */

static void test_random_datagrams(void **state) {
  (void)state;
  struct sim *sim = open_pair(35);
  uint64_t seed = 35;
  uint8_t data[1500], out[1500];
  for (int i = 0; i < 100000; i++) {
    size_t len = draw_below(&seed, i % 4 == 0 ? 40 : sizeof data + 1);
    for (size_t at = 0; at < len; at += 8) {
      uint64_t word = draw(&seed);
      memcpy(data + at, &word, len - at < 8 ? len - at : 8);
    }
    if (len > 5 && i % 2 == 0) { /* half of them get past the first look */
      data[0] |= 0xc0;
      memcpy(data + 1, "\0\0\0\x01", 4);
      data[5] = (uint8_t)(data[5] % 22);
    }
    inject(sim, data, len);
    quic_receive(sim->client_end, &sim->client_address, &sim->server_address, data, len, sim->now_ns);
    while (answer(sim, out) > 0)
      continue;
    sim->now_ns += 1000;
  }
  inject(sim, data, 0);
  assert_true(sim_both_open(sim));
  assert_non_null(sim_open(sim, 10000, true));
  echo(sim, 10000);
  assert_int_equal(quic_endpoint_count(sim->server_end), 1);
  sim_free(sim);
}

/* Bits of real datagrams flip on the way, from the first on. */
static void test_mutated_datagrams(void **state) {
  (void)state;
  unsigned opened = 0;
  for (uint64_t seed = 100; seed < 160; seed++) {
    struct sim *sim = sim_new(seed);
    sim->mutate = 1500;
    sim_start(sim);
    sim_connect(sim, "server.test");
    if (sim_run(sim, sim_both_confirmed, 6000)) {
      opened++;
      assert_non_null(sim_open(sim, 200000, true));
      echo(sim, 60000);
    }
    sim_free(sim);
  }
  assert_true(opened > 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_handshake),
      cmocka_unit_test(test_thousand_streams),
      cmocka_unit_test(test_streams_run_out),
      cmocka_unit_test(test_transfer_with_loss_and_reordering),
      cmocka_unit_test(test_same_seed_same_run),
      cmocka_unit_test(test_reset_and_stop),
      cmocka_unit_test(test_no_credit_no_more),
      cmocka_unit_test(test_connection_window),
      cmocka_unit_test(test_close_with_reason),
      cmocka_unit_test(test_close_is_repeated),
      cmocka_unit_test(test_failing_application),
      cmocka_unit_test(test_close_in_the_handshake),
      cmocka_unit_test(test_idle_timeout),
      cmocka_unit_test(test_keep_alive),
      cmocka_unit_test(test_nobody_there),
      cmocka_unit_test(test_stateless_reset),
      cmocka_unit_test(test_reset_of_another_key),
      cmocka_unit_test(test_version_negotiation),
      cmocka_unit_test(test_retry),
      cmocka_unit_test(test_retry_token_is_bound),
      cmocka_unit_test(test_refused_while_stopping),
      cmocka_unit_test(test_flood_is_bounded),
      cmocka_unit_test(test_amplification),
      cmocka_unit_test(test_connections_are_bounded),
      cmocka_unit_test(test_rebinding),
      cmocka_unit_test(test_replay_from_elsewhere),
      cmocka_unit_test(test_mtu),
      cmocka_unit_test(test_random_datagrams),
      cmocka_unit_test(test_mutated_datagrams),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
