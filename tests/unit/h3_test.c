/* Messages that go well, and how they are limited: bodies, trailers, 1xx, HEAD, credit, chunks, heads. */
#include <stdio.h>

#include "unit/h3_call.h"

static void test_bodies(void **state) {
  (void)state;
  static const uint64_t sizes[] = {0, 1, 100, 1023, 4095, 4096, 16384, 65537, 300000};
  enum { SIZES = sizeof sizes / sizeof sizes[0] };
  for (uint64_t seed = 1; seed <= 6; seed++) {
    struct pair *pair = pair_open((struct pair_settings){.seed = seed, .table = seed % 2 * 4096});
    pair->rig.piece_max = seed == 6 ? 40 : 700 * seed;
    for (int i = 0; i < SIZES; i++) {
      uint64_t there = sizes[i] / (seed == 6 ? 20 : 1), back = sizes[(i + (int)seed) % SIZES] / (seed == 6 ? 20 : 1);
      assert_int_equal(call_start(pair, "POST", sized(there), open_ended(back)), ERR_OK);
      assert_int_equal(call_start(pair, "PUT", open_ended(there), sized(back)), ERR_OK);
    }
    pair_run(pair);
    assert_false(pair->rig.dead);
    for (int i = 0; i < pair->count; i++)
      call_check(pair, i);
    credits_check(pair);
    assert_true(h3_peer_settings(pair->h3[CLIENT]) && h3_peer_settings(pair->h3[SERVER]));
    assert_int_equal(h3_stream_count(pair->h3[CLIENT]) + h3_stream_count(pair->h3[SERVER]), 0);
    pair_close(pair);
  }
}

static void expect_field(const struct fields *fields, const char *name, const char *value) {
  struct bytes have_name, have_value;
  uint32_t index = fields_find(fields, bytes_of_text(name), 0);
  if (value == NULL) {
    assert_int_equal(index, fields->count);
    return;
  }
  assert_true(index < fields->count);
  assert_true(fields_get(fields, index, &have_name, &have_value));
  assert_true(bytes_equal(have_value, bytes_of_text(value)));
}

static void test_heads(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.table = 4096});
  assert_int_equal(call_start(pair, "POST", sized(10), sized(20)), ERR_OK);
  pair->calls[0].party[CLIENT].head_out.trailers_accepted = true; /* too late: the head was handed over */
  assert_int_equal(call_start(pair, "GET", PLAIN, open_ended(20)), ERR_OK);
  pair_run(pair);
  const struct party *client = pair->calls[0].party, *server = client + 1;
  assert_true(bytes_equal(head_method(&server->head_in), BYTES_LITERAL("POST")));
  assert_true(bytes_equal(head_target(&server->head_in), BYTES_LITERAL("/path?query")));
  assert_true(bytes_equal(head_authority(&server->head_in), BYTES_LITERAL("example.net:8080")));
  expect_field(&server->head_in.fields, "user-agent", "a test of h3");
  expect_field(&server->head_in.fields, "content-length", "10");
  assert_false(server->head_in.trailers_accepted);
  assert_int_equal(server->head_in.body, BODY_SIZED);
  assert_int_equal(client->head_in.status, 200);
  expect_field(&client->head_in.fields, "server", "a test of h3");
  assert_int_equal(client->head_in.content_length, 20);
  /* A request that is known to have no body says so; a response of unknown length does not. */
  assert_int_equal(pair->calls[1].party[SERVER].head_in.body, BODY_NONE);
  assert_int_equal(pair->calls[1].party[CLIENT].head_in.body, BODY_CHUNKED);
  pair_close(pair);
}

/* A request that is there before anybody has looked: whether it has a body is known then. */
static void test_request_at_once(void **state) {
  (void)state;
  for (uint64_t bytes = 0; bytes < 2; bytes++) {
    struct pair *pair = pair_open((struct pair_settings){.seed = 9});
    assert_int_equal(call_start(pair, "POST", open_ended(bytes), sized(5)), ERR_OK);
    while (pair_pump(pair, CLIENT) || rig_emit(&pair->rig.conn[CLIENT]))
      ;
    while (rig_deliver_half(&pair->rig.conn[SERVER], 0))
      ;
    pair_run(pair);
    call_check(pair, 0);
    assert_int_equal(pair->calls[0].party[SERVER].head_in.body, bytes == 0 ? BODY_NONE : BODY_CHUNKED);
    pair_close(pair);
  }
}

