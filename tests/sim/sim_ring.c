/* The ring of a simulated host. Completions come from the world's events, which wake the host; the wait does nothing
   but what precedes a submission. */
#include "sim/sim_ring.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "sim/world.h"

enum err ring_open(struct ring **out, struct chunks *chunks, char *reason, size_t reason_size) {
  struct ring *ring = calloc(1, sizeof *ring);
  if (ring == NULL) {
    snprintf(reason, reason_size, "out of memory");
    return ERR_NO_MEMORY;
  }
  ring->host = world.current_host;
  ring->worker = world.current_worker;
  ring->chunks = chunks;
  list_init(&ring->udp_closed);
  list_init(&ring->tcp_listeners);
  *out = ring;
  return ERR_OK;
}

void ring_close(struct ring *ring) {
  if (ring == NULL)
    return;
  must(list_empty(&ring->udp_closed) && list_empty(&ring->tcp_listeners));
  free(ring);
}

void ring_wait(struct ring *ring, uint64_t timeout_ns) {
  (void)timeout_ns;
  ring->counters.enters++;
  if (ring->tcp != NULL)
    tcp_arm(ring->tcp);
}

/* Time stands still while a simulated worker runs: nothing comes in the meantime. */
bool ring_spin(struct ring *ring, uint64_t spin_ns, uint64_t *timeout_ns) {
  (void)spin_ns;
  (void)timeout_ns;
  ring_wait(ring, 0);
  return false;
}

void ring_wake(struct ring *ring) { host_wake(ring->host, ring->worker); }

const char *ring_describe(const struct ring *ring) { return ring->host == HOST_CLIENT ? "simulated A" : "simulated B"; }

const struct ring_counters *ring_counters(const struct ring *ring) { return &ring->counters; }
