/* Requests and responses between two h3 over h3_rig.h: a small session on each side that produces, consumes and checks
   bodies as each call's plan says, and remembers what it saw. */
#ifndef PTP_TESTS_UNIT_H3_CALL_H
#define PTP_TESTS_UNIT_H3_CALL_H

#include <stdio.h>

#include "base/limits.h"
#include "base/must.h"
#include "unit/h3_rig.h"

enum { CALLS = 200 };

/* What one side says in one call. Zeros: no body. */
struct plan {
  enum body_kind body;
  uint64_t length;   /* BODY_SIZED: content-length */
  uint64_t bytes;    /* that are produced before the end */
  enum flow_end end; /* FLOW_OPEN: never */
  enum err reason;
  const char *trailer;
  uint16_t status; /* server; 0: 200 */
  int informs;     /* server: 1xx before it */
  bool late;       /* server: responds only when the request is complete */
  bool slow;       /* does not consume the peer's body */
  bool mute;       /* server: never responds */
};

static const struct plan PLAIN = {.end = FLOW_EOF};

static inline struct plan sized(uint64_t len) {
  return (struct plan){.body = len > 0 ? BODY_SIZED : BODY_NONE, .length = len, .bytes = len, .end = FLOW_EOF};
}

static inline struct plan open_ended(uint64_t len) {
  return (struct plan){.body = BODY_CHUNKED, .bytes = len, .end = FLOW_EOF};
}

struct party {
  struct plan plan;
  struct h3_stream *stream;
  struct head head_out, head_in, informational;
  struct fields trailers_out, trailers_in;
  struct flow out, in;
  uint64_t produced, consumed;
  unsigned seen;
  uint8_t error;
  uint64_t code;
  int informed;
  bool begun, said, over;
};

struct call {
  int number;
  const char *method;
  struct party party[SIDES];
};

struct pair {
  struct rig rig;
  struct h3 *h3[SIDES];
  struct chunks chunks[SIDES];
  struct pool streams[SIDES];
  struct head_limits limits;
  struct call calls[CALLS];
  int count;
  uint32_t refuse; /* bits by call: accept says no */
  bool hooked;     /* 1xx heads are taken as they come, not as events */
};

static uint8_t body_byte(const struct call *call, int sender, uint64_t at) {
  return (uint8_t)(at * 31 + (at >> 8) * 7 + (uint64_t)call->number * 13 + (uint64_t)sender * 101);
}

static void party_open(struct pair *pair, struct party *party, int side) {
  struct chunks *chunks = &pair->chunks[side];
  head_open(&party->head_out, chunks, pair->limits);
  head_open(&party->head_in, chunks, pair->limits);
  head_open(&party->informational, chunks, pair->limits);
  fields_open(&party->trailers_out, chunks, pair->limits);
  fields_open(&party->trailers_in, chunks, pair->limits);
  flow_open(&party->out, chunks);
  flow_open(&party->in, chunks);
  party->begun = true;
}

static void party_close(struct party *party) {
  if (!party->begun)
    return;
  head_close(&party->head_out);
  head_close(&party->head_in);
  head_close(&party->informational);
  fields_close(&party->trailers_out);
  fields_close(&party->trailers_in);
  flow_close(&party->out);
  flow_close(&party->in);
}

static bool pair_accept(void *context, struct h3_stream *stream) {
  struct pair *pair = context;
  struct call *call = &pair->calls[stream->id / 4];
  if (stream->id / 4 < 32 && (pair->refuse >> (stream->id / 4) & 1) != 0)
    return false;
  struct party *party = &call->party[SERVER];
  party_open(pair, party, SERVER);
  party->stream = stream;
  stream->owner = call;
  stream->head = &party->head_in;
  stream->in = &party->in;
  stream->trailers = &party->trailers_in;
  return true;
}

struct pair_settings {
  uint64_t seed, table, stream_window;
  uint32_t streams, server_streams, small, large, spans;
  struct head_limits limits;
};

static void pair_informed(void *context, struct h3_stream *stream) {
  const struct pair *pair = context;
  if (!pair->hooked)
    return;
  struct party *party = &((struct call *)stream->owner)->party[CLIENT];
  assert_int_equal(stream->informational->status, party->informed++ % 2 == 0 ? 100 : 103);
  head_close(stream->informational);
}

static const struct h3_events pair_events = {.accept = pair_accept, .informed = pair_informed};

static void pair_open_h3(struct pair *pair, int side, uint64_t table) {
  struct h3_settings settings = {
      .server = side == SERVER, .limits = pair->limits, .qpack_table_capacity = table, .streams = &pair->streams[side]};
  struct quic_conn *conn = &pair->rig.conn[side];
  assert_int_equal(h3_open(&pair->h3[side], conn, &settings, &pair_events, pair), ERR_OK);
  conn->ops = &h3_quic_app;
  conn->app = pair->h3[side];
}

