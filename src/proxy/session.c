/* A session follows its QUIC connection: HANDSHAKE, OPENING when the peer is verified, UP when its SETTINGS are there
   (a server sends them only after it has verified the client, so that a client that is refused is never UP), LOST when
   the connection closes for whatever reason. All its streams end at that moment; the memory goes when QUIC is done.

   Who may hold a session: sessions->all, its timer, the exchanges of its streams (link; they end with H3_CLOSED before
   the session goes), the connector. */
#include "proxy/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "proxy/session_priv.h"

enum { REFUSAL_LOG_BURST = 10 };

/* ---- life and death ---- */

/* QUIC's idle timer begins anew with the first packet that is sent after silence (RFC 9000 section 10.1): with a PING
   every keep_alive_interval, a dead peer is noticed that much later than max_idle_timeout. But a peer that lives
   answers PINGs: with two of them unanswered the silence itself counts. */
static uint64_t silence_deadline(const struct session *session) {
  const struct config *config = session->sessions->proxy->config;
  uint64_t idle_ms = config->transport.max_idle_timeout_ms, ping_ms = config->transport.keep_alive_interval_ms;
  if (session->state != SESSION_UP || ping_ms == 0 || 2 * ping_ms > idle_ms)
    return TIMER_NEVER;
  return session->heard_ns + idle_ms * NS_PER_MS;
}

static void on_timer(struct timer *timer, uint64_t now_ns) {
  struct session *session = container_of(timer, struct session, timer);
  if (now_ns >= silence_deadline(session))
    quic_give_up(session->conn, "nothing was heard from the peer");
  else
    quic_expire(session->conn, now_ns);
  session_touch(session);
}

void session_touch(struct session *session) {
  if (list_empty(&session->dirty))
    list_push(&session->sessions->dirty, &session->dirty);
}

struct session *session_add(struct sessions *sessions, struct quic_conn *conn) {
  struct session *session = pool_get(&sessions->pool);
  if (session == NULL)
    return NULL;
  memset(session, 0, sizeof *session);
  session->sessions = sessions;
  session->conn = conn;
  session->heard_ns = sessions->proxy->now_ns;
  session->account.limit = sessions->proxy->config->transport.send_window;
  list_init(&session->node);
  list_init(&session->dirty);
  list_push(&sessions->all, &session->node);
  timer_init(&session->timer, on_timer);
  quic_set_owner(conn, session);
  session_touch(session);
  return session;
}

struct session *session_of(struct sessions *sessions, struct quic_conn *conn) {
  struct session *session = quic_owner(conn);
  return session != NULL ? session : session_add(sessions, conn);
}

void session_free(struct session *session) {
  must(session->h3 == NULL && session->account.held == 0);
  session_count(session);
  quic_free(session->conn);
  timer_cancel(&session->sessions->proxy->timers, &session->timer);
  list_remove(&session->dirty);
  list_remove(&session->node);
  pool_put(&session->sessions->pool, session);
}

static const struct h3_events h3_hooks = {.accept = session_accept_stream, .informed = session_informed};

/* From within quic_receive: the peer is who it should be. */
static void *opened(void *context, struct quic_conn *conn, const struct quic_app **app_ops) {
  struct sessions *sessions = context;
  struct proxy *proxy = sessions->proxy;
  struct session *session = session_of(sessions, conn);
  if (session == NULL)
    return NULL;
  struct h3_settings settings = {
      .server = proxy->server,
      .limits = proxy->limits,
      .qpack_table_capacity = proxy->config->transport.qpack_table_capacity,
      .streams = &sessions->streams,
      .arena = quic_endpoint_arena(sessions->endpoint),
  };
  if (proxy->server) /* what the client end adds does not count */
    settings.limits.bytes += HEAD_MARKS_MAX * HEAD_MARK_BYTES;
  if (h3_open(&session->h3, conn, &settings, &h3_hooks, session) != ERR_OK)
    return NULL;
  session->state = SESSION_OPENING;
  *app_ops = &h3_quic_app;
  return session->h3;
}

static const struct quic_events quic_hooks = {.opened = opened};

static void log_established(const struct session *session) {
  char peer[ADDRESS_TEXT_MAX];
  struct address address = quic_peer(session->conn);
  log_info("connection %s established (peer %s)", quic_name(session->conn), address_text(&address, peer));
}

static void session_up(struct session *session) {
  struct sessions *sessions = session->sessions;
  session->state = SESSION_UP;
  session->up_ns = sessions->proxy->now_ns;
  sessions->report.established++;
  sessions->report.open++;
  metrics_add(&sessions->proxy->metrics->link_connects_ok, 1);
  log_established(session);
  if (session == sessions->connector.session)
    connector_up(sessions);
}

