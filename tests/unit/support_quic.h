/* Two QUIC endpoints in one process, joined by a link with delay, jitter and seeded loss, under a clock of their own.
   The application echoes: whatever arrives on a stream of the client's goes back on it. */
#ifndef PTP_TESTS_SUPPORT_QUIC_H
#define PTP_TESTS_SUPPORT_QUIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/quic.h"
#include "proto/tls.h"

enum { SIM_STREAMS_MAX = 2048, SIM_CONNS_MAX = 256, SIM_REPORT_MAX = 1024 };

struct sim_stream {
  int64_t id;
  uint64_t limit; /* client: bytes to send in all; server: bytes received so far */
  uint64_t sent, acked, received;
  bool ends; /* FIN after |limit| */
  bool fin_sent, fin_received, blocked, shut, closed;
  uint64_t reset_code, stopped_code, closed_code;
};

struct sim_app { /* of one connection */
  struct quic_conn *conn;
  bool server;
  bool hungry;         /* takes bytes but gives no credit */
  enum err fail;       /* returned by stream_data */
  uint64_t mismatches; /* bytes that were not what was sent */
  uint64_t closed;
  uint32_t count, next;
  struct sim_stream streams[SIM_STREAMS_MAX];
};

struct sim_datagram {
  struct sim_datagram *next;
  uint64_t due_ns;
  struct address local, remote; /* as the receiver sees them */
  bool to_server;
  size_t len;
  uint8_t data[];
};

struct sim {
  uint64_t now_ns, rng;
  uint64_t delay_ns, jitter_ns;
  uint32_t loss, duplicates; /* of 10000 datagrams */
  bool refuse;               /* `opened` of the server refuses */
  bool cut;                  /* everything is lost */
  size_t link_mtu, largest;  /* larger UDP payloads are lost; 0: none. The largest that was sent */
  struct quic_settings client_settings, server_settings;
  struct tls_context *client_tls, *server_tls;
  struct quic_endpoint *client_end, *server_end;
  struct address client_address, server_address;
  struct quic_conn *client;
  struct quic_conn *servers[SIM_CONNS_MAX];
  uint32_t server_count;
  struct sim_app *client_app, *server_app; /* of the latest that opened */
  struct sim_datagram *flying;
  uint64_t datagrams, bytes_to_server, bytes_to_client;
  uint32_t mutate; /* of 10000 datagrams have some bits flipped */
  char report[SIM_REPORT_MAX];
};

/* Where the certificates are: made once a process by tests/make_certs. */
const char *sim_certs(void);
/* A context with certs/NAME.pem and .key that expects the peer to be called |peer|; NULL: refused, text in |report|. */
struct tls_context *sim_tls(bool server, const char *name, const char *ca, const char *peer,
                            char report[SIM_REPORT_MAX]);

/* Settings of both ends, to be changed before sim_start; certificates server and client. */
struct sim *sim_new(uint64_t seed);
/* Replaces the contexts (and owns them). */
void sim_set_tls(struct sim *sim, struct tls_context *client, struct tls_context *server);
void sim_start(struct sim *sim);
/* The client connects to |server_name|. */
void sim_connect(struct sim *sim, const char *server_name);
/* Runs until |done| or |limit_ms| of simulated time have passed; true when it was done. */
typedef bool sim_done_f(struct sim *sim);
bool sim_run(struct sim *sim, sim_done_f *done, uint64_t limit_ms);
/* Frees everything; asserts that the endpoints are empty afterwards. */
void sim_free(struct sim *sim);
/* Forgets the server endpoint and makes a new one, with the same key: a restart. */
void sim_restart_server(struct sim *sim);
/* Frees a connection of the client's with its application. */
void sim_forget(struct sim *sim, struct quic_conn *conn);

bool sim_both_open(struct sim *sim);
bool sim_both_confirmed(struct sim *sim);
bool sim_over(struct sim *sim); /* both ends are closing or closed */
bool sim_never(struct sim *sim);
bool sim_client_closing(struct sim *sim);
bool sim_client_closed(struct sim *sim);
bool sim_all_closed(struct sim *sim);

/* Starts and connects; fails the test unless both ends open and confirm the handshake. */
void sim_connect_pair(struct sim *sim);
/* The same, with the settings as they are. */
struct sim *sim_open_pair(uint64_t seed);
/* Runs until all streams came back; fails the test when they do not in time. */
void sim_echo(struct sim *sim, uint64_t limit_ms);
/* States and reasons of all connections, for a person. */
void sim_say(struct sim *sim);

/* Opens a stream of the client's that sends |len| bytes; NULL when none can be opened. */
struct sim_stream *sim_open(struct sim *sim, uint64_t len, bool ends);
/* All streams of the client's came back whole and are closed. */
bool sim_echoed(struct sim *sim);

#endif
