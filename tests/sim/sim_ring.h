/* What the simulated parts of the layer io share: the ring is no more than a host's name and what waits for it. */
#ifndef PTP_TESTS_SIM_SIM_RING_H
#define PTP_TESTS_SIM_SIM_RING_H

#include "base/list.h"
#include "io/ring.h"

struct tcp_stack;

struct ring {
  int host, worker;
  struct chunks *chunks;
  struct tcp_stack *tcp;     /* NULL before tcp_stack_open */
  struct list udp_closed;    /* sockets that wait for their last operation */
  struct list tcp_listeners; /* closed ones whose last accepted connection is not shown yet */
  struct ring_counters counters;
};

/* sim_tcp.c: what the real one does just before each submission: arms receives. */
void tcp_arm(struct tcp_stack *stack);
void tcp_listeners_bury(struct ring *ring);

#endif
