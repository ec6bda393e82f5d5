/* What a malicious peer may send: a bare nghttp3 connection, which checks nothing that it sends, or bytes by hand,
   against one end of ours. A malformed message breaks its stream where nghttp3 allows, else the connection, with the
   code of RFC 9114; nothing of it is delivered, and where it is the stream, the others go on. */
#include <nghttp3/nghttp3.h>

#include "unit/h3_call.h"

/* --- the peer -------------------------------------------------------------------------------------------------------
 */

struct peer {
  nghttp3_conn *http;
  bool named, length_never, agent_never; /* what was said of the indexing of fields that came */
  struct pair *pair;
};

static uint8_t zeros[400000];

static nghttp3_ssize peer_read(nghttp3_conn *http, int64_t id, nghttp3_vec *vec, size_t count, uint32_t *flags,
                               void *context, void *stream_context) {
  (void)http, (void)id, (void)count, (void)context;
  size_t len = (size_t)(uintptr_t)stream_context;
  vec[0] = (nghttp3_vec){.base = zeros, .len = len};
  *flags |= NGHTTP3_DATA_FLAG_EOF;
  return len > 0 ? 1 : 0;
}

static enum err peer_data(void *app, int64_t id, const uint8_t *data, size_t len, bool fin) {
  struct peer *peer = app;
  nghttp3_ssize n = nghttp3_conn_read_stream2(peer->http, id, data, len, fin, UINT64_MAX);
  assert_true(n >= 0);
  struct quic_conn *conn = &peer->pair->rig.conn[peer->pair->h3[CLIENT] != NULL ? SERVER : CLIENT];
  quic_credit(conn, len);
  quic_stream_credit(conn, id, len);
  return ERR_OK;
}
static enum err peer_acked(void *app, int64_t id, uint64_t len) {
  struct peer *peer = app;
  assert_int_equal(nghttp3_conn_add_ack_offset(peer->http, id, len), 0);
  return ERR_OK;
}
static enum err peer_room(void *app, int64_t id) {
  struct peer *peer = app;
  assert_int_equal(nghttp3_conn_unblock_stream(peer->http, id), 0);
  return ERR_OK;
}
static enum err peer_reset(void *app, int64_t id, uint64_t code) {
  (void)code;
  struct peer *peer = app;
  assert_int_equal(nghttp3_conn_shutdown_stream_read(peer->http, id), 0);
  return ERR_OK;
}
static enum err peer_stopped(void *app, int64_t id, uint64_t code) {
  (void)code;
  struct peer *peer = app;
  nghttp3_conn_shutdown_stream_write(peer->http, id);
  return ERR_OK;
}
static enum err peer_closed(void *app, int64_t id, uint64_t code) {
  struct peer *peer = app;
  nghttp3_conn_close_stream(peer->http, id, code);
  return ERR_OK;
}
static size_t peer_output(void *app, int64_t *id, bool *fin, struct iovec vecs[QUIC_OUTPUT_VECS]) {
  struct peer *peer = app;
  nghttp3_vec vec[QUIC_OUTPUT_VECS];
  int end;
  nghttp3_ssize count = nghttp3_conn_writev_stream(peer->http, id, &end, vec, QUIC_OUTPUT_VECS);
  assert_true(count >= 0);
  for (nghttp3_ssize i = 0; i < count; i++)
    vecs[i] = (struct iovec){.iov_base = vec[i].base, .iov_len = vec[i].len};
  *fin = end != 0;
  return (size_t)count;
}
static enum err peer_written(void *app, int64_t id, size_t len) {
  struct peer *peer = app;
  assert_int_equal(nghttp3_conn_add_write_offset(peer->http, id, len), 0);
  return ERR_OK;
}
static void peer_blocked(void *app, int64_t id) { nghttp3_conn_block_stream(((struct peer *)app)->http, id); }
static void peer_shut(void *app, int64_t id) { nghttp3_conn_shutdown_stream_write(((struct peer *)app)->http, id); }
static uint64_t peer_error(void *app) {
  (void)app;
  return 0;
}