static void log_lost(struct session *session, bool was_up) {
  struct sessions *sessions = session->sessions;
  struct address address = quic_peer(session->conn);
  char peer[ADDRESS_TEXT_MAX], more[48] = "";
  const char *name = quic_name(session->conn), *reason = quic_reason(session->conn);
  address_text(&address, peer);
  if (was_up) {
    enum log_level level = quic_failed(session->conn) ? LOG_WARN : LOG_INFO;
    log_write(level, "connection %s closed (peer %s): %s", name, peer, reason);
    return;
  }
  if (sessions->connector.refusal_logged && quic_refused(session->conn))
    return;
  /* Anybody can make a server's handshakes fail. */
  unsigned suppressed = 0;
  if (sessions->proxy->server &&
      !log_rate_ok(&sessions->handshake_failures, proxy_log_burst(sessions->proxy, REFUSAL_LOG_BURST),
                   sessions->proxy->now_ns, &suppressed))
    return;
  if (suppressed > 0)
    snprintf(more, sizeof more, " (%u more were not logged)", suppressed);
  log_warn("connection %s failed (peer %s): %s%s", name, peer, reason, more);
}

/* The connection is closing or closed: its requests end now, whatever QUIC still has to say to the peer. */
static void session_lost(struct session *session) {
  struct sessions *sessions = session->sessions;
  bool was_up = session->state == SESSION_UP;
  log_lost(session, was_up);
  snprintf(sessions->report.reason, sizeof sessions->report.reason, "%s", quic_reason(session->conn));
  session->state = SESSION_LOST;
  if (was_up) {
    must(sessions->report.open > 0);
    sessions->report.open--;
    sessions->report.lost++;
    metrics_add(&sessions->proxy->metrics->disconnects[quic_failed(session->conn) ? ERR_LINK_DOWN : ERR_OK], 1);
  } else {
    sessions->report.failed++;
    metrics_add(&sessions->proxy->metrics->link_connects_failed, 1);
    metrics_add(&sessions->proxy->metrics->handshake_failures, 1);
  }
  if (session->h3 != NULL) {
    h3_abandon(session->h3);
    session_handle_streams(session);
    h3_close(session->h3);
    session->h3 = NULL;
  }
}

/* Follows the connection after anything happened to it; the session may be gone afterwards. */
static void session_update(struct session *session) {
  struct sessions *sessions = session->sessions;
  enum quic_state state = quic_state(session->conn);
  if (state == QUIC_OPEN) {
    struct quic_stats stats;
    quic_stats(session->conn, &stats);
    if (stats.packets_received != session->packets_received)
      session->heard_ns = sessions->proxy->now_ns;
    session->packets_received = stats.packets_received;
    if (session->state == SESSION_OPENING && h3_peer_settings(session->h3))
      session_up(session);
  }
  session_handle_streams(session);
  if (state >= QUIC_CLOSING && session->state != SESSION_LOST) {
    if (!quic_silent(session->conn))
      session->heard_ns = sessions->proxy->now_ns; /* it was the peer's word, or its fault, that ended it */
    bool was_up = session->state == SESSION_UP, refused = quic_refused(session->conn);
    session_lost(session);
    if (session == sessions->connector.session) {
      session_flush(session);
      session_free(session);
      connector_lost(sessions, was_up, refused, sessions->report.reason);
      return;
    }
  }
  if (state == QUIC_CLOSED)
    session_free(session);
  else
    session_touch(session);
}

/* ---- datagrams ---- */

static void receive_trains(struct sessions *sessions) {
  struct udp_train train;
  while (sessions->udp != NULL && udp_receive(sessions->udp, &train)) {
    for (size_t at = 0; at < train.len; at += train.segment_bytes) {
      size_t len = train.len - at < train.segment_bytes ? train.len - at : train.segment_bytes;
      quic_receive(sessions->endpoint, &train.local, &train.remote, train.data + at, len, sessions->proxy->now_ns);
    }
    udp_release(sessions->udp);
  }
}

static void handle_ready(struct sessions *sessions) {
  struct quic_conn *conn;
  while ((conn = quic_endpoint_ready(sessions->endpoint)) != NULL) {
    struct session *session = session_of(sessions, conn);
    if (session == NULL)
      quic_free(conn);
    else
      session_update(session);
  }
}

void sessions_ingest(struct sessions *sessions) {
  receive_trains(sessions);
  connector_follow(sessions);
  handle_ready(sessions);
  sessions_serve_waiting(sessions);
}

/* Sends what the endpoint has to say to datagrams that belong to no connection. */
static void emit_replies(struct sessions *sessions) {
  struct quic_train train;
  uint8_t *buffer;
  while ((buffer = udp_send_buffer(sessions->udp)) != NULL &&
         quic_endpoint_emit(sessions->endpoint, buffer, TRAIN_BYTES_MAX, &train))
    udp_send(sessions->udp, &train.local, &train.remote, train.len, train.segment_bytes);
}

