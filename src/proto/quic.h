/* QUIC connections (RFC 9000) on ngtcp2, without sockets and without a clock: datagrams and `now` come in, trains of
   datagrams go out. An endpoint is everything behind one UDP socket: it routes datagrams by connection ID, answers what
   belongs to no connection (version negotiation, Retry, stateless reset), and accepts connections when it is a server.

     quic.c         endpoint: routing, front door, accept          quic_conn.c   one connection: emit, timers, close
     quic_cb.c      ngtcp2's callbacks: they record only           quic_crypto.c packet protection, with quic_gcm.c
     quic_cc.c      initial window of every controller, `none`   quic_window.c  credit for what waits behind a gap
     quic_path.c    outages, and paths that stop to carry large packets
     quic_hold.c    what waits for company                       quic_repeat.c  what is sent a second time

   What travels on streams is not known here: the application (h3.c) is a const struct of functions. */
#ifndef PTP_PROTO_QUIC_H
#define PTP_PROTO_QUIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/address.h"
#include "base/err.h"
#include "base/list.h"
#include "proto/tls.h"

struct quic_endpoint;
struct quic_conn;

enum { QUIC_CID_BYTES = 16, QUIC_REASON_MAX = 256, QUIC_NAME_MAX = 41, QUIC_OUTPUT_VECS = 16 };

#define QUIC_OUTPUT_FAILED SIZE_MAX

enum quic_congestion { QUIC_BBR, QUIC_CUBIC, QUIC_NEWRENO, QUIC_CONSTANT };

/* The application on a connection. All but `output` are called from within quic_receive and quic_expire: they record
   and must not call this module, except where said. */
struct quic_app {
  /* Bytes of a stream, in order; |data| dies with the call. Not ERR_OK: the connection is closed with app_error. */
  enum err (*stream_data)(void *app, int64_t stream, const uint8_t *data, size_t len, bool fin);
  /* |len| bytes after the next one that is missing span what has come of the stream out of order; it may give credit
     for them (quic_stream_credit). May be NULL. */
  void (*stream_ahead)(void *app, int64_t stream, uint64_t len);
  /* The peer has acknowledged the next |len| bytes of what we sent. */
  enum err (*stream_acked)(void *app, int64_t stream, uint64_t len);
  /* The peer has raised the stream's flow control limit. */
  enum err (*stream_room)(void *app, int64_t stream);
  enum err (*stream_reset)(void *app, int64_t stream, uint64_t code);   /* RESET_STREAM came */
  enum err (*stream_stopped)(void *app, int64_t stream, uint64_t code); /* STOP_SENDING came */
  /* Both directions are over; the id is not valid any more and no byte handed out for it is referred to. |code| is
     H3_NO_ERROR when neither end gave it up. */
  enum err (*stream_closed)(void *app, int64_t stream, uint64_t code);
  /* The next bytes to send: sets |*stream| (-1: none) and |*fin|, returns the number of |vecs| (0 with a stream and fin
     set: FIN only), or QUIC_OUTPUT_FAILED: the connection is closed with app_error. Called by quic_emit; may call
     quic_stream_reset and quic_stream_stop. */
  size_t (*output)(void *app, int64_t *stream, bool *fin, struct iovec vecs[QUIC_OUTPUT_VECS]);
  /* What became of them: so many bytes went into packets (0 with fin: the FIN) ... */
  enum err (*output_written)(void *app, int64_t stream, size_t len);
  /* ... or none, as the stream is blocked by flow control, or its sending part is shut. */
  void (*output_blocked)(void *app, int64_t stream);
  void (*output_shut)(void *app, int64_t stream);
  /* The code and text to close the connection with after a function above returned an error. */
  uint64_t (*app_error)(void *app);
};

struct quic_settings {
  bool server;
  struct tls_context *tls; /* borrowed; quic_endpoint_set_tls replaces it */
  uint64_t max_idle_timeout_ms, keep_alive_ms, initial_rtt_ms;
  uint64_t handshake_timeout_ms;
  uint64_t initial_window;
  int congestion; /* enum quic_congestion */
  uint64_t max_streams;
  uint64_t stream_receive_window, receive_window;
  uint64_t mtu;    /* 0: discover */
  bool redundancy; /* what is sent last is sent a second time */
  uint32_t connections_max, handshakes_max;
  uint16_t worker;       /* index that goes into our connection IDs */
  uint8_t reset_key[32]; /* for stateless reset tokens and Retry tokens */
};

struct quic_events {
  /* The handshake is complete and the peer is who it should be: makes the application for |conn|, gives its functions
     in
     |*app_ops| and returns it; NULL refuses the connection. Called from within quic_receive, before any stream data.
     May open unidirectional streams. */
  void *(*opened)(void *context, struct quic_conn *conn, const struct quic_app **app_ops);
};

enum quic_state {
  QUIC_HANDSHAKE,
  QUIC_OPEN,    /* handshake complete, peer verified */
  QUIC_CLOSING, /* CONNECTION_CLOSE is to be sent or was sent, or came: nothing else is sent or received */
  QUIC_CLOSED,  /* over: quic_free is what is left */
};

/* A train to send: |len| bytes as datagrams of |segment_bytes|. */
struct quic_train {
  size_t len, segment_bytes;
  struct address local, remote;
};

struct quic_stats {
  uint64_t rtt_latest_ns, rtt_min_ns, rtt_smoothed_ns;
  uint64_t cwnd, bytes_in_flight;
  uint64_t packets_sent, packets_received, packets_discarded, packets_lost, packets_repeated;
  uint64_t bytes_sent, bytes_received;
  uint64_t mtu;
};

