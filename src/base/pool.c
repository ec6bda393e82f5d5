/* Pools. What was never used costs address space only: objects are handed out first from the free list (warm), then
   from the fresh end of a lazily resident mapping. */
#include "base/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/must.h"
#include "base/poison.h"

enum { OBJECT_ALIGN = 64, POOLS_MAX = 4096 };

static struct {
  pthread_mutex_t mutex;
  uint32_t count;
  const struct pool *pools[POOLS_MAX]; /* in the order of their opening */
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* pool_each reads these figures from other threads; one thread writes them, so that no locked instruction is needed. */
static void figure_set(uint32_t *figure, uint32_t value) { __atomic_store_n(figure, value, __ATOMIC_RELAXED); }
static uint32_t figure_get(const uint32_t *figure) { return __atomic_load_n(figure, __ATOMIC_RELAXED); }

static bool registry_add(const struct pool *pool) {
  pthread_mutex_lock(&registry.mutex);
  bool fits = registry.count < POOLS_MAX;
  if (fits)
    registry.pools[registry.count++] = pool;
  pthread_mutex_unlock(&registry.mutex);
  return fits;
}

static void registry_remove(const struct pool *pool) {
  pthread_mutex_lock(&registry.mutex);
  uint32_t at = 0;
  while (at < registry.count && registry.pools[at] != pool)
    at++;
  must(at < registry.count);
  registry.count--;
  memmove(registry.pools + at, registry.pools + at + 1, (registry.count - at) * sizeof *registry.pools);
  pthread_mutex_unlock(&registry.mutex);
}

static size_t memory_bytes(const struct pool *pool) {
  return pool->object_bytes * (pool->capacity > 0 ? pool->capacity : 1); /* a mapping cannot be empty */
}

enum err pool_open(struct pool *pool, const char *name, size_t object_bytes, uint32_t capacity) {
  must(object_bytes > 0 && object_bytes <= UINT32_MAX);
  size_t rounded = (object_bytes + OBJECT_ALIGN - 1) & ~(size_t)(OBJECT_ALIGN - 1);
  must((rounded / OBJECT_ALIGN) * capacity <= UINT32_MAX); /* pool_index counts in units of 64 bytes */
  *pool = (struct pool){.name = name, .object_bytes = rounded, .capacity = capacity};
  void *memory =
      mmap(NULL, memory_bytes(pool), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return ERR_NO_MEMORY;
  pool->memory = memory;
  memory_poison(memory, memory_bytes(pool));
  if (!registry_add(pool)) {
    memory_unpoison(memory, memory_bytes(pool));
    munmap(memory, memory_bytes(pool));
    pool->memory = NULL;
    return ERR_NO_MEMORY;
  }
  return ERR_OK;
}

void pool_close(struct pool *pool) {
  must(pool->memory != NULL);
  log_debug("pool %s live %u high-water %u of %u", pool->name, pool->live, pool->live_max, pool->capacity);
  must(pool->live == 0);
  registry_remove(pool);
  memory_unpoison(pool->memory, memory_bytes(pool)); /* the address range may be mapped again by someone else */
  must(munmap(pool->memory, memory_bytes(pool)) == 0);
  *pool = (struct pool){.name = pool->name};
}

void *pool_get(struct pool *pool) {
  void *object = pool->free;
  if (object != NULL) {
    memory_unpoison(object, pool->object_bytes);
    pool->free = *(void **)object;
  } else if (pool->fresh < pool->capacity) {
    object = pool->memory + pool->object_bytes * pool->fresh;
    memory_unpoison(object, pool->object_bytes);
    pool->fresh++;
  } else {
    __atomic_store_n(&pool->refused, pool->refused + 1, __ATOMIC_RELAXED);
    return NULL;
  }
  uint32_t live = pool->live + 1;
  figure_set(&pool->live, live);
  if (live > pool->live_max)
    figure_set(&pool->live_max, live);
  return object;
}

void pool_put(struct pool *pool, void *object) {
  must(pool_index(pool, object) < pool->fresh);
  must(pool->live > 0);
  must(object != pool->free && !memory_poisoned(object)); /* given back twice; in release only the latest is known */
  *(void **)object = pool->free;
  pool->free = object;
  figure_set(&pool->live, pool->live - 1);
  memory_poison(object, pool->object_bytes);
}

uint32_t pool_index(const struct pool *pool, const void *object) {
  uintptr_t offset = (uintptr_t)object - (uintptr_t)pool->memory; /* wraps to something huge when below */
  must(offset < pool->object_bytes * pool->capacity && offset % OBJECT_ALIGN == 0);
  uint32_t unit = (uint32_t)(offset / OBJECT_ALIGN);
  uint32_t units_each = (uint32_t)(pool->object_bytes / OBJECT_ALIGN);
  if (units_each == 1) /* the spans and chunks, once a packet: no division */
    return unit;
  must(unit % units_each == 0);
  return unit / units_each;
}

void *pool_at(const struct pool *pool, uint32_t index) {
  must(index < pool->capacity);
  return pool->memory + pool->object_bytes * index;
}

void pool_each(pool_visit_f *visit, void *context) {
  pthread_mutex_lock(&registry.mutex);
  for (uint32_t i = 0; i < registry.count; i++) {
    const struct pool *pool = registry.pools[i];
    struct pool seen = {
        .name = pool->name,
        .object_bytes = pool->object_bytes,
        .capacity = pool->capacity,
        .live = figure_get(&pool->live),
        .live_max = figure_get(&pool->live_max),
        .refused = __atomic_load_n(&pool->refused, __ATOMIC_RELAXED),
    };
    visit(context, &seen);
  }
  pthread_mutex_unlock(&registry.mutex);
}
