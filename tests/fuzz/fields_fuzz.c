/* Heads that we let through must pass the other end's nghttp3 and our checks there (RELIABILITY.md T-2): one that is
   refused would cost the session. A request as HTTP/1 bytes, and behind it the responses to it, go through both ends of
   an HTTP/3 connection and must come out as they were. */
#include <string.h>

#include "fuzz/fake_quic.h"
#include "fuzz/fuzz.h"
#include "fuzz/http1_pass.h"
#include "proto/h3.h"

enum flags {
  FLAG_RESPONSES = 1, /* only responses, to a plain GET */
  FLAG_HEAD = 2,      /* or to HEAD */
  FLAG_SMALL_LIMITS = 4,
};

enum { CLIENT, SERVER, SIDES, ROUNDS = 2, STREAMS = 8 };

/* One end of the exchange under way. */
struct party {
  struct h3_stream *stream;
  struct message in;
  struct head informational;
  unsigned seen;
};

struct world {
  struct quic_conn conn[SIDES];
  struct h3 *h3[SIDES];
  struct party party[SIDES];
  struct head_limits limits;
  struct bytes responses; /* as HTTP/1 bytes */
};

static bool accept_request(void *context, struct h3_stream *stream) {
  struct party *party = &((struct world *)context)->party[SERVER];
  must(party->stream == NULL);
  party->stream = stream;
  stream->owner = party;
  stream->head = &party->in.head;
  stream->in = &party->in.body;
  stream->trailers = &party->in.trailers;
  return true;
}

static const struct h3_events events = {.accept = accept_request};

static void take_events(struct world *world, int side) {
  struct h3_stream *stream;
  while ((stream = h3_ready(world->h3[side])) != NULL) {
    struct party *party = stream->owner;
    party->seen |= stream->events;
    stream->events = 0;
    if ((party->seen & H3_CLOSED) != 0) {
      h3_stream_done(stream);
      party->stream = NULL;
    }
  }
}

/* Until nothing moves any more. No end may take the other for malicious. */
static void run(struct world *world) {
  for (bool busy = true; busy;) {
    busy = false;
    for (int side = 0; side < SIDES; side++) {
      take_events(world, side);
      busy |= fake_emit(&world->conn[side]);
      fake_settle(&world->conn[side]);
      take_events(world, side);
    }
  }
  for (int side = 0; side < SIDES; side++)
    must(!world->conn[side].dead);
}

static void check_same(const struct head *sent, const struct head *received) {
  struct text want = {.data = NULL}, have = {.data = NULL};
  describe_head(&want, sent);
  describe_head(&have, received);
  must(want.len == have.len && memcmp(want.data, have.data, want.len) == 0);
  text_free(&want);
  text_free(&have);
}

/* The rest of a message: |want| was said before its flow was taken from. */
static void check_rest(struct text *want, const struct message *received) {
  struct text have = {.data = NULL};
  describe_body(&have, &received->body, &received->trailers);
  must(want->len == have.len && memcmp(want->data, have.data, want->len) == 0);
  text_free(want);
  text_free(&have);
}

/* --- responses -----------------------------------------------------------------------------------------------------
 */

static void send_informational(void *context, const struct head *head) {
  struct world *world = context;
  struct party *client = &world->party[CLIENT];
  if (client->seen & (H3_BROKEN | H3_HEAD))
    return;
  enum err err = h3_inform(world->party[SERVER].stream, head);
  if (err == ERR_HEAD_TOO_LARGE)
    return;
  must(err == ERR_OK);
  run(world);
  must((client->seen & H3_INFORMATIONAL) != 0 && (client->seen & H3_BROKEN) == 0);
  check_same(head, &client->informational);
  head_close(&client->informational);
  client->seen &= ~(unsigned)H3_INFORMATIONAL;
}

static void send_response(void *context, struct message *message) {
  struct world *world = context;
  struct party *client = &world->party[CLIENT];
  struct text rest = {.data = NULL};
  describe_body(&rest, &message->body, &message->trailers);
  enum err err = h3_respond(world->party[SERVER].stream, &message->head, &message->body, &message->trailers);
  if (err == ERR_HEAD_TOO_LARGE) {
    text_free(&rest);
    return;
  }
  must(err == ERR_OK);
  run(world);
  must((client->seen & (H3_HEAD | H3_END)) == (H3_HEAD | H3_END) && (client->seen & (H3_BROKEN | H3_RESET)) == 0);
  check_same(&message->head, &client->in.head);
  check_rest(&rest, &client->in);
}

/* --- requests ------------------------------------------------------------------------------------------------------
 */

