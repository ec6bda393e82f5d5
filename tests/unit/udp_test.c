#include "unit/support_io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/ring.h"
#include "io/udp.h"
#include "io/udp_priv.h"

enum { BUFFER_BYTES = 4 << 20, TICKS_MAX = 5000 };

static struct udp *open_udp(const char *bind, const struct address *peer) {
  struct udp_config config = {.receive_buffer_bytes = BUFFER_BYTES, .send_buffer_bytes = BUFFER_BYTES};
  if (bind != NULL)
    config.bind = io_address(bind);
  if (peer != NULL)
    config.connect = *peer;
  struct udp *udp = NULL;
  char reason[256] = "";
  if (udp_open(&udp, io_ring, &config, reason, sizeof reason) != ERR_OK)
    fail_msg("%s", reason);
  return udp;
}

static void tick(void) {
  ring_wait(io_ring, NS_PER_MS);
  udp_bury(io_ring);
}

static struct address at_port(const char *host, const struct udp *udp) {
  struct address address = io_address(host), local = udp_local(udp);
  address_set_port(&address, address_port(&local));
  return address;
}

/* Sends a train of the pattern that starts at |offset|. */
static void send_train(struct udp *udp, const struct address *local, const struct address *remote, size_t len,
                       size_t segment, uint64_t offset) {
  uint8_t *buffer = udp_send_buffer(udp);
  for (int i = 0; buffer == NULL; i++) {
    assert_true(i < TICKS_MAX);
    assert_false(udp_can_send(udp));
    tick();
    buffer = udp_send_buffer(udp);
  }
  assert_ptr_equal(udp_send_buffer(udp), buffer);
  assert_true(udp_can_send(udp));
  pattern_fill(buffer, len, offset);
  udp_send(udp, local, remote, len, segment);
}

/* Receives until |len| bytes have come; every datagram but the last has |segment| bytes. Returns the datagrams. */
static size_t receive_all(struct udp *udp, size_t len, size_t segment, uint64_t offset, struct udp_train *last) {
  size_t got = 0, datagrams = 0;
  for (int i = 0; got < len; i++) {
    assert_true(i < TICKS_MAX);
    tick();
    while (udp_receive(udp, last)) {
      assert_true(last->segment_bytes > 0 && last->segment_bytes <= last->len);
      if (got + last->len < len)
        assert_int_equal(last->segment_bytes, segment < last->len ? segment : last->len);
      assert_true(pattern_holds(last->data, last->len, offset + got));
      got += last->len;
      datagrams += (last->len + last->segment_bytes - 1) / last->segment_bytes;
      udp_release(udp);
    }
  }
  assert_int_equal(got, len);
  return datagrams;
}

static void close_udp(struct udp *udp) {
  udp_close(udp);
  tick();
}

/* --- there and back --- */

static const struct {
  size_t len, segment;
} trains[] = {{1, 1},        {1, 1200},      {1200, 1200},  {1201, 1200}, {2400, 1200},   {12345, 1350},
              {64000, 1000}, {65400, 65400}, {65507, 1472}, {6400, 100},  {650 * 20, 20}, {65000, 1000}};

