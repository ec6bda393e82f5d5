/* The connections to the origin as a whole. Idle ones wait in a stack: the one used last is used first, so that as few
   as possible are kept busy and the others time out. They are watched while they wait: whatever comes without a
   request, an end or bytes, closes them, so that surplus bytes never reach the next exchange. */
#include "proxy/origin.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "proxy/origin_priv.h"

enum { RESOLVE_AGAIN_MS = 30000, RESOLVE_RETRY_MS = 1000 };

static void waiting_cancel(void *end, struct exchange *exchange, enum err reason);
static void waiting_nothing(void *end, struct exchange *exchange);

static const struct exchange_ops waiting_ops = {
    .output = waiting_nothing, .input = waiting_nothing, .cancel = waiting_cancel};

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
    due = container_of(origin->waiting.next, struct exchange, queue)->started_ns + limit_ms * NS_PER_MS;
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
  uint64_t limit_ns = origin->proxy->config->timeouts.origin_connect_ms * NS_PER_MS;
  while (!list_empty(&origin->waiting)) {
    struct exchange *oldest = container_of(origin->waiting.next, struct exchange, queue);
    if (oldest->started_ns + limit_ns > now_ns)
      break;
    exchange_fail(oldest, ERR_ORIGIN_CONNECT_TIMEOUT);
  }
  set_wait_timer(origin);
}

void origin_serve_waiting(struct origin *origin) {
  if (list_empty(&origin->waiting) || origin->address_count == 0)
    return;
  /* One for each connection that became free; origin_place() may put it back at the end when there is none after all.
   */
  struct exchange *exchange = container_of(list_pop(&origin->waiting), struct exchange, queue);
  origin_place(origin, exchange, 0);
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
    origin_place(origin, container_of(node, struct exchange, queue), 0);
  set_wait_timer(origin);
}

static void resolve_when_due(struct origin *origin) {
  if (origin->literal || origin->resolving || origin->proxy->now_ns < origin->resolve_after_ns)
    return;
  origin->resolving = true;
  resolve(origin->proxy->resolver, &origin->query);
}

/* ---- placing an exchange ---- */

/* The idle connection that was used last; one whose end was seen in this very tick is none. NULL: there is none. */
static struct origin_conn *take_idle(struct origin *origin) {
  while (!list_empty(&origin->idle)) {
    struct origin_conn *conn = container_of(origin->idle.next, struct origin_conn, node);
    if (!tcp_input_ended(conn->tcp) && tcp_input_bytes(conn->tcp) == 0) {
      list_remove(&conn->node);
      return conn;
    }
    origin_conn_close(conn, false);
  }
  return NULL;
}

void origin_place(struct origin *origin, struct exchange *exchange, unsigned attempts) {
  resolve_when_due(origin);
  struct origin_conn *idle = exchange->retried || attempts > 0 ? NULL : take_idle(origin);
  if (idle != NULL)
    origin_conn_use(idle, exchange);
  else if (origin->address_count == 0 || !origin_conn_connect(origin, exchange, attempts))
    wait(origin, exchange);
}

void origin_route(void *router, struct exchange *exchange) { origin_place(router, exchange, 0); }

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
    origin_conn_close(container_of(node, struct origin_conn, node), true);
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
    origin_conn_close(container_of(node, struct origin_conn, node), true);
  }
}

uint32_t origin_count(const struct origin *origin) { return origin->connections.live; }

uint32_t origin_idle_count(const struct origin *origin) {
  uint32_t count = 0;
  for (const struct list *node = origin->idle.next; node != &origin->idle; node = node->next)
    count++;
  return count;
}
