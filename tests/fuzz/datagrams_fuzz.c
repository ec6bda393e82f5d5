/* The front door: what anybody can send to a server's UDP port, from several addresses. No crash, no more connections
   than the limits say, and in the end nothing is left. An address that has not proven itself gets not more than three
   times the bytes that came from it (RFC 9000 section 8), and in answers without a connection not more than it sent.

   An input is a flag byte and then steps: raw datagrams; Initial packets of which the input is the plain payload,
   sealed here with the keys that belong to the connection ID of RFC 9001's appendix A, so that frames and TLS are
   reached; and datagrams of a real client, changed on the way. */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>

#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "fuzz/fuzz.h"
#include "proto/quic.h"

enum { ADDRESSES = 4, CONNS_MAX = 8, ROUNDS_MAX = 16, BUFFER_BYTES = 65507, TAG_BYTES = 16, INITIAL_BYTES = 1200 };

enum flags {
  FLAG_CLIENT = 1, /* a real client is there */
  FLAG_RETRY = 2,  /* every client must prove its address first */
  FLAG_REFUSE = 4, /* the server is stopping */
};

enum step {
  STEP_ADDRESS = 3,
  STEP_KIND = 0x1c,
  STEP_RAW = 0,       /* two bytes of length, and the datagram */
  STEP_INITIAL = 4,   /* the same with the payload of an Initial packet */
  STEP_CLIENT = 8,    /* the client sends a datagram; two bytes and one: where and how it is changed */
  STEP_AGAIN = 0x0c,  /* the same with the datagram before */
  STEP_TIME = 0x10,   /* two bytes of milliseconds pass */
  STEP_PADDED = 0x80, /* STEP_INITIAL: up to what a server answers */
};

struct world {
  struct quic_endpoint *server, *client_end;
  struct quic_conn *client, *conns[CONNS_MAX];
  struct address server_address, addresses[ADDRESSES];
  uint64_t in[ADDRESSES], out[ADDRESSES], answered[ADDRESSES];
  bool proven[ADDRESSES];
  unsigned client_at; /* the address it sends from */
  uint64_t now_ns;
  uint32_t packet_number;
  uint8_t last[BUFFER_BYTES];
  size_t last_len;
};

/* --- an application that says nothing ------------------------------------------------------------------------------
 */

struct app {
  struct quic_conn *conn;
};

static enum err app_data(void *app, int64_t stream, const uint8_t *data, size_t len, bool fin) {
  (void)data, (void)fin;
  quic_credit(((struct app *)app)->conn, len);
  quic_stream_credit(((struct app *)app)->conn, stream, len);
  return ERR_OK;
}
static enum err app_number(void *app, int64_t stream, uint64_t number) {
  (void)app, (void)stream, (void)number;
  return ERR_OK;
}
static enum err app_room(void *app, int64_t stream) { return app_number(app, stream, 0); }
static enum err app_written(void *app, int64_t stream, size_t len) { return app_number(app, stream, len); }
static size_t app_output(void *app, int64_t *stream, bool *fin, struct iovec vecs[QUIC_OUTPUT_VECS]) {
  (void)app, (void)fin, (void)vecs;
  *stream = -1;
  return 0;
}
static void app_nothing(void *app, int64_t stream) { (void)app, (void)stream; }
static uint64_t app_error(void *app) { return (void)app, 0x102; }

static const struct quic_app quiet = {
    .stream_data = app_data,
    .stream_acked = app_number,
    .stream_room = app_room,
    .stream_reset = app_number,
    .stream_stopped = app_number,
    .stream_closed = app_number,
    .output = app_output,
    .output_written = app_written,
    .output_blocked = app_nothing,
    .output_shut = app_nothing,
    .app_error = app_error,
};

static void *opened(void *context, struct quic_conn *conn, const struct quic_app **ops) {
  static struct app apps[CONNS_MAX + 1];
  static unsigned next;
  (void)context;
  struct app *app = &apps[next++ % (CONNS_MAX + 1)];
  app->conn = conn;
  *ops = &quiet;
  return app;
}

static const struct quic_events events = {.opened = opened};

/* --- sealed packets ------------------------------------------------------------------------------------------------
 */

/* RFC 9001 appendix A.1 */
static const uint8_t dcid[8] = {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08};
static const uint8_t key[16] = {0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46,
                                0x77, 0x30, 0xef, 0xcb, 0xe3, 0xb1, 0xa2, 0x2d};
static const uint8_t iv[12] = {0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c};
static const uint8_t hp[16] = {0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10,
                               0x28, 0x3a, 0x1e, 0x99, 0x33, 0xad, 0xed, 0xd2};

enum { SCID_BYTES = 16, PN_AT = 18 + SCID_BYTES, PN_BYTES = 4, PAYLOAD_AT = PN_AT + PN_BYTES };

