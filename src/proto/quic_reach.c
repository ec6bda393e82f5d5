/* In a file of its own, as the private header cannot be included together with that of ngtcp2's TLS helper: both have
   the same include guard. */
#include "proto/quic_reach.h"

#include <ngtcp2/private/ngtcp2_conn.h>
#include <ngtcp2/private/ngtcp2_frame_chain.h>

_Static_assert(NGTCP2_VERSION_NUM == 0x011800, "what is reached into here was read in ngtcp2 1.24.0");

size_t quic_reach_probes(const ngtcp2_conn *ngtcp2) { return ngtcp2->cstat.pto_count; }

void quic_reach_end_doubling(ngtcp2_conn *ngtcp2, uint64_t most_ns, uint64_t now_ns) {
  ngtcp2_conn_stat *stat = &ngtcp2->cstat;
  uint64_t timeout_ns = ngtcp2_conn_get_pto2(ngtcp2);
  if (stat->pto_count == 0 || timeout_ns << stat->pto_count <= most_ns)
    return;
  while (stat->pto_count > 0 && timeout_ns << stat->pto_count > most_ns)
    stat->pto_count--;
  ngtcp2_conn_set_loss_detection_timer(ngtcp2, now_ns);
}

void quic_reach_shrink(ngtcp2_conn *ngtcp2, size_t bytes) {
  ngtcp2_conn_stop_pmtud(ngtcp2);
  ngtcp2->dcid.current.max_udp_payload_size = bytes;
  ngtcp2->cstat.max_tx_udp_payload_size = bytes;
}

bool quic_reach_search(ngtcp2_conn *ngtcp2) {
  if (ngtcp2->pmtud != NULL || ngtcp2->pv != NULL)
    return false;
  (void)ngtcp2_conn_start_pmtud(ngtcp2); /* out of memory: the size stays */
  return true;
}

/* ngtcp2 wants to be called when its pace allows the next packet, whether or not there is one, and an eighth of a round
   trip after a packet that it has not acknowledged: after each small message that would be two timers and two passes
   through the loop for nothing. It tells only the earliest of its times, so these two are hidden from it while it is
   asked. */
uint64_t quic_reach_expiry_idle(ngtcp2_conn *ngtcp2, uint64_t held_ns) {
  ngtcp2_acktr *acktr = &ngtcp2->pktns.acktr;
  ngtcp2_tstamp next = ngtcp2->tx.pacing.next_ts, unacked = acktr->first_unacked_ts;
  ngtcp2_tstamp ack = ngtcp2_conn_ack_delay_expiry(ngtcp2);
  if (ack != UINT64_MAX && ack < unacked + held_ns)
    ack = unacked + held_ns;
  ngtcp2->tx.pacing.next_ts = acktr->first_unacked_ts = UINT64_MAX;
  ngtcp2_tstamp rest = ngtcp2_conn_get_expiry2(ngtcp2);
  ngtcp2->tx.pacing.next_ts = next;
  acktr->first_unacked_ts = unacked;
  return ack < rest ? ack : rest;
}

void quic_reach_rest(ngtcp2_conn *ngtcp2, uint64_t now_ns) {
  if (ngtcp2->tx.pacing.next_ts <= now_ns)
    ngtcp2->tx.pacing.next_ts = UINT64_MAX;
}

/* Credit that the peer may wait for: told as ngtcp2 does, streams at once, bytes by the quarter of the window. */
static bool owes_credit(const ngtcp2_conn *ngtcp2) {
  return ngtcp2->remote.bidi.unsent_max_streams > ngtcp2->remote.bidi.max_streams ||
         ngtcp2->remote.uni.unsent_max_streams > ngtcp2->remote.uni.max_streams ||
         ngtcp2->rx.window < 4 * (ngtcp2->rx.unsent_max_offset - ngtcp2->rx.max_offset);
}

bool quic_reach_queued(const ngtcp2_conn *ngtcp2) {
  return !ngtcp2_pq_empty(&ngtcp2->tx.strmq) || ngtcp2->pktns.tx.frq != NULL || ngtcp2->pktns.rtb.probe_pkt_left > 0 ||
         ngtcp2->pv != NULL || ngtcp2_ringbuf_len(&ngtcp2->rx.path_challenge.rb) > 0 || owes_credit(ngtcp2);
}

bool quic_reach_unacked(const ngtcp2_conn *ngtcp2) { return ngtcp2->pktns.acktr.first_unacked_ts != UINT64_MAX; }

void quic_reach_ack_along(ngtcp2_conn *ngtcp2) {
  if (quic_reach_unacked(ngtcp2))
    ngtcp2->pktns.acktr.flags |= NGTCP2_ACKTR_FLAG_IMMEDIATE_ACK;
}

/* ngtcp2 marks a packet whose data it has put back into the queues for a probe ("reclaimed"), and does not put it there
   again when the packet is lost. Marks above its own are left alone. */
enum { MARK_COPY = 0x4000, MARK_HIDDEN = 0x8000 };

