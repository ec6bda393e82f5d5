/* The lock-free stream dispatcher: which worker serves a request, and the mailboxes by which it gets there and back.

   Client mode: the session lives on worker 0; requests that came in on another worker go there. Server mode: a stream
   is served by the worker with the least to do, its session's own first. What stays takes no detour: it calls the same
   functions as with one worker. */
#ifndef PTP_RUN_DISPATCHER_H
#define PTP_RUN_DISPATCHER_H

#include <stdbool.h>

#include "base/err.h"
#include "proxy/proxy.h"
#include "run/cluster.h"

struct dispatcher;

/* For the worker of |proxy|, before whose proxy->route it puts itself; that may be NULL in a worker that serves nothing
   itself. Everything is borrowed. ERR_OK or ERR_NO_MEMORY. */
must_use enum err dispatcher_open(struct dispatcher **dispatcher, struct cluster *cluster, struct proxy *proxy);
/* Nothing may be under way. NULL is allowed. */
void dispatcher_close(struct dispatcher *dispatcher);

/* The tick: step 3, mail in; step 6, mail out. */
void dispatcher_ingest(struct dispatcher *dispatcher);
void dispatcher_emit(struct dispatcher *dispatcher);
/* There is something to tell. */
bool dispatcher_busy(const struct dispatcher *dispatcher);
/* ... but a mailbox was full: soon. */
bool dispatcher_blocked(const struct dispatcher *dispatcher);
/* Before it is waited for something: false when mail has come. dispatcher_awake after waiting. */
must_use bool dispatcher_sleep(struct dispatcher *dispatcher);
void dispatcher_awake(struct dispatcher *dispatcher);

/* Brings its figures in the metrics up to date. */
void dispatcher_measure(const struct dispatcher *dispatcher);

/* No exchange of this worker is served by another one, nor the reverse. */
bool dispatcher_idle(const struct dispatcher *dispatcher);

#endif
