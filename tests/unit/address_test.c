#include "unit/support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "base/address.h"

static void assert_parses(const char *text, const char *expected) {
  struct address address;
  char out[ADDRESS_TEXT_MAX];
  assert_int_equal(address_parse(&address, text, 4433), ERR_OK);
  assert_string_equal(address_text(&address, out), expected);
}

static void test_parse(void **state) {
  (void)state;
  assert_parses("192.0.2.1", "192.0.2.1:4433");
  assert_parses("192.0.2.1:443", "192.0.2.1:443");
  assert_parses("0.0.0.0:0", "0.0.0.0:0");
  assert_parses("192.0.2.1:65535", "192.0.2.1:65535");
  assert_parses("2001:db8::1", "[2001:db8::1]:4433");
  assert_parses("[2001:db8::1]", "[2001:db8::1]:4433");
  assert_parses("[2001:db8::1]:443", "[2001:db8::1]:443");
  assert_parses("::", "[::]:4433");
  assert_parses("[::ffff:192.0.2.1]:80", "192.0.2.1:80");
  assert_parses("unix:/run/app.sock", "unix:/run/app.sock");
}

static void test_parse_refuses(void **state) {
  (void)state;
  static const char *const wrong[] = {"",
                                      ":",
                                      ":80",
                                      "localhost",
                                      "localhost:80",
                                      "192.0.2.1:",
                                      "192.0.2.1:65536",
                                      "192.0.2.1:-1",
                                      "1.2.3",
                                      "1.2.3.4.5",
                                      "1.2.3.256",
                                      "1.2.3.4:x",
                                      "1.2.3.4:80x",
                                      "1.2.3.4:000080",
                                      "1.2.3.4:+80",
                                      "[1.2.3.4]:80",
                                      "[::1",
                                      "[::1]80",
                                      "[::1]:",
                                      "[]",
                                      "[]:80",
                                      "::1]:80",
                                      "1:2:3",
                                      ":::",
                                      "unix:",
                                      "unix:app",
                                      " 1.2.3.4",
                                      "1.2.3.4 ",
                                      "[::1]:80:80",
                                      "fe80::1%eth0",
                                      "unix:@name",
                                      "http://1.2.3.4",
                                      "1.2.3.4:80:80"};
  struct address address;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(address_parse(&address, wrong[i], 1), ERR_BAD_CONFIG);
    assert_int_equal(address_family(&address), AF_UNSPEC);
  }
  char path[200] = "unix:/";
  memset(path + 6, 'p', 106);
  assert_int_equal(address_parse(&address, path, 1), ERR_OK); /* 107 bytes and the NUL */
  char out[ADDRESS_TEXT_MAX];
  assert_string_equal(address_text(&address, out), path);
  path[6 + 106] = 'p';
  assert_int_equal(address_parse(&address, path, 1), ERR_BAD_CONFIG);
  memset(path, '1', sizeof path - 1);
  assert_int_equal(address_parse(&address, path, 1), ERR_BAD_CONFIG);
}

static void assert_splits(const char *text, const char *host, uint16_t port) {
  char out[64];
  uint16_t found = 1;
  assert_int_equal(address_split(text, 443, out, sizeof out, &found), ERR_OK);
  assert_string_equal(out, host);
  assert_int_equal(found, port);
}

static void test_split(void **state) {
  (void)state;
  assert_splits("example.com", "example.com", 443);
  assert_splits("a_b-c.example.com.:8443", "a_b-c.example.com.", 8443);
  assert_splits("192.0.2.1:1", "192.0.2.1", 1);
  assert_splits("2001:db8::1", "2001:db8::1", 443);
  assert_splits("[2001:db8::1]:65535", "2001:db8::1", 65535);
  assert_splits("[::1]", "::1", 443);
}

static void test_split_refuses(void **state) {
  (void)state;
  static const char *const wrong[] = {"",        ":80",   "host:",     "host:0",    "host:65536",
                                      "host:1x", "ho st", "host/path", "[host]:1",  "[::1",
                                      "[::1]x",  "a:b:c", "user@host", "h\xc3\xa9", "[::1]:0"};
  char host[300];
  uint16_t port = 7;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_int_equal(address_split(wrong[i], 443, host, sizeof host, &port), ERR_BAD_CONFIG);
  assert_int_equal(address_split("1234", 443, host, 4, &port), ERR_BAD_CONFIG);
  assert_int_equal(port, 7);
  assert_int_equal(address_split("1234", 443, host, 5, &port), ERR_OK);
  char name[300];
  memset(name, 'n', sizeof name);
  name[254] = '\0';
  assert_int_equal(address_split(name, 443, host, sizeof host, &port), ERR_BAD_CONFIG);
  name[253] = '\0';
  assert_int_equal(address_split(name, 443, host, sizeof host, &port), ERR_OK);
}

static struct address parsed(const char *text) {
  struct address address;
  assert_int_equal(address_parse(&address, text, 1), ERR_OK);
  return address;
}

