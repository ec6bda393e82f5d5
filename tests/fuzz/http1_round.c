#include "fuzz/http1_round.h"

#include <string.h>

#include "fuzz/fuzz.h"

enum { ROUND_LIMIT_BYTES = 65536, ROUND_LIMIT_FIELDS = 1024, SMALL_LIMIT_BYTES = 600, SMALL_LIMIT_FIELDS = 6 };

enum flags {
  FLAG_HEAD = 1,         /* the responses are to HEAD requests */
  FLAG_HTTP10 = 2,       /* they go to an HTTP/1.0 client */
  FLAG_CLOSE = 4,        /* the connection is not kept after them */
  FLAG_SMALL_LIMITS = 8, /* for heads; how a message that meets one is broken may depend on the pieces */
};

static const struct {
  const char *bytes, *said;
} canaries[] = {
    [HTTP1_READS_REQUESTS] = {"GET /canary HTTP/1.1\r\nHost: canary\r\nX: y\r\n\r\n",
                              "GET /canary canary\nx: y\n0 \"\" | "},
    [HTTP1_READS_RESPONSES] = {"HTTP/1.1 204 Canary\r\nX: canary\r\n\r\n", "204\nx: canary\n0 \"\" | "},
};

void round_drain(struct http1_writer *writer, struct text *out, uint64_t *seed) {
  while (http1_writer_progress(writer) == HTTP1_WRITING) {
    struct iovec iov[HTTP1_WRITE_IOV_MAX];
    size_t max = draw_below(seed, 4) == 0 ? 4 + draw_below(seed, HTTP1_WRITE_IOV_MAX - 3) : HTTP1_WRITE_IOV_MAX;
    size_t count = http1_writer_fill(writer, iov, max), total = 0;
    must(count > 0 && count <= max);
    for (size_t i = 0; i < count; i++)
      total += iov[i].iov_len;
    must(total > 0);
    size_t sent = draw_below(seed, 2) == 0 ? total : 1 + draw_below(seed, (uint32_t)total);
    for (size_t i = 0, left = sent; i < count && left > 0; i++) {
      size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
      text_add(out, iov[i].iov_base, part);
      left -= part;
    }
    http1_writer_sent(writer, sent);
  }
}

/* Not what a reader thinks of the head, but its bytes: lines that end in CRLF, without another CR, LF or NUL. */
static void check_lines(const struct text *written) {
  const char *at = written->data, *end = written->data + written->len;
  for (;;) {
    const char *cr = memchr(at, '\r', (size_t)(end - at));
    must(cr != NULL && cr + 1 < end && cr[1] == '\n');
    must(memchr(at, '\n', (size_t)(cr - at)) == NULL && memchr(at, '\0', (size_t)(cr - at)) == NULL);
    if (cr == at)
      return;
    at = cr + 2;
  }
}

void round_check(enum http1_role role, bool no_body, bool until_close, const struct text *written,
                 const struct text *said) {
  struct text bytes = {.data = NULL}, want = {.data = NULL};
  struct pass pass = {
      .role = role, .no_body = no_body, .limits = {2 * ROUND_LIMIT_BYTES, ROUND_LIMIT_FIELDS}, .one = until_close};
  must(written->len > 0);
  if (written->len + 100 > CHUNK_LARGE_BYTES)
    return;
  check_lines(written);
  text_add(&bytes, written->data, written->len);
  text_add(&want, said->data, said->len);
  if (!until_close) {
    text_print(&bytes, "%s", canaries[role].bytes);
    text_print(&want, "%s", canaries[role].said);
  }
  pass_run(&pass, bytes_of(bytes.data, bytes.len));
  /* The reader of responses waits for a third. */
  must(pass.error == (role == HTTP1_READS_RESPONSES && !until_close ? ERR_ORIGIN_CLOSED : ERR_OK));
  must(pass.said.len == want.len && memcmp(pass.said.data, want.data, want.len) == 0);
  text_free(&pass.said);
  text_free(&bytes);
  text_free(&want);
}

void round_informational(uint64_t *seed, const struct head *head) {
  struct text said = {.data = NULL}, written = {.data = NULL};
  struct http1_writer writer;
  http1_writer_open(&writer, fuzz_chunks());
  describe_head(&said, head);
  text_print(&said, " | ");
  must(http1_write_informational(&writer, head) == ERR_OK);
  round_drain(&writer, &written, seed);
  must(http1_writer_progress(&writer) == HTTP1_WAITING);
  round_check(HTTP1_READS_RESPONSES, false, false, &written, &said);
  http1_writer_close(&writer);
  text_free(&said);
  text_free(&written);
}

