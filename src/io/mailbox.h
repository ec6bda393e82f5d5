/* The seam between two workers: a bounded single-producer single-consumer queue of 64-byte items, one for each ordered
   pair of workers, and the protocol by which the producer wakes a consumer that sleeps, at most once.

   The producer pushes during its tick and flushes once at the end of it: mailbox_flush publishes the items and tells
   whether the consumer must be woken. The consumer drains in its ingress step; before it sleeps it calls mailbox_sleep
   and sleeps only when that says so. A full mailbox delays, it loses nothing and blocks nobody: the producer asks for
   room before each push and keeps what finds none, the consumer takes everything out in each tick.

   With one worker there is no mailbox: the two halves of an exchange call each other. */
#ifndef PTP_IO_MAILBOX_H
#define PTP_IO_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* One cache line. What it means is between the two sides (run/relay.c). */
struct mail {
  uint16_t kind;
  uint16_t detail;
  uint32_t len;
  uint64_t number;
  const void *data;
  void *object; /* whom it is for */
  uint8_t pad[32];
};
_Static_assert(sizeof(struct mail) == 64, "an item is one cache line");

struct mailbox;

/* Room for |capacity| items (a power of two). ERR_OK or ERR_NO_MEMORY. */
must_use enum err mailbox_open(struct mailbox **mailbox, uint32_t capacity);
void mailbox_close(struct mailbox *mailbox);

/* Producer: adds |mail| (copied); not visible before mailbox_flush. There must be room: mailbox_room. */
void mailbox_push(struct mailbox *mailbox, const struct mail *mail);
uint32_t mailbox_room(struct mailbox *mailbox);
/* Producer: makes all pushed items visible. True: the consumer sleeps and the caller must wake it (ring_wake), once. */
must_use bool mailbox_flush(struct mailbox *mailbox);

/* Consumer: copies up to |max| items out, oldest first, and returns their number. */
uint32_t mailbox_drain(struct mailbox *mailbox, struct mail *out, uint32_t max);
/* Consumer, before it waits: true when the mailbox is empty and the producer now knows that it must wake us; false when
   items have come: drain first. After waking, mailbox_awake. */
must_use bool mailbox_sleep(struct mailbox *mailbox);
void mailbox_awake(struct mailbox *mailbox);
/* The largest number of items ever queued; relaxed. */
uint32_t mailbox_high_water(const struct mailbox *mailbox);

#endif
