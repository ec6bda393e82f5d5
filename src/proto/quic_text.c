/* Why a connection ended, in words: for the log of this end (SPEC 3). What the peer wrote is cut and escaped by the
   log. */
#include <stdarg.h>
#include <stdio.h>

#include "proto/quic_priv.h"

static const char *const transport_names[] = {
    /* RFC 9000 section 20.1 */
    "NO_ERROR",
    "INTERNAL_ERROR",
    "CONNECTION_REFUSED",
    "FLOW_CONTROL_ERROR",
    "STREAM_LIMIT_ERROR",
    "STREAM_STATE_ERROR",
    "FINAL_SIZE_ERROR",
    "FRAME_ENCODING_ERROR",
    "TRANSPORT_PARAMETER_ERROR",
    "CONNECTION_ID_LIMIT_ERROR",
    "PROTOCOL_VIOLATION",
    "INVALID_TOKEN",
    "APPLICATION_ERROR",
    "CRYPTO_BUFFER_EXCEEDED",
    "KEY_UPDATE_ERROR",
    "AEAD_LIMIT_REACHED",
    "NO_VIABLE_PATH",
    "VERSION_NEGOTIATION_ERROR",
};

static const char *const h3_names[] = {
    /* RFC 9114 section 8.1, from 0x100 */
    "H3_NO_ERROR",
    "H3_GENERAL_PROTOCOL_ERROR",
    "H3_INTERNAL_ERROR",
    "H3_STREAM_CREATION_ERROR",
    "H3_CLOSED_CRITICAL_STREAM",
    "H3_FRAME_UNEXPECTED",
    "H3_FRAME_ERROR",
    "H3_EXCESSIVE_LOAD",
    "H3_ID_ERROR",
    "H3_SETTINGS_ERROR",
    "H3_MISSING_SETTINGS",
    "H3_REQUEST_REJECTED",
    "H3_REQUEST_CANCELLED",
    "H3_REQUEST_INCOMPLETE",
    "H3_MESSAGE_ERROR",
    "H3_CONNECT_ERROR",
    "H3_VERSION_FALLBACK",
};

static const char *const qpack_names[] = {/* RFC 9204 section 8.3, from 0x200 */
                                          "QPACK_DECOMPRESSION_FAILED", "QPACK_ENCODER_STREAM_ERROR",
                                          "QPACK_DECODER_STREAM_ERROR"};

enum { NAME_BYTES = 48, H3_BASE = 0x100, QPACK_BASE = 0x200 };

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *application_name(uint64_t code, char out[NAME_BYTES]) {
  if (code >= H3_BASE && code < H3_BASE + COUNT(h3_names))
    return h3_names[code - H3_BASE];
  if (code >= QPACK_BASE && code < QPACK_BASE + COUNT(qpack_names))
    return qpack_names[code - QPACK_BASE];
  snprintf(out, NAME_BYTES, "application error 0x%llx", (unsigned long long)code);
  return out;
}

static const char *transport_name(uint64_t code, char out[NAME_BYTES]) {
  if (code < COUNT(transport_names))
    return transport_names[code];
  if (code >= NGTCP2_CRYPTO_ERROR && code < NGTCP2_CRYPTO_ERROR + 256)
    snprintf(out, NAME_BYTES, "TLS alert %u, %s", (unsigned)(code - NGTCP2_CRYPTO_ERROR),
             tls_alert_text((uint8_t)(code - NGTCP2_CRYPTO_ERROR)));
  else
    snprintf(out, NAME_BYTES, "transport error 0x%llx", (unsigned long long)code);
  return out;
}

void quic_say(struct quic_conn *conn, enum quic_end end, const char *format, ...) {
  if (conn->end != END_NONE)
    return;
  va_list args;
  va_start(args, format);
  vsnprintf(conn->reason, sizeof conn->reason, format, args);
  va_end(args);
  conn->end = (uint8_t)end;
}

void quic_say_error(struct quic_conn *conn, const ngtcp2_ccerr *error, bool by_peer) {
  char buffer[NAME_BYTES];
  bool application = error->type == NGTCP2_CCERR_TYPE_APPLICATION;
  const char *name =
      application ? application_name(error->error_code, buffer) : transport_name(error->error_code, buffer);
  bool orderly = error->error_code == (application ? H3_CODE_NO_ERROR : NGTCP2_NO_ERROR);
  bool refused = by_peer && !application && error->error_code == NGTCP2_CONNECTION_REFUSED;
  int phrase_len = error->reasonlen < QUIC_PHRASE_MAX ? (int)error->reasonlen : QUIC_PHRASE_MAX;
  const char *phrase = error->reasonlen > 0 ? (const char *)error->reason : "";
  quic_say(conn,
           orderly   ? END_ORDERLY
           : refused ? END_REFUSED
                     : END_FAILED,
           "%s%s%s%s%.*s%s", conn->confirmed ? "" : "handshake: ", by_peer ? "closed by the peer: " : "closed: ", name,
           phrase_len > 0 ? " (" : "", phrase_len, phrase, phrase_len > 0 ? ")" : "");
}
