#include "sim/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"

#define MS(count) ((uint64_t)(count)*NS_PER_MS)
#define MBIT(count) ((uint64_t)(count)*125000)

struct profile {
  const char *name;
  struct link_profile link;
  uint64_t blackout_min_ms, blackout_max_ms;
  bool rebind;
  unsigned weight;
};

/* One-way delays. */
static const struct profile profiles[] = {
    {"lan", {.delay_ns = MS(1) / 10, .bytes_per_s = MBIT(1000), .queue_bytes = 1000000, .mtu = 1472}, 0, 0, false, 2},
    {"jumbo", {.delay_ns = MS(1) / 10, .bytes_per_s = MBIT(1000), .queue_bytes = 4000000, .mtu = 8972}, 0, 0, false, 1},
    {"10 ms", {.delay_ns = MS(5), .bytes_per_s = MBIT(200), .queue_bytes = 500000, .mtu = 1472}, 0, 0, false, 2},
    {"80 ms, 0.1 %",
     {.delay_ns = MS(40),
      .jitter_ns = MS(1),
      .bytes_per_s = MBIT(50),
      .queue_bytes = 500000,
      .mtu = 1452,
      .loss_ppm = 1000},
     0,
     0,
     false,
     3},
    {"100 ms, 1 %",
     {.delay_ns = MS(50),
      .jitter_ns = MS(3),
      .bytes_per_s = MBIT(50),
      .queue_bytes = 600000,
      .mtu = 1400,
      .loss_ppm = 10000},
     0,
     0,
     false,
     3},
    {"100 ms, 5 %, reordering",
     {.delay_ns = MS(50),
      .jitter_ns = MS(2),
      .bytes_per_s = MBIT(50),
      .queue_bytes = 600000,
      .mtu = 1472,
      .loss_ppm = 50000,
      .reorder_ppm = 50000,
      .duplicate_ppm = 20000,
      .corrupt_ppm = 2000},
     0,
     0,
     false,
     3},
    {"bursts",
     {.delay_ns = MS(30),
      .jitter_ns = MS(5),
      .bytes_per_s = MBIT(30),
      .queue_bytes = 200000,
      .mtu = 1280,
      .burst_begin_ppm = 3000,
      .burst_end_ppm = 100000},
     0,
     0,
     false,
     2},
    {"blackout",
     {.delay_ns = MS(25), .bytes_per_s = MBIT(50), .queue_bytes = 400000, .mtu = 1472, .loss_ppm = 1000},
     1000,
     3000,
     false,
     3},
    {"long blackout",
     {.delay_ns = MS(25), .bytes_per_s = MBIT(50), .queue_bytes = 400000, .mtu = 1472},
     8000,
     12000,
     false,
     3},
    {"rebinding",
     {.delay_ns = MS(20), .bytes_per_s = MBIT(50), .queue_bytes = 400000, .mtu = 1472, .loss_ppm = 1000},
     0,
     0,
     true,
     2},
};
enum { PROFILES = sizeof profiles / sizeof profiles[0] };

static const char *const client_names[CLIENT_MANNERS] = {
    "plain",  "reads slowly", "writes slowly", "cuts its request", "cuts its response",
    "stalls", "half-closes",  "pauses",        "expects 100"};
static const char *const origin_names[ORIGIN_MANNERS] = {
    "plain",  "slow",   "trickles",      "informs",         "early", "early close", "says close", "closes when idle",
    "closes", "resets", "cuts the body", "resets the body", "never", "garbage"};

const char *client_manner_name(enum client_manner manner) { return client_names[manner]; }
const char *origin_manner_name(enum origin_manner manner) { return origin_names[manner]; }

const char *outcome_name(enum outcome outcome) {
  static const char *const names[] = {"none", "response", "cut", "left"};
  return names[outcome];
}

bool plan_is(const struct plan *plan, const char *method) { return strcmp(plan->method, method) == 0; }
bool plan_has_body(const struct plan *plan) { return plan->up_framing != FRAMING_NONE; }
bool plan_repeatable(const struct plan *plan) {
  return !plan_has_body(plan) && !plan_is(plan, "POST") && plan->client != CLIENT_HALF_CLOSES && !plan->http10;
}

/* --- exchanges --- */

static uint64_t draw_size(struct rng *rng) {
  uint64_t kind = rng_below(rng, 100);
  if (kind < 15)
    return 0;
  if (kind < 45)
    return rng_between(rng, 1, 1024);
  if (kind < 75)
    return rng_between(rng, 1024, 16384);
  if (kind < 97)
    return rng_between(rng, 16384, 200000);
  return rng_between(rng, 200000, 2000000);
}

struct choice {
  uint8_t value;
  uint8_t weight;
};

