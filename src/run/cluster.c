/* The lock of a member guards what is rare: its ring's coming and going, so that nobody wakes a ring that is being
   closed, and its view. */
#include "run/cluster.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

enum {
  APART = 128,              /* bytes between what two threads write: processors fetch cache lines in pairs */
  MAILBOX_ITEMS = 8192,     /* resident only as far as ever used */
  MAILBOX_ITEMS_MANY = 512, /* each, when there are many pairs of workers */
  FEW = 8,
};

struct member {
  _Alignas(APART) _Atomic uint32_t load;
  _Atomic int phase; /* enum member_phase */
  _Alignas(APART) pthread_mutex_t lock;
  struct ring *ring;
  const struct metrics *metrics;
  struct member_view view;
};

struct cluster {
  unsigned count;
  size_t listener_count;
  struct address listeners[CONFIG_LIST_MAX];
  struct mailbox **mailboxes; /* count x count: from, to; NULL from one to itself */
  struct member *members;
  _Alignas(APART) _Atomic uint32_t callers;
  _Alignas(APART) struct wishes wishes; /* read in every tick, seldom written */
};

static bool open_mailboxes(struct cluster *cluster) {
  unsigned count = cluster->count;
  uint32_t items = count <= FEW ? MAILBOX_ITEMS : MAILBOX_ITEMS_MANY;
  for (unsigned i = 0; i < count * count; i++) {
    if (i / count != i % count && mailbox_open(&cluster->mailboxes[i], items) != ERR_OK)
      return false;
  }
  return true;
}

enum err cluster_open(struct cluster **out, unsigned count) {
  must(count >= 2);
  *out = NULL;
  struct cluster *cluster = aligned_alloc(_Alignof(struct cluster), sizeof *cluster);
  if (cluster == NULL)
    return ERR_NO_MEMORY;
  memset(cluster, 0, sizeof *cluster);
  cluster->count = count;
  cluster->mailboxes = calloc((size_t)count * count, sizeof(struct mailbox *));
  cluster->members = aligned_alloc(_Alignof(struct member), count * sizeof(struct member));
  if (cluster->members != NULL) {
    memset(cluster->members, 0, count * sizeof(struct member));
    for (unsigned i = 0; i < count; i++)
      pthread_mutex_init(&cluster->members[i].lock, NULL);
  }
  if (cluster->mailboxes == NULL || cluster->members == NULL || !open_mailboxes(cluster)) {
    cluster_close(cluster);
    return ERR_NO_MEMORY;
  }
  *out = cluster;
  return ERR_OK;
}

void cluster_close(struct cluster *cluster) {
  if (cluster == NULL)
    return;
  for (unsigned i = 0; cluster->mailboxes != NULL && i < cluster->count * cluster->count; i++)
    mailbox_close(cluster->mailboxes[i]);
  for (unsigned i = 0; cluster->members != NULL && i < cluster->count; i++) {
    must(cluster->members[i].ring == NULL);
    pthread_mutex_destroy(&cluster->members[i].lock);
  }
  free(cluster->mailboxes);
  free(cluster->members);
  free(cluster);
}

unsigned cluster_count(const struct cluster *cluster) { return cluster->count; }

static struct member *member_of(const struct cluster *cluster, unsigned index) {
  must(index < cluster->count);
  return &cluster->members[index];
}

/* ---- coming and going ---- */

void cluster_join(struct cluster *cluster, unsigned index, struct ring *ring, const struct metrics *metrics) {
  struct member *member = member_of(cluster, index);
  pthread_mutex_lock(&member->lock);
  member->ring = ring;
  member->metrics = metrics;
  pthread_mutex_unlock(&member->lock);
  atomic_store_explicit(&member->phase, MEMBER_SERVING, memory_order_release);
}

static enum member_phase phase_of(const struct cluster *cluster, unsigned index) {
  return (enum member_phase)atomic_load_explicit(&member_of(cluster, index)->phase, memory_order_acquire);
}

