/* What the endpoint says, from a view: no I/O here. */
#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "run/admin.h"

static void put_seconds_of(struct text *text, const char *name, uint64_t ns) {
  text_put(text, "\"%s\":", name);
  text_put_seconds(text, ns);
}

/* A JSON string; anything but printable ASCII is escaped, as it need not be UTF-8. */
static void put_string(struct text *text, const char *name, const char *value) {
  text_put(text, "\"%s\":\"", name);
  for (; *value != '\0'; value++) {
    unsigned char byte = (unsigned char)*value;
    if (byte < ' ' || byte > '~')
      text_put(text, "\\u%04x", byte);
    else
      text_put(text, byte == '"' || byte == '\\' ? "\\%c" : "%c", byte);
  }
  text_put(text, "\"");
}

static const char *truth(bool value) { return value ? "true" : "false"; }

bool admin_is_ready(const struct admin_view *view) { return view->report.up && !view->draining; }

static const char *state_of(const struct admin_view *view) {
  return view->draining ? "stopping" : view->report.up ? "up" : view->server ? "waiting" : "connecting";
}

/* ---- /metrics ---- */

static void put_family(struct text *text, const char *name, const char *help) {
  text_put(text, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

size_t admin_text_metrics(const struct admin_view *view, char *out, size_t size) {
  struct text text = {.out = out, .size = size, .len = metrics_text(&view->sum, out, size)};
  text.full = text.len == 0;
  put_family(&text, "ptproxy_build_info", "What is running; always 1.");
  text_put(&text, "ptproxy_build_info{version=\"%s\",mode=\"%s\"} 1\n", PTPROXY_VERSION,
           view->server ? "server" : "client");
  put_family(&text, "ptproxy_start_time_seconds", "When it was started, since 1970.");
  text_put(&text, "ptproxy_start_time_seconds %" PRIu64 "\n", view->started_s);
  put_family(&text, "ptproxy_tls_certificate_not_after_seconds", "When its own certificate ends, since 1970.");
  text_put(&text, "ptproxy_tls_certificate_not_after_seconds %" PRId64 "\n", view->certificate_not_after_s);
  put_family(&text, "ptproxy_loop_lag_seconds", "Longest pass through a worker's loop in the last second or two.");
  for (size_t i = 0; i < view->workers; i++) {
    text_put(&text, "ptproxy_loop_lag_seconds{thread=\"%zu\"} ", i);
    text_put_seconds(&text, view->lag_ns[i]);
    text_put(&text, "\n");
  }
  return text_len(&text);
}

/* ---- /ready ---- */

size_t admin_text_ready(const struct admin_view *view, char *out, size_t size) {
  struct text text = {.out = out, .size = size};
  text_put(&text, "{\"ready\":%s,", truth(admin_is_ready(view)));
  put_string(&text, "state", state_of(view));
  text_put(&text, ",");
  put_string(&text, "reason", view->report.reason);
  text_put(&text, "}\n");
  return text_len(&text);
}

/* ---- /status ---- */

static void put_session(struct text *text, const struct session_view *session) {
  char address[ADDRESS_TEXT_MAX];
  const struct quic_stats *stats = &session->stats;
  text_put(text, "{");
  put_string(text, "id", session->name);
  text_put(text, ",");
  put_string(text, "peer", address_text(&session->peer, address));
  text_put(text, ",");
  put_string(text, "local", address_text(&session->local, address));
  text_put(text, ",\"up\":%s,", truth(session->up));
  put_seconds_of(text, "up_seconds", session->up_ns);
  text_put(text, ",");
  put_seconds_of(text, "silent_seconds", session->heard_ns);
  text_put(text, ",\"streams\":%" PRIu32 ",\"rtt_seconds\":{", session->streams);
  put_seconds_of(text, "smoothed", stats->rtt_smoothed_ns);
  text_put(text, ",");
  put_seconds_of(text, "min", stats->rtt_min_ns);
  text_put(text, ",");
  put_seconds_of(text, "latest", stats->rtt_latest_ns);
  text_put(text, "},\"cwnd_bytes\":%" PRIu64 ",\"in_flight_bytes\":%" PRIu64 ",\"mtu_bytes\":%" PRIu64, stats->cwnd,
           stats->bytes_in_flight, stats->mtu);
  text_put(text, ",\"packets\":{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64, stats->packets_sent,
           stats->packets_received, stats->packets_lost);
  text_put(text, ",\"repeated\":%" PRIu64 "}", stats->packets_repeated);
  text_put(text, ",\"bytes\":{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 "}}", stats->bytes_sent,
           stats->bytes_received);
}

static void put_requests(struct text *text, const struct metrics *sum) {
  const metric *const classes[] = {&sum->requests_1xx, &sum->requests_2xx, &sum->requests_3xx, &sum->requests_4xx,
                                   &sum->requests_5xx};
  text_put(text, "\"requests\":{\"started\":%" PRIu64 ",\"in_flight\":%" PRIu64, metrics_get(&sum->http_requests),
           metrics_get(&sum->requests_in_flight));
  for (int i = 0; i < 5; i++)
    text_put(text, ",\"%dxx\":%" PRIu64, i + 1, metrics_get(classes[i]));
  text_put(text,
           "},\"connections\":{\"clients\":%" PRIu64 ",\"origin_active\":%" PRIu64 ",\"origin_idle\":%" PRIu64 "}",
           metrics_get(&sum->connections_open), metrics_get(&sum->origin_active), metrics_get(&sum->origin_idle));
}