static const struct quic_app peer_app = {
    .stream_data = peer_data,
    .stream_acked = peer_acked,
    .stream_room = peer_room,
    .stream_reset = peer_reset,
    .stream_stopped = peer_stopped,
    .stream_closed = peer_closed,
    .output = peer_output,
    .output_written = peer_written,
    .output_blocked = peer_blocked,
    .output_shut = peer_shut,
    .app_error = peer_error,
};

static int peer_header(nghttp3_conn *conn, int64_t id, int32_t token, nghttp3_rcbuf *name, nghttp3_rcbuf *value,
                       uint8_t flags, void *user, void *stream) {
  (void)conn, (void)id, (void)name, (void)value, (void)stream;
  struct peer *peer = user;
  bool never = (flags & NGHTTP3_NV_FLAG_NEVER_INDEX) != 0;
  if (token == NGHTTP3_QPACK_TOKEN_CONTENT_LENGTH) {
    peer->named = true;
    peer->length_never = never;
  } else if (token == NGHTTP3_QPACK_TOKEN_USER_AGENT) {
    peer->agent_never = never;
  }
  return 0;
}

/* Our end is |ours|; the other is |peer|, or nobody but bytes by hand when |peer| is NULL. */
static struct pair *peer_open(struct peer *peer, int ours, struct pair_settings s) {
  struct pair *pair = pair_open_with(s, ours == SERVER, ours == CLIENT);
  struct quic_conn *conn = &pair->rig.conn[!ours];
  nghttp3_settings settings;
  nghttp3_settings_default(&settings);
  *peer = (struct peer){.pair = pair};
  nghttp3_callbacks callbacks = {.recv_header = peer_header};
  int64_t ids[3];
  assert_int_equal(ours == SERVER ? nghttp3_conn_client_new(&peer->http, &callbacks, &settings, NULL, peer)
                                  : nghttp3_conn_server_new(&peer->http, &callbacks, &settings, NULL, peer),
                   0);
  for (int i = 0; i < 3; i++)
    assert_int_equal(quic_open_uni_stream(conn, &ids[i]), ERR_OK);
  assert_int_equal(nghttp3_conn_bind_control_stream(peer->http, ids[0]), 0);
  assert_int_equal(nghttp3_conn_bind_qpack_streams(peer->http, ids[1], ids[2]), 0);
  conn->ops = &peer_app;
  conn->app = peer;
  return pair;
}

static void peer_close(struct peer *peer) {
  pair_close(peer->pair);
  nghttp3_conn_del(peer->http);
}

struct text_field {
  const char *name, *value;
};
enum { FIELDS_MAX = 8 };

static size_t fields_to_nv(const struct text_field *fields, size_t max, nghttp3_nv *nv) {
  size_t count = 0;
  for (; count < max && fields[count].name != NULL; count++)
    nv[count] = (nghttp3_nv){.flags = NGHTTP3_NV_FLAG_NO_COPY_NAME | NGHTTP3_NV_FLAG_NO_COPY_VALUE, /* as it is */
                             .name = (const uint8_t *)fields[count].name,
                             .value = (const uint8_t *)fields[count].value,
                             .namelen = strlen(fields[count].name),
                             .valuelen = strlen(fields[count].value)};
  return count;
}

/* |body|: bytes after the head; SIZE_MAX: the message is only a head. */
static int64_t peer_request(struct peer *peer, const struct text_field *fields, size_t max, size_t body) {
  nghttp3_nv nv[200];
  size_t count = fields_to_nv(fields, max, nv);
  nghttp3_data_reader reader = {.read_data = peer_read};
  int64_t id = -1; /* gcc 14 does not see that the assertion ends the test */
  assert_int_equal(quic_open_stream(&peer->pair->rig.conn[CLIENT], &id), ERR_OK);
  assert_int_equal(nghttp3_conn_submit_request(peer->http, id, nv, count, body == SIZE_MAX ? NULL : &reader,
                                               (void *)(uintptr_t)(body == SIZE_MAX ? 0 : body)),
                   0);
  return id;
}

