/* One origin connection: an exchange's far end, from the request's first byte to the response's last.

   Who may hold it: its tcp (events, and a send in flight, until buried), its exchange, its timer. */
#include <string.h>

#include "base/must.h"
#include "proxy/origin_priv.h"

enum {
  BULK_RESPONSE_BYTES = 32768, /* a response longer than this is received in large chunks */
  LARGE_SCARCE_PERCENT = 50,
  FAILURE_LOG_BURST = 10,
};

static void conn_output(void *end, struct exchange *exchange);
static void conn_input(void *end, struct exchange *exchange);
static void conn_cancel(void *end, struct exchange *exchange, enum err reason);

static const struct exchange_ops conn_ops = {.output = conn_output, .input = conn_input, .cancel = conn_cancel};

/* ---- the end of a connection ---- */

static void conn_buried(void *owner) {
  struct origin_conn *conn = owner;
  struct origin *origin = conn->origin;
  if (conn->exchange != NULL)
    exchange_far_done(conn->exchange);
  http1_writer_close(&conn->writer);
  list_remove(&conn->node);
  pool_put(&origin->connections, conn);
  origin_serve_waiting(origin);
}

void origin_conn_close(struct origin_conn *conn, bool reset) {
  if (conn->state == ORIGIN_CLOSED)
    return;
  conn->state = ORIGIN_CLOSED;
  timer_cancel(&conn->proxy->timers, &conn->timer);
  list_remove(&conn->node);
  list_push(&conn->origin->active, &conn->node);
  tcp_close(conn->tcp, reset, conn_buried, conn);
}

/* A send of its own head may be in flight, but none with bytes of the exchange's flow. */
static bool lends_nothing(const struct origin_conn *conn) {
  return !tcp_sending(conn->tcp) || conn->exchange->req.pushed == 0;
}

/* Takes the exchange away from a connection that is going to be closed. */
static struct exchange *conn_release(struct origin_conn *conn) {
  struct exchange *exchange = conn->exchange;
  must(exchange != NULL && lends_nothing(conn));
  conn->exchange = NULL;
  return exchange;
}

/* ---- request out ---- */

/* What a connection brings next is likely as long as what it brought last. A head that is received into small chunks
   with a long body behind it brings a fifth of a megabyte of that along, 4 KB at a time, and then costs a cancellation.
   A large chunk is only taken when there is something to put into it; where many are in use, heads go without, so that
   bodies which wait do not keep them from coming in. */
static enum tcp_input_mode usual_mode(const struct origin_conn *conn) {
  const struct chunks *chunks = &conn->proxy->chunks;
  bool large = conn->bulk && chunks_excess(chunks, CHUNK_LARGE, LARGE_SCARCE_PERCENT, LARGE_SCARCE_PERCENT) == 0;
  return large ? TCP_INPUT_BULK : TCP_INPUT_SMALL;
}

static bool response_is_long(const struct exchange *exchange) {
  return exchange->resp_head.content_length > BULK_RESPONSE_BYTES || exchange->resp.pushed > BULK_RESPONSE_BYTES;
}

static void set_timer(struct origin_conn *conn) {
  const struct config *config = conn->proxy->config;
  uint64_t after_ms = 0; /* a response that has begun may pause: keep-alive finds out when the origin is gone */
  if (conn->state == ORIGIN_ACTIVE && conn->exchange->state == EXCHANGE_FORWARDED)
    after_ms = config->timeouts.origin_response_ms;
  else if (conn->state == ORIGIN_CONNECTING)
    after_ms = config->timeouts.origin_connect_ms;
  else if (conn->state == ORIGIN_IDLE)
    after_ms = config->system.origin_idle_timeout_ms;
  timer_set(&conn->proxy->timers, &conn->timer, proxy_deadline(conn->proxy, after_ms));
}

static void conn_fail(struct origin_conn *conn, enum err reason) {
  struct exchange *exchange = conn->exchange;
  origin_conn_close(conn, true);
  if (exchange != NULL)
    exchange_fail(exchange, reason);
}