static void seal(uint8_t *packet, size_t payload_len, uint32_t number) {
  Aes aes;
  uint8_t nonce[12], mask[16], *at = packet + PAYLOAD_AT;
  memcpy(nonce, iv, sizeof nonce);
  for (int i = 0; i < 4; i++)
    nonce[8 + i] ^= (uint8_t)(number >> (24 - 8 * i));
  must(wc_AesInit(&aes, NULL, INVALID_DEVID) == 0 && wc_AesGcmSetKey(&aes, key, sizeof key) == 0);
  must(wc_AesGcmEncrypt(&aes, at, at, (word32)payload_len, nonce, sizeof nonce, at + payload_len, TAG_BYTES, packet,
                        PAYLOAD_AT) == 0);
  wc_AesFree(&aes);
  must(wc_AesInit(&aes, NULL, INVALID_DEVID) == 0 &&
       wc_AesSetKeyDirect(&aes, hp, sizeof hp, NULL, AES_ENCRYPTION) == 0);
  must(wc_AesEncryptDirect(&aes, mask, packet + PN_AT + 4) == 0);
  wc_AesFree(&aes);
  packet[0] ^= mask[0] & 0x0f;
  for (int i = 0; i < PN_BYTES; i++)
    packet[PN_AT + i] ^= mask[1 + i];
}

/* Returns the length of the datagram. */
static size_t make_initial(uint8_t *packet, struct bytes payload, bool padded, uint32_t number) {
  size_t len = payload.len < 4 ? 4 : payload.len, least = INITIAL_BYTES - PAYLOAD_AT - TAG_BYTES;
  if (padded && len < least)
    len = least;
  memset(packet, 0, PAYLOAD_AT + len);
  memcpy(packet, "\xc3\x00\x00\x00\x01\x08", 6);
  memcpy(packet + 6, dcid, sizeof dcid);
  packet[14] = SCID_BYTES;
  for (uint8_t i = 0; i < SCID_BYTES; i++)
    packet[15 + i] = i; /* so the ClientHello of the seeds has it; then no token */
  size_t rest = PN_BYTES + len + TAG_BYTES;
  packet[PN_AT - 2] = (uint8_t)(0x40 | rest >> 8);
  packet[PN_AT - 1] = (uint8_t)rest;
  for (int i = 0; i < PN_BYTES; i++)
    packet[PN_AT + i] = (uint8_t)(number >> (24 - 8 * i));
  if (payload.len > 0)
    memcpy(packet + PAYLOAD_AT, payload.data, payload.len);
  seal(packet, len, number);
  return PAYLOAD_AT + len + TAG_BYTES;
}

/* --- the network ---------------------------------------------------------------------------------------------------
 */

static void to_server(struct world *world, unsigned from, const uint8_t *data, size_t len) {
  world->in[from] += len;
  quic_receive(world->server, &world->server_address, &world->addresses[from], data, len, world->now_ns);
  must(quic_endpoint_count(world->server) <= CONNS_MAX);
}

static void from_server(struct world *world, const uint8_t *data, const struct quic_train *train, bool answer) {
  unsigned to = 0;
  while (to < ADDRESSES && !address_equal(&world->addresses[to], &train->remote))
    to++;
  must(to < ADDRESSES);
  *(answer ? &world->answered[to] : &world->out[to]) += train->len;
  must(world->answered[to] <= world->in[to]);
  must(world->proven[to] || world->out[to] + world->answered[to] <= 3 * world->in[to]);
  if (world->client == NULL || world->client_at != to)
    return;
  world->proven[to] = true;
  for (size_t at = 0; at < train->len; at += train->segment_bytes) {
    size_t left = train->len - at;
    quic_receive(world->client_end, &world->addresses[to], &world->server_address, data + at,
                 left < train->segment_bytes ? left : train->segment_bytes, world->now_ns);
  }
}

static void take_ready(struct world *world) {
  struct quic_conn *conn;
  while (quic_endpoint_ready(world->client_end) != NULL)
    continue;
  while ((conn = quic_endpoint_ready(world->server)) != NULL) {
    unsigned i = 0;
    while (i < CONNS_MAX && world->conns[i] != conn)
      i++;
    for (unsigned j = 0; i == CONNS_MAX && j < CONNS_MAX; j++)
      if (world->conns[j] == NULL)
        world->conns[i = j] = conn;
    must(i < CONNS_MAX);
  }
}

static void server_acts(struct world *world) {
  static uint8_t buffer[BUFFER_BYTES];
  struct quic_train train;
  take_ready(world);
  for (unsigned i = 0; i < CONNS_MAX; i++) {
    struct quic_conn *conn = world->conns[i];
    if (conn == NULL)
      continue;
    if (quic_expiry(conn) <= world->now_ns)
      quic_expire(conn, world->now_ns);
    for (int round = 0; round < ROUNDS_MAX && quic_emit(conn, buffer, sizeof buffer, &train, world->now_ns); round++)
      from_server(world, buffer, &train, false);
    if (quic_state(conn) == QUIC_CLOSED) {
      take_ready(world); /* it must not be returned after it is freed */
      quic_free(conn);
      world->conns[i] = NULL;
    }
  }
  while (quic_endpoint_emit(world->server, buffer, sizeof buffer, &train))
    from_server(world, buffer, &train, true);
  take_ready(world);
}

