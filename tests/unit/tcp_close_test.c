#include "unit/support_ends.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/tcp_priv.h"

static void reset_plain(int fd) {
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
  close(fd);
}

/* --- ends of connections --- */

static void test_refused(void **state) {
  (void)state;
  ends_open(64, 8, 8, "127.0.0.1:0");
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound, not listening: nobody else gets the port */
  struct address nobody = io_address("127.0.0.1");
  assert_int_equal(bind(fd, &nobody.any, nobody.len), 0);
  nobody.len = sizeof nobody.bytes;
  assert_int_equal(getsockname(fd, &nobody.any, &nobody.len), 0);
  assert_true(end_connect(&ends[0], &nobody));
  TICK_UNTIL(ends[0].failed);
  assert_string_equal(ends[0].failure, "connection refused");
  close(fd);
  ends_close();
}

static void test_close_while_connecting(void **state) {
  (void)state;
  ends_open(64, 8, 8, "127.0.0.1:0");
  struct address nowhere = io_address("127.0.0.1:9");
  for (int i = 0; i < 8; i++) {
    assert_true(end_connect(&ends[i], i % 2 == 0 ? &ends_listening : &nowhere));
    end_close(&ends[i], i % 3 == 0);
  }
  assert_false(end_connect(&ends[9], &ends_listening));
  ends_accept_closes = true;
  for (int i = 0; i < 8; i++)
    TICK_UNTIL(ends[i].buried);
  ends_close();
}

static void test_reset_by_peer(void **state) {
  (void)state;
  ends_open(64, 8, 8, "127.0.0.1:0");
  int fd = ends_connect_plain();
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  ends_tick();
  reset_plain(fd);
  TICK_UNTIL(ends[0].failed);
  assert_string_equal(ends[0].failure, "connection reset by peer");
  ends_close();
}

/* The peer answers early and resets: the answer is read although the send fails. */
static void test_answer_before_reset(void **state) {
  (void)state;
  for (int round = 0; round < 20; round++) {
    ends_open(64, 8, 8, "127.0.0.1:0");
    int fd = ends_connect_plain();
    ends[0].to_send = 64 * 1024 * 1024;
    tcp_input(ends[0].tcp, round % 2 == 0 ? TCP_INPUT_SMALL : TCP_INPUT_BULK);
    for (int i = 0; i < 10; i++)
      ends_tick();
    uint8_t answer[3000];
    pattern_fill(answer, sizeof answer, 0);
    assert_int_equal(write(fd, answer, sizeof answer), sizeof answer);
    close(fd); /* with unread data: a reset */
    TICK_UNTIL(ends[0].failed);
    assert_int_equal(ends[0].received, sizeof answer);
    assert_false(ends[0].ended);
    ends_close();
  }
}

static void test_half_close(void **state) {
  (void)state;
  ends_open(64, 8, 8, "127.0.0.1:0");
  int fd = ends_connect_plain();
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  uint8_t question[10000], answer[16] = {0};
  pattern_fill(question, sizeof question, 0);
  assert_int_equal(write(fd, question, sizeof question), sizeof question);
  shutdown(fd, SHUT_WR);
  TICK_UNTIL(ends[0].ended);
  assert_int_equal(ends[0].received, sizeof question);
  ends[0].to_send = 10;
  end_pump(&ends[0]);
  tcp_shutdown(ends[0].tcp); /* after what is being sent */
  TICK_UNTIL(ends[0].sent == 10);
  size_t got = 0;
  ssize_t n;
  while ((n = read(fd, answer + got, sizeof answer - got)) > 0)
    got += (size_t)n;
  assert_int_equal(n, 0);
  assert_int_equal(got, 10);
  assert_true(pattern_holds(answer, 10, 0));
  assert_false(ends[0].failed);
  close(fd);
  ends_close();
}