static uint8_t draw_choice(struct rng *rng, const struct choice *choices, size_t count) {
  uint64_t total = 0;
  for (size_t i = 0; i < count; i++)
    total += choices[i].weight;
  uint64_t at = rng_below(rng, total);
  for (size_t i = 0; i < count; i++) {
    if (at < choices[i].weight)
      return choices[i].value;
    at -= choices[i].weight;
  }
  must_never("the weights add up to the total");
}

static void draw_manners(struct plan *plan, struct rng *rng) {
  static const struct choice clients[] = {{CLIENT_PLAIN, 80},       {CLIENT_SLOW_READER, 4},   {CLIENT_SLOW_WRITER, 4},
                                          {CLIENT_CUTS_REQUEST, 3}, {CLIENT_CUTS_RESPONSE, 4}, {CLIENT_STALLS, 1},
                                          {CLIENT_HALF_CLOSES, 2},  {CLIENT_EXPECTS, 4}};
  static const struct choice origins[] = {
      {ORIGIN_PLAIN, 72},      {ORIGIN_SLOW, 5},        {ORIGIN_TRICKLES, 3},   {ORIGIN_INFORMS, 3}, {ORIGIN_EARLY, 3},
      {ORIGIN_EARLY_CLOSE, 2}, {ORIGIN_SAYS_CLOSE, 3},  {ORIGIN_IDLE_CLOSE, 2}, {ORIGIN_CLOSES, 2},  {ORIGIN_RESETS, 2},
      {ORIGIN_CUTS_BODY, 3},   {ORIGIN_RESETS_BODY, 2}, {ORIGIN_NEVER, 1},      {ORIGIN_GARBAGE, 1}};
  plan->client = draw_choice(rng, clients, sizeof clients / sizeof clients[0]);
  plan->origin = draw_choice(rng, origins, sizeof origins / sizeof origins[0]);
}

static void draw_request(struct plan *plan, struct rng *rng) {
  static const char *const methods[] = {"GET", "GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"};
  plan->method = methods[rng_below(rng, sizeof methods / sizeof methods[0])];
  plan->http10 = rng_chance(rng, 40000);
  plan->up_pad = rng_chance(rng, 100000) ? (uint32_t)rng_below(rng, 4000) : (uint32_t)rng_below(rng, 100);
  bool body = plan_is(plan, "POST") || plan_is(plan, "PUT");
  if (!body)
    return;
  plan->up_framing = !plan->http10 && rng_chance(rng, 400000) ? FRAMING_CHUNKED : FRAMING_LENGTH;
  plan->up_bytes = draw_size(rng);
  plan->up_stop = UINT64_MAX;
}

static void draw_response(struct plan *plan, struct rng *rng) {
  static const int statuses[] = {200, 200, 200, 200, 200, 200, 200, 201, 404, 204, 304, 500};
  plan->status = statuses[rng_below(rng, sizeof statuses / sizeof statuses[0])];
  plan->down_pad = rng_chance(rng, 100000) ? (uint32_t)rng_below(rng, 4000) : (uint32_t)rng_below(rng, 100);
  plan->down_bytes = draw_size(rng);
  plan->down_stop = UINT64_MAX;
  plan->down_framing = (uint8_t)rng_between(rng, FRAMING_LENGTH, FRAMING_UNTIL_CLOSE);
  if (plan->down_framing == FRAMING_UNTIL_CLOSE && rng_chance(rng, 700000))
    plan->down_framing = FRAMING_LENGTH;
  plan->trailers = rng_chance(rng, 300000);
  plan->answer_ns = rng_below(rng, MS(5));
  if (plan->status == 204 || plan->status == 304) {
    plan->down_bytes = 0;
    plan->down_framing = FRAMING_NONE;
  } else if (plan_is(plan, "HEAD") && plan->down_framing == FRAMING_UNTIL_CLOSE) {
    plan->down_framing = FRAMING_LENGTH;
  }
}