static void send_more(struct origin_conn *conn) {
  if (tcp_sending(conn->tcp))
    return;
  struct iovec iov[HTTP1_WRITE_IOV_MAX];
  size_t count = http1_writer_fill(&conn->writer, iov, HTTP1_WRITE_IOV_MAX);
  if (count > 0)
    tcp_send(conn->tcp, iov, count);
  else if (http1_writer_progress(&conn->writer) == HTTP1_CUT)
    origin_conn_close(conn, true); /* the request will not become complete: the origin must not take it for complete */
}

static void begin_request(struct origin_conn *conn) {
  struct exchange *exchange = conn->exchange;
  conn->state = ORIGIN_ACTIVE;
  if (http1_write_request(&conn->writer, &exchange->req_head, &exchange->req, &exchange->req_trailers) != ERR_OK) {
    conn_fail(conn, ERR_OVERLOADED);
    return;
  }
  http1_reader_next(&conn->reader, &exchange->resp_head, &exchange->resp, &exchange->resp_trailers,
                    head_method_is(&exchange->req_head, "HEAD"));
  exchange_sent(exchange);
  set_timer(conn);
  tcp_input(conn->tcp, usual_mode(conn));
  send_more(conn);
}

static void conn_output(void *end, struct exchange *exchange) {
  struct origin_conn *conn = end;
  must(conn->exchange == exchange);
  if (conn->state == ORIGIN_ACTIVE)
    send_more(conn);
}

static void conn_cancel(void *end, struct exchange *exchange, enum err reason) {
  (void)exchange;
  (void)reason;
  origin_conn_close(end, true);
}

/* ---- response in ---- */

static bool wants_input(const struct origin_conn *conn) {
  if (conn->state != ORIGIN_ACTIVE || conn->exchange == NULL)
    return false;
  const struct exchange *exchange = conn->exchange;
  if (exchange->state == EXCHANGE_FORWARDED)
    return exchange_informational_slot(conn->exchange) != NULL; /* none is lost */
  return flow_room(&exchange->resp) > 0;
}

static void ask_for_input(struct origin_conn *conn) {
  if (conn->state == ORIGIN_CLOSED)
    return;
  enum tcp_input_mode mode = usual_mode(conn);
  if (conn->state == ORIGIN_ACTIVE) {
    if (!wants_input(conn))
      mode = TCP_INPUT_OFF;
    else if (response_is_long(conn->exchange))
      mode = TCP_INPUT_BULK;
  }
  tcp_input(conn->tcp, mode);
}

static void response_complete(struct origin_conn *conn) {
  struct exchange *exchange = conn->exchange;
  struct origin *origin = conn->origin;
  exchange_wake(exchange, WAKE_NEAR_OUTPUT);
  bool request_written = http1_writer_progress(&conn->writer) == HTTP1_WRITTEN && !tcp_sending(conn->tcp);
  if (!request_written && flow_end(&exchange->req, FLOW_CANCELLED, ERR_OK))
    exchange_wake(exchange, WAKE_NEAR_INPUT);
  if (conn->failed || tcp_input_ended(conn->tcp) || !request_written || exchange->resp_head.close ||
      tcp_input_bytes(conn->tcp) > 0 || conn->proxy->draining) {
    origin_conn_close(conn, false);
    return;
  }
  conn->bulk = exchange->resp.pushed > BULK_RESPONSE_BYTES;
  conn->exchange = NULL;
  exchange_far_done(exchange);
  conn->state = ORIGIN_IDLE;
  conn->reused = true;
  list_remove(&conn->node);
  list_push_front(&origin->idle, &conn->node);
  set_timer(conn);
  origin_serve_waiting(origin);
}

/* The reused connection died before a byte of the response: the origin may have closed it as we wrote. Once, and only
   what may be repeated (RFC 9110 section 9.2.2), goes out again on a fresh one. */
