#include "unit/support_quic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "unit/support.h"

enum { PATTERN_BYTES = 65521, BUFFER_BYTES = 65507, ROUNDS_MAX = 64 };

static uint8_t pattern[2 * PATTERN_BYTES];
static char certs[64];

static void remove_certs(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", certs);
  if (system(command) != 0)
    fprintf(stderr, "%s is left behind\n", certs);
}

const char *sim_certs(void) {
  if (certs[0] != '\0')
    return certs;
  snprintf(certs, sizeof certs, "/tmp/ptproxy-certs-XXXXXX");
  assert_non_null(mkdtemp(certs));
  char command[256];
  snprintf(command, sizeof command, "$(ls -d make_certs tests/make_certs 2>/dev/null | head -n 1 | sed 's|^|./|') %s",
           certs);
  assert_int_equal(system(command), 0);
  atexit(remove_certs);
  return certs;
}

static void collect(void *context, bool fatal, const char *text) {
  (void)fatal;
  char *report = context;
  size_t len = strlen(report);
  snprintf(report + len, SIM_REPORT_MAX - len, "%s\n", text);
}

struct tls_context *sim_tls(bool server, const char *name, const char *ca, const char *peer,
                            char report[SIM_REPORT_MAX]) {
  char ca_path[128], cert[128], key[128];
  snprintf(ca_path, sizeof ca_path, "%s/%s.pem", sim_certs(), ca != NULL ? ca : "ca");
  snprintf(cert, sizeof cert, "%s/%s.pem", sim_certs(), name);
  snprintf(key, sizeof key, "%s/%s.key", sim_certs(), name);
  struct tls_settings settings = {
      .server = server,
      .ca = ca_path,
      .cert = cert,
      .key = key,
      .skip_verify = peer == NULL,
      .peer_names = {peer},
      .peer_name_count = peer != NULL ? 1 : 0,
  };
  struct tls_context *context;
  report[0] = '\0';
  enum err result = tls_context_open(&context, &settings, collect, report);
  assert_true((result == ERR_OK) == (context != NULL));
  return context;
}

/* The echo */

static struct sim_stream *find(struct sim_app *app, int64_t id) {
  for (uint32_t i = 0; i < app->count; i++)
    if (app->streams[i].id == id)
      return &app->streams[i];
  return NULL;
}

static struct sim_stream *add(struct sim_app *app, int64_t id) {
  assert_true(app->count < SIM_STREAMS_MAX);
  struct sim_stream *stream = &app->streams[app->count++];
  *stream = (struct sim_stream){.id = id};
  return stream;
}

static enum err app_stream_data(void *context, int64_t id, const uint8_t *data, size_t len, bool fin) {
  struct sim_app *app = context;
  struct sim_stream *stream = find(app, id);
  if (stream == NULL)
    stream = add(app, id);
  if (len > 0 && memcmp(data, pattern + stream->received % PATTERN_BYTES, len) != 0)
    app->mismatches++;
  stream->received += len;
  stream->fin_received |= fin;
  if (app->server) {
    stream->limit = stream->received;
    stream->ends = stream->fin_received;
  }
  if (!app->hungry) {
    quic_credit(app->conn, len);
    quic_stream_credit(app->conn, id, len);
  }
  return app->fail;
}

static enum err app_stream_acked(void *context, int64_t id, uint64_t len) {
  struct sim_stream *stream = find(context, id);
  stream->acked += len;
  assert_true(stream->acked <= stream->sent);
  return ERR_OK;
}

static enum err app_stream_room(void *context, int64_t id) {
  struct sim_stream *stream = find(context, id);
  if (stream != NULL)
    stream->blocked = false;
  return ERR_OK;
}

static enum err app_stream_reset(void *context, int64_t id, uint64_t code) {
  struct sim_stream *stream = find(context, id);
  if (stream == NULL)
    stream = add(context, id);
  stream->reset_code = code;
  return ERR_OK;
}

static enum err app_stream_stopped(void *context, int64_t id, uint64_t code) {
  struct sim_stream *stream = find(context, id);
  if (stream == NULL)
    stream = add(context, id);
  stream->stopped_code = code;
  return ERR_OK;
}

