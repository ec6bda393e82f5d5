/* What fuzz targets share. What must be true of any input is said by must(): it ends the process, and libFuzzer keeps
   the input. */
#ifndef PTP_TESTS_FUZZ_FUZZ_H
#define PTP_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/must.h"
#include "draw.h"
#include "flow/chunk.h"

/* libFuzzer calls it with every input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of an input that is read front to back. */
struct input {
  const uint8_t *at, *end;
};

static inline struct input input_of(const uint8_t *data, size_t size) { return (struct input){data, data + size}; }
static inline size_t input_left(const struct input *input) { return (size_t)(input->end - input->at); }
/* 0 when there is none left. */
uint8_t input_byte(struct input *input);
/* The next |len| bytes, or what is left. */
struct bytes input_take(struct input *input, size_t len);
/* A state for draw(), the same for the same input, so that every change of the input changes what is drawn. */
uint64_t input_seed(const uint8_t *data, size_t size);

/* The payload buffers of every run, opened by the first. More than any input can fill: shortage is not the subject. */
struct chunks *fuzz_chunks(void);
/* No object of any pool of the process is in use. */
void fuzz_nothing_left(void);

#endif
