/* What a path may do to a connection beyond losing packets.

   Outages. The probe timeout doubles each time (RFC 9002 section 6.2.1), so that a session that has heard nothing for
   twenty seconds may not look again for as long. Two small packets a second are no load for any link: the doubling ends
   at PROBE_NS_MAX, and service is back that soon after the link is. An attempt to connect repeats itself as often.

   Black holes. A path that carries large packets may stop to do so, and not say it: behind a new tunnel, say. ngtcp2
   would go on with the size that was once probed. Here that many large packets lost one after the other with none of
   them acknowledged, or that many probe timeouts, end in the size that every path carries (RFC 8899 section 4.3), and
   with the first packet that comes through the search begins anew. After an outage that was none of that sort it finds
   the old size at once. A size that is configured is left as it is.

   A path that does not even carry the smallest size of QUIC looks alive, as PINGs and acknowledgements are small. When
   for max_idle_timeout nothing larger has come through although it was tried, the connection ends. */
#include "base/clock.h"
#include "proto/quic_priv.h"
#include "proto/quic_reach.h"

enum {
  BASE_BYTES = 1200,
  LARGE_LOST_MAX = 10,
  PROBES_MAX = 2,
  DATA_BYTES = 1000,
  DATA_LOST_MAX = 16,
  PROBES_DEAD = 10
};

#define PROBE_NS_MAX NS_PER_S
#define RAISE_NS (600 * NS_PER_S) /* RFC 8899 section 5.1.1 */

void quic_path_acked(const ngtcp2_cc_pkt *packet) {
  struct quic_conn *conn = quic_current();
  if (conn == NULL)
    return;
  conn->path.probes = 0;
  if (packet->pktlen >= DATA_BYTES)
    conn->path.data_lost = 0;
  if (packet->pktlen > BASE_BYTES)
    conn->path.large_lost = 0;
  if (conn->path.mtu_search == MTU_FALLEN && packet->sent_ts > conn->path.mtu_searched_ns)
    conn->path.mtu_search = MTU_DUE;
}

void quic_path_lost(const ngtcp2_cc_pkt *packet) {
  struct quic_conn *conn = quic_current();
  if (conn == NULL)
    return;
  if (packet->pktlen > BASE_BYTES && conn->path.large_lost < LARGE_LOST_MAX)
    conn->path.large_lost++;
  if (packet->pktlen >= DATA_BYTES && conn->path.data_lost < DATA_LOST_MAX)
    conn->path.data_lost++;
}

static void follow_mtu(struct quic_conn *conn, uint64_t now_ns) {
  if (conn->endpoint->settings.mtu > 0 || conn->state != QUIC_OPEN || !conn->confirmed)
    return;
  bool large = ngtcp2_conn_get_path_max_tx_udp_payload_size2(conn->ngtcp2) > BASE_BYTES;
  if (large && (conn->path.large_lost >= LARGE_LOST_MAX || conn->path.probes >= PROBES_MAX)) {
    quic_reach_shrink(conn->ngtcp2, BASE_BYTES);
    conn->path.large_lost = 0;
    conn->path.mtu_search = MTU_FALLEN;
    conn->path.mtu_searched_ns = now_ns;
    return;
  }
  bool due = conn->path.mtu_search == MTU_DUE ||
             (conn->path.mtu_search == MTU_SEARCHED && now_ns >= conn->path.mtu_searched_ns + RAISE_NS);
  if (!due || !quic_reach_search(conn->ngtcp2))
    return;
  conn->path.mtu_search = MTU_SEARCHED;
  conn->path.mtu_searched_ns = now_ns;
}

/* True when the path has carried nothing but small packets for too long. */
static bool is_dead(struct quic_conn *conn, uint64_t now_ns) {
  if (conn->state != QUIC_OPEN || (conn->path.data_lost == 0 && conn->path.probes == 0)) {
    conn->path.stuck_ns = 0;
    return false;
  }
  if (conn->path.stuck_ns == 0)
    conn->path.stuck_ns = now_ns;
  return (conn->path.data_lost >= DATA_LOST_MAX || conn->path.probes >= PROBES_DEAD) &&
         now_ns - conn->path.stuck_ns > conn->endpoint->settings.max_idle_timeout_ms * NS_PER_MS;
}

int quic_path_expire(struct quic_conn *conn, uint64_t now_ns) {
  size_t before = quic_reach_probes(conn->ngtcp2);
  int result = ngtcp2_conn_handle_expiry(conn->ngtcp2, now_ns);
  if (result != 0)
    return result;
  if (quic_reach_probes(conn->ngtcp2) > before) {
    conn->path.probes++;
    quic_reach_end_doubling(conn->ngtcp2, PROBE_NS_MAX, now_ns);
  }
  return 0;
}

const char *quic_path_follow(struct quic_conn *conn, uint64_t now_ns) {
  follow_mtu(conn, now_ns);
  if (!is_dead(conn, now_ns))
    return NULL;
  return "nothing but small packets comes through: the path must carry UDP payloads of 1200 bytes";
}