static bool retry(struct origin_conn *conn) {
  struct exchange *exchange = conn->exchange;
  if (!conn->reused || http1_reader_started(&conn->reader) || exchange->retried || !lends_nothing(conn) ||
      exchange->state != EXCHANGE_FORWARDED || exchange->req.taken != 0 || !head_idempotent(&exchange->req_head))
    return false;
  struct origin *origin = conn->origin;
  (void)conn_release(conn);
  origin_conn_close(conn, true);
  metrics_add(&conn->proxy->metrics->origin_retries, 1);
  exchange_retry(exchange);
  origin_place(origin, exchange, 0);
  return true;
}

static void response_broken(struct origin_conn *conn, enum err reason) {
  if (reason == ERR_ORIGIN_CLOSED && retry(conn))
    return;
  if (conn->exchange->state == EXCHANGE_FORWARDED || reason == ERR_ORIGIN_BAD_RESPONSE)
    log_debug("origin: %s", err_text(reason));
  conn_fail(conn, reason);
}

static void on_informational(struct origin_conn *conn) {
  struct exchange *exchange = conn->exchange;
  struct proxy *proxy = conn->proxy;
  struct head *slot = exchange_informational_slot(exchange);
  must(slot != NULL && "wants_input looked");
  head_move(slot, &exchange->resp_head);
  head_open(&exchange->resp_head, &proxy->chunks, proxy->limits);
  exchange_inform(exchange);
  http1_reader_final(&conn->reader);
}

/* False when there is nothing more to read for now. */
static bool on_step(struct origin_conn *conn, enum http1_step step) {
  switch (step) {
  case HTTP1_MORE:
    return true;
  case HTTP1_INFORMATIONAL:
    on_informational(conn);
    return true;
  case HTTP1_MESSAGE:
    response_complete(conn);
    return false;
  case HTTP1_BROKEN:
    response_broken(conn, http1_reader_error(&conn->reader));
    return false;
  case HTTP1_HEAD:
    break;
  }
  must_never("a head was followed by another step");
}

static void conn_read(struct origin_conn *conn) {
  uint32_t offset, len;
  struct chunk *chunk;
  bool pushed = false;
  while (wants_input(conn) && (chunk = tcp_input_peek(conn->tcp, &offset, &len)) != NULL) {
    uint32_t at = offset;
    enum http1_step step = http1_read(&conn->reader, chunk, &at, offset + len);
    if (step == HTTP1_HEAD) {
      exchange_response(conn->exchange);
      step = http1_read(&conn->reader, chunk, &at, offset + len); /* without a body it is complete now */
    }
    tcp_input_consume(conn->tcp, at - offset);
    pushed = true;
    if (!on_step(conn, step))
      break;
  }
  if (conn->state != ORIGIN_ACTIVE) {
    ask_for_input(conn);
    return;
  }
  if (pushed) {
    set_timer(conn);
    exchange_wake(conn->exchange, WAKE_NEAR_OUTPUT);
  }
  if (tcp_input_ended(conn->tcp)) {
    if (!on_step(conn, http1_read_end(&conn->reader)))
      return;
    response_broken(conn, ERR_ORIGIN_CLOSED); /* between messages: before the response began */
    return;
  }
  ask_for_input(conn);
}

static void conn_input(void *end, struct exchange *exchange) {
  struct origin_conn *conn = end;
  must(conn->exchange == exchange);
  if (conn->state != ORIGIN_ACTIVE)
    return;
  if (exchange->resp.end == FLOW_CANCELLED)
    origin_conn_close(conn, true);
  else
    conn_read(conn);
}

/* ---- events ---- */

/* Another address, as long as there are some that were not tried for this exchange. */
static void connect_failed(struct origin_conn *conn, enum err reason, const char *why) {
  struct origin *origin = conn->origin;
  unsigned suppressed;
  if (log_rate_ok(&origin->failures, proxy_log_burst(conn->proxy, FAILURE_LOG_BURST), conn->proxy->now_ns, &suppressed))
    log_warn("origin %s: %s", conn->proxy->config->general.http_connect_address, why);
  metrics_add(&conn->proxy->metrics->origin_failures, 1);
  origin->resolve_after_ns = 0;
  unsigned attempts = conn->attempts;
  struct exchange *exchange = conn_release(conn);
  origin_conn_close(conn, true);
  if (attempts < origin->address_count) {
    origin_place(origin, exchange, attempts);
  } else {
    exchange_far_done(exchange);
    exchange_fail(exchange, reason);
  }
}

