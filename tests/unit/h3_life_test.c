/* Streams that are not taken, GOAWAY, and the end of the connection at any moment. */
#include "unit/h3_call.h"

static void test_rejected(void **state) {
  (void)state;
  for (int by = 0; by < 2; by++) {
    /* The server's pool is too small, or its session does not want the stream. */
    struct pair *pair = pair_open((struct pair_settings){.table = 4096, .server_streams = by == 0 ? 3 : 0});
    pair->refuse = by == 0 ? 0 : 0x4b;
    for (int i = 0; i < 8; i++) {
      struct plan response = sized(1000);
      response.late = true;
      assert_int_equal(call_start(pair, "POST", sized(40000), response), ERR_OK);
    }
    pair_run(pair);
    assert_false(pair->rig.dead);
    int done = 0, rejected = 0;
    for (int i = 0; i < 8; i++) {
      const struct party *client = &pair->calls[i].party[CLIENT];
      assert_true(client->over);
      if ((client->seen & H3_END) != 0) {
        call_check(pair, i);
        done++;
        continue;
      }
      assert_int_equal(client->error, ERR_STREAM_REJECTED);
      assert_int_equal(client->code, 0x10b);
      assert_int_equal(client->in.end, FLOW_ABORTED);
      assert_int_equal(client->in.reason, ERR_STREAM_REJECTED);
      rejected++;
    }
    assert_int_equal(done + rejected, 8);
    assert_true(done >= 3 && rejected > 0);
    /* And the pool is free again. */
    assert_int_equal(call_start(pair, "POST", sized(40000), sized(10)), ERR_OK);
    pair_run(pair);
    call_check(pair, 8);
    pair_close(pair);
  }
}

static void test_no_stream_left(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.streams = 2});
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_OK);
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_OK);
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_AGAIN);
  pair_run(pair);
  pair->rig.conn[CLIENT].bidi_max = 3;
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_OK);
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(10)), ERR_AGAIN);
  pair_run(pair);
  for (int i = 0; i < 3; i++)
    call_check(pair, i);
  pair_close(pair);
}

static void test_no_control_streams(void **state) {
  (void)state;
  struct pair *pair = pair_open_with((struct pair_settings){.seed = 1}, true, true);
  for (uint64_t max = 0; max < 3; max++) {
    struct h3_settings settings = {.limits = pair->limits, .streams = &pair->streams[CLIENT]};
    struct h3 *h3;
    pair->rig.conn[CLIENT].uni_max = max;
    pair->rig.conn[CLIENT].next_uni = 2;
    assert_int_equal(h3_open(&h3, &pair->rig.conn[CLIENT], &settings, &pair_events, pair), ERR_AGAIN);
  }
  pair_close(pair);
}

static void test_goaway(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.seed = 2, .table = 4096});
  for (int i = 0; i < 4; i++)
    assert_int_equal(call_start(pair, "POST", sized(60000), sized(60000)), ERR_OK);
  for (int i = 0; i < 4; i++)
    rig_tick(&pair->rig, pair_pump, pair);
  assert_false(h3_peer_goaway(pair->h3[CLIENT]));
  h3_goaway(pair->h3[SERVER], false);
  h3_goaway(pair->h3[SERVER], false);
  assert_false(h3_drained(pair->h3[SERVER]));
  for (int i = 0; i < 4; i++)
    rig_tick(&pair->rig, pair_pump, pair);
  h3_goaway(pair->h3[SERVER], true);
  h3_goaway(pair->h3[SERVER], true);
  assert_false(h3_drained(pair->h3[SERVER]));
  pair_run(pair);
  assert_true(h3_peer_goaway(pair->h3[CLIENT]));
  assert_int_equal(call_start(pair, "GET", PLAIN, sized(1)), ERR_LINK_DOWN);
  for (int i = 0; i < 4; i++)
    call_check(pair, i);
  assert_true(h3_drained(pair->h3[SERVER]));
  pair_close(pair);
}

/* A request that crosses the final GOAWAY is rejected. */
static void test_goaway_crossed(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.seed = 2, .table = 4096});
  assert_int_equal(call_start(pair, "POST", sized(6000), sized(60000)), ERR_OK);
  pair_run(pair);
  rig_half(&pair->rig, 3, SERVER)->held = true;
  h3_goaway(pair->h3[SERVER], false);
  h3_goaway(pair->h3[SERVER], true);
  assert_int_equal(call_start(pair, "POST", sized(6000), sized(60000)), ERR_OK);
  pair_run(pair);
  assert_int_equal(pair->calls[1].party[CLIENT].error, ERR_STREAM_REJECTED);
  assert_true(pair->calls[1].party[CLIENT].over);
  assert_false(pair->calls[1].party[SERVER].begun);
  rig_half(&pair->rig, 3, SERVER)->held = false;
  pair_run(pair);
  assert_true(h3_drained(pair->h3[SERVER]));
  pair_close(pair);
}

/* The connection is lost at some moment: every stream is told, whatever state it is in. */
static void test_abandon(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 40; seed++) {
    struct pair *pair = pair_open((struct pair_settings){.seed = seed, .table = 4096, .stream_window = 20000});
    struct plan slow = open_ended(50000), early = sized(0);
    slow.slow = true;
    early.status = 403;
    assert_int_equal(call_start(pair, "POST", slow, slow), ERR_OK);
    assert_int_equal(call_start(pair, "POST", sized(30000), sized(30000)), ERR_OK);
    assert_int_equal(call_start(pair, "GET", PLAIN, open_ended(1000)), ERR_OK);
    assert_int_equal(call_start(pair, "POST", slow, early), ERR_OK);
    assert_int_equal(call_start(pair, "POST", open_ended(10), (struct plan){.mute = true}), ERR_OK);
    for (uint64_t i = 0; i < seed; i++)
      rig_tick(&pair->rig, pair_pump, pair);
    pair_abandon(pair);
    for (int i = 0; i < pair->count; i++)
      for (int side = 0; side < SIDES; side++) {
        const struct party *party = &pair->calls[i].party[side];
        if (!party->begun)
          continue;
        assert_true(party->over);
        assert_int_not_equal(party->in.end, FLOW_OPEN);
        if (party->in.end != FLOW_EOF)
          assert_int_equal(party->in.reason, ERR_LINK_DOWN);
      }
    pair_close(pair);
  }
}

/* h3_close before the streams are done with. */
static void test_close_early(void **state) {
  (void)state;
  struct pair *pair = pair_open((struct pair_settings){.seed = 5});
  assert_int_equal(call_start(pair, "POST", sized(30000), sized(30000)), ERR_OK);
  for (int i = 0; i < 3; i++)
    rig_tick(&pair->rig, pair_pump, pair);
  h3_close(pair->h3[CLIENT]);
  pair->h3[CLIENT] = NULL;
  struct party *client = &pair->calls[0].party[CLIENT];
  assert_int_equal(client->stream->events & H3_CLOSED, H3_CLOSED);
  h3_output(client->stream);
  h3_input(client->stream);
  h3_cancel(client->stream, ERR_CLIENT_GONE);
  h3_stream_done(client->stream);
  pair_close(pair);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rejected),           cmocka_unit_test(test_no_stream_left),
      cmocka_unit_test(test_no_control_streams), cmocka_unit_test(test_goaway),
      cmocka_unit_test(test_goaway_crossed),     cmocka_unit_test(test_abandon),
      cmocka_unit_test(test_close_early),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
