/* TCP connections between a worker and the scripted ends: a wire has two pipes, each with a finite buffer, a small
   delay and an end, which is FIN or RST. The scripts hold a peer; the worker holds a struct tcp (sim_tcp.c). */
#ifndef PTP_TESTS_SIM_WIRE_H
#define PTP_TESTS_SIM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct tcp;
struct wire;

struct pipe {
  struct wire *wire;
  uint8_t *data;
  size_t capacity;
  uint64_t written, arrived, read; /* bytes since the beginning */
  uint64_t last_ns;                /* when the last thing that was sent arrives */
  bool fin_sent, fin_arrived, reset_sent, reset_arrived;
  bool reader_gone; /* what arrives is answered with RST */
};

/* Called when anything changed: connected, bytes or room came, the end. Never from inside another call. */
typedef void peer_event_f(void *owner);

enum peer_state {
  PEER_CONNECTING,
  PEER_OPEN,
  PEER_ENDED, /* FIN, and everything before it is read */
  PEER_RESET, /* RST or refused; what had arrived before is read */
  PEER_CLOSED,
};

struct peer {
  struct wire *wire;
  peer_event_f *event;
  void *owner;
  bool connected, refused, closed, notified;
};

struct wire {
  struct list node;
  uint32_t id; /* for the trace */
  int host;
  struct tcp *tcp; /* NULL: not there yet, or buried */
  struct pipe to_tcp, to_peer;
  struct peer peer;
};

enum verdict { VERDICT_ACCEPT, VERDICT_REFUSE, VERDICT_IGNORE };

/* Who answers when a worker connects. */
struct wire_server {
  enum verdict (*verdict)(void *context);
  void (*accepted)(void *context, struct peer *peer); /* must set event and owner */
  void *context;
};

void wires_open(const struct wire_server *server);
/* Frees all wires, at the end of the simulation. */
void wires_close(void);

/* --- for the scripts --- */

/* To the listener of |host|'s worker; refused when there is none. */
struct peer *peer_connect(int host, peer_event_f *event, void *owner);
enum peer_state peer_state(const struct peer *peer);
size_t peer_room(const struct peer *peer);
/* Returns how many bytes were taken. */
size_t peer_write(struct peer *peer, const void *data, size_t len);
size_t peer_readable(const struct peer *peer);
size_t peer_read(struct peer *peer, uint8_t *out, size_t max);
void peer_shutdown(struct peer *peer);
/* As close(2): RST when there are unread bytes or when more come. No event comes any more. */
void peer_close(struct peer *peer);
void peer_reset(struct peer *peer);

/* --- for sim_tcp.c --- */

struct wire *wire_new(int host);
const struct wire_server *wire_server(void);
size_t pipe_room(const struct pipe *pipe);
size_t pipe_available(const struct pipe *pipe);
void pipe_write(struct pipe *pipe, const uint8_t *data, size_t len);
void pipe_read(struct pipe *pipe, uint8_t *out, size_t len);
void pipe_fin(struct pipe *pipe);
void pipe_reset(struct pipe *pipe);
/* The reader closes: unread bytes, or those that come, are answered with RST. */
void pipe_abandon(struct pipe *pipe, struct pipe *back);
void peer_notify(struct peer *peer);

/* sim_tcp.c: something arrived for |tcp|, or its pipe has room again. */
void tcp_wire_event(struct tcp *tcp);
/* sim_tcp.c: a new connection for the listener of the wire's host; false: nobody listens. */
bool tcp_wire_accept(struct wire *wire);

#endif
