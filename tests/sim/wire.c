/* Bytes are written at once and arrive later; a hop is one arrival. Wires and peers stay until the end of the
   simulation, so that no event finds its object gone; their buffers go when the reader has. */
#include "sim/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "sim/world.h"

enum {
  PIPE_BYTES_MIN = 16384,
  PIPE_BYTES_MAX = 262144,
  DELAY_US_MAX = 100,
};

struct hop {
  struct pipe *pipe;
  uint64_t upto;
  bool fin, reset;
};

static struct wire_server server;
static struct list wires = {&wires, &wires};
static uint32_t wire_count;

void wires_open(const struct wire_server *wanted) { server = *wanted; }

const struct wire_server *wire_server(void) { return &server; }

static void pipe_free(struct pipe *pipe) {
  free(pipe->data);
  pipe->data = NULL;
}

void wires_close(void) {
  struct list *node;
  while ((node = list_pop(&wires)) != NULL) {
    struct wire *wire = container_of(node, struct wire, node);
    pipe_free(&wire->to_tcp);
    pipe_free(&wire->to_peer);
    free(wire);
  }
}

static void pipe_open(struct pipe *pipe, struct wire *wire) {
  pipe->wire = wire;
  pipe->capacity = world.exact ? PIPE_BYTES_MAX : rng_between(&world.tcp, PIPE_BYTES_MIN, PIPE_BYTES_MAX);
}

struct wire *wire_new(int host) {
  struct wire *wire = calloc(1, sizeof *wire);
  must(wire != NULL);
  list_init(&wire->node);
  list_push(&wires, &wire->node);
  wire->id = ++wire_count;
  wire->host = host;
  wire->peer.wire = wire;
  pipe_open(&wire->to_tcp, wire);
  pipe_open(&wire->to_peer, wire);
  return wire;
}

/* --- pipes --- */

static uint64_t delay(void) { return world.exact ? 0 : rng_below(&world.tcp, DELAY_US_MAX) * NS_PER_US; }

static bool is_to_tcp(const struct pipe *pipe) { return pipe == &pipe->wire->to_tcp; }

static void notify_reader(struct pipe *pipe) {
  if (!is_to_tcp(pipe))
    peer_notify(&pipe->wire->peer);
  else if (pipe->wire->tcp != NULL)
    tcp_wire_event(pipe->wire->tcp);
}

static void notify_writer(struct pipe *pipe) {
  if (is_to_tcp(pipe))
    peer_notify(&pipe->wire->peer);
  else if (pipe->wire->tcp != NULL)
    tcp_wire_event(pipe->wire->tcp);
}

static struct pipe *back_of(struct pipe *pipe) { return is_to_tcp(pipe) ? &pipe->wire->to_peer : &pipe->wire->to_tcp; }

static void hop_arrive(void *context) {
  struct hop hop = *(struct hop *)context;
  struct pipe *pipe = hop.pipe;
  free(context);
  if (hop.upto > pipe->written || pipe->reset_arrived)
    return; /* a reset dropped it */
  if (hop.upto > pipe->arrived)
    pipe->arrived = hop.upto;
  pipe->fin_arrived = pipe->fin_arrived || hop.fin;
  pipe->reset_arrived = hop.reset;
  if (!pipe->reader_gone) {
    notify_reader(pipe);
  } else if (!hop.reset && pipe->arrived > pipe->read) {
    pipe->read = pipe->arrived;
    pipe_reset(back_of(pipe));
  }
  if (hop.reset)
    notify_writer(back_of(pipe)); /* it may wait for room */
}

static void hop_send(struct pipe *pipe, bool fin, bool reset) {
  struct hop *hop = malloc(sizeof *hop);
  must(hop != NULL);
  uint64_t at_ns = world.now_ns + delay();
  if (at_ns < pipe->last_ns)
    at_ns = pipe->last_ns;
  pipe->last_ns = at_ns;
  *hop = (struct hop){.pipe = pipe, .upto = pipe->written, .fin = fin, .reset = reset};
  world_at(at_ns, hop_arrive, hop);
}

size_t pipe_room(const struct pipe *pipe) {
  if (pipe->fin_sent || pipe->reset_sent)
    return 0;
  return pipe->capacity - (size_t)(pipe->written - pipe->read);
}

size_t pipe_available(const struct pipe *pipe) { return (size_t)(pipe->arrived - pipe->read); }