static void put_link(struct text *text, const struct admin_view *view) {
  const struct metrics *sum = &view->sum;
  const struct session_report *report = &view->report;
  text_put(text, "\"link\":{\"open\":%" PRIu32 ",\"established\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"failed\":%" PRIu64,
           report->open, report->established, report->lost, report->failed);
  text_put(text, ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64, metrics_get(&sum->bytes_in),
           metrics_get(&sum->bytes_out));
  text_put(text, ",\"packets_out\":%" PRIu64 ",\"packets_lost\":%" PRIu64 ",", metrics_get(&sum->packets_out),
           metrics_get(&sum->packets_lost));
  put_string(text, "reason", report->reason);
  text_put(text, "}");
}

size_t admin_text_status(const struct admin_view *view, char *out, size_t size) {
  struct text text = {.out = out, .size = size};
  text_put(&text, "{\"version\":\"%s\",\"mode\":\"%s\",\"pid\":%d,", PTPROXY_VERSION,
           view->server ? "server" : "client", (int)getpid());
  put_string(&text, "state", state_of(view));
  text_put(&text, ",\"ready\":%s,", truth(admin_is_ready(view)));
  put_seconds_of(&text, "up_seconds", view->up_ns);
  text_put(&text, ",\"certificate_not_after\":%" PRId64 ",\"log_dropped\":%" PRIu64 ",", view->certificate_not_after_s,
           log_dropped());
  put_link(&text, view);
  text_put(&text, ",");
  put_requests(&text, &view->sum);
  text_put(&text, ",\"workers\":[");
  for (size_t i = 0; i < view->workers; i++) {
    text_put(&text, "%s{\"thread\":%zu,", i == 0 ? "" : ",", i);
    put_seconds_of(&text, "loop_lag_seconds", view->lag_ns[i]);
    text_put(&text, "}");
  }
  text_put(&text, "],\"sessions\":[");
  for (size_t i = 0; i < view->sessions; i++) {
    text_put(&text, "%s", i == 0 ? "" : ",");
    put_session(&text, &view->session[i]);
  }
  text_put(&text, "]}\n");
  return text_len(&text);
}

/* ---- /status.txt ---- */

static void put_people_session(struct text *text, const struct session_view *session) {
  char address[ADDRESS_TEXT_MAX];
  const struct quic_stats *stats = &session->stats;
  text_put(text, "\nsession %s\n  peer          %s\n", session->name, address_text(&session->peer, address));
  if (!session->up) {
    text_put(text, "  up            not yet\n");
    return;
  }
  text_put(text, "  up            %" PRIu64 " s, last heard %.3f s ago\n", session->up_ns / (uint64_t)NS_PER_S,
           (double)session->heard_ns / 1e9);
  text_put(text, "  round trip    %.3f ms (smallest %.3f)\n", (double)stats->rtt_smoothed_ns / 1e6,
           (double)stats->rtt_min_ns / 1e6);
  text_put(text, "  window        %" PRIu64 " bytes, %" PRIu64 " in flight, datagrams of %" PRIu64 "\n", stats->cwnd,
           stats->bytes_in_flight, stats->mtu);
  text_put(text, "  packets       %" PRIu64 " sent, %" PRIu64 " received, %" PRIu64 " lost, %" PRIu64 " repeated\n",
           stats->packets_sent, stats->packets_received, stats->packets_lost, stats->packets_repeated);
  text_put(text, "  bytes         %" PRIu64 " sent, %" PRIu64 " received\n", stats->bytes_sent, stats->bytes_received);
}

size_t admin_text_people(const struct admin_view *view, char *out, size_t size) {
  struct text text = {.out = out, .size = size};
  const struct metrics *sum = &view->sum;
  const struct session_report *report = &view->report;
  text_put(&text, "ptproxy %s, %s, running for %" PRIu64 " s, pid %d\n", PTPROXY_VERSION,
           view->server ? "server" : "client", view->up_ns / (uint64_t)NS_PER_S, (int)getpid());
  text_put(&text, "state           %s", state_of(view));
  for (const char *at = report->up ? "" : report->reason; *at != '\0'; at++) /* the reason may be the peer's words */
    text_put(&text, "%s%c", at == report->reason ? ": " : "", *at < ' ' || *at > '~' ? '?' : *at);
  text_put(&text,
           "\nsessions        %" PRIu32 " open, %" PRIu64 " established, %" PRIu64 " lost, %" PRIu64
           " attempts failed\n",
           report->open, report->established, report->lost, report->failed);
  text_put(&text,
           "requests        %" PRIu64 " in flight, %" PRIu64 " so far (2xx %" PRIu64 ", 3xx %" PRIu64 ", 4xx %" PRIu64
           ", 5xx %" PRIu64 ")\n",
           metrics_get(&sum->requests_in_flight), metrics_get(&sum->http_requests), metrics_get(&sum->requests_2xx),
           metrics_get(&sum->requests_3xx), metrics_get(&sum->requests_4xx), metrics_get(&sum->requests_5xx));
  if (view->server)
    text_put(&text, "origin          %" PRIu64 " connections in use, %" PRIu64 " idle\n",
             metrics_get(&sum->origin_active), metrics_get(&sum->origin_idle));
  else
    text_put(&text, "clients         %" PRIu64 " connections\n", metrics_get(&sum->connections_open));
  char date[30];
  clock_http_date((uint64_t)view->certificate_not_after_s * US_PER_S, date);
  text_put(&text, "certificate     ends %s\n", date);
  for (size_t i = 0; i < view->sessions; i++)
    put_people_session(&text, &view->session[i]);
  return text_len(&text);
}
