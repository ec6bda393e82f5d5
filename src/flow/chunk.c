/* Headers and payload are apart: the kernel gets one contiguous area per size as its provided buffers, and a look at a
   header does not touch the payload's cache lines. Header i describes payload i. */
#include "flow/chunk.h"

#include <stddef.h>
#include <sys/mman.h>

#include "base/must.h"
#include "base/poison.h"
#include "flow/flow.h"

static const uint32_t bytes_each[CHUNK_SIZES] = {[CHUNK_SMALL] = CHUNK_SMALL_BYTES, [CHUNK_LARGE] = CHUNK_LARGE_BYTES};
static const char *const pool_names[CHUNK_SIZES] = {[CHUNK_SMALL] = "chunks_small", [CHUNK_LARGE] = "chunks_large"};

static_assert(sizeof(struct chunk) <= 64 && sizeof(struct span) <= 64, "one cache line each");

static size_t area_bytes(uint32_t capacity, int size) {
  return (size_t)bytes_each[size] * (capacity > 0 ? capacity : 1); /* a mapping cannot be empty */
}

static enum err size_open(struct chunks *chunks, int size, uint32_t capacity) {
  must(capacity <= UINT16_MAX + 1);
  void *area = mmap(NULL, area_bytes(capacity, size), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED)
    return ERR_NO_MEMORY;
  enum err err = pool_open(&chunks->headers[size], pool_names[size], sizeof(struct chunk), capacity);
  if (err != ERR_OK) {
    munmap(area, area_bytes(capacity, size));
    return err;
  }
  memory_poison(area, area_bytes(capacity, size));
  chunks->payload[size] = area;
  chunks->capacity[size] = capacity;
  return ERR_OK;
}

static void size_close(struct chunks *chunks, int size) {
  size_t len = area_bytes(chunks->capacity[size], size);
  pool_close(&chunks->headers[size]);
  memory_unpoison(chunks->payload[size], len);
  must(munmap(chunks->payload[size], len) == 0);
  chunks->payload[size] = NULL;
}

enum err chunks_open(struct chunks *chunks, uint32_t small, uint32_t large, uint32_t spans) {
  *chunks = (struct chunks){.capacity = {0}};
  enum err err = size_open(chunks, CHUNK_SMALL, small);
  if (err != ERR_OK)
    return err;
  err = size_open(chunks, CHUNK_LARGE, large);
  if (err != ERR_OK)
    goto close_small;
  err = pool_open(&chunks->spans, "spans", sizeof(struct span), spans);
  if (err != ERR_OK)
    goto close_large;
  err = pool_open(&chunks->borrowed, "chunks_borrowed", sizeof(struct chunk), spans);
  if (err != ERR_OK)
    goto close_spans;
  return ERR_OK;

close_spans:
  pool_close(&chunks->spans);
close_large:
  size_close(chunks, CHUNK_LARGE);
close_small:
  size_close(chunks, CHUNK_SMALL);
  return err;
}

void chunks_close(struct chunks *chunks) {
  pool_close(&chunks->borrowed);
  pool_close(&chunks->spans);
  size_close(chunks, CHUNK_LARGE);
  size_close(chunks, CHUNK_SMALL);
}

struct chunk *chunk_get(struct chunks *chunks, enum chunk_size size) {
  struct chunk *chunk = pool_get(&chunks->headers[size]);
  if (chunk == NULL)
    return NULL;
  uint32_t index = pool_index(&chunks->headers[size], chunk);
  *chunk = (struct chunk){
      .home = chunks,
      .data = chunks->payload[size] + (size_t)bytes_each[size] * index,
      .capacity = bytes_each[size],
      .refs = 1,
      .index = (uint16_t)index,
      .size = (uint8_t)size,
  };
  memory_unpoison(chunk->data, chunk->capacity);
  return chunk;
}

struct chunk *chunk_borrow(struct chunks *chunks, const void *data, uint32_t len) {
  struct chunk *chunk = pool_get(&chunks->borrowed);
  if (chunk == NULL)
    return NULL;
  *chunk = (struct chunk){
      .home = chunks,
      .data = (uint8_t *)(uintptr_t)data, /* nobody writes to it: there is no room */
      .capacity = len,
      .used = len,
      .refs = 1,
      .size = CHUNK_BORROWED,
  };
  return chunk;
}

struct chunk *chunk_ref(struct chunk *chunk) {
  must(chunk->refs > 0 && chunk->refs < UINT32_MAX);
  chunk->refs++;
  return chunk;
}

void chunk_unref(struct chunk *chunk) {
  must(chunk->refs > 0);
  if (--chunk->refs > 0)
    return;
  if (chunk->size == CHUNK_BORROWED) {
    pool_put(&chunk->home->borrowed, chunk);
    return;
  }
  memory_poison(chunk->data, chunk->capacity);
  pool_put(&chunk->home->headers[chunk->size], chunk);
}

uint64_t chunks_excess(const struct chunks *chunks, enum chunk_size size, unsigned scarce, unsigned eased) {
  must(eased <= scarce);
  uint64_t live = chunks->headers[size].live, capacity = chunks->capacity[size];
  return live * 100 > capacity * scarce ? (live - capacity * eased / 100) * bytes_each[size] : 0;
}

struct chunk *chunk_at(struct chunks *chunks, enum chunk_size size, uint16_t index) {
  must(index < chunks->headers[size].fresh);
  struct chunk *chunk = pool_at(&chunks->headers[size], index);
  must(chunk->refs > 0);
  return chunk;
}
