#include "unit/support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "metrics/metrics.h"

static struct metrics worker, other, sum;
static char text[METRICS_TEXT_MAX];

static int set_up(void **state) {
  (void)state;
  memset((void *)&worker, 0, sizeof worker);
  memset((void *)&other, 0, sizeof other);
  memset((void *)&sum, 0, sizeof sum);
  return 0;
}

static void assert_line(const char *line) {
  char needle[200];
  snprintf(needle, sizeof needle, "\n%s\n", line);
  if (strstr(text, needle) == NULL)
    fail_msg("missing: %s", line);
}

static void assert_no_line(const char *part) { assert_null(strstr(text, part)); }

static void test_figures(void **state) {
  (void)state;
  metrics_add(&worker.trains_sent, 5);
  metrics_add(&worker.trains_sent, 1);
  assert_int_equal(metrics_get(&worker.trains_sent), 6);
  metrics_set(&worker.link_cwnd_bytes, 7);
  metrics_sub(&worker.link_cwnd_bytes, 3);
  assert_int_equal(metrics_get(&worker.link_cwnd_bytes), 4);
}

static void test_sum(void **state) {
  (void)state;
  metrics_add(&worker.bytes_in, 1);
  metrics_add(&other.bytes_in, 2);
  metrics_add(&other.disconnects[ERR_LINK_DOWN], 3);
  metrics_count_time(&worker, 1000);
  metrics_count_time(&other, 1000);
  metrics_sum(&sum, &worker);
  metrics_sum(&sum, &other);
  assert_int_equal(metrics_get(&sum.bytes_in), 3);
  assert_int_equal(metrics_get(&sum.disconnects[ERR_LINK_DOWN]), 3);
  assert_int_equal(metrics_get(&sum.request_time_buckets[0]), 2);
  assert_int_equal(metrics_get(&sum.request_time_ns), 2000);
  assert_int_equal(metrics_get(&worker.bytes_in), 1);
}

static void test_status_classes(void **state) {
  (void)state;
  static const unsigned all[] = {0, 99, 100, 200, 204, 304, 400, 499, 500, 599, 600, 10000};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    metrics_count_response(&worker, all[i]);
  assert_true(metrics_text(&worker, text, sizeof text) > 0);
  assert_line("ptproxy_http_requests_total{code_class=\"1xx\"} 1");
  assert_line("ptproxy_http_requests_total{code_class=\"2xx\"} 2");
  assert_line("ptproxy_http_requests_total{code_class=\"3xx\"} 1");
  assert_line("ptproxy_http_requests_total{code_class=\"4xx\"} 2");
  assert_line("ptproxy_http_requests_total{code_class=\"5xx\"} 2");
}

static void test_histogram(void **state) {
  (void)state;
  metrics_count_time(&worker, 0);
  metrics_count_time(&worker, 100000); /* a bound is part of its bucket */
  metrics_count_time(&worker, 100001);
  metrics_count_time(&worker, 3000000000);
  metrics_count_time(&worker, 99000000000);
  assert_true(metrics_text(&worker, text, sizeof text) > 0);
  assert_line("# TYPE ptproxy_http_request_seconds histogram");
  assert_line("ptproxy_http_request_seconds_bucket{le=\"0.0001\"} 2");
  assert_line("ptproxy_http_request_seconds_bucket{le=\"0.00025\"} 3");
  assert_line("ptproxy_http_request_seconds_bucket{le=\"2.5\"} 3");
  assert_line("ptproxy_http_request_seconds_bucket{le=\"10\"} 4");
  assert_line("ptproxy_http_request_seconds_bucket{le=\"+Inf\"} 5");
  assert_line("ptproxy_http_request_seconds_sum 102.000200001");
  assert_line("ptproxy_http_request_seconds_count 5");
}

static void test_text(void **state) {
  (void)state;
  metrics_add(&worker.connections_accepted, 12);
  metrics_add(&worker.disconnects[ERR_LINK_DOWN], 2);
  metrics_set(&worker.link_rtt_min_ns, 1020000001);
  metrics_sub(&worker.requests_in_flight, 1); /* the worker with the other half was summed up earlier */
  size_t len = metrics_text(&worker, text, sizeof text);
  assert_int_equal(len, strlen(text));
  assert_true(len > 2000 && len < METRICS_TEXT_MAX / 2);
  assert_int_equal(text[len - 1], '\n');
  assert_line("ptproxy_connections_accepted_total 12");
  assert_line("ptproxy_connections_refused_total 0");
  assert_line("ptproxy_connections_open 0");
  assert_line("ptproxy_link_disconnects_total{reason=\"link_down\"} 2");
  assert_line("ptproxy_link_rtt_seconds{kind=\"min\"} 1.020000001");
  assert_line("# TYPE ptproxy_link_rtt_seconds gauge");
  assert_line("ptproxy_http_requests_in_flight 0");
  assert_line("ptproxy_log_dropped_total 0");
}

