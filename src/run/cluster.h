/* What the workers of one process share, and nothing else is: the mailboxes between them, how far each is on its way to
   the end, how much each has to do, and figures for the admin endpoint. One worker alone has no cluster.

   Each member writes its own entry and reads the others'. The hot path touches only the mailboxes and the loads. */
#ifndef PTP_RUN_CLUSTER_H
#define PTP_RUN_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/err.h"
#include "config/config.h"
#include "io/mailbox.h"
#include "io/ring.h"
#include "metrics/metrics.h"
#include "proxy/session.h"

struct cluster;

enum { CLUSTER_VIEWS_MAX = 32 };

/* A worker ends only together with the others: one that is done with its own may still be needed by theirs. */
enum member_phase {
  MEMBER_ABSENT, /* not open yet */
  MEMBER_SERVING,
  MEMBER_QUIET,   /* draining, and nothing of its own is in flight */
  MEMBER_CLOSING, /* begins nothing on another worker any more */
  MEMBER_GONE,
};

/* What one member tells the admin endpoint of another. */
struct member_view {
  struct session_report report;
  uint64_t lag_ns; /* the longest recent pass through the loop */
  size_t sessions;
  struct session_view session[CLUSTER_VIEWS_MAX];
};

/* For |count| workers, at least 2. ERR_OK or ERR_NO_MEMORY. */
must_use enum err cluster_open(struct cluster **cluster, unsigned count);
/* All members are gone or never came. NULL is allowed. */
void cluster_close(struct cluster *cluster);
unsigned cluster_count(const struct cluster *cluster);

/* Member |index| can be woken and given work from now on; |ring| and |metrics| are borrowed until cluster_leave. */
void cluster_join(struct cluster *cluster, unsigned index, struct ring *ring, const struct metrics *metrics);
/* Its last call. */
void cluster_leave(struct cluster *cluster, unsigned index);
/* Tells the others, and wakes them. */
void cluster_set_phase(struct cluster *cluster, unsigned index, enum member_phase phase);
/* Every member that has come is at least in |phase|. What a member pushed before that can be drained afterwards. */
bool cluster_all(const struct cluster *cluster, enum member_phase phase);
bool cluster_serving(const struct cluster *cluster, unsigned index);
/* Ends the wait of a member; any thread. Harmless when it is absent or gone. */
void cluster_wake(struct cluster *cluster, unsigned index);
/* Ends the wait of all members but |index|. */
void cluster_wake_others(struct cluster *cluster, unsigned index);

/* The mailbox that |from| fills and |to| empties. */
struct mailbox *cluster_mailbox(struct cluster *cluster, unsigned from, unsigned to);

/* Exchanges that a member works for; relaxed. */
void cluster_set_load(struct cluster *cluster, unsigned index, uint32_t load);
uint32_t cluster_load(const struct cluster *cluster, unsigned index);
/* Connections of callers on all workers: proxy->callers. */
_Atomic uint32_t *cluster_callers(struct cluster *cluster);
/* proxy->wishes of all workers. */
struct wishes *cluster_wishes(struct cluster *cluster);

void cluster_publish(struct cluster *cluster, unsigned index, const struct member_view *view);
void cluster_look(struct cluster *cluster, unsigned index, struct member_view *view);
/* NULL when the member is absent. While one member is not closing, no member's metrics go. */
const struct metrics *cluster_metrics(const struct cluster *cluster, unsigned index);

/* Where member 0 listens for callers, so that the others can listen there too, whatever port it got. Set before any
   other member is opened. */
void cluster_set_listeners(struct cluster *cluster, const struct address *addresses, size_t count);
size_t cluster_listeners(const struct cluster *cluster, struct address addresses[CONFIG_LIST_MAX]);

#endif
