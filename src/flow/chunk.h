/* Payload buffers: what bodies travel in, from the socket that received them to the socket that sends them.
   Two sizes: small ones for heads and small bodies, large ones for bulk. A chunk is filled once, front to back, by one
   producer; any number of spans refer to it. It goes back to its pool when the last reference is dropped. All of it
   belongs to one worker. What another worker lends is read through a header of one's own (chunk_borrow): reference
   counts never cross threads. */
#ifndef PTP_FLOW_CHUNK_H
#define PTP_FLOW_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/pool.h"

enum chunk_size { CHUNK_SMALL, CHUNK_LARGE, CHUNK_SIZES, CHUNK_BORROWED = CHUNK_SIZES };

struct chunks;

struct chunk {
  struct chunk *next; /* for the one queue that it may be in (tcp's received input) */
  struct chunks *home;
  uint8_t *data;
  uint32_t capacity;
  uint32_t used; /* bytes filled so far */
  uint32_t refs;
  uint16_t index; /* among the chunks of its size: the buffer id for io_uring */
  uint8_t size;   /* enum chunk_size */
};

/* A worker's payload buffers. */
struct chunks {
  struct pool headers[CHUNK_SIZES];
  uint8_t *payload[CHUNK_SIZES];
  uint32_t capacity[CHUNK_SIZES];
  struct pool borrowed; /* headers of chunk_borrow */
  struct pool spans;    /* struct span of flow.h */
};

/* Reserves room for |small| and |large| chunks and |spans| spans; memory becomes resident when used.
   ERR_OK or ERR_NO_MEMORY. */
must_use enum err chunks_open(struct chunks *chunks, uint32_t small, uint32_t large, uint32_t spans);
/* All chunks and spans must be back. */
void chunks_close(struct chunks *chunks);

/* Gives an empty chunk with one reference, the caller's; NULL when all of this size are in use. */
struct chunk *chunk_get(struct chunks *chunks, enum chunk_size size);
/* Gives a full chunk that shows |len| bytes at |data|, which belong to somebody else and must stay until the last
   reference is dropped; NULL when no header is left. */
struct chunk *chunk_borrow(struct chunks *chunks, const void *data, uint32_t len);
struct chunk *chunk_ref(struct chunk *chunk);
/* Drops one reference. */
void chunk_unref(struct chunk *chunk);
/* The chunk of |size| with this index, which must be in use: from a completion's buffer id. */
struct chunk *chunk_at(struct chunks *chunks, enum chunk_size size, uint16_t index);
/* When more than |scarce| percent of the chunks of |size| are in use: how many bytes of them above |eased| percent.
   Else 0. */
uint64_t chunks_excess(const struct chunks *chunks, enum chunk_size size, unsigned scarce, unsigned eased);
static inline uint32_t chunk_room(const struct chunk *chunk) { return chunk->capacity - chunk->used; }

#endif