static bool has_stream_data(const ngtcp2_rtb_entry *packet) {
  for (const ngtcp2_frame_chain *chain = packet->frc; chain != NULL; chain = chain->next)
    if (chain->fr.hd.type == NGTCP2_FRAME_STREAM)
      return true;
  return false;
}

static bool is_repeatable(const ngtcp2_rtb_entry *packet) {
  unsigned none = NGTCP2_RTB_ENTRY_FLAG_LOST_RETRANSMITTED | NGTCP2_RTB_ENTRY_FLAG_PTO_RECLAIMED | MARK_COPY;
  return (packet->flags & none) == 0 && (packet->flags & NGTCP2_RTB_ENTRY_FLAG_RETRANSMITTABLE) != 0 &&
         has_stream_data(packet);
}

int64_t quic_reach_last_number(const ngtcp2_conn *ngtcp2) { return ngtcp2->pktns.tx.last_pkt_num; }

/* ngtcp2 has the packets with the newest first. */
bool quic_reach_oldest(const ngtcp2_conn *ngtcp2, int64_t *done, uint64_t from_ns, uint64_t *sent_ns) {
  ngtcp2_ksl_it it = ngtcp2_ksl_lower_bound(&ngtcp2->pktns.rtb.ents, done);
  while (!ngtcp2_ksl_it_begin(&it)) {
    ngtcp2_ksl_it_prev(&it);
    const ngtcp2_rtb_entry *packet = ngtcp2_ksl_it_get(&it);
    if (is_repeatable(packet) && packet->ts >= from_ns) {
      *sent_ns = packet->ts;
      return true;
    }
    *done = packet->hd.pkt_num;
  }
  return false;
}

/* The one function for it begins with the oldest packet of all, so those that it is to leave alone are marked as done
   while it runs. */
static void hide(ngtcp2_rtb *rtb, int64_t first, int64_t last) {
  for (ngtcp2_ksl_it it = ngtcp2_ksl_begin(&rtb->ents); !ngtcp2_ksl_it_end(&it); ngtcp2_ksl_it_next(&it)) {
    ngtcp2_rtb_entry *packet = ngtcp2_ksl_it_get(&it);
    bool wanted = packet->hd.pkt_num >= first && packet->hd.pkt_num <= last && is_repeatable(packet);
    if (!wanted && (packet->flags & NGTCP2_RTB_ENTRY_FLAG_PTO_RECLAIMED) == 0)
      packet->flags |= NGTCP2_RTB_ENTRY_FLAG_PTO_RECLAIMED | MARK_HIDDEN;
  }
}

static void show(ngtcp2_rtb *rtb) {
  for (ngtcp2_ksl_it it = ngtcp2_ksl_begin(&rtb->ents); !ngtcp2_ksl_it_end(&it); ngtcp2_ksl_it_next(&it)) {
    ngtcp2_rtb_entry *packet = ngtcp2_ksl_it_get(&it);
    if ((packet->flags & MARK_HIDDEN) != 0)
      packet->flags &= (uint16_t) ~(NGTCP2_RTB_ENTRY_FLAG_PTO_RECLAIMED | MARK_HIDDEN);
  }
}

bool quic_reach_repeat(ngtcp2_conn *ngtcp2, int64_t *done, uint64_t until_ns, uint64_t bytes) {
  ngtcp2_rtb *rtb = &ngtcp2->pktns.rtb;
  int64_t first = *done + 1;
  size_t count = 0;
  ngtcp2_ksl_it it = ngtcp2_ksl_lower_bound(&rtb->ents, done);
  while (!ngtcp2_ksl_it_begin(&it)) {
    ngtcp2_ksl_it_prev(&it);
    const ngtcp2_rtb_entry *packet = ngtcp2_ksl_it_get(&it);
    if (is_repeatable(packet)) {
      if (packet->ts > until_ns || (count > 0 && packet->pktlen > bytes))
        break;
      bytes -= packet->pktlen < bytes ? packet->pktlen : bytes;
      count++;
    }
    *done = packet->hd.pkt_num;
  }
  if (count == 0)
    return true;
  hide(rtb, first, *done);
  ngtcp2_ssize result = ngtcp2_rtb_reclaim_on_pto(rtb, ngtcp2, &ngtcp2->pktns, count);
  show(rtb);
  return result >= 0;
}

uint64_t quic_reach_mark_copies(ngtcp2_conn *ngtcp2, int64_t before) {
  uint64_t count = 0;
  const ngtcp2_rtb *rtb = &ngtcp2->pktns.rtb;
  for (ngtcp2_ksl_it it = ngtcp2_ksl_begin(&rtb->ents); !ngtcp2_ksl_it_end(&it); ngtcp2_ksl_it_next(&it)) {
    ngtcp2_rtb_entry *packet = ngtcp2_ksl_it_get(&it);
    if (packet->hd.pkt_num <= before)
      break;
    if (has_stream_data(packet)) {
      packet->flags |= MARK_COPY;
      count++;
    }
  }
  return count;
}

uint64_t quic_reach_pace(const ngtcp2_conn *ngtcp2) {
  return ngtcp2->tx.pacing.next_ts == UINT64_MAX ? 0 : ngtcp2->tx.pacing.next_ts;
}
