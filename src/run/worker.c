/* The sizes of the pools are sums of who may hold an object; the memory behind them becomes resident only as far as it
   is ever used at once (base/pool.h), so that the sums may be generous. */
#include "run/worker.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "io/udp.h"
#include "proxy/exchange.h"
#include "proxy/ingress.h"
#include "proxy/origin.h"
#include "proxy/yield.h"
#include "run/admin.h"
#include "run/dispatcher.h"
#include "run/spin.h"

enum {
  CLOSE_LIMIT_MS = 10000, /* for closing connections: cancelled operations come back within microseconds */
  MEASURE_MS = 1000,      /* between two looks at what counts by itself */
  CLOSE_TICKS = 16,       /* in which CONNECTION_CLOSE goes out, unless the socket takes nothing */
  BLOCKED_US = 50,        /* before a full mailbox is tried again */
};

struct worker {
  struct proxy proxy;
  struct cluster *cluster;       /* NULL: it is alone */
  bool joined, quiet;            /* the cluster knows of it; and that it is drained */
  bool all_closing;              /* nobody sends anything new any more: seen before the last mail was read */
  struct dispatcher *dispatcher; /* with a cluster */
  struct member_view told;       /* what the cluster was told last */
  struct sessions *sessions;     /* NULL: client mode, and the session is another worker's */
  struct ingress_front *front;   /* client mode */
  struct origin *origin;         /* server mode */
  struct admin *admin;           /* NULL: off */
  struct metrics *metrics;
  int64_t certificate_not_after_s;
  uint64_t started_ns, started_s;
  uint64_t pass_ns, pass_before_ns; /* the longest pass through the loop since the last measurement; before it */
  struct spin idle_spin, busy_spin; /* of waits without an exchange; with some */
  bool may_spin;
  struct timer measure_timer;
  uint8_t phase; /* enum worker_phase */
  struct timer phase_timer;
  uint32_t closing_ticks;
};

static void set_time(struct proxy *proxy, uint64_t now_ns, uint64_t wall_us) {
  proxy->now_ns = now_ns;
  uint64_t second = wall_us / US_PER_S;
  if (second == proxy->date_s)
    return;
  proxy->date_s = second;
  clock_http_date(wall_us, proxy->date);
}

/* ---- opening ---- */

/* Whether a worker that waits awake keeps none of |workers| from a core; a single core is the callers', too. */
static bool cores_suffice(unsigned workers) {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) > 1 &&
         (unsigned)CPU_COUNT(&cores) >= workers;
}

static enum err open_pools(struct proxy *proxy) {
  enum err err = chunks_open(&proxy->chunks, CHUNK_SMALL_COUNT_MAX, CHUNK_LARGE_COUNT_MAX, SPANS_MAX);
  if (err == ERR_OK)
    err = timers_open(&proxy->timers, TIMERS_MAX);
  if (err == ERR_OK)
    err = pool_open(&proxy->exchanges, "exchanges", sizeof(struct exchange), EXCHANGES_MAX);
  return err;
}

static enum err open_io(struct proxy *proxy, char *reason, size_t reason_size) {
  const struct config *config = proxy->config;
  struct tcp_config tcp = {
      /* client: connections and those being refused; server: to the origin; both: those being closed */
      .connections = (proxy->server ? ORIGIN_CONNECTIONS_MAX : (uint32_t)config->limits.connections) + 1024,
      .nodelay = config->system.tcp_nodelay,
      .keepalive_ms = config->system.tcp_keepalive_ms,
      .joins = proxy->worker > 0,
  };
  enum err err = ring_open(&proxy->ring, &proxy->chunks, reason, reason_size);
  if (err == ERR_OK)
    err = tcp_stack_open(&proxy->tcp, proxy->ring, &proxy->chunks, &tcp);
  if (err == ERR_OK)
    err = resolver_open(&proxy->resolver, proxy->ring);
  return err;
}

