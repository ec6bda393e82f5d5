/* ngtcp2 and the UDP socket count by themselves. The metrics get what was added since the last look: once a second,
   when somebody asks, and before a session or a socket goes. */
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "proxy/session_priv.h"

void session_count(struct session *session) {
  struct metrics *metrics = session->sessions->proxy->metrics;
  struct quic_stats now, *before = &session->counted;
  quic_stats(session->conn, &now);
  metrics_add(&metrics->packets_in, now.packets_received - before->packets_received);
  metrics_add(&metrics->packets_in_dropped, now.packets_discarded - before->packets_discarded);
  metrics_add(&metrics->packets_out, now.packets_sent - before->packets_sent);
  metrics_add(&metrics->packets_lost, now.packets_lost - before->packets_lost);
  metrics_add(&metrics->packets_repeated, now.packets_repeated - before->packets_repeated);
  *before = now;
}

void sessions_count_socket(struct sessions *sessions) {
  if (sessions->udp == NULL)
    return;
  struct metrics *metrics = sessions->proxy->metrics;
  const struct udp_counters *now = udp_counters(sessions->udp);
  struct udp_counters *before = &sessions->udp_counted;
  metrics_add(&metrics->bytes_in, now->bytes_received - before->bytes_received);
  metrics_add(&metrics->bytes_out, now->bytes_sent - before->bytes_sent);
  metrics_add(&metrics->trains_sent, now->trains_sent - before->trains_sent);
  metrics_add(&metrics->segments_sent, now->datagrams_sent - before->datagrams_sent);
  metrics_add(&metrics->receive_batches, now->trains_received - before->trains_received);
  metrics_add(&metrics->datagrams_received, now->datagrams_received - before->datagrams_received);
  *before = *now;
}

static void check_buffer(const char *direction, uint64_t asked, uint64_t granted, const char *sysctl) {
  if (granted < asked)
    log_warn("transport.socket_%s_buffer_size: asked for %llu bytes and got %llu: raise the sysctl net.core.%s",
             direction, (unsigned long long)asked, (unsigned long long)granted, sysctl);
}

/* Once, of whichever worker: all sockets are made alike. */
void sessions_check_buffers(const struct sessions *sessions) {
  static atomic_flag checked = ATOMIC_FLAG_INIT;
  const struct config *config = sessions->proxy->config;
  if (sessions->udp == NULL || atomic_flag_test_and_set(&checked))
    return;
  check_buffer("receive", config->transport.socket_receive_buffer_size, udp_receive_buffer_granted(sessions->udp),
               "rmem_max");
  check_buffer("send", config->transport.socket_send_buffer_size, udp_send_buffer_granted(sessions->udp), "wmem_max");
  if (sessions->proxy->server)
    return; /* what it listens on is told with the other listeners */
  char text[256];
  sessions_describe(sessions, text, sizeof text);
  log_info("connecting from UDP %s", text);
}

/* The round trip time is that of the session which was established last, the rest of all of them. */
void sessions_measure(struct sessions *sessions) {
  struct metrics *metrics = sessions->proxy->metrics;
  struct quic_stats latest = {.mtu = 0};
  uint64_t cwnd = 0, in_flight = 0, mtu = 0;
  for (struct list *node = sessions->all.next; node != &sessions->all; node = node->next) {
    struct session *session = container_of(node, struct session, node);
    session_count(session);
    if (session->state != SESSION_UP)
      continue;
    latest = session->counted;
    cwnd += latest.cwnd;
    in_flight += latest.bytes_in_flight;
    mtu = mtu == 0 || latest.mtu < mtu ? latest.mtu : mtu;
  }
  sessions_count_socket(sessions);
  metrics_set(&metrics->link_up, sessions->report.open);
  metrics_set(&metrics->link_rtt_latest_ns, latest.rtt_latest_ns);
  metrics_set(&metrics->link_rtt_min_ns, latest.rtt_min_ns);
  metrics_set(&metrics->link_rtt_smoothed_ns, latest.rtt_smoothed_ns);
  metrics_set(&metrics->link_cwnd_bytes, cwnd);
  metrics_set(&metrics->link_in_flight_bytes, in_flight);
  metrics_set(&metrics->link_mtu_bytes, mtu);
  const struct arena *arena = quic_endpoint_arena(sessions->endpoint);
  metrics_set(&metrics->memory_live, arena->live);
  metrics_set(&metrics->memory_held, arena->held);
  metrics_set(&metrics->memory_refused, arena->refused);
  metrics_set(&metrics->datagrams_dropped, quic_endpoint_counters(sessions->endpoint)->dropped);
  metrics_set(&metrics->buffers_exhausted, ring_counters(sessions->proxy->ring)->out_of_buffers);
}

static void view_session(const struct session *session, struct session_view *view) {
  uint64_t now = session->sessions->proxy->now_ns;
  memset(view, 0, sizeof *view);
  const char *name = quic_name(session->conn);
  must(strlen(name) < sizeof view->name);
  memcpy(view->name, name, strlen(name));
  view->peer = quic_peer(session->conn);
  view->local = quic_local(session->conn);
  view->up = session->state == SESSION_UP;
  view->up_ns = view->up ? now - session->up_ns : 0;
  view->heard_ns = now - session->heard_ns;
  view->streams = session->h3 != NULL ? h3_stream_count(session->h3) : 0;
  quic_stats(session->conn, &view->stats);
}

size_t sessions_view(const struct sessions *sessions, struct session_view *views, size_t max) {
  size_t count = 0;
  for (int up = 1; up >= 0; up--) {
    for (struct list *node = sessions->all.next; node != &sessions->all && count < max; node = node->next) {
      const struct session *session = container_of(node, struct session, node);
      if ((session->state == SESSION_UP) == (up == 1) && session->state != SESSION_LOST)
        view_session(session, &views[count++]);
    }
  }
  return count;
}
