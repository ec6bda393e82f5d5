/* The account of every request: what the metrics count, and the access log (log.access), one line for each. */
#ifndef PTP_PROXY_ACCESS_H
#define PTP_PROXY_ACCESS_H

struct exchange;

/* The request's head is complete. */
void access_begun(struct exchange *exchange);
/* The near end lets go: before anything of the exchange is changed by that. */
void access_ended(struct exchange *exchange);

#endif
