/* Connections. What an owner asks for with tcp_input is only noted; just before each submission arm_changed compares it
   with the receive in flight and arms or cancels. So an owner may change its mind within a tick for nothing, and a
   one-shot receive is armed again only after the owner has seen what the last one brought.

   Who can still hold a closed connection: the kernel, through `receive` and `send`; nobody else. It is cancelled, waits
   for both final completions, and is buried in the tick's last step. */
#include "io/tcp.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "io/tcp_priv.h"

enum { KEEPALIVE_SECONDS_MAX = 32767 }; /* the kernel's MAX_TCP_KEEPIDLE */

/* --- failures --- */

static const struct {
  int error;
  const char *text;
} failures[] = {
    {ECONNREFUSED, "connection refused"},
    {ECONNRESET, "connection reset by peer"},
    {EPIPE, "connection closed by peer"},
    {ETIMEDOUT, "connection timed out"},
    {EHOSTUNREACH, "no route to host"},
    {EHOSTDOWN, "host is down"},
    {ENETUNREACH, "network is unreachable"},
    {ENETDOWN, "network is down"},
    {ECONNABORTED, "connection aborted"},
    {EADDRNOTAVAIL, "no local address or port is available"},
    {EADDRINUSE, "address already in use"},
    {EACCES, "permission denied"},
    {EPERM, "not permitted, by a firewall rule for example"},
    {ENOENT, "no such socket file"},
    {ENOTSOCK, "not a socket"},
    {EAGAIN, "the listener's queue is full"},
    {ENOBUFS, "the kernel is out of buffers"},
    {ENOMEM, "the kernel is out of memory"},
    {EPROTOTYPE, "wrong type of socket"},
    {EAFNOSUPPORT, "address family not supported"},
    {EINVAL, "invalid address"},
};

static const char *failure_text(int error) {
  for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
    if (failures[i].error == error)
      return failures[i].text;
  }
  return "connection failed";
}

/* --- lists --- */

static void raise_event(struct tcp *tcp, unsigned events) {
  tcp->events |= (uint8_t)events;
  if (list_empty(&tcp->ready))
    list_push(&tcp->stack->ready, &tcp->ready);
}

static void note_change(struct tcp *tcp) {
  if (tcp->state == TCP_DYING || tcp->state == TCP_CONNECTING)
    return;
  list_remove(&tcp->change);
  list_push(&tcp->stack->changed, &tcp->change);
}

static void starve(struct tcp *tcp, enum chunk_size size) {
  list_remove(&tcp->change);
  list_push(&tcp->stack->starved[size], &tcp->change);
}

static void break_now(struct tcp *tcp) {
  if (tcp->state == TCP_BROKEN)
    return;
  tcp->state = TCP_BROKEN;
  list_remove(&tcp->change);
  ring_cancel(tcp->stack->ring, &tcp->receive);
  raise_event(tcp, TCP_FAILED);
}

/* The first failure is the cause. */
static void set_failure(struct tcp *tcp, int error) {
  if (tcp->failure == NULL)
    tcp->failure = failure_text(error);
}

static void die_if_idle(struct tcp *tcp) {
  if (tcp->state == TCP_DYING && tcp->receive.inflight == 0 && tcp->send.inflight == 0)
    list_push(&tcp->stack->dead, &tcp->ready);
}

/* --- receive --- */

static enum chunk_size size_of_mode(enum tcp_input_mode mode) {
  return mode == TCP_INPUT_BULK ? CHUNK_LARGE : CHUNK_SMALL;
}

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

static void receive_bytes(struct tcp *tcp, struct chunk *chunk, int32_t result) {
  if (chunk == NULL)
    return;
  if (result <= 0 || tcp->state != TCP_OPEN) {
    chunk_unref(chunk);
    return;
  }
  must((uint32_t)result <= chunk->capacity);
  chunk->used = (uint32_t)result;
  input_push(tcp, chunk);
  raise_event(tcp, TCP_INPUT);
}

/* The receive's last completion. After a failed send it has now brought everything that the peer said before, and its
   end is the failure's, not a clean one. */
static void receive_over(struct tcp *tcp, enum chunk_size size, int32_t result) {
  switch (result) {
  case -ENOBUFS:
    ring_note_out_of_buffers(tcp->stack->ring);
    if (tcp->wanted != TCP_INPUT_OFF && size_of_mode((enum tcp_input_mode)tcp->wanted) == size)
      starve(tcp, size);
    else
      note_change(tcp);
    return;
  case -ECANCELED:
  case -EINTR:
  case -EAGAIN:
    note_change(tcp);
    return;
  case 0:
    if (tcp->failure == NULL) {
      tcp->ended = true;
      raise_event(tcp, TCP_INPUT);
    } else {
      break_now(tcp);
    }
    return;
  default:
    if (result > 0) {
      note_change(tcp);
    } else {
      set_failure(tcp, -result);
      break_now(tcp);
    }
    return;
  }
}

