/* Client mode, each worker: ends exchanges whose callers do not move, when others need what they hold. Which callers
   these are is known to stalls.h; here is what has run out, and how much of it must come back.

   Each worker ends exchanges of its own callers. What runs out at the session's worker, streams and the buffers that it
   lends to the others, is wished for: a number that all workers share, which session_yield.c sets for streams and
   yield.c for buffers. Who ends an exchange takes its part off. What was given so is on its way for a while; until it
   is there, or is not going to be, it counts as promised, and is not wished for again. */
#ifndef PTP_PROXY_YIELD_H
#define PTP_PROXY_YIELD_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/log.h"
#include "base/timer.h"

struct proxy;

/* Of all workers; set by the session's. */
struct wishes {
  _Atomic uint32_t streams;
  _Atomic uint64_t bytes;       /* of payload, which is lent to the other workers */
  _Atomic uint64_t bytes_given; /* by them */
};

/* What others have given, as long as it may be on its way. All zeros: nothing. */
struct promise {
  uint64_t amount;
  uint64_t since_ns; /* when the first of it was given */
};

struct yield {
  struct timer timer; /* set while something has run out that still callers hold */
  struct log_rate lines;
  struct promise bytes;   /* of lent buffers */
  uint64_t leaving_bytes; /* held by exchanges that were ended for others and are not yet buried */
};

void yield_open(struct proxy *proxy);
void yield_close(struct proxy *proxy);
/* In every tick: begins to look when streams are wanted or buffers run out. */
void yield_consider(struct proxy *proxy);

/* |given| more is promised; what was a second ago and has not come does not come. To be called from time to time with
   0 else. */
void promise_add(struct promise *promise, uint64_t given, uint64_t now_ns);

#endif