/* A UNIX socket cannot be shared as a port can: it is worker 0's. */
static enum err listen_too(struct worker *worker, char *reason, size_t reason_size) {
  struct address addresses[CONFIG_LIST_MAX];
  size_t count = cluster_listeners(worker->cluster, addresses);
  enum err err = ERR_OK;
  for (size_t i = 0; err == ERR_OK && i < count; i++) {
    if (address_family(&addresses[i]) != AF_UNIX)
      err = ingress_listen(worker->front, &addresses[i], reason, reason_size);
  }
  return err;
}

static enum err listen_first(struct worker *worker, char *reason, size_t reason_size) {
  const struct config_list *list = &worker->proxy.config->general.http_bind_address;
  enum err err = ERR_OK;
  for (size_t i = 0; err == ERR_OK && i < list->count; i++) {
    struct address address;
    err = address_parse(&address, list->item[i], 0);
    if (err == ERR_OK)
      err = ingress_listen(worker->front, &address, reason, reason_size);
  }
  if (err == ERR_OK && worker->cluster != NULL) {
    struct address addresses[CONFIG_LIST_MAX];
    size_t count = ingress_addresses(worker->front, addresses, CONFIG_LIST_MAX);
    cluster_set_listeners(worker->cluster, addresses, count);
  }
  return err;
}

static enum err open_client(struct worker *worker, char *reason, size_t reason_size) {
  struct proxy *proxy = &worker->proxy;
  if (worker->sessions != NULL) {
    proxy->route = sessions_route;
    proxy->router = worker->sessions;
  }
  enum err err = ingress_front_open(&worker->front, proxy);
  if (err == ERR_OK)
    err = proxy->worker == 0 ? listen_first(worker, reason, reason_size) : listen_too(worker, reason, reason_size);
  return err;
}

static enum err open_server(struct worker *worker) {
  enum err err = origin_open(&worker->origin, &worker->proxy);
  worker->proxy.route = origin_route;
  worker->proxy.router = worker->origin;
  return err;
}

static void on_phase_timer(struct timer *timer, uint64_t now_ns);
static void on_measure_timer(struct timer *timer, uint64_t now_ns);
static void look(void *context, struct admin_view *view);
static void follow_sessions(struct worker *worker);

static enum err open_all(struct worker *worker, struct tls_context *tls, char *reason, size_t reason_size) {
  struct proxy *proxy = &worker->proxy;
  enum err err = open_pools(proxy);
  if (err == ERR_OK)
    err = open_io(proxy, reason, reason_size);
  bool admin = proxy->config->admin.bind_address != NULL;
  if (err == ERR_OK && admin && proxy->worker == 0)
    err = admin_open(&worker->admin, proxy, look, worker, reason, reason_size);
  if (err == ERR_OK && (proxy->server || proxy->worker == 0))
    err = sessions_open(&worker->sessions, proxy, tls, reason, reason_size);
  if (err == ERR_OK)
    err = proxy->server ? open_server(worker) : open_client(worker, reason, reason_size);
  if (err == ERR_OK && worker->cluster != NULL)
    err = dispatcher_open(&worker->dispatcher, worker->cluster, proxy);
  if (err == ERR_OK && worker->cluster != NULL) {
    cluster_join(worker->cluster, proxy->worker, proxy->ring, worker->metrics);
    worker->joined = true;
  }
  if (err == ERR_OK && admin) /* else an idle worker is left to sleep */
    timer_set(&proxy->timers, &worker->measure_timer, proxy_deadline(proxy, MEASURE_MS));
  return err;
}

static void wake_others(void *context) {
  const struct worker *worker = context;
  cluster_wake_others(worker->cluster, worker->proxy.worker);
}

