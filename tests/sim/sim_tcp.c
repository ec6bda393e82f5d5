/* io/tcp.h on simulated wires, with the rules of src/io/tcp.c: what an owner asks for is looked at just before a
   submission (tcp_arm), a large receive is armed again only after its bytes were seen, events are raised by completions
   and told by tcp_dispatch alone, a closed connection waits for its send.

   The bytes of a send are read when it completes, and once more when it was cancelled: so that bytes which their owner
   gave back too early show (as poisoned memory under AddressSanitizer, as wrong content else). */
#include "io/tcp.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pool.h"
#include "flow/flow.h"
#include "sim/sim_ring.h"
#include "sim/wire.h"
#include "sim/world.h"

enum {
  TCP_MAGIC = 0x51a17c9,
  IOV_MAX_SIM = FLOW_IOV_MAX + 4,
  SEND_DELAY_US_MAX = 60,
  SMALL_CHUNKS_A_ROUND = 16,
};

enum tcp_state { TCP_CONNECTING, TCP_ACCEPTED, TCP_OPEN, TCP_BROKEN, TCP_DYING };

struct tcp {
  uint32_t magic;
  uint8_t state, events, wanted, armed;
  bool ended, sending, shutting, reset;
  bool connect_inflight, send_inflight, cancel_inflight;
  bool send_blocked; /* in flight, and waits for room */
  bool refused;      /* the connect will fail */
  bool ignored;      /* the connect gets no answer */
  struct tcp_stack *stack;
  struct list ready; /* in the stack's ready or dead list */
  struct list node;  /* in the stack's all */
  struct chunk *input_first, *input_last;
  uint32_t input_offset;
  size_t input_bytes;
  tcp_event_f *on_event;
  void *owner;
  tcp_buried_f *buried;
  const char *failure;
  struct tcp_listener *listener;
  struct iovec iov[IOV_MAX_SIM];
  size_t iov_count, send_bytes, sent_bytes;
  struct wire *wire;
};

struct tcp_listener {
  struct list node; /* in the stack's listeners, or in the ring's closed ones */
  struct tcp_stack *stack;
  struct address address;
  bool closing;
  uint32_t pending;
  tcp_accept_f *accept;
  void *context;
};

struct tcp_stack {
  struct ring *ring;
  struct pool pool;
  struct list ready, dead, all, listeners;
};

static struct tcp_stack *stacks[HOSTS][HOST_WORKERS_MAX];

/* --- events --- */

static void raise_event(struct tcp *tcp, unsigned events) {
  tcp->events |= (uint8_t)events;
  if (list_empty(&tcp->ready))
    list_push(&tcp->stack->ready, &tcp->ready);
  ring_wake(tcp->stack->ring);
}

static void break_now(struct tcp *tcp, const char *why) {
  if (tcp->state == TCP_BROKEN)
    return;
  if (tcp->failure == NULL)
    tcp->failure = why;
  tcp->state = TCP_BROKEN;
  tcp->armed = TCP_INPUT_OFF;
  trace(TRACE_TCP_FAILED, tcp->stack->ring->host, tcp->wire->id, 0);
  raise_event(tcp, TCP_FAILED);
}

static void die_if_idle(struct tcp *tcp) {
  if (tcp->state == TCP_DYING && !tcp->connect_inflight && !tcp->send_inflight && !tcp->cancel_inflight)
    list_push(&tcp->stack->dead, &tcp->ready);
}

/* An operation of a closed connection has come back, which ends the wait. */
static void came_back(struct tcp *tcp) {
  ring_wake(tcp->stack->ring);
  die_if_idle(tcp);
}

/* --- receive --- */

static void input_push(struct tcp *tcp, struct chunk *chunk) {
  chunk->next = NULL;
  if (tcp->input_first == NULL)
    tcp->input_first = chunk;
  else
    tcp->input_last->next = chunk;
  tcp->input_last = chunk;
  tcp->input_bytes += chunk->used;
}

static void input_pop(struct tcp *tcp) {
  struct chunk *chunk = tcp->input_first;
  tcp->input_first = chunk->next;
  tcp->input_offset = 0;
  chunk->next = NULL;
  chunk_unref(chunk);
}

