#include "proxy/stalls.h"

#include "base/must.h"

void stalls_init(struct stalls *stalls) {
  *stalls = (struct stalls){.ops = NULL};
  for (int kind = 0; kind < STALL_KINDS; kind++) {
    list_init(&stalls->fresh[kind]);
    list_init(&stalls->watched[kind]);
  }
}

void stall_init(struct stall *stall) {
  *stall = (struct stall){.kind = STALL_NONE};
  list_init(&stall->node);
}

void stall_note(struct stalls *stalls, struct stall *stall, enum stall_kind kind, struct exchange *exchange, bool moved,
                uint64_t now_ns) {
  if (kind == stall->kind && (kind == STALL_NONE || (!moved && exchange == stall->exchange)))
    return;
  list_remove(&stall->node);
  stall->kind = (uint8_t)kind;
  stall->exchange = exchange;
  stall->moved_ns = now_ns;
  stall->watched = false;
  if (kind != STALL_NONE)
    list_push(&stalls->fresh[kind], &stall->node);
}

static uint64_t queued_bytes(const struct stalls *stalls, struct stall *stall) {
  return stall->kind == STALL_READ ? stalls->ops->queued_bytes(stall) : 0;
}

void stalls_watch(struct stalls *stalls, uint64_t now_ns, uint64_t still_ns) {
  for (int kind = STALL_NONE + 1; kind < STALL_KINDS; kind++) {
    while (!list_empty(&stalls->fresh[kind])) {
      struct stall *stall = container_of(stalls->fresh[kind].next, struct stall, node);
      if (now_ns - stall->moved_ns < still_ns)
        break;
      stall->watched = true;
      if (kind == STALL_READ)
        stall->moved_ns = now_ns; /* who can tell? */
      stall->queued_bytes = queued_bytes(stalls, stall);
      list_remove(&stall->node);
      list_push(&stalls->watched[kind], &stall->node);
    }
  }
}

struct stall *stalls_longest(struct stalls *stalls, enum stall_kind kind, uint64_t now_ns, uint64_t still_ns,
                             stall_useful_f *useful) {
  must(kind > STALL_NONE && kind < STALL_KINDS && still_ns > 0);
  struct list *watched = &stalls->watched[kind];
  while (!list_empty(watched)) {
    struct stall *stall = container_of(watched->next, struct stall, node);
    if (now_ns - stall->moved_ns < still_ns)
      break;
    uint64_t queued = queued_bytes(stalls, stall);
    if (queued >= stall->queued_bytes && useful(stall->exchange))
      return stall;
    stall->queued_bytes = queued;
    stall->moved_ns = now_ns; /* it has not, when it is of no use; but then nobody is kept waiting by it */
    list_remove(&stall->node);
    list_push(watched, &stall->node);
  }
  return NULL;
}