enum err worker_open(struct worker **out, const struct config *config, struct tls_context *tls, struct cluster *cluster,
                     unsigned index, uint64_t now_ns, uint64_t wall_us, char *reason, size_t reason_size) {
  *out = NULL;
  snprintf(reason, reason_size, "out of memory");
  struct worker *worker = calloc(1, sizeof *worker);
  void *metrics = aligned_alloc(_Alignof(struct metrics), sizeof(struct metrics));
  if (worker == NULL || metrics == NULL) {
    free(worker);
    free(metrics);
    return ERR_NO_MEMORY;
  }
  memset(metrics, 0, sizeof(struct metrics));
  struct proxy *proxy = &worker->proxy;
  worker->metrics = proxy->metrics = metrics;
  worker->cluster = cluster;
  proxy->worker = (uint16_t)index;
  proxy->workers = cluster != NULL ? (uint16_t)cluster_count(cluster) : 1;
  proxy->callers = cluster != NULL ? cluster_callers(cluster) : NULL;
  proxy->wishes = cluster != NULL ? cluster_wishes(cluster) : &proxy->own_wishes;
  proxy->wake_others = cluster != NULL ? wake_others : NULL;
  proxy->wake_context = worker;
  proxy->config = config;
  proxy->server = config->general.mode == MODE_SERVER;
  proxy->limits =
      (struct head_limits){.bytes = (uint32_t)config->limits.head_size, .count = (uint32_t)config->limits.header_count};
  worker->may_spin = cores_suffice(proxy->workers);
  loop_mark_make(proxy->loop_mark);
  list_init(&proxy->ready);
  list_init(&proxy->dead);
  yield_open(proxy);
  timer_init(&worker->phase_timer, on_phase_timer);
  timer_init(&worker->measure_timer, on_measure_timer);
  worker->certificate_not_after_s = tls_context_not_after(tls);
  worker->started_ns = now_ns;
  worker->started_s = wall_us / US_PER_S;
  set_time(proxy, now_ns, wall_us);
  enum err err = open_all(worker, tls, reason, reason_size);
  *out = worker;
  if (err != ERR_OK) {
    worker_abort(worker);
    while (worker_phase(worker) != WORKER_DONE) {
      worker_wait(worker, clock_monotonic_ns());
      worker_tick(worker, clock_monotonic_ns(), wall_us);
    }
    worker_close(worker);
    *out = NULL;
  }
  return err;
}

void worker_close(struct worker *worker) {
  if (worker == NULL)
    return;
  must(worker->phase == WORKER_DONE);
  struct proxy *proxy = &worker->proxy;
  if (worker->cluster != NULL)
    cluster_leave(worker->cluster, proxy->worker);
  resolver_close(proxy->resolver); /* its thread may be writing an answer to the origin or the sessions */
  dispatcher_close(worker->dispatcher);
  admin_close(worker->admin);
  ingress_front_close(worker->front);
  origin_close(worker->origin);
  sessions_close(worker->sessions);
  if (proxy->ring != NULL)
    udp_bury(proxy->ring);
  tcp_stack_close(proxy->tcp);
  ring_close(proxy->ring);
  if (proxy->exchanges.memory != NULL)
    pool_close(&proxy->exchanges);
  if (proxy->timers.heap != NULL) {
    timer_cancel(&proxy->timers, &worker->phase_timer);
    timer_cancel(&proxy->timers, &worker->measure_timer);
    yield_close(proxy);
    timers_close(&proxy->timers);
  }
  if (proxy->chunks.spans.memory != NULL)
    chunks_close(&proxy->chunks);
  free(worker->metrics);
  free(worker);
}

/* ---- the tick ---- */

uint64_t worker_due(const struct worker *worker) {
  const struct proxy *proxy = &worker->proxy;
  bool busy = !list_empty(&proxy->ready) || !list_empty(&proxy->dead) ||
              (worker->sessions != NULL && sessions_busy(worker->sessions));
  if (busy)
    return 0;
  if (worker->dispatcher != NULL && dispatcher_busy(worker->dispatcher))
    return dispatcher_blocked(worker->dispatcher) ? proxy->now_ns + BLOCKED_US * NS_PER_US : 0;
  /* No timer tells when the last connection is closed. */
  return worker->phase == WORKER_CLOSING ? proxy->now_ns + NS_PER_MS : timers_next(&proxy->timers);
}

