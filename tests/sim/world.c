/* A binary heap of events with an order number, so that events of one time run in the order in which they were made:
   without that the same seed would not give the same run. */
#include "sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/random.h"

struct world world;

static const char *const kind_names[TRACE_KINDS] = {
    "seed",       "tick",           "link-send",       "link-drop",  "link-arrive", "tcp-connect",
    "tcp-accept", "tcp-sent",       "tcp-recv",        "tcp-failed", "tcp-close",   "client-begin",
    "client-end", "origin-request", "origin-response", "session",    "phase",
};

/* --- random numbers --- */

uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

void rng_seed(struct rng *rng, uint64_t seed, uint64_t purpose) { rng->state = mix64(mix64(seed) + purpose); }

uint64_t rng_next(struct rng *rng) { return mix64(rng->state += 0x9e3779b97f4a7c15); }

uint64_t rng_below(struct rng *rng, uint64_t limit) {
  must(limit > 0);
  return rng_next(rng) % limit;
}

uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high) {
  must(low <= high);
  return low + rng_below(rng, high - low + 1);
}

bool rng_chance(struct rng *rng, uint32_t parts_per_million) {
  return parts_per_million > 0 && rng_below(rng, 1000000) < parts_per_million;
}

/* --- the clock and the events --- */

void world_open(uint64_t seed) {
  bool print = world.trace_print;
  world = (struct world){.now_ns = 1000 * NS_PER_S, .seed = seed, .trace_hash = 0xcbf29ce484222325};
  world.trace_print = print;
  world.event_capacity = 1024;
  world.heap = calloc(world.event_capacity, sizeof *world.heap);
  must(world.heap != NULL);
  rng_seed(&world.tcp, seed, 'T');
  rng_seed(&world.udp, seed, 'U');
  world.workers = 1;
  for (int i = 0; i < HOSTS * HOST_WORKERS_MAX; i++)
    world.hosts[i / HOST_WORKERS_MAX].tick_at_ns[i % HOST_WORKERS_MAX] = UINT64_MAX;
  random_seed(mix64(seed) ^ 'P');
  trace(TRACE_SEED, 0, seed, 0);
}

void world_close(void) {
  free(world.heap);
  world.heap = NULL;
}

static bool before(const struct world_event *a, const struct world_event *b) {
  return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void world_at(uint64_t at_ns, void (*run)(void *context), void *context) {
  if (world.event_count == world.event_capacity) {
    world.event_capacity *= 2;
    world.heap = realloc(world.heap, world.event_capacity * sizeof *world.heap);
    must(world.heap != NULL);
  }
  struct world_event event = {.at_ns = at_ns < world.now_ns ? world.now_ns : at_ns,
                              .order = world.event_order++,
                              .run = run,
                              .context = context};
  size_t at = world.event_count++;
  for (size_t parent; at > 0 && before(&event, &world.heap[parent = (at - 1) / 2]); at = parent)
    world.heap[at] = world.heap[parent];
  world.heap[at] = event;
}

uint64_t world_next(void) { return world.event_count > 0 ? world.heap[0].at_ns : UINT64_MAX; }

static struct world_event pop(void) {
  struct world_event first = world.heap[0], last = world.heap[--world.event_count];
  size_t at = 0, child;
  while ((child = 2 * at + 1) < world.event_count) {
    if (child + 1 < world.event_count && before(&world.heap[child + 1], &world.heap[child]))
      child++;
    if (!before(&world.heap[child], &last))
      break;
    world.heap[at] = world.heap[child];
    at = child;
  }
  world.heap[at] = last;
  return first;
}

void world_advance(uint64_t now_ns) {
  must(now_ns >= world.now_ns);
  while (world_next() <= now_ns) {
    struct world_event event = pop();
    world.now_ns = event.at_ns;
    event.run(event.context);
  }
  world.now_ns = now_ns;
}

void host_wake(int host, int worker) {
  uint64_t *tick_at_ns = &world.hosts[host].tick_at_ns[worker];
  uint64_t delay = world.wake_ns > 0 ? rng_below(&world.tcp, world.wake_ns) : 0;
  if (world.now_ns + delay < *tick_at_ns)
    *tick_at_ns = world.now_ns + delay;
}

uint64_t world_wall_us(void) {
  static const uint64_t begin_us = 1795348800000000; /* 2026-11-22 12:00 UTC */
  return begin_us + world.now_ns / NS_PER_US;
}

/* --- the trace --- */

void trace(enum trace_kind kind, int host, uint64_t a, uint64_t b) {
  uint64_t words[] = {world.now_ns, (uint64_t)kind << 8 | (uint64_t)host, a, b};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    world.trace_hash = mix64(world.trace_hash ^ words[i]) + 0x9e3779b97f4a7c15;
  world.trace_count++;
  if (world.trace_print)
    fprintf(stderr, "%13.6f %-15s host %d  %" PRIu64 " %" PRIu64 "\n", (double)(world.now_ns - 1000 * NS_PER_S) / 1e9,
            kind_names[kind], host, a, b);
}

void world_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "seed %" PRIu64 ", at %.6f s: ", world.seed, (double)(world.now_ns - 1000 * NS_PER_S) / 1e9);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  fflush(NULL);
  _Exit(1);
}