static void test_request_extras(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.table = 0});
  struct call *call = &pair->calls[0];
  struct party *client = &call->party[CLIENT];
  *call = (struct call){.method = "GET"};
  call->party[SERVER].plan = sized(3);
  party_open(pair, client, CLIENT);
  text_set(&client->head_out, &client->head_out.method, "GET");
  text_set(&client->head_out, &client->head_out.target, "/");
  field_add(&client->head_out.fields, "gone", "x");
  field_add(&client->head_out.fields, "authorization", "secret");
  fields_remove(&client->head_out.fields, 0);
  client->head_out.trailers_accepted = true;
  assert_int_equal(h3_request(pair->h3[CLIENT], &client->stream, call, &client->head_out, NULL, NULL, &client->head_in,
                              NULL, &client->in, NULL),
                   ERR_OK);
  pair->count = 1;
  pair_run(pair);
  call_check(pair, 0);
  const struct head *head = &call->party[SERVER].head_in;
  assert_true(bytes_equal(head_authority(head), BYTES_LITERAL("localhost")));
  assert_true(head->trailers_accepted);
  expect_field(&head->fields, "gone", NULL);
  expect_field(&head->fields, "authorization", "secret");
  pair_close(pair);
}

static void test_trailers(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 4; seed++) {
    struct pair *pair = pair_open((struct pair_settings){.seed = seed, .table = 4096});
    struct plan plan = open_ended(seed * 5000 - 5000);
    plan.trailer = "there";
    assert_int_equal(call_start(pair, "POST", plan, plan), ERR_OK);
    plan = sized(7000);
    plan.trailer = "back";
    assert_int_equal(call_start(pair, "POST", plan, plan), ERR_OK);
    pair_run(pair);
    for (int i = 0; i < 2; i++) {
      call_check(pair, i);
      for (int side = 0; side < SIDES; side++)
        expect_field(&pair->calls[i].party[side].trailers_in, "x-trailer", i == 0 ? "there" : "back");
    }
    /* Nothing but trailers is not the same as nothing. */
    assert_int_equal(pair->calls[0].party[SERVER].head_in.body, BODY_CHUNKED);
    pair_close(pair);
  }
}

static void test_informational(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.table = 4096});
  for (int i = 0; i <= INFORMATIONAL_MAX + 1; i += INFORMATIONAL_MAX / 2) {
    struct plan plan = sized(100);
    plan.informs = i;
    assert_int_equal(call_start(pair, "GET", PLAIN, plan), ERR_OK);
  }
  pair_run(pair);
  for (int i = 0; i < pair->count; i++) {
    const struct call *call = &pair->calls[i];
    call_check(pair, i);
    assert_int_equal(call->party[CLIENT].informed > 0, call->party[SERVER].plan.informs > 0);
    assert_true(call->party[CLIENT].informed <= call->party[SERVER].plan.informs);
    assert_int_equal(call->party[CLIENT].head_in.status, 200);
  }
  pair_close(pair);
}

/* None is lost when they are taken as they come. */
static void test_informational_hook(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.table = 4096});
  pair->hooked = true;
  for (int i = 0; i < 4; i++) {
    struct plan plan = sized(100);
    plan.informs = i * INFORMATIONAL_MAX / 3;
    assert_int_equal(call_start(pair, "GET", PLAIN, plan), ERR_OK);
  }
  pair_run(pair);
  for (int i = 0; i < pair->count; i++) {
    call_check(pair, i);
    assert_int_equal(pair->calls[i].party[CLIENT].informed, pair->calls[i].party[SERVER].plan.informs);
  }
  pair_close(pair);
}

