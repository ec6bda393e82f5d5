/* wolfSSL can make certificates, but the library that faces strangers is built without that: it is some hundred lines
   of DER. They are written from the end to the front, so that a length is known when it is due. */
#include "proto/tls_make.h"

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "base/must.h"
#include "base/random.h"

enum { DER_MAX = 2048, SERIAL_BYTES = 16, KEY_ID_BYTES = 20, COMMON_NAME_MAX = 64 };

enum tag {
  TAG_BOOLEAN = 0x01,
  TAG_INTEGER = 0x02,
  TAG_BITS = 0x03,
  TAG_OCTETS = 0x04,
  TAG_OID = 0x06,
  TAG_UTF8 = 0x0c,
  TAG_UTC_TIME = 0x17,
  TAG_GENERAL_TIME = 0x18,
  TAG_SEQUENCE = 0x30,
  TAG_SET = 0x31,
  TAG_DNS_NAME = 0x82,
  TAG_IP_ADDRESS = 0x87,
  TAG_0 = 0xa0,
  TAG_1 = 0xa1,
  TAG_3 = 0xa3,
  TAG_KEY_ID = 0x80,
};

static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03};
static const uint8_t oid_ec_key[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
static const uint8_t oid_p256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t oid_ecdsa_sha256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
static const uint8_t oid_subject_key[] = {0x55, 0x1d, 0x0e};
static const uint8_t oid_key_usage[] = {0x55, 0x1d, 0x0f};
static const uint8_t oid_alternative_name[] = {0x55, 0x1d, 0x11};
static const uint8_t oid_basic_constraints[] = {0x55, 0x1d, 0x13};
static const uint8_t oid_issuer_key[] = {0x55, 0x1d, 0x23};
static const uint8_t oid_extended_usage[] = {0x55, 0x1d, 0x25};
static const uint8_t oid_server_auth[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01};
static const uint8_t oid_client_auth[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02};

/* ---- DER, backwards ---- */

struct der {
  size_t at; /* of the first byte written; what is written goes before it */
  uint8_t bytes[DER_MAX];
};

static void der_bytes(struct der *der, const void *data, size_t len) {
  must(len <= der->at);
  der->at -= len;
  memcpy(der->bytes + der->at, data, len);
}

static void der_byte(struct der *der, unsigned byte) {
  uint8_t one = (uint8_t)byte;
  der_bytes(der, &one, 1);
}

/* Makes what was written since |der->at| was |end| the content of |tag|. */
static void der_wrap(struct der *der, enum tag tag, size_t end) {
  size_t len = end - der->at;
  must(len < 65536);
  if (len < 128) {
    der_byte(der, (unsigned)len);
  } else {
    unsigned count = 0;
    for (; len > 0; len >>= 8, count++)
      der_byte(der, len & 0xff);
    der_byte(der, 0x80 | count);
  }
  der_byte(der, tag);
}

static void der_value(struct der *der, enum tag tag, const void *data, size_t len) {
  size_t end = der->at;
  der_bytes(der, data, len);
  der_wrap(der, tag, end);
}

static void der_small(struct der *der, unsigned value) {
  uint8_t byte = (uint8_t)value;
  der_value(der, TAG_INTEGER, &byte, 1);
}

/* |unused| bits at the end of the last byte. */
static void der_bits(struct der *der, const void *data, size_t len, unsigned unused) {
  size_t end = der->at;
  der_bytes(der, data, len);
  der_byte(der, unused);
  der_wrap(der, TAG_BITS, end);
}

/* ---- parts of keys and certificates ---- */

static void put_algorithm(struct der *der) {
  size_t end = der->at;
  der_value(der, TAG_OID, oid_ecdsa_sha256, sizeof oid_ecdsa_sha256);
  der_wrap(der, TAG_SEQUENCE, end);
}

static void put_key_algorithm(struct der *der) {
  size_t end = der->at;
  der_value(der, TAG_OID, oid_p256, sizeof oid_p256);
  der_value(der, TAG_OID, oid_ec_key, sizeof oid_ec_key);
  der_wrap(der, TAG_SEQUENCE, end);
}

static void put_public_key(struct der *der, const struct tls_key *key) {
  size_t end = der->at;
  der_bits(der, key->point, sizeof key->point, 0);
  put_key_algorithm(der);
  der_wrap(der, TAG_SEQUENCE, end);
}

/* The common name alone; nobody looks at it, the alternative names count. */
static void put_name(struct der *der, const char *name) {
  size_t len = strlen(name), end = der->at;
  der_value(der, TAG_UTF8, name, len < COMMON_NAME_MAX ? len : COMMON_NAME_MAX);
  der_value(der, TAG_OID, oid_common_name, sizeof oid_common_name);
  der_wrap(der, TAG_SEQUENCE, end);
  der_wrap(der, TAG_SET, end);
  der_wrap(der, TAG_SEQUENCE, end);
}

static void put_time(struct der *der, int64_t seconds) {
  time_t when = (time_t)seconds;
  struct tm tm;
  char text[64];
  must(gmtime_r(&when, &tm) != NULL && tm.tm_year >= 100 && tm.tm_year < 8000);
  snprintf(text, sizeof text, "%04d%02d%02d%02d%02d%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
           tm.tm_min, tm.tm_sec);
  if (tm.tm_year < 150) /* RFC 5280 section 4.1.2.5: two digits of the year up to 2049 */
    der_value(der, TAG_UTC_TIME, text + 2, strlen(text) - 2);
  else
    der_value(der, TAG_GENERAL_TIME, text, strlen(text));
}

static void put_validity(struct der *der, const struct tls_request *request) {
  size_t end = der->at;
  put_time(der, request->not_after_s);
  put_time(der, request->not_before_s);
  der_wrap(der, TAG_SEQUENCE, end);
}

/* ---- extensions ---- */

/* Makes what was written since |end| an extension. */
static void put_extension(struct der *der, const uint8_t *oid, size_t oid_len, bool critical, size_t end) {
  der_wrap(der, TAG_OCTETS, end);
  if (critical)
    der_value(der, TAG_BOOLEAN, "\xff", 1);
  der_value(der, TAG_OID, oid, oid_len);
  der_wrap(der, TAG_SEQUENCE, end);
}

static void put_alternative_name(struct der *der, const char *name) {
  struct in6_addr address;
  size_t end = der->at;
  if (inet_pton(AF_INET, name, &address) == 1)
    der_value(der, TAG_IP_ADDRESS, &address, 4);
  else if (inet_pton(AF_INET6, name, &address) == 1)
    der_value(der, TAG_IP_ADDRESS, &address, 16);
  else
    der_value(der, TAG_DNS_NAME, name, strlen(name));
  der_wrap(der, TAG_SEQUENCE, end);
  put_extension(der, oid_alternative_name, sizeof oid_alternative_name, false, end);
}

static void put_usage(struct der *der, enum tls_usage usage) {
  size_t end = der->at;
  if (usage != TLS_FOR_AUTHORITY) {
    bool server = usage == TLS_FOR_SERVER;
    der_value(der, TAG_OID, server ? oid_server_auth : oid_client_auth, sizeof oid_server_auth);
    der_wrap(der, TAG_SEQUENCE, end);
    put_extension(der, oid_extended_usage, sizeof oid_extended_usage, false, end);
  }
  end = der->at;
  if (usage == TLS_FOR_AUTHORITY)
    der_bits(der, "\x06", 1, 1); /* keyCertSign, cRLSign */
  else
    der_bits(der, "\x80", 1, 7); /* digitalSignature */
  put_extension(der, oid_key_usage, sizeof oid_key_usage, true, end);
  end = der->at;
  if (usage == TLS_FOR_AUTHORITY) {
    der_small(der, 0); /* it signs no other authority */
    der_value(der, TAG_BOOLEAN, "\xff", 1);
  }
  der_wrap(der, TAG_SEQUENCE, end);
  put_extension(der, oid_basic_constraints, sizeof oid_basic_constraints, true, end);
}

/* RFC 7093 section 2, method 1. */
static enum err key_id(const struct tls_key *key, uint8_t out[WC_SHA256_DIGEST_SIZE]) {
  return wc_Sha256Hash(key->point, sizeof key->point, out) == 0 ? ERR_OK : ERR_TLS;
}

static enum err put_extensions(struct der *der, const struct tls_request *request) {
  uint8_t subject[WC_SHA256_DIGEST_SIZE], issuer[WC_SHA256_DIGEST_SIZE];
  if (key_id(request->key, subject) != ERR_OK || key_id(request->issuer_key, issuer) != ERR_OK)
    return ERR_TLS;
  size_t all = der->at, end = all;
  der_value(der, TAG_KEY_ID, issuer, KEY_ID_BYTES);
  der_wrap(der, TAG_SEQUENCE, end);
  put_extension(der, oid_issuer_key, sizeof oid_issuer_key, false, end);
  end = der->at;
  der_value(der, TAG_OCTETS, subject, KEY_ID_BYTES);
  put_extension(der, oid_subject_key, sizeof oid_subject_key, false, end);
  if (request->usage != TLS_FOR_AUTHORITY)
    put_alternative_name(der, request->name);
  put_usage(der, request->usage);
  der_wrap(der, TAG_SEQUENCE, all);
  der_wrap(der, TAG_3, all);
  return ERR_OK;
}

/* ---- signing ---- */

static enum err with_key(ecc_key *key, WC_RNG *rng, const struct tls_key *from) {
  int result = wc_ecc_import_private_key(from->secret, sizeof from->secret, from->point, sizeof from->point, key);
  return result == 0 && wc_ecc_set_rng(key, rng) == 0 ? ERR_OK : ERR_TLS;
}

static enum err sign(const struct tls_key *by, const uint8_t *data, size_t len, uint8_t *out, word32 *out_len) {
  uint8_t hash[WC_SHA256_DIGEST_SIZE];
  WC_RNG rng;
  ecc_key key;
  if (wc_Sha256Hash(data, (word32)len, hash) != 0 || wc_InitRng(&rng) != 0)
    return ERR_TLS;
  enum err err = ERR_TLS;
  if (wc_ecc_init(&key) == 0) {
    err = with_key(&key, &rng, by);
    if (err == ERR_OK && wc_ecc_sign_hash(hash, sizeof hash, out, out_len, &rng, &key) != 0)
      err = ERR_TLS;
    wc_ecc_free(&key);
  }
  wc_FreeRng(&rng);
  return err;
}

enum err tls_make_key(struct tls_key *out) {
  WC_RNG rng;
  ecc_key key;
  if (wc_InitRng(&rng) != 0)
    return ERR_TLS;
  enum err err = ERR_TLS;
  if (wc_ecc_init(&key) == 0) {
    word32 secret_len = sizeof out->secret, point_len = sizeof out->point;
    if (wc_ecc_make_key_ex(&rng, sizeof out->secret, &key, ECC_SECP256R1) == 0 &&
        wc_ecc_export_private_only(&key, out->secret, &secret_len) == 0 &&
        wc_ecc_export_x963(&key, out->point, &point_len) == 0 && secret_len == sizeof out->secret &&
        point_len == sizeof out->point)
      err = ERR_OK;
    wc_ecc_free(&key);
  }
  wc_FreeRng(&rng);
  return err;
}

/* ---- PEM ---- */

static void write_pem(const struct der *der, const char *label, char out[TLS_PEM_MAX]) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t used = (size_t)snprintf(out, TLS_PEM_MAX, "-----BEGIN %s-----\n", label);
  unsigned column = 0;
  for (size_t i = der->at; i < DER_MAX; i += 3) {
    size_t left = DER_MAX - i;
    unsigned bits = (unsigned)der->bytes[i] << 16 | (left > 1 ? (unsigned)der->bytes[i + 1] << 8 : 0) |
                    (left > 2 ? der->bytes[i + 2] : 0);
    must(used + 64 < TLS_PEM_MAX);
    for (unsigned j = 0; j < 4; j++)
      out[used++] = j <= left ? digits[bits >> (18 - 6 * j) & 63] : '=';
    column += 4;
    if (column == 64 || left <= 3) {
      out[used++] = '\n';
      column = 0;
    }
  }
  snprintf(out + used, TLS_PEM_MAX - used, "-----END %s-----\n", label);
}

