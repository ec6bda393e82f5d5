#include "unit/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "proto/http1_write.h"
#include "unit/support_http1.h"

static struct chunks chunks;
static const struct head_limits limits = {65536, 1024};
static const struct http1_reply_style plain = {.keep_alive = true};
static struct http1_writer writer;
static struct message message;
static struct text sent;

static int set_up(void **state) {
  (void)state;
  if (chunks_open(&chunks, 512, 96, 2048) != ERR_OK)
    return -1;
  http1_writer_open(&writer, &chunks);
  message_open(&message, &chunks, limits);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  http1_writer_close(&writer);
  message_close(&message);
  text_free(&sent);
  return chunks_end(&chunks);
}

static struct bytes t(const char *text) { return bytes_of_text(text); }

static void reset(void) {
  http1_writer_close(&writer);
  message_close(&message);
  message_open(&message, &chunks, limits);
  text_free(&sent);
}

/* One round of filling and sending |part| bytes of what is lent (all of it when that is less). */
static size_t round_of(size_t max, size_t part) {
  struct iovec iov[HTTP1_WRITE_IOV_MAX];
  size_t count = http1_writer_fill(&writer, iov, max), lent = 0, left;
  must(count <= max);
  for (size_t i = 0; i < count; i++) {
    must(iov[i].iov_len > 0);
    lent += iov[i].iov_len;
  }
  part = left = part < lent ? part : lent;
  for (size_t i = 0; i < count && left > 0; i++) {
    size_t len = iov[i].iov_len < left ? iov[i].iov_len : left;
    text_add(&sent, iov[i].iov_base, len);
    left -= len;
  }
  http1_writer_sent(&writer, part);
  return part;
}

static enum http1_progress send_all(void) {
  while (http1_writer_progress(&writer) == HTTP1_WRITING)
    assert_true(round_of(HTTP1_WRITE_IOV_MAX, SIZE_MAX) > 0);
  return http1_writer_progress(&writer);
}

static void assert_sent(const char *want) {
  const char *have = sent.data != NULL ? sent.data : "";
  if (strcmp(have, want) != 0)
    fail_msg("have:\n%s\nwant:\n%s", have, want);
}

static void push(const char *text) { assert_int_equal(flow_push_copy(&message.body, text, strlen(text)), ERR_OK); }
static void end_body(void) { flow_end(&message.body, FLOW_EOF, ERR_OK); }

/* A head that came over HTTP/3; |fields| as name, value, ..., NULL. */
static void add_fields(bool response, const char *const *fields) {
  for (; fields[0] != NULL; fields += 2)
    assert_int_equal(head_add_http3(&message.head, response, t(fields[0]), t(fields[1])), ERR_OK);
}

#define REQUEST(...)                                                                                                   \
  do {                                                                                                                 \
    add_fields(false, (const char *const[]){":scheme", "http", ":authority", "a.example:80", __VA_ARGS__, NULL});      \
    assert_int_equal(head_check_request_http3(&message.head), ERR_OK);                                                 \
  } while (0)

#define RESPONSE(...)                                                                                                  \
  do {                                                                                                                 \
    add_fields(true, (const char *const[]){__VA_ARGS__, NULL});                                                        \
    assert_int_equal(head_check_response_http3(&message.head, false), ERR_OK);                                         \
  } while (0)

static void write_request(void) {
  assert_int_equal(http1_write_request(&writer, &message.head, &message.body, &message.trailers), ERR_OK);
}

static bool write_response(const struct http1_reply_style *style) {
  bool close = false;
  assert_int_equal(http1_write_response(&writer, &message.head, &message.body, &message.trailers, style, &close),
                   ERR_OK);
  return close;
}

/* --- requests ------------------------------------------------------------------------------------------------------
 */

static void test_request_without_body(void **state) {
  (void)state;
  assert_int_equal(http1_writer_progress(&writer), HTTP1_WRITTEN);
  REQUEST(":method", "GET", ":path", "/x?y", "x-request-id", "1", "accept", "*/*", "www-authenticate", "2", "x-", "",
          "9a-b", "c");
  end_body();
  write_request();
  assert_int_equal(http1_writer_progress(&writer), HTTP1_WRITING);
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_sent("GET /x?y HTTP/1.1\r\nHost: a.example:80\r\nX-Request-Id: 1\r\nAccept: */*\r\nWww-Authenticate: 2\r\n"
              "X-: \r\n9a-B: c\r\n\r\n");
}

