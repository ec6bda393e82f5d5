#include "unit/support_ends.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* --- echo --- */

static void echo(size_t bytes) {
  ends_connect();
  ends[0].to_send = bytes;
  ends[1].echo = true;
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  tcp_input(ends[1].tcp, TCP_INPUT_SMALL);
  for (int steps = 0; ends[0].received < bytes; steps++) {
    assert_true(steps < STEPS_MAX);
    for (int i = 0; i < 2; i++) {
      if (draw_below(&ends_random, 3) == 0)
        tcp_input(ends[i].tcp, ends_random_mode());
      if (draw_below(&ends_random, 8) == 0)
        tcp_input(ends[i].tcp, ends_random_mode());
    }
    /* a peer that does not read bounds itself, as the header demands */
    if (tcp_input_bytes(ends[1].tcp) > 256 * 1024)
      tcp_input(ends[1].tcp, TCP_INPUT_OFF);
    ends_tick();
  }
  assert_false(ends[0].failed || ends[1].failed);
  assert_int_equal(ends[0].sent, bytes);
  assert_int_equal(ends[1].received, bytes);
}

static void test_echo(void **state) {
  (void)state;
  ends_open(2048, 128, 8, "127.0.0.1:0");
  echo(8 * 1024 * 1024);
  struct address local = tcp_local(ends[0].tcp), remote = tcp_remote(ends[1].tcp);
  assert_true(address_equal(&local, &remote));
  ends_close();
  assert_true(ends[0].buried && ends[1].buried);
}

static void test_echo_ipv6(void **state) {
  (void)state;
  ends_open(2048, 128, 8, "[::1]:0");
  echo(1024 * 1024);
  ends_close();
}

static void test_echo_wildcard_takes_ipv4(void **state) {
  (void)state;
  ends_open(2048, 128, 8, "[::]:0");
  uint16_t port = address_port(&ends_listening);
  ends_listening = io_address("127.0.0.1");
  address_set_port(&ends_listening, port);
  echo(1024 * 1024);
  ends_close();
}

/* How many of our connected TCP sockets have |option|, or have it as |value|. */
static int sockets_with(int level, int option, int value) {
  int found = 0;
  for (int fd = 0; fd < 256; fd++) {
    int listens = 1, have = 0;
    socklen_t len = sizeof listens;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 || listens ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_len) != 0 || peer.ss_family != AF_INET)
      continue;
    len = sizeof have;
    if (getsockopt(fd, level, option, &have, &len) == 0 && have == value)
      found++;
  }
  return found;
}

/* Both kinds of connections, accepted and made, get what the configuration says. */
static void test_options(void **state) {
  (void)state;
  static const struct tcp_config off = {.nodelay = false, .keepalive_ms = 0};
  static const struct tcp_config on = {.nodelay = true, .keepalive_ms = 6500};
  const struct tcp_config before = ends_options;
  for (int i = 0; i < 2; i++) {
    ends_options = i == 0 ? off : on;
    ends_open(64, 8, 8, "127.0.0.1:0");
    ends_connect();
    assert_int_equal(sockets_with(IPPROTO_TCP, TCP_NODELAY, i), 2);
    assert_int_equal(sockets_with(SOL_SOCKET, SO_KEEPALIVE, i), 2);
    assert_int_equal(sockets_with(IPPROTO_TCP, TCP_KEEPIDLE, 7), 2 * i); /* whole seconds, never less than asked for */
    ends_close();
  }
  ends_options = before;
}

/* Fewer buffers than a burst needs: receives starve and recover. */
static void test_echo_starved(void **state) {
  (void)state;
  ends_open(6, 3, 8, "127.0.0.1:0");
  echo(2 * 1024 * 1024);
  ends_close();
}

static void test_many_starved(void **state) {
  (void)state;
  ends_open(8, 2, 64, "127.0.0.1:0");
  enum { PAIRS = 20, BYTES = 100 * 1024 };
  for (int i = 0; i < PAIRS; i++) {
    assert_true(end_connect(&ends[i], &ends_listening));
    ends[i].to_send = BYTES;
  }
  TICK_UNTIL(ends_accepted == PAIRS);
  for (int i = PAIRS; i < 2 * PAIRS; i++)
    tcp_input(ends[i].tcp, i % 2 == 0 ? TCP_INPUT_SMALL : TCP_INPUT_BULK);
  for (int i = PAIRS; i < 2 * PAIRS; i++)
    TICK_UNTIL(ends[i].received == BYTES);
  ends_close();
}

