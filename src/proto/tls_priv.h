/* What tls.c and tls_check.c share: the two objects behind tls.h. */
#ifndef PTP_PROTO_TLS_PRIV_H
#define PTP_PROTO_TLS_PRIV_H

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "proto/tls.h"

struct tls_context {
  WOLFSSL_CTX *ctx;
  uint32_t references; /* the owner's and one for each session; contexts never cross threads */
  bool server, skip_verify;
  int keylog_fd; /* -1: none */
  int64_t not_after;
  char *peer_names[TLS_NAMES_MAX]; /* without a trailing dot */
  size_t peer_name_count;
};

struct tls_session {
  struct tls_context *context;
  WOLFSSL *ssl;
  uint8_t check_alert;
};

/* tls_check.c: of our own certificate, the first in |pem|: end of validity, and a report when it is over, not begun, or
   lacks the extended key usage without which the other end refuses it. False when there is no certificate in |pem|. */
bool tls_check_own(struct tls_context *context, const char *path, const uint8_t *pem, size_t len, tls_report_f *report,
                   void *report_context);

/* tls_check.c: wolfSSL's error in our words. Static. */
const char *tls_error_text(int error);

/* tls_check.c: |name| is an IP address, not a DNS name. */
bool tls_name_is_ip(const char *name);

#endif