/* Makes manners and messages fit each other: who cuts a body needs one. */
static void settle(struct plan *plan, struct rng *rng) {
  bool no_down = plan_is(plan, "HEAD") || plan->down_framing == FRAMING_NONE || plan->down_bytes == 0;
  bool no_up = !plan_has_body(plan) || plan->up_bytes == 0;
  bool needs_up = plan->client == CLIENT_SLOW_WRITER || plan->client == CLIENT_CUTS_REQUEST ||
                  plan->client == CLIENT_STALLS || plan->client == CLIENT_EXPECTS;
  if (plan->client == CLIENT_EXPECTS && plan->http10)
    plan->client = CLIENT_PLAIN;
  if ((no_up && needs_up) || (no_down && plan->client == CLIENT_CUTS_RESPONSE))
    plan->client = CLIENT_PLAIN;
  if (plan->client == CLIENT_SLOW_READER || plan->client == CLIENT_SLOW_WRITER || plan->origin == ORIGIN_TRICKLES) {
    plan->down_bytes = plan->down_bytes < 300000 ? plan->down_bytes : 300000;
    plan->up_bytes = plan->up_bytes < 300000 ? plan->up_bytes : 300000;
  }
  bool cuts_down = plan->origin == ORIGIN_CUTS_BODY || plan->origin == ORIGIN_RESETS_BODY;
  bool early = plan->origin == ORIGIN_EARLY || plan->origin == ORIGIN_EARLY_CLOSE;
  if ((no_down && cuts_down) || (no_up && early))
    plan->origin = ORIGIN_PLAIN;
  bool ends_so = plan->down_framing == FRAMING_UNTIL_CLOSE;
  if (ends_so && (plan->origin == ORIGIN_CUTS_BODY || plan->origin == ORIGIN_EARLY))
    plan->down_framing = FRAMING_CHUNKED; /* a close would be complete, or destroy the answer */
  if (plan->client == CLIENT_CUTS_REQUEST || plan->client == CLIENT_STALLS)
    plan->up_stop = rng_below(rng, plan->up_bytes);
  if (plan->origin == ORIGIN_CUTS_BODY || plan->origin == ORIGIN_RESETS_BODY || plan->client == CLIENT_CUTS_RESPONSE)
    plan->down_stop = rng_below(rng, plan->down_bytes);
  if (plan->origin == ORIGIN_SLOW)
    plan->answer_ns = MS(rng_between(rng, 10, 1500));
  plan->informed = plan->origin == ORIGIN_INFORMS;
  plan->think_ns = rng_chance(rng, 300000) ? MS(rng_below(rng, 400)) : rng_below(rng, MS(3));
}

static void draw_plan(struct plan *plan, uint32_t id, struct rng *rng) {
  plan->id = id;
  draw_manners(plan, rng);
  draw_request(plan, rng);
  draw_response(plan, rng);
  settle(plan, rng);
}

/* --- the link and the configuration --- */

static void draw_link(struct scenario *scenario, struct rng *rng) {
  unsigned total = 0;
  for (size_t i = 0; i < PROFILES; i++)
    total += profiles[i].weight;
  uint64_t at = rng_below(rng, total);
  const struct profile *profile = profiles;
  for (; at >= profile->weight; profile++)
    at -= profile->weight;
  snprintf(scenario->name, sizeof scenario->name, "%s", profile->name);
  scenario->link = profile->link;
  scenario->faults = profile->blackout_max_ms > 0;
  uint64_t when = world.now_ns + MS(rng_between(rng, 300, 1500));
  if (profile->rebind)
    scenario->link.rebind_ns = when;
  size_t count = profile->blackout_max_ms > 0 ? rng_between(rng, 1, 3) : 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t len = MS(rng_between(rng, profile->blackout_min_ms, profile->blackout_max_ms));
    scenario->link.blackouts[i].begin_ns = when;
    scenario->link.blackouts[i].end_ns = when + len;
    when += len + MS(rng_between(rng, 500, 6000));
  }
  scenario->link.blackout_count = count;
}

static void draw_settings(struct scenario *scenario, struct rng *rng) {
  static const char *const algorithms[] = {"bbr", "bbr", "cubic", "newreno", "none"};
  scenario->congestion = algorithms[rng_below(rng, sizeof algorithms / sizeof algorithms[0])];
  scenario->initial_window = rng_chance(rng, 500000) ? 14720 : rng_between(rng, 14720, 1000000);
  if (strcmp(scenario->congestion, "none") == 0)
    scenario->initial_window = rng_between(rng, 100000, 600000);
  scenario->initial_rtt_ms = rng_chance(rng, 500000) ? 333 : rng_between(rng, 20, 200);
  scenario->streams = rng_chance(rng, 350000) ? rng_between(rng, 4, 12) : 1024;
  scenario->stream_window = rng_chance(rng, 350000) ? rng_between(rng, 4096, 40000) : 1000000;
  scenario->mtu = rng_chance(rng, 300000) ? rng_between(rng, 1200, scenario->link.mtu) : 0;
  scenario->qpack = rng_chance(rng, 250000) ? 0 : rng_chance(rng, 300000) ? 512 : 16384;
  scenario->idle_timeout_ms = 5000;
  scenario->keep_alive_ms = 2000;
  scenario->connect_interval_ms = 500;
  scenario->origin_response_ms = rng_between(rng, 3000, 6000);
  scenario->request_body_ms = rng_between(rng, 3000, 6000);
  scenario->wake_ns = rng_below(rng, 300) * NS_PER_US;
  scenario->clients = (uint32_t)rng_between(rng, 4, CLIENTS_MAX);
  scenario->pipeline = rng_chance(rng, 500000) ? (uint32_t)rng_between(rng, 2, 6) : 1;
  scenario->refuse_ppm = rng_chance(rng, 200000) ? 20000 : 0;
  scenario->ignore_ppm = rng_chance(rng, 200000) ? 10000 : 0;
  scenario->limit_ns = 900 * NS_PER_S;
}

