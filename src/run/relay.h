/* An exchange whose two ends live on different workers: two exchanges, one on each, and a relay between them. The outer
   half is on the worker where the request came in: there the relay is the far end. The inner half is on the worker that
   serves it: there the relay is the near end. Neither end knows.

     outer worker                                            inner worker
       near end -> exchange -> relay's outer side  ==mail==>  relay's inner side -> exchange -> far end

   Payload does not move and is not copied: a span is told by its address, the other side reads it where it is, and says
   how much it is done with; only then does the flow that holds it let it go. Heads are copied by whoever receives them.

   Everything that a side has to tell follows from the state of its exchange; a side that has something is on its peer's
   list and stays there while the mailbox is full. Both sides are one object of the outer worker's pool, each in cache
   lines of its own; it goes back when the inner side has said its last word, DETACH, which answers DONE. */
#ifndef PTP_RUN_RELAY_H
#define PTP_RUN_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "io/mailbox.h"
#include "proxy/exchange.h"

struct relay;

/* The relays of one worker: what its mailboxes' users need to know. */
struct relays {
  struct proxy *proxy;
  struct pool pool;     /* of those whose outer side is here */
  uint32_t inner_count; /* sides of others' relays that are here */
  struct relay_peer {
    struct list dirty;    /* sides that have something to tell it */
    uint32_t outer_count; /* exchanges of this worker that it serves */
  } * peers;
};

/* For |peers| workers. ERR_OK or ERR_NO_MEMORY. */
must_use enum err relays_open(struct relays *relays, struct proxy *proxy, unsigned peers);
/* There must be none. Harmless when it was never opened. */
void relays_close(struct relays *relays);
/* No side of any relay is here. */
bool relays_none(const struct relays *relays);

/* Takes |exchange|, which waits for a far end, from worker |self| to worker |peer|; false when there are too many. */
bool relay_begin(struct relays *relays, struct exchange *exchange, unsigned self, unsigned peer);
/* Writes what the sides have to tell |peer|, as far as there is room. */
void relay_tell(struct relays *relays, unsigned peer, struct mailbox *mailbox);
/* Acts on one mail of worker |peer|. */
void relay_hear(struct relays *relays, unsigned peer, const struct mail *mail);

#endif