/* Known to be empty by the time that the head is written: not chunked (RELIABILITY.md H3-8). */
static void test_request_that_is_empty(void **state) {
  (void)state;
  static const char *const rows[][2] = {{"GET", ""}, {"BREW", ""}, {"POST", "Content-Length: 0\r\n"}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    char want[100];
    reset();
    REQUEST(":method", rows[i][0], ":path", "/");
    end_body();
    write_request();
    assert_int_equal(send_all(), HTTP1_WRITTEN);
    snprintf(want, sizeof(want), "%s / HTTP/1.1\r\nHost: a.example:80\r\n%s\r\n", rows[i][0], rows[i][1]);
    assert_sent(want);
  }
}

static void test_request_cookies_and_te(void **state) {
  (void)state;
  REQUEST(":method", "DELETE", ":path", "/", "cookie", "a=1", "x", "y", "te", "trailers", "cookie", "b=2", "cookie",
          "c=3", "content-length", "0");
  write_request();
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_sent("DELETE / HTTP/1.1\r\nHost: a.example:80\r\nCookie: a=1; b=2; c=3\r\nX: y\r\nContent-Length: 0\r\n"
              "TE: trailers\r\nConnection: TE\r\n\r\n");
}

static void test_empty_cookies(void **state) {
  (void)state;
  REQUEST(":method", "GET", ":path", "/", "content-length", "0", "cookie", "", "cookie", "a=1", "cookie", "", "cookie",
          "b=2", "cookie", "");
  write_request();
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_sent("GET / HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 0\r\nCookie: a=1; b=2\r\n\r\n");
}

static void test_request_by_length(void **state) {
  (void)state;
  REQUEST(":method", "POST", ":path", "/", "content-length", "5");
  push("hel");
  write_request();
  assert_int_equal(send_all(), HTTP1_WAITING);
  assert_sent("POST / HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 5\r\n\r\nhel");
  assert_int_equal(message.body.released, 3);
  push("lo");
  assert_int_equal(send_all(), HTTP1_WAITING);
  end_body();
  assert_int_equal(http1_writer_progress(&writer), HTTP1_WRITTEN);
  assert_int_equal(message.body.released, 5);
  message.body.end = FLOW_CANCELLED; /* nobody looks any more */
  assert_int_equal(round_of(HTTP1_WRITE_IOV_MAX, SIZE_MAX), 0);
  message_close(&message); /* the next message may start although the writer was not told */
  message_open(&message, &chunks, limits);
  REQUEST(":method", "GET", ":path", "/");
  end_body();
  write_request();
  assert_int_equal(send_all(), HTTP1_WRITTEN);
}

static void test_request_by_chunks(void **state) {
  (void)state;
  REQUEST(":method", "POST", ":path", "/");
  write_request();
  assert_int_equal(send_all(), HTTP1_WAITING);
  push("0123456789abcdef");
  assert_int_equal(send_all(), HTTP1_WAITING);
  end_body();
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_sent("POST / HTTP/1.1\r\nHost: a.example:80\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n"
              "0\r\n\r\n");
}

/* --- responses -----------------------------------------------------------------------------------------------------
 */