void cluster_leave(struct cluster *cluster, unsigned index) {
  struct member *member = member_of(cluster, index);
  if (phase_of(cluster, index) != MEMBER_ABSENT)
    cluster_set_phase(cluster, index, MEMBER_GONE);
  pthread_mutex_lock(&member->lock);
  member->ring = NULL;
  pthread_mutex_unlock(&member->lock);
}

void cluster_wake(struct cluster *cluster, unsigned index) {
  struct member *member = member_of(cluster, index);
  pthread_mutex_lock(&member->lock);
  if (member->ring != NULL)
    ring_wake(member->ring);
  pthread_mutex_unlock(&member->lock);
}

void cluster_wake_others(struct cluster *cluster, unsigned index) {
  for (unsigned i = 0; i < cluster->count; i++) {
    if (i != index)
      cluster_wake(cluster, i);
  }
}

void cluster_set_phase(struct cluster *cluster, unsigned index, enum member_phase phase) {
  atomic_store_explicit(&member_of(cluster, index)->phase, phase, memory_order_release);
  cluster_wake_others(cluster, index);
}

bool cluster_all(const struct cluster *cluster, enum member_phase phase) {
  for (unsigned i = 0; i < cluster->count; i++) {
    enum member_phase is = phase_of(cluster, i);
    if (is != MEMBER_ABSENT && is < phase)
      return false;
  }
  return true;
}

bool cluster_serving(const struct cluster *cluster, unsigned index) {
  enum member_phase phase = phase_of(cluster, index);
  return phase == MEMBER_SERVING || phase == MEMBER_QUIET;
}

/* ---- work ---- */

struct mailbox *cluster_mailbox(struct cluster *cluster, unsigned from, unsigned to) {
  must(from < cluster->count && to < cluster->count && from != to);
  return cluster->mailboxes[from * cluster->count + to];
}

void cluster_set_load(struct cluster *cluster, unsigned index, uint32_t load) {
  struct member *member = member_of(cluster, index);
  if (atomic_load_explicit(&member->load, memory_order_relaxed) != load) /* else the others keep their copy of it */
    atomic_store_explicit(&member->load, load, memory_order_relaxed);
}

uint32_t cluster_load(const struct cluster *cluster, unsigned index) {
  return atomic_load_explicit(&member_of(cluster, index)->load, memory_order_relaxed);
}

_Atomic uint32_t *cluster_callers(struct cluster *cluster) { return &cluster->callers; }
struct wishes *cluster_wishes(struct cluster *cluster) {
  return &cluster->wishes;
}

/* ---- what is told ---- */

void cluster_publish(struct cluster *cluster, unsigned index, const struct member_view *view) {
  struct member *member = member_of(cluster, index);
  pthread_mutex_lock(&member->lock);
  member->view = *view;
  pthread_mutex_unlock(&member->lock);
}

void cluster_look(struct cluster *cluster, unsigned index, struct member_view *view) {
  struct member *member = member_of(cluster, index);
  pthread_mutex_lock(&member->lock);
  *view = member->view;
  pthread_mutex_unlock(&member->lock);
}

const struct metrics *cluster_metrics(const struct cluster *cluster, unsigned index) {
  struct member *member = member_of(cluster, index);
  return phase_of(cluster, index) == MEMBER_ABSENT ? NULL : member->metrics;
}

void cluster_set_listeners(struct cluster *cluster, const struct address *addresses, size_t count) {
  must(count <= CONFIG_LIST_MAX);
  memcpy(cluster->listeners, addresses, count * sizeof *addresses);
  cluster->listener_count = count;
}

size_t cluster_listeners(const struct cluster *cluster, struct address addresses[CONFIG_LIST_MAX]) {
  memcpy(addresses, cluster->listeners, cluster->listener_count * sizeof *addresses);
  return cluster->listener_count;
}
