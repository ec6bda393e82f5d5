#include "unit/support_io.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "io/resolve.h"

static struct resolver *resolver;
static unsigned answered;

static void on_done(struct resolve_query *query) {
  answered++;
  assert_true((query->count == 0) == (query->error[0] != '\0'));
}

static void ask(struct resolve_query *query, const char *host, uint16_t port) {
  *query = (struct resolve_query){.port = port, .done = on_done};
  snprintf(query->host, sizeof query->host, "%s", host);
  resolve(resolver, query);
}

/* The answer wakes the ring: no wait here ends by its timeout. */
static void wait_for(unsigned count) {
  for (int i = 0; answered < count; i++) {
    assert_true(i < 100);
    ring_wait(io_ring, 30 * NS_PER_S);
    resolver_dispatch(resolver);
  }
  assert_int_equal(answered, count);
}

static void open_all(void) {
  io_open(8, 8);
  answered = 0;
  assert_int_equal(resolver_open(&resolver, io_ring), ERR_OK);
}

static void close_all(void) {
  resolver_close(resolver);
  io_close();
}

static void test_literals(void **state) {
  (void)state;
  static const char *const hosts[][2] = {
      {"192.0.2.1", "192.0.2.1:443"}, {"2001:db8::1", "[2001:db8::1]:443"}, {"::1", "[::1]:443"}};
  open_all();
  for (unsigned i = 0; i < 3; i++) {
    struct resolve_query query;
    char text[ADDRESS_TEXT_MAX];
    ask(&query, hosts[i][0], 443);
    assert_int_equal(answered, i); /* not before resolver_dispatch */
    wait_for(i + 1);
    assert_int_equal(query.count, 1);
    assert_string_equal(address_text(&query.results[0], text), hosts[i][1]);
  }
  close_all();
}

static void test_localhost(void **state) {
  (void)state;
  open_all();
  struct resolve_query query;
  ask(&query, "localhost", 8080);
  wait_for(1);
  assert_in_range(query.count, 1, RESOLVE_RESULTS_MAX);
  for (size_t i = 0; i < query.count; i++) {
    int family = address_family(&query.results[i]);
    assert_true(family == AF_INET || family == AF_INET6);
    assert_int_equal(address_port(&query.results[i]), 8080);
  }
  close_all();
}

static void test_no_such_name(void **state) {
  (void)state;
  open_all();
  struct resolve_query query;
  ask(&query, "no.such.name.invalid.", 80);
  wait_for(1);
  assert_int_equal(query.count, 0);
  assert_true(strlen(query.error) > 5);
  ask(&query, "not a name", 80);
  wait_for(2);
  assert_int_equal(query.count, 0);
  ask(&query, "", 80);
  wait_for(3);
  close_all();
}

static void test_many(void **state) {
  (void)state;
  enum { QUERIES = 50 };
  static struct resolve_query queries[QUERIES];
  open_all();
  for (unsigned i = 0; i < QUERIES; i++)
    ask(&queries[i], i % 2 == 0 ? "localhost" : "127.0.0.1", (uint16_t)(i + 1));
  wait_for(QUERIES);
  for (unsigned i = 0; i < QUERIES; i++)
    assert_int_equal(address_port(&queries[i].results[0]), i + 1);
  close_all();
}

/* Questions that nobody waits for any more are dropped without an answer. */
static void test_close_early(void **state) {
  (void)state;
  static struct resolve_query queries[20];
  for (int round = 0; round < 20; round++) {
    open_all();
    for (unsigned i = 0; i < 20; i++)
      ask(&queries[i], i % 5 == 0 ? "::1" : "localhost", 1);
    if (round % 2 == 0) {
      ring_wait(io_ring, NS_PER_MS);
      resolver_dispatch(resolver);
    }
    unsigned before = answered;
    close_all();
    assert_int_equal(answered, before);
  }
  resolver_close(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_literals), cmocka_unit_test(test_localhost),   cmocka_unit_test(test_no_such_name),
      cmocka_unit_test(test_many),     cmocka_unit_test(test_close_early),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
