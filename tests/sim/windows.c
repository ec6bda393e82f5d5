/* What the windows and intervals of `transport` do on the wire, in virtual time. */
#include <stdio.h>
#include <stdlib.h>

#include "sim/actors.h"
#include "sim/lab.h"
#include "sim/pair.h"
#include "sim/runs.h"

enum { RTT_MS = 2 * LAB_ONE_WAY_MS, CHUNK = 65536, RUN_S = 4 };

static uint64_t arrived(void) { return link_counters(HOST_SERVER)->bytes_arrived; }

/* A first flight of one window on a link that could take it at once: it is spread over the round trip, a quarter faster
   (RFC 9002 section 7.7), and not sent in one go. */
static bool first_flight(const char *congestion) {
  struct scenario *scenario = lab_open(1, congestion, 1);
  scenario->link.bytes_per_s = 0;
  scenario->plans[0].down_bytes = 2 * LAB_BDP;
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  uint64_t before = arrived();
  clients_open(scenario);
  while (arrived() - before < 1000)
    pair_run_until(world.now_ns + NS_PER_MS / 4);
  bool good = true;
  for (uint64_t ms = 5; ms <= 80; ms += 25) {
    pair_run_until(world.now_ns + (ms == 5 ? 5 : 25) * NS_PER_MS);
    double share = (double)(arrived() - before) / LAB_BDP, even = (double)ms / RTT_MS;
    char what[64];
    snprintf(what, sizeof what, "of the first window, %llu ms after its first byte", (unsigned long long)ms);
    good = lab_within(what, congestion, "of 1", share, 0.9 * even - 0.02, 1.4 * even + 0.1) && good;
  }
  (void)pair_run(clients_done, world.now_ns + 10 * NS_PER_S);
  lab_expect(scenario, 200);
  lab_close(scenario);
  return good;
}

