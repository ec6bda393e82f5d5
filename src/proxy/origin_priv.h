/* What origin.c and origin_conn.c share. */
#ifndef PTP_PROXY_ORIGIN_PRIV_H
#define PTP_PROXY_ORIGIN_PRIV_H

#include "base/log.h"
#include "proto/http1_read.h"
#include "proto/http1_write.h"
#include "proxy/exchange.h"
#include "proxy/origin.h"

enum origin_state {
  ORIGIN_CONNECTING,
  ORIGIN_ACTIVE, /* has an exchange */
  ORIGIN_IDLE,
  ORIGIN_CLOSED, /* tcp_close was called */
};

struct origin {
  struct proxy *proxy;
  struct pool connections;
  struct list idle;    /* of origin_conn, the last used first */
  struct list active;  /* all the others */
  struct list waiting; /* exchanges (by queue) that found no address or no connection, oldest first */
  struct timer wait_timer;
  struct resolve_query query;
  bool resolving;
  uint64_t resolve_after_ns; /* not before */
  bool literal;              /* the address needs no resolving */
  struct address addresses[RESOLVE_RESULTS_MAX];
  size_t address_count, address_next;
  struct log_rate failures;
};

struct origin_conn {
  struct list node; /* in origin->idle or ->active */
  struct origin *origin;
  struct proxy *proxy;
  struct tcp *tcp;
  struct exchange *exchange; /* NULL when idle, or when it was taken away */
  struct timer timer;
  struct http1_reader reader;
  struct http1_writer writer;
  uint8_t state;    /* enum origin_state */
  bool reused;      /* it has served an exchange before this one */
  bool failed;      /* nothing more comes but what is queued; not to be kept */
  bool bulk;        /* the last response was long: the next one may be */
  uint8_t attempts; /* addresses tried for this exchange */
};

/* origin.c: gives |exchange| a connection: an idle one, unless it was retried because one of those had died; else a new
   one, to the address behind the |attempts| that were tried; else it waits. */
void origin_place(struct origin *origin, struct exchange *exchange, unsigned attempts);
/* origin.c: a connection has become free, or its place in the pool. */
void origin_serve_waiting(struct origin *origin);

/* origin_conn.c: sends |exchange| on an idle connection, which is in no list. */
void origin_conn_use(struct origin_conn *conn, struct exchange *exchange);
/* origin_conn.c: begins to connect for |exchange|; false: no connection or socket is left. */
bool origin_conn_connect(struct origin *origin, struct exchange *exchange, unsigned attempts);
void origin_conn_close(struct origin_conn *conn, bool reset);

#endif
