/* Figures of one worker, from one table (metrics.tbl). Only the worker writes its own, without a locked instruction;
   anybody may read them at any time. */
#ifndef PTP_METRICS_METRICS_H
#define PTP_METRICS_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
  METRICS_TEXT_MAX = 65536,  /* what metrics_text needs at most, with room to spare */
  METRICS_TIME_BUCKETS = 14, /* of http_request_seconds, the last one without a bound */
};

typedef _Atomic uint64_t metric;

/* All zeros at start. Aligned to two cache lines: what the neighbour writes is not fetched along. */
struct metrics {
  _Alignas(128) metric request_time_buckets[METRICS_TIME_BUCKETS];
  metric request_time_ns;
#define METRIC(member, kind, family, labels, help) metric member;
#define METRIC_BY_ERR(member, family, help) metric member[ERR_COUNT];
#include "metrics/metrics.tbl"
};

static inline uint64_t metrics_get(const metric *figure) { return atomic_load_explicit(figure, memory_order_relaxed); }

static inline void metrics_set(metric *figure, uint64_t n) { atomic_store_explicit(figure, n, memory_order_relaxed); }

static inline void metrics_add(metric *figure, uint64_t n) { metrics_set(figure, metrics_get(figure) + n); }

/* For gauges. Two workers may each do one half of a pair: only their sum means something. */
static inline void metrics_sub(metric *figure, uint64_t n) { metrics_set(figure, metrics_get(figure) - n); }

/* Counts a response by the class of |status|, 100 to 599; others are not counted. */
void metrics_count_response(struct metrics *metrics, unsigned status);

/* Counts a request that took |ns|, for the histogram. */
void metrics_count_time(struct metrics *metrics, uint64_t ns);

/* Adds a snapshot of |metrics| to |sum|, which the caller has set to zeros. */
void metrics_sum(struct metrics *sum, const struct metrics *metrics);

/* Writes |sum| and the open pools (those of one name added up) in the Prometheus text format, with a NUL. Returns the
   length without it; 0 when |size| is too small. */
size_t metrics_text(const struct metrics *sum, char *out, size_t size);

#endif
