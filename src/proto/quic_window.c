/* Stream windows when packets are lost. A window of W bytes lets a stream go on for W bytes behind the first one that
   is missing, and a loss takes at least a round trip to repair, several when repairs are lost as well: with a window of
   1 MB a download on 100 ms and 50 Mbit/s stands still for half of the time at 1 % loss (28 Mbit/s were measured, 46
   are possible). The window is there to bound what an idle reader makes us hold, but bytes behind a gap wait for the
   network and not for the reader. So they do not count: the application hears of them and gives credit for them in
   advance, as long as its reader keeps up. What they can take is bounded by the connection's window, which opens for
   what arrives in order only.

   ngtcp2 has no callback for them; the linker redirects the one function through which they go (--wrap). */
#include <ngtcp2/private/ngtcp2_strm.h>

#include "proto/quic_priv.h"

_Static_assert(NGTCP2_VERSION_NUM == 0x011800, "what is wrapped here was read in ngtcp2 1.24.0");

/* ngtcp2 ends the connection at 4000 gaps in a stream. */
enum { GAPS_MAX = 1000 };

ngtcp2_ssize __wrap_ngtcp2_strm_recv_reordering(ngtcp2_strm *strm, const uint8_t *data, size_t len, uint64_t offset);
ngtcp2_ssize __real_ngtcp2_strm_recv_reordering(ngtcp2_strm *strm, const uint8_t *data, size_t len, uint64_t offset);

ngtcp2_ssize __wrap_ngtcp2_strm_recv_reordering(ngtcp2_strm *strm, const uint8_t *data, size_t len, uint64_t offset) {
  ngtcp2_ssize written = __real_ngtcp2_strm_recv_reordering(strm, data, len, offset);
  struct quic_conn *conn = quic_current();
  if (written <= 0 || conn == NULL || conn->app == NULL || conn->ops->stream_ahead == NULL || strm->rx.rob == NULL ||
      ngtcp2_ksl_len(&strm->rx.rob->gapksl) > GAPS_MAX)
    return written;
  uint64_t next = ngtcp2_strm_rx_offset(strm);
  if (strm->rx.last_offset > next)
    conn->ops->stream_ahead(conn->app, strm->stream_id, strm->rx.last_offset - next);
  return written;
}
