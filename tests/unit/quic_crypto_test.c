/* Packet protection, with each AES code that this CPU can run, against the helper's own path (__real_) and against RFC
   9001 appendix A. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <wolfssl/options.h>

#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_wolfssl.h>
#include <wolfssl/openssl/evp.h>
#include <wolfssl/quic.h>
#include <wolfssl/ssl.h>

#include "proto/quic_gcm.h"
#include "unit/support.h"

enum { TAG = 16, PACKET_MAX = 1500 };

#define PAIR(result, name, parameters)                                                                                 \
  result __real_ngtcp2_crypto_##name parameters;                                                                       \
  result __wrap_ngtcp2_crypto_##name parameters

typedef ngtcp2_crypto_aead_ctx ctx_t;
PAIR(int, aead_ctx_encrypt_init, (ctx_t *, const ngtcp2_crypto_aead *, const uint8_t *, size_t));
PAIR(int, aead_ctx_decrypt_init, (ctx_t *, const ngtcp2_crypto_aead *, const uint8_t *, size_t));
PAIR(void, aead_ctx_free, (ctx_t *));
PAIR(int, cipher_ctx_encrypt_init, (ngtcp2_crypto_cipher_ctx *, const ngtcp2_crypto_cipher *, const uint8_t *));
PAIR(void, cipher_ctx_free, (ngtcp2_crypto_cipher_ctx *));
PAIR(int, encrypt,
     (uint8_t *, const ngtcp2_crypto_aead *, const ctx_t *, const uint8_t *, size_t, const uint8_t *, size_t,
      const uint8_t *, size_t));
PAIR(int, decrypt,
     (uint8_t *, const ngtcp2_crypto_aead *, const ctx_t *, const uint8_t *, size_t, const uint8_t *, size_t,
      const uint8_t *, size_t));
PAIR(int, hp_mask, (uint8_t *, const ngtcp2_crypto_cipher *, const ngtcp2_crypto_cipher_ctx *, const uint8_t *));

static void fill(uint64_t *seed, uint8_t *out, size_t len) {
  for (size_t i = 0; i < len; i++)
    out[i] = (uint8_t)draw(seed);
}

/* The API takes the cipher without const. */
static void set_aead(ngtcp2_crypto_aead *aead, const WOLFSSL_EVP_CIPHER *cipher) {
  memcpy(&aead->native_handle, &cipher, sizeof cipher);
  aead->max_overhead = TAG;
}

/* The same bytes come out of both, and each opens what the other sealed. |ours_alone|: neither wolfCrypt nor the helper
   is behind ours. */
static void compare(const WOLFSSL_EVP_CIPHER *cipher, uint64_t seed, bool ours_alone) {
  ngtcp2_crypto_aead aead;
  ctx_t ours, theirs, ours_in, theirs_in;
  uint8_t key[32], nonce[12], aad[64], plain[PACKET_MAX], a[PACKET_MAX + TAG], b[PACKET_MAX + TAG], back[PACKET_MAX];
  set_aead(&aead, cipher);
  for (int round = 0; round < 200; round++) {
    fill(&seed, key, sizeof key);
    assert_int_equal(__wrap_ngtcp2_crypto_aead_ctx_encrypt_init(&ours, &aead, key, 12), 0);
    assert_int_equal(__real_ngtcp2_crypto_aead_ctx_encrypt_init(&theirs, &aead, key, 12), 0);
    assert_int_equal(__wrap_ngtcp2_crypto_aead_ctx_decrypt_init(&ours_in, &aead, key, 12), 0);
    assert_int_equal(__real_ngtcp2_crypto_aead_ctx_decrypt_init(&theirs_in, &aead, key, 12), 0);
    for (int packet = 0; packet < 4; packet++) {
      size_t len = round == 0 ? (size_t)packet : draw_below(&seed, PACKET_MAX + 1);
      size_t aad_len = 1 + draw_below(&seed, sizeof aad);
      fill(&seed, nonce, sizeof nonce);
      fill(&seed, aad, aad_len);
      fill(&seed, plain, len);
      memcpy(a, plain, len); /* in place, as ngtcp2 does it */
      assert_int_equal(__wrap_ngtcp2_crypto_encrypt(a, &aead, &ours, a, len, nonce, 12, aad, aad_len), 0);
      assert_int_equal(__real_ngtcp2_crypto_encrypt(b, &aead, &theirs, plain, len, nonce, 12, aad, aad_len), 0);
      assert_memory_equal(a, b, len + TAG);
      assert_int_equal(__wrap_ngtcp2_crypto_decrypt(back, &aead, &ours_in, b, len + TAG, nonce, 12, aad, aad_len), 0);
      assert_true(len == 0 || memcmp(back, plain, len) == 0);
      a[draw_below(&seed, (uint32_t)(len + TAG))] ^= (uint8_t)(1U << draw_below(&seed, 8));
      memset(back, 0xa5, len);
      assert_int_not_equal(__wrap_ngtcp2_crypto_decrypt(back, &aead, &ours_in, a, len + TAG, nonce, 12, aad, aad_len),
                           0);
      for (size_t i = 0; ours_alone && i < len; i++)
        assert_int_equal(back[i], 0); /* quic_gcm.c's mark: it is really in use */
      assert_int_not_equal(__real_ngtcp2_crypto_decrypt(back, &aead, &theirs_in, a, len + TAG, nonce, 12, aad, aad_len),
                           0);
    }
    __wrap_ngtcp2_crypto_aead_ctx_free(&ours);
    __wrap_ngtcp2_crypto_aead_ctx_free(&ours_in);
    __real_ngtcp2_crypto_aead_ctx_free(&theirs);
    __real_ngtcp2_crypto_aead_ctx_free(&theirs_in);
  }
}

