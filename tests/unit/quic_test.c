/* Connections between two endpoints over a simulated link (support_quic.h): streams, transfers, and how they end. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "proto/quic_gcm.h"
#include "proto/quic_priv.h"
#include "proto/tls_priv.h"
#include "unit/support.h"
#include "unit/support_quic.h"

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
  struct sim *sim = sim_open_pair(2);
  for (int i = 0; i < 1000; i++)
    assert_non_null(sim_open(sim, (uint64_t)(i % 7) * 300, true));
  sim_echo(sim, 60000);
  assert_int_equal(sim->client_app->closed, 1000);
  /* closed streams make room for others: far more than max_streams in the end */
  assert_true(sim_run(sim, sim_echoed, 1000));
  sim_run(sim, sim_never, 200);
  assert_true(quic_streams_left(sim->client) > 512); /* the rest is given back when these are used up */
  while (quic_streams_left(sim->client) > 0)
    assert_non_null(sim_open(sim, 10, true));
  sim_run(sim, sim_never, 200);
  assert_true(quic_streams_left(sim->client) > 0);
  sim_echo(sim, 60000);
  sim_free(sim);
}

static void test_streams_run_out(void **state) {
  (void)state;
  struct sim *sim = sim_new(3);
  sim->server_settings.max_streams = 3;
  sim_connect_pair(sim);
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
  sim_connect_pair(sim);
  sim->loss = sim->duplicates = loss;
  sim->jitter_ns = 3 * NS_PER_MS;
  assert_non_null(sim_open(sim, 10 << 20, true));
  assert_non_null(sim_open(sim, 100000, true));
  uint64_t start = sim->now_ns;
  sim_echo(sim, 600000);
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
    struct sim *sim = sim_open_pair(9);
    sim->loss = 200;
    assert_non_null(sim_open(sim, 300000, true));
    uint64_t start = sim->datagrams;
    sim_echo(sim, 60000);
    datagrams[i] = sim->datagrams - start;
    sim_free(sim);
  }
  /* certificates differ in length from one signature to the next, so the handshake may; the transfer may not */
  assert_in_range(datagrams[1], datagrams[0] - datagrams[0] / 20, datagrams[0] + datagrams[0] / 20);
}

/* Suites and groups other than the preferred ones, up to a transfer. */
static void with_suite(const char *suite, int server_group) {
  struct sim *sim = sim_new(40);
  char report[SIM_REPORT_MAX];
  struct tls_context *client = sim_tls(false, "client", NULL, "server.test", report);
  struct tls_context *server = sim_tls(true, "server", NULL, "client.test", report);
  if (suite != NULL)
    assert_int_equal(wolfSSL_CTX_set_cipher_list(client->ctx, suite), WOLFSSL_SUCCESS);
  if (server_group != 0)
    assert_int_equal(wolfSSL_CTX_set_groups(server->ctx, &server_group, 1), WOLFSSL_SUCCESS);
  sim_set_tls(sim, client, server);
  sim_connect_pair(sim);
  assert_non_null(sim_open(sim, 100000, true));
  sim_echo(sim, 4000);
  WOLFSSL *ssl = tls_session_native(sim->client->tls);
  const char *name = wolfSSL_get_cipher_name(ssl);
  if (suite != NULL)
    assert_string_equal(name, suite);
  else
    assert_string_equal(name, "TLS13-AES128-GCM-SHA256");
  sim_free(sim);
}

static void test_suites_and_groups(void **state) {
  (void)state;
  for (enum gcm_code code = GCM_NONE; code < GCM_CODES; code++)
    if (gcm_use(code)) {
      with_suite(NULL, 0);
      with_suite("TLS13-AES256-GCM-SHA384", 0);
    }
  with_suite("TLS13-CHACHA20-POLY1305-SHA256", 0);
  with_suite(NULL, WOLFSSL_ECC_SECP256R1); /* HelloRetryRequest */
  with_suite(NULL, WOLFSSL_ECC_SECP521R1);
}

static void update_keys(void) {
  struct sim *sim = sim_open_pair(41);
  for (int i = 0; i < 4; i++) {
    assert_non_null(sim_open(sim, 50000, true));
    sim_echo(sim, 4000);
    sim_run(sim, sim_never, 500);             /* not before the last one is acknowledged */
    assert_non_null(sim_open(sim, 10, true)); /* the next keys are made when a packet comes after that */
    sim_echo(sim, 4000);
    struct quic_conn *conn = i % 2 == 0 ? sim->client : sim->server_app->conn;
    assert_int_equal(ngtcp2_conn_initiate_key_update(conn->ngtcp2, sim->now_ns), 0);
  }
  assert_non_null(sim_open(sim, 50000, true));
  sim_echo(sim, 4000);
  sim_free(sim);
}

static void test_key_update(void **state) {
  (void)state;
  for (enum gcm_code code = GCM_NONE; code < GCM_CODES; code++)
    if (gcm_use(code))
      update_keys();
}

/* SIGHUP: new handshakes see the new certificate, the old connection goes on with the context it began with. */
static void test_new_certificates(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(42);
  char report[SIM_REPORT_MAX];
  struct tls_context *fresh = sim_tls(true, "server_wrong_name", NULL, "client.test", report);
  quic_endpoint_set_tls(sim->server_end, fresh);
  tls_context_close(sim->server_tls);
  sim->server_tls = fresh;
  assert_non_null(sim_open(sim, 1000, true));
  sim_echo(sim, 1000);
  struct quic_conn *old = sim->client;
  sim_connect(sim, "server.test");
  assert_true(sim_run(sim, sim_client_closing, 2000));
  assert_non_null(strstr(quic_reason(sim->client), "wrong host name"));
  assert_int_equal(quic_state(old), QUIC_OPEN);
  sim_forget(sim, old);
  sim_free(sim);
}

