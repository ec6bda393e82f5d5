/* HTTP/3 in, HTTP/1 out: bytes of a malicious peer's streams through nghttp3 and h3; whatever is let through is written
   as HTTP/1 and must be read back as the same message and no other, and a message that was not complete must not look
   complete. Both ends: flags say whether it is the client or the server that is attacked.

   An input is a flag byte and then steps: a byte that says what and on which stream, a length (one byte, or two), and
   so many bytes. Field sections may be given as text, which is easier to change into another one than QPACK. */
#include <string.h>

#include "fuzz/fake_quic.h"
#include "fuzz/fuzz.h"
#include "fuzz/http1_round.h"
#include "proto/h3.h"

enum { REQUESTS = 4, SECTION_BYTES_MAX = 40000, H3_CODE = 0x10c };

enum flags {
  FLAG_CLIENT = 1,       /* we are the client, the input is the server's */
  FLAG_NO_PREFACE = 2,   /* control and QPACK streams come as the input says, without their first bytes */
  FLAG_NO_TABLE = 4,     /* QPACK without a dynamic table */
  FLAG_SMALL_LIMITS = 8, /* for heads */
  FLAG_REFUSE = 16,      /* every other request is refused */
  FLAG_HOOKED = 32,      /* 1xx heads are taken as they come, not as events */
};

enum step {
  STEP_STREAM = 7, /* 0-3: request streams; 4-7: the peer's unidirectional ones */
  STEP_KIND = 0x18,
  STEP_RAW = 0,
  STEP_SECTION = 8,    /* a HEADERS frame of text: "name: value" lines, 0xfe stands for a line feed in them */
  STEP_DATA = 0x10,    /* a DATA frame */
  STEP_GIVE_UP = 0x18, /* RESET_STREAM, or with STEP_LONG STOP_SENDING */
  STEP_FIN = 0x20,
  STEP_LONG = 0x40,   /* a length of two bytes */
  STEP_PIECES = 0x80, /* the bytes come one by one */
};

struct exchange {
  struct message in;
  struct head informational, head_out;
  struct flow out;
  struct h3_stream *stream;
  struct http1_writer writer;
  struct text said, body, written;
  bool open, begun; /* the head was written */
  bool http10, head_only;
};

struct session {
  struct quic_conn conn;
  struct h3 *h3;
  struct head_limits limits;
  uint8_t flags;
  uint64_t seed;
  struct exchange exchanges[REQUESTS];
};

static void exchange_open(struct session *session, struct exchange *exchange) {
  struct chunks *chunks = fuzz_chunks();
  message_open(&exchange->in, chunks, session->limits);
  head_open(&exchange->informational, chunks, session->limits);
  head_open(&exchange->head_out, chunks, session->limits);
  flow_open(&exchange->out, chunks);
  http1_writer_open(&exchange->writer, chunks);
  exchange->open = true;
}

static void exchange_close(struct exchange *exchange) {
  if (!exchange->open)
    return;
  http1_writer_close(&exchange->writer);
  message_close(&exchange->in);
  head_close(&exchange->informational);
  head_close(&exchange->head_out);
  flow_close(&exchange->out);
  text_free(&exchange->said);
  text_free(&exchange->body);
  text_free(&exchange->written);
}

/* --- our side ------------------------------------------------------------------------------------------------------
 */

static bool accept_request(void *context, struct h3_stream *stream) {
  struct session *session = context;
  if (stream->id / 4 >= REQUESTS || ((session->flags & FLAG_REFUSE) != 0 && stream->id / 4 % 2 == 1))
    return false;
  struct exchange *exchange = &session->exchanges[stream->id / 4];
  exchange_open(session, exchange);
  exchange->stream = stream;
  stream->owner = exchange;
  stream->head = &exchange->in.head;
  stream->in = &exchange->in.body;
  stream->trailers = &exchange->in.trailers;
  return true;
}

static void take_informational(struct session *session, struct exchange *exchange) {
  round_informational(&session->seed, &exchange->informational);
  head_close(&exchange->informational);
}

static void informed(void *context, struct h3_stream *stream) {
  struct session *session = context;
  if ((session->flags & FLAG_HOOKED) != 0)
    take_informational(session, stream->owner);
}

static const struct h3_events events = {.accept = accept_request, .informed = informed};

static void send_requests(struct session *session) {
  static const char *const methods[REQUESTS] = {"GET", "HEAD", "POST", "GET"};
  for (int i = 0; i < REQUESTS; i++) {
    struct exchange *exchange = &session->exchanges[i];
    exchange_open(session, exchange);
    struct head *head = &exchange->head_out;
    must(head_set(head, &head->method, bytes_of_text(methods[i])) == ERR_OK);
    must(head_set(head, &head->target, BYTES_LITERAL("/")) == ERR_OK);
    must(head_set(head, &head->authority, BYTES_LITERAL("a")) == ERR_OK);
    head->body = i == 2 ? BODY_CHUNKED : BODY_NONE;
    exchange->head_only = i == 1;
    exchange->http10 = i == 3;
    must(flow_push_copy(&exchange->out, "hello", i == 2 ? 5 : 0) == ERR_OK);
    must(h3_request(session->h3, &exchange->stream, exchange, head, &exchange->out, NULL, &exchange->in.head,
                    &exchange->informational, &exchange->in.body, &exchange->in.trailers) == ERR_OK);
  }
}

