/* An origin connection is the far end of at most one exchange. Idle ones wait in a stack: the one used last is used
   first, so that as few as possible are kept busy and the others time out. They are watched while they wait: whatever
   comes without a request, an end or bytes, closes them, so that surplus bytes never reach the next exchange.

   Who may hold a connection: its tcp (events, and a send in flight, until buried), its exchange, its timer. */
#include "proxy/origin.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "proto/http1_read.h"
#include "proto/http1_write.h"
#include "proxy/exchange.h"

enum origin_state {
  ORIGIN_CONNECTING,
  ORIGIN_ACTIVE, /* has an exchange */
  ORIGIN_IDLE,
  ORIGIN_CLOSED, /* tcp_close was called */
};

enum {
  RESOLVE_AGAIN_MS = 30000,
  RESOLVE_RETRY_MS = 1000,
  BULK_RESPONSE_BYTES = 32768, /* a response longer than this is received in large chunks */
};

struct origin {
  struct proxy *proxy;
  struct pool connections;
  struct list idle;    /* of origin_conn, the last used first */
  struct list active;  /* all the others */
  struct list waiting; /* exchanges (by queue) that found no address or no connection, oldest first */
  struct timer wait_timer;
  struct resolve_query query;
  bool resolving;
  uint64_t resolve_after_ns; /* not before */
  bool literal;              /* the address needs no resolving */
  struct address addresses[RESOLVE_RESULTS_MAX];
  size_t address_count, address_next;
  struct log_rate failures;
};

struct origin_conn {
  struct list node; /* in origin->idle or ->active */
  struct origin *origin;
  struct proxy *proxy;
  struct tcp *tcp;
  struct exchange *exchange; /* NULL when idle, or when it was taken away */
  struct timer timer;
  struct http1_reader reader;
  struct http1_writer writer;
  uint8_t state;    /* enum origin_state */
  bool reused;      /* it has served an exchange before this one */
  bool failed;      /* nothing more comes but what is queued; not to be kept */
  uint8_t attempts; /* addresses tried for this exchange */
};

static void conn_output(void *end, struct exchange *exchange);
static void conn_input(void *end, struct exchange *exchange);
static void conn_cancel(void *end, struct exchange *exchange, enum err reason);
static void waiting_cancel(void *end, struct exchange *exchange, enum err reason);
static void waiting_nothing(void *end, struct exchange *exchange);
static void serve_waiting(struct origin *origin);
static void place(struct origin *origin, struct exchange *exchange, unsigned attempts);

static const struct exchange_ops conn_ops = {.output = conn_output, .input = conn_input, .cancel = conn_cancel};
static const struct exchange_ops waiting_ops = {
    .output = waiting_nothing, .input = waiting_nothing, .cancel = waiting_cancel};

/* ---- the end of a connection ---- */

static void conn_buried(void *owner) {
  struct origin_conn *conn = owner;
  struct origin *origin = conn->origin;
  if (conn->exchange != NULL)
    exchange_far_done(conn->exchange);
  http1_writer_close(&conn->writer);
  list_remove(&conn->node);
  pool_put(&origin->connections, conn);
  serve_waiting(origin);
}

static void conn_close(struct origin_conn *conn, bool reset) {
  if (conn->state == ORIGIN_CLOSED)
    return;
  conn->state = ORIGIN_CLOSED;
  timer_cancel(&conn->proxy->timers, &conn->timer);
  list_remove(&conn->node);
  list_push(&conn->origin->active, &conn->node);
  tcp_close(conn->tcp, reset, conn_buried, conn);
}

/* Takes the exchange away from a connection that is going to be closed and lent no byte of its flows. */
static struct exchange *conn_release(struct origin_conn *conn) {
  struct exchange *exchange = conn->exchange;
  must(exchange != NULL && !tcp_sending(conn->tcp));
  conn->exchange = NULL;
  return exchange;
}

/* ---- waiting for an address or a connection ---- */

static void waiting_nothing(void *end, struct exchange *exchange) {
  (void)end;
  (void)exchange;
}

static void waiting_cancel(void *end, struct exchange *exchange, enum err reason) {
  (void)end;
  (void)reason;
  list_remove(&exchange->queue);
  exchange_far_done(exchange);
}

static void set_wait_timer(struct origin *origin) {
  uint64_t due = TIMER_NEVER;
  uint64_t limit_ms = origin->proxy->config->timeouts.origin_connect_ms;
  if (!list_empty(&origin->waiting) && limit_ms > 0)
    due = container_of(origin->waiting.next, struct exchange, queue)->started_ns + limit_ms * 1000000;
  timer_set(&origin->proxy->timers, &origin->wait_timer, due);
}

static void wait(struct origin *origin, struct exchange *exchange) {
  exchange_attach(exchange, &waiting_ops, origin);
  list_push(&origin->waiting, &exchange->queue);
  set_wait_timer(origin);
}