/* Looks for new work before it sleeps, where that pays. Returns how long it may still sleep. */
static uint64_t look_for_work(struct worker *worker, uint64_t timeout_ns) {
  struct proxy *proxy = &worker->proxy;
  struct spin *spin = proxy->exchanges.live > 0 ? &worker->busy_spin : &worker->idle_spin;
  uint64_t spin_ns = worker->may_spin && timeout_ns > 0 ? spin_begin(spin) : 0;
  if (spin_ns == 0)
    return timeout_ns;
  bool found = ring_spin(proxy->ring, spin_ns < timeout_ns ? spin_ns : timeout_ns, &timeout_ns);
  spin_end(spin, found);
  metrics_add(found ? &worker->metrics->spins_found : &worker->metrics->spins_vain, 1);
  return timeout_ns;
}

void worker_wait(struct worker *worker, uint64_t now_ns) {
  if (worker->proxy.ring == NULL)
    return;
  if (now_ns > worker->proxy.now_ns && now_ns - worker->proxy.now_ns > worker->pass_ns)
    worker->pass_ns = now_ns - worker->proxy.now_ns;
  uint64_t due = worker_due(worker);
  uint64_t timeout = due == TIMER_NEVER ? UINT64_MAX : due > now_ns ? due - now_ns : 0;
  bool sleeps = worker->dispatcher != NULL && timeout > 0;
  if (sleeps && !dispatcher_sleep(worker->dispatcher))
    timeout = 0;
  ring_wait(worker->proxy.ring, look_for_work(worker, timeout));
  if (sleeps)
    dispatcher_awake(worker->dispatcher);
}

static bool drained(const struct worker *worker) {
  if (worker->sessions != NULL && !sessions_drained(worker->sessions))
    return false;
  if (worker->dispatcher != NULL && !dispatcher_idle(worker->dispatcher))
    return false;
  return worker->front == NULL || ingress_count(worker->front) == 0;
}

static void begin_closing(struct worker *worker) {
  struct proxy *proxy = &worker->proxy;
  worker->phase = WORKER_CLOSING;
  if (worker->joined)
    cluster_set_phase(worker->cluster, proxy->worker, MEMBER_CLOSING);
  proxy->draining = true;
  admin_stop(worker->admin);
  if (worker->front != NULL)
    ingress_abort(worker->front);
  if (worker->origin != NULL)
    origin_abort(worker->origin);
  if (worker->sessions != NULL)
    sessions_stop(worker->sessions, "stopping");
  if (proxy->timers.heap != NULL)
    timer_set(&proxy->timers, &worker->phase_timer, proxy_deadline(proxy, CLOSE_LIMIT_MS));
}

static bool closed(const struct worker *worker) {
  const struct proxy *proxy = &worker->proxy;
  return (proxy->tcp == NULL || tcp_count(proxy->tcp) == 0) && list_empty(&proxy->dead) && list_empty(&proxy->ready) &&
         (worker->dispatcher == NULL || dispatcher_idle(worker->dispatcher));
}

/* Nothing of this worker's own is in flight. The others' may still need it: they all begin to close together. */
static void step_draining(struct worker *worker) {
  if (!drained(worker))
    return;
  if (worker->joined && !worker->quiet)
    cluster_set_phase(worker->cluster, worker->proxy.worker, MEMBER_QUIET);
  worker->quiet = true;
  if (!worker->joined || cluster_all(worker->cluster, MEMBER_QUIET))
    begin_closing(worker);
}

/* When all are closing, what they had sent before is read in the next tick; then nothing can come any more. */
static bool others_closing(struct worker *worker) {
  bool before = worker->all_closing;
  worker->all_closing = !worker->joined || cluster_all(worker->cluster, MEMBER_CLOSING);
  return before && worker->all_closing;
}

/* The phases follow from what is left. */
static void step_phase(struct worker *worker) {
  if (worker->phase == WORKER_DRAINING) {
    step_draining(worker);
  } else if (worker->phase == WORKER_CLOSING) {
    bool last = others_closing(worker);
    /* CONNECTION_CLOSE went out in this tick: nothing is gained by waiting for answers to it. */
    worker->closing_ticks++;
    if (worker->sessions != NULL && (!sessions_busy(worker->sessions) || worker->closing_ticks > CLOSE_TICKS))
      sessions_abort(worker->sessions);
    if (last && closed(worker) && (worker->sessions == NULL || sessions_count(worker->sessions) == 0))
      worker->phase = WORKER_DONE;
  }
}