static void test_informational_flood(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.table = 0});
  struct plan plan = sized(100);
  plan.informs = INFORMATIONAL_MAX + 1;
  assert_int_equal(call_start(pair, "GET", PLAIN, plan), ERR_OK);
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(50000)), ERR_OK);
  pair_run(pair);
  const struct party *client = &pair->calls[0].party[CLIENT];
  assert_int_equal(client->seen & (H3_HEAD | H3_BROKEN), H3_BROKEN);
  assert_int_equal(client->error, ERR_BAD_MESSAGE);
  assert_int_equal(pair->calls[0].party[SERVER].code, 0x10e);
  call_check(pair, 1);
  pair_close(pair);
}

static void test_no_body(void **state) {
  (void)state;
  static const struct {
    const char *method;
    uint16_t status;
    uint64_t length;
  } rows[] = {{"HEAD", 200, 5000}, {"HEAD", 404, 0}, {"GET", 204, 0}, {"GET", 204, 12}, {"GET", 304, 4000}};
  enum { ROWS = sizeof rows / sizeof rows[0] };
  struct pair *pair = pair_open((struct pair_settings){.table = 4096});
  for (int i = 0; i < ROWS; i++) {
    struct plan plan = {.status = rows[i].status, .length = rows[i].length, .end = FLOW_EOF};
    plan.body = i % 2 == 0 ? BODY_NONE : BODY_CHUNKED; /* a body that may not be there is left out */
    assert_int_equal(call_start(pair, rows[i].method, PLAIN, plan), ERR_OK);
  }
  pair_run(pair);
  assert_false(pair->rig.dead);
  for (int i = 0; i < ROWS; i++) {
    const struct head *head = &pair->calls[i].party[CLIENT].head_in;
    call_check(pair, i);
    assert_int_equal(head->status, rows[i].status);
    assert_int_equal(head->body, BODY_NONE);
    assert_int_equal(head->has_length, rows[i].length > 0 && rows[i].status != 204);
  }
  pair_close(pair);
}

/* Nobody consumes: the connection's credit comes back all the same, the stream's does not, and others go on. */
static void test_back_pressure(void **state) {
  (void)state;
  for (int slow = 0; slow < SIDES; slow++) {
    struct pair *pair = pair_open((struct pair_settings){.table = 0, .stream_window = 20000});
    struct plan request = open_ended(150000), response = open_ended(150000);
    (slow == CLIENT ? &request : &response)->slow = true;
    assert_int_equal(call_start(pair, "POST", request, response), ERR_OK);
    assert_int_equal(call_start(pair, "POST", sized(90000), sized(90000)), ERR_OK);
    pair_run(pair);
    call_check(pair, 1);
    const struct party *party = &pair->calls[0].party[slow];
    const struct rig_half *half = rig_half(&pair->rig, 0, !slow);
    assert_true(party->in.pushed > 19000 && party->in.pushed <= 20000);
    assert_true(half->sent <= 20000 + 400);
    assert_int_equal(party->stream->credited, 0);
    for (int side = 0; side < SIDES; side++)
      assert_int_equal(pair->rig.conn[side].received, pair->rig.conn[side].credited);
    pair->calls[0].party[slow].plan.slow = false;
    pair_run(pair);
    call_check(pair, 0);
    credits_check(pair);
    pair_close(pair);
  }
}

/* The consumer goes away: the peer is asked to stop, what had come is credited, and the others go on. */
static void test_consumer_gone(void **state) {
  (void)state;
  for (int gone = 0; gone < SIDES; gone++) {
    struct pair *pair = pair_open((struct pair_settings){.table = 4096, .stream_window = 20000});
    struct plan request = open_ended(400000), response = open_ended(400000);
    (gone == CLIENT ? &request : &response)->slow = true;
    assert_int_equal(call_start(pair, "POST", request, response), ERR_OK);
    assert_int_equal(call_start(pair, "POST", sized(90000), sized(90000)), ERR_OK);
    pair_run(pair);
    struct party *party = &pair->calls[0].party[gone], *other = &pair->calls[0].party[!gone];
    flow_end(&party->in, FLOW_CANCELLED, gone == CLIENT ? ERR_CLIENT_GONE : ERR_OK);
    h3_input(party->stream);
    pair_run(pair);
    assert_int_equal(other->seen & H3_STOPPED, H3_STOPPED);
    assert_int_equal(other->code, gone == CLIENT ? 0x10c : 0x100);
    assert_int_equal(other->out.end, FLOW_CANCELLED);
    assert_true(party->over && other->over);
    const struct rig_half *half = rig_half(&pair->rig, 0, !gone);
    assert_int_equal(half->credited, half->delivered);
    assert_int_equal(party->seen & H3_BROKEN, 0);
    call_check(pair, 1);
    pair_close(pair);
  }
}

