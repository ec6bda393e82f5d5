#include "unit/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/support_http1.h"

static struct chunks chunks;
static const struct head_limits limits = {16384, 64};
static struct fields list;
static struct head head;

static int set_up(void **state) {
  (void)state;
  if (chunks_open(&chunks, 8, 4, 16) != ERR_OK)
    return -1;
  fields_open(&list, &chunks, limits);
  head_open(&head, &chunks, limits);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  fields_close(&list);
  fields_close(&list);
  head_close(&head);
  return chunks_end(&chunks);
}

static struct bytes t(const char *text) { return bytes_of_text(text); }

static void assert_text(struct bytes have, const char *want) {
  if (!bytes_equal(have, t(want)))
    fail_msg("have \"%.*s\", want \"%s\"", (int)have.len, (const char *)have.data, want);
}

static void assert_fields(const struct fields *fields, const char *want) {
  struct text out = {.data = NULL};
  print_fields(&out, fields);
  assert_string_equal(out.data, want);
  text_free(&out);
}

/* --- the list ------------------------------------------------------------------------------------------------------
 */

static void test_pieces(void **state) {
  (void)state;
  assert_int_equal(fields_name(&list, t("Con")), ERR_OK);
  assert_int_equal(fields_name(&list, t("")), ERR_OK);
  assert_int_equal(fields_name(&list, t("tent-TYPE[@`{")), ERR_OK);
  assert_int_equal(fields_value(&list, t("")), ERR_OK);
  assert_int_equal(fields_value(&list, t(" \t Te")), ERR_OK);
  assert_int_equal(fields_value(&list, t("xt \t")), ERR_OK);
  assert_int_equal(fields_commit(&list), ERR_OK);
  assert_int_equal(fields_name(&list, t("x")), ERR_OK);
  assert_int_equal(fields_commit(&list), ERR_OK);
  assert_int_equal(fields_name(&list, t("y")), ERR_OK);
  assert_int_equal(fields_value(&list, t(" \t ")), ERR_OK);
  assert_int_equal(fields_commit(&list), ERR_OK);
  assert_fields(&list, "{content-type[@`{: Text, x: , y: }");
  assert_int_equal(list.counted, 16 + 4 + 32 + 33 + 33);
}

static void test_find_and_remove(void **state) {
  (void)state;
  struct bytes name, value;
  assert_int_equal(fields_find(&list, t("a"), 0), 0);
  assert_int_equal(fields_add(&list, t("a"), t("1")), ERR_OK);
  assert_int_equal(fields_add(&list, t("b"), t("2")), ERR_OK);
  assert_int_equal(fields_add(&list, t("a"), t("3")), ERR_OK);
  assert_int_equal(fields_find(&list, t("a"), 0), 0);
  assert_int_equal(fields_find(&list, t("a"), 1), 2);
  assert_int_equal(fields_find(&list, t("a"), 3), 3);
  assert_int_equal(fields_find(&list, t("A"), 0), 3);
  assert_int_equal(fields_find(&list, t(""), 0), 3);
  fields_remove(&list, 0);
  assert_int_equal(list.count, 3);
  assert_int_equal(fields_find(&list, t("a"), 0), 2);
  assert_false(fields_get(&list, 0, &name, &value));
  assert_true(fields_get(&list, 2, &name, &value));
  assert_text(value, "3");
  fields_skip(&list, 1, 1);
  assert_fields(&list, "{b: , a: 3}");
}

/* From nothing to small to large; the limits end it, not the chunk. */
static void test_growth(void **state) {
  (void)state;
  fields_close(&list);
  fields_open(&list, &chunks, (struct head_limits){UINT32_MAX, UINT32_MAX});
  char name[16], value[64];
  uint32_t added = 0;
  for (;; added++) {
    snprintf(name, sizeof(name), "n%u", added);
    snprintf(value, sizeof(value), "value of %u", added);
    enum err err = fields_add(&list, t(name), t(value));
    if (err != ERR_OK) {
      assert_int_equal(err, ERR_HEAD_TOO_LARGE);
      break;
    }
  }
  assert_int_equal(added, HEAD_FIELDS_MAX);
  assert_int_equal(chunks.headers[CHUNK_SMALL].live, 0);
  for (uint32_t i = 0; i < added; i++) {
    struct bytes have, got;
    snprintf(name, sizeof(name), "n%u", i);
    snprintf(value, sizeof(value), "value of %u", i);
    assert_true(fields_get(&list, i, &have, &got));
    assert_text(have, name);
    assert_text(got, value);
  }
  fields_close(&list);
  assert_int_equal(list.count, 0);
  assert_int_equal(fields_add(&list, t("again"), t("yes")), ERR_OK);
}

