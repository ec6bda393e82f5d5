#include "metrics/metrics.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "base/pool.h"
#include "base/text.h"

/* Upper bounds of the buckets of http_request_seconds, in microseconds: 1-2.5-5 from 100 us to 10 s, thinner later. */
static const uint32_t bounds_us[METRICS_TIME_BUCKETS - 1] = {100,   250,    500,    1000,    2500,    5000,    10000,
                                                             25000, 100000, 250000, 1000000, 2500000, 10000000};

void metrics_count_response(struct metrics *metrics, unsigned status) {
  metric *const classes[] = {&metrics->requests_1xx, &metrics->requests_2xx, &metrics->requests_3xx,
                             &metrics->requests_4xx, &metrics->requests_5xx};
  if (status >= 100 && status <= 599)
    metrics_add(classes[status / 100 - 1], 1);
}

void metrics_count_time(struct metrics *metrics, uint64_t ns) {
  int bucket = 0;
  while (bucket < METRICS_TIME_BUCKETS - 1 && ns > bounds_us[bucket] * NS_PER_US)
    bucket++;
  metrics_add(&metrics->request_time_buckets[bucket], 1);
  metrics_add(&metrics->request_time_ns, ns);
}

static void sum_all(metric *sum, const metric *figures, size_t count) {
  for (size_t i = 0; i < count; i++)
    metrics_add(&sum[i], metrics_get(&figures[i]));
}

/* By the kind of a row. */
static void sum_COUNTER(metric *sum, const metric *figure) { metrics_add(sum, metrics_get(figure)); }
static void sum_GAUGE(metric *sum, const metric *figure) { metrics_add(sum, metrics_get(figure)); }
static void sum_LARGEST(metric *sum, const metric *figure) {
  if (metrics_get(figure) > metrics_get(sum))
    metrics_set(sum, metrics_get(figure));
}
static void sum_SECONDS(metric *sum, const metric *figure) { sum_LARGEST(sum, figure); }

void metrics_sum(struct metrics *sum, const struct metrics *metrics) {
  sum_all(sum->request_time_buckets, metrics->request_time_buckets, METRICS_TIME_BUCKETS);
  sum_all(&sum->request_time_ns, &metrics->request_time_ns, 1);
#define METRIC(member, kind, family, labels, help) sum_##kind(&sum->member, &metrics->member);
#define METRIC_BY_ERR(member, family, help) sum_all(sum->member, metrics->member, ERR_COUNT);
#include "metrics/metrics.tbl"
}

/* The text, and the family whose HELP and TYPE were written last. */
struct page {
  struct text text;
  const char *family;
};

static void put_family(struct page *page, const char *family, const char *type, const char *help) {
  if (page->family != NULL && strcmp(page->family, family) == 0)
    return;
  page->family = family;
  text_put(&page->text, "# HELP ptproxy_%s %s\n# TYPE ptproxy_%s %s\n", family, help, family, type);
}

enum kind { COUNTER, GAUGE, LARGEST, SECONDS };

static void put_metric(struct page *page, enum kind kind, const char *family, const char *labels, const char *help,
                       uint64_t value) {
  if (kind == GAUGE && value > INT64_MAX) /* one half of a pair was seen, the other not yet */
    value = 0;
  put_family(page, family, kind == COUNTER ? "counter" : "gauge", help);
  text_put(&page->text, labels[0] != '\0' ? "ptproxy_%s{%s} " : "ptproxy_%s%s ", family, labels);
  if (kind == SECONDS)
    text_put_seconds(&page->text, value);
  else
    text_put(&page->text, "%" PRIu64, value);
  text_put(&page->text, "\n");
}

static void put_by_err(struct page *page, const char *family, const char *help, const metric *figures) {
  put_family(page, family, "counter", help);
  for (int i = 0; i < ERR_COUNT; i++)
    text_put(&page->text, "ptproxy_%s{reason=\"%s\"} %" PRIu64 "\n", family, err_name((enum err)i),
             metrics_get(&figures[i]));
}

static void put_times(struct page *page, const struct metrics *sum) {
  static const char family[] = "http_request_seconds";
  uint64_t count = 0;
  put_family(page, family, "histogram", "Time from the end of a request's head to the end of its response.");
  for (int i = 0; i < METRICS_TIME_BUCKETS; i++) {
    count += metrics_get(&sum->request_time_buckets[i]);
    if (i < METRICS_TIME_BUCKETS - 1)
      text_put(&page->text, "ptproxy_%s_bucket{le=\"%g\"} %" PRIu64 "\n", family, bounds_us[i] / 1e6, count);
  }
  text_put(&page->text, "ptproxy_%s_bucket{le=\"+Inf\"} %" PRIu64 "\nptproxy_%s_sum ", family, count, family);
  text_put_seconds(&page->text, metrics_get(&sum->request_time_ns));
  text_put(&page->text, "\n");
  text_put(&page->text, "ptproxy_%s_count %" PRIu64 "\n", family, count);
}

enum { POOL_NAMES_MAX = 64 };
enum pool_figure { POOL_LIVE, POOL_CAPACITY, POOL_REFUSED, POOL_FIGURES };

struct pools {
  size_t count;
  const char *names[POOL_NAMES_MAX];
  uint64_t figures[POOL_NAMES_MAX][POOL_FIGURES];
};

static void pools_add(void *context, const struct pool *pool) {
  struct pools *pools = context;
  size_t i = 0;
  while (i < pools->count && strcmp(pools->names[i], pool->name) != 0)
    i++;
  must(i < POOL_NAMES_MAX);
  if (i == pools->count)
    pools->names[pools->count++] = pool->name;
  pools->figures[i][POOL_LIVE] += pool->live;
  pools->figures[i][POOL_CAPACITY] += pool->capacity;
  pools->figures[i][POOL_REFUSED] += pool->refused;
}

static void put_pools(struct page *page) {
  static const char *const families[POOL_FIGURES][3] = {
      [POOL_LIVE] = {"pool_live", "gauge", "Objects of a bounded pool that are in use."},
      [POOL_CAPACITY] = {"pool_capacity", "gauge", "Objects that a bounded pool has."},
      [POOL_REFUSED] = {"pool_refused_total", "counter", "Times that a bounded pool was found empty."},
  };
  struct pools pools = {.count = 0};
  pool_each(pools_add, &pools);
  for (size_t f = 0; f < POOL_FIGURES; f++) {
    put_family(page, families[f][0], families[f][1], families[f][2]);
    for (size_t i = 0; i < pools.count; i++)
      text_put(&page->text, "ptproxy_%s{pool=\"%s\"} %" PRIu64 "\n", families[f][0], pools.names[i],
               pools.figures[i][f]);
  }
}

size_t metrics_text(const struct metrics *sum, char *out, size_t size) {
  struct page page = {.text = {.out = out, .size = size}};
#define METRIC(member, kind, family, labels, help)                                                                     \
  put_metric(&page, kind, family, labels, help, metrics_get(&sum->member));
#define METRIC_BY_ERR(member, family, help) put_by_err(&page, family, help, sum->member);
#include "metrics/metrics.tbl"
  put_times(&page, sum);
  put_metric(&page, COUNTER, "log_dropped_total", "", "Log lines that were not written.", log_dropped());
  put_pools(&page);
  return text_len(&page.text);
}
