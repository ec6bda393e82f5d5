/* The packets on their way: buffers made at the start, and a heap for each direction, ordered by the time of delivery
   and, at the same time, by arrival. */
#ifndef PTP_BENCH_LINK_QUEUE_H
#define PTP_BENCH_LINK_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link/link_settings.h"

struct link_entry {
  uint64_t due_ns, number;
  uint32_t buffer, len;
};

struct link_queue {
  uint8_t *buffers;
  size_t buffer_size, buffers_max;
  uint32_t *spare; /* a stack: what was used last is still in the cache */
  size_t spare_count;
  struct {
    struct link_entry *entries;
    size_t count;
  } heaps[LINK_DIRECTIONS];
  uint64_t pushed;
};

/* False: no memory. */
bool link_queue_open(struct link_queue *queue, size_t buffers_max, size_t buffer_size);
void link_queue_close(struct link_queue *queue);

/* A buffer of buffer_size bytes; false: all are on their way. It goes back by link_queue_push and _pop, or _give. */
bool link_queue_take(struct link_queue *queue, uint32_t *buffer);
void link_queue_give(struct link_queue *queue, uint32_t buffer);
uint8_t *link_queue_bytes(const struct link_queue *queue, uint32_t buffer);

void link_queue_push(struct link_queue *queue, int direction, uint64_t due_ns, uint32_t buffer, size_t len);
/* When the next of this direction is due; UINT64_MAX: none is under way. */
uint64_t link_queue_next(const struct link_queue *queue, int direction);
/* Takes the next; the caller gives its buffer back. */
struct link_entry link_queue_pop(struct link_queue *queue, int direction);

#endif