static void test_limits(void **state) {
  (void)state;
  fields_close(&list);
  fields_open(&list, &chunks, (struct head_limits){100, 2});
  static char long_name[300];
  memset(long_name, 'n', sizeof(long_name) - 1);
  assert_int_equal(fields_add(&list, t(long_name), t("")), ERR_HEAD_TOO_LARGE);
  assert_int_equal(fields_add(&list, t("a"), t("12345678901234567890123456789012345678901234567890123456789012345678")),
                   ERR_HEAD_TOO_LARGE);
  assert_fields(&list, "{}");
  assert_int_equal(fields_add(&list, t("a"), t("12345678901234567890123456789012345")), ERR_OK); /* 68: 32 are left */
  assert_int_equal(fields_add(&list, t("a"), t("")), ERR_HEAD_TOO_LARGE);
  fields_close(&list);
  assert_int_equal(fields_add(&list, t("a"), t("")), ERR_OK);
  assert_int_equal(fields_add(&list, t("b"), t("")), ERR_OK);
  fields_remove(&list, 0); /* removed ones count on */
  assert_int_equal(fields_add(&list, t("c"), t("")), ERR_HEAD_TOO_LARGE);
  assert_fields(&list, "{b: }");
}

static void test_shortage(void **state) {
  (void)state;
  struct chunks own;
  assert_int_equal(chunks_open(&own, 1, 0, 0), ERR_OK);
  struct fields other;
  fields_open(&other, &own, limits);
  static char value[5000];
  memset(value, 'v', sizeof(value) - 1);
  assert_int_equal(fields_add(&other, t("a"), t("1")), ERR_OK);
  assert_int_equal(fields_add(&other, t("b"), t(value)), ERR_OVERLOADED);
  assert_int_equal(fields_add(&other, t("c"), t("2")), ERR_OK);
  assert_fields(&other, "{a: 1, c: 2}");
  fields_close(&other);
  struct chunk *taken = chunk_get(&own, CHUNK_SMALL);
  assert_int_equal(fields_add(&other, t("a"), t("1")), ERR_OVERLOADED);
  chunk_unref(taken);
  chunks_close(&own);
  /* large where small ones are out */
  assert_int_equal(chunks_open(&own, 0, 1, 0), ERR_OK);
  assert_int_equal(fields_add(&other, t("a"), t("1")), ERR_OK);
  fields_close(&other);
  chunks_close(&own);
}

static void test_head_texts(void **state) {
  (void)state;
  assert_text(head_method(&head), "");
  assert_int_equal(head_append(&head, &head.method, t("GE")), ERR_OK);
  assert_int_equal(head_append(&head, &head.method, t("T")), ERR_OK);
  assert_int_equal(head_set(&head, &head.target, t("/")), ERR_OK);
  assert_int_equal(fields_add(&head.fields, t("a"), t("1")), ERR_OK);
  assert_int_equal(head_set(&head, &head.authority, t("host")), ERR_OK);
  assert_int_equal(head_set(&head, &head.target, t("/2")), ERR_OK);
  assert_true(head_method_is(&head, "GET"));
  assert_false(head_method_is(&head, "GE"));
  assert_text(head_target(&head), "/2");
  assert_text(head_authority(&head), "host");
  assert_int_equal(head.fields.counted, 4 * 42 + 3 + 1 + 4 + 2 + 34);
  assert_int_equal(head_count(&head, limits.bytes), ERR_HEAD_TOO_LARGE);
}

