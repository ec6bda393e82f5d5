/* Memory for a library that wants malloc: small blocks come from lists by size, which are filled from slabs and never
   shrink, large ones from the C library; all of it is counted and bounded. Not for use by two threads. */
#ifndef PTP_BASE_ARENA_H
#define PTP_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

enum { ARENA_CLASSES = 16 };

struct arena {
  size_t limit; /* of `held`, in bytes */
  size_t held;  /* slabs, and large blocks */
  size_t live;  /* handed out now, with what belongs to each block */
  size_t live_max;
  uint64_t blocks;  /* handed out now */
  uint64_t refused; /* requests beyond the limit, or for which the system had no memory */
  void *free[ARENA_CLASSES];
  struct arena_slab *slabs;
  uint8_t *fresh; /* of the latest slab */
  size_t fresh_bytes;
};

/* An empty arena; needs no memory yet. */
void arena_open(struct arena *arena, size_t limit);
/* Gives everything back. Every block must have been returned: a leak is a broken invariant. */
void arena_close(struct arena *arena);

/* As the functions of the C library; blocks are aligned to 16 bytes. NULL: refused. */
void *arena_malloc(struct arena *arena, size_t size);
void *arena_calloc(struct arena *arena, size_t count, size_t size);
void *arena_realloc(struct arena *arena, void *block, size_t size);
void arena_free(struct arena *arena, void *block);

#endif
