/* Callers who do not read or send hold streams and buffers that others wait for. When something has run out, the
   exchanges whose callers have not moved for longest are ended, no more of them than it takes:

     streams   The session's worker says how many it wants (session_yield.c): for each one a caller that has been still
               for STREAM_STILL_MS. A second is more than a round trip and a retransmission take, and so little that
               thousands of such callers have passed through the streams before those who wait lose their patience.
     buffers   A pool is used up to SCARCE_PERCENT: callers that hold some and have been still for BUFFER_STILL_MS,
               until EASED_PERCENT are left. That is less time, as a fast link fills the rest within a second; then
               whoever needs the next buffer would be cut, however fast he reads. The session's worker lends the bytes
               of responses to the others: what its own callers cannot give back it asks of theirs.

   Nobody is touched while there is enough of both. */
#include "proxy/yield.h"

#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "proxy/exchange.h"
#include "proxy/proxy.h"

enum {
  LOOK_MS = 100, /* between two looks while something has run out */
  STREAM_STILL_MS = 1000,
  BUFFER_STILL_MS = 250,
  WATCH_MS = 100, /* who has not moved for so long is watched */
  SCARCE_PERCENT = 75,
  EASED_PERCENT = 60,
  BUFFER_BYTES_MIN = 16384, /* whoever holds less does not help */
  YIELD_LOG_BURST = 5,
  PROMISE_MS = 1000,
};

static uint64_t held_bytes(const struct exchange *exchange) { return exchange->resp.pushed - exchange->resp.released; }

static void end_exchange(struct proxy *proxy, struct stall *stall, const char *why) {
  struct yield *yield = &proxy->yield;
  unsigned suppressed;
  if (log_rate_ok(&yield->lines, YIELD_LOG_BURST, proxy->now_ns, &suppressed)) {
    const char *what = stall->kind == STALL_READ ? "taken anything of the response" : "sent anything of the body";
    log_warn("%s: ended a request whose caller has not %s for %llu ms (and %u like it, not logged)", why, what,
             (unsigned long long)((proxy->now_ns - stall->moved_ns) / NS_PER_MS), suppressed);
  }
  stall->exchange->leaving_bytes = held_bytes(stall->exchange);
  yield->leaving_bytes += stall->exchange->leaving_bytes;
  proxy->stalls.ops->end(stall);
  must(stall->kind == STALL_NONE);
}

/* ---- streams ---- */

static bool holds_stream(const struct exchange *exchange) {
  return exchange->far != NULL && exchange->state != EXCHANGE_WAITING && exchange->reason == ERR_OK;
}

static struct stall *longest_with_stream(struct proxy *proxy) {
  struct stall *longest = NULL;
  for (int kind = STALL_NONE + 1; kind < STALL_KINDS; kind++) {
    struct stall *stall =
        stalls_longest(&proxy->stalls, (enum stall_kind)kind, proxy->now_ns, STREAM_STILL_MS * NS_PER_MS, holds_stream);
    if (stall != NULL && (longest == NULL || stall->moved_ns < longest->moved_ns))
      longest = stall;
  }
  return longest;
}

/* One of those that are wanted is this worker's to give; another may have given it meanwhile. */
static bool take_wish(struct proxy *proxy) {
  uint32_t wanted = atomic_load_explicit(&proxy->wishes->streams, memory_order_relaxed);
  while (wanted > 0) {
    if (atomic_compare_exchange_weak_explicit(&proxy->wishes->streams, &wanted, wanted - 1, memory_order_relaxed,
                                              memory_order_relaxed))
      return true;
  }
  return false;
}

static bool streams_are_wanted(const struct proxy *proxy) {
  return atomic_load_explicit(&proxy->wishes->streams, memory_order_relaxed) > 0;
}

static void yield_streams(struct proxy *proxy) {
  struct stall *stall;
  while (streams_are_wanted(proxy) && (stall = longest_with_stream(proxy)) != NULL && take_wish(proxy))
    end_exchange(proxy, stall, "requests wait for a stream");
}

