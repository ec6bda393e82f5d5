#include "unit/support_io.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "io/tcp.h"

enum { SEND_BYTES = 48 * 1024, STEPS_MAX = 200000, ENDS_MAX = 64 };

/* One side of a connection: sends the pattern, or sends back what it receives, and checks what it receives. */
struct end {
  struct tcp *tcp;
  bool used, connected, ended, failed, buried, echo;
  size_t to_send, sent, received;
  unsigned buried_count, sends;
  const char *failure;
  uint8_t buffer[SEND_BYTES];
  size_t buffered; /* bytes in the buffer: being sent */
  struct chunk *borrowed[16];
  size_t borrowed_count;
};

static struct tcp_stack *stack;
static struct tcp_listener *listener;
static struct address listening;
static struct end ends[ENDS_MAX];
static unsigned accepted;
static bool accept_closes;
static uint64_t random_state = 88172645463325252u;

/* --- the ends --- */

static void drain_input(struct end *end) {
  uint32_t offset, len;
  struct chunk *chunk;
  while (!end->echo && (chunk = tcp_input_peek(end->tcp, &offset, &len)) != NULL) {
    uint32_t take = len > 1 && (draw(&random_state) & 1) != 0 ? 1 + draw_below(&random_state, len) : len;
    take = take < len ? take : len;
    assert_true(pattern_holds(chunk->data + offset, take, end->received));
    end->received += take;
    tcp_input_consume(end->tcp, take);
  }
  end->ended = tcp_input_ended(end->tcp);
}

static void drop_borrowed(struct end *end) {
  while (end->borrowed_count > 0)
    chunk_unref(end->borrowed[--end->borrowed_count]);
}

static void on_event(void *owner, struct tcp *tcp, unsigned events) {
  struct end *end = owner;
  assert_ptr_equal(end->tcp, tcp);
  assert_false(end->failed);
  if (events & TCP_CONNECTED)
    end->connected = true;
  if (events & TCP_SENT) {
    assert_false(tcp_sending(tcp));
    assert_true(tcp_sent_bytes(tcp) > 0 && tcp_sent_bytes(tcp) <= end->buffered);
    end->sent += tcp_sent_bytes(tcp);
    end->buffered = 0;
    drop_borrowed(end);
  }
  if (events & TCP_INPUT)
    drain_input(end);
  if (events & TCP_FAILED) {
    end->failed = true;
    end->failure = tcp_failure(tcp);
  }
}

static void on_buried(void *owner) {
  struct end *end = owner;
  end->buried = true;
  end->buried_count++;
  drop_borrowed(end);
}

static void on_accept(void *context, struct tcp *tcp) {
  assert_ptr_equal(context, ends);
  accepted++;
  if (accept_closes) {
    tcp_close(tcp, false, NULL, NULL);
    return;
  }
  struct end *end = &ends[0];
  while (end < ends + ENDS_MAX && end->used)
    end++;
  if (end == ends + ENDS_MAX) {
    tcp_close(tcp, true, NULL, NULL);
    return;
  }
  memset(end, 0, sizeof *end);
  end->used = end->connected = true;
  end->tcp = tcp;
  tcp_own(tcp, on_event, end);
}

/* Sends back what waits in the input, straight from the chunks, as a proxy does. */
static void pump_echo(struct end *end) {
  struct iovec iov[16];
  uint32_t offset, len;
  struct chunk *chunk;
  end->buffered = 0;
  while (end->borrowed_count < 16 && (chunk = tcp_input_peek(end->tcp, &offset, &len)) != NULL) {
    assert_true(pattern_holds(chunk->data + offset, len, end->received));
    end->received += len;
    iov[end->borrowed_count] = (struct iovec){chunk->data + offset, len};
    end->borrowed[end->borrowed_count++] = chunk_ref(chunk);
    end->buffered += len;
    tcp_input_consume(end->tcp, len);
  }
  if (end->borrowed_count > 0)
    tcp_send(end->tcp, iov, end->borrowed_count);
}

