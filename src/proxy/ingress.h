/* Client mode: HTTP/1 connections of service A, from accept to close. Each has one exchange at a time: what is
   pipelined behind a request waits in the connection until its response is complete, so that responses are in order. */
#ifndef PTP_PROXY_INGRESS_H
#define PTP_PROXY_INGRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proxy/proxy.h"

struct ingress_front;

/* The front of a worker: no listener yet. |proxy| is borrowed. */
must_use enum err ingress_front_open(struct ingress_front **front, struct proxy *proxy);
/* All connections must be gone. NULL is allowed. */
void ingress_front_close(struct ingress_front *front);

/* Listens on |address|; ERR_SYSTEM with a sentence in |reason|. */
must_use enum err ingress_listen(struct ingress_front *front, const struct address *address, char *reason,
                                 size_t reason_size);
/* Where the listeners are bound, for the start-up log: their number, at most |max| addresses. */
size_t ingress_addresses(const struct ingress_front *front, struct address *out, size_t max);

/* Stops accepting, closes idle connections, and lets the others finish their exchange. */
void ingress_drain(struct ingress_front *front);
/* Closes every connection at once. */
void ingress_abort(struct ingress_front *front);
uint32_t ingress_count(const struct ingress_front *front);

#endif