static void round_trip(const char *server_bind, const char *server_host) {
  io_open(64, 8);
  struct udp *server = open_udp(server_bind, NULL);
  struct address where = at_port(server_host, server);
  struct udp *client = open_udp(NULL, &where);
  assert_true(udp_gso(client) && udp_gro(server));
  uint64_t offset = 0;
  for (size_t i = 0; i < sizeof trains / sizeof trains[0]; i++) {
    size_t len = trains[i].len, segment = trains[i].segment, want = (len + segment - 1) / segment;
    struct udp_train train;
    send_train(client, NULL, NULL, len, segment, offset);
    assert_int_equal(receive_all(server, len, segment, offset, &train), want);
    struct address client_local = udp_local(client);
    if (address_family(&train.remote) == AF_INET6)
      address_map_to_v6(&client_local);
    assert_int_equal(address_port(&train.remote), address_port(&client_local));
    send_train(server, &train.local, &train.remote, len, segment, offset + 7);
    assert_int_equal(receive_all(client, len, segment, offset + 7, &train), want);
    offset += len;
  }
  assert_int_equal(udp_counters(client)->send_errors + udp_counters(server)->send_errors, 0);
  assert_int_equal(udp_counters(client)->bytes_sent, offset);
  assert_int_equal(udp_counters(server)->bytes_received, offset);
  assert_int_equal(udp_counters(client)->datagrams_sent, udp_counters(server)->datagrams_received);
  assert_int_equal(udp_counters(client)->trains_sent, sizeof trains / sizeof trains[0]);
  close_udp(client);
  close_udp(server);
  io_close();
}

static void test_round_trip(void **state) {
  (void)state;
  round_trip("127.0.0.1:0", "127.0.0.1");
}

static void test_round_trip_ipv6(void **state) {
  (void)state;
  round_trip("[::1]:0", "[::1]");
}

static void test_round_trip_dual_stack(void **state) {
  (void)state;
  round_trip("[::]:0", "127.0.0.1");
  round_trip("[::]:0", "[::1]");
  round_trip("0.0.0.0:0", "127.0.0.1");
}

/* Many trains in a row: nothing lost, nothing out of order, more than there are send buffers. */
static void test_stream(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *server = open_udp("127.0.0.1:0", NULL);
  struct address where = udp_local(server);
  struct udp *client = open_udp(NULL, &where);
  uint64_t sent = 0, received = 0, seed = 7;
  struct udp_train train;
  for (int round = 0; round < 100; round++) {
    for (int i = 0; i < 24; i++) {
      size_t segment = 1200 + draw_below(&seed, 250), len = segment * (1 + draw_below(&seed, 44));
      if (!udp_can_send(client))
        break;
      send_train(client, NULL, NULL, len, segment, sent);
      sent += len;
    }
    for (int i = 0; received < sent; i++) {
      assert_true(i < TICKS_MAX);
      tick();
      while (udp_receive(server, &train)) {
        assert_true(pattern_holds(train.data, train.len, received));
        received += train.len;
        udp_release(server);
      }
    }
  }
  assert_int_equal(udp_counters(server)->out_of_buffers, 0);
  close_udp(client);
  close_udp(server);
  io_close();
}

/* The answer comes from the address that was asked, although the socket is bound to all of them. */
static void answers_from(const char *bind, const char *host) {
  struct udp *server = open_udp(bind, NULL);
  struct address where = at_port(host, server);
  struct udp *client = open_udp(NULL, &where);
  struct udp_train train;
  send_train(client, NULL, NULL, 3000, 1000, 0);
  receive_all(server, 3000, 1000, 0, &train);
  assert_true(address_family(&train.local) == address_family(&train.remote));
  char local[ADDRESS_TEXT_MAX], wanted[ADDRESS_TEXT_MAX];
  assert_string_equal(address_text(&train.local, local), address_text(&where, wanted));
  send_train(server, &train.local, &train.remote, 3000, 1000, 1);
  receive_all(client, 3000, 1000, 1, &train);
  send_train(server, NULL, &(struct address){0}, 0 + 1, 1, 2); /* no address: an error, counted */
  tick();
  assert_int_equal(udp_counters(server)->send_errors, 1);
  close_udp(client);
  close_udp(server);
}

static void test_packet_info(void **state) {
  (void)state;
  io_open(64, 8);
  answers_from("0.0.0.0:0", "127.0.0.7");
  answers_from("[::]:0", "127.0.0.9");
  answers_from("[::]:0", "[::1]");
  io_close();
}

/* --- faults --- */

