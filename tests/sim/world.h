/* The simulated world: a clock, the events to come, random numbers and the trace. There is one world in a process (each
   seed runs in a process of its own), and it is global because the layer io that it replaces has no parameter through
   which it could be reached. */
#ifndef PTP_TESTS_SIM_WORLD_H
#define PTP_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

enum host_name { HOST_CLIENT, HOST_SERVER, HOSTS };
enum { HOST_WORKERS_MAX = 3 }; /* of each host */

/* What the trace is made of; the names are in world.c. */
enum trace_kind {
  TRACE_SEED,
  TRACE_TICK,
  TRACE_LINK_SEND, /* a: bytes, b: destination port */
  TRACE_LINK_DROP, /* a: bytes, b: enum link_drop */
  TRACE_LINK_ARRIVE,
  TRACE_TCP_CONNECT, /* a of all these: the connection */
  TRACE_TCP_ACCEPT,
  TRACE_TCP_SENT, /* b: bytes */
  TRACE_TCP_RECEIVED,
  TRACE_TCP_FAILED,
  TRACE_TCP_CLOSE,    /* b: 1 with reset */
  TRACE_CLIENT_BEGIN, /* a: exchange, b: its connection */
  TRACE_CLIENT_END,   /* a: exchange, b: outcome and status */
  TRACE_ORIGIN_REQUEST,
  TRACE_ORIGIN_RESPONSE,
  TRACE_SESSION, /* a: sessions established, b: sessions lost */
  TRACE_PHASE,
  TRACE_KINDS
};

struct rng {
  uint64_t state;
};

struct world_event {
  uint64_t at_ns, order;
  void (*run)(void *context);
  void *context;
};

struct host {
  uint64_t tick_at_ns[HOST_WORKERS_MAX]; /* when its worker looks at what completed; UINT64_MAX: nothing did */
};

struct world {
  uint64_t now_ns;
  uint64_t seed;
  struct rng tcp, udp; /* what the replaced layer draws; the other parts have their own */
  struct host hosts[HOSTS];
  uint64_t wake_ns;                 /* from a completion to the tick that sees it: 0 to this */
  bool exact;                       /* no random delays, no partial operations: for tests of time */
  int workers;                      /* of each host */
  int current_host, current_worker; /* whose ring is being opened */
  struct world_event *heap;
  size_t event_count, event_capacity;
  uint64_t event_order;
  uint64_t trace_hash, trace_count;
  bool trace_print;
};

extern struct world world;

void world_open(uint64_t seed);
void world_close(void);

/* Runs |run| at |at_ns|, those of the same time in the order of the calls. |context| must live until then. */
void world_at(uint64_t at_ns, void (*run)(void *context), void *context);
static inline void world_after(uint64_t delay_ns, void (*run)(void *context), void *context) {
  world_at(world.now_ns + delay_ns, run, context);
}
/* The time of the next event; UINT64_MAX: there is none. */
uint64_t world_next(void);
/* Moves the clock and runs everything due by then. */
void world_advance(uint64_t now_ns);
/* Something completed for this worker of the host. */
void host_wake(int host, int worker);
/* Microseconds since 1970 of the simulated now: always the same day, so that Date fields repeat. */
uint64_t world_wall_us(void);

void trace(enum trace_kind kind, int host, uint64_t a, uint64_t b);
/* The seed is told and the process ends: for what must never happen. */
_Noreturn void world_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

void rng_seed(struct rng *rng, uint64_t seed, uint64_t purpose);
uint64_t rng_next(struct rng *rng);
/* 0 .. limit - 1; limit > 0. */
uint64_t rng_below(struct rng *rng, uint64_t limit);
/* low .. high, both included. */
uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high);
bool rng_chance(struct rng *rng, uint32_t parts_per_million);
/* splitmix64's output function: a good hash of 64 bits. */
uint64_t mix64(uint64_t z);

#endif