static void test_move(void **state) {
  (void)state;
  struct head other;
  head_open(&other, &chunks, limits);
  assert_int_equal(head_set(&head, &head.method, t("PUT")), ERR_OK);
  assert_int_equal(fields_add(&head.fields, t("a"), t("1")), ERR_OK);
  head.close = true;
  head_move(&other, &head);
  assert_true(head_method_is(&other, "PUT") && other.close);
  assert_fields(&other.fields, "{a: 1}");
  assert_int_equal(head.fields.count, 0);
  assert_false(head.close);
  assert_text(head_method(&head), "");
  assert_int_equal(fields_add(&head.fields, t("b"), t("2")), ERR_OK);
  head_close(&other);
}

static void test_idempotent(void **state) {
  (void)state;
  static const char *const yes[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
  static const char *const no[] = {"POST", "PATCH", "get", "CONNECT", "GETT"};
  for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
    assert_int_equal(head_set(&head, &head.method, t(yes[i])), ERR_OK);
    assert_true(head_idempotent(&head));
  }
  for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
    assert_int_equal(head_set(&head, &head.method, t(no[i])), ERR_OK);
    assert_false(head_idempotent(&head));
  }
}

static void test_answers(void **state) {
  (void)state;
  assert_int_equal(head_answer(&head, 503, true, 5, "Thu, 01 Jan 1970 00:00:00 GMT"), ERR_OK);
  assert_int_equal(head.status, 503);
  assert_int_equal(head.body, BODY_SIZED);
  assert_int_equal(head.content_length, 5);
  assert_fields(&head.fields, "{content-type: text/plain;charset=UTF-8, server: ptproxy server, content-length: 5, "
                              "date: Thu, 01 Jan 1970 00:00:00 GMT, retry-after: 1}");
  head_close(&head);
  assert_int_equal(head_answer(&head, 400, false, 0, NULL), ERR_OK);
  assert_int_equal(head.body, BODY_NONE);
  assert_true(head.has_length);
  assert_fields(&head.fields, "{content-type: text/plain;charset=UTF-8, server: ptproxy client, content-length: 0}");
  head_close(&head);
  assert_int_equal(head_answer(&head, 405, false, 1, NULL), ERR_OK);
  assert_int_equal(fields_find(&head.fields, t("allow"), 0), 3);
}

/* --- HTTP/3: one section a row, as name US value RS ... -------------------------------------------------------------
 */

#define F(name, value) name "\x1f" value "\x1e"
#define M(method) F(":method", method)
#define S F(":scheme", "https")
#define P(path) F(":path", path)
#define A F(":authority", "a")
#define GET M("GET") S P("/") A

struct section {
  const char *name, *in;
  size_t len;
  const char *out; /* as printed, or the name of the error */
};
#define ROW(name, in, out)                                                                                             \
  { name, in, sizeof(in) - 1, out }
#define BAD "bad_message"