/* Bytes a second of one download; the link and the congestion window take more than any of these windows. */
static double rate_with(uint64_t stream_window, uint64_t receive_window, uint64_t send_window) {
  struct scenario *scenario = lab_open(1, "none", 1);
  scenario->stream_window = stream_window;
  scenario->receive_window = receive_window;
  scenario->send_window = send_window;
  scenario->plans[0].down_bytes = UINT64_C(1) << 40;
  scenario->plans[0].client = CLIENT_CUTS_RESPONSE;
  lab_start_session(scenario);
  clients_open(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  uint64_t before = actors_received_bytes();
  pair_run_until(world.now_ns + RUN_S * NS_PER_S);
  double rate = (double)(actors_received_bytes() - before) / RUN_S;
  scenario->plans[0].down_stop = 0;
  if (!pair_run(clients_done, world.now_ns + 30 * NS_PER_S))
    world_fail("the client does not leave");
  lab_close(scenario);
  return rate;
}

/* Each window is what may be under way in a round trip, and nearly that much is: credit is given in time. A quarter of
   a receiver's window may wait to be announced. A sender's window may be overshot by one buffer. */
static bool windows_bound_the_rate(void) {
  enum { WINDOW = 200000, LARGE = 4000000 };
  const double full = (double)WINDOW * 1000 / RTT_MS;
  bool good =
      lab_within("stream_receive_window of 200 KB", "none", "B/s", rate_with(WINDOW, LARGE, LARGE), 0.65 * full, full);
  good =
      lab_within("receive_window of 200 KB", "none", "B/s", rate_with(LARGE, WINDOW, LARGE), 0.65 * full, full) && good;
  return lab_within("send_window of 200 KB", "none", "B/s", rate_with(LARGE, LARGE, WINDOW), 0.65 * full,
                    full * (WINDOW + CHUNK) / WINDOW) &&
         good;
}

/* Readers that take 400 KB/s of a response without end: what has come of it is what they took, the window, and what the
   sockets on the way hold; and it is the same at 5 % loss, which widens windows only for readers that keep up. */
static bool stuck_readers(uint32_t loss_ppm) {
  enum { READERS = 20, WINDOW = 300000, SOCKETS = 300000 };
  struct scenario *scenario = lab_open(1, "bbr", READERS);
  scenario->stream_window = WINDOW;
  scenario->link.loss_ppm = loss_ppm;
  scenario->link.bytes_per_s = 0;
  for (uint32_t i = 0; i < READERS; i++) {
    scenario->plans[i].down_bytes = 20000000;
    scenario->plans[i].client = CLIENT_SLOW_READER;
  }
  lab_start_session(scenario);
  uint64_t before = actors_received_bytes();
  clients_open(scenario);
  pair_run_until(world.now_ns + RUN_S * NS_PER_S);
  double held = ((double)arrived() - (double)(actors_received_bytes() - before)) / READERS;
  char what[80];
  snprintf(what, sizeof what, "held of each of 20 that read slowly, %u %% loss", loss_ppm / 10000);
  bool good = lab_within(what, "bbr", "bytes", held, 0, WINDOW + SOCKETS);
  for (uint32_t i = 0; i < READERS; i++) {
    scenario->plans[i].client = CLIENT_CUTS_RESPONSE;
    scenario->plans[i].down_stop = 0;
  }
  if (!pair_run(clients_done, world.now_ns + 60 * NS_PER_S))
    world_fail("slow readers do not leave");
  lab_close(scenario);
  return good;
}

/* A hundred streams that stand still, and the next one does not. */
static bool beside_stuck_streams(void) {
  enum { STUCK = 100 };
  struct scenario *scenario = lab_open(1, "bbr", STUCK + 1);
  scenario->streams = STUCK + 1;
  scenario->stream_window = 300000; /* 30 MB of them are twice receive_window */
  for (uint32_t i = 0; i < STUCK; i++) {
    scenario->plans[i].down_bytes = 2000000;
    scenario->plans[i].client = CLIENT_SLOW_READER;
  }
  scenario->plans[STUCK].down_bytes = 1000;
  scenario->plans[STUCK].think_ns = 8 * NS_PER_S;
  lab_start_session(scenario);
  clients_open(scenario);
  pair_run_until(world.now_ns + 9 * NS_PER_S);
  const struct plan *plan = &scenario->plans[STUCK];
  double took_ms = plan->outcome == OUTCOME_RESPONSE ? (double)(plan->ended_ns - plan->began_ns) / 1e6 : 1e6;
  if (!pair_run(clients_done, world.now_ns + 300 * NS_PER_S))
    world_fail("slow readers do not come to an end");
  lab_close(scenario);
  return lab_within("1 KB beside 100 streams that stand still", "bbr", "ms", took_ms, RTT_MS, 3 * RTT_MS);
}

/* One stream, and its origin thinks for ever: who waits behind it is answered after ten seconds. */
static bool queue_has_an_end(void) {
  struct scenario *scenario = lab_open(1, "bbr", 2);
  scenario->streams = 1;
  scenario->origin_response_ms = 20000;
  scenario->plans[0].origin = ORIGIN_NEVER;
  scenario->plans[1].think_ns = NS_PER_S;
  lab_start_session(scenario);
  double took_ms = lab_exchange(scenario);
  lab_expect(scenario, 503); /* the clients look for Retry-After */
  lab_close(scenario);
  return lab_within("503 for want of a stream", "bbr", "ms", took_ms, 9900, 10100);
}

/* The longest silence of the client within |seconds| of idleness. */
static double silence_ms(uint64_t keep_alive_ms, uint64_t idle_ms, uint64_t seconds) {
  struct scenario *scenario = lab_open(1, "bbr", 1);
  scenario->keep_alive_ms = keep_alive_ms;
  scenario->idle_timeout_ms = idle_ms;
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  uint64_t last_ns = world.now_ns, most_ns = 0, sent = link_counters(HOST_CLIENT)->sent;
  for (uint64_t end_ns = world.now_ns + seconds * NS_PER_S; world.now_ns < end_ns;) {
    pair_run_until(world.now_ns + 10 * NS_PER_MS);
    uint64_t silence_ns = world.now_ns - last_ns;
    most_ns = silence_ns > most_ns ? silence_ns : most_ns;
    if (link_counters(HOST_CLIENT)->sent != sent)
      last_ns = world.now_ns;
    sent = link_counters(HOST_CLIENT)->sent;
  }
  if (pair_lost() > 0 || !pair_up())
    world_fail("an idle session was lost");
  lab_close(scenario);
  return (double)most_ns / 1e6;
}

/* A NAT that forgets after 3 s drops an answer that comes later, unless the session is kept alive. */
static int behind_forgetful_nat(uint64_t keep_alive_ms) {
  struct scenario *scenario = lab_open(1, "bbr", 1);
  scenario->keep_alive_ms = keep_alive_ms;
  scenario->idle_timeout_ms = 8000;
  scenario->link.nat_forgets_ns = 3 * NS_PER_S;
  scenario->plans[0].down_bytes = 1000;
  scenario->plans[0].answer_ns = 4500 * NS_PER_MS;
  lab_start_session(scenario);
  (void)lab_exchange(scenario);
  int status = scenario->plans[0].got_status;
  lab_close(scenario);
  return status;
}

/* The first flight of the handshake is not answered: until its repetition it takes three times the round trip that is
   assumed (RFC 9002 section 6.2: the variation is half of it, and counts four times). */
static bool assumed_round_trip(uint64_t initial_rtt_ms) {
  struct scenario *scenario = lab_open(1, "bbr", 1);
  scenario->initial_rtt_ms = initial_rtt_ms;
  lab_start(scenario);
  link_mute(HOST_SERVER, true);
  while (link_counters(HOST_CLIENT)->sent == 0)
    pair_run_until(world.now_ns + NS_PER_MS / 4);
  uint64_t began_ns = world.now_ns, first = link_counters(HOST_CLIENT)->sent;
  while (link_counters(HOST_CLIENT)->sent == first && world.now_ns < began_ns + 30 * NS_PER_S)
    pair_run_until(world.now_ns + NS_PER_MS);
  double took_ms = (double)(world.now_ns - began_ns) / 1e6;
  link_mute(HOST_SERVER, false);
  lab_close(scenario);
  char what[80];
  snprintf(what, sizeof what, "the second Initial with initial_rtt %llu ms", (unsigned long long)initial_rtt_ms);
  return lab_within(what, "bbr", "ms", took_ms, 3 * (double)initial_rtt_ms - 5, 3 * (double)initial_rtt_ms + 5);
}

/* Nothing comes any more: the session ends that long after the last packet that came, which was the answer to a PING.
 */
static bool silence_ends_it(uint64_t idle_ms) {
  struct scenario *scenario = lab_open(1, "bbr", 1);
  scenario->idle_timeout_ms = idle_ms;
  scenario->keep_alive_ms = idle_ms / 4;
  lab_start_session(scenario);
  pair_run_until(world.now_ns + NS_PER_S);
  link_mute(HOST_SERVER, true);
  uint64_t began_ns = world.now_ns;
  while (pair_lost() == 0 && world.now_ns < began_ns + 60 * NS_PER_S)
    pair_run_until(world.now_ns + 10 * NS_PER_MS);
  double took_ms = (double)(world.now_ns - began_ns) / 1e6;
  link_mute(HOST_SERVER, false);
  lab_close(scenario);
  char what[80];
  snprintf(what, sizeof what, "a silent session with max_idle_timeout %llu ms", (unsigned long long)idle_ms);
  return lab_within(what, "bbr", "ms", took_ms, (double)idle_ms * 3 / 4 - 2 * RTT_MS, (double)idle_ms + RTT_MS);
}

static bool intervals(void) {
  bool good =
      lab_within("longest silence, keep_alive_interval 2 s", "bbr", "ms", silence_ms(2000, 5000, 20), 1000, 2120);
  good =
      lab_within("longest silence, keep_alive_interval 0", "bbr", "ms", silence_ms(0, 60000, 20), 19000, 20100) && good;
  good =
      lab_within("kept alive behind a NAT that forgets", "bbr", "status", behind_forgetful_nat(2000), 200, 200) && good;
  return lab_within("and not kept alive", "bbr", "status", behind_forgetful_nat(0), 502, 504) && good;
}

bool run_windows(void) {
  static const char *const algorithms[] = {"bbr", "cubic", "newreno", "none"};
  bool good = true;
  for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++)
    good = first_flight(algorithms[i]) && good;
  good = windows_bound_the_rate() && good;
  good = stuck_readers(0) && good;
  good = stuck_readers(50000) && good;
  good = beside_stuck_streams() && good;
  good = queue_has_an_end() && good;
  good = assumed_round_trip(100) && assumed_round_trip(333) && assumed_round_trip(1000) && good;
  good = silence_ends_it(3000) && silence_ends_it(9000) && good;
  return intervals() && good;
}