/* --- requests -------------------------------------------------------------------------------------------------------
 */

#define GOOD                                                                                                           \
  {":method", "POST"}, {":scheme", "https"}, {":authority", "a"}, { ":path", "/" }

enum outcome { TAKEN, BREAKS_STREAM, BREAKS_CONNECTION };

struct request_row {
  const char *what;
  enum outcome outcome;
  uint64_t code; /* of the connection, or enum err of the stream */
  size_t body;
  struct text_field fields[FIELDS_MAX];
};

#define NO_BODY SIZE_MAX
static const struct request_row request_rows[] = {
    {"good", TAKEN, 0, NO_BODY, {GOOD}},
    {"upper case", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {"X-Upper", "1"}}},
    {"no path", BREAKS_CONNECTION, 0x10e, NO_BODY, {{":method", "GET"}, {":scheme", "https"}, {":authority", "a"}}},
    {"no method", BREAKS_CONNECTION, 0x10e, NO_BODY, {{":scheme", "https"}, {":authority", "a"}, {":path", "/"}}},
    {"two methods", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {":method", "GET"}}},
    {"pseudo after field", BREAKS_CONNECTION, 0x10e, NO_BODY, {{":method", "GET"}, {"a", "b"}, {":path", "/"}}},
    {"unknown pseudo", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {":foo", "x"}}},
    {"status in a request", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {":status", "200"}}},
    {"protocol", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {":protocol", "websocket"}}},
    {"connection", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {"connection", "close"}}},
    {"transfer-encoding", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {"transfer-encoding", "chunked"}}},
    {"upgrade", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {"upgrade", "h2c"}}},
    {"te", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {"te", "gzip"}}},
    {"te trailers", TAKEN, 0, NO_BODY, {GOOD, {"te", "trailers"}}},
    {"length with a sign", BREAKS_CONNECTION, 0x10e, NO_BODY, {GOOD, {"content-length", "+5"}}},
    {"two lengths", BREAKS_CONNECTION, 0x10e, 5, {GOOD, {"content-length", "5"}, {"content-length", "5"}}},
    {"too many bytes", BREAKS_CONNECTION, 0x10e, 6, {GOOD, {"content-length", "5"}}},
    {"too few bytes", BREAKS_STREAM, ERR_BAD_MESSAGE, 4, {GOOD, {"content-length", "5"}}},
    {"far too few bytes", BREAKS_STREAM, ERR_BAD_MESSAGE, 40000, {GOOD, {"content-length", "50000"}}},
    {"no bytes", BREAKS_STREAM, ERR_BAD_MESSAGE, 0, {GOOD, {"content-length", "5"}}},
    {"no bytes, only a head", BREAKS_STREAM, ERR_BAD_MESSAGE, NO_BODY, {GOOD, {"content-length", "5"}}},
    {"as many bytes", TAKEN, 0, 5, {GOOD, {"content-length", "5"}}},
    {"host differs", BREAKS_STREAM, ERR_BAD_MESSAGE, 100000, {GOOD, {"host", "b"}}},
    {"host agrees", TAKEN, 0, NO_BODY, {GOOD, {"host", "a"}}},
    {"authority is a list",
     BREAKS_STREAM,
     ERR_BAD_MESSAGE,
     NO_BODY,
     {{":method", "GET"}, {":scheme", "https"}, {":authority", "a,b"}, {":path", "/"}}},
    {"ftp",
     BREAKS_STREAM,
     ERR_BAD_MESSAGE,
     NO_BODY,
     {{":method", "GET"}, {":scheme", "ftp"}, {":authority", "a"}, {":path", "x"}}},
    {"fragment",
     BREAKS_STREAM,
     ERR_BAD_MESSAGE,
     NO_BODY,
     {{":method", "GET"}, {":scheme", "https"}, {":authority", "a"}, {":path", "/a#b"}}},
    {"connect", BREAKS_STREAM, ERR_CONNECT_METHOD, NO_BODY, {{":method", "CONNECT"}, {":authority", "a:1"}}},
    {"expectation", BREAKS_STREAM, ERR_EXPECTATION, 100, {GOOD, {"expect", "more"}}},
    {"injection", BREAKS_STREAM, ERR_BAD_MESSAGE, NO_BODY, {GOOD, {"x-evil", "a\r\nx-inj: 1"}}},
    {"injection, and a body",
     BREAKS_STREAM,
     ERR_BAD_MESSAGE,
     100000,
     {GOOD, {"x-evil", "a\nx-inj: 1"}, {"x-good", "1"}}},
    {"bad name", BREAKS_STREAM, ERR_BAD_MESSAGE, NO_BODY, {GOOD, {"x evil", "1"}}},
    {"empty name", BREAKS_STREAM, ERR_BAD_MESSAGE, NO_BODY, {GOOD, {"", "1"}}},
    {"space before a value", BREAKS_STREAM, ERR_BAD_MESSAGE, NO_BODY, {GOOD, {"x-space", " a"}}},
};