void pipe_write(struct pipe *pipe, const uint8_t *data, size_t len) {
  must(len <= pipe_room(pipe));
  if (pipe->data == NULL && !pipe->reader_gone)
    must((pipe->data = malloc(pipe->capacity)) != NULL);
  size_t at = (size_t)(pipe->written % pipe->capacity);
  size_t first = len < pipe->capacity - at ? len : pipe->capacity - at;
  if (!pipe->reader_gone) {
    memcpy(pipe->data + at, data, first);
    memcpy(pipe->data, data + first, len - first);
  }
  pipe->written += len;
  hop_send(pipe, false, false);
}

void pipe_read(struct pipe *pipe, uint8_t *out, size_t len) {
  must(len <= pipe_available(pipe) && !pipe->reader_gone);
  size_t at = (size_t)(pipe->read % pipe->capacity);
  size_t first = len < pipe->capacity - at ? len : pipe->capacity - at;
  memcpy(out, pipe->data + at, first);
  memcpy(out + first, pipe->data, len - first);
  pipe->read += len;
  notify_writer(pipe);
}

void pipe_fin(struct pipe *pipe) {
  if (pipe->fin_sent || pipe->reset_sent)
    return;
  pipe->fin_sent = true;
  hop_send(pipe, true, false);
}

/* What is on its way may or may not arrive before the RST. */
void pipe_reset(struct pipe *pipe) {
  if (pipe->reset_sent)
    return;
  if (!world.exact && rng_chance(&world.tcp, 500000))
    pipe->written = pipe->arrived;
  pipe->reset_sent = true;
  hop_send(pipe, false, true);
}

void pipe_abandon(struct pipe *pipe, struct pipe *back) {
  bool unread = pipe->arrived > pipe->read;
  pipe->reader_gone = true;
  pipe->read = pipe->arrived;
  pipe_free(pipe);
  if (unread)
    pipe_reset(back);
}

/* --- peers --- */

static void peer_run(void *context) {
  struct peer *peer = context;
  peer->notified = false;
  if (!peer->closed && peer->event != NULL)
    peer->event(peer->owner);
}

void peer_notify(struct peer *peer) {
  if (peer->notified || peer->closed || peer->event == NULL)
    return;
  peer->notified = true;
  world_at(world.now_ns, peer_run, peer);
}

static void knock(void *context) {
  struct peer *peer = context;
  if (peer->closed)
    return;
  if (tcp_wire_accept(peer->wire)) {
    peer->connected = true;
  } else {
    peer->refused = true;
    trace(TRACE_TCP_FAILED, peer->wire->host, peer->wire->id, 0);
  }
  peer_notify(peer);
}

struct peer *peer_connect(int host, peer_event_f *event, void *owner) {
  struct peer *peer = &wire_new(host)->peer;
  peer->event = event;
  peer->owner = owner;
  world_after(delay(), knock, peer);
  return peer;
}

enum peer_state peer_state(const struct peer *peer) {
  const struct pipe *pipe = &peer->wire->to_peer;
  if (peer->closed)
    return PEER_CLOSED;
  if (peer->refused)
    return PEER_RESET;
  if (!peer->connected)
    return PEER_CONNECTING;
  if (pipe_available(pipe) > 0)
    return PEER_OPEN;
  if (pipe->reset_arrived)
    return PEER_RESET;
  return pipe->fin_arrived ? PEER_ENDED : PEER_OPEN;
}

size_t peer_room(const struct peer *peer) {
  if (!peer->connected || peer->closed || peer->wire->to_peer.reset_arrived)
    return 0;
  return pipe_room(&peer->wire->to_tcp);
}

size_t peer_write(struct peer *peer, const void *data, size_t len) {
  size_t room = peer_room(peer);
  size_t part = len < room ? len : room;
  if (part > 0)
    pipe_write(&peer->wire->to_tcp, data, part);
  return part;
}

size_t peer_readable(const struct peer *peer) { return peer->closed ? 0 : pipe_available(&peer->wire->to_peer); }

size_t peer_read(struct peer *peer, uint8_t *out, size_t max) {
  size_t available = peer_readable(peer);
  size_t part = available < max ? available : max;
  if (part > 0)
    pipe_read(&peer->wire->to_peer, out, part);
  return part;
}

void peer_shutdown(struct peer *peer) { pipe_fin(&peer->wire->to_tcp); }

void peer_close(struct peer *peer) {
  if (peer->closed)
    return;
  peer->closed = true;
  if (!peer->connected)
    return;
  pipe_abandon(&peer->wire->to_peer, &peer->wire->to_tcp);
  pipe_fin(&peer->wire->to_tcp);
}

void peer_reset(struct peer *peer) {
  if (peer->closed)
    return;
  peer->closed = true;
  if (!peer->connected)
    return;
  pipe_reset(&peer->wire->to_tcp);
  pipe_abandon(&peer->wire->to_peer, &peer->wire->to_tcp);
}