static void receive_complete(struct ring_op *op, int32_t result, uint32_t flags) {
  struct tcp *tcp = container_of(op, struct tcp, receive);
  must(tcp->magic == TCP_MAGIC && tcp->armed != TCP_INPUT_OFF);
  enum chunk_size size = size_of_mode((enum tcp_input_mode)tcp->armed);
  receive_bytes(tcp, ring_take_chunk(tcp->stack->ring, size, flags), result);
  if (op->inflight > 0)
    return;
  tcp->armed = TCP_INPUT_OFF;
  tcp->cancelling = false;
  if (tcp->state == TCP_DYING)
    die_if_idle(tcp);
  else if (tcp->state == TCP_OPEN)
    receive_over(tcp, size, result);
}

static void receive_arm(struct tcp *tcp, enum tcp_input_mode mode) {
  struct ring *ring = tcp->stack->ring;
  enum chunk_size size = size_of_mode(mode);
  if (ring_chunks_lent(ring, size) == 0) {
    starve(tcp, size);
    return;
  }
  tcp->armed = (uint8_t)mode;
  if (mode == TCP_INPUT_BULK)
    ring_recv(ring, &tcp->receive, tcp->fd, size);
  else
    ring_recv_multishot(ring, &tcp->receive, tcp->fd, size);
}

static void receive_adjust(struct tcp *tcp) {
  if (tcp->state != TCP_OPEN || tcp->ended)
    return;
  if (tcp->wanted == TCP_INPUT_OFF && tcp->failure != NULL) {
    break_now(tcp); /* nobody waits for the rest */
  } else if (tcp->receive.inflight > 0) {
    if (tcp->armed != tcp->wanted && !tcp->cancelling) {
      tcp->cancelling = true;
      ring_cancel(tcp->stack->ring, &tcp->receive);
    }
  } else if (tcp->wanted != TCP_INPUT_OFF) {
    receive_arm(tcp, (enum tcp_input_mode)tcp->wanted);
  }
}

/* Before each submission: applies changes, then lets as many starved ones try again as there are buffers. */
static void arm_changed(struct ring_hook *hook) {
  struct tcp_stack *stack = container_of(hook, struct tcp_stack, arm);
  struct list *node;
  while ((node = list_pop(&stack->changed)) != NULL)
    receive_adjust(container_of(node, struct tcp, change));
  for (int size = 0; size < CHUNK_SIZES; size++) {
    uint32_t lent = ring_chunks_lent(stack->ring, (enum chunk_size)size);
    for (; lent > 0 && (node = list_pop(&stack->starved[size])) != NULL; lent--)
      receive_adjust(container_of(node, struct tcp, change));
  }
}

void tcp_input(struct tcp *tcp, enum tcp_input_mode mode) {
  must(tcp->magic == TCP_MAGIC && tcp->state != TCP_DYING);
  if (tcp->wanted == mode)
    return;
  tcp->wanted = (uint8_t)mode;
  note_change(tcp);
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
  must(tcp->input_first != NULL);
  must(len <= tcp->input_first->used - tcp->input_offset);
  tcp->input_offset += len;
  tcp->input_bytes -= len;
  if (tcp->input_offset == tcp->input_first->used)
    input_pop(tcp);
}

size_t tcp_input_bytes(const struct tcp *tcp) { return tcp->input_bytes; }
bool tcp_input_ended(const struct tcp *tcp) { return tcp->ended && tcp->input_first == NULL; }

/* --- send --- */

/* A reset often follows an answer that explains it (an early 413): who still reads gets that first. The receive cannot
   take long then: there is no connection any more. */
static void send_failed(struct tcp *tcp, int error) {
  bool no_peer = error == EPIPE || error == ECONNRESET || error == ETIMEDOUT;
  set_failure(tcp, error);
  if (no_peer && !tcp->ended && tcp->wanted != TCP_INPUT_OFF)
    note_change(tcp);
  else
    break_now(tcp);
}

static void shutdown_now(struct tcp *tcp) {
  tcp->shutting = false;
  shutdown(tcp->fd, SHUT_WR); /* fails only when the peer has gone, which the receive tells */
}

static void send_submit(struct tcp *tcp) {
  if (tcp->message.msg_iovlen == 1)
    ring_send(tcp->stack->ring, &tcp->send, tcp->fd, tcp->iov[0].iov_base, tcp->iov[0].iov_len);
  else
    ring_sendmsg(tcp->stack->ring, &tcp->send, tcp->fd, &tcp->message);
}

