/* A bounded pool of equal objects, allocated once. Its memory is reserved at start and becomes resident as objects are
   first used; the last one given back is the first one handed out again, so that the resident part stays small. Not for
   use by two threads. */
#ifndef PTP_BASE_POOL_H
#define PTP_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pool {
  const char *name; /* as in the metrics: static */
  uint8_t *memory;
  size_t object_bytes; /* rounded up to a multiple of 64 */
  uint32_t capacity;
  uint32_t fresh; /* objects from this index on were never handed out */
  uint32_t live;
  uint32_t live_max;
  uint64_t refused; /* pool_get calls that found it empty */
  void *free;       /* singly linked through the first word of each free object */
};

/* Makes |pool|, which must not move until it is closed, for |capacity| objects of |object_bytes|. |name| is borrowed
   for the pool's life. ERR_OK or ERR_NO_MEMORY. */
must_use enum err pool_open(struct pool *pool, const char *name, size_t object_bytes, uint32_t capacity);

/* Gives the memory back. Every object must have been returned: a leak is a broken invariant. */
void pool_close(struct pool *pool);

/* Gives an object of undefined content, aligned to 64 bytes; NULL when |capacity| are live. */
void *pool_get(struct pool *pool);

/* Takes |object| back; it must be a live one of this pool (range and alignment are checked). */
void pool_put(struct pool *pool, void *object);

/* The index of |object| in its pool, below capacity; pool_at is the reverse. */
uint32_t pool_index(const struct pool *pool, const void *object);
void *pool_at(const struct pool *pool, uint32_t index);

/* Every pool that is open in the process, for gauges and for tests that end with "all back to zero":
   calls |visit| for each, in the order of their opening, with a copy of its name and figures. Thread-safe; the figures
   are relaxed reads. |visit| must not open or close a pool. */
typedef void pool_visit_f(void *context, const struct pool *pool);
void pool_each(pool_visit_f *visit, void *context);

#endif
