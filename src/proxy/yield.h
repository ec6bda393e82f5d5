/* Client mode, each worker: ends exchanges whose callers do not move, when others need what they hold (stalls.h). */
#ifndef PTP_PROXY_YIELD_H
#define PTP_PROXY_YIELD_H

#include "proxy/proxy.h"

void yield_open(struct proxy *proxy);
void yield_close(struct proxy *proxy);
/* In every tick: begins to look when streams are wanted or buffers run out. */
void yield_consider(struct proxy *proxy);

#endif