/* |settings| are copied; |events| and |context| borrowed until quic_endpoint_close. */
must_use enum err quic_endpoint_open(struct quic_endpoint **endpoint, const struct quic_settings *settings,
                                     const struct quic_events *events, void *context);
/* All connections must be freed. NULL is allowed. */
void quic_endpoint_close(struct quic_endpoint *endpoint);
/* New handshakes use |tls| from now on. */
void quic_endpoint_set_tls(struct quic_endpoint *endpoint, struct tls_context *tls);
/* Server: refuse (false) or take (true) new connections. */
void quic_endpoint_accept(struct quic_endpoint *endpoint, bool accept);

/* Client: starts a connection; its first flight is written by quic_emit. NULL: out of memory or TLS failed. */
struct quic_conn *quic_connect(struct quic_endpoint *endpoint, const struct address *local,
                               const struct address *remote, const char *server_name, uint64_t now_ns);

/* One datagram. Whatever belongs to no connection and deserves no answer is dropped and counted. */
void quic_receive(struct quic_endpoint *endpoint, const struct address *local, const struct address *remote,
                  const uint8_t *data, size_t len, uint64_t now_ns);

/* The next connection to which something happened (input, timer, state) since it was last returned; NULL: none.
   New connections of a server come out here first. */
struct quic_conn *quic_endpoint_ready(struct quic_endpoint *endpoint);
/* Answers to datagrams without a connection; false: none. One datagram each; |buffer| holds at least 1500 bytes. */
bool quic_endpoint_emit(struct quic_endpoint *endpoint, uint8_t *buffer, size_t size, struct quic_train *train);

struct quic_endpoint_counters {
  uint64_t dropped, retries_sent, resets_sent, versions_sent, refused, invalid_tokens;
};
const struct quic_endpoint_counters *quic_endpoint_counters(const struct quic_endpoint *endpoint);
uint32_t quic_endpoint_count(const struct quic_endpoint *endpoint);
/* The memory of the libraries: for h3_settings, and to be measured. Lives as long as |endpoint|. */
struct arena *quic_endpoint_arena(struct quic_endpoint *endpoint);

enum quic_state quic_state(const struct quic_conn *conn);
/* The owner's pointer; NULL until set. */
void *quic_owner(const struct quic_conn *conn);
void quic_set_owner(struct quic_conn *conn, void *owner);
/* The original destination connection ID in hex: the same on both ends (SPEC 8). */
const char *quic_name(const struct quic_conn *conn);
struct address quic_peer(const struct quic_conn *conn);
struct address quic_local(const struct quic_conn *conn);
/* Why it ended, in words with the QUIC error name or the TLS alert: "closed by the peer: H3_NO_ERROR (stopping)",
   "idle timeout", "handshake: wrong host name: ...". Empty while it is open. */
const char *quic_reason(const struct quic_conn *conn);
/* True when it ended in a way other than an orderly close by either end. */
bool quic_failed(const struct quic_conn *conn);
/* True when it ended without a word of the peer that still knew it: an idle timeout, quic_give_up, a stateless reset.
 */
bool quic_silent(const struct quic_conn *conn);
/* The peer takes no new connections at the moment (CONNECTION_REFUSED, RFC 9000 section 20.1): it is stopping, or has
   too many. */
bool quic_refused(const struct quic_conn *conn);
/* True once the handshake is confirmed (RFC 9001 section 4.1.2). A client is QUIC_OPEN before the server has looked at
   its certificate, and may still be refused until then. */
bool quic_confirmed(const struct quic_conn *conn);
void quic_stats(const struct quic_conn *conn, struct quic_stats *stats);

/* Writes the next train for |conn| into |buffer|; false when there is nothing (more) to send now: congestion window,
   pacing, or no data. Calls the application's output functions. */
bool quic_emit(struct quic_conn *conn, uint8_t *buffer, size_t size, struct quic_train *train, uint64_t now_ns);

/* When quic_expire must be called; UINT64_MAX: not at all. Changes with every other call. */
uint64_t quic_expiry(const struct quic_conn *conn);
void quic_expire(struct quic_conn *conn, uint64_t now_ns);

/* Streams. ERR_AGAIN: the peer allows no more at the moment. */
must_use enum err quic_open_stream(struct quic_conn *conn, int64_t *stream);
must_use enum err quic_open_uni_stream(struct quic_conn *conn, int64_t *stream);
/* How many more bidirectional streams may be opened now. */
uint64_t quic_streams_left(const struct quic_conn *conn);
/* Received bytes were handed on: raises the connection's limit. Allowed inside stream_data. */
void quic_credit(struct quic_conn *conn, uint64_t len);
/* Received bytes of a stream were consumed: raises the stream's limit. Allowed inside stream_data; an unknown stream is
   ignored. */
void quic_stream_credit(struct quic_conn *conn, int64_t stream, uint64_t len);
/* RESET_STREAM of our sending part; STOP_SENDING for the peer's. Harmless when that part is over already. */
void quic_stream_reset(struct quic_conn *conn, int64_t stream, uint64_t code);
void quic_stream_stop(struct quic_conn *conn, int64_t stream, uint64_t code);

/* Closes with an application error code (RFC 9114 section 8.1) and a reason phrase; quic_emit sends CONNECTION_CLOSE.
   The state is QUIC_CLOSING and becomes QUIC_CLOSED after three probe timeouts (RFC 9000 section 10.2). */
void quic_close(struct quic_conn *conn, uint64_t code, const char *reason, uint64_t now_ns);
/* Ends it as an idle timeout does: nothing is sent. The state is QUIC_CLOSED; |reason| becomes quic_reason. */
void quic_give_up(struct quic_conn *conn, const char *reason);
/* Forgets the connection at once; nothing is sent. */
void quic_free(struct quic_conn *conn);

#endif
