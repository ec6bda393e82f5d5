/* Sockets on the simulated link. Datagrams that arrive are kept one by one and shown as trains, put together as GRO
   does: same sender, same size, the last may be shorter. A train to send is cut when its send completes, so that a
   buffer that is written too early shows. */
#include "io/udp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pool.h"
#include "sim/link.h"
#include "sim/sim_ring.h"
#include "sim/world.h"

enum { SLOTS = UDP_SEND_BUFFERS, SEND_DELAY_US_MAX = 20, EPHEMERAL_PORT = 40000 };

struct received {
  struct list node;
  struct address from;
  size_t len;
  uint8_t data[];
};

struct slot {
  struct udp *udp;
  bool busy;
  struct address remote;
  size_t len, segment_bytes;
  uint8_t buffer[CHUNK_LARGE_BYTES];
};

struct udp {
  struct list node; /* in sockets, or in the ring's closed ones */
  struct ring *ring;
  struct address local, remote;
  bool connected, closed, holding;
  uint16_t sharers, number;
  uint64_t buffer_bytes, queued_bytes;
  struct list received;
  uint8_t train[CHUNK_LARGE_BYTES];
  struct slot *current;
  struct slot slots[SLOTS];
  uint64_t sent_until_ns;
  struct udp_counters counters;
};

static struct list sockets = {&sockets, &sockets};
static uint16_t next_port;

static struct udp *udp_of(struct list *node) { return container_of(node, struct udp, node); }

/* --- receiving --- */

/* Which of |sharers| sockets the kernel gives a datagram to: the filter of src/io/udp_socket.c. */
static unsigned steer(unsigned sharers, const uint8_t *data, size_t len) {
  size_t at = (data[0] & 0x80) != 0 ? 6 : 1;
  return len < at + 2 ? 0 : ((unsigned)data[at] << 8 | data[at + 1]) % sharers;
}

bool udp_arrive(int host, const struct address *from, const struct address *to, const uint8_t *data, size_t len) {
  for (struct list *node = sockets.next; node != &sockets; node = node->next) {
    struct udp *udp = udp_of(node);
    if (udp->ring->host != host || address_port(&udp->local) != address_port(to))
      continue;
    if (udp->sharers > 1 && steer(udp->sharers, data, len) != udp->number)
      continue;
    if (udp->connected && !address_equal(&udp->remote, from))
      return false;
    if (udp->queued_bytes + len > udp->buffer_bytes)
      return false;
    struct received *received = malloc(sizeof *received + len);
    must(received != NULL);
    received->from = *from;
    received->len = len;
    memcpy(received->data, data, len);
    list_init(&received->node);
    list_push(&udp->received, &received->node);
    udp->queued_bytes += len;
    ring_wake(udp->ring);
    return true;
  }
  return false;
}

static void take(struct udp *udp, struct udp_train *train) {
  struct received *received = container_of(list_pop(&udp->received), struct received, node);
  memcpy(udp->train + train->len, received->data, received->len);
  train->len += received->len;
  udp->queued_bytes -= received->len;
  udp->counters.datagrams_received++;
  free(received);
}

bool udp_receive(struct udp *udp, struct udp_train *train) {
  must(!udp->closed && !udp->holding);
  if (list_empty(&udp->received))
    return false;
  struct received *first = container_of(udp->received.next, struct received, node);
  *train = (struct udp_train){.data = udp->train, .segment_bytes = first->len, .remote = first->from};
  train->local = udp->local;
  take(udp, train);
  for (size_t count = 1; count < TRAIN_SEGMENTS_MAX && !list_empty(&udp->received); count++) {
    struct received *next = container_of(udp->received.next, struct received, node);
    bool last = next->len < train->segment_bytes;
    if (next->len > train->segment_bytes || train->len + next->len > TRAIN_BYTES_MAX ||
        !address_equal(&next->from, &train->remote))
      break;
    take(udp, train);
    if (last)
      break;
  }
  udp->counters.trains_received++;
  udp->counters.bytes_received += train->len;
  udp->holding = true;
  return true;
}

void udp_release(struct udp *udp) {
  must(udp->holding);
  udp->holding = false;
}

bool udp_refused(struct udp *udp) { return (void)udp, false; }
bool udp_failing(const struct udp *udp) { return (void)udp, false; }

/* --- sending --- */

uint8_t *udp_send_buffer(struct udp *udp) {
  must(!udp->closed);
  for (size_t i = 0; udp->current == NULL && i < SLOTS; i++) {
    if (!udp->slots[i].busy)
      udp->current = &udp->slots[i];
  }
  return udp->current != NULL ? udp->current->buffer : NULL;
}

