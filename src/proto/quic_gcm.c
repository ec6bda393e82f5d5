/* The library's functions for one kind of CPU each are called by their names, which its header does not declare, and
   not through its manager: that would link all of its algorithms. tools/deps takes just these functions from one build
   of it, and tests/unit/quic_gcm_test.c compares each with wolfCrypt. They read and write nothing but what they are
   given: the library's one variable, imb_errno, is only written for arguments that are never passed here. */
#include "proto/quic_gcm.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

#ifdef PTP_IPSEC_MB
#include <cpuid.h>
#include <intel-ipsec-mb.h>
#else /* CPUs of another kind */
struct gcm_key_data {
  uint64_t none;
};
struct gcm_context_data {
  uint64_t none;
};
#endif

typedef void expand_f(const void *raw, void *round_keys);
typedef void precompute_f(struct gcm_key_data *data);
typedef void crypt_f(const struct gcm_key_data *data, struct gcm_context_data *context, uint8_t *out, const uint8_t *in,
                     uint64_t len, const uint8_t *nonce, const uint8_t *aad, uint64_t aad_len, uint8_t *tag,
                     uint64_t tag_len);

/* For keys of one length. */
struct code {
  expand_f *expand; /* to the start of gcm_key_data */
  precompute_f *precompute;
  crypt_f *seal, *open;
};

struct gcm_key {
  struct gcm_key_data data;
  struct gcm_context_data context; /* of one call, here so that it is wiped with the key */
  const struct code *code;
};

enum { KEY_128, KEY_256, KEY_LENGTHS };

#ifdef PTP_IPSEC_MB

expand_f aes_keyexp_128_enc_avx2, aes_keyexp_256_enc_avx2;
precompute_f aes_gcm_precomp_128_vaes_avx2, aes_gcm_precomp_256_vaes_avx2;
precompute_f aes_gcm_precomp_128_vaes_avx512, aes_gcm_precomp_256_vaes_avx512;
crypt_f aes_gcm_enc_128_vaes_avx2, aes_gcm_dec_128_vaes_avx2, aes_gcm_enc_256_vaes_avx2, aes_gcm_dec_256_vaes_avx2;
crypt_f aes_gcm_enc_128_vaes_avx512, aes_gcm_dec_128_vaes_avx512;
crypt_f aes_gcm_enc_256_vaes_avx512, aes_gcm_dec_256_vaes_avx512;

#define CODE(bits, cpu)                                                                                                \
  {                                                                                                                    \
    aes_keyexp_##bits##_enc_avx2, aes_gcm_precomp_##bits##_##cpu, aes_gcm_enc_##bits##_##cpu,                          \
        aes_gcm_dec_##bits##_##cpu                                                                                     \
  }

static const struct code codes[GCM_CODES][KEY_LENGTHS] = {
    [GCM_VAES_AVX2] = {CODE(128, vaes_avx2), CODE(256, vaes_avx2)},
    [GCM_VAES_AVX512] = {CODE(128, vaes_avx512), CODE(256, vaes_avx512)},
};

/* The compiler's support says no, too, where the operating system does not keep the registers. Some versions of it do
   not know VAES: with AVX2, it is there when the CPU has it. */
static bool can_run(enum gcm_code code) {
  unsigned eax, ebx, ecx = 0, edx;
  bool avx2 = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ecx & bit_VAES) != 0 && (ecx & bit_VPCLMULQDQ) != 0 &&
              __builtin_cpu_supports("avx2");
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return code == GCM_NONE || (avx2 && (code == GCM_VAES_AVX2 || avx512));
}

#else

static const struct code codes[GCM_CODES][KEY_LENGTHS];

static bool can_run(enum gcm_code code) { return code == GCM_NONE; }

#endif

/* GCM_CODES: nobody has asked yet. Two threads that ask first at the same time find the same. */
static _Atomic(enum gcm_code) chosen = GCM_CODES;

enum gcm_code gcm_code(void) {
  enum gcm_code code = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (code == GCM_CODES) {
    for (code = GCM_CODES - 1; !can_run(code); code--)
      ;
    atomic_store_explicit(&chosen, code, memory_order_relaxed);
  }
  return code;
}

bool gcm_use(enum gcm_code code) {
  bool can = can_run(code);
  if (can)
    atomic_store_explicit(&chosen, code, memory_order_relaxed);
  return can;
}

struct gcm_key *gcm_key_new(const uint8_t *raw, size_t len) {
  enum gcm_code code = gcm_code();
  must(code != GCM_NONE);
  if (len != 16 && len != 32)
    return NULL;
  struct gcm_key *key = aligned_alloc(_Alignof(struct gcm_key), sizeof *key);
  if (key == NULL)
    return NULL;
  memset(key, 0, sizeof *key);
  key->code = &codes[code][len == 32 ? KEY_256 : KEY_128];
  key->code->expand(raw, &key->data);
  key->code->precompute(&key->data);
  return key;
}

void gcm_key_free(struct gcm_key *key) {
  explicit_bzero(key, sizeof *key);
  free(key);
}

void gcm_seal(struct gcm_key *key, uint8_t *out, const uint8_t *plain, size_t len, const uint8_t nonce[GCM_NONCE_BYTES],
              const uint8_t *aad, size_t aad_len) {
  key->code->seal(&key->data, &key->context, out, plain, len, nonce, aad, aad_len, out + len, GCM_TAG_BYTES);
}

/* In the same time wherever they differ. */
static bool same_tag(const uint8_t a[GCM_TAG_BYTES], const uint8_t b[GCM_TAG_BYTES]) {
  uint64_t x[2], y[2];
  memcpy(x, a, sizeof x);
  memcpy(y, b, sizeof y);
  return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

bool gcm_open(struct gcm_key *key, uint8_t *out, const uint8_t *sealed, size_t len,
              const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *aad, size_t aad_len) {
  uint8_t tag[GCM_TAG_BYTES];
  key->code->open(&key->data, &key->context, out, sealed, len, nonce, aad, aad_len, tag, sizeof tag);
  if (same_tag(tag, sealed + len))
    return true;
  if (len > 0)
    memset(out, 0, len);
  explicit_bzero(tag, sizeof tag); /* with it, what came would pass */
  return false;
}

const char *gcm_name(enum gcm_code code) {
  static const char *const names[GCM_CODES] = {
      [GCM_NONE] = "wolfCrypt",
      [GCM_VAES_AVX2] = "intel-ipsec-mb (VAES, AVX2)",
      [GCM_VAES_AVX512] = "intel-ipsec-mb (VAES, AVX-512)",
  };
  must(code < GCM_CODES);
  return names[code];
}
