/* Every bound that is fixed when the program is built, on one page, with what relates them. Bounds that an operator
   sets are in config/config.tbl. */
#ifndef PTP_BASE_LIMITS_H
#define PTP_BASE_LIMITS_H

#include <assert.h>

enum {
  /* payload buffers: flow/chunk.h */
  CHUNK_SMALL_BYTES = 4096,
  CHUNK_LARGE_BYTES = 65536,
  CHUNK_SMALL_COUNT_MAX = 32768, /* 128 MiB of address space a worker; resident only what was ever in use at once */
  CHUNK_LARGE_COUNT_MAX = 4096,  /* 256 MiB of address space a worker */
  COPY_BELOW_BYTES = 1024,       /* a piece smaller than this is copied together, so that it does not pin a buffer */

  /* one direction of one exchange: flow/flow.h */
  FLOW_UNTAKEN_BYTES_MAX = 131072, /* queued and not yet taken by the consumer; one more chunk may overshoot it */
  FLOW_IOV_MAX = 16,

  /* messages: proto/fields.h */
  HEAD_BYTES_MAX = 65536, /* ceiling of limits.head_size, counted as RFC 9114 section 4.2.2 does */
  HEAD_FIELDS_MAX = 1024, /* ceiling of limits.header_count */
  FIELD_OVERHEAD_BYTES = 32,
  HEAD_MARKS_MAX = 2,      /* fields that a ptproxy adds to a request beyond the limits: proxy/marks.h */
  HEAD_MARK_BYTES = 256,   /* the longest of them, counted in the same way */
  INFORMATIONAL_MAX = 16,  /* 1xx responses before the final one; so many may wait to be passed on */
  DRAIN_BYTES_MAX = 65536, /* of a request body that nobody wants any more, before the connection is closed */

  /* workers */
  WORKERS_MAX = 256, /* ceiling of system.threads */

  /* a worker */
  EXCHANGES_MAX = 16384,
  CONNECTIONS_MAX = 65536, /* ceiling of limits.connections */
  SESSIONS_MAX = 256,
  HANDSHAKES_MAX = 64, /* sessions of a server that are not yet authenticated */
  ORIGIN_CONNECTIONS_MAX = 4096,
  SPANS_MAX = 131072,
  TIMERS_MAX = CONNECTIONS_MAX + ORIGIN_CONNECTIONS_MAX + SESSIONS_MAX + EXCHANGES_MAX + 64,

  /* datagrams */
  DATAGRAM_BYTES_MAX = 65527,
  TRAIN_BYTES_MAX = 65507,
  TRAIN_SEGMENTS_MAX = 64,
  UDP_RECEIVE_BUFFERS = 64,
  UDP_SEND_BUFFERS = 16,
};

/* A head that is allowed must fit into the one buffer that holds it: names, values and their descriptors. */
static_assert(HEAD_BYTES_MAX <= CHUNK_LARGE_BYTES, "a head of the largest size fits a large chunk");
static_assert(COPY_BELOW_BYTES <= CHUNK_SMALL_BYTES / 2, "copied pieces fill small chunks without much waste");
static_assert(CHUNK_SMALL_COUNT_MAX <= 65536 && CHUNK_LARGE_COUNT_MAX <= 65536, "a buffer id has 16 bits");

#endif
