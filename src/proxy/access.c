/* A request whose head was never complete is counted by how it ended, and logged if it was answered. Lines about
   requests that were refused before they went anywhere can be had by anybody at any rate: those are limited. */
#include "proxy/access.h"

#include <string.h>

#include "base/log.h"
#include "proxy/exchange.h"

enum { REFUSED_LOG_BURST = 200, CUT_LOG_BURST = 10 };

void access_begun(struct exchange *exchange) {
  struct proxy *proxy = exchange->proxy;
  exchange->requested = true;
  exchange->requested_ns = proxy->now_ns;
  metrics_add(&proxy->metrics->http_requests, 1);
  metrics_add(&proxy->metrics->requests_in_flight, 1);
}

static enum err end_of(const struct exchange *exchange) {
  if (exchange->reason != ERR_OK)
    return exchange->reason;
  return exchange->state == EXCHANGE_ANSWERING && flow_finished(&exchange->resp) ? ERR_OK : ERR_CLIENT_GONE;
}

static struct log_field text_field(const char *name, struct bytes text) {
  bool none = text.len == 0;
  return (struct log_field){.name = name, .text = none ? "-" : (const char *)text.data, .len = none ? 1 : text.len};
}

/* Without the query, which may hold what does not belong into a log. */
static struct bytes path_of(const struct exchange *exchange) {
  struct bytes target = head_target(&exchange->req_head);
  const uint8_t *query = target.len > 0 ? memchr(target.data, '?', target.len) : NULL;
  return query != NULL ? bytes_of(target.data, (size_t)(query - target.data)) : target;
}

static void write_line(const struct exchange *exchange, enum err end) {
  const struct proxy *proxy = exchange->proxy;
  bool requested = exchange->requested, sent = exchange->forwarded_ns != 0, answered = exchange->answered_ns != 0;
  uint64_t now = proxy->now_ns, begun = requested ? exchange->requested_ns : exchange->started_ns;
  uint64_t queued = (sent ? exchange->forwarded_ns : now) - begun;
  uint64_t far = !sent ? 0 : (answered ? exchange->answered_ns : now) - exchange->forwarded_ns;
  const struct log_field fields[] = {
      text_field("method", head_method(&exchange->req_head)),
      text_field("path", path_of(exchange)),
      {.name = "status", .number = exchange->resp_head.status},
      {.name = "bytes_in", .number = exchange->req.pushed},
      {.name = "bytes_out", .number = exchange->resp.taken},
      {.name = "queue_s", .number = queued, .nanoseconds = true},
      {.name = proxy->server ? "origin_s" : "link_s", .number = far, .nanoseconds = true},
      {.name = "total_s", .number = now - begun, .nanoseconds = true},
      {.name = "end", .text = err_name(end), .len = strlen(err_name(end))},
  };
  log_fields("request", fields, sizeof fields / sizeof *fields);
}

/* A fault behind the response's head cannot be told to the caller: the log has to say it. Who has lost interest is no
   fault. */
static void note_cut(const struct exchange *exchange, enum err end) {
  struct proxy *proxy = exchange->proxy;
  bool left = end == ERR_CLIENT_GONE || (proxy->server && (end == ERR_STREAM_RESET || end == ERR_STREAM_REJECTED));
  unsigned held_back;
  if (exchange->answered_ns != 0 && end != ERR_OK && !left &&
      log_rate_ok(&proxy->cut_responses, proxy_log_burst(proxy, CUT_LOG_BURST), proxy->now_ns, &held_back))
    log_warn("a response was cut: %s", err_text(end));
}

void access_ended(struct exchange *exchange) {
  struct proxy *proxy = exchange->proxy;
  enum err end = end_of(exchange);
  bool answered = exchange->resp_head.status != 0;
  metrics_add(&proxy->metrics->request_ends[end], exchange->requested || answered ? 1 : 0);
  if (exchange->requested) {
    metrics_sub(&proxy->metrics->requests_in_flight, 1);
    metrics_count_time(proxy->metrics, proxy->now_ns - exchange->requested_ns);
  }
  note_cut(exchange, end);
  if (!log_wants_access() || (!exchange->requested && !answered))
    return;
  unsigned held_back;
  if (exchange->forwarded_ns == 0 &&
      !log_rate_ok(&proxy->refused_requests, proxy_log_burst(proxy, REFUSED_LOG_BURST), proxy->now_ns, &held_back))
    return;
  write_line(exchange, end);
}
