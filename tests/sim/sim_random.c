/* wolfSSL takes its entropy from getrandom(2); in this executable it gets what the seed says, so that handshakes, their
   sizes and their connection IDs repeat. */
#include <sys/random.h>

#include "sim/world.h"

ssize_t getrandom(void *out, size_t len, unsigned flags) {
  static struct rng rng;
  static uint64_t seed;
  (void)flags;
  if (rng.state == 0 || seed != world.seed) {
    seed = world.seed;
    rng_seed(&rng, seed, 'G');
  }
  uint8_t *bytes = out;
  for (size_t i = 0; i < len; i++)
    bytes[i] = (uint8_t)rng_next(&rng);
  return (ssize_t)len;
}
