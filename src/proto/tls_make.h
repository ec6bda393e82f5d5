/* Keys and certificates of our own making (ptproxy certs): ECDSA on P-256, signed with SHA-256, as PEM texts. */
#ifndef PTP_PROTO_TLS_MAKE_H
#define PTP_PROTO_TLS_MAKE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { TLS_PEM_MAX = 3072, TLS_NAME_MAX = 253 };

struct tls_key {
  uint8_t secret[32];
  uint8_t point[65]; /* uncompressed (SEC 1 section 2.3.3) */
};

enum tls_usage { TLS_FOR_AUTHORITY, TLS_FOR_SERVER, TLS_FOR_CLIENT };

struct tls_request {
  enum tls_usage usage;
  const char *name; /* an authority's, or the DNS name or IP address that goes into the subject alternative names */
  const struct tls_key *key;
  const char *issuer;               /* its name; that of the authority itself when it is one */
  const struct tls_key *issuer_key; /* signs */
  int64_t not_before_s, not_after_s;
};

/* A new key. ERR_OK or ERR_TLS, all three. */
must_use enum err tls_make_key(struct tls_key *key);
/* The key as PKCS#8 (RFC 5958), not encrypted. */
must_use enum err tls_make_key_pem(const struct tls_key *key, char out[TLS_PEM_MAX]);
/* A certificate (RFC 5280). Names are at most TLS_NAME_MAX bytes. */
must_use enum err tls_make_certificate_pem(const struct tls_request *request, char out[TLS_PEM_MAX]);

#endif
