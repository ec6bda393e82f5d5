/* TLS 1.3 for QUIC with mutual authentication (SPEC 3, RELIABILITY.md T-3 to T-6): contexts from files, one session
   object a connection, and the check of the peer's name after the handshake, which neither wolfSSL on QUIC nor ngtcp2's
   helper does. Only this file and quic*.c include wolfSSL. */
#ifndef PTP_PROTO_TLS_H
#define PTP_PROTO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tls_context;
struct tls_session; /* a WOLFSSL object: quic.c gives it to ngtcp2 */

enum { TLS_NAMES_MAX = 16, TLS_REASON_MAX = 256 };

struct tls_settings {
  bool server;
  const char *ca; /* NULL: the system's store */
  const char *cert, *key;
  bool skip_verify;
  const char *peer_names[TLS_NAMES_MAX]; /* DNS names or IP literals, any of which must be in the peer's certificate */
  size_t peer_name_count;
  const char *keylog_path; /* NULL: none (SSLKEYLOGFILE, for debugging) */
};

/* Called with one sentence for each problem; not |fatal|: a warning. */
typedef void tls_report_f(void *context, bool fatal, const char *text);

/* Loads the files and makes a context; settings are copied. Reports every problem found: unreadable file, no
   certificate in it, key that does not match, encrypted key, RSA below 2048 bits or ECC below 256, expired certificate
   (a warning only). ERR_OK or ERR_BAD_CONFIG (*context is NULL). */
must_use enum err tls_context_open(struct tls_context **context, const struct tls_settings *settings,
                                   tls_report_f *report, void *report_context);
/* Sessions keep their context alive; NULL is allowed. */
void tls_context_close(struct tls_context *context);
/* Seconds since 1970 at which our own certificate ends. */
int64_t tls_context_not_after(const struct tls_context *context);

/* A session object for one connection. |server_name| (client): sent as SNI unless it is an IP literal; NULL: none.
   |conn_ref| is stored for ngtcp2's callbacks (borrowed). NULL: out of memory. */
struct tls_session *tls_session_open(struct tls_context *context, const char *server_name, void *conn_ref);
void tls_session_close(struct tls_session *session);
/* The WOLFSSL pointer for ngtcp2_conn_set_tls_native_handle. */
void *tls_session_native(struct tls_session *session);

/* After the handshake and before any application byte is used: the peer sent a certificate, it chains to the CA
   (wolfSSL did that), has the right extended key usage (serverAuth for servers, clientAuth for clients; none at all is
   refused), is valid now, and one of the names is in its subject alternative names (DNS names without regard to case,
   wildcards for one label, IP literals against IP entries only; the subject's CN is never looked at); ALPN is h3.
   ERR_OK, or ERR_TLS with |reason| in words. */
must_use enum err tls_check_peer(struct tls_session *session, char reason[TLS_REASON_MAX]);
/* After tls_check_peer failed: the alert to close the connection with (RFC 9001 section 4.8). */
uint8_t tls_check_alert(const struct tls_session *session);

/* The reason of a failed handshake in words, from wolfSSL's error and the TLS alert (0: none). Returns |reason|. */
const char *tls_failure(struct tls_session *session, uint8_t alert, char reason[TLS_REASON_MAX]);
/* A secret of |len| bytes that depends on the private key's file and on |label| alone: the same after a restart (HKDF,
   RFC 5869). For stateless reset keys. ERR_OK, ERR_SYSTEM when the file cannot be read, ERR_TLS. */
must_use enum err tls_secret(const char *key_path, const char *label, uint8_t *out, size_t len);

/* "bad certificate" for 42 (RFC 8446 section 6). Static. */
const char *tls_alert_text(uint8_t alert);

#endif
