/* AES-GCM of packets by intel-ipsec-mb, for CPUs with the vector forms of the AES and carry-less multiply instructions
   (VAES, VPCLMULQDQ): half of wolfCrypt's time or less, at every length. Where it is not built in, or the CPU has none
   of them, there is GCM_NONE only, and wolfCrypt does it all. */
#ifndef PTP_PROTO_QUIC_GCM_H
#define PTP_PROTO_QUIC_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GCM_TAG_BYTES = 16, GCM_NONCE_BYTES = 12 };

enum gcm_code { GCM_NONE, GCM_VAES_AVX2, GCM_VAES_AVX512, GCM_CODES };

struct gcm_key;

/* The code for new keys: the best that this CPU and its operating system can run, found out once. */
enum gcm_code gcm_code(void);

/* For tests: |code| instead, from now on and in all threads. false: it cannot run here, nothing is changed. */
bool gcm_use(enum gcm_code code);

/* For people: by what packets are protected with AES-GCM. */
const char *gcm_name(enum gcm_code code);

/* A key of 16 or 32 bytes for gcm_code(), which must not be GCM_NONE; the caller's, for one thread at a time. NULL: out
   of memory, or another length. gcm_key_free wipes it. */
struct gcm_key *gcm_key_new(const uint8_t *raw, size_t len);
void gcm_key_free(struct gcm_key *key);

/* Writes |len| bytes and the tag behind them to |out|, which may be |plain|. */
void gcm_seal(struct gcm_key *key, uint8_t *out, const uint8_t *plain, size_t len, const uint8_t nonce[GCM_NONCE_BYTES],
              const uint8_t *aad, size_t aad_len);

/* Writes the |len| bytes that are in |sealed|, before their tag, to |out|, which may be |sealed|. false: somebody has
   changed something; |out| is all zeros. */
bool gcm_open(struct gcm_key *key, uint8_t *out, const uint8_t *sealed, size_t len,
              const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *aad, size_t aad_len);

#endif
