#include "unit/support_ends.h"

#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

struct end ends[ENDS_MAX];
struct tcp_config ends_options = {.nodelay = true, .keepalive_ms = 5000};
struct tcp_stack *ends_stack;
struct tcp_listener *ends_listener;
struct address ends_listening;
unsigned ends_accepted;
bool ends_accept_closes;
uint64_t ends_random = 88172645463325252u;

/* --- the ends --- */

static void drain_input(struct end *end) {
  uint32_t offset, len;
  struct chunk *chunk;
  while (!end->echo && (chunk = tcp_input_peek(end->tcp, &offset, &len)) != NULL) {
    uint32_t take = len > 1 && (draw(&ends_random) & 1) != 0 ? 1 + draw_below(&ends_random, len) : len;
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

void ends_on_accept(void *context, struct tcp *tcp) {
  assert_ptr_equal(context, ends);
  ends_accepted++;
  if (ends_accept_closes) {
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

void end_pump(struct end *end) {
  if (!end->connected || end->failed || end->tcp == NULL || tcp_sending(end->tcp))
    return;
  if (end->echo) {
    pump_echo(end);
    return;
  }
  if (end->sent == end->to_send)
    return;
  size_t left = end->to_send - end->sent;
  end->buffered = 1 + draw_below(&ends_random, SEND_BYTES);
  end->buffered = end->buffered < left ? end->buffered : left;
  pattern_fill(end->buffer, end->buffered, end->sent);
  size_t half = end->buffered / 2;
  struct iovec iov[2] = {{end->buffer, half}, {end->buffer + half, end->buffered - half}};
  tcp_send(end->tcp, half > 0 ? iov : iov + 1, half > 0 ? 2 : 1);
}

/* --- fixture --- */

void ends_tick(void) {
  ring_wait(io_ring, 2 * NS_PER_MS);
  tcp_dispatch(ends_stack);
  for (struct end *end = ends; end < ends + ENDS_MAX; end++)
    end_pump(end);
  tcp_bury(ends_stack);
}

void ends_open(uint32_t small, uint32_t large, uint32_t connections, const char *address) {
  memset(ends, 0, sizeof ends);
  ends_accepted = 0;
  ends_accept_closes = false;
  io_open(small, large);
  struct tcp_config config = ends_options;
  config.connections = connections;
  assert_int_equal(tcp_stack_open(&ends_stack, io_ring, &io_chunks, &config), ERR_OK);
  char reason[256] = "";
  struct address where = io_address(address);
  if (tcp_listen(ends_stack, &where, ends_on_accept, ends, &ends_listener, reason, sizeof reason) != ERR_OK)
    fail_msg("%s", reason);
  ends_listening = tcp_listener_address(ends_listener);
}

void end_close(struct end *end, bool reset) {
  if (end->tcp != NULL)
    tcp_close(end->tcp, reset, on_buried, end);
  end->tcp = NULL;
  end->connected = false;
}

void ends_close(void) {
  for (struct end *end = ends; end < ends + ENDS_MAX; end++)
    end_close(end, false);
  tcp_unlisten(ends_listener);
  ends_listener = NULL;
  TICK_UNTIL(tcp_count(ends_stack) == 0);
  for (struct end *end = ends; end < ends + ENDS_MAX; end++)
    assert_true(end->buried_count <= 1);
  tcp_stack_close(ends_stack);
  io_close();
}

bool end_connect(struct end *end, const struct address *address) {
  assert_false(end->used);
  end->tcp = tcp_connect(ends_stack, address, on_event, end);
  end->used = end->tcp != NULL;
  return end->used;
}

void ends_connect(void) {
  assert_true(end_connect(&ends[0], &ends_listening));
  TICK_UNTIL(ends[0].connected && ends[1].tcp != NULL);
}

int ends_connect_plain(void) {
  int fd = socket(address_family(&ends_listening), SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, &ends_listening.any, ends_listening.len), 0);
  TICK_UNTIL(ends[0].tcp != NULL);
  return fd;
}

enum tcp_input_mode ends_random_mode(void) {
  static const enum tcp_input_mode modes[] = {TCP_INPUT_OFF, TCP_INPUT_SMALL, TCP_INPUT_BULK, TCP_INPUT_BULK};
  return modes[draw_below(&ends_random, 4)];
}
