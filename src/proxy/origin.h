/* Server mode: HTTP/1.1 connections to service B. The far end of exchanges: takes an idle connection or makes one,
   sends the request, reads the response, keeps the connection for the next. */
#ifndef PTP_PROXY_ORIGIN_H
#define PTP_PROXY_ORIGIN_H

#include <stdint.h>

#include "base/err.h"
#include "proxy/proxy.h"

struct origin;
struct exchange;

/* For general.http_connect_address; names are resolved when first needed, and again every half minute of use.
   ERR_OK, ERR_NO_MEMORY or ERR_BAD_CONFIG. |proxy| is borrowed. */
must_use enum err origin_open(struct origin **origin, struct proxy *proxy);
/* All connections must be gone. NULL is allowed. */
void origin_close(struct origin *origin);

/* proxy->route of server mode: |router| is the origin. */
void origin_route(void *router, struct exchange *exchange);

/* Closes idle connections, and those in use when their exchange is over. */
void origin_drain(struct origin *origin);
/* Closes all at once. */
void origin_abort(struct origin *origin);
/* Connections that wait for a request. */
uint32_t origin_idle_count(const struct origin *origin);
/* Connections not yet buried. */
uint32_t origin_count(const struct origin *origin);

#endif
