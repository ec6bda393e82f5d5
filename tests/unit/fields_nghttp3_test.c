/* The heads that our checks let through, given to nghttp3: its other end must take every field as it is. One that it
   refuses would cost the session (RELIABILITY.md T-2); one that it drops in silence would be lost. */
#include "unit/support.h"

#include <nghttp3/nghttp3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/support_http1.h"

static struct chunks chunks;
static const struct head_limits limits = {16384, 64};

struct pair {
  nghttp3_conn *client, *server;
  struct text received; /* by either, since it was freed last */
};

static int on_header(nghttp3_conn *conn, int64_t stream, int32_t token, nghttp3_rcbuf *name, nghttp3_rcbuf *value,
                     uint8_t flags, void *user, void *stream_user) {
  (void)conn, (void)stream, (void)token, (void)flags, (void)stream_user;
  struct pair *pair = user;
  nghttp3_vec name_text = nghttp3_rcbuf_get_buf(name), value_text = nghttp3_rcbuf_get_buf(value);
  text_add(&pair->received, name_text.base, name_text.len);
  text_print(&pair->received, ": ");
  text_add(&pair->received, value_text.base, value_text.len);
  text_print(&pair->received, "\n");
  return 0;
}

/* Everything that |from| has to send, to |to|. The end of a stream is held back: the body is not the matter here. */
static void carry(nghttp3_conn *from, nghttp3_conn *to) {
  for (;;) {
    int64_t stream = -1;
    int fin = 0;
    nghttp3_vec vec[16];
    nghttp3_ssize count = nghttp3_conn_writev_stream(from, &stream, &fin, vec, 16);
    assert_true(count >= 0);
    if (stream < 0)
      return;
    size_t sum = 0;
    for (nghttp3_ssize i = 0; i < count; i++) {
      nghttp3_ssize read = nghttp3_conn_read_stream(to, stream, vec[i].base, vec[i].len, 0);
      if (read < 0)
        fail_msg("nghttp3 refuses: %s", nghttp3_strerror((int)read));
      sum += vec[i].len;
    }
    assert_int_equal(nghttp3_conn_add_write_offset(from, stream, sum), 0);
  }
}

static void pair_open(struct pair *pair) {
  nghttp3_settings settings;
  nghttp3_callbacks callbacks = {.recv_header = on_header};
  nghttp3_settings_default(&settings);
  *pair = (struct pair){.client = NULL};
  assert_int_equal(nghttp3_conn_client_new(&pair->client, &callbacks, &settings, nghttp3_mem_default(), pair), 0);
  assert_int_equal(nghttp3_conn_server_new(&pair->server, &callbacks, &settings, nghttp3_mem_default(), pair), 0);
  nghttp3_conn_set_max_client_streams_bidi(pair->server, 1000);
  assert_int_equal(nghttp3_conn_bind_control_stream(pair->client, 2), 0);
  assert_int_equal(nghttp3_conn_bind_qpack_streams(pair->client, 6, 10), 0);
  assert_int_equal(nghttp3_conn_bind_control_stream(pair->server, 3), 0);
  assert_int_equal(nghttp3_conn_bind_qpack_streams(pair->server, 7, 11), 0);
  carry(pair->client, pair->server);
  carry(pair->server, pair->client);
}

static void pair_close(struct pair *pair) {
  nghttp3_conn_del(pair->client);
  nghttp3_conn_del(pair->server);
  text_free(&pair->received);
}

struct vector {
  nghttp3_nv nv[80];
  size_t count;
  struct text want;
};

static void vector_add(struct vector *vector, struct bytes name, struct bytes value) {
  vector->nv[vector->count++] = (nghttp3_nv){.name = (uint8_t *)(uintptr_t)name.data,
                                             .value = (uint8_t *)(uintptr_t)value.data,
                                             .namelen = name.len,
                                             .valuelen = value.len};
  text_add(&vector->want, name.data, name.len);
  text_print(&vector->want, ": ");
  text_add(&vector->want, value.data, value.len);
  text_print(&vector->want, "\n");
}

static void vector_fields(struct vector *vector, const struct fields *fields) {
  struct bytes name, value;
  for (uint32_t i = 0; i < fields->count; i++)
    if (fields_get(fields, i, &name, &value))
      vector_add(vector, name, value);
}

static void compare(struct pair *pair, struct vector *vector) {
  if (strcmp(pair->received.data, vector->want.data) != 0)
    fail_msg("sent\n%s\nreceived\n%s", vector->want.data, pair->received.data);
  text_free(&pair->received);
  text_free(&vector->want);
}

static void request_travels(struct pair *pair, int64_t stream, const struct head *head) {
  struct vector vector = {.count = 0};
  vector_add(&vector, BYTES_LITERAL(":method"), head_method(head));
  vector_add(&vector, BYTES_LITERAL(":scheme"), BYTES_LITERAL("http"));
  vector_add(&vector, BYTES_LITERAL(":authority"), head_authority(head));
  vector_add(&vector, BYTES_LITERAL(":path"), head_target(head));
  vector_fields(&vector, &head->fields);
  assert_int_equal(nghttp3_conn_submit_request(pair->client, stream, vector.nv, vector.count, NULL, NULL), 0);
  carry(pair->client, pair->server);
  compare(pair, &vector);
}

