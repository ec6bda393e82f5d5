/* The NAT maps each port of the client to one that the mapping's generation shifts; what comes back to a port of an
   older generation is dropped, as home routers do after a reboot. */
#include "sim/link.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "sim/world.h"

enum { NAT_SHIFT = 1000, REORDER_EXTRA_MS_MAX = 30, UDP_IP_HEADER_BYTES = 28 };

#define NAT_ADDRESS "198.51.100.7"

struct direction {
  struct rng rng;
  uint64_t free_ns;    /* when the sender's line is idle */
  uint64_t arrival_ns; /* of the last datagram that kept its place */
  bool burst, mute;
  struct link_counters counters;
};

struct packet {
  int to_host;
  struct address from, to;
  size_t len;
  uint8_t data[];
};

static struct link_profile profile;
static struct direction directions[HOSTS]; /* by sender */
static uint64_t client_sent_ns;

void link_open(const struct link_profile *wanted) {
  profile = *wanted;
  memset(directions, 0, sizeof directions);
  for (int host = 0; host < HOSTS; host++)
    rng_seed(&directions[host].rng, world.seed, 'L' + (uint64_t)host);
}

void link_change(const struct link_profile *wanted) { profile = *wanted; }

void link_close(void) { memset(directions, 0, sizeof directions); }

static bool in_blackout(uint64_t at_ns) {
  for (size_t i = 0; i < profile.blackout_count; i++) {
    if (at_ns >= profile.blackouts[i].begin_ns && at_ns < profile.blackouts[i].end_ns)
      return true;
  }
  return false;
}

void link_mute(int host, bool mute) { directions[host].mute = mute; }

uint64_t link_quiet_ns(void) {
  uint64_t quiet = profile.rebind_ns;
  for (size_t i = 0; i < profile.blackout_count; i++)
    quiet = profile.blackouts[i].end_ns > quiet ? profile.blackouts[i].end_ns : quiet;
  return quiet;
}

const struct link_counters *link_counters(int from_host) { return &directions[from_host].counters; }

static uint16_t nat_shift(void) { return profile.rebind_ns > 0 && world.now_ns >= profile.rebind_ns ? NAT_SHIFT : 0; }

static void drop(int host, size_t len, enum link_drop why) {
  directions[host].counters.dropped++;
  trace(TRACE_LINK_DROP, host, len, why);
}

static void arrive(void *context) {
  struct packet *packet = context;
  int from_host = 1 - packet->to_host;
  uint16_t shift = nat_shift();
  struct address to = packet->to;
  bool delivered = false;
  bool forgotten = packet->to_host == HOST_CLIENT && profile.nat_forgets_ns > 0 &&
                   world.now_ns > client_sent_ns + profile.nat_forgets_ns;
  if (in_blackout(world.now_ns) || forgotten) {
    drop(from_host, packet->len, DROP_BLACKOUT);
    free(packet);
    return;
  }
  trace(TRACE_LINK_ARRIVE, packet->to_host, packet->len, mix64(packet->data[0]));
  directions[from_host].counters.arrived++;
  directions[from_host].counters.bytes_arrived += packet->len;
  if (packet->to_host == HOST_CLIENT && address_port(&to) > shift)
    address_set_port(&to, (uint16_t)(address_port(&to) - shift));
  delivered = udp_arrive(packet->to_host, &packet->from, &to, packet->data, packet->len);
  if (!delivered)
    drop(from_host, packet->len, DROP_NOBODY);
  free(packet);
}

static void carry(int host, const struct address *from, const struct address *to, const uint8_t *data, size_t len,
                  uint64_t at_ns) {
  struct direction *direction = &directions[host];
  struct packet *packet = malloc(sizeof *packet + len);
  must(packet != NULL);
  *packet = (struct packet){.to_host = 1 - host, .from = *from, .to = *to, .len = len};
  memcpy(packet->data, data, len);
  uint16_t port = (uint16_t)(address_port(from) + nat_shift());
  if (host == HOST_CLIENT && nat_shift() > 0 && profile.rebind_moves)
    must(address_parse(&packet->from, NAT_ADDRESS, port) == ERR_OK);
  else if (host == HOST_CLIENT)
    address_set_port(&packet->from, port);
  if (rng_chance(&direction->rng, profile.corrupt_ppm))
    packet->data[rng_below(&direction->rng, len)] ^= (uint8_t)(1 << rng_below(&direction->rng, 8));
  world_at(at_ns, arrive, packet);
}

/* False when the loss model takes it. */
static bool passes(struct direction *direction, int host, size_t len) {
  if (direction->burst)
    direction->burst = !rng_chance(&direction->rng, profile.burst_end_ppm);
  else
    direction->burst = rng_chance(&direction->rng, profile.burst_begin_ppm);
  bool lost = rng_chance(&direction->rng, profile.loss_ppm);
  bool burst_lost = direction->burst && rng_chance(&direction->rng, 500000);
  if (lost || burst_lost)
    drop(host, len, lost ? DROP_LOSS : DROP_BURST);
  return !lost && !burst_lost;
}

/* When the last bit has left the sender's line; 0: the queue in front of it is full. */
static uint64_t serialise(struct direction *direction, size_t len) {
  if (profile.bytes_per_s == 0)
    return world.now_ns;
  uint64_t begin = direction->free_ns > world.now_ns ? direction->free_ns : world.now_ns;
  uint64_t queued_bytes = (begin - world.now_ns) * (profile.bytes_per_s / 1000) / NS_PER_MS;
  if (queued_bytes + len > profile.queue_bytes)
    return 0;
  direction->free_ns = begin + (len + UDP_IP_HEADER_BYTES) * NS_PER_S / profile.bytes_per_s;
  return direction->free_ns;
}

void link_send(int host, const struct address *from, const struct address *to, const uint8_t *data, size_t len) {
  struct direction *direction = &directions[host];
  must(len > 0);
  if (host == HOST_CLIENT)
    client_sent_ns = world.now_ns;
  if (direction->mute)
    return;
  direction->counters.sent++;
  trace(TRACE_LINK_SEND, host, len, address_port(to));
  if (len > profile.mtu) {
    drop(host, len, DROP_MTU);
    return;
  }
  uint64_t left_ns = serialise(direction, len);
  if (left_ns == 0) {
    drop(host, len, DROP_QUEUE);
    return;
  }
  if (!passes(direction, host, len))
    return;
  if (in_blackout(left_ns)) {
    drop(host, len, DROP_BLACKOUT);
    return;
  }
  uint64_t arrival = left_ns + profile.delay_ns;
  if (profile.jitter_ns > 0)
    arrival += rng_below(&direction->rng, profile.jitter_ns);
  if (rng_chance(&direction->rng, profile.reorder_ppm))
    arrival += rng_between(&direction->rng, 1, REORDER_EXTRA_MS_MAX) * NS_PER_MS;
  else if (arrival < direction->arrival_ns)
    arrival = direction->arrival_ns;
  if (arrival > direction->arrival_ns && profile.reorder_ppm == 0)
    direction->arrival_ns = arrival;
  carry(host, from, to, data, len, arrival);
  if (rng_chance(&direction->rng, profile.duplicate_ppm))
    carry(host, from, to, data, len, arrival + rng_below(&direction->rng, 5 * NS_PER_MS));
}