/* Writes what |session| has to send; false when the send buffers are all in flight. */
static bool emit_session(struct session *session) {
  struct sessions *sessions = session->sessions;
  struct quic_train train;
  uint8_t *buffer;
  while ((buffer = udp_send_buffer(sessions->udp)) != NULL) {
    if (!quic_emit(session->conn, buffer, TRAIN_BYTES_MAX, &train, sessions->proxy->now_ns))
      return true;
    if (session->state == SESSION_HANDSHAKE)
      connector_sends(session, buffer, &train);
    udp_send(sessions->udp, &train.local, &train.remote, train.len, train.segment_bytes);
  }
  return false;
}

void session_flush(struct session *session) {
  if (session->sessions->udp != NULL)
    (void)emit_session(session);
}

void sessions_emit(struct sessions *sessions) {
  if (sessions->udp == NULL)
    return;
  emit_replies(sessions);
  struct list round;
  list_init(&round);
  list_splice(&round, &sessions->dirty);
  struct list *node;
  while ((node = list_pop(&round)) != NULL) {
    struct session *session = container_of(node, struct session, dirty);
    bool all = emit_session(session);
    uint64_t expiry = quic_expiry(session->conn), silence = silence_deadline(session);
    timer_set(&sessions->proxy->timers, &session->timer, expiry < silence ? expiry : silence);
    session_handle_streams(session); /* what was taken from flows makes room in them */
    if (!all)
      session_touch(session); /* a completed send ends the wait */
  }
  handle_ready(sessions);
}

bool sessions_busy(const struct sessions *sessions) {
  return !list_empty(&sessions->dirty) && sessions->udp != NULL && udp_can_send(sessions->udp);
}

/* ---- all of them ---- */

static enum err quic_settings_from(const struct proxy *proxy, struct tls_context *tls, struct quic_settings *settings) {
  const struct config *config = proxy->config;
  static const int algorithms[] = {[CONGESTION_BBR] = QUIC_BBR,
                                   [CONGESTION_CUBIC] = QUIC_CUBIC,
                                   [CONGESTION_NEWRENO] = QUIC_NEWRENO,
                                   [CONGESTION_NONE] = QUIC_CONSTANT};
  *settings = (struct quic_settings){
      .server = proxy->server,
      .tls = tls,
      .max_idle_timeout_ms = config->transport.max_idle_timeout_ms,
      .keep_alive_ms = config->transport.keep_alive_interval_ms,
      .initial_rtt_ms = config->transport.initial_rtt_ms,
      .handshake_timeout_ms = config->transport.max_idle_timeout_ms,
      .initial_window = config->transport.initial_window,
      .congestion = algorithms[config->transport.congestion_algorithm],
      .max_streams = config->transport.max_concurrent_http_streams,
      .stream_receive_window = config->transport.stream_receive_window,
      .receive_window = config->transport.receive_window,
      .mtu = config->transport.mtu,
      .redundancy = config->transport.redundancy,
      .worker = proxy->worker,
      .connections_max = SESSIONS_MAX,
      .handshakes_max = HANDSHAKES_MAX,
  };
  /* The same after a restart, so that the peer learns at once that we have forgotten its connection; bound to the port,
     as two servers with one certificate must not reset each other's (RFC 9000 section 21.11). */
  char label[64];
  snprintf(label, sizeof label, "ptproxy stateless reset %llu", (unsigned long long)config->general.quic_port);
  return tls_secret(config->tls.key, label, settings->reset_key, sizeof settings->reset_key);
}

static enum err open_server_socket(struct sessions *sessions, char *reason, size_t reason_size) {
  const struct config *config = sessions->proxy->config;
  struct udp_config udp = {
      .receive_buffer_bytes = config->transport.socket_receive_buffer_size,
      .send_buffer_bytes = config->transport.socket_send_buffer_size,
      .sharers = sessions->proxy->workers,
      .number = sessions->proxy->worker,
  };
  enum err err = address_parse(&udp.bind, config->general.bind_address, (uint16_t)config->general.quic_port);
  if (err == ERR_OK)
    err = udp_open(&sessions->udp, sessions->proxy->ring, &udp, reason, reason_size);
  sessions_check_buffers(sessions);
  return err;
}

