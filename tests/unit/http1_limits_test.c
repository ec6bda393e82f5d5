/* http1_read beyond the table of http1_read_test.c: limits, long inputs, shortage, where input ends, API states. */
#include "unit/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/support_http1.h"

static struct chunks chunks;
static const struct head_limits limits = {4096, 20};

static int set_up(void **state) {
  (void)state;
  return chunks_open(&chunks, 64, 16, 512) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  return chunks_end(&chunks);
}

static void repeat(struct text *in, const char *what, uint32_t times) {
  while (times-- > 0)
    text_add(in, what, strlen(what));
}

/* Reads |in| (and frees it) in pieces of |each|, and compares the last |strlen(end)| characters of the outcome. */
static void reads_limited(struct text *in, enum http1_role role, struct head_limits own, uint32_t each,
                          const char *end) {
  struct text out = {.data = NULL};
  print_messages(&out, &chunks, own, role, false, in->data, in->len, (struct arrival){each, each});
  if (out.len < strlen(end) || strcmp(out.data + out.len - strlen(end), end) != 0)
    fail_msg("have %.500s, want ...%s", out.data, end);
  text_free(&out);
  text_free(in);
  assert_int_equal(pools_live(), 0);
}

static void reads(struct text *in, enum http1_role role, const char *end) {
  reads_limited(in, role, limits, 60000, end);
}