/* ---- payload buffers ---- */

static bool holds_buffers(const struct exchange *exchange) {
  return exchange->reason == ERR_OK && held_bytes(exchange) >= BUFFER_BYTES_MIN;
}

/* How many bytes of the pools must come back; 0: none. */
static uint64_t missing_bytes(const struct proxy *proxy) {
  uint64_t missing = 0;
  for (int size = 0; size < CHUNK_SIZES; size++)
    missing += chunks_excess(&proxy->chunks, (enum chunk_size)size, SCARCE_PERCENT, EASED_PERCENT);
  uint64_t leaving = proxy->yield.leaving_bytes + proxy->yield.bytes.amount;
  return missing > leaving ? missing - leaving : 0;
}

static struct stall *longest_with_buffers(struct proxy *proxy) {
  return stalls_longest(&proxy->stalls, STALL_READ, proxy->now_ns, BUFFER_STILL_MS * NS_PER_MS, holds_buffers);
}

static void yield_buffers(struct proxy *proxy) {
  struct stall *stall;
  while (missing_bytes(proxy) > 0 && (stall = longest_with_buffers(proxy)) != NULL)
    end_exchange(proxy, stall, "the buffers run out");
}

/* ---- payload buffers that are lent ---- */

static bool lends(const struct proxy *proxy) { return proxy->worker == 0; }

static bool bytes_are_wanted(const struct proxy *proxy) {
  return !lends(proxy) && atomic_load_explicit(&proxy->wishes->bytes, memory_order_relaxed) > 0;
}

static void ask_for_buffers(struct proxy *proxy) {
  uint64_t given = atomic_exchange_explicit(&proxy->wishes->bytes_given, 0, memory_order_relaxed);
  promise_add(&proxy->yield.bytes, given, proxy->now_ns);
  uint64_t missing = missing_bytes(proxy);
  atomic_store_explicit(&proxy->wishes->bytes, missing, memory_order_relaxed);
  if (missing > 0)
    proxy->wake_others(proxy->wake_context);
}

static void give_buffers(struct proxy *proxy) {
  uint64_t wanted = atomic_exchange_explicit(&proxy->wishes->bytes, 0, memory_order_relaxed), given = 0;
  struct stall *stall;
  while (given < wanted && (stall = longest_with_buffers(proxy)) != NULL) {
    given += held_bytes(stall->exchange);
    end_exchange(proxy, stall, "the buffers run out");
  }
  atomic_fetch_add_explicit(&proxy->wishes->bytes_given, given, memory_order_relaxed);
}

void promise_add(struct promise *promise, uint64_t given, uint64_t now_ns) {
  if (now_ns - promise->since_ns >= PROMISE_MS * NS_PER_MS)
    promise->amount = 0;
  if (promise->amount == 0)
    promise->since_ns = now_ns;
  promise->amount += given;
}

/* ---- */

void yield_consider(struct proxy *proxy) {
  if (!timer_is_set(&proxy->yield.timer) && (streams_are_wanted(proxy) || bytes_are_wanted(proxy) ||
                                             proxy->yield.bytes.amount > 0 || missing_bytes(proxy) > 0))
    timer_set(&proxy->timers, &proxy->yield.timer, proxy_deadline(proxy, LOOK_MS));
}

static void on_timer(struct timer *timer, uint64_t now_ns) {
  struct proxy *proxy = container_of(timer, struct proxy, yield.timer);
  stalls_watch(&proxy->stalls, now_ns, WATCH_MS * NS_PER_MS);
  yield_buffers(proxy);
  if (lends(proxy) && proxy->wake_others != NULL)
    ask_for_buffers(proxy);
  else if (bytes_are_wanted(proxy))
    give_buffers(proxy);
  yield_streams(proxy);
  yield_consider(proxy);
}

void yield_open(struct proxy *proxy) {
  stalls_init(&proxy->stalls);
  timer_init(&proxy->yield.timer, on_timer);
}

void yield_close(struct proxy *proxy) { timer_cancel(&proxy->timers, &proxy->yield.timer); }