static void party_open(struct world *world, int side) {
  struct party *party = &world->party[side];
  *party = (struct party){.stream = NULL};
  message_open(&party->in, fuzz_chunks(), world->limits);
  head_open(&party->informational, fuzz_chunks(), world->limits);
}

static void party_close(struct world *world, int side) {
  struct party *party = &world->party[side];
  if (party->stream != NULL)
    h3_cancel(party->stream, ERR_STREAM_RESET);
  run(world);
}

static void respond(struct world *world, bool no_body) {
  struct pass pass = {
      .role = HTTP1_READS_RESPONSES,
      .no_body = no_body,
      .one = true,
      .limits = world->limits,
      .message = send_response,
      .informational = send_informational,
      .context = world,
  };
  pass_run(&pass, world->responses);
  text_free(&pass.said);
}

static void exchange(struct world *world, struct message *message) {
  struct party *client = &world->party[CLIENT], *server = &world->party[SERVER];
  struct text rest = {.data = NULL};
  for (int side = 0; side < SIDES; side++)
    party_open(world, side);
  if (message->head.authority.len == 0) /* h3_request would put it in */
    must(head_set(&message->head, &message->head.authority, BYTES_LITERAL("localhost")) == ERR_OK);
  describe_body(&rest, &message->body, &message->trailers);
  enum err err =
      h3_request(world->h3[CLIENT], &client->stream, client, &message->head, &message->body, &message->trailers,
                 &client->in.head, &client->informational, &client->in.body, &client->in.trailers);
  must(err == ERR_OK || err == ERR_HEAD_TOO_LARGE);
  if (err == ERR_OK) {
    run(world);
    must((server->seen & (H3_HEAD | H3_END)) == (H3_HEAD | H3_END) && (server->seen & H3_BROKEN) == 0);
    check_same(&message->head, &server->in.head);
    check_rest(&rest, &server->in);
    respond(world, head_method_is(&message->head, "HEAD"));
  }
  text_free(&rest);
  for (int side = 0; side < SIDES; side++)
    party_close(world, side);
  for (int side = 0; side < SIDES; side++) {
    must(world->party[side].stream == NULL);
    message_close(&world->party[side].in);
    head_close(&world->party[side].informational);
  }
}

struct job {
  struct world *world;
  struct pass *pass;
  struct bytes bytes;
  bool only_responses;
};

/* Twice when that is possible: the second time the fields are in QPACK's table. */
static void send_request(void *context, struct message *message) {
  struct job *job = context;
  if (!job->only_responses)
    job->world->responses = bytes_of(job->bytes.data + job->pass->used, job->bytes.len - job->pass->used);
  int rounds = message->head.body == BODY_NONE ? ROUNDS : 1;
  for (int i = 0; i < rounds; i++)
    exchange(job->world, message);
}

static void world_open(struct world *world, uint8_t flags) {
  static struct pool streams[SIDES];
  bool small = (flags & FLAG_SMALL_LIMITS) != 0;
  world->limits = (struct head_limits){small ? 600 : 65536, small ? 6 : 1024};
  for (int side = 0; side < SIDES; side++) {
    if (streams[side].capacity == 0)
      must(pool_open(&streams[side], "streams", sizeof(struct h3_stream), STREAMS) == ERR_OK);
    fake_open(&world->conn[side], side == SERVER, &world->conn[!side]);
    struct h3_settings settings = {
        .server = side == SERVER, .limits = world->limits, .qpack_table_capacity = 4096, .streams = &streams[side]};
    must(h3_open(&world->h3[side], &world->conn[side], &settings, &events, world) == ERR_OK);
    world->conn[side].ops = &h3_quic_app;
    world->conn[side].app = world->h3[side];
  }
  run(world); /* SETTINGS */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  uint8_t flags = input_byte(&input);
  if (input_left(&input) > PASS_BYTES_MAX)
    return 0;
  struct bytes bytes = input_take(&input, size), plain;
  plain = (flags & FLAG_HEAD) != 0 ? BYTES_LITERAL("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                                   : BYTES_LITERAL("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  struct world world = {.responses = {NULL, 0}};
  world_open(&world, flags);
  struct pass pass = {.role = HTTP1_READS_REQUESTS, .one = true, .limits = world.limits, .message = send_request};
  struct job job = {&world, &pass, bytes, (flags & FLAG_RESPONSES) != 0};
  pass.context = &job;
  world.responses = bytes;
  pass_run(&pass, job.only_responses ? plain : bytes);
  text_free(&pass.said);
  for (int side = 0; side < SIDES; side++) {
    h3_abandon(world.h3[side]);
    must(h3_ready(world.h3[side]) == NULL && h3_stream_count(world.h3[side]) == 0);
    h3_close(world.h3[side]);
  }
  fuzz_nothing_left();
  return 0;
}
