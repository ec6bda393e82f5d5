/* Who the peer is, and how a refusal is said in words.

   Names are compared here, over the subject alternative names of the certificate as decoded: wolfSSL_X509_check_host
   falls back to the subject's CN when there are none, and wolfSSL_check_domain_name refuses names of one label and was
   seen to pass wrong names on QUIC (RELIABILITY.md 0.3). The chain and the dates are wolfSSL's work, during the
   handshake; the extended key usage is checked again, because wolfSSL takes a certificate without any (T-4). */
#include <wolfssl/options.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "base/bytes.h"
#include "base/must.h"
#include "base/text.h"
#include "proto/tls_priv.h"

enum { ALERT_BAD_CERTIFICATE = 42, ALERT_CERTIFICATE_REQUIRED = 116, ALERT_NO_APPLICATION_PROTOCOL = 120 };

static const char *const alert_texts[] = {
    [0] = "close notify",
    [10] = "unexpected message",
    [20] = "bad record MAC",
    [22] = "record overflow",
    [40] = "handshake failure",
    [42] = "bad certificate",
    [43] = "unsupported certificate",
    [44] = "certificate revoked",
    [45] = "certificate expired",
    [46] = "certificate unknown",
    [47] = "illegal parameter",
    [48] = "unknown CA",
    [49] = "access denied",
    [50] = "decode error",
    [51] = "decrypt error",
    [70] = "protocol version",
    [71] = "insufficient security",
    [80] = "internal error",
    [86] = "inappropriate fallback",
    [90] = "user canceled",
    [109] = "missing extension",
    [110] = "unsupported extension",
    [112] = "unrecognized name",
    [113] = "bad certificate status response",
    [115] = "unknown PSK identity",
    [116] = "certificate required",
    [120] = "no application protocol",
};

const char *tls_alert_text(uint8_t alert) {
  const char *text = alert < sizeof alert_texts / sizeof *alert_texts ? alert_texts[alert] : NULL;
  return text != NULL ? text : "unknown alert";
}

static const struct {
  int error;
  const char *text;
} error_texts[] = {
    {ASN_NO_SIGNER_E, "the certificate is not signed by a certificate authority that we trust"},
    {ASN_SELF_SIGNED_E, "the certificate is self-signed and not trusted"},
    {ASN_SIG_CONFIRM_E, "the certificate's signature is wrong"},
    {ASN_SIG_HASH_E, "the certificate's signature uses a hash that is not supported"},
    {ASN_AFTER_DATE_E, "the certificate has expired"},
    {ASN_BEFORE_DATE_E, "the certificate is not valid yet"},
    {ASN_PATHLEN_INV_E, "the certificate chain is longer than a certificate authority allows"},
    {ASN_PATHLEN_SIZE_E, "the certificate chain is longer than a certificate authority allows"},
    {ASN_NAME_INVALID_E, "the certificate has a name that its certificate authority may not give"},
    {ASN_NO_PEM_HEADER, "no certificate in PEM form in it"},
    {NOT_CA_ERROR, "the certificate's issuer is not a certificate authority"},
    {MAX_CHAIN_ERROR, "the certificate chain is too long"},
    {NO_PEER_CERT, "no certificate was sent"},
    {NO_PEER_KEY, "the certificate has no usable key"},
    {KEYUSE_SIGNATURE_E, "the certificate's key usage does not allow signatures"},
    {RSA_KEY_SIZE_E, "the certificate's RSA key is shorter than 2048 bits"},
    {ECC_KEY_SIZE_E, "the certificate's elliptic curve key is shorter than 256 bits"},
    {ECC_CURVE_OID_E, "the certificate's elliptic curve is not supported"},
    {CRL_CERT_REVOKED, "the certificate was revoked"},
    {VERIFY_CERT_ERROR, "the certificate could not be verified"},
    {SIG_VERIFY_E, "the proof of possession of the private key is wrong"},
    {VERIFY_SIGN_ERROR, "the proof of possession of the private key is wrong"},
    {UNKNOWN_ALPN_PROTOCOL_NAME_E, "the application protocol is not h3"},
    {MATCH_SUITE_ERROR, "no cipher suite in common"},
    {UNSUPPORTED_SUITE, "no cipher suite in common"},
    {VERSION_ERROR, "TLS 1.3 is required"},
    {WC_KEY_MISMATCH_E, "the private key does not match the certificate"},
};

const char *tls_error_text(int error) {
  for (size_t i = 0; i < sizeof error_texts / sizeof *error_texts; i++)
    if (error_texts[i].error == error)
      return error_texts[i].text;
  return wolfSSL_ERR_reason_error_string((unsigned long)error);
}

