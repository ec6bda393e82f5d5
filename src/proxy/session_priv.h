/* What session.c, session_stream.c and connector.c share. */
#ifndef PTP_PROXY_SESSION_PRIV_H
#define PTP_PROXY_SESSION_PRIV_H

#include "io/udp.h"
#include "proto/h3.h"
#include "proto/quic.h"
#include "proxy/exchange.h"
#include "proxy/session.h"

enum session_state {
  SESSION_HANDSHAKE, /* no HTTP/3 yet */
  SESSION_OPENING,   /* the peer is verified; its SETTINGS, by which it says that it has verified us, are to come */
  SESSION_UP,
  SESSION_LOST, /* closing or closed; its streams are gone */
};

struct session {
  struct list node;  /* in sessions->all */
  struct list dirty; /* in sessions->dirty: something may be to send */
  struct sessions *sessions;
  struct quic_conn *conn;
  struct h3 *h3; /* NULL before OPENING and after LOST */
  struct timer timer;
  uint8_t state;               /* enum session_state */
  struct flow_account account; /* of the flows towards the peer: transport.send_window */
  uint64_t heard_ns;           /* when the last packet of the peer was accepted */
  uint64_t packets_received;   /* by then */
  uint64_t up_ns;              /* when it was established; 0: not yet */
  struct quic_stats counted;   /* what the metrics have of it */
};

enum { FIRST_FLIGHT_MAX = 4096 }; /* two datagrams are usual at most */

enum connector_state {
  CONNECTOR_OFF, /* server mode, or draining */
  CONNECTOR_RESOLVING,
  CONNECTOR_ATTEMPT,
  CONNECTOR_REFUSED, /* within an attempt: nobody listens there, at the moment */
  CONNECTOR_UP,
  CONNECTOR_PAUSE,
};

struct connector {
  uint8_t state; /* enum connector_state */
  struct timer timer;
  struct resolve_query query;
  size_t next;             /* of query.results, to be tried */
  bool refusal_logged;     /* since the last session */
  uint64_t attempt_end_ns; /* until when refusals do not end the attempt */
  struct session *session; /* the attempt or the session */
  bool after_session;      /* this is the first attempt after a session */
  size_t flight_len;       /* of |flight|: what the attempt sent first; 0: it is not repeated */
  size_t flight_segment_bytes;
  uint8_t flight[FIRST_FLIGHT_MAX];
  const char *server_name; /* SNI */
};

struct sessions {
  struct proxy *proxy;
  struct quic_endpoint *endpoint;
  struct udp *udp; /* client: one for each attempt; NULL in between */
  struct pool pool, streams;
  struct list all, dirty;
  struct list waiting; /* exchanges (by queue) that wait for a stream or for a new session */
  uint32_t waiting_count;
  bool newest_next; /* whose turn it was last: the newest one's, not the oldest one's */
  struct timer wait_timer;
  struct timer yield_timer; /* set while requests wait */
  uint32_t wanted;          /* streams: what proxy->wishes->streams was set to */
  struct promise promised;  /* streams: exchanges were ended for them, and no request has got them yet */
  struct connector connector;
  struct log_rate handshake_failures;
  struct session_report report;
  struct udp_counters udp_counted; /* what the metrics have of the socket */
  bool draining;
};

/* session.c */
struct session *session_add(struct sessions *sessions, struct quic_conn *conn);
/* The session of |conn|, made when there is none yet; NULL: no room. */
struct session *session_of(struct sessions *sessions, struct quic_conn *conn);
void session_touch(struct session *session);
void session_free(struct session *session);
void session_flush(struct session *session);

/* session_stream.c */
bool session_accept_stream(void *context, struct h3_stream *stream);
void session_informed(void *context, struct h3_stream *stream);
void session_handle_streams(struct session *session);
/* There is a session, and all its streams are in use. */
bool sessions_exhausted(const struct sessions *sessions);
/* Gives streams to those that wait, as far as there are some. */
void sessions_serve_waiting(struct sessions *sessions);
void sessions_fail_waiting(struct sessions *sessions, enum err reason);
void sessions_on_wait_timer(struct timer *timer, uint64_t now_ns);

/* session_yield.c: to be called when a request waits. */
void sessions_consider_yield(struct sessions *sessions);
void sessions_on_yield_timer(struct timer *timer, uint64_t now_ns);

/* session_report.c: before a session or the socket goes. */
void session_count(struct session *session);
void sessions_count_socket(struct sessions *sessions);
/* After a socket was opened: warns when its buffers are smaller than they were to be (socket(7)); a client says what it
   has got. */
void sessions_check_buffers(const struct sessions *sessions);

/* connector.c */
must_use enum err connector_open(struct sessions *sessions);
void connector_close(struct sessions *sessions);
void connector_stop(struct sessions *sessions);
void connector_up(struct sessions *sessions);
/* When ICMP says that nobody listens there, it is tried again soon, without waiting for QUIC's timers. A session that
   is up is not given up for that: it may be forged, or of one moment. */
void connector_follow(struct sessions *sessions);
/* A session in its handshake is about to send |data| as |train|. */
void connector_sends(struct session *session, const uint8_t *data, const struct quic_train *train);
/* The attempt failed, the peer having |refused| it, or the session was lost: |was_up|. */
void connector_lost(struct sessions *sessions, bool was_up, bool refused, const char *reason);

#endif
