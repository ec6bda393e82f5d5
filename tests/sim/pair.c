#include "sim/pair.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/pool.h"
#include "run/cluster.h"
#include "run/credentials.h"
#include "run/worker.h"
#include "sim/actors.h"

enum { CONFIG_BYTES = 4096, BUSY_TICKS_MAX = 20000, TROUBLES_MAX = 256, BUSY_NS = 2000, END_S = 5 };

struct seat {
  struct worker *worker;
  uint32_t busy_ticks;    /* one after the other, after which it said that there is more to do */
  uint64_t busy_until_ns; /* when it goes on with that; UINT64_MAX: nothing to do */
};

struct end {
  struct config *config;
  struct tls_context *tls;
  struct cluster *cluster; /* NULL: one worker */
  struct seat seats[HOST_WORKERS_MAX];
  uint64_t established, lost;
  enum worker_phase phase; /* of the worker that is least far */
};

static struct end ends[HOSTS];
static struct { uint64_t from_ns, to_ns; } troubles[TROUBLES_MAX];
static size_t trouble_count;
static bool client_up;

/* --- opening --- */

static void report_config(void *context, bool fatal, const char *text) {
  (void)context;
  if (fatal)
    world_fail("configuration: %s", text);
}

static void report_tls(void *context, bool fatal, const char *text) {
  (void)context;
  if (fatal)
    world_fail("tls: %s", text);
}

static void open_end(const struct scenario *scenario, int host) {
  struct end *end = &ends[host];
  char text[CONFIG_BYTES], reason[256];
  int len = scenario_config(scenario, host == HOST_SERVER, PTP_SIM_CERTS, text, sizeof text);
  must(len > 0 && (size_t)len < sizeof text);
  *end = (struct end){.phase = WORKER_SERVING};
  if (config_parse(text, (size_t)len, "sim", PTP_SIM_CERTS, report_config, NULL, &end->config) != ERR_OK)
    world_fail("the configuration is refused: %s", text);
  struct tls_settings settings = credentials_settings(end->config);
  if (tls_context_open(&end->tls, &settings, report_tls, NULL) != ERR_OK)
    world_fail("the certificates in %s are refused", PTP_SIM_CERTS);
  if (world.workers > 1 && cluster_open(&end->cluster, (unsigned)world.workers) != ERR_OK)
    world_fail("cluster_open");
  for (int i = 0; i < world.workers; i++) {
    world.current_host = host;
    world.current_worker = i;
    end->seats[i].busy_until_ns = UINT64_MAX;
    if (worker_open(&end->seats[i].worker, end->config, end->tls, end->cluster, (unsigned)i, world.now_ns,
                    world_wall_us(), reason, sizeof reason) != ERR_OK)
      world_fail("worker_open: %s", reason);
    host_wake(host, i);
  }
}

void pair_open(const struct scenario *scenario) {
  trouble_count = 0;
  client_up = false;
  troubles[trouble_count].from_ns = world.now_ns;
  troubles[trouble_count++].to_ns = UINT64_MAX;
  open_end(scenario, HOST_SERVER);
  open_end(scenario, HOST_CLIENT);
}

/* --- what happens to the session --- */

static void add_trouble(uint64_t from_ns, uint64_t to_ns) {
  must(trouble_count < TROUBLES_MAX);
  troubles[trouble_count].from_ns = from_ns;
  troubles[trouble_count++].to_ns = to_ns;
}

/* The interval that is open is the last one of the client's. */
static void follow_client(bool up) {
  if (up == client_up)
    return;
  client_up = up;
  if (!up) {
    add_trouble(world.now_ns, UINT64_MAX);
    return;
  }
  for (size_t i = 0; i < trouble_count; i++) {
    if (troubles[i].to_ns == UINT64_MAX)
      troubles[i].to_ns = world.now_ns;
  }
}

static enum worker_phase phase_of(const struct end *end) {
  enum worker_phase least = WORKER_DONE;
  for (int i = 0; i < world.workers; i++) {
    enum worker_phase phase = worker_phase(end->seats[i].worker);
    least = phase < least ? phase : least;
  }
  return least;
}

