/* The main thread owns the signals, which all other threads block: it waits for them on a signalfd, and for news of the
   workers on an eventfd. It does nothing else, so that it is there when systemd's watchdog is to be told whether every
   worker still passes through its loop: they are woken for that, and must have done so by the next time. */
#include "run/daemon.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "config/config.h"
#include "proto/quic_gcm.h"
#include "run/cluster.h"
#include "run/credentials.h"
#include "run/notify.h"
#include "run/privilege.h"
#include "run/seat.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_CONFIG = 78, STATUS_CUT = 130 };

#define EXTEND_EVERY_NS (1 * NS_PER_S)
#define EXTEND_BY_NS (10 * NS_PER_S)

struct daemon {
  const char *path;
  const struct config *config;
  struct notify notify;
  struct privilege privilege;
  struct cluster *cluster; /* NULL: one worker */
  struct seat *seats[WORKERS_MAX];
  uint64_t passes[WORKERS_MAX];         /* of each worker, the last time */
  struct tls_context *tls[WORKERS_MAX]; /* of workers that are not started yet */
  unsigned workers, opened;
  int signal_fd, poke_fd;
  bool stopping;
  uint64_t ping_ns; /* when the watchdog or, while stopping, the extension is due; UINT64_MAX: not at all */
};

/* ---- the log ---- */

static void set_up_log(const struct config *config) {
  log_setup((enum log_level)config->log.level, config->log.json);
  log_setup_access(config->log.access);
}

/* |context| is the daemon: the service manager shows the last one when the start fails. */
static void report_tls(void *context, bool fatal, const char *text) {
  struct daemon *daemon = context;
  log_write(fatal ? LOG_ERROR : LOG_WARN, "tls: %s", text);
  if (fatal && daemon->opened == 0)
    notify_status(&daemon->notify, "tls: %s", text);
}

/* The first worker's context has said it already, but for what has happened since. */
static void report_tls_again(void *context, bool fatal, const char *text) {
  if (fatal)
    report_tls(context, fatal, text);
}

static void report_problem(void *context, bool fatal, const char *text) {
  (void)context;
  log_write(fatal ? LOG_ERROR : LOG_WARN, "%s", text);
}

/* Of the start. |context| is the daemon. */
static void report_start(void *context, bool fatal, const char *text) {
  struct daemon *daemon = context;
  report_problem(NULL, fatal, text);
  notify_status(&daemon->notify, "%s", text);
}

/* |context| is a stream in memory: how to log is known only when all is read. */
static void keep_problem(void *context, bool fatal, const char *text) {
  fprintf(context, "%c%s\n", fatal ? 'E' : 'W', text);
}

static void log_kept(char *problems, struct notify *notify) {
  for (char *line = problems, *end; line != NULL && (end = strchr(line, '\n')) != NULL; line = end + 1) {
    *end = '\0';
    log_write(*line == 'E' ? LOG_ERROR : LOG_WARN, "%s", line + 1);
    if (*line == 'E')
      notify_status(notify, "%s", line + 1);
  }
}

/* ---- the service manager ---- */

/* When the next ping is due. |now_ns| is when the last one was. */
static void plan_ping(struct daemon *daemon, uint64_t now_ns) {
  uint64_t pause = daemon->stopping ? EXTEND_EVERY_NS : daemon->notify.watchdog_ns;
  bool wanted = daemon->notify.fd >= 0 && pause > 0;
  daemon->ping_ns = wanted ? now_ns + pause : UINT64_MAX;
}

static void ping(struct daemon *daemon, uint64_t now_ns) {
  if (now_ns < daemon->ping_ns)
    return;
  bool alive = true;
  for (unsigned i = 0; i < daemon->workers; i++) {
    uint64_t passes = seat_passes(daemon->seats[i]);
    if (passes == daemon->passes[i]) {
      log_warn("worker %u has not passed through its loop since it was last looked at", i);
      alive = false;
    }
    daemon->passes[i] = passes;
  }
  if (alive && daemon->stopping)
    notify_extend(&daemon->notify, EXTEND_BY_NS);
  else if (alive)
    notify_watchdog(&daemon->notify);
  for (unsigned i = 0; i < daemon->workers; i++)
    seat_wake(daemon->seats[i]);
  plan_ping(daemon, now_ns);
}

/* They are alive until the opposite is known. */
static void forget_passes(struct daemon *daemon) {
  for (unsigned i = 0; i < daemon->workers; i++)
    daemon->passes[i] = UINT64_MAX;
}

static void tell_client(struct daemon *daemon, const struct session_report *report) {
  if (report->up)
    notify_status(&daemon->notify, "tunnel established");
  else if (!report->attempted)
    notify_status(&daemon->notify, "attempting first connection");
  else
    notify_status(&daemon->notify, "client connection failed: %s", report->reason);
  if (report->attempted || !daemon->config->system.wait_for_first_attempt)
    notify_ready(&daemon->notify);
}