static const struct section requests[] = {
    ROW("simple", GET, "GET / a{} chunked"),
    ROW("order", A P("/x?y") S M("PUT") F("x", "y") F("x", ""), "PUT /x?y a{x: y, x: } chunked"),
    ROW("host only", M("GET") S P("/") F("host", "b:1") F("x", "y"), "GET / b:1{x: y} chunked"),
    ROW("host too", GET F("host", "A"), "GET / a{} chunked"),
    ROW("te", GET F("te", "trailers"), "GET / a{} te chunked"),
    ROW("length", GET F("content-length", "005"), "GET / a{content-length: 5} #5"),
    ROW("length 0", GET F("content-length", "0"), "GET / a{content-length: 0} #0"),
    ROW("expect", GET F("expect", "100-continue"), "GET / a{expect: 100-continue} 100 chunked"),
    ROW("cookies", GET F("cookie", "a") F("cookie", "b"), "GET / a{cookie: a, cookie: b} chunked"),
    ROW("OPTIONS *", M("OPTIONS") S P("*") A, "OPTIONS * a{} chunked"),
    ROW("OPTIONS * first", P("*") A S M("OPTIONS"), "OPTIONS * a{} chunked"),
    ROW("other scheme", M("GET") F(":scheme", "ftp+x.1-") P("/") A, "GET / a{} chunked"),
    ROW("8 bit", GET F("x", "\x80\xff \t."), "GET / a{x: \x80\xff \t.} chunked"),
    ROW("proxy fields go", GET F("proxy-authorization", "x") F("http2-settings", "y"), "GET / a{} chunked"),
    ROW("trailer stays", GET F("trailer", "x"), "GET / a{trailer: x} chunked"),
    ROW("H3-1 CRLF", GET F("x", "a\r\nx-inj: 1"), BAD),
    ROW("H3-1 LF", GET F("x", "a\nb"), BAD),
    ROW("H3-1 CR", GET F("x", "a\r"), BAD),
    ROW("H3-1 NUL", GET F("x", "a\0b"), BAD),
    ROW("H3-1 DEL", GET F("x", "\x7f"), BAD),
    ROW("H3-1 space before", GET F("x", " a"), BAD),
    ROW("H3-1 space after", GET F("x", "a "), BAD),
    ROW("H3-1 tab after", GET F("x", "a\t"), BAD),
    ROW("H3-1 tab", GET F("x", "\t"), BAD),
    ROW("H3-1 path", M("GET") S P("/\r\nx: y") A, BAD),
    ROW("H3-1 authority", M("GET") S P("/") F(":authority", "a\r\nx: y"), BAD),
    ROW("H3-1 method", M("GET / HTTP/1.1\r\nx: y") S P("/") A, BAD),
    ROW("H3-1 cookie", GET F("cookie", "a\nb"), BAD),
    ROW("H3-2 upper case", GET F("X", "y"), BAD),
    ROW("H3-2 space", GET F("x y", "z"), BAD),
    ROW("H3-2 colon", GET F("x:", "z"), BAD),
    ROW("H3-2 CR", GET F("x\r", "z"), BAD),
    ROW("H3-2 empty", GET F("", "z"), BAD),
    ROW("H3-2 8 bit", GET F("x\x80", "z"), BAD),
    ROW("H3-3 method twice", GET M("GET"), BAD),
    ROW("H3-3 path twice", GET P("/"), BAD),
    ROW("H3-3 authority twice", GET A, BAD),
    ROW("H3-3 unknown", GET F(":foo", "x"), BAD),
    ROW("H3-3 colon only", GET F(":", "x"), BAD),
    ROW("H3-3 after a field", M("GET") S P("/") F("x", "y") A, BAD),
    ROW("H3-3 no method", S P("/") A, BAD),
    ROW("H3-3 no scheme", M("GET") P("/") A, BAD),
    ROW("H3-3 no path", M("GET") S A, BAD),
    ROW("H3-3 nothing", "", BAD),
    ROW("H3-3 status", GET F(":status", "200"), BAD),
    ROW("H3-3 empty path", M("GET") S P("") A, BAD),
    ROW("empty method", M("") S P("/") A, BAD),
    ROW("odd method", M("G=T") S P("/") A, BAD),
    ROW("empty scheme", M("GET") F(":scheme", "") P("/") A, BAD),
    ROW("odd scheme", M("GET") F(":scheme", "ht tp") P("/") A, BAD),
    ROW("digit scheme", M("GET") F(":scheme", "1http") P("/") A, BAD),
    ROW("H3-4 x", M("GET") S P("x") A, BAD),
    ROW("H3-4 x, ftp", M("GET") F(":scheme", "ftp") P("x") A, BAD),
    ROW("H3-4 star and space", M("OPTIONS") S P("* ") A, BAD),
    ROW("H3-4 GET *", M("GET") S P("*") A, BAD),
    ROW("H3-4 space", M("GET") S P("/a b") A, BAD),
    ROW("H3-4 tab", M("GET") S P("/\t") A, BAD),
    ROW("H3-4 //h/x", M("GET") S P("//h/x") A, "GET //h/x a{} chunked"),
    ROW("H3-4 version", M("GET") S P("/a HTTP/1.1") A, BAD),
    ROW("H3-4 fragment", M("GET") S P("/#f") A, BAD),
    ROW("H3-4 8 bit", M("GET") S P("/\x80") A, BAD),
    ROW("H3-4 absolute", M("GET") S P("http://b/") A, BAD),
    ROW("H3-5 differ", GET F("host", "b"), BAD),
    ROW("H3-5 two", GET F("host", "a") F("host", "a"), BAD),
    ROW("H3-5 two alone", M("GET") S P("/") F("host", "a") F("host", "a"), BAD),
    ROW("H3-5 none", M("GET") S P("/"), BAD),
    ROW("H3-5 empty", M("GET") S P("/") F(":authority", ""), BAD),
    ROW("H3-5 empty, host", M("GET") S P("/") F(":authority", "") F("host", "a"), BAD),
    ROW("H3-5 userinfo", M("GET") S P("/") F(":authority", "u@a"), BAD),
    ROW("H3-5 comma", M("GET") S P("/") F(":authority", "a,b"), BAD),
    ROW("H3-5 space", M("GET") S P("/") F(":authority", "a b"), BAD),
    ROW("H3-6 connection", GET F("connection", "close"), BAD),
    ROW("H3-6 keep-alive", GET F("keep-alive", "1"), BAD),
    ROW("H3-6 proxy-connection", GET F("proxy-connection", "x"), BAD),
    ROW("H3-6 transfer-encoding", GET F("transfer-encoding", "chunked"), BAD),
    ROW("H3-6 upgrade", GET F("upgrade", "h2c"), BAD),
    ROW("H3-6 te", GET F("te", "gzip"), BAD),
    ROW("H3-6 te list", GET F("te", "trailers, gzip"), BAD),
    ROW("H3-7 twice", GET F("content-length", "5") F("content-length", "5"), BAD),
    ROW("H3-7 +5", GET F("content-length", "+5"), BAD),
    ROW("H3-7 empty", GET F("content-length", ""), BAD),
    ROW("H3-7 huge", GET F("content-length", "4611686018427387904"), BAD),
    ROW("H3-10 CONNECT", M("CONNECT") A, "connect_method"),
    ROW("H3-10 CONNECT with a path", M("CONNECT") S P("/") A, "connect_method"),
    ROW("H3-10 protocol", M("CONNECT") F(":protocol", "websocket") S P("/") A, BAD),
    ROW("expect other", GET F("expect", "x"), "expectation"),
    ROW("expect twice", GET F("expect", "100-continue") F("expect", "100-continue"), "expectation"),
};