static void on_phase_timer(struct timer *timer, uint64_t now_ns) {
  (void)now_ns;
  struct worker *worker = container_of(timer, struct worker, phase_timer);
  if (worker->phase == WORKER_DRAINING) {
    log_warn("the drain timeout is reached: what is still in flight is cut");
    begin_closing(worker);
  } else if (worker->phase == WORKER_CLOSING) {
    must_never("closed connections are buried within seconds");
  }
}

void worker_tick(struct worker *worker, uint64_t now_ns, uint64_t wall_us) {
  struct proxy *proxy = &worker->proxy;
  set_time(proxy, now_ns, wall_us);
  if (worker->sessions != NULL)
    sessions_ingest(worker->sessions);
  if (proxy->tcp != NULL)
    tcp_dispatch(proxy->tcp);
  if (proxy->resolver != NULL)
    resolver_dispatch(proxy->resolver);
  if (worker->dispatcher != NULL)
    dispatcher_ingest(worker->dispatcher);
  if (worker->front != NULL)
    yield_consider(proxy);
  if (proxy->timers.heap != NULL)
    timers_expire(&proxy->timers, now_ns);
  exchange_pump(proxy);
  if (worker->sessions != NULL)
    sessions_emit(worker->sessions);
  if (worker->dispatcher != NULL)
    dispatcher_emit(worker->dispatcher);
  if (proxy->tcp != NULL)
    tcp_bury(proxy->tcp);
  if (proxy->ring != NULL)
    udp_bury(proxy->ring);
  exchange_bury(proxy);
  step_phase(worker);
  if (worker->joined && proxy->worker > 0 && worker->sessions != NULL)
    follow_sessions(worker);
}

void worker_wake(struct worker *worker) { ring_wake(worker->proxy.ring); }

/* ---- stopping ---- */

void worker_drain(struct worker *worker) {
  if (worker->phase != WORKER_SERVING)
    return;
  struct proxy *proxy = &worker->proxy;
  worker->phase = WORKER_DRAINING;
  proxy->draining = true;
  if (worker->front != NULL)
    ingress_drain(worker->front);
  if (worker->origin != NULL)
    origin_drain(worker->origin);
  if (worker->sessions != NULL)
    sessions_drain(worker->sessions);
  timer_set(&proxy->timers, &worker->phase_timer, proxy_deadline(proxy, proxy->config->system.drain_timeout_ms));
}

void worker_abort(struct worker *worker) {
  if (worker->phase < WORKER_CLOSING)
    begin_closing(worker);
}

enum worker_phase worker_phase(const struct worker *worker) { return worker->phase; }

/* ---- reports ---- */

void worker_set_tls(struct worker *worker, struct tls_context *tls) {
  worker->certificate_not_after_s = tls_context_not_after(tls);
  if (worker->sessions != NULL)
    sessions_set_tls(worker->sessions, tls);
}

void worker_report(const struct worker *worker, struct session_report *report) {
  memset(report, 0, sizeof *report);
  if (worker->sessions != NULL)
    sessions_report(worker->sessions, report);
}

/* Brings the gauges up to date. */
static void measure(struct worker *worker) {
  struct metrics *metrics = worker->metrics;
  if (worker->sessions != NULL)
    sessions_measure(worker->sessions);
  if (worker->dispatcher != NULL)
    dispatcher_measure(worker->dispatcher);
  if (worker->front != NULL)
    metrics_set(&metrics->connections_open, ingress_count(worker->front));
  if (worker->origin != NULL) {
    uint32_t idle = origin_idle_count(worker->origin);
    metrics_set(&metrics->origin_idle, idle);
    metrics_set(&metrics->origin_active, origin_count(worker->origin) - idle);
  }
}