/* An origin that refuses a body may answer, close, and reset what still comes: the answer counts. */
static void read_before_failure(struct origin_conn *conn) {
  conn->failed = true;
  conn_read(conn);
  if (conn->state == ORIGIN_ACTIVE)
    response_broken(conn, ERR_ORIGIN_CLOSED);
}

static void on_event(void *owner, struct tcp *tcp, unsigned events) {
  struct origin_conn *conn = owner;
  must(conn->tcp == tcp);
  if (events & TCP_FAILED) {
    if (conn->state == ORIGIN_CONNECTING)
      connect_failed(conn, ERR_ORIGIN_UNREACHABLE, tcp_failure(tcp));
    else if (conn->state == ORIGIN_ACTIVE)
      read_before_failure(conn);
    else
      origin_conn_close(conn, true);
    return;
  }
  if (conn->state == ORIGIN_IDLE) {
    origin_conn_close(conn, false);
    return;
  }
  if (events & TCP_CONNECTED)
    begin_request(conn);
  if ((events & TCP_SENT) && conn->state == ORIGIN_ACTIVE) {
    http1_writer_sent(&conn->writer, tcp_sent_bytes(tcp));
    set_timer(conn);
    exchange_wake(conn->exchange, WAKE_NEAR_INPUT);
    send_more(conn);
  }
  if ((events & TCP_INPUT) && conn->state == ORIGIN_ACTIVE)
    conn_read(conn);
}

static void on_timer(struct timer *timer, uint64_t now_ns) {
  (void)now_ns;
  struct origin_conn *conn = container_of(timer, struct origin_conn, timer);
  if (conn->state == ORIGIN_CONNECTING) {
    connect_failed(conn, ERR_ORIGIN_CONNECT_TIMEOUT, "connection attempt timed out");
  } else if (conn->state == ORIGIN_IDLE) {
    origin_conn_close(conn, false);
  } else if (!wants_input(conn) || http1_writer_progress(&conn->writer) == HTTP1_WAITING) {
    set_timer(conn); /* it is not the origin that is waited for */
  } else {
    conn_fail(conn, ERR_ORIGIN_TIMEOUT);
  }
}

/* ---- beginning ---- */

void origin_conn_use(struct origin_conn *conn, struct exchange *exchange) {
  struct origin *origin = conn->origin;
  list_push(&origin->active, &conn->node);
  conn->exchange = exchange;
  exchange_attach(exchange, &conn_ops, conn);
  metrics_add(&origin->proxy->metrics->origin_reuses, 1);
  begin_request(conn);
}

bool origin_conn_connect(struct origin *origin, struct exchange *exchange, unsigned attempts) {
  struct proxy *proxy = origin->proxy;
  struct origin_conn *conn = pool_get(&origin->connections);
  if (conn == NULL)
    return false;
  memset(conn, 0, sizeof *conn);
  const struct address *address = &origin->addresses[(origin->address_next + attempts) % origin->address_count];
  conn->tcp = tcp_connect(proxy->tcp, address, on_event, conn);
  if (conn->tcp == NULL) {
    pool_put(&origin->connections, conn);
    return false;
  }
  conn->origin = origin;
  conn->proxy = proxy;
  conn->exchange = exchange;
  conn->attempts = (uint8_t)(attempts + 1);
  conn->state = ORIGIN_CONNECTING;
  list_init(&conn->node);
  list_push(&origin->active, &conn->node);
  timer_init(&conn->timer, on_timer);
  http1_reader_open(&conn->reader, HTTP1_READS_RESPONSES);
  http1_writer_open(&conn->writer, &proxy->chunks);
  exchange_attach(exchange, &conn_ops, conn);
  metrics_add(&proxy->metrics->origin_connects, 1);
  set_timer(conn);
  return true;
}
