/* What may become of an exchange (SPEC 4 and 5), from what its two ends did and from what happened to the link. What
   no client may ever see, wrong bytes or a cut body that looks complete, has ended the run before. */
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "sim/actors.h"

enum {
  QUEUE_LIMIT_MS = 9900,
  QUEUE_MOST_MS = 11000,
  DRAIN_RACE_MS = 300,
  DRAIN_LIMIT_S = 20,
  PROBLEMS_PRINTED_MAX = 5,
  NOTICE_MS = 500
};

struct allowed {
  bool origin; /* the origin's response, complete */
  bool cut;
  bool statuses[600]; /* the proxy's own */
};

static bool origin_fails_first(const struct plan *plan) {
  return plan->origin == ORIGIN_CLOSES || plan->origin == ORIGIN_RESETS || plan->origin == ORIGIN_GARBAGE;
}

static bool origin_cuts(const struct plan *plan) {
  return plan->origin == ORIGIN_CUTS_BODY || plan->origin == ORIGIN_RESETS_BODY;
}

static void allow_by_origin(const struct plan *plan, struct allowed *allowed) {
  allowed->origin = !origin_fails_first(plan) && !origin_cuts(plan) && plan->origin != ORIGIN_NEVER;
  if (origin_fails_first(plan))
    allowed->statuses[502] = true;
  if (origin_cuts(plan))
    allowed->statuses[502] = allowed->cut = true; /* 502: the head was still on its way */
  if (plan->origin == ORIGIN_NEVER)
    allowed->statuses[504] = true;
  if (plan->origin == ORIGIN_EARLY_CLOSE) /* a close on unread bytes is a RST, which may overtake the answer */
    allowed->statuses[502] = allowed->cut = true;
}

/* A drained worker takes nothing new; what it has, it finishes, as long as that takes no longer than drain_timeout. */
static void allow_by_drain(const struct scenario *scenario, const struct plan *plan, struct allowed *allowed) {
  uint64_t drain_ns = scenario->drain_ns;
  if (drain_ns == 0 || plan->ended_ns < drain_ns)
    return;
  if (scenario->drain_host == HOST_SERVER && plan->origin_requests == 0)
    allowed->statuses[503] = true; /* it waited for a stream when the server said GOAWAY */
  bool late = plan->began_ns + DRAIN_RACE_MS * NS_PER_MS > drain_ns;
  if (plan->unanswered && plan_repeatable(plan))
    allowed->cut = true; /* pipelined behind the last one that it answered on that connection */
  if (late || plan->ended_ns >= drain_ns + DRAIN_LIMIT_S * NS_PER_S)
    allowed->statuses[502] = allowed->statuses[503] = allowed->cut = true;
}

static void allow(const struct scenario *scenario, const struct plan *plan, bool trouble, struct allowed *allowed) {
  memset(allowed, 0, sizeof *allowed);
  allow_by_origin(plan, allowed);
  if (plan->client == CLIENT_STALLS)
    allowed->statuses[408] = allowed->cut = true; /* cut: an early response was on its way */
  if (trouble)
    allowed->statuses[502] = allowed->statuses[503] = allowed->cut = true;
  if (plan->ended_ns - plan->began_ns >= QUEUE_LIMIT_MS * NS_PER_MS)
    allowed->statuses[503] = true; /* no stream became free */
  if (scenario->refuse_ppm > 0)
    allowed->statuses[502] = true;
  if (scenario->ignore_ppm > 0)
    allowed->statuses[504] = true;
  /* The origin closed a kept connection just as the request was written to it, and it must not be repeated. */
  if (!plan_repeatable(plan) && plan->origin_requests == 0)
    allowed->statuses[502] = true;
  if (scenario->shortage_ppm > 0)
    allowed->statuses[502] = allowed->statuses[503] = allowed->statuses[504] = allowed->cut = true;
  allow_by_drain(scenario, plan, allowed);
}

static bool response_allowed(const struct plan *plan, const struct allowed *allowed) {
  if (!plan->by_proxy)
    return allowed->origin && plan->origin_requests > 0;
  return plan->got_status >= 100 && plan->got_status < 600 && allowed->statuses[plan->got_status];
}

/* Not sent, or pipelined behind the request with which a drained worker closed the connection. */
static bool none_allowed(const struct scenario *scenario, const struct plan *plan) {
  return scenario->drain_ns > 0 && (plan->attempts == 0 || plan_repeatable(plan));
}

/* It waited for the session after blackout |first|, which died in another blackout. */
static bool lost_again(const struct scenario *scenario, const struct plan *plan, size_t first, uint64_t most_ns) {
  const struct link_profile *link = &scenario->link;
  for (size_t i = 0; i < link->blackout_count; i++) {
    uint64_t begin_ns = link->blackouts[i].begin_ns;
    if (begin_ns > link->blackouts[first].end_ns && plan->ended_ns > begin_ns && plan->ended_ns <= begin_ns + most_ns &&
        begin_ns - plan->began_ns < QUEUE_MOST_MS * NS_PER_MS + most_ns)
      return true;
  }
  return false;
}

/* A session that is dead is noticed in time. What was not sent yet may wait for the next one, as long as requests wait,
   and what can be repeated may be. */
