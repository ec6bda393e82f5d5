/* Fields that a proxy adds to a request on its way: where it came from (Forwarded, RFC 7239), and that it was here
   (CDN-Loop, RFC 8586), by which a request that comes round is known. */
#ifndef PTP_PROXY_MARKS_H
#define PTP_PROXY_MARKS_H

#include <stdbool.h>

#include "base/address.h"
#include "base/err.h"
#include "proto/fields.h"

enum { LOOP_MARK_MAX = 24 };

/* Makes the mark of this process: "ptproxy-" and random digits. */
void loop_mark_make(char mark[LOOP_MARK_MAX]);

/* Adds |mark| to |head|; ERR_LOOP when it is there already. Otherwise as fields_add. */
must_use enum err loop_mark_add(struct head *head, const char *mark);

/* Appends Forwarded with |peer|, from whom the request came, |local|, where it came to, and |proto|, "http" or "http3".
   As fields_add. */
must_use enum err forwarded_add(struct head *head, const struct address *peer, const struct address *local,
                                const char *proto);

#endif