static bool server_got_stream(struct sim *sim) { return sim->server_app->count > 0; }
static bool client_was_reset(struct sim *sim) { return sim->client_app->streams[0].reset_code != 0; }
static bool client_was_stopped(struct sim *sim) { return sim->client_app->streams[0].stopped_code != 0; }
static bool first_closed(struct sim *sim) { return sim->client_app->streams[0].closed; }

static void test_reset_and_stop(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(10);
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
  sim_echo(sim, 1000);
  sim_free(sim);
}

static void test_no_credit_no_more(void **state) {
  (void)state;
  struct sim *sim = sim_new(12);
  sim->server_settings.stream_receive_window = 50000;
  sim_connect_pair(sim);
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
  sim_connect_pair(sim);
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
  struct sim *sim = sim_open_pair(14);
  quic_close(sim->client, 0x100, "stopping", sim->now_ns);
  assert_int_equal(quic_state(sim->client), QUIC_CLOSING);
  assert_true(sim_run(sim, sim_over, 1000));
  assert_string_equal(quic_reason(sim->client), "closed: H3_NO_ERROR (stopping)");
  assert_string_equal(quic_reason(sim->servers[0]), "closed by the peer: H3_NO_ERROR (stopping)");
  assert_false(quic_failed(sim->client) || quic_failed(sim->servers[0]));
  int64_t id;
  assert_int_equal(quic_open_stream(sim->client, &id), ERR_LINK_DOWN);
  quic_close(sim->client, 0x102, "again", sim->now_ns); /* the first one stays */
  assert_true(sim_run(sim, sim_all_closed, 10000));
  assert_string_equal(quic_reason(sim->client), "closed: H3_NO_ERROR (stopping)");
  assert_int_equal(quic_expiry(sim->client), UINT64_MAX);
  sim_free(sim);
}

static void test_close_is_repeated(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(15);
  assert_non_null(sim_open(sim, 1 << 20, true));
  sim_run(sim, sim_never, 40);
  sim->cut = true; /* the first CONNECTION_CLOSE is lost */
  quic_close(sim->server_app->conn, 0x102, "broken", sim->now_ns);
  sim_run(sim, sim_never, 1);
  sim->cut = false;
  assert_true(sim_run(sim, sim_client_closing, 3000));
  assert_string_equal(quic_reason(sim->client), "closed by the peer: H3_INTERNAL_ERROR (broken)");
  assert_true(quic_failed(sim->client));
  sim_free(sim);
}

static void test_failing_application(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(16);
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
  assert_true(sim_run(sim, sim_client_closed, 1));
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
  sim_connect_pair(sim);
  uint64_t start = sim->now_ns;
  assert_true(sim_run(sim, sim_all_closed, 20000));
  assert_in_range((sim->now_ns - start) / NS_PER_MS, 2800, 3200);
  assert_string_equal(quic_reason(sim->client), "idle timeout");
  assert_string_equal(quic_reason(sim->servers[0]), "idle timeout");
  assert_true(quic_failed(sim->client));
  sim_free(sim);
}

static void test_keep_alive(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(19);
  sim_run(sim, sim_never, 1000); /* path MTU discovery is over by then */
  uint64_t before = sim->datagrams;
  sim_run(sim, sim_never, 60000);
  assert_true(sim_both_open(sim));
  assert_in_range(sim->datagrams - before, 30, 150); /* a PING every 2 s, and its acknowledgement */
  sim->cut = true;                                   /* and a dead link is noticed all the same */
  assert_true(sim_run(sim, sim_all_closed, 20000));
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
  assert_true(sim_run(sim, sim_client_closed, 20000));
  assert_string_equal(quic_reason(sim->client), "handshake timeout");
  assert_in_range((sim->now_ns - start) / NS_PER_MS, 4900, 5100);
  sim_free(sim);
}

static void test_stateless_reset(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(21);
  sim_run(sim, sim_never, 500);
  sim_restart_server(sim);
  uint64_t start = sim->now_ns;
  assert_non_null(sim_open(sim, 1000, true));
  assert_true(sim_run(sim, sim_client_closing, 2000));
  assert_in_range((sim->now_ns - start) / NS_PER_MS, 19, 40); /* one round trip, not an idle timeout */
  assert_string_equal(quic_reason(sim->client), "the peer forgot the connection (stateless reset)");
  assert_true(quic_failed(sim->client));
  assert_int_equal(quic_endpoint_counters(sim->server_end)->resets_sent, 1);
  sim_free(sim);
}

static void test_reset_of_another_key(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(22);
  sim->server_settings.reset_key[0] ^= 1;
  sim_restart_server(sim);
  assert_non_null(sim_open(sim, 1000, true));
  sim_run(sim, sim_never, 2000);
  assert_int_equal(quic_state(sim->client), QUIC_OPEN); /* forged, as far as the client can tell */
  assert_true(quic_endpoint_counters(sim->server_end)->resets_sent > 0);
  sim_free(sim);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_handshake),
      cmocka_unit_test(test_thousand_streams),
      cmocka_unit_test(test_streams_run_out),
      cmocka_unit_test(test_transfer_with_loss_and_reordering),
      cmocka_unit_test(test_same_seed_same_run),
      cmocka_unit_test(test_suites_and_groups),
      cmocka_unit_test(test_key_update),
      cmocka_unit_test(test_new_certificates),
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
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