static void test_refused(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *gone = open_udp("127.0.0.1:0", NULL);
  struct address nowhere = udp_local(gone);
  close_udp(gone);
  tick();
  struct udp *client = open_udp(NULL, &nowhere);
  for (int i = 0; !udp_refused(client); i++) {
    assert_true(i < 100);
    send_train(client, NULL, NULL, 100, 100, 0);
    tick();
  }
  for (int i = 0; i < 10; i++)
    tick();
  udp_refused(client);
  assert_false(udp_refused(client));
  /* it still works when somebody listens there again */
  char text[ADDRESS_TEXT_MAX];
  struct udp *back = open_udp(address_text(&nowhere, text), NULL);
  struct udp_train train;
  struct address local = udp_local(client);
  for (int i = 0; i < 20; i++) {
    send_train(client, NULL, NULL, 100, 100, 0);
    receive_all(back, 100, 100, 0, &train);
    send_train(back, NULL, &local, 3000, 300, 5);
    receive_all(client, 3000, 300, 5, &train);
  }
  close_udp(client);
  close_udp(back);
  io_close();
}

/* A packet that is larger than the link's is lost, and that is all. */
static void test_too_large(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *server = open_udp("[::1]:0", NULL);
  struct address where = udp_local(server);
  struct udp *client = open_udp(NULL, &where);
  struct udp_train train;
  send_train(client, NULL, NULL, TRAIN_BYTES_MAX, TRAIN_BYTES_MAX, 0);
  send_train(client, NULL, NULL, 9000, 1000, 1);
  receive_all(server, 9000, 1000, 1, &train);
  assert_int_equal(udp_counters(client)->send_errors, 1);
  assert_int_equal(udp_counters(client)->datagrams_sent, 9);
  assert_true(udp_gso(client));
  close_udp(client);
  close_udp(server);
  io_close();
}

/* A checksum-less socket refuses GSO (udp(7): EIO): the train arrives all the same, once. */
static void test_gso_refused(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *server = open_udp("127.0.0.1:0", NULL);
  struct address where = udp_local(server);
  int lowest = dup(0);
  close(lowest); /* the descriptor that the next socket gets */
  struct udp *client = open_udp(NULL, &where);
  int on = 1;
  assert_int_equal(setsockopt(lowest, SOL_SOCKET, SO_NO_CHECK, &on, sizeof on), 0);
  capture_start();
  struct udp_train train;
  uint64_t offset = 0;
  size_t datagrams = 0;
  for (int i = 0; i < 10; i++) {
    send_train(client, NULL, NULL, 60000, 500, offset);
    datagrams += receive_all(server, 60000, 500, offset, &train);
    offset += 60000;
  }
  const char *said = capture_stop();
  assert_int_equal(datagrams, 1200);
  assert_false(udp_gso(client));
  assert_int_equal(udp_counters(client)->send_errors, 0);
  assert_int_equal(udp_counters(client)->bytes_sent, offset);
  const char *first = strstr(said, "GSO");
  assert_non_null(first);
  assert_null(strstr(first + 1, "GSO"));
  close_udp(client);
  close_udp(server);
  io_close();
}

/* Buffers run out because nobody reads; when somebody does, receiving goes on. */
static void test_out_of_buffers(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *server = open_udp("127.0.0.1:0", NULL);
  struct address where = udp_local(server);
  struct udp *client = open_udp(NULL, &where);
  enum { DATAGRAMS = UDP_RECEIVE_BUFFERS * 2 };
  for (uint64_t i = 0; i < DATAGRAMS; i++)
    send_train(client, NULL, NULL, 100 + i, 1000, i);
  for (int i = 0; i < 20; i++)
    tick();
  assert_true(udp_counters(server)->out_of_buffers > 0);
  struct udp_train train;
  uint64_t got = 0;
  for (int i = 0; got < DATAGRAMS; i++) {
    assert_true(i < TICKS_MAX);
    while (udp_receive(server, &train)) {
      assert_int_equal(train.len, 100 + got);
      assert_true(pattern_holds(train.data, train.len, got));
      got++;
      udp_release(server);
    }
    tick();
  }
  close_udp(client);
  close_udp(server);
  io_close();
}