/* The peer does not read: a send is in flight when the connection is closed. */
static void close_while_sending(bool reset) {
  ends_open(64, 8, 8, "127.0.0.1:0");
  int fd = ends_connect_plain();
  ends[0].to_send = 64 * 1024 * 1024;
  tcp_input(ends[0].tcp, TCP_INPUT_BULK);
  size_t before = 0;
  for (int idle = 0; idle < 20; idle++) {
    if (ends[0].sent != before)
      idle = 0;
    before = ends[0].sent;
    ends_tick();
  }
  assert_true(tcp_sending(ends[0].tcp));
  end_close(&ends[0], reset);
  assert_false(ends[0].buried);
  TICK_UNTIL(ends[0].buried);
  uint8_t *data = malloc(1 << 20);
  size_t got = 0;
  ssize_t n;
  while ((n = read(fd, data, 1 << 20)) > 0) {
    assert_true(pattern_holds(data, (size_t)n, got));
    got += (size_t)n;
  }
  free(data);
  if (reset)
    assert_true(n < 0 && errno == ECONNRESET);
  else
    assert_true(n == 0 && got >= before);
  close(fd);
  ends_close();
}

static void test_close_while_sending(void **state) {
  (void)state;
  close_while_sending(false);
  close_while_sending(true);
}

static void test_close_with_input_queued(void **state) {
  (void)state;
  ends_open(64, 8, 8, "127.0.0.1:0");
  int fd = ends_connect_plain();
  ends[0].echo = true; /* does not consume in its event */
  ends[0].connected = false;
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  uint8_t data[20000];
  pattern_fill(data, sizeof data, 0);
  assert_int_equal(write(fd, data, sizeof data), sizeof data);
  TICK_UNTIL(tcp_input_bytes(ends[0].tcp) == sizeof data);
  tcp_input(ends[0].tcp, TCP_INPUT_BULK);
  assert_int_equal(write(fd, data, sizeof data), sizeof data);
  end_close(&ends[0], false);
  TICK_UNTIL(ends[0].buried);
  close(fd);
  ends_close();
}

static void test_off_stops(void **state) {
  (void)state;
  ends_open(512, 8, 8, "127.0.0.1:0");
  int fd = ends_connect_plain();
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  uint8_t data[1000];
  pattern_fill(data, sizeof data, 0);
  assert_int_equal(write(fd, data, sizeof data), sizeof data);
  TICK_UNTIL(ends[0].received == sizeof data);
  tcp_input(ends[0].tcp, TCP_INPUT_OFF);
  ends_tick();
  ends_tick();
  pattern_fill(data, sizeof data, sizeof data);
  assert_int_equal(write(fd, data, sizeof data), sizeof data);
  for (int i = 0; i < 10; i++)
    ends_tick();
  assert_int_equal(ends[0].received, sizeof data);
  tcp_input(ends[0].tcp, TCP_INPUT_BULK);
  TICK_UNTIL(ends[0].received == 2 * sizeof data);
  close(fd);
  TICK_UNTIL(ends[0].ended);
  ends_close();
}

/* A receive that ends as cancelled although nobody asked for it (a request may be interrupted) is armed again. */
static void test_cancelled_receives(void **state) {
  (void)state;
  enum { BYTES = 1024 * 1024 };
  ends_open(512, 32, 8, "127.0.0.1:0");
  ends_connect();
  ends[0].to_send = BYTES;
  ends[1].echo = true;
  for (int i = 0; ends[0].received < BYTES; i++) {
    assert_true(i < STEPS_MAX);
    struct tcp *tcp = ends[i % 2].tcp;
    tcp_input(tcp, draw_below(&ends_random, 2) == 0 ? TCP_INPUT_SMALL : TCP_INPUT_BULK);
    ends_tick();
    ring_cancel(io_ring, &tcp->receive);
  }
  assert_false(ends[0].failed || ends[1].failed);
  ends_close();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_close_while_connecting),
      cmocka_unit_test(test_reset_by_peer),
      cmocka_unit_test(test_answer_before_reset),
      cmocka_unit_test(test_half_close),
      cmocka_unit_test(test_close_while_sending),
      cmocka_unit_test(test_close_with_input_queued),
      cmocka_unit_test(test_off_stops),
      cmocka_unit_test(test_cancelled_receives),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
