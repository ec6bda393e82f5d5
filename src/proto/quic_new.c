/* The making of a connection: its settings and transport parameters (RFC 9000 section 18.2), its first connection IDs,
   and its TLS session. */
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"
#include "base/random.h"
#include "proto/quic_priv.h"

enum {
  UNI_STREAMS = 8, /* HTTP/3 needs 3 (RFC 9114 section 6.2); peers may add reserved ones */
  UNI_STREAM_WINDOW = 256 * 1024,
  ACTIVE_CIDS = 8,
  CLIENT_DCID_BYTES = 18,
  ACK_PACKETS = 8, /* a batch of datagrams is acknowledged once anyway; this counts at low rates */
  MTU_MIN = 1200,
};

/* Not bounded in practice: the peer is authenticated, and its retransmissions on a lossy link look like glitches. */
#define GLITCHES_UNBOUNDED (1ULL << 40)

/* UDP payload sizes to try. The first is what fits an Ethernet link; when it does not pass, smaller ones are tried,
   when it does, larger ones: jumbo frames, and the loopback interface. What is larger than the window of a new
   connection is only tried on a path that ends on this machine, where a packet as large as a train costs least. */
static const uint16_t probes_v4[] = {1472, 1444, 1372, 1342, 1252, 8952, 16332, 65507};
static const uint16_t probes_v6[] = {1452, 1444, 1372, 1342, 1232, 8932, 16312, 65487};
enum { PROBES_LOCAL = sizeof probes_v4 / sizeof *probes_v4, PROBES = PROBES_LOCAL - 1 };

/* IPv4, also as an IPv6-mapped address: its text has no brackets. */
static bool is_v4(const struct address *address) {
  char text[ADDRESS_TEXT_MAX];
  return address_text(address, text)[0] != '[';
}

static void set_packet_size(ngtcp2_settings *to, const struct quic_settings *from, const struct address *remote) {
  if (from->mtu > 0) {
    size_t mtu = from->mtu > MTU_MIN ? (size_t)from->mtu : MTU_MIN;
    to->max_tx_udp_payload_size = mtu < TRAIN_BYTES_MAX ? mtu : TRAIN_BYTES_MAX;
    to->no_tx_udp_payload_size_shaping = 1;
    to->no_pmtud = 1;
    return;
  }
  to->pmtud_probes = is_v4(remote) ? probes_v4 : probes_v6;
  to->pmtud_probeslen = address_is_local(remote) ? PROBES_LOCAL : PROBES;
  to->max_tx_udp_payload_size = to->pmtud_probes[to->pmtud_probeslen - 1];
}

static const ngtcp2_cc_algo controllers[] = {
    [QUIC_BBR] = NGTCP2_CC_ALGO_BBR,
    [QUIC_CUBIC] = NGTCP2_CC_ALGO_CUBIC,
    [QUIC_NEWRENO] = NGTCP2_CC_ALGO_RENO,
    [QUIC_CONSTANT] = NGTCP2_CC_ALGO_RENO, /* quic_cc.c puts its own functions in its place */
};

static void set_settings(ngtcp2_settings *to, const struct quic_settings *from, const struct address *remote,
                         const struct quic_accept *accept, uint64_t now_ns) {
  ngtcp2_settings_default(to);
  to->initial_ts = now_ns;
  to->initial_rtt = from->initial_rtt_ms * NS_PER_MS;
  to->cc_algo = controllers[from->congestion];
  to->ack_thresh = ACK_PACKETS;
  to->handshake_timeout = from->handshake_timeout_ms * NS_PER_MS;
  to->glitch_ratelim_burst = to->glitch_ratelim_rate = GLITCHES_UNBOUNDED;
  set_packet_size(to, from, remote);
  if (accept != NULL && accept->original != NULL) {
    to->token = accept->header->token;
    to->tokenlen = accept->header->tokenlen;
    to->token_type = NGTCP2_TOKEN_TYPE_RETRY;
  }
}

/* The delay that we announce is what the peer waits before it probes for a lost tail: an eighth of a round trip, and
   never much. */
static uint64_t max_ack_delay_ns(const struct quic_settings *settings) {
  uint64_t delay = settings->initial_rtt_ms * NS_PER_MS / 8;
  delay = delay < 5 * NS_PER_MS ? delay : 5 * NS_PER_MS;
  return delay > NS_PER_MS ? delay : NS_PER_MS;
}

static void set_params(ngtcp2_transport_params *to, const struct quic_settings *from) {
  ngtcp2_transport_params_default(to);
  to->initial_max_data = from->receive_window;
  to->initial_max_stream_data_bidi_local = to->initial_max_stream_data_bidi_remote = from->stream_receive_window;
  to->initial_max_stream_data_uni = UNI_STREAM_WINDOW;
  to->initial_max_streams_bidi = from->server ? from->max_streams : 0;
  to->initial_max_streams_uni = UNI_STREAMS;
  to->max_idle_timeout = from->max_idle_timeout_ms * NS_PER_MS;
  to->max_udp_payload_size = NGTCP2_MAX_TX_UDP_PAYLOAD_SIZE;
  to->active_connection_id_limit = ACTIVE_CIDS;
  to->max_ack_delay = max_ack_delay_ns(from);
  to->grease_quic_bit = 1;
}