static const struct text_field good_fields[FIELDS_MAX] = {GOOD, {"content-length", "30000"}};

static void check_broken(struct pair *pair, const struct party *party, const struct request_row *row) {
  assert_false(pair->rig.dead);
  assert_int_equal(party->seen & (H3_BROKEN | H3_END), H3_BROKEN);
  assert_int_equal(party->error, row->code);
  assert_int_equal(party->in.end, FLOW_ABORTED);
  if ((party->seen & H3_HEAD) == 0)
    assert_int_equal(party->in.pushed, 0);
  /* The peer's table is told that nobody will read the rest: a Stream Cancellation after the stream's type. */
  const struct rig_half *decoder = rig_half(&pair->rig, 11, SERVER);
  assert_true(decoder->sent > 1 && (decoder->bytes[1] & 0xc0) == 0x40);
}

static void run_request(const struct request_row *row, uint64_t seed) {
  struct peer peer;
  struct pair *pair = peer_open(&peer, SERVER, (struct pair_settings){.seed = seed});
  peer_request(&peer, good_fields, FIELDS_MAX, 30000);
  peer_request(&peer, row->fields, FIELDS_MAX, row->body);
  for (int i = 0; i < 2; i++) {
    pair->calls[i].party[SERVER].plan = (struct plan){.mute = true};
    pair->calls[i].party[SERVER].plan.slow = true;
  }
  pair_run(pair);
  const struct party *server = &pair->calls[1].party[SERVER];
  if (row->outcome == BREAKS_CONNECTION) {
    assert_true(pair->rig.dead);
    assert_int_equal(pair->rig.conn[SERVER].failure, ERR_BAD_MESSAGE);
    assert_int_equal(pair->rig.conn[SERVER].failure_code, row->code);
    assert_int_equal(server->seen & H3_END, 0);
    if (row->body == NO_BODY)
      assert_int_equal(server->seen & H3_HEAD, 0);
  } else if (row->outcome == BREAKS_STREAM) {
    check_broken(pair, server, row);
    /* The sending part is still there for an answer. */
    struct party *party = &pair->calls[1].party[SERVER];
    party->head_out.status = 400;
    party->head_out.body = BODY_NONE;
    assert_int_equal(h3_respond(party->stream, &party->head_out, NULL, NULL), ERR_OK);
    pair_run(pair);
    assert_true(party->over);
    assert_true(rig_half(&pair->rig, 4, SERVER)->fin_delivered);
  } else {
    assert_false(pair->rig.dead);
    assert_int_equal(server->seen & (H3_HEAD | H3_END | H3_BROKEN), H3_HEAD | H3_END);
  }
  if (row->outcome != BREAKS_CONNECTION) {
    assert_int_equal(pair->rig.conn[SERVER].received, pair->rig.conn[SERVER].credited);
    assert_int_equal(pair->calls[0].party[SERVER].seen & (H3_HEAD | H3_BROKEN), H3_HEAD);
  }
  peer_close(&peer);
}

