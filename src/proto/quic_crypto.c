/* Packet protection (RFC 9001 section 5) straight on AES code: quic_gcm.c's where the CPU is one for it, wolfCrypt's
   otherwise and for header protection. ngtcp2's wolfSSL helper goes through the EVP layer, which for every packet
   allocates and frees twice and copies the payload once more; the linker sends its eight functions that touch packets
   here (--wrap). For the AES suites a context is a key that was expanded once; everything else, ChaCha20 in the first
   place, is handed on to the helper. tests/unit/quic_crypto_test.c compares the paths.

   The handshake, HKDF and key updates stay the helper's. */
#include <wolfssl/options.h>

#include <stdlib.h>
#include <string.h>

#include <wolfssl/openssl/evp.h>
#include <wolfssl/quic.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/aes.h>

#include "base/must.h"
#include "proto/quic_gcm.h"
#include "proto/quic_priv.h"

enum { KEY_ALIGNMENT = 64 };

struct packet_key {
  void *helper;        /* the helper's own handle; NULL: one of those below */
  struct gcm_key *gcm; /* NULL: |aes| is used */
  Aes aes;
};

#define WRAPPED(result, name, parameters)                                                                              \
  result __real_ngtcp2_crypto_##name parameters;                                                                       \
  result __wrap_ngtcp2_crypto_##name parameters

WRAPPED(int, aead_ctx_encrypt_init,
        (ngtcp2_crypto_aead_ctx * ctx, const ngtcp2_crypto_aead *aead, const uint8_t *key, size_t nonce_len));
WRAPPED(int, aead_ctx_decrypt_init,
        (ngtcp2_crypto_aead_ctx * ctx, const ngtcp2_crypto_aead *aead, const uint8_t *key, size_t nonce_len));
WRAPPED(void, aead_ctx_free, (ngtcp2_crypto_aead_ctx * ctx));
WRAPPED(int, cipher_ctx_encrypt_init,
        (ngtcp2_crypto_cipher_ctx * ctx, const ngtcp2_crypto_cipher *cipher, const uint8_t *key));
WRAPPED(void, cipher_ctx_free, (ngtcp2_crypto_cipher_ctx * ctx));
WRAPPED(int, encrypt,
        (uint8_t * out, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *plain,
         size_t plain_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len));
WRAPPED(int, decrypt,
        (uint8_t * out, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *sealed,
         size_t sealed_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len));
WRAPPED(int, hp_mask,
        (uint8_t * out, const ngtcp2_crypto_cipher *cipher, const ngtcp2_crypto_cipher_ctx *ctx,
         const uint8_t *sample));

static struct packet_key *key_new(void) {
  _Static_assert(_Alignof(Aes) <= KEY_ALIGNMENT, "an Aes is aligned in memory from aligned_alloc");
  size_t bytes = (sizeof(struct packet_key) + KEY_ALIGNMENT - 1) / KEY_ALIGNMENT * KEY_ALIGNMENT;
  struct packet_key *key = aligned_alloc(KEY_ALIGNMENT, bytes);
  if (key != NULL)
    memset(key, 0, bytes);
  return key;
}

static void key_free(struct packet_key *key) {
  if (key->gcm != NULL)
    gcm_key_free(key->gcm);
  else if (key->helper == NULL)
    wc_AesFree(&key->aes);
  explicit_bzero(key, sizeof *key);
  free(key);
}

typedef int set_key_f(Aes *aes, const uint8_t *key, word32 len);

static int set_packet_key(Aes *aes, const uint8_t *key, word32 len) { return wc_AesGcmSetKey(aes, key, len); }

static int set_header_key(Aes *aes, const uint8_t *key, word32 len) {
  return wc_AesSetKeyDirect(aes, key, len, NULL, AES_ENCRYPTION);
}

