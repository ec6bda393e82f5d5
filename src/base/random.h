/* Random bytes for connection IDs, tokens and jitter. */
#ifndef PTP_BASE_RANDOM_H
#define PTP_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills |out| with |len| unpredictable bytes (getrandom(2)); cannot fail. */
void random_fill(void *out, size_t len);

/* For the simulation only: from now on random_fill of this thread gives a sequence that |seed| determines. */
void random_seed(uint64_t seed);

#endif