static void test_requests(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof request_rows / sizeof request_rows[0]; i++)
    for (uint64_t seed = 1; seed <= 3; seed++)
      run_request(&request_rows[i], seed);
}

/* Bytes that come after the break but before anybody could act on it, and that would be a connection error. */
static void test_more_after_break(void **state) {
  (void)state;
  static const struct text_field fields[FIELDS_MAX] = {GOOD, {"content-length", "5"}, {"host", "b"}};
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct peer peer;
    struct pair *pair = peer_open(&peer, SERVER, (struct pair_settings){.seed = seed});
    peer_request(&peer, fields, FIELDS_MAX, 2000);
    pair->calls[0].party[SERVER].plan.mute = true;
    while (rig_emit(&pair->rig.conn[CLIENT]))
      ;
    pair->rig.piece_max = 6;
    while (rig_deliver_half(&pair->rig.conn[SERVER], 0))
      ;
    pair_run(pair);
    assert_false(pair->rig.dead);
    assert_int_equal(pair->calls[0].party[SERVER].seen, H3_BROKEN);
    assert_int_equal(pair->rig.conn[SERVER].received, pair->rig.conn[SERVER].credited);
    peer_close(&peer);
  }
}

static void test_large_heads(void **state) {
  (void)state;
  static char long_text[60000];
  memset(long_text, 'x', sizeof long_text - 1);
  struct text_field fields[150] = {GOOD};
  for (int variant = 0; variant < 2; variant++) {
    struct peer peer;
    struct pair *pair = peer_open(&peer, SERVER, (struct pair_settings){.seed = 1, .table = 4096});
    memset(fields + 4, 0, sizeof fields - 4 * sizeof fields[0]);
    for (int i = 4; i < (variant == 0 ? 5 : 150); i++)
      fields[i] = (struct text_field){"x-many", variant == 0 ? long_text : "1"};
    peer_request(&peer, fields, 150, 50000);
    peer_request(&peer, good_fields, FIELDS_MAX, 30000);
    pair->calls[0].party[SERVER].plan.mute = pair->calls[1].party[SERVER].plan.mute = true;
    pair->calls[1].party[SERVER].plan.slow = true;
    pair_run(pair);
    const struct party *server = &pair->calls[0].party[SERVER];
    assert_false(pair->rig.dead);
    assert_int_equal(server->seen & (H3_HEAD | H3_BROKEN), H3_BROKEN);
    assert_int_equal(server->error, ERR_HEAD_TOO_LARGE);
    assert_int_equal(rig_half(&pair->rig, 0, CLIENT)->stop_code, 0x107);
    assert_int_equal(pair->calls[1].party[SERVER].seen & (H3_HEAD | H3_END), H3_HEAD | H3_END);
    peer_close(&peer);
  }
}

/* --- responses ------------------------------------------------------------------------------------------------------
 */

struct response_row {
  const char *what;
  enum outcome outcome;
  uint64_t code;
  size_t body;
  int informs;
  struct text_field fields[FIELDS_MAX];
};

