/* The model of one direction of a link, without input or output: it is told of each packet when it comes and how long
   it is, and says what becomes of it.

   What is random of packet k follows from the seed, the direction and k alone, whatever happened to the packets before
   it: the same seed gives the same fate, also after settings were changed in between. (A full queue and a blackout
   depend on the time; the state of a burst also on the packets since its rate was set.) */
#ifndef PTP_BENCH_LINK_MODEL_H
#define PTP_BENCH_LINK_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Shares are in parts per billion. A zero switches its part off. */
struct link_settings {
  uint64_t delay_ns;
  uint64_t jitter_ns; /* uniform between 0 and this, on top of the delay; never changes the order */
  uint64_t rate_bps;  /* of IP packets, headers counted */
  uint64_t queue_ns;  /* before the rate: what would wait longer is dropped */
  uint64_t queue_bytes;
  uint64_t loss_ppb;       /* each packet for itself */
  uint64_t burst_loss_ppb; /* in runs (Gilbert's model): the share of packets lost, */
  uint64_t burst_run_ppb;  /* and the mean length of a run, 1e9 being one packet */
  uint64_t reorder_ppb;    /* this share comes later than its turn, */
  uint64_t reorder_ns;     /* by this much, and is overtaken */
  uint64_t duplicate_ppb;
  uint64_t corrupt_ppb; /* one bit flips, so the receiver's kernel drops it by its checksum */
  uint64_t
      mangle_ppb; /* one bit flips in the payload of a UDP datagram and its checksum is right: the program sees it */
  uint64_t mtu;   /* larger packets are dropped */
  uint64_t icmp;  /* and their sender is told (1), or not (0) */
  uint64_t blackout_ns;       /* so long nothing passes, */
  uint64_t blackout_every_ns; /* at the end of each such period */
};

enum link_verdict {
  LINK_PASS,
  LINK_DROP_BLACKOUT,
  LINK_DROP_MTU,
  LINK_DROP_LOSS,
  LINK_DROP_BURST,
  LINK_DROP_QUEUE,
  LINK_VERDICT_COUNT
};

struct link_fate {
  enum link_verdict verdict;
  uint64_t due_ns;           /* when it leaves the link; only for LINK_PASS, as all below */
  uint64_t duplicate_due_ns; /* when its copy does */
  bool reordered, duplicate, corrupt, mangle;
  uint64_t random; /* for the choice of the bit */
};

struct link_direction {
  struct link_settings settings;
  uint64_t seed;
  uint64_t number; /* of the next packet */
  uint64_t epoch_ns;
  uint64_t busy_ns; /* until then the rate is taken */
  uint64_t last_due_ns;
  uint64_t down_until_ns;
  bool in_burst;
};

/* Settings without effect: what no command has set. */
extern const struct link_settings link_settings_default;

/* A direction that lets everything pass at once. |which|: 0 or 1, so that both have one seed and different fates. */
void link_direction_open(struct link_direction *direction, uint64_t seed, unsigned which, uint64_t now_ns);
/* Another random sequence from the next packet on; a restart begins it with packet 0. |which| as for open. */
void link_direction_seed(struct link_direction *direction, uint64_t seed, unsigned which);
/* The random sequence starts again with packet 0, the periods of blackouts at |now_ns|. */
void link_direction_restart(struct link_direction *direction, uint64_t now_ns);
/* From |now_ns| nothing passes for |duration_ns|; what is under way arrives. */
void link_direction_down(struct link_direction *direction, uint64_t now_ns, uint64_t duration_ns);
/* What becomes of the next packet, |len| bytes long, that comes at |now_ns|. Time never goes backwards. */
struct link_fate link_direction_judge(struct link_direction *direction, uint64_t now_ns, size_t len);

#endif