static void send_complete(struct ring_op *op, int32_t result, uint32_t flags) {
  (void)flags;
  struct tcp *tcp = container_of(op, struct tcp, send);
  must(tcp->magic == TCP_MAGIC && op->inflight == 0);
  if (tcp->state == TCP_DYING) {
    die_if_idle(tcp);
  } else if (tcp->state == TCP_BROKEN) {
    tcp->sending = false;
  } else if (result > 0) {
    must((size_t)result <= tcp->send_bytes);
    tcp->sent_bytes = (size_t)result;
    raise_event(tcp, TCP_SENT);
    if (tcp->shutting && tcp->sent_bytes == tcp->send_bytes)
      shutdown_now(tcp);
  } else if (result == -EINTR || result == -EAGAIN) {
    send_submit(tcp);
  } else {
    send_failed(tcp, result == 0 ? EPIPE : -result);
  }
}

void tcp_send(struct tcp *tcp, const struct iovec *iov, size_t count) {
  must(tcp->magic == TCP_MAGIC && (tcp->state == TCP_OPEN || tcp->state == TCP_BROKEN));
  must(!tcp->sending && count > 0 && count <= TCP_IOV_MAX);
  if (tcp->state == TCP_BROKEN || tcp->failure != NULL)
    return; /* TCP_FAILED is about to be dispatched */
  tcp->send_bytes = 0;
  for (size_t i = 0; i < count; i++) {
    tcp->iov[i] = iov[i];
    tcp->send_bytes += iov[i].iov_len;
  }
  must(tcp->send_bytes > 0);
  tcp->message = (struct msghdr){.msg_iov = tcp->iov, .msg_iovlen = count};
  tcp->sending = true;
  send_submit(tcp);
}

bool tcp_sending(const struct tcp *tcp) { return tcp->sending; }
size_t tcp_sent_bytes(const struct tcp *tcp) { return tcp->sent_bytes; }