static struct pair *pair_open_with(struct pair_settings s, bool client_by_hand, bool server_by_hand) {
  struct pair *pair = calloc(1, sizeof *pair);
  assert_non_null(pair);
  rig_open(&pair->rig, s.seed != 0 ? s.seed : 1);
  if (s.stream_window != 0)
    pair->rig.stream_window = s.stream_window;
  pair->limits = s.limits.bytes != 0 ? s.limits : (struct head_limits){16384, 100};
  for (int side = 0; side < SIDES; side++) {
    assert_int_equal(chunks_open(&pair->chunks[side], s.small != 0 ? s.small : 2048, s.large != 0 ? s.large : 64,
                                 s.spans != 0 ? s.spans : 4096),
                     ERR_OK);
    uint32_t streams = s.streams != 0 ? s.streams : CALLS;
    if (side == SERVER && s.server_streams != 0)
      streams = s.server_streams;
    assert_int_equal(pool_open(&pair->streams[side], "streams", sizeof(struct h3_stream), streams), ERR_OK);
    if (side == CLIENT ? !client_by_hand : !server_by_hand)
      pair_open_h3(pair, side, s.table);
  }
  return pair;
}

static inline struct pair *pair_open(struct pair_settings s) { return pair_open_with(s, false, false); }

static void text_set(struct head *head, struct text_at *which, const char *text) {
  assert_int_equal(head_set(head, which, bytes_of_text(text)), ERR_OK);
}

static void field_add(struct fields *fields, const char *name, const char *value) {
  assert_int_equal(fields_add(fields, bytes_of_text(name), bytes_of_text(value)), ERR_OK);
}

static void plan_head(struct head *head, const struct plan *plan) {
  head->body = (uint8_t)plan->body;
  if (plan->body != BODY_SIZED && plan->length == 0)
    return;
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)plan->length);
  field_add(&head->fields, "content-length", text);
  head->has_length = true;
  head->content_length = plan->length;
}

/* Something new for QPACK's table in each call. */
static void number_add(struct fields *fields, int number) {
  char text[32];
  snprintf(text, sizeof text, "number %d of many", number);
  field_add(fields, "x-call", text);
}

static enum err call_start(struct pair *pair, const char *method, struct plan request, struct plan response) {
  assert_true(pair->count < CALLS);
  struct call *call = &pair->calls[pair->count];
  struct party *client = &call->party[CLIENT];
  *call = (struct call){.number = pair->count, .method = method};
  client->plan = request;
  call->party[SERVER].plan = response;
  party_open(pair, client, CLIENT);
  text_set(&client->head_out, &client->head_out.method, method);
  text_set(&client->head_out, &client->head_out.target, "/path?query");
  text_set(&client->head_out, &client->head_out.authority, "example.net:8080");
  field_add(&client->head_out.fields, "user-agent", "a test of h3");
  number_add(&client->head_out.fields, call->number);
  plan_head(&client->head_out, &request);
  if (request.trailer != NULL)
    field_add(&client->trailers_out, "x-trailer", request.trailer);
  enum err err =
      h3_request(pair->h3[CLIENT], &client->stream, call, &client->head_out, &client->out, &client->trailers_out,
                 &client->head_in, &client->informational, &client->in, &client->trailers_in);
  if (err == ERR_OK) {
    client->said = true;
    pair->count++;
  } else {
    party_close(client);
    client->begun = false;
  }
  return err;
}

static void call_inform(struct pair *pair, struct party *party) {
  struct head head;
  head_open(&head, &pair->chunks[SERVER], pair->limits);
  head.status = party->informed % 2 == 0 ? 100 : 103;
  field_add(&head.fields, "link", "</style.css>; rel=preload");
  assert_int_equal(h3_inform(party->stream, &head), ERR_OK);
  head_close(&head);
  party->informed++;
}

static bool call_respond(struct pair *pair, struct party *party) {
  if (party->said || party->over || party->plan.mute || (party->seen & H3_HEAD) == 0)
    return false;
  if (party->plan.late && (party->seen & (H3_END | H3_RESET | H3_BROKEN)) == 0)
    return false;
  while (party->informed < party->plan.informs)
    call_inform(pair, party);
  party->head_out.status = party->plan.status != 0 ? party->plan.status : 200;
  field_add(&party->head_out.fields, "server", "a test of h3");
  number_add(&party->head_out.fields, container_of(party, struct call, party[SERVER])->number);
  plan_head(&party->head_out, &party->plan);
  if (party->plan.trailer != NULL)
    field_add(&party->trailers_out, "x-trailer", party->plan.trailer);
  party->said = h3_respond(party->stream, &party->head_out, &party->out, &party->trailers_out) == ERR_OK;
  return party->said;
}

static bool call_produce(struct pair *pair, struct call *call, int side) {
  struct party *party = &call->party[side];
  if (!party->said || party->over || party->out.end != FLOW_OPEN)
    return false;
  uint8_t piece[5000];
  size_t room = flow_room(&party->out), len = 1 + draw_below(&pair->rig.seed, sizeof piece);
  len = rig_min(rig_min(len, room), party->plan.bytes - party->produced);
  for (size_t i = 0; i < len; i++)
    piece[i] = body_byte(call, side, party->produced + i);
  if (len > 0 && flow_push_copy(&party->out, piece, len) != ERR_OK)
    return false;
  party->produced += len;
  bool ends = party->produced == party->plan.bytes && party->plan.end != FLOW_OPEN;
  if (ends)
    flow_end(&party->out, party->plan.end, party->plan.reason);
  if (len > 0 || ends)
    h3_output(party->stream);
  return len > 0 || ends;
}

