/* Client mode: keeps one session up. An attempt resolves the name anew, then tries one address after the other with a
   socket of its own; when none works it pauses. The first attempt after a working session comes at once. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "base/random.h"
#include "proxy/session_priv.h"

enum { JITTER_PERCENT = 20, REFUSED_AGAIN_MS = 50, REPEAT_MS = 50, MOVE_AGAIN_MS = 250 };

static void resolved(struct resolve_query *query);
static void try_next(struct sessions *sessions);
static enum err open_socket(struct sessions *sessions, const struct address *peer, char *reason, size_t reason_size);

static struct connector *connector_of(struct sessions *sessions) { return &sessions->connector; }

static void pause_attempts(struct sessions *sessions) {
  struct connector *connector = connector_of(sessions);
  uint64_t interval_ms = sessions->proxy->config->system.connect_interval_ms;
  uint32_t random;
  random_fill(&random, sizeof random);
  uint64_t spread = interval_ms * JITTER_PERCENT / 100;
  uint64_t pause_ms = interval_ms - spread + random % (2 * spread + 1);
  connector->state = CONNECTOR_PAUSE;
  connector->after_session = false;
  timer_set(&sessions->proxy->timers, &connector->timer, sessions->proxy->now_ns + pause_ms * NS_PER_MS);
}

static void attempt_failed(struct sessions *sessions, const char *reason) {
  if (sessions->report.reason != reason) { /* else session.c has counted it */
    snprintf(sessions->report.reason, sizeof sessions->report.reason, "%s", reason);
    sessions->report.failed++;
    metrics_add(&sessions->proxy->metrics->link_connects_failed, 1);
  }
  sessions_fail_waiting(sessions, ERR_NO_TUNNEL);
  if (connector_of(sessions)->next < connector_of(sessions)->query.count) {
    try_next(sessions);
    return;
  }
  sessions->report.attempted = true;
  pause_attempts(sessions);
}

static void begin_attempt(struct sessions *sessions) {
  struct connector *connector = connector_of(sessions);
  connector->state = CONNECTOR_RESOLVING;
  connector->attempt_end_ns =
      sessions->proxy->now_ns + sessions->proxy->config->transport.max_idle_timeout_ms * NS_PER_MS;
  timer_cancel(&sessions->proxy->timers, &connector->timer);
  resolve(sessions->proxy->resolver, &connector->query);
}

/* A server that stops is still there for a moment after its last word, and takes a first flight with it into its grave.
   QUIC repeats that after three times transport.initial_rtt at the earliest. The same datagrams again are what a
   network may do at any time, whatever the round trip time: a server that has them already drops them. */
static void repeat_flight(struct sessions *sessions) {
  struct connector *connector = connector_of(sessions);
  struct quic_stats stats;
  quic_stats(connector->session->conn, &stats);
  if (stats.packets_received > 0 || sessions->proxy->now_ns >= connector->attempt_end_ns)
    return;
  uint8_t *buffer = udp_send_buffer(sessions->udp);
  if (buffer != NULL) {
    struct address local = udp_local(sessions->udp), peer = quic_peer(connector->session->conn);
    memcpy(buffer, connector->flight, connector->flight_len);
    udp_send(sessions->udp, &local, &peer, connector->flight_len, connector->flight_segment_bytes);
  }
  timer_set(&sessions->proxy->timers, &connector->timer, sessions->proxy->now_ns + REPEAT_MS * NS_PER_MS);
}

void connector_sends(struct session *session, const uint8_t *data, const struct quic_train *train) {
  struct connector *connector = connector_of(session->sessions);
  struct proxy *proxy = session->sessions->proxy;
  if (session != connector->session || !connector->after_session || connector->flight_len > 0 ||
      train->len > sizeof connector->flight)
    return;
  memcpy(connector->flight, data, train->len);
  connector->flight_len = train->len;
  connector->flight_segment_bytes = train->segment_bytes;
  timer_set(&proxy->timers, &connector->timer, proxy->now_ns + REPEAT_MS * NS_PER_MS);
}