/* False: no buffer; the next tcp_arm tries again. */
static bool receive_piece(struct tcp *tcp) {
  struct ring *ring = tcp->stack->ring;
  struct chunk *chunk = chunk_get(ring->chunks, tcp->armed == TCP_INPUT_BULK ? CHUNK_LARGE : CHUNK_SMALL);
  if (chunk == NULL) {
    ring->counters.out_of_buffers++;
    return false;
  }
  size_t len = pipe_available(&tcp->wire->to_tcp);
  len = len < chunk->capacity ? len : chunk->capacity;
  if (!world.exact && rng_chance(&world.tcp, 300000))
    len = rng_between(&world.tcp, 1, len);
  pipe_read(&tcp->wire->to_tcp, chunk->data, len);
  chunk->used = (uint32_t)len;
  input_push(tcp, chunk);
  trace(TRACE_TCP_RECEIVED, ring->host, tcp->wire->id, len);
  raise_event(tcp, TCP_INPUT);
  return true;
}

static void receive(struct tcp *tcp) {
  struct pipe *pipe = &tcp->wire->to_tcp;
  for (int i = 0; tcp->armed != TCP_INPUT_OFF && pipe_available(pipe) > 0 && i < SMALL_CHUNKS_A_ROUND; i++) {
    bool one = tcp->armed == TCP_INPUT_BULK;
    bool received = receive_piece(tcp);
    if (one || !received)
      tcp->armed = TCP_INPUT_OFF;
  }
  if (tcp->armed == TCP_INPUT_OFF || pipe_available(pipe) > 0)
    return;
  if (pipe->reset_arrived) {
    break_now(tcp, "connection reset by peer");
  } else if (pipe->fin_arrived && tcp->failure == NULL) {
    tcp->ended = true;
    tcp->armed = TCP_INPUT_OFF;
    raise_event(tcp, TCP_INPUT);
  } else if (pipe->fin_arrived) {
    break_now(tcp, tcp->failure);
  }
}

static void adjust(struct tcp *tcp) {
  if (tcp->state != TCP_OPEN || tcp->ended)
    return;
  if (tcp->wanted == TCP_INPUT_OFF && tcp->failure != NULL) {
    break_now(tcp, tcp->failure);
    return;
  }
  if (tcp->armed != tcp->wanted && tcp->armed != TCP_INPUT_OFF && !world.exact && rng_chance(&world.tcp, 250000))
    receive(tcp); /* the cancellation was late */
  if (tcp->state != TCP_OPEN || tcp->ended)
    return;
  tcp->armed = tcp->wanted;
  receive(tcp);
}

void tcp_arm(struct tcp_stack *stack) {
  for (struct list *node = stack->all.next; node != &stack->all; node = node->next)
    adjust(container_of(node, struct tcp, node));
}

void tcp_input(struct tcp *tcp, enum tcp_input_mode mode) {
  must(tcp->magic == TCP_MAGIC && tcp->state != TCP_DYING);
  tcp->wanted = (uint8_t)mode;
}

struct chunk *tcp_input_peek(const struct tcp *tcp, uint32_t *offset, uint32_t *len) {
  struct chunk *chunk = tcp->input_first;
  if (chunk == NULL)
    return NULL;
  must(tcp->input_offset < chunk->used);
  *offset = tcp->input_offset;
  *len = chunk->used - tcp->input_offset;
  return chunk;
}

void tcp_input_consume(struct tcp *tcp, uint32_t len) {
  must(tcp->input_first != NULL && len <= tcp->input_first->used - tcp->input_offset);
  tcp->input_offset += len;
  tcp->input_bytes -= len;
  if (tcp->input_offset == tcp->input_first->used)
    input_pop(tcp);
}

size_t tcp_input_bytes(const struct tcp *tcp) { return tcp->input_bytes; }
bool tcp_input_ended(const struct tcp *tcp) { return tcp->ended && tcp->input_first == NULL; }

/* --- send --- */

static void gather(struct tcp *tcp, size_t len, bool keep) {
  static volatile uint8_t seen;
  for (size_t i = 0; i < tcp->iov_count && len > 0; i++) {
    const uint8_t *data = tcp->iov[i].iov_base;
    size_t part = tcp->iov[i].iov_len < len ? tcp->iov[i].iov_len : len;
    if (keep)
      pipe_write(&tcp->wire->to_peer, data, part);
    else if (part > 0)
      seen = (uint8_t)(seen ^ data[0] ^ data[part - 1]);
    len -= part;
  }
}