static const struct response_row response_rows[] = {
    {"good", TAKEN, 0, 5, 1, {{":status", "200"}, {"content-length", "5"}}},
    {"no status", BREAKS_CONNECTION, 0x10e, 5, 0, {{"content-length", "5"}}},
    {"status 99", BREAKS_CONNECTION, 0x10e, 5, 0, {{":status", "099"}}},
    {"status 2xx", BREAKS_CONNECTION, 0x10e, 5, 0, {{":status", "2xx"}}},
    {"status 1000", BREAKS_CONNECTION, 0x10e, 5, 0, {{":status", "1000"}}},
    {"status 101", BREAKS_CONNECTION, 0x10e, NO_BODY, 0, {{":status", "101"}}},
    {"a request", BREAKS_CONNECTION, 0x10e, NO_BODY, 0, {{":status", "200"}, {":method", "GET"}}},
    {"1xx and no more", BREAKS_STREAM, ERR_BAD_MESSAGE, NO_BODY, 1, {{":status", "103"}}},
    {"1xx flood", BREAKS_STREAM, ERR_BAD_MESSAGE, 5, 17, {{":status", "200"}}},
    {"short", BREAKS_STREAM, ERR_BAD_MESSAGE, 300, 0, {{":status", "200"}, {"content-length", "301"}}},
    {"long", BREAKS_CONNECTION, 0x10e, 302, 0, {{":status", "200"}, {"content-length", "301"}}},
    {"body in 204", BREAKS_CONNECTION, 0x10e, 10, 0, {{":status", "204"}}},
    {"length in 204", BREAKS_CONNECTION, 0x10e, NO_BODY, 0, {{":status", "204"}, {"content-length", "9"}}},
    {"connection", BREAKS_CONNECTION, 0x10e, 10, 0, {{":status", "200"}, {"connection", "close"}}},
    {"upper case", BREAKS_CONNECTION, 0x10e, 10, 0, {{":status", "200"}, {"Server", "x"}}},
    {"nothing", BREAKS_STREAM, ERR_BAD_MESSAGE, 0, -1, {{NULL, NULL}}},
};

static void peer_respond(struct peer *peer, int64_t id, const struct response_row *row) {
  static const struct text_field inform[] = {{":status", "103"}, {"link", "x"}, {NULL, NULL}};
  nghttp3_nv nv[FIELDS_MAX];
  nghttp3_data_reader reader = {.read_data = peer_read};
  if (row->informs < 0) {
    rig_half(&peer->pair->rig, id, SERVER)->fin_sent = true;
    return;
  }
  for (int i = 0; i < row->informs; i++)
    assert_int_equal(nghttp3_conn_submit_info(peer->http, id, nv, fields_to_nv(inform, 3, nv)), 0);
  size_t body = row->body == NO_BODY ? 0 : row->body, count = fields_to_nv(row->fields, FIELDS_MAX, nv);
  assert_int_equal(nghttp3_conn_set_stream_user_data(peer->http, id, (void *)(uintptr_t)body), 0);
  assert_int_equal(nghttp3_conn_submit_response(peer->http, id, nv, count, row->body == NO_BODY ? NULL : &reader), 0);
}

static void run_response(const struct response_row *row, uint64_t seed) {
  static const struct response_row good = {"", TAKEN, 0, 30000, 0, {{":status", "200"}, {"content-length", "30000"}}};
  static const struct plan request = {.end = FLOW_EOF}, unread = {.slow = true};
  struct peer peer;
  struct pair *pair = peer_open(&peer, CLIENT, (struct pair_settings){.seed = seed});
  for (int i = 0; i < 2; i++) {
    assert_int_equal(call_start(pair, "GET", request, unread), ERR_OK);
    pair->calls[i].party[CLIENT].plan.slow = true;
  }
  for (int i = 0; i < 20; i++)
    rig_tick(&pair->rig, pair_pump, pair);
  peer_respond(&peer, 0, &good);
  peer_respond(&peer, 4, row);
  pair_run(pair);
  struct party *client = &pair->calls[1].party[CLIENT];
  if (row->outcome == BREAKS_CONNECTION) {
    assert_true(pair->rig.dead);
    assert_int_equal(pair->rig.conn[CLIENT].failure_code, row->code);
    assert_int_equal(client->seen & H3_END, 0);
  } else if (row->outcome == BREAKS_STREAM) {
    assert_false(pair->rig.dead);
    assert_int_equal(client->seen & (H3_BROKEN | H3_END), H3_BROKEN);
    assert_int_equal(client->error, row->code);
    assert_int_equal(client->in.end, FLOW_ABORTED);
    if (!client->over)
      h3_cancel(client->stream, ERR_BAD_MESSAGE);
    pair_run(pair);
    assert_true(client->over);
  } else {
    assert_int_equal(client->seen & (H3_HEAD | H3_END | H3_BROKEN), H3_HEAD | H3_END);
    assert_int_equal(client->informed, 1);
  }
  if (row->outcome != BREAKS_CONNECTION)
    assert_int_equal(pair->calls[0].party[CLIENT].seen & (H3_HEAD | H3_END | H3_BROKEN), H3_HEAD | H3_END);
  peer_close(&peer);
}

