/* A queue of spans with three cursors. Everything here runs once a packet or more: no loop goes over more spans than it
   adds or removes. */
#include "flow/flow.h"

#include <string.h>

#include "base/must.h"

enum { LARGE_FROM_BYTES = 32768 }; /* queued bytes from which on copies go into large chunks */

void flow_open(struct flow *flow, struct chunks *chunks) { *flow = (struct flow){.chunks = chunks, .end = FLOW_OPEN}; }

static void span_free(struct flow *flow, struct span *span) {
  chunk_unref(span->chunk);
  pool_put(&flow->chunks->spans, span);
}

static void account_add(const struct flow *flow, uint64_t len) {
  if (flow->account != NULL)
    flow->account->held += len;
}

static void account_sub(const struct flow *flow, uint64_t len) {
  if (flow->account == NULL)
    return;
  must(flow->account->held >= len);
  flow->account->held -= len;
}

void flow_set_account(struct flow *flow, struct flow_account *account) {
  account_sub(flow, flow->pushed - flow->released);
  flow->account = account;
  account_add(flow, flow->pushed - flow->released);
}

void flow_close(struct flow *flow) {
  account_sub(flow, flow->pushed - flow->released);
  struct span *span = flow->first;
  while (span != NULL) {
    struct span *after = span->next;
    span_free(flow, span);
    span = after;
  }
  *flow = (struct flow){.chunks = NULL};
}

uint32_t flow_room(const struct flow *flow) {
  uint64_t untaken = flow_untaken(flow);
  if (flow->end != FLOW_OPEN || untaken >= FLOW_UNTAKEN_BYTES_MAX)
    return 0;
  if (flow->account != NULL && flow->account->held >= flow->account->limit && flow->pushed > flow->released)
    return 0;
  return (uint32_t)(FLOW_UNTAKEN_BYTES_MAX - untaken);
}

/* The last span grows by |len| bytes that stand behind it in its chunk. */
static void last_extend(struct flow *flow, uint32_t len) {
  struct span *last = flow->last;
  if (flow->next == NULL) {
    flow->next = last;
    flow->next_taken = last->len;
  }
  last->len += len;
  flow->pushed += len;
  account_add(flow, len);
}

/* Puts a span last; the caller's reference to |chunk| becomes the span's. False when no span is left. */
static bool span_append(struct flow *flow, struct chunk *chunk, uint32_t offset, uint32_t len) {
  struct span *span = pool_get(&flow->chunks->spans);
  if (span == NULL)
    return false;
  *span = (struct span){.chunk = chunk, .offset = offset, .len = len};
  if (flow->last == NULL)
    flow->first = span;
  else
    flow->last->next = span;
  flow->last = span;
  if (flow->next == NULL) {
    flow->next = span;
    flow->next_taken = 0;
  }
  flow->filling = false;
  flow->pushed += len;
  account_add(flow, len);
  return true;
}

/* A chunk for |len| bytes to be copied: small unless they need a large one or much is queued already, so that bodies
   which wait do not use up what heads are received into; the other size when there is no such. */
static struct chunk *copy_chunk_get(const struct flow *flow, size_t len) {
  bool large = len > CHUNK_SMALL_BYTES || flow->pushed - flow->released >= LARGE_FROM_BYTES;
  struct chunk *chunk = chunk_get(flow->chunks, large ? CHUNK_LARGE : CHUNK_SMALL);
  return chunk != NULL ? chunk : chunk_get(flow->chunks, large ? CHUNK_SMALL : CHUNK_LARGE);
}

/* Copies as many of the |len| bytes as there are chunks and spans for, and returns their number. */
static size_t copy_in(struct flow *flow, const uint8_t *data, size_t len) {
  size_t done = 0;
  while (done < len) {
    uint32_t room = flow->filling && flow->last != NULL ? chunk_room(flow->last->chunk) : 0;
    if (room > 0) {
      struct chunk *chunk = flow->last->chunk;
      uint32_t part = len - done < room ? (uint32_t)(len - done) : room;
      memcpy(chunk->data + chunk->used, data + done, part);
      chunk->used += part;
      last_extend(flow, part);
      done += part;
      continue;
    }
    struct chunk *chunk = copy_chunk_get(flow, len - done);
    if (chunk == NULL)
      break;
    if (!span_append(flow, chunk, 0, 0)) {
      chunk_unref(chunk);
      break;
    }
    flow->filling = true;
  }
  return done;
}

enum err flow_push(struct flow *flow, struct chunk *chunk, uint32_t offset, uint32_t len) {
  must(offset <= chunk->used && len <= chunk->used - offset);
  if (len == 0 || flow->end != FLOW_OPEN)
    return ERR_OK;
  struct span *last = flow->last;
  if (last != NULL && last->chunk == chunk && last->offset + last->len == offset) {
    last_extend(flow, len);
    return ERR_OK;
  }
  if (len < COPY_BELOW_BYTES) {
    uint32_t copied = (uint32_t)copy_in(flow, chunk->data + offset, len);
    offset += copied;
    len -= copied;
    if (len == 0)
      return ERR_OK;
  }
  if (!span_append(flow, chunk, offset, len))
    return ERR_OVERLOADED;
  chunk_ref(chunk);
  return ERR_OK;
}

enum err flow_push_copy(struct flow *flow, const void *data, size_t len) {
  if (flow->end != FLOW_OPEN)
    return ERR_OK;
  return copy_in(flow, data, len) == len ? ERR_OK : ERR_OVERLOADED;
}

bool flow_end(struct flow *flow, enum flow_end end, enum err reason) {
  must(end > FLOW_OPEN && end <= FLOW_CANCELLED);
  must(end != FLOW_EOF || reason == ERR_OK);
  if (flow->end != FLOW_OPEN)
    return false;
  flow->end = (uint8_t)end;
  flow->reason = (uint8_t)reason;
  return true;
}

size_t flow_peek(const struct flow *flow, struct iovec *iov, size_t max, size_t *bytes) {
  size_t count = 0, sum = 0;
  uint32_t skip = flow->next_taken;
  for (const struct span *span = flow->next; span != NULL && count < max; span = span->next) {
    iov[count].iov_base = span->chunk->data + span->offset + skip;
    iov[count].iov_len = span->len - skip;
    sum += span->len - skip;
    skip = 0;
    count++;
  }
  if (bytes != NULL)
    *bytes = sum;
  return count;
}

void flow_take(struct flow *flow, uint64_t len) {
  must(len <= flow->pushed - flow->taken);
  flow->taken += len;
  while (len > 0) {
    uint32_t rest = flow->next->len - flow->next_taken;
    if (len < rest) {
      flow->next_taken += (uint32_t)len;
      return;
    }
    len -= rest;
    flow->next = flow->next->next;
    flow->next_taken = 0;
  }
}

void flow_release(struct flow *flow, uint64_t len) {
  must(len <= flow->taken - flow->released);
  flow->released += len;
  account_sub(flow, len);
  while (len > 0) {
    struct span *span = flow->first;
    uint32_t rest = span->len - flow->first_released;
    if (len < rest) {
      flow->first_released += (uint32_t)len;
      return;
    }
    len -= rest;
    flow->first = span->next;
    flow->first_released = 0;
    if (flow->first == NULL)
      flow->last = NULL;
    span_free(flow, span);
  }
}
