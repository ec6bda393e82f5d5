/* TCP (and UNIX stream) connections on a ring: listen, accept, connect, receive, send, close as one state machine.

     tcp_connect -> CONNECTING -> OPEN -> CLOSING -> (buried: back to the pool)
     accept ------------------->  OPEN

   An owner learns what happened from its event function, which tcp_dispatch calls in the tick's ingress step, and
   never from inside another call of this module. Received bytes stay in the provided buffer (a chunk) that they arrived
   in. There is one receive and one send in flight at most. */
#ifndef PTP_IO_TCP_H
#define PTP_IO_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/address.h"
#include "base/err.h"
#include "base/list.h"
#include "flow/chunk.h"
#include "io/ring.h"

struct tcp;
struct tcp_stack;
struct tcp_listener;

enum tcp_event {
  TCP_CONNECTED = 1, /* tcp_connect succeeded */
  TCP_INPUT = 2,     /* there are bytes to peek, or the peer has closed its side (tcp_input_ended) */
  TCP_SENT = 4,      /* the send completed, in part or whole: tcp_sent_bytes */
  /* Reset, refused, unreachable ...: tcp_failure. The last event; what was received before can still be read, then
     only tcp_close is left to do. Who reads gets all that the peer sent before a send fails. */
  TCP_FAILED = 8,
};

typedef void tcp_event_f(void *owner, struct tcp *tcp, unsigned events);
/* A new connection: the function must call tcp_own or tcp_close. */
typedef void tcp_accept_f(void *context, struct tcp *tcp);

enum tcp_input_mode {
  TCP_INPUT_OFF,   /* ask the kernel for nothing: back-pressure. What was under way may still arrive */
  TCP_INPUT_SMALL, /* idle connections and heads: multishot receive into small chunks */
  TCP_INPUT_BULK,  /* bodies: one receive at a time into a large chunk */
};

struct tcp_config {
  uint32_t connections; /* capacity of the pool, those being closed included */
  bool nodelay;
  uint64_t keepalive_ms; /* 0: off */
  bool joins;            /* another stack of this process listens on the same addresses already */
};

/* |ring| and |chunks| are borrowed until tcp_stack_close. ERR_OK or ERR_NO_MEMORY. */
must_use enum err tcp_stack_open(struct tcp_stack **stack, struct ring *ring, struct chunks *chunks,
                                 const struct tcp_config *config);
/* All connections must be buried. NULL is allowed. */
void tcp_stack_close(struct tcp_stack *stack);

/* Calls the event and accept functions for everything that completed since the last call. */
void tcp_dispatch(struct tcp_stack *stack);
/* Returns connections that are closed and have nothing in flight to the pool: the tick's last step. */
void tcp_bury(struct tcp_stack *stack);
/* Connections that are not yet buried. */
uint32_t tcp_count(const struct tcp_stack *stack);

/* Listens on |address| (IP or UNIX; a stale UNIX socket file is replaced) and accepts until
   tcp_unlisten. ERR_SYSTEM: |reason| gets a sentence. */
must_use enum err tcp_listen(struct tcp_stack *stack, const struct address *address, tcp_accept_f *accept,
                             void *context, struct tcp_listener **listener, char *reason, size_t reason_size);
/* Stops accepting and removes a UNIX socket's file; a connection that was accepted meanwhile is closed. The listener is
   gone when its last completion came. NULL is allowed. */
void tcp_unlisten(struct tcp_listener *listener);
/* The address that it is bound to (port 0 resolved). */
struct address tcp_listener_address(const struct tcp_listener *listener);

/* Starts to connect; the outcome is an event. NULL when the pool is empty or no socket could be had. */
struct tcp *tcp_connect(struct tcp_stack *stack, const struct address *address, tcp_event_f *on_event, void *owner);

/* Sets who gets the events of an accepted connection. */
void tcp_own(struct tcp *tcp, tcp_event_f *on_event, void *owner);

/* What to ask the kernel for from now on. An accepted or connected one starts with TCP_INPUT_OFF. */
void tcp_input(struct tcp *tcp, enum tcp_input_mode mode);
/* The oldest received piece that is not consumed: its chunk (borrowed; take a reference to keep it), where it starts
   and its length. NULL when there is none. */
struct chunk *tcp_input_peek(const struct tcp *tcp, uint32_t *offset, uint32_t *len);
/* Done with the first |len| bytes of that piece. */
void tcp_input_consume(struct tcp *tcp, uint32_t len);
/* Received bytes that are not consumed. The owner bounds them with TCP_INPUT_OFF. */
size_t tcp_input_bytes(const struct tcp *tcp);
/* True when the peer has closed its side and everything before that is consumed. */
bool tcp_input_ended(const struct tcp *tcp);

/* Sends; the bytes (not the iovec array, at most FLOW_IOV_MAX + 4 entries) are borrowed until TCP_SENT or the
   connection is buried: a closed connection keeps its memory until then, so the caller keeps the bytes until
   tcp_sending is false. May complete in part. Not while one is in flight. */
void tcp_send(struct tcp *tcp, const struct iovec *iov, size_t count);
bool tcp_sending(const struct tcp *tcp);
/* How much the last completed send sent. */
size_t tcp_sent_bytes(const struct tcp *tcp);
/* Bytes of completed sends that the peer has not acknowledged; 0 when the kernel does not know. */
uint64_t tcp_queued_bytes(const struct tcp *tcp);
/* Half-closes after the sends so far (RFC 9112 section 9.6: so that a last response is not lost to a reset). */
void tcp_shutdown(struct tcp *tcp);

/* Ends the connection: no event comes any more, received bytes are dropped, what is in flight is cancelled. With
   |reset| the peer sees RST instead of FIN, so that it cannot take a cut body for a complete one. The pointer must not
   be used after that, except in tcp_on_buried's way. |buried| (may be NULL) is called with |owner| from tcp_bury when
   no operation refers to the owner's bytes any more. */
typedef void tcp_buried_f(void *owner);
void tcp_close(struct tcp *tcp, bool reset, tcp_buried_f *buried, void *owner);

/* Why it failed, in words for the log: "connection refused". Static. */
const char *tcp_failure(const struct tcp *tcp);
/* The two ends' addresses; len 0 when the kernel does not know (any more). */
struct address tcp_local(const struct tcp *tcp);
struct address tcp_remote(const struct tcp *tcp);

#endif
