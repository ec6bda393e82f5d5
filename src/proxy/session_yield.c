/* Client mode: callers who do not read or send hold streams and buffers that others wait for. When something has run
   out, the exchanges whose callers have not moved for longest (stalls.h) are ended, no more of them than it takes:

     streams   Requests have waited for STARVED_MS: for each one a caller that has been still for STREAM_STILL_MS. A
               second is more than a round trip and a retransmission take, and so little that thousands of such callers
               have passed through the streams before those who wait lose their patience (WAITING_MS).
     buffers   A pool is used up to SCARCE_PERCENT: callers that hold some and have been still for BUFFER_STILL_MS,
               until EASED_PERCENT are left. That is less time, as a fast link fills the rest within a second; then
               whoever needs the next buffer would be cut, however fast he reads.

   Nobody is touched while there is enough of both. */
#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "proxy/session_priv.h"

enum {
  LOOK_MS = 100, /* between two looks while something has run out */
  STARVED_MS = 500,
  STREAM_STILL_MS = 1000,
  BUFFER_STILL_MS = 250,
  WATCH_MS = 100, /* who has not moved for so long is watched */
  SCARCE_PERCENT = 75,
  EASED_PERCENT = 60,
  BUFFER_BYTES_MIN = 16384, /* whoever holds less does not help */
  YIELD_LOG_BURST = 5,
};

static uint64_t held_bytes(const struct exchange *exchange) { return exchange->resp.pushed - exchange->resp.released; }

static void end_exchange(struct sessions *sessions, struct stall *stall, const char *why) {
  struct proxy *proxy = sessions->proxy;
  unsigned suppressed;
  if (log_rate_ok(&sessions->yields, YIELD_LOG_BURST, proxy->now_ns, &suppressed)) {
    const char *what = stall->kind == STALL_READ ? "taken anything of the response" : "sent anything of the body";
    log_warn("%s: ended a request whose caller has not %s for %llu ms (and %u like it, not logged)", why, what,
             (unsigned long long)((proxy->now_ns - stall->moved_ns) / NS_PER_MS), suppressed);
  }
  stall->exchange->leaving_bytes = held_bytes(stall->exchange);
  proxy->stalls.leaving_bytes += stall->exchange->leaving_bytes;
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

static void yield_streams(struct sessions *sessions) {
  struct proxy *proxy = sessions->proxy;
  if (list_empty(&sessions->waiting) || !sessions_exhausted(sessions))
    return;
  const struct exchange *oldest = container_of(sessions->waiting.next, struct exchange, queue);
  if (proxy->now_ns - oldest->queued_ns < STARVED_MS * NS_PER_MS)
    return;
  struct stall *stall;
  while (sessions->waiting_count > sessions->promised && (stall = longest_with_stream(proxy)) != NULL) {
    sessions->promised++;
    end_exchange(sessions, stall, "requests wait for a stream");
  }
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
  return missing > proxy->stalls.leaving_bytes ? missing - proxy->stalls.leaving_bytes : 0;
}

static void yield_buffers(struct sessions *sessions) {
  struct proxy *proxy = sessions->proxy;
  struct stall *stall;
  while (missing_bytes(proxy) > 0 && (stall = stalls_longest(&proxy->stalls, STALL_READ, proxy->now_ns,
                                                             BUFFER_STILL_MS * NS_PER_MS, holds_buffers)) != NULL) {
    end_exchange(sessions, stall, "the buffers run out");
  }
}

/* ---- */

void sessions_consider_yield(struct sessions *sessions) {
  struct proxy *proxy = sessions->proxy;
  if (timer_is_set(&sessions->yield_timer) || (list_empty(&sessions->waiting) && missing_bytes(proxy) == 0))
    return;
  timer_set(&proxy->timers, &sessions->yield_timer, proxy_deadline(proxy, LOOK_MS));
}

void sessions_on_yield_timer(struct timer *timer, uint64_t now_ns) {
  struct sessions *sessions = container_of(timer, struct sessions, yield_timer);
  stalls_watch(&sessions->proxy->stalls, now_ns, WATCH_MS * NS_PER_MS);
  yield_buffers(sessions);
  yield_streams(sessions);
  sessions_consider_yield(sessions);
}