/* The address of our end, or its route, is gone, and a connected socket keeps to what it had. Another socket goes on
   with the same session: to the server it is as if a NAT had changed its mind (RFC 9000 section 9). */
static void move_session(struct sessions *sessions) {
  struct connector *connector = connector_of(sessions);
  struct address peer = quic_peer(connector->session->conn), local;
  char text[ADDRESS_TEXT_MAX], reason[256];
  if (open_socket(sessions, &peer, reason, sizeof reason) != ERR_OK) {
    timer_set(&sessions->proxy->timers, &connector->timer, sessions->proxy->now_ns + MOVE_AGAIN_MS * NS_PER_MS);
    return;
  }
  local = udp_local(sessions->udp);
  log_info("connection %s goes on from %s", quic_name(connector->session->conn), address_text(&local, text));
  session_touch(connector->session);
}

static void on_timer(struct timer *timer, uint64_t now_ns) {
  struct connector *connector = container_of(timer, struct connector, timer);
  struct sessions *sessions = container_of(connector, struct sessions, connector);
  if (connector->state == CONNECTOR_PAUSE) {
    begin_attempt(sessions);
  } else if (connector->state == CONNECTOR_UP) {
    move_session(sessions);
  } else if (connector->state == CONNECTOR_ATTEMPT) {
    repeat_flight(sessions);
  } else if (connector->state == CONNECTOR_REFUSED && now_ns < connector->attempt_end_ns) {
    connector->next = 0;
    try_next(sessions);
  } else if (connector->state == CONNECTOR_REFUSED) {
    attempt_failed(sessions, "nobody listens there");
  }
}

static void resolved(struct resolve_query *query) {
  struct connector *connector = container_of(query, struct connector, query);
  struct sessions *sessions = container_of(connector, struct sessions, connector);
  if (connector->state != CONNECTOR_RESOLVING)
    return;
  connector->next = 0;
  if (query->count == 0) {
    log_warn("connection to %s failed: %s", query->host, query->error);
    attempt_failed(sessions, query->error);
    return;
  }
  try_next(sessions);
}

/* Binds to the configured address when it is of the peer's family; a wildcard serves either. */
static enum err open_socket(struct sessions *sessions, const struct address *peer, char *reason, size_t reason_size) {
  const struct config *config = sessions->proxy->config;
  struct udp_config udp = {
      .connect = *peer,
      .receive_buffer_bytes = config->transport.socket_receive_buffer_size,
      .send_buffer_bytes = config->transport.socket_send_buffer_size,
  };
  struct address wanted;
  if (address_parse(&wanted, config->general.bind_address, 0) == ERR_OK &&
      address_family(&wanted) == address_family(peer))
    udp.bind = wanted;
  sessions_count_socket(sessions);
  udp_close(sessions->udp);
  sessions->udp = NULL;
  sessions->udp_counted = (struct udp_counters){0};
  return udp_open(&sessions->udp, sessions->proxy->ring, &udp, reason, reason_size);
}

static void try_next(struct sessions *sessions) {
  struct connector *connector = connector_of(sessions);
  must(connector->session == NULL && connector->next < connector->query.count);
  const struct address *peer = &connector->query.results[connector->next++];
  char text[ADDRESS_TEXT_MAX], reason[256];
  if (open_socket(sessions, peer, reason, sizeof reason) != ERR_OK) {
    log_warn("connection to %s failed: %s", address_text(peer, text), reason);
    attempt_failed(sessions, reason);
    return;
  }
  sessions_check_buffers(sessions);
  connector->state = CONNECTOR_ATTEMPT;
  connector->flight_len = 0;
  timer_cancel(&sessions->proxy->timers, &connector->timer);
  struct address local = udp_local(sessions->udp);
  struct quic_conn *conn =
      quic_connect(sessions->endpoint, &local, peer, connector->server_name, sessions->proxy->now_ns);
  struct session *session = conn != NULL ? session_add(sessions, conn) : NULL;
  if (session == NULL) {
    if (conn != NULL)
      quic_free(conn);
    log_error("connection to %s failed: out of memory", address_text(peer, text));
    attempt_failed(sessions, "out of memory");
    return;
  }
  connector->session = session;
  log_debug("connecting to %s", address_text(peer, text));
}

