#include "run/seat.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "run/worker.h"

enum { WANT_DRAIN = 1, WANT_TLS = 2, WANT_ABORT = 4 };

struct seat {
  pthread_t thread;
  unsigned index;
  bool started;
  int poke_fd;
  struct tls_context *tls;    /* the worker's thread owns it */
  struct session_report told; /* the worker's thread: what was published last */
  _Atomic unsigned wants;     /* WANT_ bits */
  _Atomic(struct tls_context *) next_tls;
  _Atomic uint64_t passes;
  pthread_mutex_t lock;  /* of the two below */
  struct worker *worker; /* NULL when it is being closed */
  struct seat_view view;
};

/* ---- the worker's thread ---- */

static void poke(struct seat *seat) {
  uint64_t one = 1;
  must(write(seat->poke_fd, &one, sizeof one) == sizeof one);
}

static bool same(const struct session_report *a, const struct session_report *b) {
  return a->up == b->up && a->attempted == b->attempted && a->established == b->established && a->lost == b->lost &&
         a->failed == b->failed && strcmp(a->reason, b->reason) == 0;
}

static void publish(struct seat *seat, const struct worker *worker) {
  struct session_report now;
  worker_report(worker, &now);
  if (same(&now, &seat->told))
    return;
  seat->told = now;
  pthread_mutex_lock(&seat->lock);
  seat->view.sessions = now;
  pthread_mutex_unlock(&seat->lock);
  poke(seat);
}

static void take_new_tls(struct seat *seat, struct worker *worker) {
  struct tls_context *tls = atomic_exchange(&seat->next_tls, NULL);
  if (tls == NULL)
    return;
  worker_set_tls(worker, tls);
  tls_context_close(seat->tls);
  seat->tls = tls;
}

static void follow_wants(struct seat *seat, struct worker *worker) {
  unsigned wants = atomic_exchange(&seat->wants, 0);
  if (wants & WANT_TLS)
    take_new_tls(seat, worker);
  if (wants & WANT_DRAIN)
    worker_drain(worker);
  if (wants & WANT_ABORT)
    worker_abort(worker);
}

static void serve(struct seat *seat, struct worker *worker) {
  while (worker_phase(worker) != WORKER_DONE) {
    worker_wait(worker, clock_monotonic_ns());
    follow_wants(seat, worker);
    worker_tick(worker, clock_monotonic_ns(), clock_wall_us());
    atomic_fetch_add_explicit(&seat->passes, 1, memory_order_relaxed);
    publish(seat, worker);
  }
}

/* On the thread that drove the worker: its ring answers to no other. */
static void close_worker(struct seat *seat) {
  struct worker *worker = seat->worker;
  pthread_mutex_lock(&seat->lock);
  seat->worker = NULL; /* nobody wakes it any more */
  pthread_mutex_unlock(&seat->lock);
  worker_close(worker);
  tls_context_close(seat->tls);
}

static void *seat_main(void *argument) {
  struct seat *seat = argument;
  char name[16];
  snprintf(name, sizeof name, "worker %u", seat->index);
  pthread_setname_np(pthread_self(), name); /* by itself: for another one the C library opens a file */
  serve(seat, seat->worker);
  close_worker(seat);
  pthread_mutex_lock(&seat->lock);
  seat->view.state = SEAT_OVER;
  pthread_mutex_unlock(&seat->lock);
  poke(seat);
  return NULL;
}

/* ---- the main thread ---- */

static void log_line(void *context, const char *line) {
  (void)context;
  log_info("%s", line);
}

enum err seat_open(struct seat **out, const struct config *config, struct tls_context *tls, struct cluster *cluster,
                   unsigned index, int poke_fd, char *reason, size_t reason_size) {
  *out = NULL;
  struct seat *seat = calloc(1, sizeof *seat);
  if (seat == NULL) {
    snprintf(reason, reason_size, "out of memory");
    tls_context_close(tls);
    return ERR_NO_MEMORY;
  }
  *seat = (struct seat){.index = index, .tls = tls, .poke_fd = poke_fd};
  enum err err = worker_open(&seat->worker, config, tls, cluster, index, clock_monotonic_ns(), clock_wall_us(), reason,
                             reason_size);
  if (err != ERR_OK) {
    tls_context_close(tls);
    free(seat);
    return err;
  }
  if (index == 0) /* the others are the same */
    worker_describe(seat->worker, log_line, NULL);
  pthread_mutex_init(&seat->lock, NULL);
  *out = seat;
  return ERR_OK;
}

enum err seat_start(struct seat *seat) {
  seat->view.state = SEAT_SERVING;
  seat->started = pthread_create(&seat->thread, NULL, seat_main, seat) == 0;
  if (!seat->started)
    return ERR_SYSTEM;
  poke(seat);
  return ERR_OK;
}

void seat_close(struct seat *seat) {
  if (seat->started) {
    pthread_join(seat->thread, NULL);
  } else {
    serve(seat, seat->worker);
    close_worker(seat);
  }
  tls_context_close(atomic_exchange(&seat->next_tls, NULL));
  pthread_mutex_destroy(&seat->lock);
  free(seat);
}

void seat_look(struct seat *seat, struct seat_view *view) {
  pthread_mutex_lock(&seat->lock);
  *view = seat->view;
  pthread_mutex_unlock(&seat->lock);
}

uint64_t seat_passes(struct seat *seat) { return atomic_load_explicit(&seat->passes, memory_order_relaxed); }

void seat_wake(struct seat *seat) {
  pthread_mutex_lock(&seat->lock);
  if (seat->worker != NULL)
    worker_wake(seat->worker);
  pthread_mutex_unlock(&seat->lock);
}

static void want(struct seat *seat, unsigned what) {
  atomic_fetch_or(&seat->wants, what);
  seat_wake(seat);
}

void seat_drain(struct seat *seat) { want(seat, WANT_DRAIN); }

void seat_abort(struct seat *seat) {
  if (seat->started)
    want(seat, WANT_ABORT);
  else
    worker_abort(seat->worker);
}

void seat_set_tls(struct seat *seat, struct tls_context *tls) {
  tls_context_close(atomic_exchange(&seat->next_tls, tls));
  want(seat, WANT_TLS);
}
