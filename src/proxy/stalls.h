/* Client mode: the exchanges whose caller is waited for, to send the next piece of a request's body or to take bytes of
   the response, in the order in which these callers last moved. When something runs out that exchanges hold (streams,
   payload buffers), the one whose caller has not moved for longest is the one to end (yield.h).

   A piece that came or went moves its caller to the end of the order, which costs two list operations; nothing is done
   for the others. The kernel takes large parts of a response ahead, and tells of more room late: when a send does not
   complete, a slow caller may still be reading. So, when something has run out, those who seem to be still are watched:
   what the kernel holds for them is noted, and whoever has made it less since then has moved. */
#ifndef PTP_PROXY_STALLS_H
#define PTP_PROXY_STALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct exchange;
struct stall;

enum stall_kind {
  STALL_NONE, /* the caller is not waited for */
  STALL_BODY, /* it is to send more of its request's body */
  STALL_READ, /* it is to take what is being sent to it */
  STALL_KINDS
};

struct stall_ops {
  /* Bytes that the kernel holds for a caller that is to read. */
  uint64_t (*queued_bytes)(struct stall *stall);
  /* Ends the exchange, which others need the place of; takes |stall| out (stall_note). */
  void (*end)(struct stall *stall);
};

/* One caller's: embedded in its connection. */
struct stall {
  struct list node;
  struct exchange *exchange;
  uint64_t moved_ns; /* when the caller was last seen to move */
  uint64_t queued_bytes;
  uint8_t kind; /* enum stall_kind */
  bool watched; /* |queued_bytes| is what it was when it was last looked at */
};

struct stalls {
  struct list fresh[STALL_KINDS], watched[STALL_KINDS];
  const struct stall_ops *ops; /* static */
};

void stalls_init(struct stalls *stalls);
void stall_init(struct stall *stall);

/* What |exchange| waits for now; |moved|: the caller has just sent or taken a byte. */
void stall_note(struct stalls *stalls, struct stall *stall, enum stall_kind kind, struct exchange *exchange, bool moved,
                uint64_t now_ns);

/* Watches those that have not moved for |still_ns|. To be called from time to time while something has run out. */
void stalls_watch(struct stalls *stalls, uint64_t now_ns, uint64_t still_ns);

/* Whether it would help to end |exchange|. */
typedef bool stall_useful_f(const struct exchange *exchange);
/* Of the watched ones of |kind| that have not moved for |still_ns|, the first that is |useful|, which stays where it
   is; NULL: none. Whoever is looked at on the way and has moved, or is of no use, is not looked at again for
   |still_ns|. */
struct stall *stalls_longest(struct stalls *stalls, enum stall_kind kind, uint64_t now_ns, uint64_t still_ns,
                             stall_useful_f *useful);

#endif