/* What happens to the workers themselves. */
static void draw_events(struct scenario *scenario, struct rng *rng) {
  uint64_t kind = rng_below(rng, 100);
  uint64_t when = world.now_ns;
  if (kind < 20) {
    scenario->crash_count = rng_between(rng, 1, CRASHES_MAX);
    for (size_t i = 0; i < scenario->crash_count; i++) {
      when += MS(rng_between(rng, 100, 3000));
      scenario->crashes[i].at_ns = when;
      scenario->crashes[i].down_ns = rng_chance(rng, 500000) ? 0 : MS(rng_below(rng, 2000));
      scenario->crashes[i].host = (int)rng_below(rng, HOSTS);
      when += scenario->crashes[i].down_ns;
    }
    scenario->faults = true;
    snprintf(scenario->events, sizeof scenario->events, ", %zu crashes", scenario->crash_count);
  } else if (kind < 40) {
    scenario->drain_ns = when + MS(rng_between(rng, 100, 5000));
    scenario->drain_host = (int)rng_below(rng, HOSTS);
    snprintf(scenario->events, sizeof scenario->events, ", %s drained at %.3f s",
             scenario->drain_host == HOST_CLIENT ? "client" : "server",
             (double)(scenario->drain_ns - world.now_ns) / 1e9);
  } else if (kind < 50) {
    scenario->shortage_ppm = (uint32_t)rng_between(rng, 50, 2000);
    snprintf(scenario->events, sizeof scenario->events, ", shortage %u ppm", scenario->shortage_ppm);
    scenario->faults = true;
  }
}

void scenario_draw(struct scenario *scenario, uint64_t seed) {
  struct rng rng;
  memset(scenario, 0, sizeof *scenario);
  scenario->seed = seed;
  rng_seed(&rng, seed, 'S');
  draw_link(scenario, &rng);
  draw_settings(scenario, &rng);
  draw_events(scenario, &rng);
  scenario->exchanges = EXCHANGES;
  for (uint32_t id = 0; id < scenario->exchanges; id++)
    draw_plan(&scenario->plans[id], id, &rng);
  scenario->redundancy = rng_chance(&rng, 400000);
}

int scenario_config(const struct scenario *scenario, bool server, const char *directory, char *out, size_t size) {
  const char *end = server ? "server" : "client";
  char windows[120] = "";
  int used = 0;
  if (scenario->receive_window > 0)
    used = snprintf(windows, sizeof windows, "\"receive_window\":%" PRIu64 ",", scenario->receive_window);
  if (scenario->send_window > 0)
    snprintf(windows + used, sizeof windows - (size_t)used, "\"send_window\":%" PRIu64 ",", scenario->send_window);
  return snprintf(out, size,
                  "{\"general\":{\"mode\":\"%s\",\"peer_hostname\":\"%s.test\",\"quic_port\":20010,"
                  "\"bind_address\":\"0.0.0.0\",%s},"
                  "\"tls\":{\"ca\":\"%s/ca.pem\",\"cert\":\"%s/%s.pem\",\"key\":\"%s/%s.key\"},"
                  "\"transport\":{%s\"max_idle_timeout\":%" PRIu64 ",\"keep_alive_interval\":%" PRIu64
                  ",\"initial_rtt\":%" PRIu64 ",\"initial_window\":%" PRIu64 ",\"congestion_algorithm\":\"%s\","
                  "\"max_concurrent_http_streams\":%" PRIu64 ",\"stream_receive_window\":%" PRIu64 ",\"mtu\":%" PRIu64
                  ",\"qpack_table_capacity\":%" PRIu64 ",\"redundancy\":%s},"
                  "\"timeouts\":{\"request_head\":5000,\"request_body\":%" PRIu64 ",\"keep_alive\":20000,"
                  "\"origin_connect\":2000,\"origin_response\":%" PRIu64 "},"
                  "\"system\":{\"connect_interval\":%" PRIu64 ",\"drain_timeout\":20000,\"threads\":1}}",
                  end, server ? "client" : "server",
                  server ? "\"http_connect_address\":\"origin:8080\"" : "\"http_bind_address\":\"127.0.0.1:20080\"",
                  directory, directory, end, directory, end, windows, scenario->idle_timeout_ms,
                  scenario->keep_alive_ms, scenario->initial_rtt_ms, scenario->initial_window, scenario->congestion,
                  scenario->streams, scenario->stream_window, scenario->mtu, scenario->qpack,
                  scenario->redundancy ? "true" : "false", scenario->request_body_ms, scenario->origin_response_ms,
                  scenario->connect_interval_ms);
}