static void fail_waiting(struct origin *origin, enum err reason) {
  while (!list_empty(&origin->waiting))
    exchange_fail(container_of(origin->waiting.next, struct exchange, queue), reason);
  set_wait_timer(origin);
}

static void on_wait_timer(struct timer *timer, uint64_t now_ns) {
  struct origin *origin = container_of(timer, struct origin, wait_timer);
  uint64_t limit_ns = origin->proxy->config->timeouts.origin_connect_ms * 1000000;
  while (!list_empty(&origin->waiting)) {
    struct exchange *oldest = container_of(origin->waiting.next, struct exchange, queue);
    if (oldest->started_ns + limit_ns > now_ns)
      break;
    exchange_fail(oldest, ERR_ORIGIN_CONNECT_TIMEOUT);
  }
  set_wait_timer(origin);
}

static void serve_waiting(struct origin *origin) {
  if (list_empty(&origin->waiting) || origin->address_count == 0)
    return;
  /* One for each connection that became free; place() may put it back at the end when there is none after all. */
  struct exchange *exchange = container_of(list_pop(&origin->waiting), struct exchange, queue);
  place(origin, exchange, 0);
  set_wait_timer(origin);
}

/* ---- addresses ---- */

static void resolved(struct resolve_query *query) {
  struct origin *origin = container_of(query, struct origin, query);
  struct proxy *proxy = origin->proxy;
  origin->resolving = false;
  origin->resolve_after_ns = proxy_deadline(proxy, query->count > 0 ? RESOLVE_AGAIN_MS : RESOLVE_RETRY_MS);
  if (query->count == 0) {
    log_warn("origin %s: %s", query->host, query->error);
    if (origin->address_count == 0)
      fail_waiting(origin, ERR_ORIGIN_UNREACHABLE);
    return;
  }
  memcpy(origin->addresses, query->results, sizeof origin->addresses);
  origin->address_count = query->count;
  origin->address_next = 0;
  struct list round;
  list_init(&round);
  list_splice(&round, &origin->waiting);
  struct list *node;
  while ((node = list_pop(&round)) != NULL)
    place(origin, container_of(node, struct exchange, queue), 0);
  set_wait_timer(origin);
}

static void resolve_when_due(struct origin *origin) {
  if (origin->literal || origin->resolving || origin->proxy->now_ns < origin->resolve_after_ns)
    return;
  origin->resolving = true;
  resolve(origin->proxy->resolver, &origin->query);
}

/* ---- request out ---- */

static void set_timer(struct origin_conn *conn) {
  const struct config *config = conn->proxy->config;
  uint64_t after_ms = config->timeouts.origin_response_ms;
  if (conn->state == ORIGIN_CONNECTING)
    after_ms = config->timeouts.origin_connect_ms;
  else if (conn->state == ORIGIN_IDLE)
    after_ms = config->system.origin_idle_timeout_ms;
  timer_set(&conn->proxy->timers, &conn->timer, proxy_deadline(conn->proxy, after_ms));
}

