/* The link: the sessions (QUIC connections with HTTP/3 on them) behind one UDP socket, and their streams as ends of
   exchanges. Client mode: one session, kept up always (connector.c), the far end of every exchange. Server mode: any
   number, from accepted peers, each stream the near end of an exchange.

     session.c          datagrams in and out, timers, life and death of a session
     session_stream.c   stream <-> exchange, in both modes; requests that wait for a stream
     session_yield.c    how many streams those who wait want from callers that do not move
     session_report.c   figures for the metrics and the admin endpoint
     connector.c        client: resolve, attempt, back-off */
#ifndef PTP_PROXY_SESSION_H
#define PTP_PROXY_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/quic.h"
#include "proto/tls.h"
#include "proxy/proxy.h"

struct sessions;
struct exchange;

/* What the outside is told: for the log, systemd's STATUS and the admin endpoint. */
struct session_report {
  bool up;                            /* client: a session is established; server: at least one is */
  bool attempted;                     /* client: the first attempt is over, however it ended */
  uint64_t established, lost, failed; /* counts since start */
  uint32_t open;                      /* sessions that are up */
  char reason[256];                   /* of the last failure or loss */
};

/* Opens the UDP side of either mode. Server: binds general.bind_address:quic_port. |tls| is borrowed.
   ERR_SYSTEM or ERR_NO_MEMORY with a sentence in |reason|. */
must_use enum err sessions_open(struct sessions **sessions, struct proxy *proxy, struct tls_context *tls, char *reason,
                                size_t reason_size);
/* All sessions must be over (sessions_stop, then ticks until sessions_count is 0, or sessions_abort). NULL allowed. */
void sessions_close(struct sessions *sessions);

/* proxy->route of client mode: |router| is the sessions. */
void sessions_route(void *router, struct exchange *exchange);

/* The tick: step 3, datagrams in; step 6, trains out. */
void sessions_ingest(struct sessions *sessions);
void sessions_emit(struct sessions *sessions);
/* There is something to do before anything is waited for. */
bool sessions_busy(const struct sessions *sessions);

/* New handshakes use |tls| from now on. */
void sessions_set_tls(struct sessions *sessions, struct tls_context *tls);

/* Begins a graceful end. Server: takes no new session or request (GOAWAY). Client: makes no new session. */
void sessions_drain(struct sessions *sessions);
/* True when no request is in flight on any session. */
bool sessions_drained(const struct sessions *sessions);
/* Closes every session with |reason| as its reason phrase (H3_NO_ERROR). */
void sessions_stop(struct sessions *sessions, const char *reason);
/* Forgets all sessions at once. */
void sessions_abort(struct sessions *sessions);

uint32_t sessions_count(const struct sessions *sessions);
void sessions_report(const struct sessions *sessions, struct session_report *report);
/* Adds another worker's. */
void session_report_add(struct session_report *sum, const struct session_report *report);
/* Brings the link's figures in the metrics up to date. */
void sessions_measure(struct sessions *sessions);
/* One session for people. */
struct session_view {
  char name[QUIC_NAME_MAX];
  struct address peer, local;
  bool up;
  uint64_t up_ns;    /* for how long */
  uint64_t heard_ns; /* since the peer was last heard */
  uint32_t streams;
  struct quic_stats stats;
};
/* Fills |views|, established ones first; returns how many there are, at most |max|. */
size_t sessions_view(const struct sessions *sessions, struct session_view *views, size_t max);
/* What the socket is bound to and was granted, in words, for the start-up log (server). */
void sessions_describe(const struct sessions *sessions, char *out, size_t size);

#endif