static void test_responses(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof response_rows / sizeof response_rows[0]; i++)
    for (uint64_t seed = 1; seed <= 3; seed++)
      run_response(&response_rows[i], seed);
}

/* --- bytes by hand --------------------------------------------------------------------------------------------------
 */

struct bytes_row {
  const char *what;
  int64_t id;
  const char *bytes;
  size_t len;
  bool fin;
  enum outcome outcome;
  uint64_t code;
};
#define BYTES(text) text, sizeof(text) - 1

static const struct bytes_row bytes_rows[] = {
    {"fin and nothing", 0, BYTES(""), true, TAKEN, 0x10d},
    {"fin in a frame header", 0, BYTES("\x01"), true, TAKEN, 0x10d},
    {"fin in a head", 0, BYTES("\x01\x05\x00"), true, BREAKS_STREAM, ERR_BAD_MESSAGE},
    {"data first", 0, BYTES("\x00\x01x"), false, BREAKS_CONNECTION, 0x105},
    {"settings on a request", 0, BYTES("\x04\x00"), false, BREAKS_CONNECTION, 0x105},
    {"push promise", 0, BYTES("\x05\x01\x00"), false, BREAKS_CONNECTION, 0x105},
    {"reserved type of HTTP/2", 0, BYTES("\x06\x00"), false, BREAKS_CONNECTION, 0x105},
    {"unknown frame, then a broken head", 0, BYTES("\x21\x02xx\x01\x02\x00\x00"), false, BREAKS_CONNECTION, 0x10e},
    {"empty head", 0, BYTES("\x01\x00"), false, BREAKS_CONNECTION, 0x10e},
    {"table entry that is not there", 0, BYTES("\x01\x03\x00\x00\x80"), false, BREAKS_CONNECTION, 0x200},
    {"no settings", 14, BYTES("\x00\x07\x01\x00"), false, BREAKS_CONNECTION, 0x10a},
    {"settings twice", 14, BYTES("\x00\x04\x00\x04\x00"), false, BREAKS_CONNECTION, 0x105},
    {"settings of HTTP/2", 14, BYTES("\x00\x04\x02\x02\x01"), false, BREAKS_CONNECTION, 0x109},
    {"end of the control stream", 14, BYTES("\x00\x04\x00"), true, BREAKS_CONNECTION, 0x104},
    {"push stream", 14, BYTES("\x01\x00"), false, BREAKS_CONNECTION, 0x103},
    {"stream of unknown type", 14, BYTES("\x21hello"), true, TAKEN, 0},
    {"encoder: table too large", 14, BYTES("\x02\x3f\xff\xff\xff\x7f"), false, BREAKS_CONNECTION, 0x201},
    {"decoder: insert count 0", 14, BYTES("\x03\x00"), false, BREAKS_CONNECTION, 0x202},
    {"priority of a stream far away", 14, BYTES("\x00\x04\x00\x80\x0f\x07\x00\x04\xbf\xff\xff\xfc"), false,
     BREAKS_CONNECTION, 0x108},
    {"priority of the next stream", 14, BYTES("\x00\x04\x00\x80\x0f\x07\x00\x01\x04"), false, TAKEN, 0},
};