static enum err app_stream_closed(void *context, int64_t id, uint64_t code) {
  struct sim_app *app = context;
  struct sim_stream *stream = find(app, id);
  app->closed++;
  if (stream == NULL)
    return ERR_OK;
  stream->closed = true;
  stream->closed_code = code;
  if (app->server)
    *stream = app->streams[--app->count];
  return ERR_OK;
}

static bool has_output(const struct sim_stream *stream) {
  return !stream->blocked && !stream->shut && !stream->closed && !stream->fin_sent &&
         (stream->sent < stream->limit || stream->ends);
}

static size_t app_output(void *context, int64_t *id, bool *fin, struct iovec vecs[QUIC_OUTPUT_VECS]) {
  struct sim_app *app = context;
  for (uint32_t i = 0; i < app->count; i++) {
    struct sim_stream *stream = &app->streams[(app->next + i) % app->count];
    if (!has_output(stream))
      continue;
    app->next = (app->next + i) % app->count;
    uint64_t len = stream->limit - stream->sent;
    len = len < PATTERN_BYTES ? len : PATTERN_BYTES;
    *id = stream->id;
    *fin = stream->ends && stream->sent + len == stream->limit;
    vecs[0] = (struct iovec){.iov_base = pattern + stream->sent % PATTERN_BYTES, .iov_len = len};
    return len > 0 ? 1 : 0;
  }
  *id = -1;
  return 0;
}

static enum err app_output_written(void *context, int64_t id, size_t len) {
  struct sim_app *app = context;
  struct sim_stream *stream = find(app, id);
  stream->sent += len;
  assert_true(stream->sent <= stream->limit);
  if (stream->ends && stream->sent == stream->limit)
    stream->fin_sent = true;
  app->next = app->count > 0 ? (app->next + 1) % app->count : 0;
  return ERR_OK;
}

static void app_output_blocked(void *context, int64_t id) { find(context, id)->blocked = true; }
static void app_output_shut(void *context, int64_t id) { find(context, id)->shut = true; }

static uint64_t app_error(void *context) {
  (void)context;
  return 0x107; /* H3_EXCESSIVE_LOAD */
}

static const struct quic_app echo_app = {
    .stream_data = app_stream_data,
    .stream_acked = app_stream_acked,
    .stream_room = app_stream_room,
    .stream_reset = app_stream_reset,
    .stream_stopped = app_stream_stopped,
    .stream_closed = app_stream_closed,
    .output = app_output,
    .output_written = app_output_written,
    .output_blocked = app_output_blocked,
    .output_shut = app_output_shut,
    .app_error = app_error,
};

static void *opened(struct sim *sim, struct quic_conn *conn, const struct quic_app **ops, bool server) {
  if (server && sim->refuse)
    return NULL;
  struct sim_app *app = calloc(1, sizeof *app);
  assert_non_null(app);
  app->conn = conn;
  app->server = server;
  quic_set_owner(conn, app);
  *ops = &echo_app;
  if (server)
    sim->server_app = app;
  else
    sim->client_app = app;
  return app;
}

static void *client_opened(void *context, struct quic_conn *conn, const struct quic_app **ops) {
  return opened(context, conn, ops, false);
}

static void *server_opened(void *context, struct quic_conn *conn, const struct quic_app **ops) {
  return opened(context, conn, ops, true);
}

static const struct quic_events client_events = {.opened = client_opened};
static const struct quic_events server_events = {.opened = server_opened};

/* The link */

static uint32_t roll(struct sim *sim, uint32_t below) {
  sim->rng = sim->rng * 6364136223846793005ULL + 1442695040888963407ULL;
  return below == 0 ? 0 : (uint32_t)(sim->rng >> 33) % below;
}

static void mutate(struct sim *sim, struct sim_datagram *datagram) {
  if (roll(sim, 10000) >= sim->mutate)
    return;
  for (uint32_t flips = 1 + roll(sim, 4); flips > 0; flips--)
    datagram->data[roll(sim, (uint32_t)datagram->len)] ^= (uint8_t)(1U << roll(sim, 8));
  if (roll(sim, 4) == 0)
    datagram->len = roll(sim, (uint32_t)datagram->len + 1);
}

