/* The seam between two workers: a bounded single-producer single-consumer queue of 64-byte items, one for each ordered
   pair of workers, and the protocol by which the producer wakes a consumer that sleeps, at most once.

   The producer pushes during its tick and flushes once at the end of it: mailbox_flush publishes the items and tells
   whether the consumer must be woken. The consumer drains in its ingress step; before it sleeps it calls mailbox_sleep
   and sleeps only when that says so. The credits of the exchanges bound what is in flight, so that a push cannot fail
   (a full mailbox is a broken invariant, not a condition).

   With one worker there is no mailbox: the two halves of an exchange call each other. */
#ifndef PTP_IO_MAILBOX_H
#define PTP_IO_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum mailbox_kind {
  MAIL_REQUEST, /* a new exchange: object = its head */
  MAIL_HEAD,    /* a response head */
  MAIL_SPAN,    /* payload forward: object = chunk, a = offset, b = length */
  MAIL_END,     /* the flow ended: a = enum flow_end, b = enum err */
  MAIL_CREDIT,  /* a = bytes that the consumer took */
  MAIL_CHUNK,   /* a used chunk comes home: object = chunk */
  MAIL_DETACH,  /* the sender's half is gone; the receiver frees its own */
};

/* One cache line. */
struct mail {
  uint16_t kind;       /* enum mailbox_kind */
  uint16_t flow;       /* 0: request, 1: response */
  uint32_t exchange;   /* index of the receiver's half */
  uint32_t generation; /* of that index: mail to one that is gone is dropped */
  uint32_t a, b;
  uint32_t reserved;
  uint64_t c;
  void *object;
  uint8_t pad[24];
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