static void conn_fail(struct origin_conn *conn, enum err reason) {
  struct exchange *exchange = conn->exchange;
  conn_close(conn, true);
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
    conn_close(conn, true); /* the request will not become complete: the origin must not take it for complete */
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
  tcp_input(conn->tcp, TCP_INPUT_SMALL);
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
  conn_close(end, true);
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
  enum tcp_input_mode mode = TCP_INPUT_SMALL;
  if (conn->state == ORIGIN_ACTIVE) {
    const struct exchange *exchange = conn->exchange;
    if (!wants_input(conn))
      mode = TCP_INPUT_OFF;
    else if (exchange->resp_head.content_length > BULK_RESPONSE_BYTES || exchange->resp.pushed > BULK_RESPONSE_BYTES)
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
  if (conn->failed || !request_written || exchange->resp_head.close || tcp_input_bytes(conn->tcp) > 0 ||
      conn->proxy->draining) {
    conn_close(conn, false);
    return;
  }
  conn->exchange = NULL;
  exchange_far_done(exchange);
  conn->state = ORIGIN_IDLE;
  conn->reused = true;
  list_remove(&conn->node);
  list_push_front(&origin->idle, &conn->node);
  set_timer(conn);
  serve_waiting(origin);
}

/* The reused connection died before a byte of the response: the origin may have closed it as we wrote. Once, and only
   what may be repeated (RFC 9110 section 9.2.2), goes out again on a fresh one. */
static bool retry(struct origin_conn *conn) {
  struct exchange *exchange = conn->exchange;
  if (!conn->reused || http1_reader_started(&conn->reader) || exchange->retried || tcp_sending(conn->tcp) ||
      exchange->state != EXCHANGE_FORWARDED || exchange->req.taken != 0 || !head_idempotent(&exchange->req_head))
    return false;
  struct origin *origin = conn->origin;
  (void)conn_release(conn);
  conn_close(conn, true);
  metrics_add(&conn->proxy->metrics->origin_retries, 1);
  exchange_retry(exchange);
  place(origin, exchange, 0);
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
    conn_close(conn, true);
  else
    conn_read(conn);
}

/* ---- events ---- */

/* Another address, as long as there are some that were not tried for this exchange. */
static void connect_failed(struct origin_conn *conn, enum err reason, const char *why) {
  struct origin *origin = conn->origin;
  unsigned suppressed;
  if (log_rate_ok(&origin->failures, 5, conn->proxy->now_ns, &suppressed))
    log_warn("origin %s: %s (%u more not logged)", conn->proxy->config->general.http_connect_address, why, suppressed);
  metrics_add(&conn->proxy->metrics->origin_failures, 1);
  origin->resolve_after_ns = 0;
  unsigned attempts = conn->attempts;
  struct exchange *exchange = conn_release(conn);
  conn_close(conn, true);
  if (attempts < origin->address_count) {
    place(origin, exchange, attempts);
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
      conn_close(conn, true);
    return;
  }
  if (conn->state == ORIGIN_IDLE) {
    conn_close(conn, false);
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
    conn_close(conn, false);
  } else if (!wants_input(conn) || http1_writer_progress(&conn->writer) == HTTP1_WAITING) {
    set_timer(conn); /* it is not the origin that is waited for */
  } else {
    conn_fail(conn, ERR_ORIGIN_TIMEOUT);
  }
}

/* ---- placing an exchange ---- */

static void use_idle(struct origin *origin, struct exchange *exchange) {
  struct origin_conn *conn = container_of(list_pop(&origin->idle), struct origin_conn, node);
  list_push(&origin->active, &conn->node);
  conn->exchange = exchange;
  exchange_attach(exchange, &conn_ops, conn);
  metrics_add(&origin->proxy->metrics->origin_reuses, 1);
  begin_request(conn);
}

static bool connect_new(struct origin *origin, struct exchange *exchange, unsigned attempts) {
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

/* Gives |exchange| a connection: an idle one, unless it was retried because one of those had died; else a new one; else
   it waits. */
static void place(struct origin *origin, struct exchange *exchange, unsigned attempts) {
  resolve_when_due(origin);
  if (!list_empty(&origin->idle) && !exchange->retried && attempts == 0)
    use_idle(origin, exchange);
  else if (origin->address_count == 0 || !connect_new(origin, exchange, attempts))
    wait(origin, exchange);
}

void origin_route(void *router, struct exchange *exchange) { place(router, exchange, 0); }

/* ---- all of them ---- */

enum err origin_open(struct origin **out, struct proxy *proxy) {
  *out = NULL;
  struct origin *origin = calloc(1, sizeof *origin);
  if (origin == NULL)
    return ERR_NO_MEMORY;
  origin->proxy = proxy;
  list_init(&origin->idle);
  list_init(&origin->active);
  list_init(&origin->waiting);
  timer_init(&origin->wait_timer, on_wait_timer);
  const char *text = proxy->config->general.http_connect_address;
  enum err err = ERR_OK;
  if (address_parse(&origin->addresses[0], text, 80) == ERR_OK) {
    origin->literal = true;
    origin->address_count = 1;
  } else {
    err = address_split(text, 80, origin->query.host, sizeof origin->query.host, &origin->query.port);
    origin->query.done = resolved;
    list_init(&origin->query.node);
  }
  if (err == ERR_OK)
    err = pool_open(&origin->connections, "origin_connections", sizeof(struct origin_conn), ORIGIN_CONNECTIONS_MAX);
  if (err != ERR_OK) {
    free(origin);
    return err;
  }
  *out = origin;
  return ERR_OK;
}

void origin_close(struct origin *origin) {
  if (origin == NULL)
    return;
  must(list_empty(&origin->idle) && list_empty(&origin->active) && list_empty(&origin->waiting));
  timer_cancel(&origin->proxy->timers, &origin->wait_timer);
  pool_close(&origin->connections);
  free(origin);
}

static void close_all(struct list *list) {
  for (struct list *node = list->next, *next; node != list; node = next) {
    next = node->next;
    conn_close(container_of(node, struct origin_conn, node), true);
  }
}

void origin_drain(struct origin *origin) {
  struct list round;
  list_init(&round);
  list_splice(&round, &origin->idle);
  close_all(&round);
}

void origin_abort(struct origin *origin) {
  fail_waiting(origin, ERR_STOPPING);
  origin_drain(origin);
  struct list round;
  list_init(&round);
  list_splice(&round, &origin->active);
  struct list *node;
  while ((node = list_pop(&round)) != NULL) {
    list_push(&origin->active, node);
    conn_close(container_of(node, struct origin_conn, node), true);
  }
}

uint32_t origin_count(const struct origin *origin) { return origin->connections.live; }
