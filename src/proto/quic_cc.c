/* Congestion control as the operator configures it. ngtcp2 has no setting for the initial window and no controller that
   keeps a constant one, but both go through four functions of its static library, which the linker redirects here
   (--wrap). The private headers are those of the very version built.

   Initial window: ngtcp2_cc_compute_initcwnd is the only place that knows it, at creation and after a change of path;
   it is asked without a connection, so the settings in use are thread-local. A window far above ten packets would leave
   at once, because ngtcp2 paces by 1 ms before the first sample of the round-trip time: the controllers below are
   therefore paced by settings.initial_rtt until there is one.

   QUIC_CONSTANT: cwnd is never written after the initial window, losses change nothing, and sending is paced over the
   last known round-trip time. ngtcp2's probe timeouts still double, so an outage is not answered with a storm. */
#include <ngtcp2/private/ngtcp2_bbr.h>
#include <ngtcp2/private/ngtcp2_cc.h>
#include <ngtcp2/private/ngtcp2_conn_stat.h>
#include <ngtcp2/private/ngtcp2_rst.h>

#include "proto/quic_priv.h"

_Static_assert(NGTCP2_VERSION_NUM == 0x011800, "what is wrapped here was read in ngtcp2 1.24.0");

enum { BURST_BYTES = 14720, QUANTUM_PACKETS_MIN = 10, QUANTUM_BYTES_MAX = 64 * 1024 };

/* A round-trip time this much above the least, and a quarter of it, is a queue. */
#define QUEUE_NS_MIN (5 * NGTCP2_MILLISECONDS)

static _Thread_local struct quic_conn *current;

void quic_cc_use(struct quic_conn *conn) { current = conn; }
struct quic_conn *quic_current(void) {
  return current;
}

static const struct quic_settings *in_use(void) { return current != NULL ? &current->endpoint->settings : NULL; }

uint64_t __wrap_ngtcp2_cc_compute_initcwnd(size_t payload_bytes);
uint64_t __real_ngtcp2_cc_compute_initcwnd(size_t payload_bytes);
void __wrap_ngtcp2_cc_reno_init(ngtcp2_cc_reno *reno, ngtcp2_log *log, ngtcp2_conn_stat *stat);
void __real_ngtcp2_cc_reno_init(ngtcp2_cc_reno *reno, ngtcp2_log *log, ngtcp2_conn_stat *stat);
void __wrap_ngtcp2_cc_cubic_init(ngtcp2_cc_cubic *cubic, ngtcp2_log *log, ngtcp2_conn_stat *stat, ngtcp2_rst *rst);
void __real_ngtcp2_cc_cubic_init(ngtcp2_cc_cubic *cubic, ngtcp2_log *log, ngtcp2_conn_stat *stat, ngtcp2_rst *rst);
void __wrap_ngtcp2_cc_bbr_init(ngtcp2_cc_bbr *bbr, ngtcp2_log *log, ngtcp2_conn_stat *stat, ngtcp2_rst *rst,
                               ngtcp2_tstamp initial_ts, ngtcp2_pcg32 *pcg);
void __real_ngtcp2_cc_bbr_init(ngtcp2_cc_bbr *bbr, ngtcp2_log *log, ngtcp2_conn_stat *stat, ngtcp2_rst *rst,
                               ngtcp2_tstamp initial_ts, ngtcp2_pcg32 *pcg);

uint64_t __wrap_ngtcp2_cc_compute_initcwnd(size_t payload_bytes) {
  const struct quic_settings *settings = in_use();
  if (settings == NULL)
    return __real_ngtcp2_cc_compute_initcwnd(payload_bytes);
  uint64_t least = 2 * (uint64_t)payload_bytes; /* RFC 9002 section 7.2 */
  return settings->initial_window > least ? settings->initial_window : least;
}

/* The window over |rtt|, with the margin of RFC 9002 section 7.7; in ngtcp2's 1/1024 ns a byte. */
static uint64_t interval_for(uint64_t rtt, uint64_t window) {
  uint64_t interval = (rtt << 10) / 5 * 4 / window;
  return interval > 0 ? interval : 1;
}

/* Ten packets may leave at once at any time: a window of no more than that is left as ngtcp2 set it. */
static void pace_by_initial_rtt(ngtcp2_conn_stat *stat) {
  if (stat->first_rtt_sample_ts == UINT64_MAX && stat->cwnd > BURST_BYTES)
    stat->pacing_interval_m = interval_for(stat->smoothed_rtt, stat->cwnd);
}

