/* Order of what can happen to a packet: blackout, MTU, loss, burst loss, duplication, the queue before the rate, delay.
   Loss comes before the queue, as on a radio link whose far end has the bottleneck: what is lost takes no rate.

   The generator has no state: draw d of packet k is splitmix64's output number (k * DRAWS + d). So a packet that is
   dropped early takes as many numbers as any other, and k alone decides. */
#include "link/link_model.h"

#include "base/clock.h"
#include "base/must.h"

#define PPB 1e9

enum draw {
  DRAW_LOSS,
  DRAW_BURST,
  DRAW_DUPLICATE,
  DRAW_JITTER,
  DRAW_JITTER_DUPLICATE,
  DRAW_REORDER,
  DRAW_CORRUPT,
  DRAW_MANGLE,
  DRAW_BIT,
  DRAWS
};

const struct link_settings link_settings_default = {
    .burst_run_ppb = 8000000000,
    .reorder_ns = 5 * NS_PER_MS,
};

/* Output number |step| of splitmix64 (Steele, Lea, Flood 2014): its state is the seed plus so many times a constant. */
static uint64_t splitmix(uint64_t seed, uint64_t step) {
  uint64_t z = seed + (step + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

static uint64_t draw_bits(const struct link_direction *direction, uint64_t number, enum draw draw) {
  return splitmix(direction->seed, number * DRAWS + (uint64_t)draw);
}

/* In [0, 1). */
static double draw_uniform(const struct link_direction *direction, uint64_t number, enum draw draw) {
  return (double)(draw_bits(direction, number, draw) >> 11) * 0x1p-53;
}

static bool draw_chance(const struct link_direction *direction, uint64_t number, enum draw draw, uint64_t share_ppb) {
  return share_ppb > 0 && draw_uniform(direction, number, draw) * PPB < (double)share_ppb;
}

void link_direction_open(struct link_direction *direction, uint64_t seed, unsigned which, uint64_t now_ns) {
  *direction = (struct link_direction){.settings = link_settings_default};
  link_direction_seed(direction, seed, which);
  link_direction_restart(direction, now_ns);
}

void link_direction_seed(struct link_direction *direction, uint64_t seed, unsigned which) {
  must(which < 2);
  direction->seed = splitmix(seed, which); /* neighbouring seeds must not give neighbouring sequences */
}

void link_direction_restart(struct link_direction *direction, uint64_t now_ns) {
  direction->number = 0;
  direction->in_burst = false;
  direction->epoch_ns = now_ns;
}

void link_direction_down(struct link_direction *direction, uint64_t now_ns, uint64_t duration_ns) {
  direction->down_until_ns = now_ns + duration_ns;
}

static bool is_down(const struct link_direction *direction, uint64_t now_ns) {
  const struct link_settings *settings = &direction->settings;
  if (now_ns < direction->down_until_ns)
    return true;
  uint64_t every = settings->blackout_every_ns, length = settings->blackout_ns;
  if (every == 0 || length == 0)
    return false;
  return (now_ns - direction->epoch_ns) % every + length >= every;
}

/* Two states: out of a burst nothing is lost, in one everything. The chances to enter and to leave follow from the
   share of packets that are lost in the long run and from the mean length of a run. */
static bool burst_step(struct link_direction *direction, uint64_t number) {
  double share = (double)direction->settings.burst_loss_ppb / PPB;
  double run = (double)direction->settings.burst_run_ppb / PPB;
  if (share <= 0 || share >= 1) {
    direction->in_burst = share >= 1;
    return direction->in_burst;
  }
  double leave = run > 1 ? 1 / run : 1;
  double enter = share * leave / (1 - share);
  double drawn = draw_uniform(direction, number, DRAW_BURST);
  direction->in_burst = direction->in_burst ? drawn >= leave : drawn < enter;
  return direction->in_burst;
}

/* Gives the time when the last bit of the packet has left the queue; false: the queue is full. */
static bool bottleneck(struct link_direction *direction, uint64_t now_ns, size_t len, uint64_t *left_ns) {
  const struct link_settings *settings = &direction->settings;
  uint64_t rate = settings->rate_bps;
  *left_ns = now_ns;
  if (rate == 0)
    return true;
  uint64_t start = direction->busy_ns > now_ns ? direction->busy_ns : now_ns, wait = start - now_ns;
  if (settings->queue_ns > 0 && wait > settings->queue_ns)
    return false;
  double waiting_bytes = (double)wait * (double)rate / (8.0 * (double)NS_PER_S);
  if (settings->queue_bytes > 0 && waiting_bytes + (double)len > (double)settings->queue_bytes)
    return false;
  *left_ns = direction->busy_ns = start + len * 8 * NS_PER_S / rate;
  return true;
}

static uint64_t due(struct link_direction *direction, uint64_t number, enum draw jitter, uint64_t left_ns) {
  const struct link_settings *settings = &direction->settings;
  double extra = (double)settings->jitter_ns * draw_uniform(direction, number, jitter);
  uint64_t at = left_ns + settings->delay_ns + (uint64_t)extra;
  return at > direction->last_due_ns ? at : direction->last_due_ns;
}

static void pass(struct link_direction *direction, uint64_t number, uint64_t now_ns, size_t len,
                 struct link_fate *fate) {
  const struct link_settings *settings = &direction->settings;
  uint64_t left;
  if (!bottleneck(direction, now_ns, len, &left)) {
    fate->verdict = LINK_DROP_QUEUE;
    return;
  }
  fate->due_ns = due(direction, number, DRAW_JITTER, left);
  fate->reordered = draw_chance(direction, number, DRAW_REORDER, settings->reorder_ppb);
  if (fate->reordered)
    fate->due_ns += settings->reorder_ns;
  else
    direction->last_due_ns = fate->due_ns;
  fate->corrupt = draw_chance(direction, number, DRAW_CORRUPT, settings->corrupt_ppb);
  fate->mangle = draw_chance(direction, number, DRAW_MANGLE, settings->mangle_ppb);
  fate->random = draw_bits(direction, number, DRAW_BIT);
  fate->duplicate = draw_chance(direction, number, DRAW_DUPLICATE, settings->duplicate_ppb) &&
                    bottleneck(direction, now_ns, len, &left);
  if (fate->duplicate)
    direction->last_due_ns = fate->duplicate_due_ns = due(direction, number, DRAW_JITTER_DUPLICATE, left);
}

struct link_fate link_direction_judge(struct link_direction *direction, uint64_t now_ns, size_t len) {
  const struct link_settings *settings = &direction->settings;
  struct link_fate fate = {.verdict = LINK_PASS};
  uint64_t number = direction->number++;
  bool in_burst = burst_step(direction, number);
  if (is_down(direction, now_ns))
    fate.verdict = LINK_DROP_BLACKOUT;
  else if (settings->mtu > 0 && len > settings->mtu)
    fate.verdict = LINK_DROP_MTU;
  else if (draw_chance(direction, number, DRAW_LOSS, settings->loss_ppb))
    fate.verdict = LINK_DROP_LOSS;
  else if (in_burst)
    fate.verdict = LINK_DROP_BURST;
  else
    pass(direction, number, now_ns, len, &fate);
  return fate;
}
