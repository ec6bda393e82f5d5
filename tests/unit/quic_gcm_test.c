/* AES-GCM by each code of quic_gcm.c that this CPU can run, against published vectors and against wolfCrypt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>

#include "proto/quic_gcm.h"
#include "unit/support.h"

enum { TAG = GCM_TAG_BYTES, NONCE = GCM_NONCE_BYTES, LEN_MAX = 65507, AAD_MAX = 64, SHIFT_MAX = 63, MARGIN = 64 };
enum { MARK = 0xa5 };

/* Which code a test is for; the first test of each makes it the one in use. */
static bool use(void **state) {
  const enum gcm_code *code = *state;
  bool can = gcm_use(*code);
  if (!can)
    print_message("this CPU cannot run: %s\n", gcm_name(*code));
  return can;
}

static void fill(uint64_t *seed, uint8_t *out, size_t len) {
  for (size_t i = 0; i < len; i++)
    out[i] = (uint8_t)draw(seed);
}

static size_t from_hex(uint8_t *out, const char *hex) {
  size_t len = strlen(hex) / 2;
  for (size_t i = 0; i < len; i++) {
    unsigned byte;
    assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
    out[i] = (uint8_t)byte;
  }
  return len;
}

/* The Galois/Counter Mode of Operation, D. McGrew and J. Viega, appendix B: test cases 1, 2, 4, 13, 14 and 16, which
   NIST's validation has, too. */