/* A key of our own. NULL: out of memory. */
static struct packet_key *key_direct(const WOLFSSL_EVP_CIPHER *cipher, const uint8_t *raw, set_key_f *set_key) {
  struct packet_key *key = key_new();
  if (key == NULL)
    return NULL;
  if (wc_AesInit(&key->aes, NULL, INVALID_DEVID) != 0 ||
      set_key(&key->aes, raw, (word32)wolfSSL_EVP_Cipher_key_length(cipher)) != 0) {
    key_free(key);
    return NULL;
  }
  return key;
}

/* The same for packets, where gcm_code() is not GCM_NONE. */
static struct packet_key *key_of_gcm(const WOLFSSL_EVP_CIPHER *cipher, const uint8_t *raw) {
  struct packet_key *key = key_new();
  if (key == NULL)
    return NULL;
  key->gcm = gcm_key_new(raw, (size_t)wolfSSL_EVP_Cipher_key_length(cipher));
  if (key->gcm == NULL) {
    free(key);
    return NULL;
  }
  return key;
}

/* A key that only carries the helper's handle. NULL: out of memory. */
static struct packet_key *key_of_helper(void *helper) {
  struct packet_key *key = key_new();
  if (key != NULL)
    key->helper = helper;
  return key;
}

typedef int aead_init_f(ngtcp2_crypto_aead_ctx *ctx, const ngtcp2_crypto_aead *aead, const uint8_t *key,
                        size_t nonce_len);

static int aead_init(ngtcp2_crypto_aead_ctx *ctx, const ngtcp2_crypto_aead *aead, const uint8_t *raw, size_t nonce_len,
                     aead_init_f *real) {
  ngtcp2_crypto_aead_ctx helper;
  if (wolfSSL_quic_aead_is_gcm(aead->native_handle)) {
    must(nonce_len == GCM_NONCE_BYTES);
    ctx->native_handle = gcm_code() != GCM_NONE ? key_of_gcm(aead->native_handle, raw)
                                                : key_direct(aead->native_handle, raw, set_packet_key);
  } else if (real(&helper, aead, raw, nonce_len) != 0) {
    ctx->native_handle = NULL;
  } else {
    ctx->native_handle = key_of_helper(helper.native_handle);
    if (ctx->native_handle == NULL)
      __real_ngtcp2_crypto_aead_ctx_free(&helper);
  }
  return ctx->native_handle != NULL ? 0 : -1;
}

int __wrap_ngtcp2_crypto_aead_ctx_encrypt_init(ngtcp2_crypto_aead_ctx *ctx, const ngtcp2_crypto_aead *aead,
                                               const uint8_t *key, size_t nonce_len) {
  return aead_init(ctx, aead, key, nonce_len, __real_ngtcp2_crypto_aead_ctx_encrypt_init);
}

int __wrap_ngtcp2_crypto_aead_ctx_decrypt_init(ngtcp2_crypto_aead_ctx *ctx, const ngtcp2_crypto_aead *aead,
                                               const uint8_t *key, size_t nonce_len) {
  return aead_init(ctx, aead, key, nonce_len, __real_ngtcp2_crypto_aead_ctx_decrypt_init);
}

void __wrap_ngtcp2_crypto_aead_ctx_free(ngtcp2_crypto_aead_ctx *ctx) {
  struct packet_key *key = ctx->native_handle;
  if (key == NULL)
    return;
  if (key->helper != NULL)
    __real_ngtcp2_crypto_aead_ctx_free(&(ngtcp2_crypto_aead_ctx){.native_handle = key->helper});
  key_free(key);
}

static bool is_aes_block(const WOLFSSL_EVP_CIPHER *cipher) {
  int nid = wolfSSL_EVP_CIPHER_nid(cipher);
  return nid == NID_aes_128_ecb || nid == NID_aes_256_ecb;
}