#define STATUS(code) F(":status", code)

static const struct section responses[] = {
    ROW("simple", STATUS("200") F("x", "y"), "200{x: y} chunked"),
    ROW("length", STATUS("200") F("content-length", "5"), "200{content-length: 5} #5"),
    ROW("103", STATUS("103") F("link", "x"), "103{link: x}"),
    ROW("100 with length", STATUS("100") F("content-length", "5"), "100{}"),
    ROW("204", STATUS("204"), "204{}"),
    ROW("204 with length", STATUS("204") F("content-length", "0"), "204{}"),
    ROW("304", STATUS("304") F("content-length", "5"), "304{content-length: 5} #5"),
    ROW("999", STATUS("999"), "999{} chunked"),
    ROW("101", STATUS("101"), BAD),
    ROW("none", F("x", "y"), BAD),
    ROW("two digits", STATUS("20"), BAD),
    ROW("four digits", STATUS("0200"), BAD),
    ROW("099", STATUS("099"), BAD),
    ROW("letters", STATUS("2xx"), BAD),
    ROW("twice", STATUS("200") STATUS("200"), BAD),
    ROW("after a field", F("x", "y") STATUS("200"), BAD),
    ROW("request's", STATUS("200") P("/"), BAD),
    ROW("connection", STATUS("200") F("connection", "close"), BAD),
    ROW("two lengths", STATUS("200") F("content-length", "5") F("content-length", "5"), BAD),
    ROW("CR", STATUS("200") F("x", "a\rb"), BAD),
};

static const struct section trailers[] = {
    ROW("empty", "", "{}"),
    ROW("kept", F("x-sum", "1") F("y", ""), "{x-sum: 1, y: }"),
    ROW("dropped",
        F("content-length", "1") F("host", "a") F("authorization", "a") F("cookie", "a") F("set-cookie", "a")
            F("te", "trailers") F("trailer", "x") F("content-type", "x") F("x", "y") F("proxy-authorization", "b"),
        "{x: y}"),
    ROW("pseudo", F(":path", "/"), BAD),
    ROW("upper case", F("X", "y"), BAD),
    ROW("CRLF", F("x", "y\r\nz: a"), BAD),
    ROW("connection", F("connection", "close"), BAD),
    ROW("transfer-encoding", F("transfer-encoding", "chunked"), BAD),
};