/* All buffers are in the owner's hands; when it gives them back, the receive goes on without being asked again. */
static void test_starved_by_owner(void **state) {
  (void)state;
  ends_open(8, 2, 8, "127.0.0.1:0");
  ends_connect();
  ends[0].to_send = 256 * 1024;
  tcp_input(ends[1].tcp, TCP_INPUT_SMALL);
  struct chunk *held[8];
  uint32_t count = 0;
  while (count < 4 && (held[count] = chunk_get(&io_chunks, CHUNK_SMALL)) != NULL)
    count++;
  for (int i = 0; i < 200; i++)
    ends_tick();
  for (uint32_t i = 0; i < count; i++)
    chunk_unref(held[i]);
  TICK_UNTIL(ends[1].received == ends[0].to_send);
  ends_close();
}

/* --- accepting --- */

static void test_pool_empty_on_accept(void **state) {
  (void)state;
  ends_open(64, 8, 2, "127.0.0.1:0");
  int fds[4];
  for (int i = 0; i < 4; i++) {
    fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fds[i], &ends_listening.any, ends_listening.len), 0);
  }
  TICK_UNTIL(ends_accepted == 2);
  for (int i = 2; i < 4; i++) {
    char byte;
    struct pollfd wait = {.fd = fds[i], .events = POLLIN};
    TICK_UNTIL(poll(&wait, 1, 0) == 1);
    assert_true(read(fds[i], &byte, 1) <= 0); /* closed at once */
  }
  end_close(&ends[0], false);
  TICK_UNTIL(tcp_count(ends_stack) == 1);
  int again = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(again, &ends_listening.any, ends_listening.len), 0);
  TICK_UNTIL(ends_accepted == 3);
  for (int i = 0; i < 4; i++)
    close(fds[i]);
  close(again);
  ends_close();
}

/* The limit counts when the accept is submitted, so that it is set before. */
static void test_out_of_descriptors(void **state) {
  (void)state;
  int clients[6];
  struct rlimit before, tight;
  for (int i = 0; i < 6; i++)
    clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  capture_start();
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  tight = before;
  tight.rlim_cur = 0;
  for (int free = 0; free < 3 + 3; tight.rlim_cur++) /* ring, eventfd, listener; three connections */
    free += fcntl((int)tight.rlim_cur, F_GETFD) < 0;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
  ends_open(64, 8, 64, "127.0.0.1:0");
  for (int i = 0; i < 6; i++)
    assert_int_equal(connect(clients[i], &ends_listening.any, ends_listening.len), 0);
  for (int i = 0; i < 100; i++)
    ends_tick();
  unsigned some = ends_accepted;
  uint64_t completions = ring_counters(io_ring)->completions;
  for (int i = 0; i < 100; i++)
    ends_tick();
  uint64_t idle_completions = ring_counters(io_ring)->completions - completions;
  end_close(&ends[0], false); /* gives one back */
  for (int i = 0; i < 3; i++)
    ends_tick();
  unsigned one_more = ends_accepted;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  const char *said = capture_stop();
  assert_int_equal(some, 3);
  assert_int_equal(one_more, some + 1);
  assert_true(idle_completions < 20);
  assert_non_null(strstr(said, "cannot accept connections for now: Too many open files"));
  TICK_UNTIL(ends_accepted == 6);
  for (int i = 0; i < 6; i++)
    close(clients[i]);
  ends_close();
}

static void test_accepted_meanwhile(void **state) {
  (void)state;
  ends_open(64, 8, 8, "127.0.0.1:0");
  ends_tick();
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fd, &ends_listening.any, ends_listening.len), 0);
  ring_wait(io_ring, NS_PER_S); /* accepted, not shown */
  assert_int_equal(tcp_count(ends_stack), 1);
  tcp_unlisten(ends_listener);
  ends_listener = NULL;
  char byte;
  TICK_UNTIL(tcp_count(ends_stack) == 0);
  assert_true(read(fd, &byte, 1) <= 0);
  assert_int_equal(ends_accepted, 0);
  close(fd);
  tcp_stack_close(ends_stack);
  io_close();
}