enum err sessions_open(struct sessions **out, struct proxy *proxy, struct tls_context *tls, char *reason,
                       size_t reason_size) {
  *out = NULL;
  snprintf(reason, reason_size, "out of memory");
  struct sessions *sessions = calloc(1, sizeof *sessions);
  if (sessions == NULL)
    return ERR_NO_MEMORY;
  sessions->proxy = proxy;
  list_init(&sessions->all);
  list_init(&sessions->dirty);
  list_init(&sessions->waiting);
  timer_init(&sessions->wait_timer, sessions_on_wait_timer);
  timer_init(&sessions->yield_timer, sessions_on_yield_timer);
  struct quic_settings settings;
  enum err err = quic_settings_from(proxy, tls, &settings);
  if (err == ERR_OK)
    err = pool_open(&sessions->pool, "sessions", sizeof(struct session), SESSIONS_MAX);
  if (err == ERR_OK)
    err = pool_open(&sessions->streams, "streams", sizeof(struct h3_stream), EXCHANGES_MAX);
  if (err == ERR_OK)
    err = quic_endpoint_open(&sessions->endpoint, &settings, &quic_hooks, sessions);
  if (err == ERR_OK)
    err = proxy->server ? open_server_socket(sessions, reason, reason_size) : connector_open(sessions);
  if (err != ERR_OK) {
    sessions_close(sessions);
    return err;
  }
  *out = sessions;
  return ERR_OK;
}

void sessions_close(struct sessions *sessions) {
  if (sessions == NULL)
    return;
  must(list_empty(&sessions->all) && list_empty(&sessions->waiting));
  timer_cancel(&sessions->proxy->timers, &sessions->wait_timer);
  timer_cancel(&sessions->proxy->timers, &sessions->yield_timer);
  if (!sessions->proxy->server)
    connector_close(sessions);
  udp_close(sessions->udp);
  quic_endpoint_close(sessions->endpoint);
  if (sessions->streams.memory != NULL)
    pool_close(&sessions->streams);
  if (sessions->pool.memory != NULL)
    pool_close(&sessions->pool);
  free(sessions);
}

void sessions_set_tls(struct sessions *sessions, struct tls_context *tls) {
  quic_endpoint_set_tls(sessions->endpoint, tls);
}

void sessions_drain(struct sessions *sessions) {
  sessions->draining = true;
  if (!sessions->proxy->server) {
    connector_stop(sessions);
    return;
  }
  quic_endpoint_accept(sessions->endpoint, false);
  for (struct list *node = sessions->all.next; node != &sessions->all; node = node->next) {
    struct session *session = container_of(node, struct session, node);
    if (session->h3 != NULL)
      h3_goaway(session->h3, true);
    session_touch(session);
  }
}

bool sessions_drained(const struct sessions *sessions) {
  if (!list_empty(&sessions->waiting))
    return false;
  for (struct list *node = sessions->all.next; node != &sessions->all; node = node->next) {
    const struct session *session = container_of(node, struct session, node);
    if (session->h3 != NULL && h3_stream_count(session->h3) > 0)
      return false;
  }
  return true;
}

void sessions_stop(struct sessions *sessions, const char *reason) {
  if (!sessions->proxy->server)
    connector_stop(sessions);
  for (struct list *node = sessions->all.next; node != &sessions->all; node = node->next) {
    struct session *session = container_of(node, struct session, node);
    if (session->state != SESSION_LOST)
      quic_close(session->conn, err_h3_code(ERR_OK), reason, sessions->proxy->now_ns);
    session_touch(session);
  }
  sessions_fail_waiting(sessions, ERR_STOPPING);
}

void sessions_abort(struct sessions *sessions) {
  if (!sessions->proxy->server)
    connector_stop(sessions);
  sessions_fail_waiting(sessions, ERR_STOPPING);
  while (!list_empty(&sessions->all)) {
    struct session *session = container_of(sessions->all.next, struct session, node);
    if (session->state != SESSION_LOST)
      session_lost(session);
    if (session == sessions->connector.session)
      sessions->connector.session = NULL;
    session_free(session);
  }
}

uint32_t sessions_count(const struct sessions *sessions) { return sessions->pool.live; }

void sessions_report(const struct sessions *sessions, struct session_report *report) {
  *report = sessions->report;
  report->up = sessions->report.open > 0;
}

void session_report_add(struct session_report *sum, const struct session_report *report) {
  sum->up = sum->up || report->up;
  sum->attempted = sum->attempted || report->attempted;
  sum->established += report->established;
  sum->lost += report->lost;
  sum->failed += report->failed;
  sum->open += report->open;
  if (sum->reason[0] == '\0')
    memcpy(sum->reason, report->reason, sizeof sum->reason);
}

void sessions_describe(const struct sessions *sessions, char *out, size_t size) {
  if (sessions->udp == NULL) {
    snprintf(out, size, "no socket");
    return;
  }
  struct address local = udp_local(sessions->udp);
  char text[ADDRESS_TEXT_MAX];
  snprintf(out, size, "%s (GSO %s, GRO %s, receive buffer %llu, send buffer %llu bytes)", address_text(&local, text),
           udp_gso(sessions->udp) ? "on" : "off", udp_gro(sessions->udp) ? "on" : "off",
           (unsigned long long)udp_receive_buffer_granted(sessions->udp),
           (unsigned long long)udp_send_buffer_granted(sessions->udp));
}