static void test_bytes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bytes_rows / sizeof bytes_rows[0]; i++)
    for (uint64_t seed = 1; seed <= 4; seed++) {
      const struct bytes_row *row = &bytes_rows[i];
      struct peer peer;
      struct pair *pair = peer_open(&peer, SERVER, (struct pair_settings){.seed = seed, .table = 4096});
      pair->rig.piece_max = seed == 1 ? 1 : 100;
      pair->calls[0].party[SERVER].plan.mute = true;
      /* Of the peer's own streams nothing is let through: the bytes by hand stand for them. */
      for (int64_t id = 2; id <= 10; id += 4)
        rig_half(&pair->rig, id, CLIENT)->held = row->id == 14;
      struct rig_half *half = rig_half(&pair->rig, row->id, CLIENT);
      rig_append(half, (const uint8_t *)row->bytes, row->len);
      half->fin_sent = row->fin;
      pair_run(pair);
      const struct party *server = &pair->calls[0].party[SERVER];
      assert_int_equal(pair->rig.dead, row->outcome == BREAKS_CONNECTION);
      if (row->outcome == BREAKS_CONNECTION)
        assert_int_equal(pair->rig.conn[SERVER].failure_code, row->code);
      else if (row->outcome == BREAKS_STREAM)
        assert_int_equal(server->error, row->code);
      else if (row->id == 0)
        assert_int_equal(rig_half(&pair->rig, 0, SERVER)->reset_code, row->code);
      assert_int_equal(server->seen & (H3_HEAD | H3_END), 0);
      peer_close(&peer);
    }
}

/* A peer may set priorities for as many streams as it could open, counted from the newest. */
static void test_priority_limit(void **state) {
  (void)state;
  static const char request[] = "\x01\x08\x00\x00\xd1\xd7\xc1\x50\x01\x61"; /* GET / of a, by static table */
  static const char *const updates[] = {"\x00\x04\x00\x80\x0f\x07\x00\x02\x43\x20",
                                        "\x00\x04\x00\x80\x0f\x07\x00\x02\x43\x24"};
  for (int i = 0; i < 2; i++) {
    struct peer peer;
    struct pair *pair = peer_open(&peer, SERVER, (struct pair_settings){.seed = 1});
    assert_int_equal(pair->streams[SERVER].capacity, 200);
    pair->calls[0].party[SERVER].plan.mute = true;
    for (int64_t id = 2; id <= 10; id += 4)
      rig_half(&pair->rig, id, CLIENT)->held = true;
    rig_append(rig_half(&pair->rig, 0, CLIENT), (const uint8_t *)request, sizeof request - 1);
    pair_run(pair);
    assert_int_equal(pair->calls[0].party[SERVER].seen, H3_HEAD);
    rig_append(rig_half(&pair->rig, 14, CLIENT), (const uint8_t *)updates[i], 10);
    pair_run(pair);
    assert_int_equal(pair->rig.dead, i == 1);
    peer_close(&peer);
  }
}

/* What has NAME_NO_INDEX is a literal with the N bit each time (RFC 9204 section 4.5.4), other fields are not. */
static void test_never_indexed(void **state) {
  (void)state;
  struct peer peer;
  struct plan request = {.body = BODY_SIZED, .length = 5, .bytes = 5}, unread = {.mute = true};
  struct pair *pair = peer_open(&peer, CLIENT, (struct pair_settings){.seed = 3, .table = 4096});
  for (int i = 0; i < 2; i++) {
    peer.named = peer.length_never = false;
    peer.agent_never = true;
    assert_int_equal(call_start(pair, "POST", request, unread), ERR_OK);
    for (int tick = 0; tick < 50; tick++)
      rig_tick(&pair->rig, pair_pump, pair);
    assert_true(peer.named && peer.length_never && !peer.agent_never);
  }
  peer_close(&peer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_requests),      cmocka_unit_test(test_more_after_break),
      cmocka_unit_test(test_large_heads),   cmocka_unit_test(test_responses),
      cmocka_unit_test(test_bytes),         cmocka_unit_test(test_priority_limit),
      cmocka_unit_test(test_never_indexed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
