/* What a ring may be used for, told to the kernel before its first operation: seccomp does not see operations of
   io_uring (RELIABILITY.md T-12), but a ring that was restricted refuses what is not in its list, for good. */
#ifndef PTP_IO_RING_LIMIT_H
#define PTP_IO_RING_LIMIT_H

#include <liburing.h>
#include <stdbool.h>

/* Limits |uring|, made with IORING_SETUP_R_DISABLED and not yet enabled, to the operations and registrations that
   ring.c uses. Another one then ends with -EACCES. 0, or the negative errno of a kernel that refuses: nothing is
   limited. */
int ring_limit(struct io_uring *uring);

/* True when operation |code| (IORING_OP_...) is in the list. */
bool ring_limit_allows(unsigned code);

/* How many operations are in the list. */
unsigned ring_limit_count(void);

#endif