static void test_small_message_is_one_fill(void **state) {
  (void)state;
  for (int trailers = 0; trailers <= 1; trailers++) {
    reset();
    RESPONSE(":status", "200", "x", "y");
    if (trailers)
      assert_int_equal(trailers_add_http3(&message.trailers, t("x-sum"), t("1")), ERR_OK);
    push("hello");
    end_body();
    assert_false(write_response(&plain));
    round_of(HTTP1_WRITE_IOV_MAX, SIZE_MAX);
    assert_int_equal(http1_writer_progress(&writer), HTTP1_WRITTEN);
    assert_sent(trailers
                    ? "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
                    : "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
  }
}

static void test_empty_chunked_body(void **state) {
  (void)state;
  RESPONSE(":status", "200");
  assert_int_equal(trailers_add_http3(&message.trailers, t("x"), t("1")), ERR_OK);
  assert_int_equal(trailers_add_http3(&message.trailers, t("host"), t("gone")), ERR_OK);
  assert_int_equal(trailers_check(&message.trailers), ERR_OK);
  end_body();
  write_response(&plain);
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_sent("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\r\n");
}

struct style_row {
  const char *status, *length; /* "": none */
  struct http1_reply_style style;
  const char *out;
  bool close;
};

#define HTTP10 .client_http10 = true
#define KEEP .keep_alive = true
#define HEAD_ .request_was_head = true

static const struct style_row style_rows[] = {
    {"200", "5", {KEEP}, "200 OK\r\nContent-Length: 5\r\n\r\nhello", false},
    {"200", "5", {.client_http10 = false}, "200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", true},
    {"200", "5", {HTTP10, KEEP}, "200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", false},
    {"200", "5", {HTTP10}, "200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", true},
    {"200", "", {KEEP}, "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false},
    {"200", "", {HTTP10, KEEP}, "200 OK\r\nConnection: close\r\n\r\nhello", true},
    {"200", "5", {HEAD_, KEEP}, "200 OK\r\nContent-Length: 5\r\n\r\n", false},
    {"200", "", {HEAD_, KEEP}, "200 OK\r\n\r\n", false},
    {"200", "", {HEAD_, HTTP10, KEEP}, "200 OK\r\nConnection: keep-alive\r\n\r\n", false},
    {"304", "5", {KEEP}, "304 Not Modified\r\nContent-Length: 5\r\n\r\n", false},
    {"204", "", {KEEP}, "204 No Content\r\n\r\n", false},
    {"404", "0", {KEEP}, "404 Not Found\r\nContent-Length: 0\r\n\r\n", false},
    {"299", "0", {KEEP}, "299 Unknown\r\nContent-Length: 0\r\n\r\n", false},
    {"999", "0", {KEEP}, "999 Unknown\r\nContent-Length: 0\r\n\r\n", false},
    {"511",
     "0",
     {KEEP, .date = "D"},
     "511 Network Authentication Required\r\nContent-Length: 0\r\nDate: D\r\n\r\n",
     false},
};

static void test_styles(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof(style_rows) / sizeof(style_rows[0]); i++) {
    const struct style_row *row = &style_rows[i];
    reset();
    if (row->length[0] != '\0')
      RESPONSE(":status", row->status, "content-length", row->length);
    else
      RESPONSE(":status", row->status);
    push("hello");
    end_body();
    if (row->length[0] == '0') {
      flow_close(&message.body);
      flow_open(&message.body, &chunks);
    }
    char want[200];
    snprintf(want, sizeof(want), "HTTP/1.1 %s", row->out);
    assert_int_equal(write_response(&row->style), row->close);
    assert_int_equal(send_all(), HTTP1_WRITTEN);
    assert_sent(want);
  }
}

static void test_body_none_without_length(void **state) {
  (void)state;
  RESPONSE(":status", "200", "date", "X");
  message.head.body = BODY_NONE; /* the stream ended with the head */
  write_response(&(struct http1_reply_style){.keep_alive = true, .date = "Y"});
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_sent("HTTP/1.1 200 OK\r\nDate: X\r\nContent-Length: 0\r\n\r\n");
}

static void test_head_leaves_the_flow_alone(void **state) {
  (void)state;
  RESPONSE(":status", "200", "content-length", "5");
  push("hello");
  write_response(&(struct http1_reply_style){.request_was_head = true, .keep_alive = true});
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_int_equal(flow_untaken(&message.body), 5);
}

static void test_informational(void **state) {
  (void)state;
  RESPONSE(":status", "103", "link", "x");
  assert_int_equal(http1_write_informational(&writer, &message.head), ERR_OK);
  assert_int_equal(send_all(), HTTP1_WAITING);
  assert_sent("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
  text_free(&sent);
  for (int i = 0; i < 300; i++) /* more than one chunk holds */
    assert_int_equal(http1_write_informational(&writer, &message.head), ERR_OK);
  head_close(&message.head);
  RESPONSE(":status", "200", "content-length", "2");
  push("ok");
  end_body();
  write_response(&plain);
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_int_equal(sent.len, 300 * 37 + 40);
  assert_string_equal(sent.data + 300 * 37, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

/* A head that is written while another is lent does not move it. */
static void test_final_while_informational_is_lent(void **state) {
  (void)state;
  struct iovec iov[HTTP1_WRITE_IOV_MAX];
  RESPONSE(":status", "100");
  assert_int_equal(http1_write_informational(&writer, &message.head), ERR_OK);
  assert_int_equal(http1_writer_fill(&writer, iov, HTTP1_WRITE_IOV_MAX), 1);
  head_close(&message.head);
  static char value[5000];
  memset(value, 'v', sizeof(value) - 1);
  RESPONSE(":status", "200", "x", value);
  write_response(&plain);
  assert_memory_equal(iov[0].iov_base, "HTTP/1.1 100 Continue\r\n\r\n", 25);
  http1_writer_sent(&writer, 20);
  push("x");
  end_body();
  assert_int_equal(send_all(), HTTP1_WRITTEN);
  assert_memory_equal(sent.data, "e\r\n\r\nHTTP/1.1 200 OK\r\nX: vvv", 28);
}

/* --- ends that are not complete ------------------------------------------------------------------------------------
 */

static void test_cut(void **state) {
  (void)state;
  static const enum flow_end ends[] = {FLOW_TRUNCATED, FLOW_ABORTED, FLOW_TIMED_OUT, FLOW_LINK_DOWN};
  for (size_t i = 0; i < 4; i++)
    for (int sized = 0; sized <= 1; sized++) {
      reset();
      if (sized)
        RESPONSE(":status", "200", "content-length", "6");
      else
        RESPONSE(":status", "200");
      push("hello");
      flow_end(&message.body, ends[i], ERR_STREAM_RESET);
      write_response(&plain);
      assert_int_equal(send_all(), HTTP1_CUT);
      assert_sent(sized ? "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello"
                        : "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
      struct iovec iov[4];
      assert_int_equal(http1_writer_fill(&writer, iov, 4), 0);
    }
}

static void test_length_does_not_fit(void **state) {
  (void)state;
  static const char *const bodies[] = {"", "hell", "hello!", "hello, world"};
  for (size_t i = 0; i < 4; i++) {
    reset();
    RESPONSE(":status", "200", "content-length", "5");
    push(bodies[i]);
    end_body();
    write_response(&plain);
    assert_int_equal(send_all(), HTTP1_CUT);
    char want[100];
    snprintf(want, sizeof(want), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n%.5s", bodies[i]);
    assert_sent(want);
  }
}

/* A small body that is complete goes with the head as one piece, and stays in the flow until all of that is sent. */
static void test_joined(void **state) {
  (void)state;
  struct iovec iov[HTTP1_WRITE_IOV_MAX];
  for (size_t part = 0; part < 38; part++) {
    reset();
    RESPONSE(":status", "200", "content-length", "5");
    push("hello");
    write_response(&plain);
    assert_int_equal(http1_writer_fill(&writer, iov, HTTP1_WRITE_IOV_MAX), 2); /* it may still be cut */
    http1_writer_sent(&writer, 0);
    round_of(HTTP1_WRITE_IOV_MAX, part); /* not all of the head */
    end_body();
    assert_int_equal(http1_writer_fill(&writer, iov, HTTP1_WRITE_IOV_MAX), 1);
    http1_writer_sent(&writer, 0);
    round_of(HTTP1_WRITE_IOV_MAX, part % 5);
    assert_int_equal(message.body.taken, 0);
    assert_int_equal(send_all(), HTTP1_WRITTEN);
    assert_int_equal(message.body.released, 5);
    assert_sent("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  }
}

static void test_cancelled(void **state) {
  (void)state;
  RESPONSE(":status", "200");
  push("hello");
  write_response(&plain);
  flow_end(&message.body, FLOW_CANCELLED, ERR_CLIENT_GONE);
  assert_int_equal(http1_writer_progress(&writer), HTTP1_CUT);
  assert_int_equal(round_of(HTTP1_WRITE_IOV_MAX, SIZE_MAX), 0);
}

static void test_shortage(void **state) {
  (void)state;
  struct chunks own;
  struct http1_writer other;
  bool close;
  assert_int_equal(chunks_open(&own, 1, 0, 0), ERR_OK);
  http1_writer_open(&other, &own);
  RESPONSE(":status", "200");
  assert_int_equal(trailers_add_http3(&message.trailers, t("x"), t("y")), ERR_OK);
  struct chunk *taken = chunk_get(&own, CHUNK_SMALL);
  assert_int_equal(http1_write_response(&other, &message.head, &message.body, NULL, &plain, &close), ERR_OVERLOADED);
  assert_int_equal(http1_write_request(&other, &message.head, &message.body, NULL), ERR_OVERLOADED);
  message.head.status = 103;
  assert_int_equal(http1_write_informational(&other, &message.head), ERR_OVERLOADED);
  message.head.status = 200;
  assert_int_equal(http1_writer_progress(&other), HTTP1_WRITTEN);
  chunk_unref(taken);
  assert_int_equal(http1_write_response(&other, &message.head, &message.body, &message.trailers, &plain, &close),
                   ERR_OK);
  struct iovec iov[HTTP1_WRITE_IOV_MAX];
  end_body(); /* no chunk for the trailers: they are dropped, the message is complete */
  assert_int_equal(http1_writer_fill(&other, iov, HTTP1_WRITE_IOV_MAX), 2);
  assert_int_equal(iov[1].iov_len, 5);
  http1_writer_sent(&other, iov[0].iov_len + 5);
  assert_int_equal(http1_writer_progress(&other), HTTP1_WRITTEN);
  http1_writer_close(&other);
  chunks_close(&own);
}

/* Given up in the middle: heads and trailers go back. */
static void test_close_in_the_middle(void **state) {
  (void)state;
  RESPONSE(":status", "200");
  assert_int_equal(trailers_add_http3(&message.trailers, t("x"), t("y")), ERR_OK);
  end_body();
  write_response(&plain);
  round_of(4, 50);
  round_of(4, 5);
  assert_int_equal(http1_writer_progress(&writer), HTTP1_WRITING);
  http1_writer_close(&writer);
  assert_int_equal(http1_writer_progress(&writer), HTTP1_WRITTEN);
}

static void start_early(void *context) {
  RESPONSE(":status", "200");
  write_response(&plain);
  write_response(context);
}

static void test_misuse(void **state) {
  (void)state;
  struct http1_reply_style style = plain;
  assert_true(dies(start_early, &style, "may_start"));
}

/* --- round trip ----------------------------------------------------------------------------------------------------
 */

static void random_text(uint64_t *seed, char *out, uint32_t len, const char *alphabet) {
  for (uint32_t i = 0; i < len; i++)
    out[i] = alphabet[draw_below(seed, (uint32_t)strlen(alphabet))];
  out[len] = '\0';
}

static void random_fields(uint64_t *seed, bool in_trailers) {
  static const char *const names[] = {"x-a", "accept", "x-request-id", "set-cookie", "etag", "a", "n0-1", "user-agent"};
  for (uint32_t i = draw_below(seed, 6); i > 0; i--) {
    char value[300];
    random_text(seed, value, draw_below(seed, draw_below(seed, 20) == 0 ? 299 : 12), "abcXYZ019,;=\"/");
    const char *name = names[draw_below(seed, in_trailers ? 3 : 8)];
    assert_int_equal(in_trailers ? trailers_add_http3(&message.trailers, t(name), t(value))
                                 : head_add_http3(&message.head, message.head.status != 0, t(name), t(value)),
                     ERR_OK);
  }
}

/* Puts |len| bytes into the flow, in pieces of different sizes, or as many as it takes. */
static uint32_t random_push(uint64_t *seed, struct text *body, uint32_t left) {
  static char data[9000];
  uint32_t len = 1 + draw_below(seed, draw_below(seed, 3) == 0 ? 9000 : 50);
  len = len < left ? len : left;
  random_text(seed, data, len < 100 ? len : 100, "0123456789\r\n");
  memset(data + (len < 100 ? len : 100), '0' + (int)draw_below(seed, 10), len - (len < 100 ? len : 100));
  assert_int_equal(flow_push_copy(&message.body, data, len), ERR_OK);
  text_add(body, data, len);
  return len;
}

/* Body pushes, fills of any size and sends of any part, until the message is written. */
static void random_transfer(uint64_t *seed, struct text *body, uint32_t len, bool in_trailers) {
  uint32_t left = len, rounds = 0;
  bool parts = draw_below(seed, 2) == 0;
  while (http1_writer_progress(&writer) != HTTP1_WRITTEN) {
    assert_true(++rounds < 200000);
    while (left > 0 && flow_room(&message.body) > 0 && draw_below(seed, 3) > 0)
      left -= random_push(seed, body, left);
    if (left == 0 && message.body.end == FLOW_OPEN && draw_below(seed, 2) == 0) {
      if (in_trailers)
        random_fields(seed, true);
      end_body();
    }
    assert_int_not_equal(http1_writer_progress(&writer), HTTP1_CUT);
    round_of(4 + draw_below(seed, HTTP1_WRITE_IOV_MAX - 3), parts ? draw_below(seed, 2000) : SIZE_MAX);
  }
}

static void random_message(uint64_t *seed, bool response, struct text *body, bool *by_chunks) {
  char path[64] = "/", length[16];
  uint32_t len = draw_below(seed, 4) == 0 ? 0 : draw_below(seed, draw_below(seed, 4) == 0 ? 300000 : 3000);
  *by_chunks = draw_below(seed, 2) == 0;
  random_text(seed, path + 1, draw_below(seed, 60), "abc/?=&%20");
  snprintf(length, sizeof(length), "%u", len);
  if (response)
    add_fields(true, (const char *const[]){":status", "200", NULL});
  else
    add_fields(false, (const char *const[]){":method", "PUT", ":path", path, ":scheme", "x", ":authority", "a", NULL});
  random_fields(seed, false);
  if (!*by_chunks)
    add_fields(response, (const char *const[]){"content-length", length, NULL});
  assert_int_equal(response ? head_check_response_http3(&message.head, false) : head_check_request_http3(&message.head),
                   ERR_OK);
  if (response)
    write_response(&plain);
  else
    write_request();
  random_transfer(seed, body, len, *by_chunks);
}

static void test_round_trip(void **state) {
  (void)state;
  uint64_t seed = 42;
  for (int round = 0; round < 3000; round++) {
    struct text body = {.data = NULL}, want = {.data = NULL}, have = {.data = NULL};
    bool response = draw_below(&seed, 2) == 0, by_chunks;
    reset();
    random_message(&seed, response, &body, &by_chunks);
    print_head(&want, &message.head);
    text_print(&want, " \"");
    text_add(&want, body.data != NULL ? body.data : "", body.len);
    text_print(&want, "\"");
    if (message.trailers.count > 0)
      print_fields(&want, &message.trailers);
    text_print(&want, response ? " | !origin_closed" : " | ");
    struct arrival arrival = {1 + draw_below(&seed, 5000), 1 + draw_below(&seed, 60000)};
    print_messages(&have, &chunks, limits, response ? HTTP1_READS_RESPONSES : HTTP1_READS_REQUESTS, false, sent.data,
                   sent.len, arrival);
    if (have.len != want.len || memcmp(have.data, want.data, have.len) != 0)
      fail_msg("round %d:\nhave %.2000s\nwant %.2000s", round, have.data, want.data);
    text_free(&body);
    text_free(&want);
    text_free(&have);
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_request_without_body),
      TEST(test_request_that_is_empty),
      TEST(test_request_cookies_and_te),
      TEST(test_empty_cookies),
      TEST(test_request_by_length),
      TEST(test_request_by_chunks),
      TEST(test_small_message_is_one_fill),
      TEST(test_empty_chunked_body),
      TEST(test_styles),
      TEST(test_body_none_without_length),
      TEST(test_head_leaves_the_flow_alone),
      TEST(test_informational),
      TEST(test_final_while_informational_is_lent),
      TEST(test_cut),
      TEST(test_length_does_not_fit),
      TEST(test_joined),
      TEST(test_cancelled),
      TEST(test_shortage),
      TEST(test_close_in_the_middle),
      TEST(test_misuse),
      TEST(test_round_trip),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