static void pump(struct end *end) {
  if (!end->connected || end->failed || end->tcp == NULL || tcp_sending(end->tcp))
    return;
  if (end->echo) {
    pump_echo(end);
    return;
  }
  if (end->sent == end->to_send)
    return;
  size_t left = end->to_send - end->sent;
  end->buffered = 1 + draw_below(&random_state, SEND_BYTES);
  end->buffered = end->buffered < left ? end->buffered : left;
  pattern_fill(end->buffer, end->buffered, end->sent);
  size_t half = end->buffered / 2;
  struct iovec iov[2] = {{end->buffer, half}, {end->buffer + half, end->buffered - half}};
  end->sends++;
  tcp_send(end->tcp, half > 0 ? iov : iov + 1, half > 0 ? 2 : 1);
}

/* --- fixture --- */

static void tick(void) {
  ring_wait(io_ring, 2 * NS_PER_MS);
  tcp_dispatch(stack);
  for (struct end *end = ends; end < ends + ENDS_MAX; end++)
    pump(end);
  tcp_bury(stack);
}

#define TICK_UNTIL(condition)                                                                                          \
  do {                                                                                                                 \
    for (int steps_ = 0; !(condition); steps_++) {                                                                     \
      assert_true(steps_ < STEPS_MAX);                                                                                 \
      tick();                                                                                                          \
    }                                                                                                                  \
  } while (0)

static void open_all(uint32_t small, uint32_t large, uint32_t connections, const char *address) {
  memset(ends, 0, sizeof ends);
  accepted = 0;
  accept_closes = false;
  io_open(small, large);
  struct tcp_config config = {.connections = connections, .nodelay = true, .keepalive_ms = 5000};
  assert_int_equal(tcp_stack_open(&stack, io_ring, &io_chunks, &config), ERR_OK);
  char reason[256] = "";
  struct address where = io_address(address);
  if (tcp_listen(stack, &where, on_accept, ends, &listener, reason, sizeof reason) != ERR_OK)
    fail_msg("%s", reason);
  listening = tcp_listener_address(listener);
}

static void close_end(struct end *end, bool reset) {
  if (end->tcp != NULL)
    tcp_close(end->tcp, reset, on_buried, end);
  end->tcp = NULL;
  end->connected = false;
}

static void close_all(void) {
  for (struct end *end = ends; end < ends + ENDS_MAX; end++)
    close_end(end, false);
  tcp_unlisten(listener);
  listener = NULL;
  TICK_UNTIL(tcp_count(stack) == 0);
  for (struct end *end = ends; end < ends + ENDS_MAX; end++)
    assert_true(end->buried_count <= 1);
  tcp_stack_close(stack);
  io_close();
}

static bool connect_end(struct end *end, const struct address *address) {
  assert_false(end->used);
  end->tcp = tcp_connect(stack, address, on_event, end);
  end->used = end->tcp != NULL;
  return end->used;
}

/* Connects ends[0] to the listener; its other side becomes ends[1]. */
static void connect_pair(void) {
  assert_true(connect_end(&ends[0], &listening));
  TICK_UNTIL(ends[0].connected && ends[1].tcp != NULL);
}

/* A plain blocking socket, connected to the listener, whose other side is ends[0]. */
static int connect_plain(void) {
  int fd = socket(address_family(&listening), SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, &listening.any, listening.len), 0);
  TICK_UNTIL(ends[0].tcp != NULL);
  return fd;
}

static void reset_plain(int fd) {
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
  close(fd);
}

/* --- echo --- */

static enum tcp_input_mode random_mode(void) {
  static const enum tcp_input_mode modes[] = {TCP_INPUT_OFF, TCP_INPUT_SMALL, TCP_INPUT_BULK, TCP_INPUT_BULK};
  return modes[draw_below(&random_state, 4)];
}

