/* What ngtcp2 calls. Nothing here sends, frees, or calls ngtcp2 back, except to give credit and to replenish stream
   counts, which it allows. An application that fails is recorded in conn->error; the public function that is on the
   stack closes the connection after ngtcp2 has returned. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/random.h"
#include "proto/quic_priv.h"

int quic_app_failed(struct quic_conn *conn) {
  if (conn->error.error_code == 0)
    ngtcp2_ccerr_set_application_error(&conn->error, conn->ops->app_error(conn->app), NULL, 0);
  return NGTCP2_ERR_CALLBACK_FAILURE;
}

static int settle(struct quic_conn *conn, enum err result) { return result == ERR_OK ? 0 : quic_app_failed(conn); }

/* The only way in for an application: RELIABILITY.md T-3. */
static int handshake_completed(ngtcp2_conn *ngtcp2, void *user) {
  struct quic_conn *conn = user;
  struct quic_endpoint *endpoint = conn->endpoint;
  char reason[TLS_REASON_MAX];
  must(conn->app == NULL && conn->state == QUIC_HANDSHAKE);
  if (tls_check_peer(conn->tls, reason) != ERR_OK) {
    ngtcp2_ccerr_set_tls_alert(&conn->error, tls_check_alert(conn->tls), NULL, 0);
    quic_say(conn, END_FAILED, "handshake: %s", reason);
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  if (endpoint->settings.keep_alive_ms > 0)
    ngtcp2_conn_set_keep_alive_timeout(ngtcp2, endpoint->settings.keep_alive_ms * NS_PER_MS);
  conn->app = endpoint->events->opened(endpoint->context, conn, &conn->ops);
  if (conn->app == NULL) {
    ngtcp2_ccerr_set_transport_error(&conn->error, QUIC_ERROR_CONNECTION_REFUSED, NULL, 0);
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  conn->state = QUIC_OPEN;
  conn->confirmed = endpoint->settings.server; /* a client waits for HANDSHAKE_DONE */
  must(endpoint->half_open > 0);
  endpoint->half_open--;
  return 0;
}

static int handshake_confirmed(ngtcp2_conn *ngtcp2, void *user) {
  struct quic_conn *conn = user;
  (void)ngtcp2;
  conn->confirmed = true;
  return 0;
}

static int recv_stream_data(ngtcp2_conn *ngtcp2, uint32_t flags, int64_t stream, uint64_t offset, const uint8_t *data,
                            size_t len, void *user, void *stream_user) {
  struct quic_conn *conn = user;
  (void)ngtcp2, (void)offset, (void)stream_user;
  must(conn->app != NULL);
  return settle(conn, conn->ops->stream_data(conn->app, stream, data, len, (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0));
}

static int acked_stream_data_offset(ngtcp2_conn *ngtcp2, int64_t stream, uint64_t offset, uint64_t len, void *user,
                                    void *stream_user) {
  struct quic_conn *conn = user;
  (void)ngtcp2, (void)offset, (void)stream_user;
  return settle(conn, conn->ops->stream_acked(conn->app, stream, len));
}

static int extend_max_stream_data(ngtcp2_conn *ngtcp2, int64_t stream, uint64_t max, void *user, void *stream_user) {
  struct quic_conn *conn = user;
  (void)ngtcp2, (void)max, (void)stream_user;
  return conn->app == NULL ? 0 : settle(conn, conn->ops->stream_room(conn->app, stream));
}

static int stream_open(ngtcp2_conn *ngtcp2, int64_t stream, void *user) {
  (void)ngtcp2;
  quic_stream_seen(user, stream);
  return 0;
}

static int stream_reset(ngtcp2_conn *ngtcp2, int64_t stream, uint64_t final_size, uint64_t code, void *user,
                        void *stream_user) {
  struct quic_conn *conn = user;
  (void)ngtcp2, (void)final_size, (void)stream_user;
  return settle(conn, conn->ops->stream_reset(conn->app, stream, code));
}

static int recv_stop_sending(ngtcp2_conn *ngtcp2, int64_t stream, uint64_t code, void *user, void *stream_user) {
  struct quic_conn *conn = user;
  (void)ngtcp2, (void)stream_user;
  return settle(conn, conn->ops->stream_stopped(conn->app, stream, code));
}

/* A closed stream makes room for another one of the peer, without which the connection would run dry. */
static int stream_close(ngtcp2_conn *ngtcp2, uint32_t flags, int64_t stream, uint64_t code, void *user,
                        void *stream_user) {
  struct quic_conn *conn = user;
  (void)stream_user;
  if (!ngtcp2_conn_is_local_stream2(ngtcp2, stream)) {
    if (ngtcp2_is_bidi_stream(stream))
      quic_stream_gone(conn);
    else
      ngtcp2_conn_extend_max_streams_uni(ngtcp2, 1);
  }
  if ((flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET) == 0)
    code = H3_CODE_NO_ERROR;
  return conn->app == NULL ? 0 : settle(conn, conn->ops->stream_closed(conn->app, stream, code));
}

static int recv_stateless_reset(ngtcp2_conn *ngtcp2, const ngtcp2_pkt_stateless_reset2 *reset, void *user) {
  struct quic_conn *conn = user;
  (void)ngtcp2, (void)reset;
  quic_say(conn, END_SILENT, "the peer forgot the connection (stateless reset)");
  return 0;
}

static int get_new_connection_id(ngtcp2_conn *ngtcp2, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token, size_t len,
                                 void *user) {
  struct quic_conn *conn = user;
  (void)ngtcp2;
  must(len == QUIC_CID_BYTES);
  quic_cid_make(conn->endpoint, cid);
  if (!quic_reset_token(conn->endpoint, cid, token->data) || !quic_route_add(conn, cid))
    return NGTCP2_ERR_CALLBACK_FAILURE;
  return 0;
}

static int remove_connection_id(ngtcp2_conn *ngtcp2, const ngtcp2_cid *cid, void *user) {
  (void)ngtcp2;
  quic_route_remove(user, cid);
  return 0;
}

static void fill_random(uint8_t *out, size_t len, const ngtcp2_rand_ctx *context) {
  (void)context;
  random_fill(out, len);
}

static int get_path_challenge_data(ngtcp2_conn *ngtcp2, ngtcp2_path_challenge_data *data, void *user) {
  (void)ngtcp2, (void)user;
  random_fill(data->data, sizeof data->data);
  return 0;
}

#define QUIC_CALLBACKS_OF_BOTH                                                                                         \
  .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb, .encrypt = ngtcp2_crypto_encrypt_cb,                          \
  .decrypt = ngtcp2_crypto_decrypt_cb, .hp_mask = ngtcp2_crypto_hp_mask_cb, .update_key = ngtcp2_crypto_update_key_cb, \
  .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,                                                   \
  .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,                                               \
  .version_negotiation = ngtcp2_crypto_version_negotiation_cb, .rand = fill_random,                                    \
  .get_path_challenge_data2 = get_path_challenge_data, .get_new_connection_id2 = get_new_connection_id,                \
  .remove_connection_id = remove_connection_id, .handshake_completed = handshake_completed,                            \
  .handshake_confirmed = handshake_confirmed, .recv_stream_data = recv_stream_data,                                    \
  .acked_stream_data_offset = acked_stream_data_offset, .extend_max_stream_data = extend_max_stream_data,              \
  .stream_open = stream_open, .stream_reset = stream_reset, .recv_stop_sending = recv_stop_sending,                    \
  .stream_close = stream_close, .recv_stateless_reset2 = recv_stateless_reset

const ngtcp2_callbacks quic_callbacks_client = {
    QUIC_CALLBACKS_OF_BOTH,
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
};

const ngtcp2_callbacks quic_callbacks_server = {
    QUIC_CALLBACKS_OF_BOTH,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
};