static void test_aead_as_the_helper(void **state) {
  (void)state;
  compare(wolfSSL_EVP_aes_128_gcm(), 1, gcm_code() != GCM_NONE);
  compare(wolfSSL_EVP_aes_256_gcm(), 2, gcm_code() != GCM_NONE);
  compare(wolfSSL_EVP_chacha20_poly1305(), 3, false);
}

static void compare_masks(const WOLFSSL_EVP_CIPHER *native, uint64_t seed) {
  ngtcp2_crypto_cipher cipher;
  memcpy(&cipher.native_handle, &native, sizeof native);
  for (int round = 0; round < 200; round++) {
    ngtcp2_crypto_cipher_ctx ours, theirs;
    uint8_t key[32], sample[16], a[32], b[32];
    fill(&seed, key, sizeof key);
    assert_int_equal(__wrap_ngtcp2_crypto_cipher_ctx_encrypt_init(&ours, &cipher, key), 0);
    assert_int_equal(__real_ngtcp2_crypto_cipher_ctx_encrypt_init(&theirs, &cipher, key), 0);
    for (int i = 0; i < 4; i++) {
      fill(&seed, sample, sizeof sample);
      assert_int_equal(__wrap_ngtcp2_crypto_hp_mask(a, &cipher, &ours, sample), 0);
      assert_int_equal(__real_ngtcp2_crypto_hp_mask(b, &cipher, &theirs, sample), 0);
      assert_memory_equal(a, b, NGTCP2_HP_MASKLEN);
    }
    __wrap_ngtcp2_crypto_cipher_ctx_free(&ours);
    __real_ngtcp2_crypto_cipher_ctx_free(&theirs);
  }
}

static void test_header_protection_as_the_helper(void **state) {
  (void)state;
  compare_masks(wolfSSL_EVP_aes_128_ecb(), 4);
  compare_masks(wolfSSL_EVP_aes_256_ecb(), 5);
  compare_masks(wolfSSL_EVP_chacha20(), 6);
}