static void echo(size_t bytes) {
  connect_pair();
  ends[0].to_send = bytes;
  ends[1].echo = true;
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  tcp_input(ends[1].tcp, TCP_INPUT_SMALL);
  for (int steps = 0; ends[0].received < bytes; steps++) {
    assert_true(steps < STEPS_MAX);
    for (int i = 0; i < 2; i++) {
      if (draw_below(&random_state, 3) == 0)
        tcp_input(ends[i].tcp, random_mode());
      if (draw_below(&random_state, 8) == 0)
        tcp_input(ends[i].tcp, random_mode());
    }
    /* a peer that does not read bounds itself, as the header demands */
    if (tcp_input_bytes(ends[1].tcp) > 256 * 1024)
      tcp_input(ends[1].tcp, TCP_INPUT_OFF);
    tick();
  }
  assert_false(ends[0].failed || ends[1].failed);
  assert_int_equal(ends[0].sent, bytes);
  assert_int_equal(ends[1].received, bytes);
}

static void test_echo(void **state) {
  (void)state;
  open_all(2048, 128, 8, "127.0.0.1:0");
  echo(8 * 1024 * 1024);
  struct address local = tcp_local(ends[0].tcp), remote = tcp_remote(ends[1].tcp);
  assert_true(address_equal(&local, &remote));
  close_all();
  assert_true(ends[0].buried && ends[1].buried);
}

static void test_echo_ipv6(void **state) {
  (void)state;
  open_all(2048, 128, 8, "[::1]:0");
  echo(1024 * 1024);
  close_all();
}

static void test_echo_wildcard_takes_ipv4(void **state) {
  (void)state;
  open_all(2048, 128, 8, "[::]:0");
  uint16_t port = address_port(&listening);
  listening = io_address("127.0.0.1");
  address_set_port(&listening, port);
  echo(1024 * 1024);
  close_all();
}

/* Fewer buffers than a burst needs: receives starve and recover. */
static void test_echo_starved(void **state) {
  (void)state;
  open_all(6, 3, 8, "127.0.0.1:0");
  echo(2 * 1024 * 1024);
  close_all();
}

static void test_many_starved(void **state) {
  (void)state;
  open_all(8, 2, 64, "127.0.0.1:0");
  enum { PAIRS = 20, BYTES = 100 * 1024 };
  for (int i = 0; i < PAIRS; i++) {
    assert_true(connect_end(&ends[i], &listening));
    ends[i].to_send = BYTES;
  }
  TICK_UNTIL(accepted == PAIRS);
  for (int i = PAIRS; i < 2 * PAIRS; i++)
    tcp_input(ends[i].tcp, i % 2 == 0 ? TCP_INPUT_SMALL : TCP_INPUT_BULK);
  for (int i = PAIRS; i < 2 * PAIRS; i++)
    TICK_UNTIL(ends[i].received == BYTES);
  close_all();
}

/* All buffers are in the owner's hands; when it gives them back, the receive goes on without being asked again. */
static void test_starved_by_owner(void **state) {
  (void)state;
  open_all(8, 2, 8, "127.0.0.1:0");
  connect_pair();
  ends[0].to_send = 256 * 1024;
  tcp_input(ends[1].tcp, TCP_INPUT_SMALL);
  struct chunk *held[8];
  uint32_t count = 0;
  while (count < 4 && (held[count] = chunk_get(&io_chunks, CHUNK_SMALL)) != NULL)
    count++;
  for (int i = 0; i < 200; i++)
    tick();
  for (uint32_t i = 0; i < count; i++)
    chunk_unref(held[i]);
  TICK_UNTIL(ends[1].received == ends[0].to_send);
  close_all();
}

/* --- ends of connections --- */

static void test_refused(void **state) {
  (void)state;
  open_all(64, 8, 8, "127.0.0.1:0");
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound, not listening: nobody else gets the port */
  struct address nobody = io_address("127.0.0.1");
  assert_int_equal(bind(fd, &nobody.any, nobody.len), 0);
  nobody.len = sizeof nobody.bytes;
  assert_int_equal(getsockname(fd, &nobody.any, &nobody.len), 0);
  assert_true(connect_end(&ends[0], &nobody));
  TICK_UNTIL(ends[0].failed);
  assert_string_equal(ends[0].failure, "connection refused");
  close(fd);
  close_all();
}