static void send_now(struct tcp *tcp) {
  size_t room = pipe_room(&tcp->wire->to_peer);
  if (room == 0) {
    tcp->send_blocked = true;
    return;
  }
  size_t len = tcp->send_bytes < room ? tcp->send_bytes : room;
  if (!world.exact && rng_chance(&world.tcp, 200000))
    len = rng_between(&world.tcp, 1, len);
  gather(tcp, len, true);
  tcp->send_inflight = false;
  tcp->sent_bytes = len;
  trace(TRACE_TCP_SENT, tcp->stack->ring->host, tcp->wire->id, len);
  raise_event(tcp, TCP_SENT);
  if (tcp->shutting && len == tcp->send_bytes)
    pipe_fin(&tcp->wire->to_peer);
}

static void send_complete(void *context) {
  struct tcp *tcp = context;
  must(tcp->magic == TCP_MAGIC && tcp->send_inflight);
  if (tcp->state == TCP_DYING) {
    gather(tcp, tcp->send_bytes, false);
    tcp->send_inflight = false;
    came_back(tcp);
  } else if (tcp->state == TCP_BROKEN) {
    tcp->send_inflight = tcp->sending = false;
  } else if (!tcp->wire->to_tcp.reset_arrived) {
    send_now(tcp);
  } else {
    tcp->send_inflight = false;
    tcp->failure = "connection reset by peer";
    if (tcp->ended || tcp->wanted == TCP_INPUT_OFF)
      break_now(tcp, tcp->failure);
    else
      receive(tcp); /* what was said before comes first */
  }
}

static void send_later(struct tcp *tcp) {
  world_after(world.exact ? 0 : rng_below(&world.tcp, SEND_DELAY_US_MAX) * NS_PER_US, send_complete, tcp);
}

static void send_unblock(struct tcp *tcp) {
  if (!tcp->send_blocked)
    return;
  tcp->send_blocked = false;
  send_later(tcp);
}

void tcp_send(struct tcp *tcp, const struct iovec *iov, size_t count) {
  must(tcp->magic == TCP_MAGIC && (tcp->state == TCP_OPEN || tcp->state == TCP_BROKEN));
  must(!tcp->sending && count > 0 && count <= IOV_MAX_SIM);
  if (tcp->state == TCP_BROKEN || tcp->failure != NULL)
    return;
  memcpy(tcp->iov, iov, count * sizeof *iov);
  tcp->iov_count = count;
  tcp->send_bytes = 0;
  for (size_t i = 0; i < count; i++)
    tcp->send_bytes += iov[i].iov_len;
  must(tcp->send_bytes > 0);
  must(!tcp->wire->to_peer.fin_sent && "nothing is sent after a half-close");
  tcp->sending = tcp->send_inflight = true;
  send_later(tcp);
}

bool tcp_sending(const struct tcp *tcp) { return tcp->sending; }
size_t tcp_sent_bytes(const struct tcp *tcp) { return tcp->sent_bytes; }

uint64_t tcp_queued_bytes(const struct tcp *tcp) { return tcp->wire->to_peer.written - tcp->wire->to_peer.read; }

void tcp_shutdown(struct tcp *tcp) {
  must(tcp->magic == TCP_MAGIC && tcp->state != TCP_DYING);
  if (tcp->send_inflight)
    tcp->shutting = true;
  else
    pipe_fin(&tcp->wire->to_peer);
}

void tcp_wire_event(struct tcp *tcp) {
  if (pipe_room(&tcp->wire->to_peer) > 0 || tcp->wire->to_tcp.reset_arrived)
    send_unblock(tcp);
  if (tcp->state == TCP_OPEN && !tcp->ended && tcp->armed != TCP_INPUT_OFF)
    receive(tcp);
}

/* --- connect, accept, close --- */

static struct tcp *tcp_new(struct tcp_stack *stack, enum tcp_state state, struct wire *wire) {
  struct tcp *tcp = pool_get(&stack->pool);
  if (tcp == NULL)
    return NULL;
  *tcp = (struct tcp){.magic = TCP_MAGIC, .stack = stack, .state = (uint8_t)state, .wire = wire};
  list_init(&tcp->ready);
  list_init(&tcp->node);
  list_push(&stack->all, &tcp->node);
  wire->tcp = tcp;
  return tcp;
}

static void connect_complete(void *context) {
  struct tcp *tcp = context;
  const struct wire_server *server = wire_server();
  must(tcp->magic == TCP_MAGIC && tcp->connect_inflight);
  tcp->connect_inflight = false;
  if (tcp->state == TCP_DYING) {
    came_back(tcp);
  } else if (!tcp->refused) {
    tcp->state = TCP_OPEN;
    tcp->wire->peer.connected = true;
    server->accepted(server->context, &tcp->wire->peer);
    raise_event(tcp, TCP_CONNECTED);
  } else {
    break_now(tcp, "connection refused");
  }
}