uint64_t tcp_queued_bytes(const struct tcp *tcp) {
  int bytes = 0;
  return ioctl(tcp->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (uint64_t)bytes : 0;
}

void tcp_shutdown(struct tcp *tcp) {
  must(tcp->magic == TCP_MAGIC && tcp->state != TCP_DYING);
  bool cut = tcp->sending && tcp->sent_bytes < tcp->send_bytes; /* TCP_SENT is yet to tell: the owner sends the rest */
  if (tcp->send.inflight > 0 || cut)
    tcp->shutting = true;
  else
    shutdown_now(tcp);
}

/* --- connect, close --- */

static void connect_complete(struct ring_op *op, int32_t result, uint32_t flags) {
  (void)flags;
  struct tcp *tcp = container_of(op, struct tcp, receive);
  must(tcp->magic == TCP_MAGIC && op->inflight == 0);
  op->complete = receive_complete;
  if (tcp->state == TCP_DYING) {
    die_if_idle(tcp);
  } else if (result == 0) {
    tcp->state = TCP_OPEN;
    raise_event(tcp, TCP_CONNECTED);
    note_change(tcp);
  } else {
    set_failure(tcp, -result);
    break_now(tcp);
  }
}

void tcp_set_options(const struct tcp_config *config, int fd, int family) {
  if (family == AF_UNIX)
    return;
  int on = 1;
  if (config->nodelay)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (config->keepalive_ms == 0)
    return;
  uint64_t seconds = (config->keepalive_ms + 999) / 1000;
  int idle = seconds < KEEPALIVE_SECONDS_MAX ? (int)seconds : KEEPALIVE_SECONDS_MAX;
  int interval = idle / 3 > 0 ? idle / 3 : 1, count = 3;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

struct tcp *tcp_new(struct tcp_stack *stack, int fd, enum tcp_state state) {
  struct tcp *tcp = pool_get(&stack->pool);
  if (tcp == NULL) {
    close(fd);
    return NULL;
  }
  *tcp = (struct tcp){.magic = TCP_MAGIC, .fd = fd, .stack = stack, .state = (uint8_t)state};
  tcp->receive.complete = receive_complete;
  tcp->send.complete = send_complete;
  list_init(&tcp->ready);
  list_init(&tcp->change);
  return tcp;
}

struct tcp *tcp_connect(struct tcp_stack *stack, const struct address *address, tcp_event_f *on_event, void *owner) {
  must(address->len > 0 && on_event != NULL);
  int family = address_family(address);
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return NULL;
  tcp_set_options(&stack->config, fd, family);
  struct tcp *tcp = tcp_new(stack, fd, TCP_CONNECTING);
  if (tcp == NULL)
    return NULL;
  tcp->on_event = on_event;
  tcp->owner = owner;
  tcp->peer = *address;
  tcp->receive.complete = connect_complete;
  ring_connect(stack->ring, &tcp->receive, fd, &tcp->peer.any, tcp->peer.len);
  return tcp;
}

void tcp_own(struct tcp *tcp, tcp_event_f *on_event, void *owner) {
  must(tcp->magic == TCP_MAGIC && tcp->state != TCP_DYING && on_event != NULL);
  tcp->on_event = on_event;
  tcp->owner = owner;
}

void tcp_close(struct tcp *tcp, bool reset, tcp_buried_f *buried, void *owner) {
  must(tcp->magic == TCP_MAGIC && tcp->state != TCP_DYING);
  if (tcp->state == TCP_ACCEPTED)
    tcp_forget_accepted(tcp);
  tcp->state = TCP_DYING;
  tcp->buried = buried;
  tcp->owner = owner;
  list_remove(&tcp->ready);
  list_remove(&tcp->change);
  tcp->events = 0;
  tcp->input_bytes = 0;
  while (tcp->input_first != NULL)
    input_pop(tcp);
  if (reset) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(tcp->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  }
  ring_cancel(tcp->stack->ring, &tcp->receive);
  ring_cancel(tcp->stack->ring, &tcp->send);
  die_if_idle(tcp);
}

const char *tcp_failure(const struct tcp *tcp) { return tcp->failure != NULL ? tcp->failure : "none"; }

struct address tcp_local(const struct tcp *tcp) {
  struct address address = {.len = sizeof address.bytes};
  if (getsockname(tcp->fd, &address.any, &address.len) != 0)
    address.len = 0;
  return address;
}

struct address tcp_remote(const struct tcp *tcp) {
  struct address address = {.len = sizeof address.bytes};
  if (getpeername(tcp->fd, &address.any, &address.len) != 0)
    address.len = 0;
  return address;
}

/* --- the stack --- */

enum err tcp_stack_open(struct tcp_stack **out, struct ring *ring, struct chunks *chunks,
                        const struct tcp_config *config) {
  must(chunks != NULL && config->connections > 0);
  struct tcp_stack *stack = calloc(1, sizeof *stack);
  if (stack == NULL)
    return ERR_NO_MEMORY;
  enum err err = pool_open(&stack->pool, "tcp", sizeof(struct tcp), config->connections);
  if (err != ERR_OK) {
    free(stack);
    return err;
  }
  stack->ring = ring;
  stack->config = *config;
  list_init(&stack->ready);
  list_init(&stack->dead);
  list_init(&stack->changed);
  list_init(&stack->listeners);
  for (int size = 0; size < CHUNK_SIZES; size++)
    list_init(&stack->starved[size]);
  stack->arm.run = arm_changed;
  ring_hook_add(ring, &stack->arm);
  *out = stack;
  return ERR_OK;
}

void tcp_stack_close(struct tcp_stack *stack) {
  if (stack == NULL)
    return;
  must(list_empty(&stack->listeners)); /* that is: tcp_unlisten was called for each */
  list_remove(&stack->arm.node);
  pool_close(&stack->pool);
  free(stack);
}

/* Each ready connection once: what its event brings about waits for the next call. */
void tcp_dispatch(struct tcp_stack *stack) {
  struct list batch, *node;
  list_init(&batch);
  list_splice(&batch, &stack->ready);
  while ((node = list_pop(&batch)) != NULL) {
    struct tcp *tcp = container_of(node, struct tcp, ready);
    if (tcp->state == TCP_ACCEPTED) {
      tcp_accepted(tcp);
      continue;
    }
    unsigned events = tcp->events;
    must(events != 0 && tcp->on_event != NULL);
    tcp->events = 0;
    if ((events & (TCP_SENT | TCP_FAILED)) != 0)
      tcp->sending = tcp->send.inflight > 0;
    tcp->on_event(tcp->owner, tcp, events);
  }
}

void tcp_bury(struct tcp_stack *stack) {
  struct list *node;
  bool any = !list_empty(&stack->dead);
  while ((node = list_pop(&stack->dead)) != NULL) {
    struct tcp *tcp = container_of(node, struct tcp, ready);
    must(tcp->state == TCP_DYING && tcp->receive.inflight == 0 && tcp->send.inflight == 0);
    close(tcp->fd);
    if (tcp->buried != NULL)
      tcp->buried(tcp->owner);
    tcp->magic = 0;
    pool_put(&stack->pool, tcp);
  }
  if (any)
    tcp_resume_accepting(stack);
  ring_bury(stack->ring);
}

uint32_t tcp_count(const struct tcp_stack *stack) { return stack->pool.live; }