/* A peer that is being restarted is back within moments: an attempt goes on as long as it would take without a word, at
   all addresses in turn, before the pause. */
static void try_again(struct sessions *sessions) {
  struct connector *connector = connector_of(sessions);
  if (connector->next < connector->query.count) {
    try_next(sessions);
    return;
  }
  connector->refusal_logged = true;
  connector->state = CONNECTOR_REFUSED;
  timer_set(&sessions->proxy->timers, &connector->timer, sessions->proxy->now_ns + REFUSED_AGAIN_MS * NS_PER_MS);
}

void connector_follow(struct sessions *sessions) {
  struct connector *connector = connector_of(sessions);
  struct session *session = connector->session;
  if (connector->state == CONNECTOR_UP && session != NULL && sessions->udp != NULL && udp_failing(sessions->udp))
    move_session(sessions);
  if (connector->state != CONNECTOR_ATTEMPT || session == NULL || session->state != SESSION_HANDSHAKE ||
      !udp_refused(sessions->udp))
    return;
  struct address peer = quic_peer(session->conn);
  connector->session = NULL;
  session_free(session);
  if (connector->next == connector->query.count && !connector->refusal_logged) {
    char text[ADDRESS_TEXT_MAX];
    log_warn("connection to %s failed: nobody listens there (ICMP port unreachable); trying again",
             address_text(&peer, text));
  }
  try_again(sessions);
}

void connector_up(struct sessions *sessions) {
  connector_of(sessions)->state = CONNECTOR_UP;
  connector_of(sessions)->refusal_logged = false;
  timer_cancel(&sessions->proxy->timers, &connector_of(sessions)->timer);
  sessions->report.attempted = true;
  sessions->report.reason[0] = '\0';
}

void connector_lost(struct sessions *sessions, bool was_up, bool refused, const char *reason) {
  struct connector *connector = connector_of(sessions);
  connector->session = NULL;
  if (connector->state == CONNECTOR_OFF)
    return;
  connector->after_session = connector->after_session || was_up;
  if (was_up)
    begin_attempt(sessions);
  else if (refused && connector->state == CONNECTOR_ATTEMPT && sessions->proxy->now_ns < connector->attempt_end_ns)
    try_again(sessions); /* a server that is stopping, most likely to be started again */
  else
    attempt_failed(sessions, reason);
}

enum err connector_open(struct sessions *sessions) {
  const struct config *config = sessions->proxy->config;
  struct connector *connector = connector_of(sessions);
  const char *target = config->general.connect_address;
  if (target == NULL)
    target = config->general.peer_hostname.item[0];
  connector->state = CONNECTOR_OFF;
  connector->server_name = config->general.peer_hostname.item[0];
  connector->query.done = resolved;
  connector->query.datagram = true;
  list_init(&connector->query.node);
  timer_init(&connector->timer, on_timer);
  enum err err = address_split(target, (uint16_t)config->general.quic_port, connector->query.host,
                               sizeof connector->query.host, &connector->query.port);
  if (err == ERR_OK)
    begin_attempt(sessions);
  return err;
}

void connector_stop(struct sessions *sessions) {
  struct connector *connector = connector_of(sessions);
  connector->state = CONNECTOR_OFF;
  timer_cancel(&sessions->proxy->timers, &connector->timer);
}

void connector_close(struct sessions *sessions) {
  connector_stop(sessions);
  must(connector_of(sessions)->session == NULL);
}