struct tcp *tcp_connect(struct tcp_stack *stack, const struct address *address, tcp_event_f *on_event, void *owner) {
  const struct wire_server *server = wire_server();
  must(address->len > 0 && on_event != NULL);
  struct wire *wire = wire_new(stack->ring->host);
  struct tcp *tcp = tcp_new(stack, TCP_CONNECTING, wire);
  if (tcp == NULL)
    return NULL;
  tcp->on_event = on_event;
  tcp->owner = owner;
  trace(TRACE_TCP_CONNECT, stack->ring->host, wire->id, 0);
  enum verdict verdict = server->verdict(server->context);
  tcp->refused = verdict == VERDICT_REFUSE;
  tcp->ignored = verdict == VERDICT_IGNORE;
  if (tcp->ignored)
    return tcp; /* until its owner has waited long enough */
  tcp->connect_inflight = true;
  world_after(world.exact ? 0 : rng_between(&world.tcp, 10, 200) * NS_PER_US, connect_complete, tcp);
  return tcp;
}

/* Of the workers that listen, one by lot: as the kernel does with the listeners of a port. */
static struct tcp_stack *listening_stack(int host) {
  struct tcp_stack *found[HOST_WORKERS_MAX];
  size_t count = 0;
  for (int i = 0; i < HOST_WORKERS_MAX; i++) {
    if (stacks[host][i] != NULL && !list_empty(&stacks[host][i]->listeners))
      found[count++] = stacks[host][i];
  }
  return count == 0 ? NULL : found[count == 1 ? 0 : rng_below(&world.tcp, count)];
}

bool tcp_wire_accept(struct wire *wire) {
  struct tcp_stack *stack = listening_stack(wire->host);
  if (stack == NULL)
    return false;
  struct tcp *tcp = tcp_new(stack, TCP_ACCEPTED, wire);
  if (tcp == NULL)
    return false;
  tcp->listener = container_of(stack->listeners.next, struct tcp_listener, node);
  tcp->listener->pending++;
  list_push(&stack->ready, &tcp->ready);
  ring_wake(stack->ring);
  return true;
}

static void show_accepted(struct tcp *tcp) {
  struct tcp_listener *listener = tcp->listener;
  must(listener->pending > 0);
  listener->pending--;
  tcp->listener = NULL;
  tcp->state = TCP_OPEN;
  trace(TRACE_TCP_ACCEPT, tcp->stack->ring->host, tcp->wire->id, listener->closing);
  if (listener->closing)
    tcp_close(tcp, true, NULL, NULL);
  else
    listener->accept(listener->context, tcp);
  must(tcp->state == TCP_DYING || tcp->on_event != NULL);
}

void tcp_own(struct tcp *tcp, tcp_event_f *on_event, void *owner) {
  must(tcp->magic == TCP_MAGIC && tcp->state != TCP_DYING && on_event != NULL);
  tcp->on_event = on_event;
  tcp->owner = owner;
}

static void cancelled(void *context) {
  struct tcp *tcp = context;
  must(tcp->magic == TCP_MAGIC && tcp->cancel_inflight);
  tcp->cancel_inflight = false;
  came_back(tcp);
}

void tcp_close(struct tcp *tcp, bool reset, tcp_buried_f *buried, void *owner) {
  must(tcp->magic == TCP_MAGIC && tcp->state != TCP_DYING && tcp->listener == NULL);
  tcp->state = TCP_DYING;
  tcp->reset = reset;
  tcp->buried = buried;
  tcp->owner = owner;
  list_remove(&tcp->ready);
  tcp->events = 0;
  tcp->input_bytes = 0;
  while (tcp->input_first != NULL)
    input_pop(tcp);
  trace(TRACE_TCP_CLOSE, tcp->stack->ring->host, tcp->wire->id, reset);
  send_unblock(tcp);
  bool waiting = tcp->armed != TCP_INPUT_OFF || tcp->ignored;
  if (waiting && !tcp->ended) { /* for input, or for an answer that never comes */
    tcp->cancel_inflight = true;
    world_after(world.exact ? 0 : rng_below(&world.tcp, SEND_DELAY_US_MAX) * NS_PER_US, cancelled, tcp);
  }
  die_if_idle(tcp);
}

const char *tcp_failure(const struct tcp *tcp) { return tcp->failure != NULL ? tcp->failure : "none"; }

static struct address loopback(uint16_t port) {
  struct address address;
  must(address_parse(&address, "127.0.0.1", port) == ERR_OK);
  return address;
}