static void take_off(struct sim *sim, bool to_server, const uint8_t *data, size_t len, const struct quic_train *train) {
  struct sim_datagram *datagram = malloc(sizeof *datagram + len);
  assert_non_null(datagram);
  *datagram = (struct sim_datagram){
      .due_ns = sim->now_ns + sim->delay_ns + roll(sim, (uint32_t)sim->jitter_ns),
      .local = train->remote,
      .remote = to_server ? sim->client_address : train->local,
      .to_server = to_server,
      .len = len,
  };
  memcpy(datagram->data, data, len);
  mutate(sim, datagram);
  struct sim_datagram **at = &sim->flying;
  while (*at != NULL && (*at)->due_ns <= datagram->due_ns)
    at = &(*at)->next;
  datagram->next = *at;
  *at = datagram;
}

static void fly(struct sim *sim, bool to_server, const uint8_t *data, size_t len, const struct quic_train *train) {
  sim->datagrams++;
  *(to_server ? &sim->bytes_to_server : &sim->bytes_to_client) += len;
  sim->largest = len > sim->largest ? len : sim->largest;
  if (sim->cut || roll(sim, 10000) < sim->loss || (sim->link_mtu > 0 && len > sim->link_mtu))
    return;
  /* an address that the client has left reaches nobody */
  if (!to_server && !address_equal(&train->remote, &sim->client_address))
    return;
  take_off(sim, to_server, data, len, train);
  if (roll(sim, 10000) < sim->duplicates)
    take_off(sim, to_server, data, len, train);
}

static void send_train(struct sim *sim, bool to_server, const uint8_t *buffer, const struct quic_train *train) {
  for (size_t at = 0; at < train->len; at += train->segment_bytes) {
    size_t left = train->len - at;
    fly(sim, to_server, buffer + at, left < train->segment_bytes ? left : train->segment_bytes, train);
  }
}

static void deliver(struct sim *sim) {
  while (sim->flying != NULL && sim->flying->due_ns <= sim->now_ns) {
    struct sim_datagram *datagram = sim->flying;
    sim->flying = datagram->next;
    quic_receive(datagram->to_server ? sim->server_end : sim->client_end, &datagram->local, &datagram->remote,
                 datagram->data, datagram->len, sim->now_ns);
    free(datagram);
  }
}

static void take_ready(struct sim *sim) {
  struct quic_conn *conn;
  while ((conn = quic_endpoint_ready(sim->server_end)) != NULL) {
    uint32_t i = 0;
    while (i < sim->server_count && sim->servers[i] != conn)
      i++;
    assert_true(i < SIM_CONNS_MAX);
    if (i == sim->server_count)
      sim->servers[sim->server_count++] = conn;
  }
  while (quic_endpoint_ready(sim->client_end) != NULL)
    continue;
}

static void emit(struct sim *sim, struct quic_conn *conn, bool server) {
  static uint8_t buffer[BUFFER_BYTES];
  struct quic_train train;
  if (conn == NULL)
    return;
  if (quic_expiry(conn) <= sim->now_ns)
    quic_expire(conn, sim->now_ns);
  for (int i = 0; i < ROUNDS_MAX && quic_emit(conn, buffer, sizeof buffer, &train, sim->now_ns); i++)
    send_train(sim, !server, buffer, &train);
}

static void emit_all(struct sim *sim) {
  uint8_t buffer[1500];
  struct quic_train train;
  emit(sim, sim->client, false);
  for (uint32_t i = 0; i < sim->server_count; i++)
    emit(sim, sim->servers[i], true);
  while (quic_endpoint_emit(sim->server_end, buffer, sizeof buffer, &train))
    send_train(sim, false, buffer, &train);
  while (quic_endpoint_emit(sim->client_end, buffer, sizeof buffer, &train))
    send_train(sim, true, buffer, &train);
}

