/* RELIABILITY.md T-1 and T-2: however a message ends early, its stream is reset with the right code and never gets FIN,
   and the others on the session do not notice; and no field that we let through ends the session at the other end. */
#include "unit/h3_call.h"

static const enum flow_end ends[] = {FLOW_EOF,       FLOW_TRUNCATED, FLOW_ABORTED,
                                     FLOW_TIMED_OUT, FLOW_LINK_DOWN, FLOW_CANCELLED};
static const enum err reasons[] = {ERR_CLIENT_GONE,        ERR_REQUEST_BODY_TIMEOUT,
                                   ERR_ORIGIN_CLOSED,      ERR_ORIGIN_TIMEOUT,
                                   ERR_ORIGIN_UNREACHABLE, ERR_BAD_REQUEST,
                                   ERR_LINK_DOWN,          ERR_BODY_TOO_LARGE,
                                   ERR_STREAM_RESET,       ERR_OK};
enum { ENDS = sizeof ends / sizeof ends[0], REASONS = sizeof reasons / sizeof reasons[0] };

struct variant {
  bool sized;
  uint64_t length, bytes;
};
static const struct variant variants[] = {
    {true, 1000, 0},        {true, 1000, 999},    {true, 1000, 1001},    {true, 1000, 1000}, {true, 1, 0},
    {true, 60000, 59999},   {true, 60000, 60001}, {true, 60000, 120000}, {true, 60000, 1},   {true, 300000, 250000},
    {true, 200000, 400000}, {false, 0, 0},        {false, 0, 5000},      {false, 0, 200000},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static struct plan variant_plan(const struct variant *variant, enum flow_end end, enum err reason) {
  return (struct plan){.body = variant->sized ? BODY_SIZED : BODY_CHUNKED,
                       .length = variant->length,
                       .bytes = variant->bytes,
                       .end = end,
                       .reason = reason};
}

static bool variant_complete(const struct variant *variant, enum flow_end end) {
  return end == FLOW_EOF && (!variant->sized || variant->bytes == variant->length);
}

static uint64_t expected_code(enum flow_end end, enum err reason) {
  if (end == FLOW_EOF)
    return 0x10e;
  return reason == ERR_OK ? 0x10c : err_h3_code(reason);
}

/* The victim's receiver gives up, as a session does, when it hears of the reset. */
static void give_up(struct pair *pair, int number) {
  for (int side = 0; side < SIDES; side++) {
    struct party *party = &pair->calls[number].party[side];
    if (party->begun && !party->over && party->stream != NULL && (party->seen & H3_RESET) != 0)
      h3_cancel(party->stream, ERR_STREAM_RESET);
  }
}

static void check_reset(const struct pair *pair, int sender, uint64_t code) {
  const struct call *victim = &pair->calls[1];
  const struct party *from = &victim->party[sender], *to = &victim->party[!sender];
  const struct rig_half *half = &pair->rig.streams[0][1]->half[sender];
  assert_true(half->reset_sent);
  assert_false(half->fin_sent);
  assert_int_equal(half->reset_code, code);
  assert_true(from->over);
  assert_true(from->out.end != FLOW_OPEN);
  if (!to->begun)
    return; /* it was over before it had begun */
  assert_true(to->over);
  assert_int_equal(to->seen & H3_END, 0);
  assert_int_not_equal(to->in.end, FLOW_EOF);
  if ((to->seen & H3_RESET) != 0)
    assert_int_equal(to->code, code);
  if (from->head_out.has_length)
    assert_true(to->in.pushed <= from->head_out.content_length);
}

static void run_one(int sender, const struct variant *variant, enum flow_end end, enum err reason, uint64_t seed) {
  struct pair *pair = pair_open((struct pair_settings){.seed = seed, .table = 4096, .stream_window = 50000});
  struct plan bad = variant_plan(variant, end, reason);
  assert_int_equal(call_start(pair, "POST", sized(90000), sized(90000)), ERR_OK);
  for (uint64_t i = 0; i < seed % 4; i++)
    rig_tick(&pair->rig, pair_pump, pair);
  struct plan other = {.mute = true};
  assert_int_equal(call_start(pair, "POST", sender == CLIENT ? bad : sized(300), sender == CLIENT ? other : bad),
                   ERR_OK);
  pair_run(pair);
  give_up(pair, 1);
  pair_run(pair);
  assert_false(pair->rig.dead);
  if (variant_complete(variant, end)) {
    const struct party *to = &pair->calls[1].party[!sender];
    assert_int_equal(to->seen & (H3_END | H3_RESET | H3_BROKEN), H3_END);
    assert_int_equal(to->consumed, variant->bytes);
    assert_true(pair->rig.streams[0][1]->half[sender].fin_sent);
  } else {
    /* More than was promised may be seen before the end is. */
    uint64_t code = pair->rig.streams[0][1]->half[sender].reset_code;
    bool over = variant->sized && variant->bytes > variant->length && code == 0x10e;
    check_reset(pair, sender, over ? code : expected_code(end, reason));
  }
  assert_int_equal(call_start(pair, "POST", sized(5000), sized(5000)), ERR_OK);
  pair_run(pair);
  call_check(pair, 0);
  call_check(pair, 2);
  for (int side = 0; side < SIDES; side++)
    assert_int_equal(pair->rig.conn[side].received, pair->rig.conn[side].credited);
  pair_close(pair);
}

static void run_all(int sender) {
  uint64_t seed = 1;
  for (int e = 0; e < ENDS; e++)
    for (int v = 0; v < VARIANTS; v++)
      for (int r = 0; r < REASONS; r++) {
        /* Every reason with every end, but not with every variant: the two do not meet in the code. */
        if (ends[e] == FLOW_EOF ? r > 0 : (r + v) % 5 != 0)
          continue;
        run_one(sender, &variants[v], ends[e], ends[e] == FLOW_EOF ? ERR_OK : reasons[r], seed++);
      }
}

static void test_request_ends_early(void **state) {
  (void)state;
  run_all(CLIENT);
}

static void test_response_ends_early(void **state) {
  (void)state;
  run_all(SERVER);
}

/* Ends that come when everything was lent already, or while the stream is blocked, or before it was ever written. */
static void test_end_at_any_moment(void **state) {
  (void)state;
  for (int sender = 0; sender < SIDES; sender++)
    for (uint64_t seed = 1; seed <= 60; seed++) {
      struct pair *pair = pair_open((struct pair_settings){.seed = seed, .table = 4096, .stream_window = 30000});
      struct plan never = {.body = seed % 2 == 0 ? BODY_SIZED : BODY_CHUNKED, .length = 70000, .bytes = 69000};
      never.length = never.body == BODY_SIZED ? 70000 : 0;
      struct plan mute = {.mute = true};
      assert_int_equal(call_start(pair, "POST", sized(50000), sized(90000)), ERR_OK);
      assert_int_equal(call_start(pair, "POST", sender == CLIENT ? never : sized(300), sender == CLIENT ? mute : never),
                       ERR_OK);
      struct party *party = &pair->calls[1].party[sender];
      if (seed % 3 == 0)
        pair->calls[1].party[!sender].plan.slow = true;
      for (uint64_t i = 0; i < seed || !party->said; i++)
        rig_tick(&pair->rig, pair_pump, pair);
      enum flow_end end = ends[1 + seed % (ENDS - 1)];
      flow_end(&party->out, end, ERR_ORIGIN_CLOSED);
      if (seed % 4 == 0) /* it is noticed even if nobody tells */
        assert_true(flow_push_copy(&party->out, "x", 1) == ERR_OK);
      else
        h3_output(party->stream);
      pair_run(pair);
      if (!party->over)
        h3_output(party->stream);
      pair_run(pair);
      give_up(pair, 1);
      pair_run(pair);
      assert_false(pair->rig.dead);
      pair->calls[1].party[!sender].plan.slow = false;
      check_reset(pair, sender, 0x102);
      call_check(pair, 0);
      pair_close(pair);
    }
}

/* h3_cancel at any moment, by either side. */
static void test_cancel_at_any_moment(void **state) {
  (void)state;
  for (int by = 0; by < SIDES; by++)
    for (uint64_t seed = 1; seed <= 60; seed++) {
      struct pair *pair = pair_open((struct pair_settings){.seed = seed, .table = 4096, .stream_window = 30000});
      assert_int_equal(call_start(pair, "POST", sized(50000), sized(90000)), ERR_OK);
      assert_int_equal(call_start(pair, "POST", sized(50000), sized(50000)), ERR_OK);
      struct party *party = &pair->calls[1].party[by], *other = &pair->calls[1].party[!by];
      for (uint64_t i = 0; i < seed || !party->begun; i++)
        rig_tick(&pair->rig, pair_pump, pair);
      bool over = party->over;
      if (!over)
        h3_cancel(party->stream, by == CLIENT ? ERR_CLIENT_GONE : ERR_STOPPING);
      pair_run(pair);
      give_up(pair, 1);
      pair_run(pair);
      assert_false(pair->rig.dead);
      assert_true(party->over);
      assert_true(other->over || !other->begun);
      if (!over && other->begun && (other->seen & H3_END) == 0)
        assert_int_equal(other->seen & H3_RESET, H3_RESET);
      call_check(pair, 0);
      pair_close(pair);
    }
}

/* --- T-2 ------------------------------------------------------------------------------------------------------------
 */

static void random_text(uint64_t *seed, char *out, size_t size, bool nasty) {
  static const char good[] = "abcdefghijklmnopqrstuvwxyz0123456789-_!#$%&'*+.^`|~ABCXYZ";
  size_t len = draw_below(seed, (uint32_t)size);
  for (size_t i = 0; i < len; i++)
    out[i] = nasty && draw_below(seed, 12) == 0 ? (char)draw_below(seed, 256) : good[draw_below(seed, sizeof good - 1)];
  out[len] = 0;
}

static void random_fields(struct fields *fields, uint64_t *seed) {
  static const char *const known[][2] = {
      {"Connection", "close"},
      {"Connection", "x-secret"},
      {"TE", "trailers"},
      {"TE", "gzip"},
      {"Keep-Alive", "timeout=5"},
      {"Upgrade", "h2c"},
      {"Proxy-Connection", "x"},
      {"Cookie", "a=b; c=d"},
      {"X-Secret", "1"},
      {"Content-Type", " a/b  "},
      {"Trailer", "x-sum"},
      {"Expect", "100-continue"},
      {"Priority", "u=9999, i=??"},
      {"Via", "1.1 \x80\xff high"},
      {"Empty", ""},
      {"Tab", "a\tb"},
      {"Content-Length", "5"},
      {"Content-Length", "005"},
      {"Host", "again"},
      {":path", "/x"},
      {"transfer-encoding", "chunked"},
  };
  for (uint32_t left = draw_below(seed, 6); left > 0; left--) {
    char name[40], value[80];
    struct bytes field_name, field_value;
    if (draw_below(seed, 2) == 0) {
      uint32_t row = draw_below(seed, sizeof known / sizeof known[0]);
      field_name = bytes_of_text(known[row][0]);
      field_value = bytes_of_text(known[row][1]);
    } else {
      random_text(seed, name, sizeof name, draw_below(seed, 4) == 0);
      random_text(seed, value, sizeof value, draw_below(seed, 4) == 0);
      field_name = bytes_of_text(name);
      field_value = bytes_of_text(value);
    }
    if (field_name.len == 0)
      continue;
    assert_int_equal(fields_name(fields, field_name), ERR_OK);
    assert_int_equal(fields_value(fields, field_value), ERR_OK);
    assert_int_equal(fields_commit(fields), ERR_OK);
  }
}

/* Heads as HTTP/1.1 peers may send them: what passes our checks, the other end's nghttp3 takes. */
static void test_checked_heads_are_taken(void **state) {
  (void)state;
  static const char *const methods[] = {"GET", "POST", "OPTIONS", "get", "X-Y!", "HEAD", "CONNECT"};
  static const char *const targets[] = {
      "/", "/a?b=c", "*", "http://other.example/x?y", "/a b", "/\"<>", "/a#b", "/%00\x80", "//x/..//", "?"};
  static const char *const hosts[] = {"a.example", "a.example:80", "[::1]:8080", "", "a,b", "u@h", "A_b", "%41"};
  uint64_t seed = 77;
  int sent = 0;
  for (int round = 0; round < 30; round++) {
    struct pair *pair = pair_open((struct pair_settings){.seed = draw(&seed), .table = round % 2 == 0 ? 4096 : 0});
    while (pair->count < CALLS) {
      struct call *call = &pair->calls[pair->count];
      struct party *client = &call->party[CLIENT];
      *call = (struct call){.number = pair->count};
      party_open(pair, client, CLIENT);
      struct head *head = &client->head_out;
      text_set(head, &head->method, methods[draw_below(&seed, 7)]);
      text_set(head, &head->target, targets[draw_below(&seed, 10)]);
      field_add(&head->fields, "host", hosts[draw_below(&seed, 8)]);
      random_fields(&head->fields, &seed);
      if (head_check_request_http1(head, draw_below(&seed, 4) == 0) != ERR_OK) {
        party_close(client);
        client->begun = false;
        if (draw_below(&seed, 300) == 0)
          break;
        continue;
      }
      client->plan = (struct plan){.bytes = head->has_length ? head->content_length : 100, .end = FLOW_EOF};
      call->party[SERVER].plan = sized(10);
      assert_int_equal(h3_request(pair->h3[CLIENT], &client->stream, call, head, &client->out, NULL, &client->head_in,
                                  NULL, &client->in, NULL),
                       ERR_OK);
      client->said = true;
      pair->count++;
    }
    pair_run(pair);
    assert_false(pair->rig.dead);
    for (int i = 0; i < pair->count; i++) {
      /* What we take ourselves for malformed does not count: both ends are of one kind. */
      assert_int_equal(pair->calls[i].party[SERVER].seen & (H3_BROKEN | H3_RESET), 0);
      assert_int_equal(pair->calls[i].party[SERVER].seen & (H3_HEAD | H3_END), H3_HEAD | H3_END);
      sent++;
    }
    pair_close(pair);
  }
  assert_true(sent > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_request_ends_early),      cmocka_unit_test(test_response_ends_early),
      cmocka_unit_test(test_end_at_any_moment),       cmocka_unit_test(test_cancel_at_any_moment),
      cmocka_unit_test(test_checked_heads_are_taken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
