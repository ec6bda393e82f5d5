/* Host names to addresses without holding up the worker: getaddrinfo(3) runs in a thread of its own. */
#ifndef PTP_IO_RESOLVE_H
#define PTP_IO_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/err.h"
#include "base/list.h"
#include "io/ring.h"

enum { RESOLVE_RESULTS_MAX = 8, RESOLVE_HOST_MAX = 256 };

struct resolver;

/* A question and its answer, embedded in its owner, which must live until |done| was called or the resolver
   is closed. */
struct resolve_query {
  struct list node; /* the resolver's */
  char host[RESOLVE_HOST_MAX];
  uint16_t port;
  bool datagram;
  struct address results[RESOLVE_RESULTS_MAX];
  size_t count; /* 0: |error| says why, in words */
  char error[128];
  void (*done)(struct resolve_query *query);
};

/* Answers wake |ring|. No thread is started yet: the first resolver_dispatch that has a question for it does that, and
   so decides whose privileges it has. ERR_OK or ERR_NO_MEMORY. */
must_use enum err resolver_open(struct resolver **resolver, struct ring *ring);
/* Waits for the question that the thread is at, drops the others without calling |done|. NULL is allowed. */
void resolver_close(struct resolver *resolver);

/* Asks. IP literals are answered at the next resolver_dispatch without the thread. */
void resolve(struct resolver *resolver, struct resolve_query *query);
/* Calls |done| for every answer that has come: the tick's ingress step. */
void resolver_dispatch(struct resolver *resolver);

#endif
