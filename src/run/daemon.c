/* The main thread owns the signals, which all other threads block: it waits for them on a signalfd, and for the end of
   the worker on an eventfd. What it wants of a worker it puts into an atomic word (and, for new certificates, one
   pointer) that the worker looks at between two ticks. */
#include "run/daemon.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "run/credentials.h"
#include "run/worker.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_CONFIG = 78, STATUS_CUT = 130 };
enum { WANT_DRAIN = 1, WANT_TLS = 2 };

struct seat { /* one worker and its thread */
  pthread_t thread;
  const struct config *config;
  struct tls_context *tls; /* the worker's thread owns it */
  struct worker *worker;
  _Atomic unsigned wants; /* WANT_ bits */
  _Atomic(struct tls_context *) next_tls;
  int done_fd; /* eventfd: counts 1 when opened or failed, and 1 at the end */
  enum err err;
  char reason[512];
};

static void log_line(void *context, const char *line) {
  (void)context;
  log_info("%s", line);
}

static void log_problem(void *context, const char *text) {
  (void)context;
  log_error("tls: %s", text);
}

static void announce(int fd) {
  uint64_t one = 1;
  must(write(fd, &one, sizeof one) == sizeof one);
}

static void take_new_tls(struct seat *seat) {
  struct tls_context *tls = atomic_exchange(&seat->next_tls, NULL);
  if (tls == NULL)
    return;
  worker_set_tls(seat->worker, tls);
  tls_context_close(seat->tls);
  seat->tls = tls;
}

static void follow_wants(struct seat *seat) {
  unsigned wants = atomic_exchange(&seat->wants, 0);
  if (wants & WANT_TLS)
    take_new_tls(seat);
  if (wants & WANT_DRAIN)
    worker_drain(seat->worker);
}

static void *worker_main(void *argument) {
  struct seat *seat = argument;
  uint64_t now = clock_monotonic_ns();
  seat->err =
      worker_open(&seat->worker, seat->config, seat->tls, now, clock_wall_us(), seat->reason, sizeof seat->reason);
  announce(seat->done_fd);
  if (seat->err != ERR_OK) {
    tls_context_close(seat->tls);
    return NULL;
  }
  while (worker_phase(seat->worker) != WORKER_DONE) {
    worker_wait(seat->worker, clock_monotonic_ns());
    follow_wants(seat);
    worker_tick(seat->worker, clock_monotonic_ns(), clock_wall_us());
  }
  worker_close(seat->worker); /* here: the ring answers to this thread only */
  tls_context_close(seat->tls);
  announce(seat->done_fd);
  return NULL;
}

/* Never after WANT_DRAIN, which lets the worker go. */
static void want(struct seat *seat, unsigned what) {
  atomic_fetch_or(&seat->wants, what);
  worker_wake(seat->worker);
}

/* SIGHUP. What is broken is reported and changes nothing. */
static void reload(struct seat *seat, const char *path, config_report_f *report) {
  struct config *config;
  if (config_load(path, report, NULL, &config) != ERR_OK) {
    log_error("the configuration stays as it was");
    return;
  }
  struct tls_settings settings = credentials_settings(config);
  struct tls_context *tls;
  enum err err = tls_context_open(&tls, &settings, log_problem, NULL);
  if (err == ERR_OK) {
    log_setup((enum log_level)config->log.level, config->log.json);
    tls_context_close(atomic_exchange(&seat->next_tls, tls));
    want(seat, WANT_TLS);
    log_info("certificates, key and log settings were read again");
  } else {
    log_error("certificates and key stay as they were");
  }
  config_free(config);
}

static void report_problem(void *context, bool fatal, const char *text) {
  (void)context;
  log_write(fatal ? LOG_ERROR : LOG_WARN, "%s", text);
}

/* One signal; true when it is the second that asks for an end. */
static bool on_signal(struct seat *seat, const char *path, uint32_t signal_number, bool *stopping) {
  if (signal_number == SIGHUP) {
    if (!*stopping)
      reload(seat, path, report_problem);
    return false;
  }
  if (*stopping)
    return true;
  *stopping = true;
  log_info("stopping: what is in flight is finished first");
  want(seat, WANT_DRAIN);
  return false;
}

/* Until the worker is done (STATUS_OK) or a second signal says so (STATUS_CUT). */
static int follow_signals(struct seat *seat, const char *path, int signal_fd) {
  bool stopping = false;
  for (;;) {
    struct pollfd fds[2] = {{.fd = signal_fd, .events = POLLIN}, {.fd = seat->done_fd, .events = POLLIN}};
    if (poll(fds, 2, -1) < 0) {
      must(errno == EINTR);
      continue;
    }
    if (fds[1].revents != 0)
      return STATUS_OK;
    struct signalfd_siginfo info;
    if (read(signal_fd, &info, sizeof info) == sizeof info && on_signal(seat, path, info.ssi_signo, &stopping))
      return STATUS_CUT;
  }
}

static bool start(struct seat *seat) {
  if (pthread_create(&seat->thread, NULL, worker_main, seat) != 0) {
    log_error("cannot start a thread");
    tls_context_close(seat->tls);
    return false;
  }
  uint64_t count;
  must(read(seat->done_fd, &count, sizeof count) == sizeof count);
  if (seat->err == ERR_OK) {
    worker_describe(seat->worker, log_line, NULL);
    return true;
  }
  log_error("%s", seat->reason);
  pthread_join(seat->thread, NULL);
  return false;
}

static int serve(struct seat *seat, const char *path, int signal_fd) {
  if (!start(seat))
    return STATUS_FAILED;
  int status = follow_signals(seat, path, signal_fd);
  if (status == STATUS_CUT) {
    log_warn("stopped at once: what was in flight is cut");
    return status; /* the worker's thread ends with the process */
  }
  pthread_join(seat->thread, NULL);
  tls_context_close(atomic_exchange(&seat->next_tls, NULL));
  log_info("stopped");
  return status;
}

int daemon_run(const struct config *config, const char *path) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  must(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
  struct seat seat = {.config = config, .done_fd = -1};
  struct tls_settings settings = credentials_settings(config);
  if (tls_context_open(&seat.tls, &settings, log_problem, NULL) != ERR_OK)
    return STATUS_CONFIG;
  int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
  seat.done_fd = eventfd(0, EFD_CLOEXEC);
  int status = STATUS_FAILED;
  if (signal_fd >= 0 && seat.done_fd >= 0)
    status = serve(&seat, path, signal_fd);
  else
    log_error("cannot make a file descriptor: %s", strerrordesc_np(errno));
  if (status != STATUS_CUT) {
    close(signal_fd);
    close(seat.done_fd);
  }
  return status;
}