/* The next field of |row|; false after the last. */
static bool next_field(const char **at, const char *end, struct bytes *name, struct bytes *value) {
  if (*at == end)
    return false;
  const char *unit = memchr(*at, 0x1f, (size_t)(end - *at));
  assert_non_null(unit);
  const char *record = memchr(unit, 0x1e, (size_t)(end - unit));
  assert_non_null(record);
  *name = bytes_of(*at, (size_t)(unit - *at));
  *value = bytes_of(unit + 1, (size_t)(record - unit - 1));
  *at = record + 1;
  return true;
}

static enum err add_section(const struct section *row, bool response, bool no_body) {
  struct bytes name, value;
  const char *at = row->in;
  while (next_field(&at, row->in + row->len, &name, &value)) {
    enum err err = head_add_http3(&head, response, name, value);
    if (err != ERR_OK)
      return err;
  }
  return response ? head_check_response_http3(&head, no_body) : head_check_request_http3(&head);
}

static void check_section(const struct section *row, bool response) {
  struct text out = {.data = NULL};
  enum err err = add_section(row, response, false);
  if (err != ERR_OK)
    text_print(&out, "%s", err_name(err));
  else
    print_head(&out, &head);
  if (strcmp(out.data, row->out) != 0)
    fail_msg("%s: have %s, want %s", row->name, out.data, row->out);
  text_free(&out);
  head_close(&head);
}

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static void test_requests(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(requests); i++)
    check_section(&requests[i], false);
}

static void test_responses(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(responses); i++)
    check_section(&responses[i], true);
  const struct section length = ROW("HEAD", STATUS("200") F("content-length", "5"), "");
  assert_int_equal(add_section(&length, true, true), ERR_OK);
  assert_int_equal(head.body, BODY_NONE);
  assert_true(head.has_length && head.content_length == 5);
}

static void test_trailers(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(trailers); i++) {
    struct bytes name, value;
    const char *at = trailers[i].in;
    enum err err = ERR_OK;
    while (err == ERR_OK && next_field(&at, trailers[i].in + trailers[i].len, &name, &value))
      err = trailers_add_http3(&list, name, value);
    if (err == ERR_OK)
      err = trailers_check(&list);
    if (err != ERR_OK)
      assert_string_equal(err_name(err), trailers[i].out);
    else
      assert_fields(&list, trailers[i].out);
    fields_close(&list);
  }
}

static void test_http3_limits(void **state) {
  (void)state;
  static char value[20000];
  memset(value, 'v', sizeof(value) - 1);
  assert_int_equal(head_add_http3(&head, false, t(":path"), t(value)), ERR_BAD_MESSAGE);
  value[0] = '/';
  head_close(&head);
  assert_int_equal(head_add_http3(&head, false, t(":path"), t(value)), ERR_HEAD_TOO_LARGE);
  head_close(&head);
  assert_int_equal(head_add_http3(&head, false, t("x"), t(value)), ERR_HEAD_TOO_LARGE);
  head_close(&head);
  assert_int_equal(head_add_http3(&head, false, t("proxy-authorization"), t(value)), ERR_HEAD_TOO_LARGE);
  head_close(&head);
  enum err err = ERR_OK;
  for (uint32_t i = 0; i < 65; i++) {
    assert_int_equal(err, ERR_OK);
    err = head_add_http3(&head, true, t("x"), t(""));
  }
  assert_int_equal(err, ERR_HEAD_TOO_LARGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_pieces),       TEST(test_find_and_remove), TEST(test_growth),    TEST(test_limits),
      TEST(test_shortage),     TEST(test_head_texts),      TEST(test_move),      TEST(test_idempotent),
      TEST(test_answers),      TEST(test_requests),        TEST(test_responses), TEST(test_trailers),
      TEST(test_http3_limits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
