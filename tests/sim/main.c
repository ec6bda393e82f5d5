/* sim SEED [SEED2] [--trace]: runs the seeds, each in a process of its own, so that none sees what another left behind.
   sim --same SEED COUNT: each of COUNT seeds twice; the same seed must give the same trace, and no two seeds may.
   sim --exact: the tests of virtual time.
   sim --goodput [SECONDS SEEDS]: goodput by loss; the whole table, or the two rows that the tests look at.
   sim --windows: what the settings of `transport` do. sim --moves: paths that change. sim --outages: links that are
   gone or bad. sim --restarts: ends that come back. sim --redundancy SEEDS: what sending twice gives and costs.
   sim --hostile MEGABYTES TIMES: downloads over 10 % loss, reordering, duplicates; 100 10 is the long version.
   --twice behind --moves, --outages, --restarts and --hostile: with transport.redundancy. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "sim/lab.h"
#include "sim/runs.h"

enum { REAL_SECONDS_MAX = 600, SAME_MAX = 64 };

static const char *program;

static int child(uint64_t seed, int pipe_fd) {
  alarm(REAL_SECONDS_MAX);
  bool good = run_scenario(seed);
  if (write(pipe_fd, &world.trace_hash, sizeof world.trace_hash) != (ssize_t)sizeof world.trace_hash)
    good = false;
  close(pipe_fd);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The trace's hash in |hash|; false: the run failed, and how to repeat it is printed. */
static bool run_seed(uint64_t seed, uint64_t *hash) {
  int fds[2], status = 0;
  *hash = 0;
  fflush(NULL);
  must(pipe(fds) == 0);
  pid_t pid = fork();
  must(pid >= 0);
  if (pid == 0) {
    close(fds[0]);
    exit(child(seed, fds[1]));
  }
  close(fds[1]);
  bool told = read(fds[0], hash, sizeof *hash) == (ssize_t)sizeof *hash;
  close(fds[0]);
  while (waitpid(pid, &status, 0) < 0)
    must(errno == EINTR);
  bool good = told && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
  if (!good && WIFSIGNALED(status))
    fprintf(stderr, "seed %" PRIu64 ": ended by signal %d\n", seed, WTERMSIG(status));
  if (!good)
    fprintf(stderr, "seed %" PRIu64 " FAILED; again: %s %" PRIu64 " --trace\n", seed, program, seed);
  return good;
}

static bool run_range(uint64_t first, uint64_t last) {
  unsigned failed = 0;
  uint64_t hash;
  for (uint64_t seed = first; seed <= last; seed++)
    failed += !run_seed(seed, &hash);
  if (first != last)
    printf("%" PRIu64 " seeds, %u failed\n", last - first + 1, failed);
  return failed == 0;
}

static bool run_same(uint64_t first, uint64_t count) {
  uint64_t hashes[SAME_MAX];
  must(count <= SAME_MAX);
  bool good = true;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t again;
    good = run_seed(first + i, &hashes[i]) && run_seed(first + i, &again) && good;
    if (good && again != hashes[i]) {
      fprintf(stderr, "seed %" PRIu64 " gave two traces: %016" PRIx64 " and %016" PRIx64 "\n", first + i, hashes[i],
              again);
      good = false;
    }
    for (uint64_t j = 0; j < i; j++) {
      if (hashes[j] != hashes[i])
        continue;
      fprintf(stderr, "seeds %" PRIu64 " and %" PRIu64 " gave the same trace\n", first + j, first + i);
      good = false;
    }
  }
  return good;
}

static int usage(void) {
  fprintf(stderr,
          "usage: %s SEED [SEED2] [--trace] | --same SEED COUNT | --exact | --goodput [SECONDS SEEDS] | --windows | "
          "--moves |\n"
          "       --outages | --redundancy SEEDS | --restarts | --hostile MEGABYTES TIMES\n"
          "       --moves, --outages, --restarts, --hostile: with --twice at the end, with transport.redundancy\n",
          program);
  return 2;
}

int main(int argc, char **argv) {
  program = argv[0];
  log_setup(LOG_ERROR, false);
  if (argc >= 2 && strcmp(argv[argc - 1], "--trace") == 0) {
    world.trace_print = true;
    log_setup(LOG_DEBUG, false);
    argc--;
  }
  if (argc >= 3 && strcmp(argv[argc - 1], "--twice") == 0) {
    lab_use_redundancy();
    argc--;
  }
  bool good;
  if (argc == 2 && strcmp(argv[1], "--exact") == 0)
    good = run_exact();
  else if (argc == 2 && strcmp(argv[1], "--moves") == 0)
    good = run_moves();
  else if (argc == 2 && strcmp(argv[1], "--windows") == 0)
    good = run_windows();
  else if (argc == 2 && strcmp(argv[1], "--outages") == 0)
    good = run_outages();
  else if (argc == 2 && strcmp(argv[1], "--restarts") == 0)
    good = run_restarts();
  else if (argc == 4 && strcmp(argv[1], "--hostile") == 0)
    good = run_hostile(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
  else if (argc == 2 && strcmp(argv[1], "--goodput") == 0)
    good = run_goodput_short();
  else if (argc == 4 && strcmp(argv[1], "--goodput") == 0)
    good = run_goodput(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
  else if (argc == 3 && strcmp(argv[1], "--redundancy") == 0)
    good = run_redundancy(strtoull(argv[2], NULL, 10));
  else if (argc == 4 && strcmp(argv[1], "--same") == 0)
    good = run_same(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
  else if (argc == 2 || argc == 3)
    good = run_range(strtoull(argv[1], NULL, 10), strtoull(argv[argc - 1], NULL, 10));
  else
    return usage();
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