static const struct vector {
  const char *key, *nonce, *aad, *plain, *sealed;
} vectors[] = {
    {"00000000000000000000000000000000", "000000000000000000000000", "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
    {"00000000000000000000000000000000", "000000000000000000000000", "", "00000000000000000000000000000000",
     "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"},
    {"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac97"
     "3d58e0915bc94fbc3221a5db94fae95ae7121a47"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
     "bcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
};

static void test_known_answers(void **state) {
  if (!use(state))
    return;
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    uint8_t key[32], nonce[NONCE], aad[32], plain[64], sealed[64 + TAG], out[64 + TAG];
    struct gcm_key *gcm = gcm_key_new(key, from_hex(key, vectors[i].key));
    assert_non_null(gcm);
    from_hex(nonce, vectors[i].nonce);
    size_t aad_len = from_hex(aad, vectors[i].aad), len = from_hex(plain, vectors[i].plain);
    assert_int_equal(from_hex(sealed, vectors[i].sealed), len + TAG);
    gcm_seal(gcm, out, plain, len, nonce, aad, aad_len);
    assert_memory_equal(out, sealed, len + TAG);
    assert_true(gcm_open(gcm, out, sealed, len, nonce, aad, aad_len));
    assert_memory_equal(out, plain, len);
    gcm_key_free(gcm);
  }
}

/* Room for a packet at any alignment, with a margin on both sides that nobody may write to. */
struct room {
  uint8_t *memory, *at;
};

static struct room room_new(void) {
  struct room room = {.memory = aligned_alloc(64, (MARGIN + SHIFT_MAX + LEN_MAX + TAG + MARGIN + 63) / 64 * 64)};
  assert_non_null(room.memory);
  return room;
}

static void room_set(struct room *room, size_t shift, size_t len) {
  room->at = room->memory + MARGIN + shift;
  memset(room->at - MARGIN, MARK, MARGIN + len + MARGIN);
}

static void room_check(const struct room *room, size_t len) {
  for (size_t i = 1; i <= MARGIN; i++)
    assert_true(room->at[-(ptrdiff_t)i] == MARK && room->at[len + i - 1] == MARK);
}

static bool all_zero(const uint8_t *bytes, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (bytes[i] != 0)
      return false;
  return true;
}

struct bench {
  Aes aes;
  struct gcm_key *gcm;
  struct room plain, sealed, out;
  uint8_t *wanted; /* what wolfCrypt makes */
  uint8_t nonce[NONCE], aad[AAD_MAX];
  uint64_t seed;
};

static void bench_open(struct bench *bench, uint64_t seed, size_t key_len) {
  uint8_t key[32];
  bench->seed = seed;
  fill(&bench->seed, key, sizeof key);
  assert_int_equal(wc_AesInit(&bench->aes, NULL, INVALID_DEVID), 0);
  assert_int_equal(wc_AesGcmSetKey(&bench->aes, key, (word32)key_len), 0);
  bench->gcm = gcm_key_new(key, key_len);
  assert_non_null(bench->gcm);
  bench->plain = room_new();
  bench->sealed = room_new();
  bench->out = room_new();
  bench->wanted = malloc(LEN_MAX + TAG);
  assert_non_null(bench->wanted);
}

static void bench_close(struct bench *bench) {
  wc_AesFree(&bench->aes);
  gcm_key_free(bench->gcm);
  free(bench->plain.memory);
  free(bench->sealed.memory);
  free(bench->out.memory);
  free(bench->wanted);
}

/* One bit of what is sealed, of its tag, of the nonce or of what goes with it in the clear is another one. */
static void refuse(struct bench *bench, size_t len, size_t aad_len) {
  uint8_t *parts[] = {bench->sealed.at, bench->sealed.at + len, bench->nonce, bench->aad};
  const size_t lens[] = {len, TAG, NONCE, aad_len};
  for (size_t i = 0; i < 4; i++) {
    if (lens[i] == 0)
      continue;
    uint8_t *byte = &parts[i][draw_below(&bench->seed, (uint32_t)lens[i])];
    uint8_t bit = (uint8_t)(1U << draw_below(&bench->seed, 8));
    *byte ^= bit;
    memset(bench->out.at, MARK, len);
    assert_false(gcm_open(bench->gcm, bench->out.at, bench->sealed.at, len, bench->nonce, bench->aad, aad_len));
    assert_true(all_zero(bench->out.at, len));
    room_check(&bench->out, len);
    *byte ^= bit;
  }
}

/* From buffer to buffer and in place: what wolfCrypt makes, and back. Nothing is read or written around it. */
static void compare(struct bench *bench, size_t len, size_t aad_len) {
  const uint8_t *aad = aad_len > 0 ? bench->aad : NULL;
  size_t shift = draw_below(&bench->seed, SHIFT_MAX + 1);
  room_set(&bench->plain, shift, len);
  fill(&bench->seed, bench->plain.at, len);
  fill(&bench->seed, bench->nonce, NONCE);
  fill(&bench->seed, bench->aad, aad_len);
  assert_int_equal(wc_AesGcmEncrypt(&bench->aes, bench->wanted, bench->plain.at, (word32)len, bench->nonce, NONCE,
                                    bench->wanted + len, TAG, aad, (word32)aad_len),
                   0);
  room_set(&bench->sealed, draw_below(&bench->seed, SHIFT_MAX + 1), len + TAG);
  gcm_seal(bench->gcm, bench->sealed.at, bench->plain.at, len, bench->nonce, aad, aad_len);
  assert_memory_equal(bench->sealed.at, bench->wanted, len + TAG);
  room_check(&bench->sealed, len + TAG);
  room_check(&bench->plain, len);

  room_set(&bench->out, draw_below(&bench->seed, SHIFT_MAX + 1), len); /* the tag is not written there */
  assert_true(gcm_open(bench->gcm, bench->out.at, bench->sealed.at, len, bench->nonce, aad, aad_len));
  assert_true(len == 0 || memcmp(bench->out.at, bench->plain.at, len) == 0);
  room_check(&bench->out, len);
  refuse(bench, len, aad_len);

  room_set(&bench->out, shift, len + TAG);
  memcpy(bench->out.at, bench->plain.at, len);
  gcm_seal(bench->gcm, bench->out.at, bench->out.at, len, bench->nonce, aad, aad_len);
  assert_memory_equal(bench->out.at, bench->wanted, len + TAG);
  assert_true(gcm_open(bench->gcm, bench->out.at, bench->out.at, len, bench->nonce, aad, aad_len));
  assert_true(len == 0 || memcmp(bench->out.at, bench->plain.at, len) == 0);
  room_check(&bench->out, len + TAG);
}

static void test_as_wolfcrypt(void **state) {
  if (!use(state))
    return;
  static const size_t large[] = {2047,  2048,  3000,  4095,  4096,  4097,  8192,  8900,  8952,
                                 12288, 16000, 16383, 16384, 16385, 32768, 60000, 65491, LEN_MAX};
  for (size_t key_len = 16; key_len <= 32; key_len += 16) {
    struct bench bench;
    bench_open(&bench, key_len, key_len);
    for (size_t len = 0; len <= 1500; len++)
      compare(&bench, len, len % (AAD_MAX + 1));
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
      compare(&bench, large[i], 13 + i);
    for (size_t aad_len = 0; aad_len <= AAD_MAX; aad_len++)
      for (size_t i = 0; i < 8; i++)
        compare(&bench, draw_below(&bench.seed, 1501), aad_len);
    bench_close(&bench);
  }
}

/* A nonce that differs in each packet in turn, and blocks beyond the 256 that one byte of the counter counts. */
static void test_many_keys(void **state) {
  if (!use(state))
    return;
  for (uint64_t seed = 100; seed < 400; seed++) {
    struct bench bench;
    bench_open(&bench, seed, seed % 2 == 0 ? 16 : 32);
    compare(&bench, draw_below(&bench.seed, 9000), draw_below(&bench.seed, AAD_MAX + 1));
    bench_close(&bench);
  }
}

static void test_other_lengths_of_keys(void **state) {
  if (!use(state))
    return;
  static const uint8_t raw[64];
  for (size_t len = 0; len <= sizeof raw; len++) {
    struct gcm_key *key = gcm_key_new(raw, len);
    assert_int_equal(key != NULL, len == 16 || len == 32);
    if (key != NULL)
      gcm_key_free(key);
  }
}

/* Before any other: the best is in use, and what cannot run is not. */
static void test_choice(void **state) {
  (void)state;
  enum gcm_code best = gcm_code();
  print_message("in use here: %s\n", gcm_name(best));
  for (enum gcm_code code = GCM_NONE; code < GCM_CODES; code++) {
    bool can = gcm_use(code);
    assert_int_equal(can, code <= best);
    assert_int_equal(gcm_code(), can ? code : best);
    assert_true(gcm_use(best));
  }
}

int main(void) {
  static enum gcm_code avx2 = GCM_VAES_AVX2, avx512 = GCM_VAES_AVX512;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_choice),
      cmocka_unit_test_prestate(test_known_answers, &avx2),
      cmocka_unit_test_prestate(test_known_answers, &avx512),
      cmocka_unit_test_prestate(test_as_wolfcrypt, &avx2),
      cmocka_unit_test_prestate(test_as_wolfcrypt, &avx512),
      cmocka_unit_test_prestate(test_many_keys, &avx2),
      cmocka_unit_test_prestate(test_many_keys, &avx512),
      cmocka_unit_test_prestate(test_other_lengths_of_keys, &avx2),
      cmocka_unit_test_prestate(test_other_lengths_of_keys, &avx512),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