static void follow(int host) {
  struct end *end = &ends[host];
  struct session_report report = {0}, one;
  for (int i = 0; i < world.workers; i++) {
    worker_report(end->seats[i].worker, &one);
    session_report_add(&report, &one);
  }
  if (report.established != end->established || report.lost != end->lost) {
    trace(TRACE_SESSION, host, report.established, report.lost);
    if (report.lost != end->lost)
      add_trouble(world.now_ns, world.now_ns);
    end->established = report.established;
    end->lost = report.lost;
  }
  if (host == HOST_CLIENT)
    follow_client(report.up);
  if (phase_of(end) != end->phase) {
    end->phase = phase_of(end);
    trace(TRACE_PHASE, host, end->phase, 0);
  }
}

bool pair_up(void) { return client_up; }
uint64_t pair_lost(void) { return ends[HOST_CLIENT].lost + ends[HOST_SERVER].lost; }

bool pair_trouble(uint64_t from_ns, uint64_t to_ns) {
  for (size_t i = 0; i < trouble_count; i++) {
    if (troubles[i].from_ns <= to_ns && troubles[i].to_ns >= from_ns)
      return true;
  }
  return false;
}

/* --- the loop --- */

/* What it told the others wakes them: in this world nobody waits in worker_wait, where a mailbox would see to that. */
static void wake_others(struct end *end, int host, int index) {
  for (int i = 0; i < world.workers; i++) {
    if (i == index)
      continue;
    struct mailbox *mailbox = cluster_mailbox(end->cluster, (unsigned)index, (unsigned)i);
    if (mailbox_sleep(mailbox))
      mailbox_awake(mailbox);
    else
      host_wake(host, i);
  }
}

static void tick(int host, int index) {
  struct end *end = &ends[host];
  struct seat *seat = &end->seats[index];
  world.hosts[host].tick_at_ns[index] = UINT64_MAX;
  worker_tick(seat->worker, world.now_ns, world_wall_us());
  worker_wait(seat->worker, world.now_ns);
  uint64_t due = worker_due(seat->worker);
  trace(TRACE_TICK, host, due, (uint64_t)index);
  seat->busy_ticks = due == 0 ? seat->busy_ticks + 1 : 0;
  seat->busy_until_ns = due == 0 ? world.now_ns + (world.exact ? 0 : BUSY_NS) : UINT64_MAX;
  if (seat->busy_ticks > BUSY_TICKS_MAX)
    world_fail("worker %d of host %d is busy for ever", index, host);
  wake_others(end, host, index);
  follow(host);
}

static bool seat_done(int host, int index) {
  return ends[host].phase == WORKER_DONE || worker_phase(ends[host].seats[index].worker) == WORKER_DONE;
}

/* When this worker runs next. */
static uint64_t next_tick(int host, int index) {
  struct seat *seat = &ends[host].seats[index];
  if (seat_done(host, index))
    return UINT64_MAX;
  uint64_t due = worker_due(seat->worker), completed = world.hosts[host].tick_at_ns[index];
  if (due == 0)
    due = seat->busy_until_ns != UINT64_MAX ? seat->busy_until_ns : world.now_ns;
  due = due < completed ? due : completed;
  return due > world.now_ns ? due : world.now_ns;
}

/* The clock moves to the next event or tick; ticks of the same time run after the events, the client's first. */
static bool step(uint64_t until_ns) {
  uint64_t next[HOSTS][HOST_WORKERS_MAX], at_ns = world_next();
  for (int k = 0; k < HOSTS * world.workers; k++) {
    int host = k / world.workers, index = k % world.workers;
    next[host][index] = next_tick(host, index);
    at_ns = next[host][index] < at_ns ? next[host][index] : at_ns;
  }
  if (at_ns > until_ns) {
    if (until_ns > world.now_ns)
      world_advance(until_ns);
    return false;
  }
  world_advance(at_ns);
  for (int k = 0; k < HOSTS * world.workers; k++) {
    int host = k / world.workers, index = k % world.workers;
    if (seat_done(host, index))
      world.hosts[host].tick_at_ns[index] = UINT64_MAX;
    else if (next[host][index] <= world.now_ns || world.hosts[host].tick_at_ns[index] <= world.now_ns)
      tick(host, index);
  }
  return true;
}