static bool call_consume(struct call *call, int side) {
  struct party *party = &call->party[side];
  size_t bytes = 0;
  struct iovec iov[FLOW_IOV_MAX];
  if (party->plan.slow || !party->begun)
    return false;
  size_t count = flow_peek(&party->in, iov, FLOW_IOV_MAX, &bytes);
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < iov[i].iov_len; j++, party->consumed++)
      assert_int_equal(((uint8_t *)iov[i].iov_base)[j], body_byte(call, !side, party->consumed));
  if (bytes == 0)
    return false;
  flow_take(&party->in, bytes);
  flow_release(&party->in, bytes);
  if (!party->over)
    h3_input(party->stream);
  return true;
}

static bool pair_events_take(struct pair *pair, int side) {
  struct h3_stream *stream = h3_ready(pair->h3[side]);
  if (stream == NULL)
    return false;
  struct call *call = stream->owner;
  struct party *party = &call->party[side];
  unsigned events = stream->events;
  stream->events = 0;
  assert_int_not_equal(events, 0);
  assert_false(party->over);
  party->seen |= events;
  party->error = stream->error;
  party->code = stream->code;
  if ((events & H3_INFORMATIONAL) != 0 && !pair->hooked) {
    assert_true(party->informational.status >= 100 && party->informational.status < 200);
    head_close(&party->informational);
    party->informed++;
  }
  if ((events & H3_CLOSED) != 0) {
    party->over = true;
    h3_stream_done(stream);
  }
  return true;
}

static bool pair_pump(void *context, int side) {
  struct pair *pair = context;
  bool busy = false;
  if (pair->h3[side] == NULL)
    return false;
  while (pair_events_take(pair, side))
    busy = true;
  for (int i = 0; i < pair->count || (pair->h3[CLIENT] == NULL && i < CALLS); i++) {
    struct call *call = &pair->calls[i];
    if (!call->party[side].begun)
      continue;
    busy = (side == SERVER && call_respond(pair, &call->party[side])) || busy;
    busy = call_produce(pair, call, side) || busy;
    busy = call_consume(call, side) || busy;
  }
  while (pair_events_take(pair, side))
    busy = true;
  return busy;
}

static void pair_run(struct pair *pair) { rig_run(&pair->rig, pair_pump, pair); }

static void pair_abandon(struct pair *pair) {
  for (int side = 0; side < SIDES; side++) {
    if (pair->h3[side] == NULL)
      continue;
    h3_abandon(pair->h3[side]);
    while (pair_events_take(pair, side))
      ;
    assert_int_equal(h3_stream_count(pair->h3[side]), 0);
  }
}

/* Ends with every pool empty. */
static void pair_close(struct pair *pair) {
  pair_abandon(pair);
  for (int i = 0; i < CALLS; i++)
    for (int side = 0; side < SIDES; side++)
      party_close(&pair->calls[i].party[side]);
  for (int side = 0; side < SIDES; side++) {
    if (pair->h3[side] != NULL)
      h3_close(pair->h3[side]);
    assert_int_equal(pair->streams[side].live, 0);
    assert_int_equal(pair->chunks[side].headers[CHUNK_SMALL].live, 0);
    assert_int_equal(pair->chunks[side].headers[CHUNK_LARGE].live, 0);
    assert_int_equal(pair->chunks[side].spans.live, 0);
    pool_close(&pair->streams[side]);
    chunks_close(&pair->chunks[side]);
  }
  rig_close(&pair->rig);
  free(pair);
}

/* Every byte of every stream that was not reset was credited, and every byte of the connection. */
static inline void credits_check(struct pair *pair) {
  for (int side = 0; side < SIDES; side++) {
    assert_int_equal(pair->rig.conn[side].received, pair->rig.conn[side].credited);
    for (int kind = 0; kind < 4; kind++)
      for (int i = 0; i < RIG_STREAMS; i++) {
        const struct rig_stream *stream = pair->rig.streams[kind][i];
        if (stream != NULL && !stream->half[!side].reset_sent)
          assert_int_equal(stream->half[!side].credited, stream->half[!side].delivered);
      }
  }
}

/* Both sides of call |number| saw a complete exchange. */
static inline void call_check(const struct pair *pair, int number) {
  const struct call *call = &pair->calls[number];
  for (int side = 0; side < SIDES; side++) {
    const struct party *party = &call->party[side], *other = &call->party[!side];
    assert_true(party->over);
    assert_int_equal(party->seen & (H3_HEAD | H3_END), H3_HEAD | H3_END);
    assert_int_equal(party->seen & (H3_BROKEN | H3_RESET | H3_STOPPED), 0);
    assert_int_equal(party->in.end, FLOW_EOF);
    assert_int_equal(party->consumed, other->produced);
    assert_int_equal(party->out.released, party->out.pushed);
  }
}

#endif
