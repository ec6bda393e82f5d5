/* One io_uring per worker: set-up, submission, completions, provided buffers. The only user of liburing is ring.c and
   its private header ring_priv.h, through which tcp.c and udp.c prepare their operations.

   Completions never run protocol code: the function of an operation only notes what happened and puts its owner on a
   ready list; tcp_dispatch and udp_receive act on it later in the tick. */
#ifndef PTP_IO_RING_H
#define PTP_IO_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "flow/chunk.h"

struct ring;

/* One operation in flight, embedded in its owner, which must live until the last completion. |complete| records. */
struct ring_op {
  void (*complete)(struct ring_op *op, int32_t result, uint32_t flags);
  uint32_t inflight; /* submitted and without a final completion */
  uint32_t quiet;    /* what a quiet send in flight is to send; 0: there is none */
};

struct ring_counters {
  uint64_t enters, completions, out_of_buffers;
};

/* Makes a ring with two groups of provided buffers that are filled from |chunks| (borrowed). It belongs to the thread
   that waits on it first, which must be its only user from then on. ERR_IO_URING: io_uring is refused or too old; the
   reason and the remedy are in |reason| as one sentence. */
must_use enum err ring_open(struct ring **ring, struct chunks *chunks, char *reason, size_t reason_size);

/* Ends it; no operation may be in flight but those of the ring itself. NULL is allowed. */
void ring_close(struct ring *ring);

/* Submits what is prepared, waits until a completion or |timeout_ns| (0: does not wait; UINT64_MAX: no limit), and
   records all completions. Also refills the provided buffers. Not re-entrant. */
void ring_wait(struct ring *ring, uint64_t timeout_ns);

/* Before ring_wait: submits what is prepared, and looks for about |spin_ns| whether there is a completion, while it
   lets others run. True when there is one, which the next ring_wait records. |*timeout_ns| is what ring_wait shall get
   then: what is left of it, 0 when there is a completion. */
must_use bool ring_spin(struct ring *ring, uint64_t spin_ns, uint64_t *timeout_ns);

/* Ends the wait of |ring|'s thread; may be called by any thread and in a signal handler. */
void ring_wake(struct ring *ring);

/* For the start-up log: "single issuer, deferred task work, no SQ array, restricted to 9 operations; buffers 4 KiB x
   256, 64 KiB x 32". */
const char *ring_describe(const struct ring *ring);
const struct ring_counters *ring_counters(const struct ring *ring);

#endif