static uint64_t earlier(uint64_t a, const struct quic_conn *conn) {
  uint64_t b = conn != NULL ? quic_expiry(conn) : UINT64_MAX;
  return a < b ? a : b;
}

static uint64_t next_event(const struct sim *sim) {
  uint64_t next = sim->flying != NULL ? sim->flying->due_ns : UINT64_MAX;
  next = earlier(next, sim->client);
  for (uint32_t i = 0; i < sim->server_count; i++)
    next = earlier(next, sim->servers[i]);
  return next;
}

bool sim_run(struct sim *sim, sim_done_f *done, uint64_t limit_ms) {
  uint64_t limit = sim->now_ns + limit_ms * NS_PER_MS;
  for (;;) {
    deliver(sim);
    take_ready(sim);
    emit_all(sim);
    take_ready(sim);
    if (done(sim))
      return true;
    uint64_t next = next_event(sim);
    if (next > limit) {
      sim->now_ns = limit;
      return false;
    }
    sim->now_ns = next > sim->now_ns ? next : sim->now_ns + 1000;
  }
}

/* Life */

struct sim *sim_new(uint64_t seed) {
  struct sim *sim = calloc(1, sizeof *sim);
  assert_non_null(sim);
  for (size_t i = 0; i < sizeof pattern; i++)
    pattern[i] = (uint8_t)((i % PATTERN_BYTES) * 31 + (i % PATTERN_BYTES) / 256);
  random_seed(seed);
  sim->rng = seed;
  sim->now_ns = 1000 * NS_PER_S;
  sim->delay_ns = 10 * NS_PER_MS;
  assert_int_equal(address_parse(&sim->client_address, "192.0.2.1", 40000), ERR_OK);
  assert_int_equal(address_parse(&sim->server_address, "192.0.2.2", 20010), ERR_OK);
  sim->client_settings = (struct quic_settings){
      .max_idle_timeout_ms = 5000,
      .keep_alive_ms = 2000,
      .initial_rtt_ms = 333,
      .handshake_timeout_ms = 5000,
      .initial_window = 14720,
      .congestion = QUIC_CUBIC,
      .max_streams = 1024,
      .stream_receive_window = 1000000,
      .receive_window = 16 << 20,
      .connections_max = 4,
      .handshakes_max = 4,
  };
  sim->server_settings = sim->client_settings;
  sim->server_settings.server = true;
  sim->server_settings.connections_max = SIM_CONNS_MAX;
  sim->server_settings.handshakes_max = 64;
  memset(sim->server_settings.reset_key, 7, sizeof sim->server_settings.reset_key);
  memset(sim->client_settings.reset_key, 9, sizeof sim->client_settings.reset_key);
  return sim;
}

void sim_set_tls(struct sim *sim, struct tls_context *client, struct tls_context *server) {
  tls_context_close(sim->client_tls);
  tls_context_close(sim->server_tls);
  sim->client_tls = client;
  sim->server_tls = server;
}

void sim_start(struct sim *sim) {
  if (sim->client_tls == NULL)
    sim->client_tls = sim_tls(false, "client", NULL, "server.test", sim->report);
  if (sim->server_tls == NULL)
    sim->server_tls = sim_tls(true, "server", NULL, "client.test", sim->report);
  assert_non_null(sim->client_tls);
  assert_non_null(sim->server_tls);
  sim->client_settings.tls = sim->client_tls;
  sim->server_settings.tls = sim->server_tls;
  assert_int_equal(quic_endpoint_open(&sim->client_end, &sim->client_settings, &client_events, sim), ERR_OK);
  assert_int_equal(quic_endpoint_open(&sim->server_end, &sim->server_settings, &server_events, sim), ERR_OK);
}

void sim_connect(struct sim *sim, const char *server_name) {
  sim->client = quic_connect(sim->client_end, &sim->client_address, &sim->server_address, server_name, sim->now_ns);
  assert_non_null(sim->client);
}

static void free_conn(struct sim *sim, struct quic_conn *conn) {
  struct sim_app *app = quic_owner(conn);
  if (app != NULL && app == sim->server_app)
    sim->server_app = NULL;
  free(app);
  quic_free(conn);
}

