/* Pools that have no object left, at random: the linker gives the calls of pool_get to the function here (--wrap). */
#include "sim/shortage.h"
#include "base/pool.h"
#include "sim/world.h"

void *__real_pool_get(struct pool *pool);
void *__wrap_pool_get(struct pool *pool);

static struct rng rng;
static uint32_t shortage_ppm;

void shortage_begin(uint32_t parts_per_million) {
  rng_seed(&rng, world.seed, 'X');
  shortage_ppm = parts_per_million;
}

void *__wrap_pool_get(struct pool *pool) {
  if (rng_chance(&rng, shortage_ppm)) {
    pool->refused++;
    return NULL;
  }
  return __real_pool_get(pool);
}