/* Only NewReno has a function of its own for single packets. */
static void acked(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, const ngtcp2_cc_pkt *packet, ngtcp2_tstamp now) {
  (void)cc, (void)stat, (void)now;
  quic_path_acked(packet);
}

static void lost(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, const ngtcp2_cc_pkt *packet, ngtcp2_tstamp now) {
  (void)cc, (void)stat, (void)now;
  quic_path_lost(packet);
}

static void reno_acked(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, const ngtcp2_cc_pkt *packet, ngtcp2_tstamp now) {
  quic_path_acked(packet);
  ngtcp2_cc_reno_cc_on_pkt_acked(cc, stat, packet, now);
}

/* NewReno and CUBIC: every acknowledgement sets the pace from the measured round-trip time. */
static void reno_reset(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, ngtcp2_tstamp now) {
  ngtcp2_cc_reno_cc_reset(cc, stat, now);
  pace_by_initial_rtt(stat);
}

static void cubic_reset(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, ngtcp2_tstamp now) {
  ngtcp2_cc_cubic_cc_reset(cc, stat, now);
  pace_by_initial_rtt(stat);
}

void __wrap_ngtcp2_cc_cubic_init(ngtcp2_cc_cubic *cubic, ngtcp2_log *log, ngtcp2_conn_stat *stat, ngtcp2_rst *rst) {
  __real_ngtcp2_cc_cubic_init(cubic, log, stat, rst);
  cubic->cc.on_pkt_acked = acked;
  cubic->cc.on_pkt_lost = lost;
  cubic->cc.reset = cubic_reset;
  pace_by_initial_rtt(stat);
}

/* BBR: ngtcp2's functions are static, so they are kept from the table that its init fills; always the same ones. */
static _Thread_local ngtcp2_cc_on_ack_recv bbr_on_ack_recv;
static _Thread_local ngtcp2_cc_on_pkt_lost bbr_on_pkt_lost;
static _Thread_local ngtcp2_cc_reset bbr_reset_real;

/* BBR as ngtcp2 has it (draft-ietf-ccwg-bbr) takes more than 2 % of loss for congestion, whatever the delay, and falls
   to 3 Mbit/s on a line of 50 that loses a tenth at random. A full queue shows: the round-trip time is above its
   minimum, and does not fall. A loss without that is left to retransmission, as long as less than a third is lost: a
   policer, which has no queue, takes more when it is overrun. */
static bool congested(const ngtcp2_cc_bbr *bbr, const ngtcp2_conn_stat *stat, uint64_t lost, uint64_t in_flight) {
  if (lost > BURST_BYTES && lost > in_flight / 3)
    return true;
  if (lost <= in_flight / 50 || bbr->min_rtt == UINT64_MAX || stat->latest_rtt < stat->smoothed_rtt)
    return false;
  return stat->latest_rtt > bbr->min_rtt + bbr->min_rtt / 4 + QUEUE_NS_MIN;
}

static void bbr_lost(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, const ngtcp2_cc_pkt *packet, ngtcp2_tstamp now) {
  const ngtcp2_cc_bbr *bbr = (const ngtcp2_cc_bbr *)(const void *)cc;
  quic_path_lost(packet);
  if (congested(bbr, stat, bbr->rst->lost - packet->lost, packet->tx_in_flight))
    bbr_on_pkt_lost(cc, stat, packet, now);
}

/* The bandwidth is the best one of two cycles, and a cycle ends once, a round trip after it has probed. ngtcp2 ends one
   at every round trip that follows, and so it forgets what it has found: at 10 % loss the rate falls by a tenth each
   round trip, for up to three seconds. Linux moves on to a state of its own (bbr_update_cycle_phase); here another one
   in which nothing happens will do.

   In start-up the pace is only ever raised. What was set for a guessed round-trip time is corrected when the first
   sample is there, as the Linux kernel does, else a guess too long would slow the whole start-up. */