static void tell(struct daemon *daemon) {
  if (daemon->stopping)
    return;
  if (daemon->config->general.mode == MODE_CLIENT) {
    struct seat_view view;
    seat_look(daemon->seats[0], &view); /* the session is the first one's */
    tell_client(daemon, &view.sessions);
  } else {
    notify_status(&daemon->notify, "accepting connections");
    notify_ready(&daemon->notify);
  }
}

/* ---- signals ---- */

/* A context for each worker: none of wolfSSL's objects is used by two threads. All of them, or none. */
static enum err open_tls(struct daemon *daemon, const struct config *config, struct tls_context **tls) {
  struct tls_settings settings = credentials_settings(config);
  for (unsigned i = 0; i < daemon->workers; i++) {
    enum err err = tls_context_open(&tls[i], &settings, i == 0 ? report_tls : report_tls_again, daemon);
    if (err == ERR_OK)
      continue;
    while (i > 0)
      tls_context_close(tls[--i]);
    return err;
  }
  return ERR_OK;
}

/* SIGHUP. What is broken is reported and changes nothing. */
static void reload(struct daemon *daemon) {
  struct config *config;
  if (config_load(daemon->path, report_problem, NULL, &config) != ERR_OK) {
    log_error("the configuration stays as it was");
    log_info("files are read as %s", daemon->privilege.reader);
    return;
  }
  struct tls_context *tls[WORKERS_MAX];
  if (open_tls(daemon, config, tls) == ERR_OK) {
    set_up_log(config);
    for (unsigned i = 0; i < daemon->workers; i++)
      seat_set_tls(daemon->seats[i], tls[i]);
    log_info("certificates, key and log settings were read again");
  } else {
    log_error("certificates and key stay as they were");
    log_info("files are read as %s", daemon->privilege.reader);
  }
  config_free(config);
}

static void stop(struct daemon *daemon) {
  daemon->stopping = true;
  log_info("stopping: what is in flight is finished first");
  notify_stopping(&daemon->notify);
  notify_status(&daemon->notify, "stopping server");
  for (unsigned i = 0; i < daemon->workers; i++)
    seat_drain(daemon->seats[i]);
  if (daemon->config->general.mode == MODE_SERVER)
    notify_status(&daemon->notify, "waiting for outstanding connections to close");
  daemon->ping_ns = clock_monotonic_ns(); /* how long the manager waits by itself is not known */
  forget_passes(daemon);
}

/* One signal; true when it is the second that asks for an end. */
static bool on_signal(struct daemon *daemon, uint32_t signal_number) {
  if (signal_number == SIGHUP) {
    if (daemon->stopping)
      return false;
    notify_reloading(&daemon->notify, clock_monotonic_ns());
    reload(daemon);
    notify_reloaded(&daemon->notify);
    return false;
  }
  if (daemon->stopping)
    return true;
  stop(daemon);
  return false;
}

/* ---- the main thread's loop ---- */

static int wait_ms(const struct daemon *daemon) {
  uint64_t now = clock_monotonic_ns();
  if (daemon->ping_ns == UINT64_MAX)
    return -1;
  if (daemon->ping_ns <= now)
    return 0;
  uint64_t ms = (daemon->ping_ns - now + NS_PER_MS - 1) / NS_PER_MS;
  return ms < 3600000 ? (int)ms : 3600000;
}

static bool all_over(struct daemon *daemon) {
  bool over = true;
  for (unsigned i = 0; i < daemon->workers; i++) {
    struct seat_view view;
    seat_look(daemon->seats[i], &view);
    over = over && view.state == SEAT_OVER;
  }
  return over;
}

/* Until the workers are over (STATUS_OK) or a second signal comes (STATUS_CUT). */
static int follow(struct daemon *daemon) {
  for (;;) {
    struct pollfd fds[2] = {{.fd = daemon->signal_fd, .events = POLLIN}, {.fd = daemon->poke_fd, .events = POLLIN}};
    if (poll(fds, 2, wait_ms(daemon)) < 0) {
      must(errno == EINTR);
      continue;
    }
    uint64_t count;
    if (fds[1].revents != 0)
      must(read(daemon->poke_fd, &count, sizeof count) == sizeof count);
    if (all_over(daemon))
      return STATUS_OK;
    tell(daemon);
    ping(daemon, clock_monotonic_ns());
    struct signalfd_siginfo info;
    if (fds[0].revents != 0 && read(daemon->signal_fd, &info, sizeof info) == sizeof info &&
        on_signal(daemon, info.ssi_signo))
      return STATUS_CUT;
  }
}

static int fail(struct daemon *daemon, const char *reason) {
  log_error("%s", reason);
  notify_status(&daemon->notify, "%s", reason);
  return STATUS_FAILED;
}

/* Everything that takes privileges is opened first, then they are given up, and only then is there a second thread. The
   first worker finds out what the others share, the ports above all. */