/* A receive that ends although nobody asked for it is armed again. */
static void test_cancelled_receive(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *server = open_udp("127.0.0.1:0", NULL);
  struct address where = udp_local(server);
  struct udp *client = open_udp(NULL, &where);
  struct udp_train train;
  for (uint64_t i = 0; i < 50; i++) {
    send_train(client, NULL, NULL, 5000, 1000, i);
    ring_cancel(io_ring, &server->receive);
    receive_all(server, 5000, 1000, i, &train);
  }
  close_udp(client);
  close_udp(server);
  io_close();
}

static void test_empty_datagrams(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *server = open_udp("127.0.0.1:0", NULL);
  struct address where = udp_local(server);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fd, &where.any, where.len), 0);
  for (int i = 0; i < 300; i++) {
    assert_int_equal(send(fd, "", 0, 0), 0);
    if (i % 50 == 0) {
      struct udp_train train;
      tick();
      assert_false(udp_receive(server, &train));
    }
  }
  uint8_t data[10];
  pattern_fill(data, sizeof data, 3);
  assert_int_equal(send(fd, data, sizeof data, 0), sizeof data);
  struct udp_train train;
  receive_all(server, sizeof data, sizeof data, 3, &train);
  assert_int_equal(udp_counters(server)->datagrams_received, 301);
  close(fd);
  close_udp(server);
  io_close();
}

static void test_open_fails(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *udp;
  char reason[256];
  struct udp_config config = {.bind = io_address("192.0.2.1:443")};
  assert_int_equal(udp_open(&udp, io_ring, &config, reason, sizeof reason), ERR_SYSTEM);
  assert_string_equal(reason, "cannot bind UDP 192.0.2.1:443: Cannot assign requested address");
  io_close();
}

/* --- closing --- */

static void test_reopen(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *server = open_udp("127.0.0.1:0", NULL);
  struct address where = udp_local(server);
  struct udp_train train;
  for (uint64_t i = 0; i < 100; i++) {
    struct udp *client = open_udp(NULL, &where);
    send_train(client, NULL, NULL, 2000, 1000, i);
    if (i % 3 != 0) /* else it is sent although the socket is closed right away */
      tick();
    if (i % 5 == 0) {
      receive_all(server, 2000, 1000, i, &train);
      send_train(server, &train.local, &train.remote, 500, 500, i);
      tick();
      assert_true(udp_receive(client, &train));
      udp_close(client);
      assert_true(pattern_holds(train.data, train.len, i)); /* until udp_bury */
      udp_release(client);
      continue;
    }
    udp_close(client);
    receive_all(server, 2000, 1000, i, &train);
  }
  udp_close(server);
  io_close(); /* waits for what is still to be buried */
}

static void test_buffers_granted(void **state) {
  (void)state;
  io_open(64, 8);
  struct udp *udp = open_udp("127.0.0.1:0", NULL);
  assert_true(udp_receive_buffer_granted(udp) >= 65536 && udp_receive_buffer_granted(udp) <= BUFFER_BYTES);
  assert_true(udp_send_buffer_granted(udp) >= 65536 && udp_send_buffer_granted(udp) <= BUFFER_BYTES);
  close_udp(udp);
  udp_close(NULL);
  io_close();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_round_trip_ipv6),
      cmocka_unit_test(test_round_trip_dual_stack),
      cmocka_unit_test(test_stream),
      cmocka_unit_test(test_packet_info),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_too_large),
      cmocka_unit_test(test_gso_refused),
      cmocka_unit_test(test_out_of_buffers),
      cmocka_unit_test(test_cancelled_receive),
      cmocka_unit_test(test_empty_datagrams),
      cmocka_unit_test(test_open_fails),
      cmocka_unit_test(test_reopen),
      cmocka_unit_test(test_buffers_granted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