static void close_server(struct sim *sim) {
  take_ready(sim);
  for (uint32_t i = 0; i < sim->server_count; i++)
    free_conn(sim, sim->servers[i]);
  sim->server_count = 0;
  assert_int_equal(quic_endpoint_count(sim->server_end), 0);
  quic_endpoint_close(sim->server_end);
}

void sim_forget(struct sim *sim, struct quic_conn *conn) { free_conn(sim, conn); }

void sim_restart_server(struct sim *sim) {
  close_server(sim);
  assert_int_equal(quic_endpoint_open(&sim->server_end, &sim->server_settings, &server_events, sim), ERR_OK);
}

void sim_free(struct sim *sim) {
  close_server(sim);
  if (sim->client != NULL)
    free_conn(sim, sim->client);
  assert_int_equal(quic_endpoint_count(sim->client_end), 0);
  quic_endpoint_close(sim->client_end);
  sim_set_tls(sim, NULL, NULL);
  while (sim->flying != NULL) {
    struct sim_datagram *next = sim->flying->next;
    free(sim->flying);
    sim->flying = next;
  }
  free(sim);
}

/* What to wait for */

bool sim_both_open(struct sim *sim) {
  return sim->client_app != NULL && sim->server_app != NULL && quic_state(sim->client) == QUIC_OPEN &&
         quic_state(sim->server_app->conn) == QUIC_OPEN;
}

bool sim_both_confirmed(struct sim *sim) {
  return sim_both_open(sim) && quic_confirmed(sim->client) && quic_confirmed(sim->server_app->conn);
}

bool sim_over(struct sim *sim) {
  return quic_state(sim->client) >= QUIC_CLOSING && sim->server_count > 0 &&
         quic_state(sim->servers[sim->server_count - 1]) >= QUIC_CLOSING;
}

bool sim_never(struct sim *sim) {
  (void)sim;
  return false;
}

struct sim_stream *sim_open(struct sim *sim, uint64_t len, bool ends) {
  int64_t id;
  if (quic_open_stream(sim->client, &id) != ERR_OK)
    return NULL;
  struct sim_stream *stream = add(sim->client_app, id);
  stream->limit = len;
  stream->ends = ends;
  return stream;
}

bool sim_echoed(struct sim *sim) {
  const struct sim_app *app = sim->client_app;
  for (uint32_t i = 0; i < app->count; i++) {
    const struct sim_stream *stream = &app->streams[i];
    if (!stream->closed || !stream->fin_received || stream->received != stream->limit)
      return false;
  }
  return true;
}

void sim_say(struct sim *sim) {
  print_message("client: %d %s\n", quic_state(sim->client), quic_reason(sim->client));
  for (uint32_t i = 0; i < sim->server_count; i++)
    print_message("server: %d %s\n", quic_state(sim->servers[i]), quic_reason(sim->servers[i]));
}

void sim_connect_pair(struct sim *sim) {
  sim_start(sim);
  sim_connect(sim, "server.test");
  if (!sim_run(sim, sim_both_confirmed, 4000)) {
    sim_say(sim);
    fail();
  }
}

struct sim *sim_open_pair(uint64_t seed) {
  struct sim *sim = sim_new(seed);
  sim_connect_pair(sim);
  return sim;
}

void sim_echo(struct sim *sim, uint64_t limit_ms) {
  if (!sim_run(sim, sim_echoed, limit_ms)) {
    sim_say(sim);
    fail();
  }
  assert_int_equal(sim->client_app->mismatches + sim->server_app->mismatches, 0);
}

bool sim_client_closing(struct sim *sim) { return quic_state(sim->client) >= QUIC_CLOSING; }
bool sim_client_closed(struct sim *sim) { return quic_state(sim->client) == QUIC_CLOSED; }

bool sim_all_closed(struct sim *sim) {
  if (!sim_client_closed(sim))
    return false;
  for (uint32_t i = 0; i < sim->server_count; i++)
    if (quic_state(sim->servers[i]) != QUIC_CLOSED)
      return false;
  return true;
}