static struct text begin(const char *what) {
  struct text in = {.data = NULL};
  text_add(&in, what, strlen(what));
  return in;
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

static void test_long_lines(void **state) {
  (void)state;
  struct text in = begin("GET /");
  repeat(&in, "x", 65536);
  reads(&in, HTTP1_READS_REQUESTS, "!target_too_long");
  in = begin("");
  repeat(&in, "G", 65536);
  reads(&in, HTTP1_READS_REQUESTS, "!bad_request");
  in = begin("");
  repeat(&in, "G", 64);
  text_print(&in, " / HTTP/1.1\r\nHost: a\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "GG / a{} \"\" | ");
  in = begin("");
  repeat(&in, "G", 65);
  text_print(&in, " / HTTP/1.1\r\nHost: a\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "!bad_request");
  in = begin("GET / HTTP/");
  repeat(&in, "1", 65536);
  reads(&in, HTTP1_READS_REQUESTS, "!bad_request");
  in = begin("HTTP/1.1 200 ");
  repeat(&in, "OK", 65536);
  reads(&in, HTTP1_READS_RESPONSES, "!origin_bad_response");
  in = begin("GET / HTTP/1.1\r\nHost: ");
  repeat(&in, "a", 8192);
  text_print(&in, "\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "!head_too_large");
}

/* H1-28 */
static void test_large_heads(void **state) {
  (void)state;
  struct text in = begin(GET "X: ");
  repeat(&in, "x", 1 << 20);
  reads(&in, HTTP1_READS_REQUESTS, "!head_too_large");
  in = begin(GET);
  repeat(&in, "X: y\r\n", 10000);
  reads(&in, HTTP1_READS_REQUESTS, "!head_too_large");
  in = begin(GET "X:");
  repeat(&in, " ", 1 << 20);
  reads(&in, HTTP1_READS_REQUESTS, "!head_too_large");
  in = begin(GET "X: y");
  repeat(&in, " ", 1 << 20);
  reads(&in, HTTP1_READS_REQUESTS, "!head_too_large");
  in = begin(GET);
  repeat(&in, "n", 257);
  text_print(&in, ": y\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "!head_too_large");
  in = begin("HTTP/1.1 200 OK\r\n");
  repeat(&in, "Set-Cookie: a=b\r\n", 500);
  text_print(&in, "\r\n");
  reads(&in, HTTP1_READS_RESPONSES, "!origin_bad_response");
}

/* H1-28: the count and the bytes, just under and just over; H1-38 */
static void test_limits_are_exact(void **state) {
  (void)state;
  for (uint32_t count = 19; count <= 20; count++) { /* and Host */
    struct text in = begin(GET);
    repeat(&in, "X: y\r\n", count);
    text_print(&in, "\r\n");
    reads(&in, HTTP1_READS_REQUESTS, count == 19 ? "x: y} \"\" | " : "!head_too_large");
  }
  /* request line: 2 * 42 + "GET" + "/" + 90; Host: 32 + 5; X: 32 + 1 + n */
  const uint32_t rest = 84 + 4 + 90 + 37 + 33;
  for (uint32_t over = 0; over <= 1; over++) {
    struct text in = begin(GET "X: ");
    repeat(&in, "y", limits.bytes - rest + over);
    text_print(&in, "\r\n\r\n");
    reads(&in, HTTP1_READS_REQUESTS, over == 0 ? "yyy} \"\" | " : "!head_too_large");
  }
  struct text in = begin("HTTP/1.1 200 OK\r\n");
  repeat(&in, "Set-Cookie: a=b\r\n", 500);
  text_print(&in, "Content-Length: 0\r\n\r\n");
  reads_limited(&in, HTTP1_READS_RESPONSES, (struct head_limits){65536, 1024}, 60000, "#0 \"\" | !origin_closed");
}

static void test_largest_head(void **state) {
  (void)state;
  struct text in = begin(GET);
  for (uint32_t i = 0; i < 1000; i++)
    text_print(&in, "X%u: %u\r\n", i, i);
  text_print(&in, "Y: ");
  repeat(&in, "y", 20000);
  text_print(&in, "\r\n\r\n");
  reads_limited(&in, HTTP1_READS_REQUESTS, (struct head_limits){65536, 1024}, 1000, "yyy} \"\" | ");
}

static void test_many_connection_names(void **state) {
  (void)state;
  for (uint32_t count = 32; count <= 33; count++) {
    struct text in = begin(GET "A: 1\r\nConnection: close");
    repeat(&in, ",a", count);
    text_print(&in, "\r\n\r\n");
    reads(&in, HTTP1_READS_REQUESTS, count == 32 ? "GET / a{} close \"\" | " : "!head_too_large");
  }
}

/* H1-14 */
static void test_chunk_extensions(void **state) {
  (void)state;
  struct text in = begin(CHUNKED "5;");
  repeat(&in, "a", 65536);
  text_print(&in, "\r\nhello\r\n0\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "\"\"~3!bad_request");
  in = begin(CHUNKED);
  repeat(&in, "1;abc=def\r\nx\r\n", 2000);
  text_print(&in, "0\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "x\"~3!bad_request");
  in = begin(CHUNKED);
  repeat(&in, "1;abc=def\r\nx\r\n", 400);
  text_print(&in, "0\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "x\" | ");
}

static void test_chunk_overhead(void **state) {
  (void)state;
  struct text in = begin(CHUNKED);
  repeat(&in, "0", 65536);
  reads(&in, HTTP1_READS_REQUESTS, "\"\"~3!bad_request");
  in = begin(CHUNKED);
  repeat(&in, "0000000000000001\r\nx\r\n", 2000);
  text_print(&in, "0\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "x\" | ");
}

static void test_trailers_are_limited(void **state) {
  (void)state;
  struct text in = begin(CHUNKED "0\r\n");
  repeat(&in, "X: y\r\n", 21);
  text_print(&in, "\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "~3!head_too_large");
  in = begin(CHUNKED "0\r\nX: ");
  repeat(&in, "y", 5000);
  text_print(&in, "\r\n\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "~3!head_too_large");
  in = begin(CHUNKED "0\r\nX:");
  repeat(&in, " ", 50000);
  reads(&in, HTTP1_READS_REQUESTS, "~3!bad_request");
  in = begin(CHUNKED "0\r\n");
  repeat(&in, "X: y\r\n", 20);
  text_print(&in, "\r\n");
  reads(&in, HTTP1_READS_REQUESTS, "x: y} | ");
}

/* H1-35 */
static void test_informational_flood(void **state) {
  (void)state;
  for (uint32_t count = 16; count <= 17; count++) {
    struct text in = begin("");
    repeat(&in, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", count);
    text_print(&in, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    reads(&in, HTTP1_READS_RESPONSES, count == 16 ? "#0 \"\" | !origin_closed" : "!origin_bad_response");
  }
}

/* H1-26 */
static void test_pipeline(void **state) {
  (void)state;
  struct text in = begin("");
  for (uint32_t i = 0; i < 100; i++)
    text_print(&in, i == 50 ? "GET /%u HTTP/1.1\r\nHost: a b\r\n\r\n" : "GET /%u HTTP/1.1\r\nHost: a\r\n\r\n", i);
  reads(&in, HTTP1_READS_REQUESTS, "GET /49 a{} \"\" | !bad_host");
}

static void test_large_bodies(void **state) {
  (void)state;
  static const uint32_t pieces[] = {1000, 4000, 17, 60000};
  for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
    struct text in = begin("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    repeat(&in, "0123456789", 20000);
    reads_limited(&in, HTTP1_READS_REQUESTS, limits, pieces[i], "0123456789\" | ");
    in = begin(CHUNKED);
    for (uint32_t chunk = 1; chunk < 300; chunk++) {
      text_print(&in, "%x\r\n", chunk);
      repeat(&in, "y", chunk);
      text_print(&in, "\r\n");
    }
    text_print(&in, "0\r\n\r\n");
    reads_limited(&in, HTTP1_READS_REQUESTS, limits, pieces[i], "yyy\" | ");
  }
}

static struct chunk *filled(const char *bytes) {
  struct chunk *chunk = chunk_get(&chunks, CHUNK_LARGE);
  assert_non_null(chunk);
  chunk->used = (uint32_t)strlen(bytes);
  memcpy(chunk->data, bytes, chunk->used);
  return chunk;
}

/* The steps one by one: what is consumed when, what is told in between. */
static void test_offsets(void **state) {
  (void)state;
  struct http1_reader reader;
  struct message message;
  struct chunk *chunk = filled("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET");
  uint32_t offset = 0;
  http1_reader_open(&reader, HTTP1_READS_REQUESTS);
  assert_int_equal(http1_read_end(&reader), HTTP1_MORE);
  message_open(&message, &chunks, limits);
  http1_reader_next(&reader, &message.head, &message.body, &message.trailers, false);
  assert_int_equal(http1_read_end(&reader), HTTP1_MORE);
  assert_int_equal(http1_read(&reader, chunk, &offset, 0), HTTP1_MORE);
  assert_false(http1_reader_started(&reader));
  assert_int_equal(http1_read(&reader, chunk, &offset, 10), HTTP1_MORE);
  assert_int_equal(offset, 10);
  assert_true(http1_reader_started(&reader));
  assert_int_equal(http1_read(&reader, chunk, &offset, chunk->used), HTTP1_HEAD);
  assert_int_equal(offset, chunk->used - 6);
  assert_int_equal(http1_read(&reader, chunk, &offset, offset), HTTP1_MORE);
  assert_int_equal(http1_read(&reader, chunk, &offset, offset + 1), HTTP1_MORE);
  assert_int_equal(reader.body_bytes, 1);
  assert_int_equal(http1_read(&reader, chunk, &offset, chunk->used), HTTP1_MESSAGE);
  assert_int_equal(offset, chunk->used - 3);
  assert_int_equal(http1_reader_error(&reader), ERR_OK);
  assert_false(http1_reader_started(&reader));
  assert_int_equal(http1_read_end(&reader), HTTP1_MORE);
  message_close(&message);
  chunk_unref(chunk);
}

/* A message without a body is complete although no byte is left to be read. */
static void test_no_body_at_the_end_of_input(void **state) {
  (void)state;
  struct http1_reader reader;
  struct message message;
  struct chunk *chunk = filled(GET "\r\n");
  for (int ended = 0; ended <= 1; ended++) {
    uint32_t offset = 0;
    message_open(&message, &chunks, limits);
    http1_reader_open(&reader, HTTP1_READS_REQUESTS);
    http1_reader_next(&reader, &message.head, &message.body, &message.trailers, false);
    assert_int_equal(http1_read(&reader, chunk, &offset, chunk->used), HTTP1_HEAD);
    assert_int_equal(offset, chunk->used);
    assert_int_equal(message.body.end, FLOW_OPEN);
    assert_int_equal(ended ? http1_read_end(&reader) : http1_read(&reader, chunk, &offset, offset), HTTP1_MESSAGE);
    assert_int_equal(message.body.end, FLOW_EOF);
    message_close(&message);
  }
  chunk_unref(chunk);
}

/* The body of a flow that nobody wants any more is read all the same. */
static void test_cancelled_flow(void **state) {
  (void)state;
  struct http1_reader reader;
  struct message message;
  struct chunk *chunk = filled(CHUNKED "3\r\nabc\r\n0\r\n\r\n");
  uint32_t offset = 0;
  message_open(&message, &chunks, limits);
  http1_reader_open(&reader, HTTP1_READS_REQUESTS);
  http1_reader_next(&reader, &message.head, &message.body, &message.trailers, false);
  assert_int_equal(http1_read(&reader, chunk, &offset, chunk->used), HTTP1_HEAD);
  flow_end(&message.body, FLOW_CANCELLED, ERR_CLIENT_GONE);
  assert_int_equal(http1_read(&reader, chunk, &offset, chunk->used), HTTP1_MESSAGE);
  assert_int_equal(message.body.end, FLOW_CANCELLED);
  assert_int_equal(message.body.pushed, 0);
  assert_int_equal(reader.body_bytes, 3);
  message_close(&message);
  chunk_unref(chunk);
}

/* Every pool operation of the way fails once: the message is broken as overloaded, and nothing is lost. */
static void test_shortage(void **state) {
  (void)state;
  static const char in[] = GET "Transfer-Encoding: chunked\r\nX: y\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n";
  for (uint32_t small = 0; small <= 3; small++)
    for (uint32_t spans = 0; spans <= 1; spans++) {
      struct chunks own;
      struct http1_reader reader;
      struct message message;
      assert_int_equal(chunks_open(&own, small, 0, spans), ERR_OK);
      struct chunk *chunk = filled(in);
      message_open(&message, &own, limits);
      http1_reader_open(&reader, HTTP1_READS_REQUESTS);
      http1_reader_next(&reader, &message.head, &message.body, &message.trailers, false);
      uint32_t offset = 0;
      enum http1_step step = http1_read(&reader, chunk, &offset, chunk->used);
      assert_int_equal(step, small == 0 ? HTTP1_BROKEN : HTTP1_HEAD);
      if (step == HTTP1_HEAD)
        step = http1_read(&reader, chunk, &offset, chunk->used);
      assert_int_equal(step, small == 3 && spans == 1 ? HTTP1_MESSAGE : HTTP1_BROKEN);
      if (step == HTTP1_BROKEN) {
        assert_int_equal(http1_reader_error(&reader), ERR_OVERLOADED);
        assert_int_equal(message.body.end, FLOW_ABORTED);
        assert_int_equal(http1_read_end(&reader), HTTP1_BROKEN);
      }
      message_close(&message);
      chunk_unref(chunk);
      chunks_close(&own);
    }
}

static void test_shortage_in_plain_bodies(void **state) {
  (void)state;
  static const char *const heads[] = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "HTTP/1.1 200 OK\r\n\r\nab"};
  for (size_t i = 0; i < 2; i++) {
    struct chunks own;
    struct http1_reader reader;
    struct message message;
    uint32_t offset = 0;
    assert_int_equal(chunks_open(&own, 1, 0, 0), ERR_OK);
    struct chunk *chunk = filled(heads[i]);
    message_open(&message, &own, limits);
    http1_reader_open(&reader, HTTP1_READS_RESPONSES);
    http1_reader_next(&reader, &message.head, &message.body, &message.trailers, false);
    assert_int_equal(http1_read(&reader, chunk, &offset, chunk->used), HTTP1_HEAD);
    assert_int_equal(http1_read(&reader, chunk, &offset, chunk->used), HTTP1_BROKEN);
    assert_int_equal(http1_reader_error(&reader), ERR_OVERLOADED);
    message_close(&message);
    chunk_unref(chunk);
    chunks_close(&own);
  }
}

static void read_without_next(void *context) {
  struct http1_reader reader;
  uint32_t offset = 0;
  http1_reader_open(&reader, HTTP1_READS_REQUESTS);
  http1_read(&reader, context, &offset, 1);
}

static void test_misuse(void **state) {
  (void)state;
  struct chunk *chunk = filled(GET);
  assert_true(dies(read_without_next, chunk, "never"));
  chunk_unref(chunk);
}

/* Bytes without any sense, and a good message with a few bytes changed: no crash, no leak, the same outcome at any
   split. */
static void test_noise(void **state) {
  (void)state;
  static const char base[] =
      "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: x, close\r\nX: 1\r\n"
      "\r\n5;a=\"b\"\r\nhello\r\n0\r\nT: u\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n";
  static const char spice[] = "\r\n\t :;,=0aA\x7f\x80\"\\x";
  uint64_t seed = 20260820;
  for (int round = 0; round < 20000; round++) {
    char in[sizeof(base)];
    memcpy(in, base, sizeof(base));
    for (uint32_t changes = 1 + draw_below(&seed, 3); changes > 0; changes--)
      in[draw_below(&seed, sizeof(base) - 1)] = spice[draw_below(&seed, sizeof(spice))];
    struct text whole = {.data = NULL}, split = {.data = NULL};
    struct arrival arrival = {1 + draw_below(&seed, sizeof(base) - 2), draw_below(&seed, 9)};
    print_messages(&whole, &chunks, limits, HTTP1_READS_REQUESTS, false, in, sizeof(in) - 1, (struct arrival){0, 0});
    print_messages(&split, &chunks, limits, HTTP1_READS_REQUESTS, false, in, sizeof(in) - 1, arrival);
    if (strcmp(whole.data, split.data) != 0)
      fail_msg("round %d:\n%s\nwhole %s\nsplit %s", round, in, whole.data, split.data);
    text_free(&whole);
    text_free(&split);
  }
  assert_int_equal(pools_live(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_long_lines),
      TEST(test_large_heads),
      TEST(test_limits_are_exact),
      TEST(test_largest_head),
      TEST(test_many_connection_names),
      TEST(test_chunk_extensions),
      TEST(test_chunk_overhead),
      TEST(test_trailers_are_limited),
      TEST(test_informational_flood),
      TEST(test_pipeline),
      TEST(test_large_bodies),
      TEST(test_offsets),
      TEST(test_no_body_at_the_end_of_input),
      TEST(test_cancelled_flow),
      TEST(test_shortage),
      TEST(test_shortage_in_plain_bodies),
      TEST(test_misuse),
      TEST(test_noise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