int __wrap_ngtcp2_crypto_cipher_ctx_encrypt_init(ngtcp2_crypto_cipher_ctx *ctx, const ngtcp2_crypto_cipher *cipher,
                                                 const uint8_t *raw) {
  ngtcp2_crypto_cipher_ctx helper;
  if (is_aes_block(cipher->native_handle)) {
    ctx->native_handle = key_direct(cipher->native_handle, raw, set_header_key);
  } else if (__real_ngtcp2_crypto_cipher_ctx_encrypt_init(&helper, cipher, raw) != 0) {
    ctx->native_handle = NULL;
  } else {
    ctx->native_handle = key_of_helper(helper.native_handle);
    if (ctx->native_handle == NULL)
      __real_ngtcp2_crypto_cipher_ctx_free(&helper);
  }
  return ctx->native_handle != NULL ? 0 : -1;
}

void __wrap_ngtcp2_crypto_cipher_ctx_free(ngtcp2_crypto_cipher_ctx *ctx) {
  struct packet_key *key = ctx->native_handle;
  if (key == NULL)
    return;
  if (key->helper != NULL)
    __real_ngtcp2_crypto_cipher_ctx_free(&(ngtcp2_crypto_cipher_ctx){.native_handle = key->helper});
  key_free(key);
}

int __wrap_ngtcp2_crypto_encrypt(uint8_t *out, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                                 const uint8_t *plain, size_t plain_len, const uint8_t *nonce, size_t nonce_len,
                                 const uint8_t *aad, size_t aad_len) {
  struct packet_key *key = ctx->native_handle;
  if (key->helper != NULL)
    return __real_ngtcp2_crypto_encrypt(out, aead, &(ngtcp2_crypto_aead_ctx){.native_handle = key->helper}, plain,
                                        plain_len, nonce, nonce_len, aad, aad_len);
  if (key->gcm != NULL) {
    gcm_seal(key->gcm, out, plain, plain_len, nonce, aad, aad_len);
    return 0;
  }
  return wc_AesGcmEncrypt(&key->aes, out, plain, (word32)plain_len, nonce, (word32)nonce_len, out + plain_len,
                          GCM_TAG_BYTES, aad, (word32)aad_len) == 0
             ? 0
             : -1;
}

int __wrap_ngtcp2_crypto_decrypt(uint8_t *out, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                                 const uint8_t *sealed, size_t sealed_len, const uint8_t *nonce, size_t nonce_len,
                                 const uint8_t *aad, size_t aad_len) {
  struct packet_key *key = ctx->native_handle;
  if (key->helper != NULL)
    return __real_ngtcp2_crypto_decrypt(out, aead, &(ngtcp2_crypto_aead_ctx){.native_handle = key->helper}, sealed,
                                        sealed_len, nonce, nonce_len, aad, aad_len);
  if (sealed_len < GCM_TAG_BYTES)
    return -1;
  size_t plain_len = sealed_len - GCM_TAG_BYTES;
  if (key->gcm != NULL)
    return gcm_open(key->gcm, out, sealed, plain_len, nonce, aad, aad_len) ? 0 : -1;
  return wc_AesGcmDecrypt(&key->aes, out, sealed, (word32)plain_len, nonce, (word32)nonce_len, sealed + plain_len,
                          GCM_TAG_BYTES, aad, (word32)aad_len) == 0
             ? 0
             : -1;
}

int __wrap_ngtcp2_crypto_hp_mask(uint8_t *out, const ngtcp2_crypto_cipher *cipher, const ngtcp2_crypto_cipher_ctx *ctx,
                                 const uint8_t *sample) {
  struct packet_key *key = ctx->native_handle;
  if (key->helper != NULL)
    return __real_ngtcp2_crypto_hp_mask(out, cipher, &(ngtcp2_crypto_cipher_ctx){.native_handle = key->helper}, sample);
  /* One that is not aligned would be copied by wolfSSL, into memory of malloc. */
  _Alignas(WC_AES_BLOCK_SIZE) uint8_t block[WC_AES_BLOCK_SIZE];
  memcpy(block, sample, sizeof block);
  return wc_AesEncryptDirect(&key->aes, out, block) == 0 ? 0 : -1;
}