/* No chunk for a body: that stream breaks but can still be answered, and the next one does well. */
static void test_no_chunks(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.table = 0, .stream_window = 20000});
  struct plan response = sized(2000);
  response.slow = response.mute = true;
  assert_int_equal(call_start(pair, "POST", open_ended(300000), response), ERR_OK);
  pair_run(pair);
  struct chunk *held[4096];
  int count = 0;
  for (int size = 0; size < CHUNK_SIZES; size++)
    while ((held[count] = chunk_get(&pair->chunks[SERVER], (enum chunk_size)size)) != NULL)
      count++;
  pair->rig.stream_window = 60000;
  pair_run(pair);
  while (count > 0)
    chunk_unref(held[--count]);
  pair->calls[0].party[SERVER].plan.mute = pair->calls[0].party[SERVER].plan.slow = false;
  assert_int_equal(call_start(pair, "POST", sized(200000), sized(2000)), ERR_OK);
  pair_run(pair);
  const struct party *server = &pair->calls[0].party[SERVER], *client = &pair->calls[0].party[CLIENT];
  assert_int_equal(server->seen & H3_BROKEN, H3_BROKEN);
  assert_int_equal(server->error, ERR_OVERLOADED);
  const struct rig_half *half = rig_half(&pair->rig, 0, CLIENT);
  assert_int_equal(half->stop_code, 0x107);
  assert_int_equal(half->credited, half->delivered);
  assert_int_equal(server->in.end, FLOW_ABORTED);
  assert_int_equal(client->seen & (H3_STOPPED | H3_HEAD | H3_END), H3_STOPPED | H3_HEAD | H3_END);
  assert_int_equal(client->out.end, FLOW_CANCELLED);
  assert_true(client->over && server->over);
  call_check(pair, 1);
  pair_close(pair);
}

static void test_head_limits(void **state) {
  (void)state;
  /* The server announces what it takes; a client that has read it does not even send more. */
  struct pair *pair = pair_open((struct pair_settings){.limits = {.bytes = 400, .count = 8}});
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(5)), ERR_OK);
  pair_run(pair);
  call_check(pair, 0);
  char text[300];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  struct call *call = &pair->calls[1];
  struct party *client = &call->party[CLIENT];
  pair->limits.bytes = 4000;
  party_open(pair, client, CLIENT);
  text_set(&client->head_out, &client->head_out.method, "GET");
  text_set(&client->head_out, &client->head_out.target, "/");
  field_add(&client->head_out.fields, "x-long", text);
  assert_int_equal(h3_request(pair->h3[CLIENT], &client->stream, call, &client->head_out, NULL, NULL, &client->head_in,
                              NULL, &client->in, NULL),
                   ERR_HEAD_TOO_LARGE);
  pair_close(pair);
}