static void write_head(struct exchange *exchange) {
  struct message *in = &exchange->in;
  struct http1_reply_style style = {
      .client_http10 = exchange->http10, .request_was_head = exchange->head_only, .keep_alive = !exchange->http10};
  bool close;
  must(!exchange->begun);
  exchange->begun = true;
  describe_head(&exchange->said, &in->head);
  enum err err = in->head.status == 0
                     ? http1_write_request(&exchange->writer, &in->head, &in->body, &in->trailers)
                     : http1_write_response(&exchange->writer, &in->head, &in->body, &in->trailers, &style, &close);
  must(err == ERR_OK);
}

/* What is there of the body goes on; |body| remembers it. */
static void write_on(struct session *session, struct exchange *exchange) {
  if (!exchange->begun)
    return;
  if (exchange->writer.framing != HTTP1_NO_BODY)
    print_flow(&exchange->body, &exchange->in.body);
  round_drain(&exchange->writer, &exchange->written, &session->seed);
}

static void respond(struct exchange *exchange) {
  if (exchange->head_out.status != 0)
    return;
  exchange->head_out.status = 204;
  enum err err = h3_respond(exchange->stream, &exchange->head_out, NULL, NULL);
  must(err == ERR_OK || err == ERR_STREAM_RESET || err == ERR_LINK_DOWN);
}

static void take_events(struct session *session, struct h3_stream *stream) {
  struct exchange *exchange = stream->owner;
  unsigned happened = stream->events;
  stream->events = 0;
  if ((happened & H3_INFORMATIONAL) != 0 && (session->flags & FLAG_HOOKED) == 0)
    take_informational(session, exchange);
  if ((happened & H3_HEAD) != 0)
    write_head(exchange);
  write_on(session, exchange);
  must((happened & H3_END) == 0 || (exchange->begun && exchange->in.body.end == FLOW_EOF));
  if ((happened & H3_END) != 0 && session->conn.server)
    respond(exchange);
  if ((happened & H3_CLOSED) != 0) {
    h3_stream_done(stream);
    exchange->stream = NULL;
  } else if (exchange->begun) {
    h3_input(stream);
  }
}

static void act(struct session *session) {
  struct h3_stream *stream;
  while ((stream = h3_ready(session->h3)) != NULL)
    take_events(session, stream);
  fake_emit(&session->conn);
  fake_settle(&session->conn);
  while ((stream = h3_ready(session->h3)) != NULL)
    take_events(session, stream);
}

/* --- the peer's side -----------------------------------------------------------------------------------------------
 */

struct section {
  uint8_t data[SECTION_BYTES_MAX + 16];
  size_t len;
};

static void section_byte(struct section *out, uint8_t byte) {
  if (out->len < SECTION_BYTES_MAX)
    out->data[out->len++] = byte;
}

/* RFC 7541 section 5.1 */
static void section_number(struct section *out, uint8_t first, unsigned prefix, size_t value) {
  size_t max = (1U << prefix) - 1;
  section_byte(out, (uint8_t)(first | (value < max ? value : max)));
  if (value < max)
    return;
  for (value -= max; value >= 128; value >>= 7)
    section_byte(out, (uint8_t)(value | 128));
  section_byte(out, (uint8_t)value);
}

static void section_text(struct section *out, struct bytes text) {
  for (size_t i = 0; i < text.len; i++)
    section_byte(out, text.data[i] == 0xfe ? '\n' : text.data[i]);
}

/* A line "name: value" as a literal field line with a literal name (RFC 9204 section 4.5.6). */
static void section_line(struct section *out, struct bytes line) {
  size_t colon = line.len > 0 ? 1 : 0;
  while (colon < line.len && line.data[colon] != ':')
    colon++;
  size_t value = colon < line.len ? colon + 1 : colon;
  if (value < line.len && line.data[value] == ' ')
    value++;
  section_number(out, 0x20, 3, colon);
  section_text(out, bytes_of(line.data, colon));
  section_number(out, 0, 7, line.len - value);
  section_text(out, bytes_of(line.data + value, line.len - value));
}

static void frame(struct section *out, uint8_t type, size_t len) {
  out->len = 0;
  section_byte(out, type);
  for (int shift = 24; shift >= 0; shift -= 8)
    section_byte(out, (uint8_t)(len >> shift | (shift == 24 ? 0x80 : 0)));
}

static void make_section(struct section *out, struct bytes text) {
  static struct section lines;
  lines.len = 0;
  section_byte(&lines, 0);
  section_byte(&lines, 0);
  for (size_t at = 0; at < text.len;) {
    size_t end = at;
    while (end < text.len && text.data[end] != '\n')
      end++;
    section_line(&lines, bytes_of(text.data + at, end - at));
    at = end + 1;
  }
  frame(out, 1, lines.len);
  memcpy(out->data + out->len, lines.data, lines.len < SECTION_BYTES_MAX - 8 ? lines.len : SECTION_BYTES_MAX - 8);
  out->len += lines.len < SECTION_BYTES_MAX - 8 ? lines.len : SECTION_BYTES_MAX - 8;
}

