/* Each side keeps its own index and a copy of the other's, which it refreshes only when the copy says full or empty: a
   cache line moves once a batch, not once an item. What the two sides write is 128 bytes apart, since processors fetch
   lines in pairs.

   Sleeping: the consumer writes `sleeping`, then reads `tail`; the producer writes `tail`, then reads `sleeping`. All
   four are sequentially consistent, so that at least one of them sees the other's write: no item waits for a consumer
   that sleeps. The exchange makes one wake of many flushes. */
#include "io/mailbox.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

enum { APART = 128 };

struct mailbox {
  struct mail *items; /* the first line is written at opening only */
  uint32_t capacity, mask;

  _Alignas(APART) atomic_uint tail; /* the producer's: items published */
  uint32_t pushed;                  /* items written, published or not */
  uint32_t head_seen;

  _Alignas(APART) atomic_uint head; /* the consumer's: items taken */
  uint32_t tail_seen;
  atomic_uint high_water;

  _Alignas(APART) atomic_uint sleeping;
};

enum err mailbox_open(struct mailbox **out, uint32_t capacity) {
  must(capacity > 0 && (capacity & (capacity - 1)) == 0);
  struct mailbox *mailbox = aligned_alloc(APART, sizeof *mailbox);
  if (mailbox == NULL)
    return ERR_NO_MEMORY;
  memset(mailbox, 0, sizeof *mailbox);
  size_t bytes = (size_t)capacity * sizeof(struct mail);
  mailbox->items = aligned_alloc(APART, bytes < APART ? APART : bytes);
  if (mailbox->items == NULL) {
    free(mailbox);
    return ERR_NO_MEMORY;
  }
  mailbox->capacity = capacity;
  mailbox->mask = capacity - 1;
  *out = mailbox;
  return ERR_OK;
}

void mailbox_close(struct mailbox *mailbox) {
  if (mailbox == NULL)
    return;
  free(mailbox->items);
  free(mailbox);
}

uint32_t mailbox_room(struct mailbox *mailbox) {
  uint32_t queued = mailbox->pushed - mailbox->head_seen;
  if (queued > mailbox->capacity / 2) {
    mailbox->head_seen = atomic_load_explicit(&mailbox->head, memory_order_acquire);
    queued = mailbox->pushed - mailbox->head_seen;
  }
  must(queued <= mailbox->capacity);
  return mailbox->capacity - queued;
}

void mailbox_push(struct mailbox *mailbox, const struct mail *mail) {
  must(mailbox_room(mailbox) > 0);
  mailbox->items[mailbox->pushed & mailbox->mask] = *mail;
  mailbox->pushed++;
}

bool mailbox_flush(struct mailbox *mailbox) {
  if (atomic_load_explicit(&mailbox->tail, memory_order_relaxed) == mailbox->pushed)
    return false;
  atomic_store_explicit(&mailbox->tail, mailbox->pushed, memory_order_seq_cst);
  if (atomic_load_explicit(&mailbox->sleeping, memory_order_seq_cst) == 0)
    return false;
  return atomic_exchange_explicit(&mailbox->sleeping, 0, memory_order_seq_cst) == 1;
}

uint32_t mailbox_drain(struct mailbox *mailbox, struct mail *out, uint32_t max) {
  uint32_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
  if (mailbox->tail_seen - head < max)
    mailbox->tail_seen = atomic_load_explicit(&mailbox->tail, memory_order_acquire);
  uint32_t queued = mailbox->tail_seen - head;
  must(queued <= mailbox->capacity);
  if (queued > atomic_load_explicit(&mailbox->high_water, memory_order_relaxed))
    atomic_store_explicit(&mailbox->high_water, queued, memory_order_relaxed);
  uint32_t count = queued < max ? queued : max;
  for (uint32_t i = 0; i < count; i++)
    out[i] = mailbox->items[(head + i) & mailbox->mask];
  if (count > 0)
    atomic_store_explicit(&mailbox->head, head + count, memory_order_release);
  return count;
}

bool mailbox_sleep(struct mailbox *mailbox) {
  atomic_store_explicit(&mailbox->sleeping, 1, memory_order_seq_cst);
  uint32_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
  if (atomic_load_explicit(&mailbox->tail, memory_order_seq_cst) == head)
    return true;
  mailbox_awake(mailbox);
  return false;
}

void mailbox_awake(struct mailbox *mailbox) { atomic_store_explicit(&mailbox->sleeping, 0, memory_order_relaxed); }

uint32_t mailbox_high_water(const struct mailbox *mailbox) {
  return atomic_load_explicit(&mailbox->high_water, memory_order_relaxed);
}