const char *tls_failure(struct tls_session *session, uint8_t alert, char reason[TLS_REASON_MAX]) {
  int error = wolfSSL_get_error(session->ssl, -1);
  bool known = error < 0;
  const char *text = tls_error_text(error);
  if (error == EXTKEYUSE_AUTH_E)
    text = session->context->server ? "the certificate's extended key usage does not include clientAuth"
                                    : "the certificate's extended key usage does not include serverAuth";
  if (known && alert != 0)
    snprintf(reason, TLS_REASON_MAX, "%s (TLS alert %u, %s)", text, alert, tls_alert_text(alert));
  else if (known)
    snprintf(reason, TLS_REASON_MAX, "%s", text);
  else if (alert != 0)
    snprintf(reason, TLS_REASON_MAX, "TLS alert %u, %s", alert, tls_alert_text(alert));
  else
    snprintf(reason, TLS_REASON_MAX, "TLS failed");
  return reason;
}

/* Names */

struct ip {
  uint8_t data[16];
  size_t len; /* 4, 16, or 0: not an IP address */
};

static struct ip ip_of(const char *name) {
  struct ip ip = {.len = 0};
  if (inet_pton(AF_INET, name, ip.data) == 1)
    ip.len = 4;
  else if (inet_pton(AF_INET6, name, ip.data) == 1)
    ip.len = 16;
  return ip;
}

bool tls_name_is_ip(const char *name) { return ip_of(name).len > 0; }

/* RFC 9525 section 6.3: a wildcard is the whole leftmost label and stands for exactly one label. The entry's length
   counts, not a NUL in it. */
static bool dns_name_matches(struct bytes entry, struct bytes name) {
  if (entry.len > 2 && entry.data[0] == '*' && entry.data[1] == '.') {
    const uint8_t *dot = memchr(name.data, '.', name.len);
    if (dot == NULL || dot == name.data)
      return false;
    size_t label = (size_t)(dot - name.data);
    return bytes_equal_nocase(bytes_of(entry.data + 1, entry.len - 1), bytes_of(dot, name.len - label));
  }
  return bytes_equal_nocase(entry, name);
}

static bool name_in_certificate(const struct DecodedCert *cert, const char *name) {
  struct ip ip = ip_of(name);
  for (const DNS_entry *entry = cert->altNames; entry != NULL; entry = entry->next) {
    struct bytes value = bytes_of(entry->name, (size_t)entry->len);
    if (ip.len > 0 ? entry->type == ASN_IP_TYPE && bytes_equal(value, bytes_of(ip.data, ip.len))
                   : entry->type == ASN_DNS_TYPE && dns_name_matches(value, bytes_of_text(name)))
      return true;
  }
  return false;
}

/* What a peer wrote goes into logs: printable ASCII only. */
static void put_foreign(struct text *text, const char *data, size_t len) {
  for (size_t i = 0; i < len && i < 64; i++)
    text_put(text, "%c", data[i] > ' ' && data[i] < 0x7f ? data[i] : '?');
}

static void put_entry(struct text *text, const DNS_entry *entry) {
  char ip[INET6_ADDRSTRLEN];
  if (entry->type == ASN_DNS_TYPE) {
    text_put(text, "DNS:");
    put_foreign(text, entry->name, (size_t)entry->len);
  } else if (entry->type == ASN_IP_TYPE && (entry->len == 4 || entry->len == 16) &&
             inet_ntop(entry->len == 4 ? AF_INET : AF_INET6, entry->name, ip, sizeof ip) != NULL)
    text_put(text, "IP:%s", ip);
  else
    text_put(text, "(another kind of name)");
}

static void say_wrong_name(const struct tls_context *context, const struct DecodedCert *cert, char *reason) {
  struct text text = {.out = reason, .size = TLS_REASON_MAX}; /* what does not fit is cut */
  text_put(&text, "wrong host name: expected %s", context->peer_names[0]);
  for (size_t i = 1; i < context->peer_name_count; i++)
    text_put(&text, " or %s", context->peer_names[i]);
  text_put(&text, ", the certificate is for ");
  if (cert->altNames == NULL)
    text_put(&text, "no name at all (no subject alternative name)");
  for (const DNS_entry *entry = cert->altNames; entry != NULL; entry = entry->next) {
    put_entry(&text, entry);
    text_put(&text, "%s", entry->next != NULL ? ", " : "");
  }
}

/* The peer */

static bool usage_ok(const struct DecodedCert *cert, bool for_server, char *reason) {
  uint8_t needed = for_server ? EXTKEYUSE_SERVER_AUTH : EXTKEYUSE_CLIENT_AUTH;
  if (cert->extExtKeyUsageSet && (cert->extExtKeyUsage & (needed | EXTKEYUSE_ANY)) != 0)
    return true;
  snprintf(reason, TLS_REASON_MAX, "the certificate's extended key usage %s %s",
           cert->extExtKeyUsageSet ? "does not include" : "is missing, it must include",
           for_server ? "serverAuth" : "clientAuth");
  return false;
}

/* wolfSSL takes SHA-1, which RFC 8446 section 4.4.2.4 forbids. Of the peer's own certificate: wolfSSL does not keep the
   intermediates. */
