#include "unit/support.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pool.h"
#include "flow/chunk.h"

enum { CAPTURE_BYTES = 65536 };

static char captured[CAPTURE_BYTES + 1];
static int capture_pipe[2], stderr_before;

static const char *read_all(int fd) {
  size_t len = 0;
  ssize_t got;
  while (len < CAPTURE_BYTES && (got = read(fd, captured + len, CAPTURE_BYTES - len)) > 0)
    len += (size_t)got;
  captured[len] = '\0';
  close(fd);
  return captured;
}

bool dies(void (*act)(void *context), void *context, const char *text) {
  int fds[2], status;
  assert_int_equal(pipe(fds), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    dup2(fds[1], STDERR_FILENO);
    act(context);
    _exit(0);
  }
  close(fds[1]);
  const char *said = read_all(fds[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, text) != NULL;
}

void capture_start(void) {
  assert_int_equal(pipe(capture_pipe), 0);
  stderr_before = dup(STDERR_FILENO);
  dup2(capture_pipe[1], STDERR_FILENO);
  close(capture_pipe[1]);
}

const char *capture_stop(void) {
  dup2(stderr_before, STDERR_FILENO);
  close(stderr_before);
  return read_all(capture_pipe[0]);
}

struct figures {
  uint64_t live;
  unsigned open;
};

static void figures_add(void *context, const struct pool *pool) {
  struct figures *figures = context;
  figures->live += pool->live;
  figures->open++;
}

uint64_t pools_live(void) {
  struct figures figures = {0};
  pool_each(figures_add, &figures);
  return figures.live;
}

unsigned pools_open(void) {
  struct figures figures = {0};
  pool_each(figures_add, &figures);
  return figures.open;
}

int chunks_end(struct chunks *chunks) {
  uint64_t live = pools_live();
  chunks_close(chunks);
  return live == 0 && pools_open() == 0 ? 0 : -1;
}