/* Before SETTINGS are there, the head goes out and is refused by the server, which can still answer. */
static void test_head_too_large(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.limits = {.bytes = 500, .count = 8}});
  struct call *call = &pair->calls[0];
  struct party *client = &call->party[CLIENT], *server = &call->party[SERVER];
  client->plan = (struct plan){.bytes = 100000};
  char text[400];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  party_open(pair, client, CLIENT);
  client->head_out.fields.limits.bytes = 4000;
  text_set(&client->head_out, &client->head_out.method, "POST");
  text_set(&client->head_out, &client->head_out.target, "/");
  field_add(&client->head_out.fields, "x-long", text);
  client->head_out.body = BODY_CHUNKED;
  assert_int_equal(h3_request(pair->h3[CLIENT], &client->stream, call, &client->head_out, &client->out, NULL,
                              &client->head_in, NULL, &client->in, NULL),
                   ERR_OK);
  client->said = true;
  pair->count = 1;
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(50000)), ERR_OK);
  while ((server->seen & H3_BROKEN) == 0 && rig_tick(&pair->rig, pair_pump, pair))
    ;
  assert_int_equal(server->seen & (H3_BROKEN | H3_HEAD), H3_BROKEN);
  assert_int_equal(server->error, ERR_HEAD_TOO_LARGE);
  server->head_out.status = 431;
  server->head_out.body = BODY_NONE;
  assert_int_equal(h3_respond(server->stream, &server->head_out, NULL, NULL), ERR_OK);
  pair_run(pair);
  assert_int_equal(client->head_in.status, 431);
  assert_int_equal(client->seen & (H3_END | H3_STOPPED), H3_END | H3_STOPPED);
  assert_true(client->over && server->over);
  assert_int_equal(server->in.pushed, 0);
  call_check(pair, 1);
  pair_close(pair);
}

/* The table entries that heads refer to come last: QUIC is done with the streams before their heads can be read. */
static void test_blocked(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 8; seed++) {
    struct pair *pair = pair_open((struct pair_settings){.seed = seed, .table = 4096});
    assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_OK);
    pair_run(pair); /* SETTINGS have come: from here on the tables are used */
    struct rig_half *encoder[SIDES];
    for (int side = 0; side < SIDES; side++) { /* control, then the encoder's stream */
      encoder[side] = rig_half(&pair->rig, 4 + 2 + side, side);
      encoder[side]->held = side == (int)(seed % 2);
    }
    for (int i = 0; i < 5; i++)
      assert_int_equal(call_start(pair, "POST", sized(i == 0 ? 30000 : 3), open_ended(i == 1 ? 30000 : 7)), ERR_OK);
    pair_run(pair);
    int waiting = 0;
    for (int i = 1; i <= 5; i++)
      waiting += (pair->calls[i].party[seed % 2 == CLIENT ? SERVER : CLIENT].seen & H3_HEAD) == 0;
    assert_true(waiting > 0);
    encoder[seed % 2]->held = false;
    pair_run(pair);
    assert_false(pair->rig.dead);
    for (int i = 0; i < pair->count; i++)
      call_check(pair, i);
    for (int side = 0; side < SIDES; side++)
      assert_int_equal(pair->rig.conn[side].received, pair->rig.conn[side].credited);
    pair_close(pair);
  }
}

static void test_cancel_blocked(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.seed = 3, .table = 4096});
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_OK);
  pair_run(pair);
  struct rig_half *encoder = rig_half(&pair->rig, 7, SERVER);
  encoder->held = true;
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_OK);
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_OK);
  pair_run(pair);
  struct party *client = &pair->calls[1].party[CLIENT];
  assert_false(client->over);
  assert_true(rig_stream(&pair->rig, 4)->closed[CLIENT]); /* QUIC's part is over, ours is not */
  h3_cancel(client->stream, ERR_CLIENT_GONE);
  pair_run(pair);
  assert_true(client->over);
  encoder->held = false;
  pair_run(pair);
  call_check(pair, 2);
  pair_close(pair);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bodies),
      cmocka_unit_test(test_heads),
      cmocka_unit_test(test_request_at_once),
      cmocka_unit_test(test_request_extras),
      cmocka_unit_test(test_trailers),
      cmocka_unit_test(test_informational),
      cmocka_unit_test(test_informational_hook),
      cmocka_unit_test(test_informational_flood),
      cmocka_unit_test(test_no_body),
      cmocka_unit_test(test_back_pressure),
      cmocka_unit_test(test_consumer_gone),
      cmocka_unit_test(test_no_chunks),
      cmocka_unit_test(test_head_limits),
      cmocka_unit_test(test_head_too_large),
      cmocka_unit_test(test_blocked),
      cmocka_unit_test(test_cancel_blocked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
