/* What endpoints do with strangers, with peers that move, and with junk. */
#include <string.h>

#include "base/clock.h"
#include "proto/quic_priv.h"
#include "unit/support.h"
#include "unit/support_quic.h"

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

/* The datagrams that a client sends are kept here instead of delivered. */
static size_t first_flight(struct sim *sim, uint8_t *out, size_t size) {
  struct quic_train train;
  sim_connect(sim, "server.test");
  assert_true(quic_emit(sim->client, out, size, &train, sim->now_ns));
  return train.segment_bytes;
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

/* A server that speaks no version of ours: the client says so, and does not wait for a timeout. */
static void test_no_common_version(void **state) {
  (void)state;
  struct sim *sim = sim_new(50);
  static uint8_t data[65507];
  uint8_t out[64] = {0x80};
  sim_start(sim);
  first_flight(sim, data, sizeof data);
  /* the IDs change places */
  size_t dcid_len = data[5], scid_len = data[6 + dcid_len], at = 5;
  out[at++] = (uint8_t)scid_len;
  memcpy(out + at, data + 7 + dcid_len, scid_len);
  at += scid_len;
  out[at++] = (uint8_t)dcid_len;
  memcpy(out + at, data + 6, dcid_len);
  at += dcid_len;
  memcpy(out + at, "\x0a\x0a\x0a\x0a", 4);
  out[6] ^= 1; /* forged by somebody who does not know them */
  quic_receive(sim->client_end, &sim->client_address, &sim->server_address, out, at + 4, sim->now_ns);
  assert_int_equal(quic_state(sim->client), QUIC_HANDSHAKE);
  out[6] ^= 1;
  quic_receive(sim->client_end, &sim->client_address, &sim->server_address, out, at + 4, sim->now_ns);
  assert_int_equal(quic_state(sim->client), QUIC_CLOSED);
  assert_string_equal(quic_reason(sim->client), "handshake: the peer does not speak QUIC version 1");
  sim_free(sim);
}

/* RELIABILITY.md Q-13: another worker's connections may be alive, whatever this one knows. */
static void test_no_reset_for_other_workers(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(51);
  sim->server_settings.worker = 1;
  sim_restart_server(sim);
  assert_non_null(sim_open(sim, 1000, true));
  sim_run(sim, sim_never, 500);
  assert_int_equal(quic_state(sim->client), QUIC_OPEN);
  assert_int_equal(quic_endpoint_counters(sim->server_end)->resets_sent, 0);
  sim_free(sim);
}

/* RFC 9000 section 10.3.3: smaller than what provoked it, none for the smallest, and not many. */
static void test_resets_are_limited(void **state) {
  (void)state;
  struct sim *sim = sim_new(52);
  uint8_t data[100] = {0x40}, out[1500];
  sim_start(sim);
  for (size_t len = 0; len <= sizeof data; len++) {
    inject(sim, data, len);
    size_t got = answer(sim, out);
    assert_true(got < (len > 0 ? len : 1));
    assert_true((got > 0) == (len > 21));
    assert_true(len != 60 || got == 43);
    sim->now_ns += NS_PER_S;
  }
  uint64_t before = quic_endpoint_counters(sim->server_end)->resets_sent;
  assert_in_range(before, 70, 80);
  for (int i = 0; i < 1000; i++) {
    inject(sim, data, sizeof data);
    answer(sim, out);
  }
  assert_in_range(quic_endpoint_counters(sim->server_end)->resets_sent - before, 60, 64);
  sim_free(sim);
}

static void test_retry(void **state) {
  (void)state;
  struct sim *sim = sim_new(24);
  sim->server_settings.handshakes_max = 3; /* a quarter of it is 0: always */
  sim_connect_pair(sim);
  assert_int_equal(quic_endpoint_counters(sim->server_end)->retries_sent, 1);
  assert_string_equal(quic_name(sim->client), quic_name(sim->server_app->conn));
  assert_non_null(sim_open(sim, 1000, true));
  sim_echo(sim, 1000);
  sim_free(sim);
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
  assert_true(sim_run(sim, sim_client_closing, 3000));
  assert_string_equal(quic_reason(sim->client), "handshake: closed by the peer: CONNECTION_REFUSED");
  assert_true(quic_endpoint_counters(sim->server_end)->refused > 0);
  sim_free(sim);
}

static void test_refused_by_the_owner(void **state) {
  (void)state;
  struct sim *sim = sim_new(54);
  sim->refuse = true;
  sim_start(sim);
  sim_connect(sim, "server.test");
  assert_true(sim_run(sim, sim_over, 3000));
  assert_string_equal(quic_reason(sim->client), "handshake: closed by the peer: CONNECTION_REFUSED");
  assert_string_equal(quic_reason(sim->servers[0]), "handshake: closed: CONNECTION_REFUSED");
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
  sim_connect_pair(sim);
  struct quic_conn *first = sim->client;
  sim_connect(sim, "server.test");
  sim_run(sim, sim_never, 200);
  assert_int_equal(quic_state(sim->client), QUIC_OPEN);
  struct quic_conn *second = sim->client;
  sim_connect(sim, "server.test");
  assert_null(quic_connect(sim->client_end, &sim->client_address, &sim->server_address, "server.test", sim->now_ns));
  assert_true(sim_run(sim, sim_client_closing, 3000));
  assert_string_equal(quic_reason(sim->client), "handshake: closed by the peer: CONNECTION_REFUSED");
  sim_forget(sim, first);
  sim_forget(sim, second);
  sim_free(sim);
}

/* Paths */

static void test_rebinding(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(30);
  assert_non_null(sim_open(sim, 3 << 20, true));
  for (uint16_t port = 40001; port < 40004; port++) {
    sim_run(sim, sim_never, 100);
    assert_false(sim_echoed(sim));
    address_set_port(&sim->client_address, port);
  }
  sim_echo(sim, 60000);
  struct address peer = quic_peer(sim->server_app->conn);
  assert_int_equal(address_port(&peer), 40003);
  assert_int_equal(sim->server_count, 1); /* the same connection all the time */
  sim_free(sim);
}

/* A client that changes its address with a new connection ID each time, as RFC 9000 section 9.5 wants it: IDs come and
   go, and are bounded (RELIABILITY.md Q-8). */
static void test_migration_uses_up_ids(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(53);
  assert_non_null(sim_open(sim, 8 << 20, true));
  unsigned moved = 0;
  for (uint16_t port = 41000; port < 41060; port++) {
    sim_run(sim, sim_never, 30);
    struct address fresh = sim->client_address;
    address_set_port(&fresh, port);
    ngtcp2_path path = quic_path(&fresh, &sim->server_address);
    if (ngtcp2_conn_initiate_immediate_migration(sim->client->ngtcp2, &path, sim->now_ns) == 0) {
      sim->client_address = fresh;
      moved++;
    }
  }
  assert_true(moved > 10);
  sim_echo(sim, 120000);
  assert_int_equal(sim->server_count, 1);
  sim_free(sim);
}

/* What an attacker can see is sent again from elsewhere: the session stays where it is. */
static void test_replay_from_elsewhere(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(31);
  static uint8_t data[65507];
  struct quic_train train;
  struct address elsewhere;
  assert_int_equal(address_parse(&elsewhere, "203.0.113.9", 1), ERR_OK);
  sim_run(sim, sim_never, 1000); /* what follows the handshake is over */
  assert_non_null(sim_open(sim, 100, true));
  assert_true(quic_emit(sim->client, data, sizeof data, &train, sim->now_ns));
  quic_receive(sim->server_end, &sim->server_address, &sim->client_address, data, train.segment_bytes, sim->now_ns);
  quic_receive(sim->server_end, &sim->server_address, &elsewhere, data, train.segment_bytes, sim->now_ns);
  struct address peer = quic_peer(sim->server_app->conn);
  assert_true(address_equal(&peer, &sim->client_address));
  sim_echo(sim, 1000);
  sim_free(sim);
}

static void test_mtu(void **state) {
  (void)state;
  struct quic_stats stats;
  struct sim *sim = sim_open_pair(32);
  sim_run(sim, sim_never, 3000);
  quic_stats(sim->client, &stats);
  assert_int_equal(stats.mtu, 16332); /* nothing on this link is too large */
  sim_free(sim);
  sim = sim_new(36);
  assert_int_equal(address_parse(&sim->client_address, "127.0.0.1", 40000), ERR_OK);
  assert_int_equal(address_parse(&sim->server_address, "127.0.0.1", 20010), ERR_OK);
  sim_connect_pair(sim);
  sim_run(sim, sim_never, 3000);
  quic_stats(sim->client, &stats);
  assert_int_equal(stats.mtu, 65507); /* all that UDP takes, and only within one machine */
  sim_free(sim);
  sim = sim_new(33);
  sim->link_mtu = 1400; /* UDP payload */
  sim_connect_pair(sim);
  sim_run(sim, sim_never, 3000);
  quic_stats(sim->client, &stats);
  assert_int_equal(stats.mtu, 1372);
  sim_free(sim);
  sim = sim_new(34);
  sim->client_settings.mtu = sim->server_settings.mtu = 1350;
  sim_connect_pair(sim);
  quic_stats(sim->client, &stats);
  assert_int_equal(stats.mtu, 1350);
  assert_int_equal(sim->largest, 1350);
  sim_free(sim);
  sim = sim_new(35);
  sim->client_settings.mtu = sim->server_settings.mtu = 65527;
  sim_connect_pair(sim);
  assert_non_null(sim_open(sim, 1 << 20, true));
  sim_echo(sim, 10000);
  assert_int_equal(sim->largest, 65507); /* what a datagram over IPv4 holds, and a train of one */
  sim_free(sim);
}

/* Junk */

static void test_random_datagrams(void **state) {
  (void)state;
  struct sim *sim = sim_open_pair(35);
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
  sim_echo(sim, 10000);
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
      sim_echo(sim, 60000);
    }
    sim_free(sim);
  }
  assert_true(opened > 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_version_negotiation),
      cmocka_unit_test(test_retry),
      cmocka_unit_test(test_no_common_version),
      cmocka_unit_test(test_no_reset_for_other_workers),
      cmocka_unit_test(test_resets_are_limited),
      cmocka_unit_test(test_retry_token_is_bound),
      cmocka_unit_test(test_refused_while_stopping),
      cmocka_unit_test(test_refused_by_the_owner),
      cmocka_unit_test(test_flood_is_bounded),
      cmocka_unit_test(test_amplification),
      cmocka_unit_test(test_connections_are_bounded),
      cmocka_unit_test(test_rebinding),
      cmocka_unit_test(test_migration_uses_up_ids),
      cmocka_unit_test(test_replay_from_elsewhere),
      cmocka_unit_test(test_mtu),
      cmocka_unit_test(test_random_datagrams),
      cmocka_unit_test(test_mutated_datagrams),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