enum err tls_make_key_pem(const struct tls_key *key, char out[TLS_PEM_MAX]) {
  struct der der = {.at = DER_MAX};
  der_bits(&der, key->point, sizeof key->point, 0);
  der_wrap(&der, TAG_1, DER_MAX);
  der_value(&der, TAG_OCTETS, key->secret, sizeof key->secret);
  der_small(&der, 1);
  der_wrap(&der, TAG_SEQUENCE, DER_MAX);
  der_wrap(&der, TAG_OCTETS, DER_MAX);
  put_key_algorithm(&der);
  der_small(&der, 0);
  der_wrap(&der, TAG_SEQUENCE, DER_MAX);
  write_pem(&der, "PRIVATE KEY", out);
  explicit_bzero(&der, sizeof der);
  return ERR_OK;
}

/* What is signed. */
static enum err put_certificate(struct der *der, const struct tls_request *request) {
  size_t end = der->at;
  if (put_extensions(der, request) != ERR_OK)
    return ERR_TLS;
  put_public_key(der, request->key);
  put_name(der, request->name);
  put_validity(der, request);
  put_name(der, request->issuer);
  put_algorithm(der);
  uint8_t serial[SERIAL_BYTES];
  random_fill(serial, sizeof serial);
  serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40); /* positive, and of one length */
  der_value(der, TAG_INTEGER, serial, sizeof serial);
  size_t version = der->at;
  der_small(der, 2); /* v3 */
  der_wrap(der, TAG_0, version);
  der_wrap(der, TAG_SEQUENCE, end);
  return ERR_OK;
}

enum err tls_make_certificate_pem(const struct tls_request *request, char out[TLS_PEM_MAX]) {
  must(strlen(request->name) <= TLS_NAME_MAX && strlen(request->issuer) <= TLS_NAME_MAX);
  struct der signed_part = {.at = DER_MAX}, der = {.at = DER_MAX};
  uint8_t signature[80];
  word32 signature_len = sizeof signature;
  if (put_certificate(&signed_part, request) != ERR_OK)
    return ERR_TLS;
  const uint8_t *data = signed_part.bytes + signed_part.at;
  size_t len = DER_MAX - signed_part.at;
  if (sign(request->issuer_key, data, len, signature, &signature_len) != ERR_OK)
    return ERR_TLS;
  der_bits(&der, signature, signature_len, 0);
  put_algorithm(&der);
  der_bytes(&der, data, len);
  der_wrap(&der, TAG_SEQUENCE, DER_MAX);
  write_pem(&der, "CERTIFICATE", out);
  return ERR_OK;
}