/* What the peer does not read stays, what it reads goes, and nobody has to look at it for that. */
static void queued(const char *address) {
  ends_open(512, 32, 8, address);
  int plain = ends_connect_plain();
  struct end *end = &ends[0];
  assert_int_equal(tcp_queued_bytes(end->tcp), 0);
  end->to_send = 64 * 1024 * 1024;
  uint64_t before = 0, sent = 1;
  while (before != sent) { /* until nothing more goes out */
    before = sent;
    for (int i = 0; i < 50; i++)
      ends_tick();
    sent = end->sent;
  }
  uint64_t most = tcp_queued_bytes(end->tcp);
  assert_true(most > 0);
  static uint8_t some[256 * 1024];
  for (size_t got = 0; got < sent / 2;) {
    ssize_t len = read(plain, some, sizeof some);
    assert_true(len > 0);
    got += (size_t)len;
  }
  assert_true(tcp_queued_bytes(end->tcp) < most);
  close(plain);
  ends_close();
}

static void test_queued(void **state) {
  (void)state;
  queued("127.0.0.1:0");
}

static void test_unix(void **state) {
  (void)state;
  char folder[] = "/tmp/ptproxy-tcp-XXXXXX", path[64], text[80];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/socket", folder);
  snprintf(text, sizeof text, "unix:%s", path);
  ends_open(512, 32, 8, text);
  echo(1024 * 1024);
  struct tcp_listener *second;
  char reason[256];
  struct address where = io_address(text);
  assert_int_equal(tcp_listen(ends_stack, &where, ends_on_accept, ends, &second, reason, sizeof reason), ERR_SYSTEM);
  assert_non_null(strstr(reason, "cannot listen on unix:"));
  assert_non_null(strstr(reason, "in use"));
  ends_close();
  ends_open(512, 32, 8, text); /* the file is still there: stale */
  echo(100 * 1024);
  ends_close();
  queued(text);
  unlink(path);
  rmdir(folder);
}

static void test_listen_fails(void **state) {
  (void)state;
  ends_open(64, 8, 8, "127.0.0.1:0");
  struct tcp_listener *second;
  char reason[256];
  struct address elsewhere = io_address("192.0.2.1:80");
  assert_int_equal(tcp_listen(ends_stack, &elsewhere, ends_on_accept, ends, &second, reason, sizeof reason),
                   ERR_SYSTEM);
  assert_string_equal(reason, "cannot listen on 192.0.2.1:80: Cannot assign requested address");
  assert_int_equal(tcp_listen(ends_stack, &ends_listening, ends_on_accept, ends, &second, reason, sizeof reason),
                   ERR_SYSTEM); /* not a share of the calls */
  assert_non_null(strstr(reason, "Address already in use"));
  ends_close();
}

/* --- churn: everything at random, to the end --- */

static unsigned churn_step(unsigned opened) {
  struct end *end = &ends[draw_below(&ends_random, ENDS_MAX)];
  if (end->buried) { /* only now may it be used again */
    end->used = end->buried = false;
    end->buried_count = 0;
  }
  if (!end->used && draw_below(&ends_random, 2) == 0) {
    memset(end, 0, sizeof *end);
    end->to_send = draw_below(&ends_random, 200000);
    return end_connect(end, &ends_listening) ? opened + 1 : opened;
  }
  if (end->tcp != NULL && (end->failed || end->ended || draw_below(&ends_random, 20) == 0))
    end_close(end, draw_below(&ends_random, 2) == 0);
  else if (end->tcp != NULL)
    tcp_input(end->tcp, ends_random_mode());
  return opened;
}

static void test_churn(void **state) {
  (void)state;
  ends_open(32, 6, 40, "127.0.0.1:0");
  unsigned opened = 0;
  for (int step = 0; step < 20000; step++) {
    opened = churn_step(opened);
    ring_wait(io_ring, draw_below(&ends_random, 4) == 0 ? 0 : 100000);
    if (draw_below(&ends_random, 3) != 0)
      tcp_dispatch(ends_stack);
    for (struct end *at = ends; at < ends + ENDS_MAX; at++)
      end_pump(at);
    if (draw_below(&ends_random, 2) == 0)
      tcp_bury(ends_stack);
  }
  assert_true(opened > 100 && ends_accepted > 50);
  ends_close();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_echo),
      cmocka_unit_test(test_echo_ipv6),
      cmocka_unit_test(test_echo_wildcard_takes_ipv4),
      cmocka_unit_test(test_options),
      cmocka_unit_test(test_echo_starved),
      cmocka_unit_test(test_many_starved),
      cmocka_unit_test(test_starved_by_owner),
      cmocka_unit_test(test_pool_empty_on_accept),
      cmocka_unit_test(test_out_of_descriptors),
      cmocka_unit_test(test_accepted_meanwhile),
      cmocka_unit_test(test_queued),
      cmocka_unit_test(test_unix),
      cmocka_unit_test(test_listen_fails),
      cmocka_unit_test(test_churn),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
