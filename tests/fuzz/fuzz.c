#include "fuzz/fuzz.h"

#include "base/pool.h"

uint8_t input_byte(struct input *input) { return input->at < input->end ? *input->at++ : 0; }

struct bytes input_take(struct input *input, size_t len) {
  struct bytes taken = {input->at, len < input_left(input) ? len : input_left(input)};
  input->at += taken.len;
  return taken;
}

/* FNV-1a */
uint64_t input_seed(const uint8_t *data, size_t size) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < size; i++)
    hash = (hash ^ data[i]) * 0x100000001b3;
  return hash | 1;
}

struct chunks *fuzz_chunks(void) {
  static struct chunks chunks;
  if (chunks.capacity[CHUNK_SMALL] == 0)
    must(chunks_open(&chunks, 4096, 128, 65536) == ERR_OK);
  return &chunks;
}

static void check_pool(void *context, const struct pool *pool) {
  (void)context;
  must(pool->live == 0);
}

void fuzz_nothing_left(void) { pool_each(check_pool, NULL); }
