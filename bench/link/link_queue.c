/* Nearly every packet is due after all others of its direction, so a push stays where it was put, and a pop costs the
   height of the heap. Each heap has room for every buffer. */
#include "link/link_queue.h"

#include <stdlib.h>

#include "base/must.h"

bool link_queue_open(struct link_queue *queue, size_t buffers_max, size_t buffer_size) {
  *queue = (struct link_queue){.buffer_size = buffer_size, .buffers_max = buffers_max, .spare_count = buffers_max};
  must(buffers_max <= UINT32_MAX);
  queue->buffers = malloc(buffers_max * buffer_size);
  queue->spare = malloc(buffers_max * sizeof *queue->spare);
  bool done = queue->buffers && queue->spare;
  for (int i = 0; i < LINK_DIRECTIONS; i++) {
    queue->heaps[i].entries = malloc(buffers_max * sizeof *queue->heaps[i].entries);
    done = done && queue->heaps[i].entries;
  }
  if (!done) {
    link_queue_close(queue);
    return false;
  }
  for (size_t i = 0; i < buffers_max; i++)
    queue->spare[i] = (uint32_t)(buffers_max - 1 - i);
  return true;
}

void link_queue_close(struct link_queue *queue) {
  free(queue->buffers);
  free(queue->spare);
  for (int i = 0; i < LINK_DIRECTIONS; i++)
    free(queue->heaps[i].entries);
  *queue = (struct link_queue){0};
}

bool link_queue_take(struct link_queue *queue, uint32_t *buffer) {
  if (queue->spare_count == 0)
    return false;
  *buffer = queue->spare[--queue->spare_count];
  return true;
}

void link_queue_give(struct link_queue *queue, uint32_t buffer) {
  must(queue->spare_count < queue->buffers_max && buffer < queue->buffers_max);
  queue->spare[queue->spare_count++] = buffer;
}

uint8_t *link_queue_bytes(const struct link_queue *queue, uint32_t buffer) {
  return queue->buffers + (size_t)buffer * queue->buffer_size;
}

static bool before(const struct link_entry *a, const struct link_entry *b) {
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

void link_queue_push(struct link_queue *queue, int direction, uint64_t due_ns, uint32_t buffer, size_t len) {
  struct link_entry *entries = queue->heaps[direction].entries;
  size_t at = queue->heaps[direction].count++;
  must(at < queue->buffers_max);
  struct link_entry entry = {.due_ns = due_ns, .number = queue->pushed++, .buffer = buffer, .len = (uint32_t)len};
  for (; at > 0 && before(&entry, &entries[(at - 1) / 2]); at = (at - 1) / 2)
    entries[at] = entries[(at - 1) / 2];
  entries[at] = entry;
}

uint64_t link_queue_next(const struct link_queue *queue, int direction) {
  return queue->heaps[direction].count > 0 ? queue->heaps[direction].entries[0].due_ns : UINT64_MAX;
}

struct link_entry link_queue_pop(struct link_queue *queue, int direction) {
  struct link_entry *entries = queue->heaps[direction].entries;
  must(queue->heaps[direction].count > 0);
  size_t count = --queue->heaps[direction].count, at = 0;
  struct link_entry first = entries[0], last = entries[count];
  for (size_t child = 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && before(&entries[child + 1], &entries[child]))
      child++;
    if (!before(&entries[child], &last))
      break;
    entries[at] = entries[child];
    at = child;
  }
  entries[at] = last;
  return first;
}
