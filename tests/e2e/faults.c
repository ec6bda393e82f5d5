/* Faults for a process that is started with this in LD_PRELOAD:

   FAIL_AT=N      the N-th allocation fails
   CLOCK_FILE=F   the wall clock is wrong by as many seconds as the file says, eight bytes that may change at any time
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* glibc's own, for those who replace malloc */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);

static _Atomic long allocations;
static long fail_at;
static const volatile int64_t *wrong_by;

__attribute__((constructor)) static void begin(void) {
  const char *at = getenv("FAIL_AT"), *path = getenv("CLOCK_FILE");
  int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    void *mapped = mmap(NULL, sizeof *wrong_by, PROT_READ, MAP_SHARED, fd, 0);
    wrong_by = mapped != MAP_FAILED ? mapped : NULL;
    close(fd);
  }
  allocations = 0;
  fail_at = at != NULL ? atol(at) : 0;
}

static bool fails(void) {
  if (fail_at == 0 || ++allocations != fail_at)
    return false;
  errno = ENOMEM;
  return true;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return fails() ? NULL : __libc_realloc(block, size); }

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  if (result == 0 && wall && wrong_by != NULL)
    now->tv_sec += *wrong_by;
  return result;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL)
    *out = now.tv_sec;
  return now.tv_sec;
}

int gettimeofday(struct timeval *out, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  *out = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return 0;
}