static void say(struct session *session, int64_t id, const uint8_t *data, size_t len, uint8_t step) {
  size_t most = (step & STEP_PIECES) != 0 ? 1 : len;
  bool fin = (step & STEP_FIN) != 0;
  for (size_t at = 0; at < len; at += most) {
    fake_deliver(&session->conn, id, data + at, most, false);
    if (most < len && at % 16 == 0)
      act(session);
  }
  if (fin)
    fake_deliver(&session->conn, id, NULL, 0, true);
}

static void take_step(struct session *session, struct input *input) {
  static struct section made;
  uint8_t step = input_byte(input);
  int64_t number = step & STEP_STREAM, id = 4 * number;
  if (number >= REQUESTS)
    id = 4 * (number - REQUESTS) + (session->conn.server ? 2 : 3);
  if ((step & STEP_KIND) == STEP_GIVE_UP) {
    if ((step & STEP_LONG) != 0)
      fake_deliver_stop(&session->conn, id, H3_CODE);
    else
      fake_deliver_reset(&session->conn, id, H3_CODE);
    return;
  }
  size_t len = input_byte(input);
  if ((step & STEP_LONG) != 0)
    len |= (size_t)input_byte(input) << 8;
  struct bytes bytes = input_take(input, len);
  if ((step & STEP_KIND) == STEP_SECTION) {
    make_section(&made, bytes);
    bytes = bytes_of(made.data, made.len);
  } else if ((step & STEP_KIND) == STEP_DATA) {
    frame(&made, 0, bytes.len);
    say(session, id, made.data, made.len, step & (uint8_t)~STEP_FIN);
  }
  say(session, id, bytes.data, bytes.len, step);
}

/* --- the whole -----------------------------------------------------------------------------------------------------
 */

static void check_exchange(struct exchange *exchange) {
  struct http1_writer *writer = &exchange->writer;
  struct message *in = &exchange->in;
  bool request = in->head.status == 0;
  enum http1_role role = request ? HTTP1_READS_REQUESTS : HTTP1_READS_RESPONSES;
  if (in->body.end == FLOW_EOF) {
    must(http1_writer_progress(writer) == HTTP1_WRITTEN);
    bool trailers = writer->framing == HTTP1_BY_CHUNKS;
    describe_rest(&exchange->said, &exchange->body, trailers ? &in->trailers : NULL);
    round_check(role, exchange->head_only, writer->framing == HTTP1_BY_CLOSE, &exchange->written, &exchange->said);
    return;
  }
  bool short_of = writer->framing == HTTP1_BY_LENGTH && writer->length_left > 0;
  if (writer->framing != HTTP1_BY_CHUNKS && !short_of)
    return;
  struct pass pass = {.role = role, .limits = {131072, 1024}, .one = true};
  if (exchange->written.len < PASS_BYTES_MAX)
    pass_run(&pass, bytes_of(exchange->written.data, exchange->written.len));
  must(pass.used == 0);
  text_free(&pass.said);
}

static void session_open(struct session *session) {
  static struct pool streams;
  if (streams.capacity == 0)
    must(pool_open(&streams, "streams", sizeof(struct h3_stream), REQUESTS) == ERR_OK);
  uint8_t flags = session->flags;
  bool server = (flags & FLAG_CLIENT) == 0;
  if ((flags & FLAG_SMALL_LIMITS) != 0)
    session->limits = (struct head_limits){600, 6};
  else
    session->limits = (struct head_limits){65536, 1024};
  fake_open(&session->conn, server, NULL);
  struct h3_settings settings = {.server = server,
                                 .limits = session->limits,
                                 .qpack_table_capacity = (flags & FLAG_NO_TABLE) != 0 ? 0 : 4096,
                                 .streams = &streams};
  must(h3_open(&session->h3, &session->conn, &settings, &events, session) == ERR_OK);
  session->conn.ops = &h3_quic_app;
  session->conn.app = session->h3;
  if (!server)
    send_requests(session);
  act(session);
  static const char *const prefaces[] = {"\x00\x04\x00", "\x02", "\x03"};
  for (int i = 0; i < 3 && (flags & FLAG_NO_PREFACE) == 0; i++)
    fake_deliver(&session->conn, 4 * i + (server ? 2 : 3), prefaces[i], i == 0 ? 3 : 1, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct session session = {.seed = input_seed(data, size), .flags = input_byte(&input)};
  session_open(&session);
  while (input_left(&input) > 0 && !session.conn.dead) {
    take_step(&session, &input);
    act(&session);
  }
  h3_abandon(session.h3);
  act(&session);
  must(h3_stream_count(session.h3) == 0);
  for (int i = 0; i < REQUESTS; i++) {
    if (session.exchanges[i].begun)
      check_exchange(&session.exchanges[i]);
    must(session.exchanges[i].stream == NULL);
    exchange_close(&session.exchanges[i]);
  }
  h3_close(session.h3);
  fuzz_nothing_left();
  return 0;
}