static bool ended_late(const struct scenario *scenario, const struct plan *plan) {
  bool failed = plan->outcome == OUTCOME_CUT || (plan->outcome == OUTCOME_RESPONSE && plan->by_proxy);
  uint64_t most_ns = (scenario->idle_timeout_ms + scenario->keep_alive_ms + NOTICE_MS) * NS_PER_MS;
  bool waited = plan->by_proxy && plan->got_status == 503 && plan->origin_requests == 0;
  if (waited && plan->ended_ns - plan->began_ns < QUEUE_MOST_MS * NS_PER_MS)
    return false;
  if (!plan_has_body(plan) || scenario->shortage_ppm > 0)
    return false;
  for (size_t i = 0; failed && plan->client == CLIENT_PLAIN && i < scenario->link.blackout_count; i++) {
    uint64_t begin_ns = scenario->link.blackouts[i].begin_ns, end_ns = scenario->link.blackouts[i].end_ns;
    bool later = plan->origin_ns > begin_ns + most_ns; /* it went over the next session */
    bool late = !later && plan->began_ns < begin_ns && plan->ended_ns > begin_ns + most_ns;
    if (end_ns - begin_ns > most_ns && late && !lost_again(scenario, plan, i, most_ns))
      return true;
  }
  return false;
}

static const char *judge(const struct scenario *scenario, const struct plan *plan, const struct allowed *allowed) {
  bool leaves = plan->client == CLIENT_CUTS_REQUEST || plan->client == CLIENT_CUTS_RESPONSE;
  if (plan_is(plan, "POST") && plan->origin_requests > 1)
    return "reached the origin twice";
  if (plan->client == CLIENT_CUTS_REQUEST && plan->origin_bodies > 0)
    return "a cut request reached the origin as complete";
  if (ended_late(scenario, plan))
    return "waited too long for a dead session";
  switch ((enum outcome)plan->outcome) {
  case OUTCOME_NONE:
    return none_allowed(scenario, plan) ? NULL : "has no outcome";
  case OUTCOME_LEFT:
    return leaves ? NULL : "was given up by a client that does not";
  case OUTCOME_CUT:
    return allowed->cut ? NULL : "was cut";
  case OUTCOME_RESPONSE:
    return response_allowed(plan, allowed) ? NULL : "ended with the wrong answer";
  }
  must_never("every outcome is in the switch");
}

static void print_plan(const struct plan *plan, const char *what, bool trouble) {
  fprintf(stderr,
          "seed %llu: exchange %u %s%s: %s HTTP/1.%d, %llu bytes up (framing %u), %llu down (framing %u, status %d); "
          "client %s, origin %s; attempts %u, origin saw %u heads, %u bodies, made %u responses; outcome %s%s, "
          "status %d%s, %.3f to %.3f s\n",
          (unsigned long long)world.seed, plan->id, what, trouble ? " (with trouble on the link)" : "", plan->method,
          plan->http10 ? 0 : 1, (unsigned long long)plan->up_bytes, plan->up_framing,
          (unsigned long long)plan->down_bytes, plan->down_framing, plan->status,
          client_manner_name((enum client_manner)plan->client), origin_manner_name((enum origin_manner)plan->origin),
          plan->attempts, plan->origin_requests, plan->origin_bodies, plan->origin_responses,
          outcome_name((enum outcome)plan->outcome), plan->unanswered ? " without a byte" : "", plan->got_status,
          plan->by_proxy ? " by the proxy" : "", (double)(plan->began_ns - 1000 * NS_PER_S) / 1e9,
          (double)(plan->ended_ns - 1000 * NS_PER_S) / 1e9);
}

bool oracle_check(const struct scenario *scenario, bool (*trouble)(uint64_t from_ns, uint64_t to_ns)) {
  unsigned problems = 0;
  for (uint32_t i = 0; i < scenario->exchanges; i++) {
    const struct plan *plan = &scenario->plans[i];
    struct allowed allowed;
    bool troubled = trouble(plan->began_ns, plan->ended_ns);
    allow(scenario, plan, troubled, &allowed);
    const char *problem = judge(scenario, plan, &allowed);
    if (problem != NULL && problems++ < PROBLEMS_PRINTED_MAX)
      print_plan(plan, problem, troubled);
  }
  if (problems > PROBLEMS_PRINTED_MAX)
    fprintf(stderr, "seed %llu: and %u more\n", (unsigned long long)world.seed, problems - PROBLEMS_PRINTED_MAX);
  return problems == 0;
}

void oracle_summary(const struct scenario *scenario, char *out, size_t size) {
  unsigned outcomes[4] = {0}, own[600] = {0}, owns = 0, unanswered = 0;
  for (uint32_t i = 0; i < scenario->exchanges; i++) {
    const struct plan *plan = &scenario->plans[i];
    outcomes[plan->outcome]++;
    if (plan->outcome == OUTCOME_RESPONSE && plan->by_proxy) {
      own[plan->got_status % 600]++;
      owns++;
    }
    unanswered += plan->outcome == OUTCOME_CUT && plan->unanswered;
  }
  snprintf(
      out, size,
      "%u of the origin, %u of the proxy (408: %u, 502: %u, 503: %u, 504: %u), %u cut (%u without a byte), %u left",
      outcomes[OUTCOME_RESPONSE] - owns, owns, own[408], own[502], own[503], own[504], outcomes[OUTCOME_CUT],
      unanswered, outcomes[OUTCOME_LEFT]);
}