/* --- HTTP/1 in, HTTP/1 out -----------------------------------------------------------------------------------------
 */

struct round {
  enum http1_role role;
  uint8_t flags;
  uint64_t seed;
};

/* As h3_request does with an HTTP/1.0 request without Host. */
static void complete_authority(struct head *head) {
  if (head->authority.len == 0)
    must(head_set(head, &head->authority, BYTES_LITERAL("localhost")) == ERR_OK);
}

static void write_request(struct round *round, struct http1_writer *writer, struct message *message) {
  struct text said = {.data = NULL}, written = {.data = NULL};
  complete_authority(&message->head);
  describe_head(&said, &message->head);
  describe_body(&said, &message->body, &message->trailers);
  must(http1_write_request(writer, &message->head, &message->body, &message->trailers) == ERR_OK);
  round_drain(writer, &written, &round->seed);
  must(http1_writer_progress(writer) == HTTP1_WRITTEN);
  round_check(HTTP1_READS_REQUESTS, false, false, &written, &said);
  text_free(&said);
  text_free(&written);
}

static void write_response(struct round *round, struct http1_writer *writer, struct message *message) {
  struct text said = {.data = NULL}, written = {.data = NULL};
  struct http1_reply_style style = {
      .client_http10 = (round->flags & FLAG_HTTP10) != 0,
      .request_was_head = (round->flags & FLAG_HEAD) != 0,
      .keep_alive = (round->flags & FLAG_CLOSE) == 0,
  };
  bool close;
  describe_head(&said, &message->head);
  must(http1_write_response(writer, &message->head, &message->body, &message->trailers, &style, &close) == ERR_OK);
  bool by_close = writer->framing == HTTP1_BY_CLOSE;
  must(close == (by_close || !style.keep_alive));
  describe_body(&said, &message->body, by_close ? NULL : &message->trailers);
  round_drain(writer, &written, &round->seed);
  must(http1_writer_progress(writer) == HTTP1_WRITTEN);
  round_check(HTTP1_READS_RESPONSES, style.request_was_head, by_close, &written, &said);
  text_free(&said);
  text_free(&written);
}

static void round_message(void *context, struct message *message) {
  struct round *round = context;
  struct http1_writer writer;
  http1_writer_open(&writer, fuzz_chunks());
  if (round->role == HTTP1_READS_REQUESTS)
    write_request(round, &writer, message);
  else
    write_response(round, &writer, message);
  http1_writer_close(&writer);
}

static void write_informational(void *context, const struct head *head) {
  struct round *round = context;
  round_informational(&round->seed, head);
}

/* When there is something wrong and something too long, either may be seen first. */
static bool same_error(enum err a, enum err b) {
  return a == b || (a == ERR_HEAD_TOO_LARGE && b != ERR_OK) || (b == ERR_HEAD_TOO_LARGE && a != ERR_OK);
}

static void check_same(const struct pass *whole, const struct pass *pieces) {
  must(same_error(whole->error, pieces->error) && whole->used == pieces->used);
  must(whole->said.len == pieces->said.len);
  must(whole->said.len == 0 || memcmp(whole->said.data, pieces->said.data, whole->said.len) == 0);
}

int round_fuzz(enum http1_role role, const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct round round = {.role = role, .flags = input_byte(&input), .seed = input_seed(data, size)};
  if (input_left(&input) > PASS_BYTES_MAX)
    return 0;
  struct bytes bytes = input_take(&input, size);
  bool small = (round.flags & FLAG_SMALL_LIMITS) != 0;
  struct pass whole = {
      .role = role,
      .no_body = role == HTTP1_READS_RESPONSES && (round.flags & FLAG_HEAD) != 0,
      .said_all = true,
      .limits = {small ? SMALL_LIMIT_BYTES : ROUND_LIMIT_BYTES, small ? SMALL_LIMIT_FIELDS : ROUND_LIMIT_FIELDS},
  };
  struct pass pieces = whole;
  pieces.split = round.seed;
  pieces.message = round_message;
  pieces.informational = write_informational;
  pieces.context = &round;
  pass_run(&whole, bytes);
  pass_run(&pieces, bytes);
  if (!small || (whole.error == ERR_OK && pieces.error == ERR_OK))
    check_same(&whole, &pieces);
  text_free(&whole.said);
  text_free(&pieces.said);
  fuzz_nothing_left();
  return 0;
}
