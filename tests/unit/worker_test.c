/* run/worker: its end while a name is still being looked up. */
#include "run/worker.h"

#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "unit/support.h"

static atomic_bool asked, closing, answered;

/* In the place of the C library's: it answers a moment after the worker has begun to close. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  (void)service;
  (void)hints;
  (void)found;
  atomic_store(&asked, strcmp(name, "slow.test") == 0);
  while (!atomic_load(&closing))
    usleep(1000);
  usleep(50000);
  atomic_store(&answered, true);
  return EAI_AGAIN;
}

static void fail_on_problem(void *context, bool fatal, const char *text) {
  (void)context;
  if (fatal)
    fail_msg("%s", text);
}

static struct config *client_config(void) {
  static const char text[] =
      "{\"general\": {\"mode\": \"client\", \"peer_hostname\": \"server.test\", \"connect_address\": \"slow.test\","
      " \"http_bind_address\": \"127.0.0.1:0\"},"
      " \"tls\": {\"ca\": \"ca.pem\", \"cert\": \"client.pem\", \"key\": \"client.key\"}}";
  struct config *config;
  assert_int_equal(config_parse(text, sizeof text - 1, "FILE", "sim/certs", fail_on_problem, NULL, &config), ERR_OK);
  return config;
}

static void pass(struct worker *worker) {
  worker_wait(worker, clock_monotonic_ns());
  worker_tick(worker, clock_monotonic_ns(), clock_wall_us());
}

static void test_end_during_a_lookup(void **state) {
  (void)state;
  struct config *config = client_config();
  const struct tls_settings settings = {.ca = config->tls.ca,
                                        .cert = config->tls.cert,
                                        .key = config->tls.key,
                                        .peer_names = {"server.test"},
                                        .peer_name_count = 1};
  struct tls_context *tls;
  struct worker *worker;
  char reason[512];
  assert_int_equal(tls_context_open(&tls, &settings, fail_on_problem, NULL), ERR_OK);
  if (worker_open(&worker, config, tls, NULL, 0, clock_monotonic_ns(), clock_wall_us(), reason, sizeof reason) !=
      ERR_OK)
    fail_msg("%s", reason);
  pass(worker); /* begins the thread that asks */
  while (!atomic_load(&asked))
    usleep(1000);
  worker_abort(worker);
  while (worker_phase(worker) != WORKER_DONE)
    pass(worker);
  atomic_store(&closing, true);
  worker_close(worker);
  assert_true(atomic_load(&answered));
  assert_int_equal(pools_open(), 0);
  tls_context_close(tls);
  config_free(config);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_end_during_a_lookup)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