static void client_acts(struct world *world) {
  if (world->client == NULL)
    return;
  struct quic_train train;
  if (quic_expiry(world->client) <= world->now_ns)
    quic_expire(world->client, world->now_ns);
  world->last_len = 0;
  if (quic_emit(world->client, world->last, sizeof world->last, &train, world->now_ns))
    world->last_len = train.segment_bytes;
}

/* --- steps ---------------------------------------------------------------------------------------------------------
 */

static size_t input_number(struct input *input) {
  size_t high = input_byte(input);
  return high << 8 | input_byte(input);
}

static void take_step(struct world *world, struct input *input) {
  static uint8_t packet[BUFFER_BYTES + 64];
  uint8_t step = input_byte(input);
  unsigned from = step & STEP_ADDRESS;
  size_t number = input_number(input);
  struct bytes bytes;
  switch (step & STEP_KIND) {
  case STEP_RAW:
    bytes = input_take(input, number);
    to_server(world, from, bytes.data, bytes.len);
    break;
  case STEP_INITIAL:
    bytes = input_take(input, number & 0x1fff);
    to_server(world, from, packet, make_initial(packet, bytes, (step & STEP_PADDED) != 0, world->packet_number++));
    break;
  case STEP_CLIENT:
    client_acts(world);
    world->client_at = from;
    /* fall through */
  case STEP_AGAIN:
    if (world->last_len > 0) {
      world->last[number % world->last_len] ^= input_byte(input);
      to_server(world, from, world->last, world->last_len);
    }
    break;
  case STEP_TIME:
    world->now_ns += number * NS_PER_MS;
    break;
  default:
    break;
  }
  world->now_ns += NS_PER_MS;
  server_acts(world);
}

/* --- the whole -----------------------------------------------------------------------------------------------------
 */

static struct tls_context *tls_of(bool server) {
  struct tls_settings settings = {
      .server = server,
      .ca = PTP_FUZZ_CERTS "/ca.pem",
      .cert = server ? PTP_FUZZ_CERTS "/server.pem" : PTP_FUZZ_CERTS "/client.pem",
      .key = server ? PTP_FUZZ_CERTS "/server.key" : PTP_FUZZ_CERTS "/client.key",
      .peer_names = {server ? "client.test" : "server.test"},
      .peer_name_count = 1,
  };
  struct tls_context *context;
  must(tls_context_open(&context, &settings, NULL, NULL) == ERR_OK); /* nothing to report */
  return context;
}

static void world_open(struct world *world, uint8_t flags) {
  static struct tls_context *server_tls, *client_tls;
  if (server_tls == NULL) {
    server_tls = tls_of(true);
    client_tls = tls_of(false);
  }
  *world = (struct world){.now_ns = 1000 * NS_PER_S};
  random_seed(1);
  must(address_parse(&world->server_address, "192.0.2.2", 20010) == ERR_OK);
  for (unsigned i = 0; i < ADDRESSES; i++)
    must(address_parse(&world->addresses[i], i < 2 ? "192.0.2.1" : "2001:db8::1", (uint16_t)(40000 + i)) == ERR_OK);
  struct quic_settings settings = {
      .tls = client_tls,
      .max_idle_timeout_ms = 5000,
      .initial_rtt_ms = 333,
      .handshake_timeout_ms = 5000,
      .initial_window = 14720,
      .congestion = QUIC_CUBIC,
      .max_streams = 100,
      .stream_receive_window = 100000,
      .receive_window = 1000000,
      .connections_max = 1,
      .handshakes_max = 1,
      .reset_key = {1},
  };
  must(quic_endpoint_open(&world->client_end, &settings, &events, NULL) == ERR_OK);
  settings.server = true;
  settings.tls = server_tls;
  settings.connections_max = CONNS_MAX;
  settings.handshakes_max = (flags & FLAG_RETRY) != 0 ? 3 : 4 * (CONNS_MAX - 2);
  must(quic_endpoint_open(&world->server, &settings, &events, NULL) == ERR_OK);
  quic_endpoint_accept(world->server, (flags & FLAG_REFUSE) == 0);
  if ((flags & FLAG_CLIENT) != 0)
    world->client =
        quic_connect(world->client_end, &world->addresses[0], &world->server_address, "server.test", world->now_ns);
}

/* Everybody falls silent: every connection must end by itself. */
static void world_close(struct world *world) {
  if (world->client != NULL) {
    quic_free(world->client);
    world->client = NULL;
  }
  for (int i = 0; i < 100 && quic_endpoint_count(world->server) > 0; i++) {
    world->now_ns += NS_PER_S;
    server_acts(world);
  }
  must(quic_endpoint_count(world->server) == 0);
  quic_endpoint_close(world->server);
  quic_endpoint_close(world->client_end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct world world;
  struct input input = input_of(data, size);
  world_open(&world, input_byte(&input));
  for (int i = 0; i < 100 && input_left(&input) > 0; i++)
    take_step(&world, &input);
  world_close(&world);
  fuzz_nothing_left();
  return 0;
}
