/* Before each block stands a header of 16 bytes that tells its class and size. Two classes for each power of two: a
   block is at most half as large again as what was asked for. */
#include "base/arena.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/poison.h"

enum {
  HEADER_BYTES = 16,
  SLAB_BYTES = 65536,
  LARGE = ARENA_CLASSES, /* the class of what the C library gave */
  LARGEST_BYTES = 6144,  /* of the other classes */
  UNIT_BYTES = 16,
  MAGIC = 0x61726e61,
};

struct header {
  size_t size; /* that was asked for */
  uint32_t class_index;
  uint32_t magic;
};

struct arena_slab {
  struct arena_slab *next;
  uint8_t padding[8];
};

static const uint16_t class_bytes[ARENA_CLASSES] = {32,  48,  64,   96,   128,  192,  256,  384,
                                                    512, 768, 1024, 1536, 2048, 3072, 4096, LARGEST_BYTES};

/* The smallest class that holds so many units: no search, as every request has some twenty blocks. */
static const uint8_t class_of_units[LARGEST_BYTES / UNIT_BYTES + 1] = {
    [0 ... 2] = 0,      [3] = 1,          [4] = 2,           [5 ... 6] = 3,      [7 ... 8] = 4,
    [9 ... 12] = 5,     [13 ... 16] = 6,  [17 ... 24] = 7,   [25 ... 32] = 8,    [33 ... 48] = 9,
    [49 ... 64] = 10,   [65 ... 96] = 11, [97 ... 128] = 12, [129 ... 192] = 13, [193 ... 256] = 14,
    [257 ... 384] = 15,
};

static_assert(sizeof(struct header) == HEADER_BYTES, "blocks stay aligned");
static_assert(sizeof(struct arena_slab) == 16, "the first block is aligned");

static size_t block_bytes(const struct header *header) {
  return header->class_index == LARGE ? header->size + HEADER_BYTES : class_bytes[header->class_index];
}

void arena_open(struct arena *arena, size_t limit) { *arena = (struct arena){.limit = limit}; }

void arena_close(struct arena *arena) {
  must(arena->blocks == 0 && arena->live == 0);
  while (arena->slabs != NULL) {
    struct arena_slab *slab = arena->slabs;
    arena->slabs = slab->next;
    memory_unpoison(slab, SLAB_BYTES);
    free(slab);
  }
  *arena = (struct arena){.limit = 0};
}

/* |bytes| of the C library's, counted; NULL when that is too much. */
static void *take_bytes(struct arena *arena, size_t bytes) {
  if (bytes > arena->limit || arena->held > arena->limit - bytes)
    return NULL;
  void *memory = malloc(bytes);
  if (memory != NULL)
    arena->held += bytes;
  return memory;
}

static bool add_slab(struct arena *arena) {
  struct arena_slab *slab = take_bytes(arena, SLAB_BYTES);
  if (slab == NULL)
    return false;
  slab->next = arena->slabs;
  arena->slabs = slab;
  arena->fresh = (uint8_t *)(slab + 1);
  arena->fresh_bytes = SLAB_BYTES - sizeof *slab;
  memory_poison(arena->fresh, arena->fresh_bytes);
  return true;
}

/* What is left of the slab before is lost: less than the largest class for 64 KiB. Rare, so not inline. */
static __attribute__((noinline)) struct header *take_fresh(struct arena *arena, size_t bytes) {
  if (arena->fresh_bytes < bytes && !add_slab(arena)) {
    arena->refused++;
    return NULL;
  }
  struct header *header = (struct header *)(void *)arena->fresh;
  arena->fresh += bytes;
  arena->fresh_bytes -= bytes;
  return header;
}

static void *block_begin(struct arena *arena, struct header *header, size_t size, uint32_t index, size_t bytes) {
  *header = (struct header){.size = size, .class_index = index, .magic = MAGIC};
  arena->blocks++;
  arena->live += bytes;
  if (arena->live > arena->live_max)
    arena->live_max = arena->live;
  return header + 1;
}

static __attribute__((noinline)) void *malloc_large(struct arena *arena, size_t size) {
  struct header *header = size <= SIZE_MAX - HEADER_BYTES ? take_bytes(arena, size + HEADER_BYTES) : NULL;
  if (header == NULL) {
    arena->refused++;
    return NULL;
  }
  return block_begin(arena, header, size, LARGE, size + HEADER_BYTES);
}

void *arena_malloc(struct arena *arena, size_t size) {
  if (size > LARGEST_BYTES - HEADER_BYTES)
    return malloc_large(arena, size);
  uint32_t index = class_of_units[(size + HEADER_BYTES + UNIT_BYTES - 1) / UNIT_BYTES];
  size_t bytes = class_bytes[index];
  struct header *header = arena->free[index];
  if (header == NULL) {
    header = take_fresh(arena, bytes);
    if (header == NULL)
      return NULL;
    memory_unpoison(header, bytes);
  } else {
    memory_unpoison(header, bytes);
    memcpy(&arena->free[index], header + 1, sizeof(void *));
  }
  memory_poison((uint8_t *)(header + 1) + size, bytes - HEADER_BYTES - size);
  return block_begin(arena, header, size, index, bytes);
}

void arena_free(struct arena *arena, void *block) {
  if (block == NULL)
    return;
  struct header *header = (struct header *)block - 1;
  must(header->magic == MAGIC && header->class_index <= LARGE && arena->blocks > 0);
  header->magic = 0;
  size_t bytes = block_bytes(header);
  arena->blocks--;
  arena->live -= bytes;
  if (header->class_index == LARGE) {
    arena->held -= bytes;
    free(header);
    return;
  }
  uint32_t index = header->class_index;
  memory_unpoison(header, bytes);
  memcpy(header + 1, &arena->free[index], sizeof(void *));
  arena->free[index] = header;
  memory_poison(header, bytes);
}

void *arena_calloc(struct arena *arena, size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) {
    arena->refused++;
    return NULL;
  }
  void *block = arena_malloc(arena, count * size);
  if (block != NULL)
    memset(block, 0, count * size);
  return block;
}

void *arena_realloc(struct arena *arena, void *block, size_t size) {
  if (block == NULL)
    return arena_malloc(arena, size);
  size_t before = ((const struct header *)block - 1)->size;
  void *fresh = arena_malloc(arena, size);
  if (fresh == NULL)
    return NULL;
  memcpy(fresh, block, before < size ? before : size);
  arena_free(arena, block);
  return fresh;
}
