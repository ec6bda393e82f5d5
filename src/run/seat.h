/* One worker and the thread that drives it, as the main thread sees them. What the main thread wants of a worker goes
   into an atomic word (and, for new certificates, one pointer) that the worker looks at between two ticks; what the
   worker has to tell is copied under a lock when it changes, and the main thread is poked by an eventfd. */
#ifndef PTP_RUN_SEAT_H
#define PTP_RUN_SEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "proto/tls.h"
#include "proxy/session.h"
#include "run/cluster.h"

struct seat;

enum seat_state {
  SEAT_OPEN,    /* and not yet started */
  SEAT_SERVING, /* or draining */
  SEAT_OVER,    /* it was told to end, and has */
};

struct seat_view {
  enum seat_state state;
  struct session_report sessions;
};

/* Opens worker |index| of |cluster| (NULL: the only one), on the calling thread, which may do what the worker may not
   any more (run/privilege.h); the first one logs what it has bound. Takes |tls|, also when it fails; |config| and
   |cluster| are borrowed. |poke_fd| is an eventfd, borrowed until seat_close: counted up when seat_look has something
   new. On failure |reason| has a sentence. */
must_use enum err seat_open(struct seat **seat, const struct config *config, struct tls_context *tls,
                            struct cluster *cluster, unsigned index, int poke_fd, char *reason, size_t reason_size);
/* Starts the thread, with the privileges that the caller has now. ERR_OK or ERR_SYSTEM. */
must_use enum err seat_start(struct seat *seat);
/* Waits for the end of the thread, which was told to end; without one, closes the worker. */
void seat_close(struct seat *seat);

void seat_look(struct seat *seat, struct seat_view *view);
/* How often the worker has passed through its loop. */
uint64_t seat_passes(struct seat *seat);
/* Has it pass through its loop. Harmless when it is over. */
void seat_wake(struct seat *seat);
/* Begins the graceful stop. */
void seat_drain(struct seat *seat);
/* Ends it without waiting for what is in flight; when it was not started: in seat_close, after all others were told. */
void seat_abort(struct seat *seat);
/* New handshakes use |tls|, which is taken. */
void seat_set_tls(struct seat *seat, struct tls_context *tls);

#endif
