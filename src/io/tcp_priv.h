/* What tcp.c (connections) and tcp_listen.c (listeners) share. */
#ifndef PTP_IO_TCP_PRIV_H
#define PTP_IO_TCP_PRIV_H

#include "flow/chunk.h"
#include "io/ring_priv.h"
#include "io/tcp.h"

enum { TCP_MAGIC = 0x7c9a11ed, TCP_IOV_MAX = FLOW_IOV_MAX + 4 };

enum tcp_state {
  TCP_CONNECTING,
  TCP_ACCEPTED, /* not yet shown to the accept function */
  TCP_OPEN,
  TCP_BROKEN, /* TCP_FAILED is raised */
  TCP_DYING,  /* closed by the owner; dead when nothing is in flight */
};

struct tcp {
  uint32_t magic;
  int fd;
  struct tcp_stack *stack;
  uint8_t state;      /* enum tcp_state */
  uint8_t events;     /* raised and not yet dispatched */
  uint8_t wanted;     /* enum tcp_input_mode: what the owner asked for */
  uint8_t armed;      /* enum tcp_input_mode: what the receive in flight is; OFF: none */
  bool cancelling;    /* the receive in flight is being cancelled */
  bool ended;         /* the peer has closed its side */
  bool sending;       /* until TCP_SENT is dispatched */
  bool shutting;      /* half-close when the send in flight is complete */
  struct list ready;  /* in the stack's ready or dead list */
  struct list change; /* in the stack's changed list or in a starved one */

  struct ring_op receive; /* and connect */
  struct chunk *input_first, *input_last;
  uint32_t input_offset; /* in the first */
  size_t input_bytes;

  tcp_event_f *on_event;
  void *owner;
  tcp_buried_f *buried;
  const char *failure;           /* NULL: none */
  struct tcp_listener *listener; /* while TCP_ACCEPTED */

  struct ring_op send;
  size_t send_bytes, sent_bytes; /* asked for, done */
  struct msghdr message;
  union {
    struct iovec iov[TCP_IOV_MAX];
    struct address peer; /* while TCP_CONNECTING */
  };
};

struct tcp_stack {
  struct ring *ring;
  struct pool pool;
  struct tcp_config config;
  struct ring_hook arm;
  struct list ready;                /* something to dispatch */
  struct list dead;                 /* to bury */
  struct list changed;              /* the receive may have to be armed or cancelled */
  struct list starved[CHUNK_SIZES]; /* receives that found no buffer */
  struct list listeners;
};

/* tcp.c, for tcp_listen.c: a connection in the pool for |fd|, which it takes; NULL (and |fd| closed) when it is full.
 */
struct tcp *tcp_new(struct tcp_stack *stack, int fd, enum tcp_state state);
/* tcp_listen.c, for tcp.c: shows an accepted connection to its listener's accept function. */
void tcp_accepted(struct tcp *tcp);
/* The accepted connection went away before it was shown. */
void tcp_forget_accepted(struct tcp *tcp);
/* A descriptor was closed: listeners that wait for one try again. */
void tcp_resume_accepting(struct tcp_stack *stack);
/* Sets the options of a connection, or of a listener for the connections that inherit them. */
void tcp_set_options(const struct tcp_config *config, int fd, int family);

#endif