static void bbr_ack(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, const ngtcp2_cc_ack *ack, ngtcp2_tstamp now) {
  ngtcp2_cc_bbr *bbr = (ngtcp2_cc_bbr *)(void *)cc;
  bool stopping = bbr->full_bw_reached && bbr->ack_phase == NGTCP2_BBR_ACK_PHASE_ACKS_PROBE_STOPPING;
  ngtcp2_rs *sample = &bbr->rst->rs;
  ngtcp2_cc_ack seen = *ack;
  if (!congested(bbr, stat, sample->lost, sample->tx_in_flight))
    seen.bytes_lost = sample->lost = 0;
  bbr_on_ack_recv(cc, stat, &seen, now);
  if (stopping && bbr->round_start && bbr->ack_phase == NGTCP2_BBR_ACK_PHASE_ACKS_PROBE_STOPPING)
    bbr->ack_phase = NGTCP2_BBR_ACK_PHASE_ACKS_PROBE_FEEDBACK;
  if (bbr->full_bw_reached || stat->first_rtt_sample_ts == UINT64_MAX)
    return;
  uint64_t interval = interval_for(stat->smoothed_rtt, bbr->initial_cwnd);
  if (interval < stat->pacing_interval_m)
    stat->pacing_interval_m = interval;
}

static void bbr_reset(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, ngtcp2_tstamp now) {
  bbr_reset_real(cc, stat, now);
  pace_by_initial_rtt(stat);
}

void __wrap_ngtcp2_cc_bbr_init(ngtcp2_cc_bbr *bbr, ngtcp2_log *log, ngtcp2_conn_stat *stat, ngtcp2_rst *rst,
                               ngtcp2_tstamp initial_ts, ngtcp2_pcg32 *pcg) {
  __real_ngtcp2_cc_bbr_init(bbr, log, stat, rst, initial_ts, pcg);
  bbr_on_ack_recv = bbr->cc.on_ack_recv;
  bbr_on_pkt_lost = bbr->cc.on_pkt_lost;
  bbr_reset_real = bbr->cc.reset;
  bbr->cc.on_ack_recv = bbr_ack;
  bbr->cc.on_pkt_acked = acked;
  bbr->cc.on_pkt_lost = bbr_lost;
  bbr->cc.reset = bbr_reset;
  pace_by_initial_rtt(stat);
}

/* The constant window. pending_add, which only NewReno uses, holds the last measured round-trip time: ngtcp2 forgets
   its own on persistent congestion, and would then pace by 1 ms in the middle of an outage. */
static void constant_pace(ngtcp2_cc *cc, ngtcp2_conn_stat *stat) {
  ngtcp2_cc_reno *reno = (ngtcp2_cc_reno *)(void *)cc;
  if (stat->first_rtt_sample_ts != UINT64_MAX)
    reno->pending_add = stat->smoothed_rtt;
  uint64_t guess = stat->cwnd > BURST_BYTES ? stat->initial_rtt : NGTCP2_MILLISECONDS;
  stat->pacing_interval_m = interval_for(reno->pending_add > 0 ? reno->pending_add : guess, stat->cwnd);
  uint64_t quantum = (NGTCP2_MILLISECONDS << 10) / stat->pacing_interval_m;
  uint64_t least = QUANTUM_PACKETS_MIN * (uint64_t)stat->max_tx_udp_payload_size;
  quantum = quantum < QUANTUM_BYTES_MAX ? quantum : QUANTUM_BYTES_MAX;
  stat->send_quantum = (size_t)(quantum > least ? quantum : least);
}

static void constant_ack(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, const ngtcp2_cc_ack *ack, ngtcp2_tstamp now) {
  (void)ack, (void)now;
  constant_pace(cc, stat);
}

static void constant_again(ngtcp2_cc *cc, ngtcp2_conn_stat *stat, ngtcp2_tstamp now) {
  (void)now;
  constant_pace(cc, stat);
}

void __wrap_ngtcp2_cc_reno_init(ngtcp2_cc_reno *reno, ngtcp2_log *log, ngtcp2_conn_stat *stat) {
  const struct quic_settings *settings = in_use();
  if (settings == NULL || settings->congestion != QUIC_CONSTANT) {
    __real_ngtcp2_cc_reno_init(reno, log, stat);
    reno->cc.on_pkt_acked = reno_acked;
    reno->cc.on_pkt_lost = lost;
    reno->cc.reset = reno_reset;
    pace_by_initial_rtt(stat);
    return;
  }
  *reno = (ngtcp2_cc_reno){
      .cc = {.log = log,
             .on_pkt_acked = acked,
             .on_pkt_lost = lost,
             .on_ack_recv = constant_ack,
             .on_persistent_congestion = constant_again,
             .reset = constant_again},
  };
  constant_pace(&reno->cc, stat);
}
