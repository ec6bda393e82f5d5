#include "unit/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link/link_nat.h"
#include "link/link_packet.h"
#include "link/link_queue.h"
#include "link/link_settings.h"
#include "link/link_stats.h"

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static uint32_t sum_words(uint32_t sum, const uint8_t *bytes, size_t len) {
  for (size_t i = 0; i < len; i++)
    sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
  while (sum >> 16 != 0)
    sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

/* Over the pseudo header and what follows the IP header: 0xffff if the checksum in it is right. */
static uint32_t transport_sum(const uint8_t *packet, size_t len) {
  bool four = packet[0] >> 4 == 4;
  size_t header = four ? 20 : 40;
  uint32_t sum = (uint32_t)(len - header) + (four ? packet[9] : packet[6]);
  return sum_words(sum_words(sum, packet + (four ? 12 : 8), four ? 8 : 32), packet + header, len - header);
}

/* A UDP packet from port 4433 to port 443 with a right checksum. Its length. */
static size_t make_udp(uint8_t *out, int version, const uint8_t *payload, size_t len) {
  size_t header = version == 4 ? 20 : 40;
  memset(out, 0, header + 8);
  if (version == 4) {
    out[0] = 0x45;
    put16(out + 2, (unsigned)(28 + len));
    out[6] = 0x40;
    out[9] = 17;
    memcpy(out + 12, (uint8_t[]){10, 77, 0, 1, 10, 77, 0, 2}, 8);
  } else {
    out[0] = 0x60;
    put16(out + 4, (unsigned)(8 + len));
    out[6] = 17;
    out[8] = out[24] = 0xfd;
    out[23] = 1;
    out[39] = 2;
  }
  put16(out + header, 4433);
  put16(out + header + 2, 443);
  put16(out + header + 4, (unsigned)(8 + len));
  memcpy(out + header + 8, payload, len);
  put16(out + header + 6, ~transport_sum(out, header + 8 + len) & 0xffff);
  return header + 8 + len;
}

static void test_reads_udp(void **state) {
  (void)state;
  uint8_t bytes[200];
  for (int version = 4; version <= 6; version += 2) {
    size_t len = make_udp(bytes, version, (const uint8_t *)"payload", 7);
    struct link_packet packet = link_packet_read(bytes, len);
    assert_int_equal(packet.version, version);
    assert_int_equal(packet.udp, version == 4 ? 20 : 40);
    assert_int_equal(packet.payload_len, 7);
    assert_false(packet.multicast);
    assert_int_equal(link_packet_port(&packet, LINK_UDP_SOURCE_PORT), 4433);
    assert_int_equal(link_packet_port(&packet, LINK_UDP_DESTINATION_PORT), 443);
    for (size_t shorter = 0; shorter < len; shorter++) {
      uint8_t *copy = malloc(shorter + 1); /* so that a sanitizer sees where it ends */
      memcpy(copy, bytes, shorter);
      packet = link_packet_read(copy, shorter);
      assert_int_equal(packet.udp, 0);
      free(copy);
    }
  }
}

static void test_reads_no_udp(void **state) {
  (void)state;
  uint8_t bytes[200];
  size_t len = make_udp(bytes, 4, (const uint8_t *)"payload", 7);
  bytes[9] = 6;
  assert_int_equal(link_packet_read(bytes, len).udp, 0);
  len = make_udp(bytes, 4, (const uint8_t *)"payload", 7);
  bytes[7] = 10; /* a fragment */
  assert_int_equal(link_packet_read(bytes, len).udp, 0);
  bytes[16] = 224;
  assert_true(link_packet_read(bytes, len).multicast);
  len = make_udp(bytes, 6, (const uint8_t *)"payload", 7);
  put16(bytes + 24, 0xff02);
  assert_true(link_packet_read(bytes, len).multicast);
  put16(bytes + 24, 0xfe80);
  assert_true(link_packet_read(bytes, len).multicast);
  bytes[0] = 0;
  assert_int_equal(link_packet_read(bytes, len).version, 0);
}

static void test_ports_and_mangling_keep_the_checksum(void **state) {
  (void)state;
  uint64_t random = 99;
  uint8_t bytes[200], payload[101], before[200];
  for (int i = 0; i < 2000; i++) {
    for (size_t j = 0; j < sizeof payload; j++)
      payload[j] = (uint8_t)draw(&random);
    size_t len = make_udp(bytes, i % 2 == 0 ? 4 : 6, payload, sizeof payload - (size_t)i % 7);
    struct link_packet packet = link_packet_read(bytes, len);
    link_packet_set_port(&packet, LINK_UDP_SOURCE_PORT, (uint16_t)draw(&random));
    assert_int_equal(transport_sum(bytes, len), 0xffff);
    memcpy(before, bytes, len);
    assert_true(link_packet_mangle(&packet, draw(&random)));
    assert_int_equal(transport_sum(bytes, len), 0xffff);
    unsigned bits = 0;
    for (size_t j = packet.udp + 8; j < len; j++)
      bits += (unsigned)__builtin_popcount((unsigned)(before[j] ^ bytes[j]));
    assert_int_equal(bits, 1);
  }
}

static void test_no_checksum_stays_none(void **state) {
  (void)state;
  uint8_t bytes[200];
  size_t len = make_udp(bytes, 4, (const uint8_t *)"payload", 7);
  put16(bytes + 26, 0);
  struct link_packet packet = link_packet_read(bytes, len);
  link_packet_set_port(&packet, LINK_UDP_SOURCE_PORT, 5);
  assert_int_equal(get16(bytes + 26), 0);
  assert_int_equal(get16(bytes + 20), 5);
  len = make_udp(bytes, 4, (const uint8_t *)"1", 1);
  packet = link_packet_read(bytes, len);
  assert_false(link_packet_mangle(&packet, 1));
}

static void test_corrupt_flips_one_bit(void **state) {
  (void)state;
  uint64_t random = 5;
  for (int i = 0; i < 1000; i++) {
    uint8_t bytes[64] = {0};
    unsigned bits = 0;
    struct link_packet packet = link_packet_read(bytes, 1 + (size_t)i % 64);
    link_packet_corrupt(&packet, draw(&random));
    for (size_t j = 0; j < packet.len; j++)
      bits += (unsigned)__builtin_popcount(bytes[j]);
    assert_int_equal(bits, 1);
  }
}

static bool initial(int version, const uint8_t *payload, size_t len, uint64_t *connection) {
  uint8_t bytes[200];
  struct link_packet packet = link_packet_read(bytes, make_udp(bytes, version, payload, len));
  return link_packet_initial(&packet, connection);
}

static void test_initial(void **state) {
  (void)state;
  uint8_t first[] = {0xc3, 0, 0, 0, 1, 4, 'd', 'd', 'd', 'd', 3, 's', 's', 's', 0, 0};
  uint8_t second[] = {0xc0, 0, 0, 0, 1, 1, 'e', 3, 's', 's', 's', 0, 0};
  uint8_t other[] = {0xc0, 0, 0, 0, 1, 1, 'e', 3, 's', 's', 't', 0, 0};
  uint64_t a, b, c;
  assert_true(initial(4, first, sizeof first, &a));
  assert_true(initial(4, second, sizeof second, &b));
  assert_true(initial(4, other, sizeof other, &c));
  assert_int_equal(a, b);
  assert_int_not_equal(a, c);
  assert_true(initial(6, first, sizeof first, &b));
  assert_int_not_equal(a, b);
  for (size_t len = 0; len < 14; len++)
    assert_false(initial(4, first, len, &a));
  first[0] = 0xe3; /* a Handshake packet */
  assert_false(initial(4, first, sizeof first, &a));
  first[0] = 0x43; /* a short header */
  assert_false(initial(4, first, sizeof first, &a));
  first[0] = 0xd3; /* Initial in version 2 */
  assert_false(initial(4, first, sizeof first, &a));
  memcpy(first + 1, (uint8_t[]){0x6b, 0x33, 0x43, 0xcf}, 4);
  assert_true(initial(4, first, sizeof first, &a));
}

static void test_handshakes_are_counted_once(void **state) {
  (void)state;
  static struct link_stats stats;
  link_stats_reset(&stats, 0);
  for (uint64_t i = 0; i < 30; i++)
    link_stats_initial(&stats, i / 3);
  assert_int_equal(stats.initials, 30);
  assert_int_equal(stats.handshakes, 10);
  for (uint64_t i = 0; i < 2 * LINK_CONNECTIONS_MAX; i++)
    link_stats_initial(&stats, 1000 + i);
  assert_int_equal(stats.handshakes, LINK_CONNECTIONS_MAX);
}

static void test_too_big(void **state) {
  (void)state;
  uint8_t bytes[1500] = {0}, payload[1400] = {0}, out[LINK_ICMP_MAX];
  size_t len = make_udp(bytes, 4, payload, sizeof payload);
  struct link_packet packet = link_packet_read(bytes, len);
  size_t icmp = link_packet_too_big(&packet, 1280, out);
  assert_int_equal(icmp, 576);
  assert_int_equal(sum_words(0, out, 20), 0xffff);
  assert_int_equal(sum_words(0, out + 20, icmp - 20), 0xffff);
  assert_int_equal(get16(out + 26), 1280);
  assert_memory_equal(out + 16, bytes + 12, 4);
  assert_memory_equal(out + 28, bytes, 548);
  bytes[6] = 0; /* may be cut */
  assert_int_equal(link_packet_too_big(&packet, 1280, out), 0);
  len = make_udp(bytes, 6, payload, sizeof payload);
  packet = link_packet_read(bytes, len);
  icmp = link_packet_too_big(&packet, 1300, out);
  assert_int_equal(icmp, 1280);
  assert_int_equal(transport_sum(out, icmp), 0xffff);
  assert_int_equal(get16(out + 46), 1300);
  assert_memory_equal(out + 24, bytes + 8, 16);
}

static uint16_t through(struct link_nat *nat, uint16_t from) {
  uint8_t bytes[64];
  struct link_packet packet = link_packet_read(bytes, make_udp(bytes, 4, (const uint8_t *)"x", 1));
  link_packet_set_port(&packet, LINK_UDP_SOURCE_PORT, from);
  link_nat_outbound(nat, &packet);
  return link_packet_port(&packet, LINK_UDP_SOURCE_PORT);
}

/* The port at A; 0: dropped. */
static uint16_t back(struct link_nat *nat, uint16_t to) {
  uint8_t bytes[64];
  struct link_packet packet = link_packet_read(bytes, make_udp(bytes, 4, (const uint8_t *)"x", 1));
  link_packet_set_port(&packet, LINK_UDP_DESTINATION_PORT, to);
  return link_nat_inbound(nat, &packet) ? link_packet_port(&packet, LINK_UDP_DESTINATION_PORT) : 0;
}

static void test_nat(void **state) {
  (void)state;
  struct link_nat *nat = calloc(1, sizeof *nat);
  assert_int_equal(through(nat, 4433), 4433);
  assert_int_equal(back(nat, 4433), 4433);
  assert_int_equal(back(nat, 53), 53);
  link_nat_rebind(nat);
  assert_int_equal(back(nat, 4433), 0); /* A has sent nothing since */
  uint16_t first = through(nat, 4433), other = through(nat, 5000);
  assert_int_not_equal(first, 4433);
  assert_int_not_equal(first, other);
  assert_int_equal(through(nat, 4433), first);
  assert_int_equal(back(nat, first), 4433);
  assert_int_equal(back(nat, 4433), 0);
  assert_int_equal(back(nat, 53), 53);
  link_nat_rebind(nat);
  assert_int_equal(back(nat, first), 0);
  assert_int_not_equal(through(nat, 4433), first);
  for (int i = 0; i < 20000; i++) { /* ports are used again, also when there are more than the NAT has */
    assert_int_not_equal(through(nat, (uint16_t)(1 + i)), 0);
  }
  free(nat);
}

static void test_queue(void **state) {
  (void)state;
  enum { COUNT = 1000 };
  struct link_queue queue;
  assert_true(link_queue_open(&queue, COUNT, 64));
  uint64_t random = 3;
  for (int round = 0; round < 3; round++) {
    uint32_t buffer;
    for (size_t i = 0; i < COUNT; i++) {
      assert_true(link_queue_take(&queue, &buffer));
      memcpy(link_queue_bytes(&queue, buffer), &i, sizeof i);
      link_queue_push(&queue, i % 2 == 0 ? LINK_AB : LINK_BA, draw_below(&random, 100), buffer, 64);
    }
    assert_false(link_queue_take(&queue, &buffer));
    for (int direction = 0; direction < LINK_DIRECTIONS; direction++) {
      struct link_entry last = {0};
      for (size_t i = 0; i < COUNT / 2; i++) {
        assert_int_equal(link_queue_next(&queue, direction), queue.heaps[direction].entries[0].due_ns);
        struct link_entry entry = link_queue_pop(&queue, direction);
        bool later = entry.due_ns > last.due_ns || (entry.due_ns == last.due_ns && entry.number >= last.number);
        assert_true(later);
        last = entry;
        link_queue_give(&queue, entry.buffer);
      }
      assert_true(link_queue_next(&queue, direction) == UINT64_MAX);
    }
  }
  link_queue_close(&queue);
}

static void test_settings(void **state) {
  (void)state;
  struct link_settings settings[] = {link_settings_default, link_settings_default};
  char error[128] = "";
  assert_true(link_settings_apply(settings, "delay=1.5  ab.rate=0.5 ba.loss=0.1 ", error, sizeof error));
  assert_int_equal(settings[LINK_AB].delay_ns, 1500000);
  assert_int_equal(settings[LINK_BA].delay_ns, 1500000);
  assert_int_equal(settings[LINK_AB].rate_bps, 500000);
  assert_int_equal(settings[LINK_BA].rate_bps, 0);
  assert_int_equal(settings[LINK_AB].loss_ppb, 0);
  assert_int_equal(settings[LINK_BA].loss_ppb, 1000000);
  static const char *const wrong[] = {
      "delay",
      "delay=",
      "delay=x",
      "delay=1x",
      "delay=-1",
      "loss=100.1",
      "loss=nan",
      "rate=inf",
      "ac.loss=1",
      "ab.ba.=1",
      "=1",
      "delay =100",
      "speed=1",
      "loss=1e400",
      "delay=5 loss=x",
      "a_word_that_is_far_too_long_to_be_a_setting_of_any_kind_at_all_whatever=1",
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct link_settings before[] = {settings[LINK_AB], settings[LINK_BA]};
    error[0] = '\0';
    assert_false(link_settings_apply(settings, wrong[i], error, sizeof error));
    assert_true(strlen(error) > 0);
    assert_memory_equal(before, settings, sizeof before);
  }
}

static void test_profiles(void **state) {
  (void)state;
  char names[200], name[200];
  link_profile_names(names, sizeof names);
  static const char *const wanted[] = {"lan", "metro", "transatlantic", "far", "lossy", "bad", "satellite", "blackout"};
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
    assert_non_null(strstr(names, wanted[i]));
  assert_null(link_profile("no such"));
  for (const char *at = names; *at != '\0'; at += strspn(at, " ")) {
    size_t len = strcspn(at, " ");
    memcpy(name, at, len);
    name[len] = '\0';
    at += len;
    struct link_settings settings[] = {link_settings_default, link_settings_default};
    char error[128] = "";
    assert_true(link_settings_apply(settings, link_profile(name), error, sizeof error));
  }
}

static void test_stats_json(void **state) {
  (void)state;
  static struct link_stats stats;
  static char out[8192];
  link_stats_reset(&stats, 0);
  for (int i = 0; i < 98; i++)
    link_stats_late(&stats, 10500);
  link_stats_late(&stats, 250000);
  link_stats_late(&stats, 9000000);
  stats.directions[LINK_BA].verdicts[LINK_DROP_QUEUE] = 7;
  struct link_stats_extra extra = {.seed = 1};
  const struct link_settings *settings[] = {&link_settings_default, &link_settings_default};
  size_t len = link_stats_json(&stats, &extra, settings, 1000000000, out, sizeof out);
  assert_int_equal(len, strlen(out));
  assert_non_null(strstr(out, "\"late_us\":{\"p50\":11,\"p99\":251,\"max\":9000}"));
  assert_non_null(strstr(out, "\"saturated\":false"));
  assert_non_null(strstr(out, "\"queue\":7"));
  for (size_t size = 0; size <= len; size += 13)
    assert_int_equal(link_stats_json(&stats, &extra, settings, 1000000000, out, size), 0);
  link_stats_late(&stats, 400000);
  link_stats_late(&stats, 400000);
  link_stats_json(&stats, &extra, settings, 1000000000, out, sizeof out);
  assert_non_null(strstr(out, "\"saturated\":true"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reads_udp),
      cmocka_unit_test(test_reads_no_udp),
      cmocka_unit_test(test_ports_and_mangling_keep_the_checksum),
      cmocka_unit_test(test_no_checksum_stays_none),
      cmocka_unit_test(test_corrupt_flips_one_bit),
      cmocka_unit_test(test_initial),
      cmocka_unit_test(test_handshakes_are_counted_once),
      cmocka_unit_test(test_too_big),
      cmocka_unit_test(test_nat),
      cmocka_unit_test(test_queue),
      cmocka_unit_test(test_settings),
      cmocka_unit_test(test_profiles),
      cmocka_unit_test(test_stats_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