bool pair_run(bool (*done)(void), uint64_t until_ns) {
  while (!done()) {
    if (!step(until_ns))
      return done();
  }
  return true;
}

void pair_run_until(uint64_t until_ns) {
  while (step(until_ns))
    continue;
}

/* --- crashes and restarts --- */

static bool client_gone(void) { return ends[HOST_CLIENT].phase == WORKER_DONE; }
static bool server_gone(void) { return ends[HOST_SERVER].phase == WORKER_DONE; }

static void close_end(int host) {
  struct end *end = &ends[host];
  for (int i = world.workers - 1; i >= 0; i--)
    worker_close(end->seats[i].worker);
  cluster_close(end->cluster);
  tls_context_close(end->tls);
  config_free(end->config);
  end->cluster = NULL;
}

/* It ends by itself, and is there again |down_ns| later. */
static void reopen_end(const struct scenario *scenario, int host, uint64_t down_ns) {
  if (!pair_run(host == HOST_CLIENT ? client_gone : server_gone, world.now_ns + END_S * NS_PER_S))
    world_fail("host %d does not end within %d s", host, END_S);
  pair_run_until(world.now_ns + NS_PER_MS); /* its sends complete */
  if (host == HOST_CLIENT)
    follow_client(false);
  close_end(host);
  pair_run_until(world.now_ns + down_ns);
  link_mute(host, false);
  open_end(scenario, host);
}

void pair_crash(const struct scenario *scenario, int host, uint64_t down_ns) {
  link_mute(host, true);
  add_trouble(world.now_ns, world.now_ns);
  if (host == HOST_CLIENT)
    follow_client(false);
  for (int i = 0; i < world.workers; i++) {
    worker_abort(ends[host].seats[i].worker);
    host_wake(host, i);
  }
  reopen_end(scenario, host, down_ns);
}

void pair_drain(int host) {
  for (int i = 0; i < world.workers; i++) {
    worker_drain(ends[host].seats[i].worker);
    host_wake(host, i);
  }
}

void pair_restart(const struct scenario *scenario, int host, uint64_t down_ns) {
  pair_drain(host);
  reopen_end(scenario, host, down_ns);
}

/* --- the end --- */

static void print_pool(void *context, const struct pool *pool) {
  (void)context;
  fprintf(stderr, "  %-20s %u in use, %u at most\n", pool->name, pool->live, pool->live_max);
}

static void check_transient(void *context, const struct pool *pool) {
  static const char *const transient[] = {"exchanges",    "streams",      "spans",          "relays",
                                          "chunks_large", "chunks_small", "chunks_borrowed"};
  bool *bad = context;
  for (size_t i = 0; i < sizeof transient / sizeof transient[0]; i++)
    *bad = *bad || (strcmp(pool->name, transient[i]) == 0 && pool->live > 0);
}

void pair_check_idle(void) {
  bool bad = false;
  pool_each(check_transient, &bad);
  if (!bad)
    return;
  pool_each(print_pool, NULL);
  world_fail("something of exchanges is in use with nothing in flight");
}

bool pair_drained(void) { return ends[HOST_CLIENT].phase == WORKER_DONE && ends[HOST_SERVER].phase == WORKER_DONE; }

static void check_empty(void *context, const struct pool *pool) {
  (void)context;
  if (pool->live > 0)
    world_fail("%u of pool %s are still in use at the end", pool->live, pool->name);
}

static void fail_open(void *context, const struct pool *pool) {
  (void)context;
  world_fail("pool %s is still open", pool->name);
}

void pair_close(void) {
  must(pair_drained());
  world_advance(world.now_ns + NS_PER_S); /* sends that are under way complete; nobody looks at what arrives */
  pool_each(check_empty, NULL);
  for (int host = 0; host < HOSTS; host++)
    close_end(host);
  pool_each(fail_open, NULL);
}
