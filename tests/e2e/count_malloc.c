/* Preloaded: counts the calls of malloc and its kin in a file that the test looks at. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

static _Atomic unsigned long before_main;
static _Atomic unsigned long *count = &before_main;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("MALLOC_COUNT_FILE");
  int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (fd < 0 || ftruncate(fd, sizeof *count) != 0)
    abort();
  void *shared = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (shared == MAP_FAILED)
    abort();
  close(fd);
  count = shared;
}

void *malloc(size_t size) {
  atomic_fetch_add(count, 1);
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  atomic_fetch_add(count, 1);
  return __libc_calloc(number, size);
}

void *realloc(void *block, size_t size) {
  atomic_fetch_add(count, 1);
  return __libc_realloc(block, size);
}