bool udp_can_send(const struct udp *udp) {
  bool any = udp->current != NULL;
  for (size_t i = 0; !any && i < SLOTS; i++)
    any = !udp->slots[i].busy;
  return any;
}

static void send_over(void *context) {
  struct slot *slot = context;
  struct udp *udp = slot->udp;
  for (size_t at = 0; at < slot->len; at += slot->segment_bytes) {
    size_t len = slot->len - at < slot->segment_bytes ? slot->len - at : slot->segment_bytes;
    link_send(udp->ring->host, &udp->local, &slot->remote, slot->buffer + at, len);
    udp->counters.datagrams_sent++;
    udp->counters.bytes_sent += len;
  }
  slot->busy = false;
  ring_wake(udp->ring);
}

void udp_send(struct udp *udp, const struct address *local, const struct address *remote, size_t len,
              size_t segment_bytes) {
  struct slot *slot = udp->current;
  must(!udp->closed && slot != NULL && len > 0 && len <= TRAIN_BYTES_MAX && segment_bytes > 0);
  must((len + segment_bytes - 1) / segment_bytes <= TRAIN_SEGMENTS_MAX);
  must(local == NULL || local->len == 0 || address_equal(local, &udp->local));
  udp->current = NULL;
  slot->busy = true;
  slot->len = len;
  slot->segment_bytes = segment_bytes;
  slot->remote = udp->connected ? udp->remote : *remote;
  udp->counters.trains_sent++;
  uint64_t at_ns = world.now_ns;
  if (!world.exact)
    at_ns += rng_below(&world.udp, SEND_DELAY_US_MAX) * NS_PER_US;
  if (at_ns < udp->sent_until_ns)
    at_ns = udp->sent_until_ns; /* trains do not overtake one another in the socket */
  udp->sent_until_ns = at_ns;
  world_at(at_ns, send_over, slot);
}

/* --- opening and closing --- */

static void set_local(struct udp *udp, const struct udp_config *config) {
  uint16_t port = config->bind.len > 0 ? address_port(&config->bind) : 0;
  const char *text = udp->ring->host == HOST_CLIENT ? "192.0.2.1" : "192.0.2.2";
  must(address_parse(&udp->local, text, 0) == ERR_OK);
  address_set_port(&udp->local, port != 0 ? port : (uint16_t)(EPHEMERAL_PORT + next_port++ % 10000));
}

enum err udp_open(struct udp **out, struct ring *ring, const struct udp_config *config, char *reason,
                  size_t reason_size) {
  struct udp *udp = calloc(1, sizeof *udp);
  if (udp == NULL) {
    snprintf(reason, reason_size, "out of memory");
    return ERR_NO_MEMORY;
  }
  udp->ring = ring;
  udp->connected = config->connect.len > 0;
  udp->remote = config->connect;
  udp->sharers = config->sharers;
  udp->number = config->number;
  udp->buffer_bytes = config->receive_buffer_bytes;
  set_local(udp, config);
  list_init(&udp->received);
  list_init(&udp->node);
  for (size_t i = 0; i < SLOTS; i++)
    udp->slots[i].udp = udp;
  list_push(&sockets, &udp->node);
  *out = udp;
  return ERR_OK;
}

static bool idle(const struct udp *udp) {
  for (size_t i = 0; i < SLOTS; i++) {
    if (udp->slots[i].busy)
      return false;
  }
  return true;
}

void udp_close(struct udp *udp) {
  if (udp == NULL)
    return;
  must(!udp->closed);
  udp->closed = true;
  udp->current = NULL;
  list_remove(&udp->node);
  list_push(&udp->ring->udp_closed, &udp->node);
}

void udp_bury(struct ring *ring) {
  for (struct list *node = ring->udp_closed.next, *next; node != &ring->udp_closed; node = next) {
    struct udp *udp = udp_of(node);
    next = node->next;
    if (!idle(udp))
      continue;
    struct list *received;
    while ((received = list_pop(&udp->received)) != NULL)
      free(container_of(received, struct received, node));
    list_remove(&udp->node);
    free(udp);
  }
}

struct address udp_local(const struct udp *udp) {
  return udp->local;
}
uint64_t udp_receive_buffer_granted(const struct udp *udp) { return udp->buffer_bytes; }
uint64_t udp_send_buffer_granted(const struct udp *udp) { return udp->buffer_bytes; }
bool udp_gso(const struct udp *udp) { return (void)udp, true; }
bool udp_gro(const struct udp *udp) { return (void)udp, true; }
const struct udp_counters *udp_counters(const struct udp *udp) { return &udp->counters; }