ngtcp2_path quic_path(const struct address *local, const struct address *remote) {
  /* ngtcp2 copies them and writes nothing */
  return (ngtcp2_path){
      .local = {.addr = (ngtcp2_sockaddr *)(uintptr_t)local->bytes, .addrlen = local->len},
      .remote = {.addr = (ngtcp2_sockaddr *)(uintptr_t)remote->bytes, .addrlen = remote->len},
  };
}

static void set_name(struct quic_conn *conn, const ngtcp2_cid *original) {
  static const char digits[] = "0123456789abcdef";
  must(original->datalen * 2 < sizeof conn->name);
  for (size_t i = 0; i < original->datalen; i++) {
    conn->name[2 * i] = digits[original->data[i] >> 4];
    conn->name[2 * i + 1] = digits[original->data[i] & 15];
  }
  conn->name[2 * original->datalen] = '\0';
}

static ngtcp2_conn *find_ngtcp2(ngtcp2_crypto_conn_ref *ref) {
  const struct quic_conn *conn = ref->user_data;
  return conn->ngtcp2;
}

static bool make_client(struct quic_conn *conn, const ngtcp2_cid *scid, const ngtcp2_path *path,
                        const ngtcp2_settings *settings, const ngtcp2_transport_params *params) {
  ngtcp2_cid dcid = {.datalen = CLIENT_DCID_BYTES};
  random_fill(dcid.data, dcid.datalen);
  set_name(conn, &dcid);
  return ngtcp2_conn_client_new(&conn->ngtcp2, &dcid, scid, path, NGTCP2_PROTO_VER_V1, &quic_callbacks_client, settings,
                                params, &conn->endpoint->memory, conn) == 0;
}

static bool make_server(struct quic_conn *conn, const struct quic_accept *accept, const ngtcp2_cid *scid,
                        const ngtcp2_path *path, const ngtcp2_settings *settings, ngtcp2_transport_params *params) {
  const ngtcp2_pkt_hd *header = accept->header;
  params->original_dcid = accept->original != NULL ? *accept->original : header->dcid;
  params->original_dcid_present = 1;
  if (accept->original != NULL) {
    params->retry_scid = header->dcid;
    params->retry_scid_present = 1;
  }
  if (!quic_reset_token(conn->endpoint, scid, params->stateless_reset_token))
    return false;
  params->stateless_reset_token_present = 1;
  set_name(conn, &params->original_dcid);
  return quic_route_add(conn, &header->dcid) &&
         ngtcp2_conn_server_new(&conn->ngtcp2, &header->scid, scid, path, header->version, &quic_callbacks_server,
                                settings, params, &conn->endpoint->memory, conn) == 0;
}

struct quic_conn *quic_conn_new(struct quic_endpoint *endpoint, const struct address *local,
                                const struct address *remote, const char *server_name, const struct quic_accept *accept,
                                uint64_t now_ns) {
  struct quic_conn *conn = pool_get(&endpoint->conns);
  if (conn == NULL)
    return NULL;
  memset(conn, 0, offsetof(struct quic_conn, close_train));
  conn->endpoint = endpoint;
  conn->path.mtu_searched_ns = now_ns;
  conn->repeat.due_ns = UINT64_MAX;
  conn->ref = (ngtcp2_crypto_conn_ref){.get_conn = find_ngtcp2, .user_data = conn};
  ngtcp2_ccerr_default(&conn->error);
  list_init(&conn->ready);
  list_init(&conn->all);
  list_push(&endpoint->all, &conn->all);
  endpoint->half_open++;

  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  ngtcp2_cid scid;
  ngtcp2_path path = quic_path(local, remote);
  set_settings(&settings, &endpoint->settings, remote, accept, now_ns);
  set_params(&params, &endpoint->settings);
  conn->peer_streams_max = params.initial_max_streams_bidi;
  quic_cid_make(endpoint, &scid);
  quic_cc_use(conn);
  conn->tls = tls_session_open(endpoint->settings.tls, server_name, &conn->ref);
  if (conn->tls == NULL || !quic_route_add(conn, &scid) ||
      !(accept != NULL ? make_server(conn, accept, &scid, &path, &settings, &params)
                       : make_client(conn, &scid, &path, &settings, &params))) {
    quic_free(conn);
    return NULL;
  }
  ngtcp2_conn_set_tls_native_handle(conn->ngtcp2, tls_session_native(conn->tls));
  return conn;
}