static void test_close_while_connecting(void **state) {
  (void)state;
  open_all(64, 8, 8, "127.0.0.1:0");
  struct address nowhere = io_address("127.0.0.1:9");
  for (int i = 0; i < 8; i++) {
    assert_true(connect_end(&ends[i], i % 2 == 0 ? &listening : &nowhere));
    close_end(&ends[i], i % 3 == 0);
  }
  assert_false(connect_end(&ends[9], &listening));
  accept_closes = true;
  for (int i = 0; i < 8; i++)
    TICK_UNTIL(ends[i].buried);
  close_all();
}

static void test_reset_by_peer(void **state) {
  (void)state;
  open_all(64, 8, 8, "127.0.0.1:0");
  int fd = connect_plain();
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  tick();
  reset_plain(fd);
  TICK_UNTIL(ends[0].failed);
  assert_string_equal(ends[0].failure, "connection reset by peer");
  close_all();
}

/* The peer answers early and resets: the answer is read although the send fails. */
static void test_answer_before_reset(void **state) {
  (void)state;
  for (int round = 0; round < 20; round++) {
    open_all(64, 8, 8, "127.0.0.1:0");
    int fd = connect_plain();
    ends[0].to_send = 64 * 1024 * 1024;
    tcp_input(ends[0].tcp, round % 2 == 0 ? TCP_INPUT_SMALL : TCP_INPUT_BULK);
    for (int i = 0; i < 10; i++)
      tick();
    uint8_t answer[3000];
    pattern_fill(answer, sizeof answer, 0);
    assert_int_equal(write(fd, answer, sizeof answer), sizeof answer);
    close(fd); /* with unread data: a reset */
    TICK_UNTIL(ends[0].failed);
    assert_int_equal(ends[0].received, sizeof answer);
    assert_false(ends[0].ended);
    close_all();
  }
}

static void test_half_close(void **state) {
  (void)state;
  open_all(64, 8, 8, "127.0.0.1:0");
  int fd = connect_plain();
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  uint8_t question[10000], answer[16] = {0};
  pattern_fill(question, sizeof question, 0);
  assert_int_equal(write(fd, question, sizeof question), sizeof question);
  shutdown(fd, SHUT_WR);
  TICK_UNTIL(ends[0].ended);
  assert_int_equal(ends[0].received, sizeof question);
  ends[0].to_send = 10;
  pump(&ends[0]);
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
  close_all();
}

/* The peer does not read: a send is in flight when the connection is closed. */
static void close_while_sending(bool reset) {
  open_all(64, 8, 8, "127.0.0.1:0");
  int fd = connect_plain();
  ends[0].to_send = 64 * 1024 * 1024;
  tcp_input(ends[0].tcp, TCP_INPUT_BULK);
  size_t before = 0;
  for (int idle = 0; idle < 20; idle++) {
    if (ends[0].sent != before)
      idle = 0;
    before = ends[0].sent;
    tick();
  }
  assert_true(tcp_sending(ends[0].tcp));
  close_end(&ends[0], reset);
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
  close_all();
}

static void test_close_while_sending(void **state) {
  (void)state;
  close_while_sending(false);
  close_while_sending(true);
}

static void test_close_with_input_queued(void **state) {
  (void)state;
  open_all(64, 8, 8, "127.0.0.1:0");
  int fd = connect_plain();
  ends[0].echo = true; /* does not consume in its event */
  ends[0].connected = false;
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  uint8_t data[20000];
  pattern_fill(data, sizeof data, 0);
  assert_int_equal(write(fd, data, sizeof data), sizeof data);
  TICK_UNTIL(tcp_input_bytes(ends[0].tcp) == sizeof data);
  tcp_input(ends[0].tcp, TCP_INPUT_BULK);
  assert_int_equal(write(fd, data, sizeof data), sizeof data);
  close_end(&ends[0], false);
  TICK_UNTIL(ends[0].buried);
  close(fd);
  close_all();
}