/* What the format demands: every sample stands under the HELP and TYPE of its family, each family once. */
static void test_families_are_whole(void **state) {
  (void)state;
  char family[100] = "";
  assert_true(metrics_text(&worker, text, sizeof text) > 0);
  for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    *end = '\0';
    if (strncmp(line, "# HELP ", 7) == 0) {
      size_t len = strcspn(line + 7, " ");
      assert_true(len < sizeof family && strlen(line + 7 + len + 1) > 5);
      memcpy(family, line + 7, len);
      family[len] = '\0';
      char again[120];
      snprintf(again, sizeof again, "# HELP %s ", family);
      assert_null(strstr(end + 1, again));
    } else {
      const char *name = strncmp(line, "# TYPE ", 7) == 0 ? line + 7 : line;
      assert_int_equal(strncmp(name, family, strlen(family)), 0);
      bool counter = strstr(line, " counter") != NULL;
      assert_true(!counter || strcmp(family + strlen(family) - 6, "_total") == 0);
    }
  }
}

static void test_pools_of_one_name_are_added_up(void **state) {
  (void)state;
  struct pool a, b, c;
  assert_int_equal(pool_open(&a, "things", 64, 3), ERR_OK);
  assert_int_equal(pool_open(&b, "others", 64, 1), ERR_OK);
  assert_int_equal(pool_open(&c, "things", 64, 4), ERR_OK);
  void *x = pool_get(&a), *y = pool_get(&c), *z = pool_get(&b);
  assert_null(pool_get(&b));
  assert_true(metrics_text(&worker, text, sizeof text) > 0);
  assert_line("ptproxy_pool_live{pool=\"things\"} 2");
  assert_line("ptproxy_pool_capacity{pool=\"things\"} 7");
  assert_line("ptproxy_pool_live{pool=\"others\"} 1");
  assert_line("ptproxy_pool_refused_total{pool=\"others\"} 1");
  pool_put(&a, x);
  pool_put(&c, y);
  pool_put(&b, z);
  pool_close(&a);
  pool_close(&b);
  pool_close(&c);
  assert_true(metrics_text(&worker, text, sizeof text) > 0);
  assert_no_line("things");
}

static void test_too_small_a_buffer(void **state) {
  (void)state;
  size_t need = metrics_text(&worker, text, sizeof text);
  assert_int_equal(metrics_text(&worker, text, need + 1), need);
  for (size_t size = 0; size <= need; size += size < 100 || size > need - 100 ? 1 : 50) {
    char *exact = malloc(size + 1);
    assert_non_null(exact);
    exact[size] = 'x';
    assert_int_equal(metrics_text(&worker, exact, size), 0);
    assert_int_equal(exact[size], 'x');
    free(exact);
  }
}

static void *count_up(void *context) {
  struct metrics *metrics = context;
  for (int i = 0; i < 200000; i++)
    metrics_add(&metrics->packets_in, 1);
  return NULL;
}

static void test_read_beside_the_writer(void **state) {
  (void)state;
  pthread_t thread;
  uint64_t before = 0;
  assert_int_equal(pthread_create(&thread, NULL, count_up, &worker), 0);
  for (int i = 0; i < 1000; i++) {
    uint64_t now = metrics_get(&worker.packets_in);
    assert_true(now >= before);
    before = now;
  }
  pthread_join(thread, NULL);
  assert_int_equal(metrics_get(&worker.packets_in), 200000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_figures, set_up),
      cmocka_unit_test_setup(test_sum, set_up),
      cmocka_unit_test_setup(test_status_classes, set_up),
      cmocka_unit_test_setup(test_histogram, set_up),
      cmocka_unit_test_setup(test_text, set_up),
      cmocka_unit_test_setup(test_families_are_whole, set_up),
      cmocka_unit_test_setup(test_pools_of_one_name_are_added_up, set_up),
      cmocka_unit_test_setup(test_too_small_a_buffer, set_up),
      cmocka_unit_test_setup(test_read_beside_the_writer, set_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