static bool signature_ok(const struct DecodedCert *cert, char *reason) {
  switch (cert->signatureOID) {
  case CTC_SHAwDSA:
  case CTC_SHAwRSA:
  case CTC_SHAwECDSA:
  case CTC_MD5wRSA:
  case CTC_MD2wRSA:
    snprintf(reason, TLS_REASON_MAX, "the certificate is signed with SHA-1 or MD5");
    return false;
  default:
    return true;
  }
}

static bool certificate_ok(const struct tls_session *session, const struct DecodedCert *cert, char *reason) {
  const struct tls_context *context = session->context;
  if (!usage_ok(cert, !context->server, reason) || !signature_ok(cert, reason))
    return false;
  for (size_t i = 0; i < context->peer_name_count; i++)
    if (name_in_certificate(cert, context->peer_names[i]))
      return true;
  say_wrong_name(context, cert, reason);
  return false;
}

/* Decodes |der| into |cert|, which wc_FreeDecodedCert ends whatever the result. */
static bool decode(struct DecodedCert *cert, const uint8_t *der, int len) {
  wc_InitDecodedCert(cert, der, (word32)len, NULL);
  return wc_ParseCert(cert, CERT_TYPE, NO_VERIFY, NULL) == 0;
}

static bool peer_ok(struct tls_session *session, char *reason) {
  WOLFSSL_X509 *x509 = wolfSSL_get_peer_certificate(session->ssl);
  if (x509 == NULL) {
    session->check_alert = ALERT_CERTIFICATE_REQUIRED;
    snprintf(reason, TLS_REASON_MAX, "no certificate was sent");
    return false;
  }
  int len = 0;
  const uint8_t *der = wolfSSL_X509_get_der(x509, &len);
  struct DecodedCert cert;
  bool ok = der != NULL && wolfSSL_get_verify_result(session->ssl) == WOLFSSL_X509_V_OK;
  if (!ok) {
    snprintf(reason, TLS_REASON_MAX, "the certificate could not be verified");
  } else {
    ok = decode(&cert, der, len);
    if (!ok)
      snprintf(reason, TLS_REASON_MAX, "the certificate cannot be read");
    ok = ok && certificate_ok(session, &cert, reason);
    wc_FreeDecodedCert(&cert);
  }
  wolfSSL_X509_free(x509);
  return ok;
}

static bool protocol_ok(struct tls_session *session) {
  char *name = NULL;
  unsigned short len = 0;
  return wolfSSL_ALPN_GetProtocol(session->ssl, &name, &len) == WOLFSSL_SUCCESS && len == 2 &&
         memcmp(name, "h3", 2) == 0;
}

enum err tls_check_peer(struct tls_session *session, char reason[TLS_REASON_MAX]) {
  reason[0] = '\0';
  if (!protocol_ok(session)) {
    session->check_alert = ALERT_NO_APPLICATION_PROTOCOL;
    snprintf(reason, TLS_REASON_MAX, "the application protocol is not h3");
    return ERR_TLS;
  }
  session->check_alert = ALERT_BAD_CERTIFICATE;
  return session->context->skip_verify || peer_ok(session, reason) ? ERR_OK : ERR_TLS;
}

uint8_t tls_check_alert(const struct tls_session *session) { return session->check_alert; }

/* Our own certificate */

/* Seconds since 1970; 0 when the field is not readable. */
static int64_t time_of(const WOLFSSL_ASN1_TIME *field) {
  struct tm fields;
  return field != NULL && wolfSSL_ASN1_TIME_to_tm(field, &fields) == WOLFSSL_SUCCESS ? timegm(&fields) : 0;
}

static void say(tls_report_f *report, void *context, const char *path, const char *text) {
  char line[512];
  snprintf(line, sizeof line, "tls.cert: %s: %s", path, text);
  report(context, false, line);
}

bool tls_check_own(struct tls_context *context, const char *path, const uint8_t *pem, size_t len, tls_report_f *report,
                   void *report_context) {
  WOLFSSL_X509 *x509 = wolfSSL_X509_load_certificate_buffer(pem, (int)len, WOLFSSL_FILETYPE_PEM);
  if (x509 == NULL)
    return false;
  context->not_after = time_of(wolfSSL_X509_get_notAfter(x509));
  int64_t now = (int64_t)time(NULL);
  if (context->not_after != 0 && context->not_after < now)
    say(report, report_context, path, "the certificate has expired");
  if (time_of(wolfSSL_X509_get_notBefore(x509)) > now)
    say(report, report_context, path, "the certificate is not valid yet");
  int der_len = 0;
  const uint8_t *der = wolfSSL_X509_get_der(x509, &der_len);
  struct DecodedCert cert;
  char reason[TLS_REASON_MAX];
  bool ok = der != NULL && decode(&cert, der, der_len);
  if (ok && (!usage_ok(&cert, context->server, reason) || !signature_ok(&cert, reason)))
    say(report, report_context, path, reason);
  if (der != NULL)
    wc_FreeDecodedCert(&cert);
  wolfSSL_X509_free(x509);
  return ok;
}