static void test_equal(void **state) {
  (void)state;
  static const char *const all[] = {"192.0.2.1:1", "192.0.2.1:2",          "192.0.2.2:1", "[::1]:1", "[::1]:2",
                                    "[::2]:1",     "[::ffff:192.0.2.1]:1", "unix:/a",     "unix:/b"};
  struct address none = {0};
  assert_true(address_equal(&none, &none));
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    struct address a = parsed(all[i]);
    assert_false(address_equal(&a, &none));
    for (size_t j = 0; j < sizeof all / sizeof *all; j++) {
      struct address b = parsed(all[j]);
      assert_int_equal(address_equal(&a, &b), i == j);
    }
  }
  struct address a = parsed("192.0.2.1:1"), b = a;
  b.bytes[15] = 1; /* sin_zero means nothing */
  assert_true(address_equal(&a, &b));
}

static void test_set(void **state) {
  (void)state;
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0xc0000201)};
  struct address address;
  char out[ADDRESS_TEXT_MAX];
  memset(&address, 0xff, sizeof address);
  address_set(&address, (const struct sockaddr *)&v4, sizeof v4);
  assert_string_equal(address_text(&address, out), "192.0.2.1:80");
  address_set(&address, &address.any, address.len);
  assert_string_equal(address_text(&address, out), "192.0.2.1:80");
  address_set(&address, &address.any, 0);
  assert_int_equal(address_family(&address), AF_UNSPEC);
  assert_string_equal(address_text(&address, out), "none");
}

static void set_too_long(void *context) {
  static struct {
    struct sockaddr any;
    char more[200];
  } large;
  address_set(context, &large.any, 113);
}

static void test_set_too_long(void **state) {
  (void)state;
  struct address address;
  assert_true(dies(set_too_long, &address, "sizeof address->bytes"));
}

static void test_unix_peers(void **state) {
  (void)state;
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  struct address address;
  char out[ADDRESS_TEXT_MAX];
  address_set(&address, (const struct sockaddr *)&un, sizeof un.sun_family); /* unnamed: what accept gives */
  assert_string_equal(address_text(&address, out), "unix:");
  memcpy(un.sun_path, "\0name", 5);
  address_set(&address, (const struct sockaddr *)&un, sizeof un.sun_family + 5);
  assert_string_equal(address_text(&address, out), "unix:@name");
  memset(un.sun_path, 'x', sizeof un.sun_path); /* no NUL: allowed by the kernel */
  address_set(&address, (const struct sockaddr *)&un, sizeof un);
  assert_int_equal(strlen(address_text(&address, out)), 5 + 108);
}

static void test_port(void **state) {
  (void)state;
  struct address v4 = parsed("192.0.2.1:80"), v6 = parsed("[::1]:81"), un = parsed("unix:/a"), before = un;
  assert_int_equal(address_port(&v4), 80);
  assert_int_equal(address_port(&v6), 81);
  assert_int_equal(address_port(&un), 0);
  address_set_port(&v4, 65535);
  address_set_port(&v6, 1);
  address_set_port(&un, 5);
  assert_int_equal(address_port(&v4), 65535);
  assert_int_equal(address_port(&v6), 1);
  assert_true(address_equal(&un, &before));
}

static void test_family(void **state) {
  (void)state;
  struct address v4 = parsed("192.0.2.1"), v6 = parsed("::1"), un = parsed("unix:/a"), none = {0};
  assert_int_equal(address_family(&v4), AF_INET);
  assert_int_equal(address_family(&v6), AF_INET6);
  assert_int_equal(address_family(&un), AF_UNIX);
  assert_int_equal(address_family(&none), AF_UNSPEC);
}

static void test_local(void **state) {
  (void)state;
  static const char *const local[] = {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/x"};
  static const char *const open[] = {"0.0.0.0:1", "128.0.0.1:1", "[::]:1", "[::2]:1", "[::ffff:10.0.0.127]:1"};
  struct address address = {.len = 0};
  assert_false(address_is_local(&address));
  for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
    assert_int_equal(address_parse(&address, local[i], 0), ERR_OK);
    assert_true(address_is_local(&address));
  }
  for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
    assert_int_equal(address_parse(&address, open[i], 0), ERR_OK);
    assert_false(address_is_local(&address));
  }
}

static void test_map_to_v6(void **state) {
  (void)state;
  struct address address = parsed("192.0.2.1:80"), expected = parsed("[::ffff:192.0.2.1]:80");
  char out[ADDRESS_TEXT_MAX];
  address_map_to_v6(&address);
  assert_int_equal(address_family(&address), AF_INET6);
  assert_int_equal(address.len, sizeof(struct sockaddr_in6));
  assert_true(address_equal(&address, &expected));
  assert_string_equal(address_text(&address, out), "192.0.2.1:80");
  address_map_to_v6(&address);
  assert_true(address_equal(&address, &expected));
  struct address un = parsed("unix:/a"), before = un;
  address_map_to_v6(&un);
  assert_true(address_equal(&un, &before));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_parse),      cmocka_unit_test(test_parse_refuses), cmocka_unit_test(test_split),
      cmocka_unit_test(test_equal),      cmocka_unit_test(test_split_refuses), cmocka_unit_test(test_set),
      cmocka_unit_test(test_unix_peers), cmocka_unit_test(test_set_too_long),  cmocka_unit_test(test_port),
      cmocka_unit_test(test_family),     cmocka_unit_test(test_local),         cmocka_unit_test(test_map_to_v6),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