static void test_off_stops(void **state) {
  (void)state;
  open_all(512, 8, 8, "127.0.0.1:0");
  int fd = connect_plain();
  tcp_input(ends[0].tcp, TCP_INPUT_SMALL);
  uint8_t data[1000];
  pattern_fill(data, sizeof data, 0);
  assert_int_equal(write(fd, data, sizeof data), sizeof data);
  TICK_UNTIL(ends[0].received == sizeof data);
  tcp_input(ends[0].tcp, TCP_INPUT_OFF);
  tick();
  tick();
  pattern_fill(data, sizeof data, sizeof data);
  assert_int_equal(write(fd, data, sizeof data), sizeof data);
  for (int i = 0; i < 10; i++)
    tick();
  assert_int_equal(ends[0].received, sizeof data);
  tcp_input(ends[0].tcp, TCP_INPUT_BULK);
  TICK_UNTIL(ends[0].received == 2 * sizeof data);
  close(fd);
  TICK_UNTIL(ends[0].ended);
  close_all();
}

/* --- accepting --- */

static void test_pool_empty_on_accept(void **state) {
  (void)state;
  open_all(64, 8, 2, "127.0.0.1:0");
  int fds[4];
  for (int i = 0; i < 4; i++) {
    fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fds[i], &listening.any, listening.len), 0);
  }
  TICK_UNTIL(accepted == 2);
  for (int i = 2; i < 4; i++) {
    char byte;
    struct pollfd wait = {.fd = fds[i], .events = POLLIN};
    TICK_UNTIL(poll(&wait, 1, 0) == 1);
    assert_true(read(fds[i], &byte, 1) <= 0); /* closed at once */
  }
  close_end(&ends[0], false);
  TICK_UNTIL(tcp_count(stack) == 1);
  int again = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(again, &listening.any, listening.len), 0);
  TICK_UNTIL(accepted == 3);
  for (int i = 0; i < 4; i++)
    close(fds[i]);
  close(again);
  close_all();
}

/* The limit counts when the accept is submitted, so that it is set before. */
static void test_out_of_descriptors(void **state) {
  (void)state;
  int clients[6];
  struct rlimit before, tight;
  for (int i = 0; i < 6; i++)
    clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  capture_start();
  int lowest = dup(0);
  close(lowest);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  tight = before;
  tight.rlim_cur = (rlim_t)lowest + 3 + 3; /* ring, eventfd, listener; a few connections */
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
  open_all(64, 8, 64, "127.0.0.1:0");
  for (int i = 0; i < 6; i++)
    assert_int_equal(connect(clients[i], &listening.any, listening.len), 0);
  for (int i = 0; i < 100; i++)
    tick();
  unsigned some = accepted;
  uint64_t completions = ring_counters(io_ring)->completions;
  for (int i = 0; i < 100; i++)
    tick();
  uint64_t idle_completions = ring_counters(io_ring)->completions - completions;
  close_end(&ends[0], false); /* gives one back */
  for (int i = 0; i < 3; i++)
    tick();
  unsigned one_more = accepted;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  const char *said = capture_stop();
  assert_in_range(some, 1, 4);
  assert_int_equal(one_more, some + 1);
  assert_true(idle_completions < 20);
  assert_non_null(strstr(said, "cannot accept connections for now: Too many open files"));
  TICK_UNTIL(accepted == 6);
  for (int i = 0; i < 6; i++)
    close(clients[i]);
  close_all();
}

static void test_accepted_meanwhile(void **state) {
  (void)state;
  open_all(64, 8, 8, "127.0.0.1:0");
  tick();
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fd, &listening.any, listening.len), 0);
  ring_wait(io_ring, NS_PER_S); /* accepted, not shown */
  assert_int_equal(tcp_count(stack), 1);
  tcp_unlisten(listener);
  listener = NULL;
  char byte;
  TICK_UNTIL(tcp_count(stack) == 0);
  assert_true(read(fd, &byte, 1) <= 0);
  assert_int_equal(accepted, 0);
  close(fd);
  tcp_stack_close(stack);
  io_close();
}