/* RFC 9001 appendix A.2 (client's header key) and A.3 (a server's Initial is sealed with its key). */
static void test_known_answers(void **state) {
  (void)state;
  static const uint8_t hp[] = {0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10,
                               0x28, 0x3a, 0x1e, 0x99, 0x33, 0xad, 0xed, 0xd2};
  static const uint8_t sample[] = {0xd1, 0xb1, 0xc9, 0x8d, 0xd7, 0x68, 0x9f, 0xb8,
                                   0xec, 0x11, 0xd2, 0x42, 0xb1, 0x23, 0xdc, 0x9b};
  static const uint8_t mask[] = {0x43, 0x7b, 0x9a, 0xec, 0x36};
  const WOLFSSL_EVP_CIPHER *native = wolfSSL_EVP_aes_128_ecb();
  ngtcp2_crypto_cipher cipher;
  memcpy(&cipher.native_handle, &native, sizeof native);
  ngtcp2_crypto_cipher_ctx ctx;
  uint8_t out[16];
  assert_int_equal(__wrap_ngtcp2_crypto_cipher_ctx_encrypt_init(&ctx, &cipher, hp), 0);
  assert_int_equal(ngtcp2_crypto_hp_mask(out, &cipher, &ctx, sample), 0);
  assert_memory_equal(out, mask, sizeof mask);
  __wrap_ngtcp2_crypto_cipher_ctx_free(&ctx);

  static const uint8_t key[] = {0xcf, 0x3a, 0x53, 0x31, 0x65, 0x3c, 0x36, 0x4c,
                                0x88, 0xf0, 0xf3, 0x79, 0xb6, 0x06, 0x7e, 0x37};
  static const uint8_t nonce[] = {0x0a, 0xc1, 0x49, 0x3c, 0xa1, 0x90, 0x58, 0x53, 0xb0, 0xbb, 0xa0, 0x3e};
  static const uint8_t header[] = {0xc1, 0x00, 0x00, 0x00, 0x01, 0x00, 0x08, 0xf0, 0x67, 0xa5,
                                   0x50, 0x2a, 0x42, 0x62, 0xb5, 0x00, 0x40, 0x75, 0x00, 0x01};
  static const uint8_t sealed[] = {0x5a, 0x48, 0x2c, 0xd0, 0x99, 0x1c, 0xd2, 0x5b, 0x0a, 0xac, 0x40, 0x6a, 0x58};
  uint8_t nonce_of_packet[12];
  memcpy(nonce_of_packet, nonce, sizeof nonce);
  nonce_of_packet[11] ^= 1; /* packet number 1 */
  static const uint8_t payload[] = {
      0x02, 0x00, 0x00, 0x00, 0x00, 0x06, 0x00, 0x40, 0x5a, 0x02, 0x00, 0x00, 0x56, 0x03, 0x03, 0xee, 0xfc,
      0xe7, 0xf7, 0xb3, 0x7b, 0xa1, 0xd1, 0x63, 0x2e, 0x96, 0x67, 0x78, 0x25, 0xdd, 0xf7, 0x39, 0x88, 0xcf,
      0xc7, 0x98, 0x25, 0xdf, 0x56, 0x6d, 0xc5, 0x43, 0x0b, 0x9a, 0x04, 0x5a, 0x12, 0x00, 0x13, 0x01, 0x00,
      0x00, 0x2e, 0x00, 0x33, 0x00, 0x24, 0x00, 0x1d, 0x00, 0x20, 0x9d, 0x3c, 0x94, 0x0d, 0x89, 0x69, 0x0b,
      0x84, 0xd0, 0x8a, 0x60, 0x99, 0x3c, 0x14, 0x4e, 0xca, 0x68, 0x4d, 0x10, 0x81, 0x28, 0x7c, 0x83, 0x4d,
      0x53, 0x11, 0xbc, 0xf3, 0x2b, 0xb9, 0xda, 0x1a, 0x00, 0x2b, 0x00, 0x02, 0x03, 0x04};
  ngtcp2_crypto_aead aead;
  set_aead(&aead, wolfSSL_EVP_aes_128_gcm());
  ctx_t seal;
  uint8_t packet[sizeof payload + TAG];
  assert_int_equal(ngtcp2_crypto_aead_ctx_encrypt_init(&seal, &aead, key, 12), 0);
  assert_int_equal(
      ngtcp2_crypto_encrypt(packet, &aead, &seal, payload, sizeof payload, nonce_of_packet, 12, header, sizeof header),
      0);
  assert_memory_equal(packet, sealed, sizeof sealed);
  ngtcp2_crypto_aead_ctx_free(&seal);
}

/* Shorter than a tag: refused without looking. */
static void test_short_input(void **state) {
  (void)state;
  ngtcp2_crypto_aead aead;
  set_aead(&aead, wolfSSL_EVP_aes_128_gcm());
  ctx_t ctx;
  uint8_t key[16] = {0}, nonce[12] = {0}, data[TAG] = {0}, out[TAG];
  assert_int_equal(ngtcp2_crypto_aead_ctx_decrypt_init(&ctx, &aead, key, 12), 0);
  for (size_t len = 0; len <= TAG; len++)
    assert_int_not_equal(ngtcp2_crypto_decrypt(out, &aead, &ctx, data, len, nonce, 12, key, 4), 0);
  ngtcp2_crypto_aead_ctx_free(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_aead_as_the_helper),
      cmocka_unit_test(test_header_protection_as_the_helper),
      cmocka_unit_test(test_known_answers),
      cmocka_unit_test(test_short_input),
  };
  int failed = 0;
  for (enum gcm_code code = GCM_NONE; code < GCM_CODES; code++)
    if (gcm_use(code))
      failed += cmocka_run_group_tests_name(gcm_name(code), tests, NULL, NULL);
  return failed;
}