static int open_seats(struct daemon *daemon) {
  char reason[512];
  for (; daemon->opened < daemon->workers; daemon->opened++) {
    unsigned index = daemon->opened;
    struct tls_context *tls = daemon->tls[index];
    daemon->tls[index] = NULL;
    if (seat_open(&daemon->seats[index], daemon->config, tls, daemon->cluster, index, daemon->poke_fd, reason,
                  sizeof reason) != ERR_OK)
      return fail(daemon, reason);
  }
  if (privilege_drop(&daemon->privilege, daemon->config, daemon->path, reason, sizeof reason) != ERR_OK)
    return fail(daemon, reason);
  log_info("packets: AES-GCM by %s", gcm_name(gcm_code()));
  for (unsigned i = 0; i < daemon->workers; i++) {
    if (seat_start(daemon->seats[i]) != ERR_OK)
      return fail(daemon, "cannot start a thread");
  }
  return STATUS_OK;
}

/* One that could not be opened or started takes the others with it. */
static void close_seats(struct daemon *daemon) {
  for (unsigned i = 0; i < daemon->opened; i++)
    seat_abort(daemon->seats[i]);
  for (unsigned i = 0; i < daemon->opened; i++)
    seat_close(daemon->seats[i]);
  for (unsigned i = daemon->opened; i < daemon->workers; i++)
    tls_context_close(daemon->tls[i]);
  cluster_close(daemon->cluster);
}

static int serve(struct daemon *daemon) {
  int status = open_seats(daemon);
  if (status != STATUS_OK)
    return status;
  forget_passes(daemon);
  plan_ping(daemon, clock_monotonic_ns());
  status = follow(daemon);
  if (status == STATUS_CUT) {
    log_warn("stopped at once: what was in flight is cut");
    return status; /* the workers' threads end with the process */
  }
  return status;
}

/* system.threads; auto: one for each core that this process may use. */
static unsigned count_workers(const struct config *config) {
  cpu_set_t cores;
  unsigned count = (unsigned)config->system.threads;
  if (count == 0 && sched_getaffinity(0, sizeof cores, &cores) == 0)
    count = (unsigned)CPU_COUNT(&cores);
  return count == 0 ? 1 : count < WORKERS_MAX ? count : WORKERS_MAX;
}

/* Each connection takes a descriptor; the usual soft limit of 1024 is for programs that use select(2). */
static void raise_descriptor_limit(const struct config *config) {
  enum { OTHERS = 256 }; /* sockets, rings, files */
  bool server = config->general.mode == MODE_SERVER;
  rlim_t wanted = (server ? ORIGIN_CONNECTIONS_MAX : (rlim_t)config->limits.connections) + OTHERS;
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
    return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < wanted)
    log_warn("at most %llu file descriptors (ulimit -Hn, LimitNOFILE=), but %llu may be needed",
             (unsigned long long)limit.rlim_max, (unsigned long long)wanted);
}

static int run(struct daemon *daemon) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  must(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
  raise_descriptor_limit(daemon->config);
  daemon->workers = count_workers(daemon->config);
  if (privilege_check(daemon->config, daemon->path, report_start, daemon) != ERR_OK ||
      open_tls(daemon, daemon->config, daemon->tls) != ERR_OK)
    return STATUS_CONFIG;
  daemon->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
  daemon->poke_fd = eventfd(0, EFD_CLOEXEC);
  int status = STATUS_FAILED;
  if (daemon->signal_fd < 0 || daemon->poke_fd < 0)
    log_error("cannot make a file descriptor: %s", strerrordesc_np(errno));
  else if (daemon->workers > 1 && cluster_open(&daemon->cluster, daemon->workers) != ERR_OK)
    log_error("out of memory");
  else
    status = serve(daemon);
  if (status != STATUS_CUT) {
    close_seats(daemon);
    if (status == STATUS_OK)
      log_info("stopped");
    close(daemon->signal_fd);
    close(daemon->poke_fd);
  }
  return status;
}

int daemon_run(const char *path) {
  struct config *config;
  char *problems = NULL;
  size_t size;
  FILE *kept = open_memstream(&problems, &size);
  if (kept == NULL) {
    log_error("out of memory");
    return STATUS_FAILED;
  }
  enum err err = config_load(path, keep_problem, kept, &config);
  fclose(kept);
  if (err == ERR_OK)
    set_up_log(config);
  struct daemon daemon = {.path = path, .config = config, .signal_fd = -1, .poke_fd = -1, .ping_ns = UINT64_MAX};
  notify_open(&daemon.notify, err == ERR_OK ? config->system.watchdog_factor : 1);
  log_kept(problems, &daemon.notify);
  free(problems);
  int status = err == ERR_OK ? run(&daemon) : STATUS_CONFIG;
  notify_close(&daemon.notify);
  if (status != STATUS_CUT) /* else the worker's thread still reads it */
    config_free(config);
  return status;
}
