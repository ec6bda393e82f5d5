#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "unit/support_quic.h"

static struct sim *open_pair(uint64_t seed) {
  struct sim *sim = sim_new(seed);
  sim_start(sim);
  sim_connect(sim, "server.test");
  if (!sim_run(sim, sim_both_confirmed, 1000)) {
    print_message("client: %d %s\n", quic_state(sim->client), quic_reason(sim->client));
    for (uint32_t i = 0; i < sim->server_count; i++)
      print_message("server: %d %s\n", quic_state(sim->servers[i]), quic_reason(sim->servers[i]));
    fail();
  }
  return sim;
}

static void test_echo(void **state) {
  (void)state;
  struct sim *sim = open_pair(1);
  assert_non_null(sim_open(sim, 100000, true));
  assert_true(sim_run(sim, sim_echoed, 5000));
  assert_int_equal(sim->client_app->mismatches + sim->server_app->mismatches, 0);
  assert_string_equal(quic_name(sim->client), quic_name(sim->server_app->conn));
  sim_free(sim);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_echo),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
