/* The link between the two hosts: for each direction a delay with jitter, a rate with a finite queue, loss (single and
   in bursts), reordering, duplication, corruption, an MTU; times at which nothing passes; and a NAT in front of the
   client, whose mapping can change. */
#ifndef PTP_TESTS_SIM_LINK_H
#define PTP_TESTS_SIM_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"

enum { LINK_BLACKOUTS_MAX = 4 };

enum link_drop { DROP_LOSS, DROP_BURST, DROP_QUEUE, DROP_MTU, DROP_BLACKOUT, DROP_NOBODY };

struct link_profile {
  uint64_t delay_ns, jitter_ns;
  uint64_t bytes_per_s; /* 0: no limit */
  uint64_t queue_bytes;
  size_t mtu; /* of the UDP payload */
  uint32_t loss_ppm;
  uint32_t burst_begin_ppm, burst_end_ppm; /* per datagram; within a burst half of them are lost */
  uint32_t reorder_ppm, duplicate_ppm, corrupt_ppm;
  struct {
    uint64_t begin_ns, end_ns; /* of the world's clock */
  } blackouts[LINK_BLACKOUTS_MAX];
  size_t blackout_count;
  uint64_t nat_forgets_ns; /* the NAT drops what comes so long after the client last sent; 0: never */
  uint64_t rebind_ns;      /* when the NAT forgets its mapping; 0: never */
  bool rebind_moves;       /* ... and has another address from then on */
};

struct link_counters {
  uint64_t sent, arrived, dropped, bytes_arrived;
};

void link_open(const struct link_profile *profile);
/* Other figures from now on; what is under way stays. */
void link_change(const struct link_profile *profile);
void link_close(void);

/* A datagram goes from |host| to the other one; it is copied. */
void link_send(int host, const struct address *from, const struct address *to, const uint8_t *data, size_t len);
/* Nothing leaves |host| any more: it is dead, and what it still says on its way out was never said. */
void link_mute(int host, bool mute);
/* By now no fault of the profile lies ahead, loss apart. */
uint64_t link_quiet_ns(void);
const struct link_counters *link_counters(int from_host);

/* sim_udp.c: a datagram arrives; false when no socket is bound to |to|. */
bool udp_arrive(int host, const struct address *from, const struct address *to, const uint8_t *data, size_t len);

#endif
