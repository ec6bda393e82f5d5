#include "base/random.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "base/must.h"

static _Thread_local bool seeded;
static _Thread_local uint64_t state;

/* splitmix64 (Steele, Lea, Flood 2014): short, and good from any seed. */
static uint64_t splitmix_next(void) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

static void fill_seeded(uint8_t *out, size_t len) {
  while (len > 0) {
    uint64_t word = splitmix_next();
    size_t part = len < sizeof word ? len : sizeof word;
    memcpy(out, &word, part);
    out += part;
    len -= part;
  }
}

void random_fill(void *out, size_t len) {
  uint8_t *at = out;
  if (seeded) {
    fill_seeded(at, len);
    return;
  }
  while (len > 0) {
    ssize_t got = getrandom(at, len, 0);
    if (got < 0) {
      must(errno == EINTR);
      continue;
    }
    at += got;
    len -= (size_t)got;
  }
}

void random_seed(uint64_t seed) {
  seeded = true;
  state = seed;
}