static void test_unix(void **state) {
  (void)state;
  char folder[] = "/tmp/ptproxy-tcp-XXXXXX", path[64], text[80];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/socket", folder);
  snprintf(text, sizeof text, "unix:%s", path);
  open_all(512, 32, 8, text);
  echo(1024 * 1024);
  struct tcp_listener *second;
  char reason[256];
  struct address where = io_address(text);
  assert_int_equal(tcp_listen(stack, &where, on_accept, ends, &second, reason, sizeof reason), ERR_SYSTEM);
  assert_non_null(strstr(reason, "cannot listen on unix:"));
  assert_non_null(strstr(reason, "in use"));
  close_all();
  open_all(512, 32, 8, text); /* the file is still there: stale */
  echo(100 * 1024);
  close_all();
  unlink(path);
  rmdir(folder);
}

static void test_listen_fails(void **state) {
  (void)state;
  open_all(64, 8, 8, "127.0.0.1:0");
  struct tcp_listener *second;
  char reason[256];
  struct address elsewhere = io_address("192.0.2.1:80");
  assert_int_equal(tcp_listen(stack, &elsewhere, on_accept, ends, &second, reason, sizeof reason), ERR_SYSTEM);
  assert_string_equal(reason, "cannot listen on 192.0.2.1:80: Cannot assign requested address");
  assert_int_equal(tcp_listen(stack, &listening, on_accept, ends, &second, reason, sizeof reason), ERR_OK);
  tcp_unlisten(second); /* SO_REUSEPORT: two on one port */
  close_all();
}

/* --- churn: everything at random, to the end --- */

static unsigned churn_step(unsigned opened) {
  struct end *end = &ends[draw_below(&random_state, ENDS_MAX)];
  if (end->buried) { /* only now may it be used again */
    end->used = end->buried = false;
    end->buried_count = 0;
  }
  if (!end->used && draw_below(&random_state, 2) == 0) {
    memset(end, 0, sizeof *end);
    end->to_send = draw_below(&random_state, 200000);
    return connect_end(end, &listening) ? opened + 1 : opened;
  }
  if (end->tcp != NULL && (end->failed || end->ended || draw_below(&random_state, 20) == 0))
    close_end(end, draw_below(&random_state, 2) == 0);
  else if (end->tcp != NULL)
    tcp_input(end->tcp, random_mode());
  return opened;
}

static void test_churn(void **state) {
  (void)state;
  open_all(32, 6, 40, "127.0.0.1:0");
  unsigned opened = 0;
  for (int step = 0; step < 20000; step++) {
    opened = churn_step(opened);
    ring_wait(io_ring, draw_below(&random_state, 4) == 0 ? 0 : 100000);
    if (draw_below(&random_state, 3) != 0)
      tcp_dispatch(stack);
    for (struct end *at = ends; at < ends + ENDS_MAX; at++)
      pump(at);
    if (draw_below(&random_state, 2) == 0)
      tcp_bury(stack);
  }
  assert_true(opened > 100 && accepted > 50);
  close_all();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_echo),
      cmocka_unit_test(test_echo_ipv6),
      cmocka_unit_test(test_echo_wildcard_takes_ipv4),
      cmocka_unit_test(test_echo_starved),
      cmocka_unit_test(test_many_starved),
      cmocka_unit_test(test_starved_by_owner),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_close_while_connecting),
      cmocka_unit_test(test_reset_by_peer),
      cmocka_unit_test(test_answer_before_reset),
      cmocka_unit_test(test_half_close),
      cmocka_unit_test(test_close_while_sending),
      cmocka_unit_test(test_close_with_input_queued),
      cmocka_unit_test(test_off_stops),
      cmocka_unit_test(test_pool_empty_on_accept),
      cmocka_unit_test(test_out_of_descriptors),
      cmocka_unit_test(test_accepted_meanwhile),
      cmocka_unit_test(test_unix),
      cmocka_unit_test(test_listen_fails),
      cmocka_unit_test(test_churn),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