static uint64_t lag(const struct worker *worker) {
  return worker->pass_ns > worker->pass_before_ns ? worker->pass_ns : worker->pass_before_ns;
}

/* What worker 0's admin endpoint shows of this one. */
static void tell_cluster(struct worker *worker) {
  struct member_view *view = &worker->told;
  worker_report(worker, &view->report);
  view->lag_ns = lag(worker);
  view->sessions = worker->sessions != NULL ? sessions_view(worker->sessions, view->session, CLUSTER_VIEWS_MAX) : 0;
  cluster_publish(worker->cluster, worker->proxy.worker, view);
}

static void on_measure_timer(struct timer *timer, uint64_t now_ns) {
  (void)now_ns;
  struct worker *worker = container_of(timer, struct worker, measure_timer);
  measure(worker);
  worker->pass_before_ns = worker->pass_ns;
  worker->pass_ns = 0;
  if (worker->cluster != NULL)
    tell_cluster(worker);
  timer_set(&worker->proxy.timers, timer, proxy_deadline(&worker->proxy, MEASURE_MS));
}

/* A session that came or went is told at once. */
static void follow_sessions(struct worker *worker) {
  struct session_report now;
  const struct session_report *told = &worker->told.report;
  worker_report(worker, &now);
  if (now.open != told->open || now.established != told->established || now.failed != told->failed)
    tell_cluster(worker);
}

static void look_at_others(struct worker *worker, struct admin_view *view) {
  for (unsigned i = 1; i < view->workers; i++) {
    struct member_view other;
    cluster_look(worker->cluster, i, &other);
    if (cluster_metrics(worker->cluster, i) != NULL)
      metrics_sum(&view->sum, cluster_metrics(worker->cluster, i));
    view->lag_ns[i] = other.lag_ns;
    session_report_add(&view->report, &other.report);
    for (size_t k = 0; k < other.sessions && view->sessions < ADMIN_SESSIONS_MAX; k++)
      view->session[view->sessions++] = other.session[k];
  }
}

static void look(void *context, struct admin_view *view) {
  struct worker *worker = context;
  const struct proxy *proxy = &worker->proxy;
  measure(worker);
  view->server = proxy->server;
  view->draining = proxy->draining;
  view->up_ns = proxy->now_ns - worker->started_ns;
  view->started_s = worker->started_s;
  view->certificate_not_after_s = worker->certificate_not_after_s;
  worker_report(worker, &view->report);
  metrics_sum(&view->sum, worker->metrics);
  view->workers = proxy->workers;
  view->lag_ns[0] = lag(worker);
  view->sessions = sessions_view(worker->sessions, view->session, ADMIN_SESSIONS_MAX);
  look_at_others(worker, view);
}

const struct metrics *worker_metrics(const struct worker *worker) { return worker->metrics; }

void worker_describe(const struct worker *worker, worker_line_f *line, void *context) {
  char text[512], address[ADDRESS_TEXT_MAX];
  snprintf(text, sizeof text, "io_uring: %s", ring_describe(worker->proxy.ring));
  line(context, text);
  if (worker->cluster != NULL) {
    snprintf(text, sizeof text, "%u worker threads", cluster_count(worker->cluster));
    line(context, text);
  }
  if (worker->admin != NULL) {
    struct address at = admin_address(worker->admin);
    snprintf(text, sizeof text, "metrics and status on %s", address_text(&at, address));
    line(context, text);
  }
  if (worker->proxy.server) {
    int used = snprintf(text, sizeof text, "accepting connections on UDP ");
    sessions_describe(worker->sessions, text + used, sizeof text - (size_t)used);
    line(context, text);
    return;
  }
  struct address bound[CONFIG_LIST_MAX];
  size_t count = ingress_addresses(worker->front, bound, CONFIG_LIST_MAX);
  for (size_t i = 0; i < count; i++) {
    snprintf(text, sizeof text, "accepting HTTP requests on %s", address_text(&bound[i], address));
    line(context, text);
  }
}