static void response_travels(struct pair *pair, int64_t stream, const struct head *head) {
  struct vector vector = {.count = 0};
  char status[8];
  snprintf(status, sizeof(status), "%u", head->status);
  vector_add(&vector, BYTES_LITERAL(":status"), bytes_of_text(status));
  vector_fields(&vector, &head->fields);
  int result = head->status < 200 ? nghttp3_conn_submit_info(pair->server, stream, vector.nv, vector.count)
                                  : nghttp3_conn_submit_response(pair->server, stream, vector.nv, vector.count, NULL);
  assert_int_equal(result, 0);
  carry(pair->server, pair->client);
  compare(pair, &vector);
}

/* --- heads: mostly legal, with every name and character that has a rule of its own ----------------------------------
 */

static const char *const names[] = {
    "Host",   "Content-Length", "Connection", "TE",  "Transfer-Encoding", "Upgrade", "Keep-Alive", "Proxy-Connection",
    "Cookie", "Set-Cookie",     "Priority",   "X-A", "HTTP2-Settings",    "Expect",  "Trailer",    "X!#$%&'*+-.^_`|~",
    "Date",
};
static const char *const values[] = {
    "",
    "a",
    "5",
    "0",
    "close",
    "trailers",
    "gzip",
    "chunked",
    "u=3, i",
    "u=99,,;",
    "100-continue",
    "x-a, host",
    "a\tb c",
    "\x80\xff",
    "\"quoted\\\"",
    "keep-alive, TE",
    "  trimmed \t",
    "005",
    "a:80",
    "[::1]:1",
    "a!$&'()*+;=~%",
};

#define PICK(seed, list) (list)[draw_below(seed, (uint32_t)(sizeof(list) / sizeof((list)[0])))]

static void random_fields(uint64_t *seed, struct text *in) {
  for (uint32_t i = draw_below(seed, 8); i > 0; i--) {
    const char *value = PICK(seed, values);
    text_print(in, "%s: %s", PICK(seed, names), value);
    if (draw_below(seed, 20) == 0) {
      char byte = (char)draw_below(seed, 256);
      text_add(in, &byte, 1);
    }
    text_print(in, "\r\n");
  }
  text_print(in, "\r\n");
}

static void random_request(uint64_t *seed, struct text *in) {
  static const char *const methods[] = {"GET", "HEAD", "POST", "OPTIONS", "get", "X!#$%&'*+-.^_`|~0", "CONNECT"};
  static const char *const targets[] = {
      "/", "*", "/a?b", "http://b", "http://b:80?c", "HTTPS://b/", "/\"<>\\^`{|}[]@", "//", "/%00", "a:80",
  };
  text_print(in, "%s %s HTTP/1.1\r\nHost: a.b:1\r\n", PICK(seed, methods), PICK(seed, targets));
  random_fields(seed, in);
}

static void random_response(uint64_t *seed, struct text *in) {
  static const unsigned statuses[] = {100, 101, 103, 200, 204, 205, 304, 404, 500, 599, 600, 999};
  text_print(in, "HTTP/1.1 %u X\r\n", PICK(seed, statuses));
  random_fields(seed, in);
}

/* The head of |in|, when it is let through. */
static bool read_head(struct message *message, enum http1_role role, const struct text *in) {
  struct http1_reader reader;
  struct chunk *chunk = chunk_get(&chunks, CHUNK_SMALL);
  uint32_t offset = 0;
  assert_non_null(chunk);
  memcpy(chunk->data, in->data, in->len);
  chunk->used = (uint32_t)in->len;
  message_open(message, &chunks, limits);
  http1_reader_open(&reader, role);
  http1_reader_next(&reader, &message->head, &message->body, &message->trailers, false);
  enum http1_step step = http1_read(&reader, chunk, &offset, chunk->used);
  chunk_unref(chunk);
  assert_int_not_equal(step, HTTP1_MORE);
  return step == HTTP1_HEAD || step == HTTP1_INFORMATIONAL;
}

static void test_nghttp3_takes_what_we_let_through(void **state) {
  (void)state;
  uint64_t seed = 9114;
  uint32_t requests = 0, responses = 0;
  assert_int_equal(chunks_open(&chunks, 16, 4, 16), ERR_OK);
  for (int round = 0; round < 300; round++) {
    struct pair pair;
    pair_open(&pair);
    for (int64_t stream = 0; stream < 400;) {
      struct text in = {.data = NULL};
      struct message message;
      random_request(&seed, &in);
      bool taken = read_head(&message, HTTP1_READS_REQUESTS, &in);
      text_free(&in);
      if (taken) {
        requests++;
        request_travels(&pair, stream, &message.head);
        struct message reply;
        random_response(&seed, &in);
        if (read_head(&reply, HTTP1_READS_RESPONSES, &in)) {
          responses++;
          response_travels(&pair, stream, &reply.head);
        }
        message_close(&reply);
        text_free(&in);
        stream += 4;
      }
      message_close(&message);
    }
    pair_close(&pair);
  }
  assert_true(requests > 10000 && responses > 5000);
  assert_int_equal(pools_live(), 0);
  chunks_close(&chunks);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_nghttp3_takes_what_we_let_through)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
