/* Mail goes out once a tick, and a peer that sleeps is woken once for all of it. */
#include "run/dispatcher.h"

#include <stdlib.h>

#include "base/must.h"
#include "run/relay.h"

enum {
  BATCH = 64,
  HOME_ADVANTAGE = 8, /* exchanges that the home may have more than another: the way there costs both a wake-up */
};

struct dispatcher {
  struct cluster *cluster;
  unsigned index, count;
  struct proxy *proxy;
  struct relays relays;
  void (*route)(void *router, struct exchange *exchange); /* the worker's own; NULL: it serves nothing */
  void *router;
  bool blocked;
};

/* ---- which worker ---- */

static uint32_t load_of(const struct dispatcher *dispatcher, unsigned index) {
  uint32_t told = cluster_load(dispatcher->cluster, index), sent = dispatcher->relays.peers[index].outer_count;
  return told > sent ? told : sent; /* what was sent in this tick is not in what it told */
}

/* Exchanges that this worker does the work for: those that others serve are theirs. */
static uint32_t own_load(const struct dispatcher *dispatcher) {
  uint32_t live = dispatcher->proxy->exchanges.live, elsewhere = dispatcher->relays.pool.live;
  return live > elsewhere ? live - elsewhere : 0;
}

static unsigned least_loaded(const struct dispatcher *dispatcher) {
  unsigned best = dispatcher->index;
  uint32_t best_load = own_load(dispatcher);
  best_load = best_load > HOME_ADVANTAGE ? best_load - HOME_ADVANTAGE : 0;
  for (unsigned i = 0; i < dispatcher->count && best_load > 0; i++) {
    if (i == dispatcher->index || !cluster_serving(dispatcher->cluster, i))
      continue;
    uint32_t load = load_of(dispatcher, i);
    if (load < best_load) {
      best = i;
      best_load = load;
    }
  }
  return best;
}

static void dispatcher_route(void *router, struct exchange *exchange) {
  struct dispatcher *dispatcher = router;
  unsigned target = dispatcher->index;
  if (!exchange->relayed)
    target = dispatcher->proxy->server ? least_loaded(dispatcher) : 0;
  if (target != dispatcher->index && relay_begin(&dispatcher->relays, exchange, dispatcher->index, target)) {
    metrics_add(&dispatcher->proxy->metrics->requests_relayed, 1);
    return;
  }
  if (dispatcher->route != NULL)
    dispatcher->route(dispatcher->router, exchange);
  else
    exchange_fail(exchange, ERR_OVERLOADED);
}

/* ---- mail ---- */

static void ingest_from(struct dispatcher *dispatcher, unsigned peer) {
  struct mailbox *mailbox = cluster_mailbox(dispatcher->cluster, peer, dispatcher->index);
  struct mail mails[BATCH];
  uint32_t count;
  do {
    count = mailbox_drain(mailbox, mails, BATCH);
    for (uint32_t i = 0; i < count; i++)
      relay_hear(&dispatcher->relays, peer, &mails[i]);
  } while (count == BATCH);
}

void dispatcher_ingest(struct dispatcher *dispatcher) {
  for (unsigned i = 0; i < dispatcher->count; i++) {
    if (i != dispatcher->index)
      ingest_from(dispatcher, i);
  }
}

void dispatcher_emit(struct dispatcher *dispatcher) {
  dispatcher->blocked = false;
  for (unsigned i = 0; i < dispatcher->count; i++) {
    if (i == dispatcher->index || list_empty(&dispatcher->relays.peers[i].dirty))
      continue;
    struct mailbox *mailbox = cluster_mailbox(dispatcher->cluster, dispatcher->index, i);
    relay_tell(&dispatcher->relays, i, mailbox);
    dispatcher->blocked = dispatcher->blocked || !list_empty(&dispatcher->relays.peers[i].dirty);
    if (mailbox_flush(mailbox)) {
      metrics_add(&dispatcher->proxy->metrics->worker_wakes, 1);
      cluster_wake(dispatcher->cluster, i);
    }
  }
  cluster_set_load(dispatcher->cluster, dispatcher->index, own_load(dispatcher));
}

bool dispatcher_busy(const struct dispatcher *dispatcher) {
  for (unsigned i = 0; i < dispatcher->count; i++) {
    if (!list_empty(&dispatcher->relays.peers[i].dirty))
      return true;
  }
  return false;
}

bool dispatcher_blocked(const struct dispatcher *dispatcher) { return dispatcher->blocked; }

bool dispatcher_sleep(struct dispatcher *dispatcher) {
  for (unsigned i = 0; i < dispatcher->count; i++) {
    if (i != dispatcher->index && !mailbox_sleep(cluster_mailbox(dispatcher->cluster, i, dispatcher->index)))
      return false;
  }
  return true;
}

void dispatcher_awake(struct dispatcher *dispatcher) {
  for (unsigned i = 0; i < dispatcher->count; i++) {
    if (i != dispatcher->index)
      mailbox_awake(cluster_mailbox(dispatcher->cluster, i, dispatcher->index));
  }
}

void dispatcher_measure(const struct dispatcher *dispatcher) {
  uint32_t most = 0;
  for (unsigned i = 0; i < dispatcher->count; i++) {
    if (i == dispatcher->index)
      continue;
    uint32_t waited = mailbox_high_water(cluster_mailbox(dispatcher->cluster, i, dispatcher->index));
    most = waited > most ? waited : most;
  }
  metrics_set(&dispatcher->proxy->metrics->mailbox_high_water, most);
}

bool dispatcher_idle(const struct dispatcher *dispatcher) { return relays_none(&dispatcher->relays); }

/* ---- opening and closing ---- */

enum err dispatcher_open(struct dispatcher **out, struct cluster *cluster, struct proxy *proxy) {
  *out = NULL;
  struct dispatcher *dispatcher = calloc(1, sizeof *dispatcher);
  if (dispatcher == NULL)
    return ERR_NO_MEMORY;
  if (relays_open(&dispatcher->relays, proxy, proxy->workers) != ERR_OK) {
    relays_close(&dispatcher->relays);
    free(dispatcher);
    return ERR_NO_MEMORY;
  }
  dispatcher->cluster = cluster;
  dispatcher->index = proxy->worker;
  dispatcher->count = proxy->workers;
  dispatcher->proxy = proxy;
  dispatcher->route = proxy->route;
  dispatcher->router = proxy->router;
  proxy->route = dispatcher_route;
  proxy->router = dispatcher;
  *out = dispatcher;
  return ERR_OK;
}

void dispatcher_close(struct dispatcher *dispatcher) {
  if (dispatcher == NULL)
    return;
  relays_close(&dispatcher->relays);
  free(dispatcher);
}