struct address tcp_local(const struct tcp *tcp) {
  return (void)tcp, loopback(20080);
}
struct address tcp_remote(const struct tcp *tcp) {
  return loopback((uint16_t)(30000 + tcp->wire->to_tcp.capacity % 9999));
}

/* --- listeners --- */

enum err tcp_listen(struct tcp_stack *stack, const struct address *address, tcp_accept_f *accept, void *context,
                    struct tcp_listener **out, char *reason, size_t reason_size) {
  (void)reason, (void)reason_size;
  struct tcp_listener *listener = calloc(1, sizeof *listener);
  must(listener != NULL);
  *listener = (struct tcp_listener){.stack = stack, .address = *address, .accept = accept, .context = context};
  list_init(&listener->node);
  list_push(&stack->listeners, &listener->node);
  *out = listener;
  return ERR_OK;
}

void tcp_unlisten(struct tcp_listener *listener) {
  if (listener == NULL)
    return;
  must(!listener->closing);
  listener->closing = true;
  list_remove(&listener->node);
  list_push(&listener->stack->ring->tcp_listeners, &listener->node);
}

struct address tcp_listener_address(const struct tcp_listener *listener) {
  return listener->address;
}

void tcp_listeners_bury(struct ring *ring) {
  for (struct list *node = ring->tcp_listeners.next, *next; node != &ring->tcp_listeners; node = next) {
    struct tcp_listener *listener = container_of(node, struct tcp_listener, node);
    next = node->next;
    if (listener->pending > 0)
      continue;
    list_remove(&listener->node);
    free(listener);
  }
}

/* --- the stack --- */

enum err tcp_stack_open(struct tcp_stack **out, struct ring *ring, struct chunks *chunks,
                        const struct tcp_config *config) {
  must(chunks == ring->chunks);
  struct tcp_stack *stack = calloc(1, sizeof *stack);
  if (stack == NULL)
    return ERR_NO_MEMORY;
  enum err err = pool_open(&stack->pool, "tcp", sizeof(struct tcp), config->connections);
  if (err != ERR_OK) {
    free(stack);
    return err;
  }
  stack->ring = ring;
  list_init(&stack->ready);
  list_init(&stack->dead);
  list_init(&stack->all);
  list_init(&stack->listeners);
  stacks[ring->host][ring->worker] = stack;
  ring->tcp = stack;
  *out = stack;
  return ERR_OK;
}

void tcp_stack_close(struct tcp_stack *stack) {
  if (stack == NULL)
    return;
  must(list_empty(&stack->listeners) && list_empty(&stack->all));
  tcp_listeners_bury(stack->ring);
  stacks[stack->ring->host][stack->ring->worker] = NULL;
  stack->ring->tcp = NULL;
  pool_close(&stack->pool);
  free(stack);
}

void tcp_dispatch(struct tcp_stack *stack) {
  struct list batch, *node;
  list_init(&batch);
  list_splice(&batch, &stack->ready);
  while ((node = list_pop(&batch)) != NULL) {
    struct tcp *tcp = container_of(node, struct tcp, ready);
    if (tcp->state == TCP_ACCEPTED) {
      show_accepted(tcp);
      continue;
    }
    unsigned events = tcp->events;
    must(events != 0 && tcp->on_event != NULL);
    tcp->events = 0;
    if ((events & (TCP_SENT | TCP_FAILED)) != 0)
      tcp->sending = tcp->send_inflight;
    tcp->on_event(tcp->owner, tcp, events);
  }
}

static void hang_up(struct tcp *tcp) {
  struct wire *wire = tcp->wire;
  wire->tcp = NULL;
  if (tcp->reset)
    pipe_reset(&wire->to_peer);
  pipe_abandon(&wire->to_tcp, &wire->to_peer);
  pipe_fin(&wire->to_peer);
}

void tcp_bury(struct tcp_stack *stack) {
  struct list *node;
  while ((node = list_pop(&stack->dead)) != NULL) {
    struct tcp *tcp = container_of(node, struct tcp, ready);
    must(tcp->state == TCP_DYING && !tcp->connect_inflight && !tcp->send_inflight && !tcp->cancel_inflight);
    list_remove(&tcp->node);
    hang_up(tcp);
    if (tcp->buried != NULL)
      tcp->buried(tcp->owner);
    tcp->magic = 0;
    pool_put(&stack->pool, tcp);
  }
  tcp_listeners_bury(stack->ring);
}

uint32_t tcp_count(const struct tcp_stack *stack) { return stack->pool.live; }
