/* The origin: finds in the request line which exchange it is, and does what that one's plan says. It takes requests one
   after the other on each connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/must.h"
#include "sim/actors.h"

enum { TRICKLE_MS = 10, TRICKLE_BYTES = 6000 };

struct origin_conn {
  struct list node;
  struct peer *peer;
  struct plan *plan; /* NULL: between requests */
  bool answering, answered, resting;
  struct message in;
  struct outgoing out, informational;
};

static struct scenario *scenario;
static struct list conns = {&conns, &conns};
static struct rng rng;

static void conn_step(void *context);

static void hang_up(struct origin_conn *conn, bool reset) {
  if (reset)
    peer_reset(conn->peer);
  else
    peer_close(conn->peer);
}

/* --- the response --- */

static void pad(struct outgoing *out, const struct plan *plan) {
  char text[4096];
  if (plan->down_pad == 0)
    return;
  for (uint32_t i = 0; i < plan->down_pad; i++)
    text[i] = (char)('a' + (i * 5 + plan->id) % 26);
  text[plan->down_pad] = '\0';
  outgoing_line(out, "X-Pad: %s", text);
}

static void write_head(struct origin_conn *conn) {
  const struct plan *plan = conn->plan;
  struct outgoing *out = &conn->out;
  outgoing_begin(out, plan->id, BODY_DOWN, &rng);
  outgoing_line(out, "HTTP/1.1 %d Whatever", plan->status);
  outgoing_line(out, "Server: origin");
  outgoing_line(out, "X-Sim-Id: %u", plan->id);
  if (plan->id % 2 == 0)
    outgoing_line(out, "Date: Sun, 22 Nov 2026 12:00:00 GMT");
  if (plan->down_framing == FRAMING_LENGTH)
    outgoing_line(out, "Content-Length: %llu", (unsigned long long)plan->down_bytes);
  if (plan->down_framing == FRAMING_CHUNKED)
    outgoing_line(out, "Transfer-Encoding: chunked");
  if (plan->down_framing == FRAMING_CHUNKED && plan->trailers)
    outgoing_line(out, "Trailer: X-Check");
  if (plan->down_framing == FRAMING_UNTIL_CLOSE || plan->origin == ORIGIN_SAYS_CLOSE)
    outgoing_line(out, "Connection: close");
  pad(out, plan);
  outgoing_line(out, "%s", "");
  if (plan_is(plan, "HEAD"))
    return;
  out->framing = plan->down_framing;
  out->body_bytes = plan->down_bytes;
  out->trailers = plan->trailers;
  if (plan->origin == ORIGIN_CUTS_BODY || plan->origin == ORIGIN_RESETS_BODY)
    out->stop_at = plan->down_stop;
}

static void start_answer(struct origin_conn *conn) {
  conn->answering = true;
  if (conn->plan->origin == ORIGIN_INFORMS) {
    outgoing_line(&conn->informational, "HTTP/1.1 103 Early Hints");
    outgoing_line(&conn->informational, "Link: </style.css>; rel=preload");
    outgoing_line(&conn->informational, "%s", "");
  }
  write_head(conn);
}

static void begin_answer(void *context) {
  struct origin_conn *conn = context;
  if (conn->plan == NULL || conn->answering || peer_state(conn->peer) == PEER_CLOSED)
    return;
  start_answer(conn);
  conn_step(conn);
}

/* What ends the exchange instead of an answer; false: nothing does. */
static bool misbehave(struct origin_conn *conn) {
  static const char garbage[] = "HTP/1.1 20x what?\r\n\x01: \r\n\r\n";
  switch ((enum origin_manner)conn->plan->origin) {
  case ORIGIN_CLOSES:
    hang_up(conn, false);
    return true;
  case ORIGIN_RESETS:
    hang_up(conn, true);
    return true;
  case ORIGIN_NEVER:
    conn->answering = true; /* and nothing to write */
    conn->out.head_sent = conn->out.head_len = 0;
    return true;
  case ORIGIN_GARBAGE:
    peer_write(conn->peer, garbage, sizeof garbage - 1);
    conn->answering = true;
    return true;
  default:
    return false;
  }
}

static void answered(struct origin_conn *conn) {
  struct plan *plan = conn->plan;
  bool complete = outgoing_complete(&conn->out);
  if (complete)
    plan->origin_responses++;
  trace(TRACE_ORIGIN_RESPONSE, HOST_SERVER, plan->id, complete);
  actors_note_progress();
  conn->answered = true;
  if (!complete)
    hang_up(conn, plan->origin == ORIGIN_RESETS_BODY);
  else if (plan->down_framing == FRAMING_UNTIL_CLOSE || plan->origin == ORIGIN_EARLY_CLOSE ||
           plan->origin == ORIGIN_SAYS_CLOSE || plan->origin == ORIGIN_IDLE_CLOSE)
    hang_up(conn, false);
}

static void conn_rested(void *context) {
  struct origin_conn *conn = context;
  conn->resting = false;
  conn_step(conn);
}

static void conn_write(struct origin_conn *conn) {
  if (conn->plan != NULL && !outgoing_pump(&conn->informational, conn->peer, UINT64_MAX))
    return;
  if (!conn->answering || conn->answered || conn->resting || conn->plan->origin == ORIGIN_NEVER ||
      conn->plan->origin == ORIGIN_GARBAGE)
    return;
  bool trickles = conn->plan->origin == ORIGIN_TRICKLES;
  uint64_t before = conn->out.body_sent;
  bool done = outgoing_pump(&conn->out, conn->peer, trickles ? TRICKLE_BYTES : UINT64_MAX);
  if (conn->out.body_sent > before)
    actors_note_progress();
  if (done) {
    answered(conn);
  } else if (trickles) {
    conn->resting = true;
    world_after(TRICKLE_MS * NS_PER_MS, conn_rested, conn);
  }
}

/* --- the request --- */

static void on_head(struct origin_conn *conn) {
  struct message *in = &conn->in;
  unsigned id;
  char text[64];
  if (sscanf(in->target, "/exchange/%u", &id) != 1 || id >= scenario->exchanges)
    world_fail("the origin got a request for %s", in->target);
  struct plan *plan = &scenario->plans[id];
  if (!plan_is(plan, in->method) || in->minor != 1)
    world_fail("exchange %u: the origin got %s in HTTP/1.%d", id, in->method, in->minor);
  if (!message_field(in, "X-Sim-Id", text, sizeof text) || strtoul(text, NULL, 10) != id)
    world_fail("exchange %u: the origin got the fields of exchange %s", id, text);
  if (!message_field(in, "Host", text, sizeof text) || strcmp(text, "b.example") != 0)
    world_fail("exchange %u: the origin got Host: %s", id, text);
  plan->origin_requests++;
  plan->origin_ns = world.now_ns;
  in->id = id;
  in->check = true;
  conn->plan = plan;
  actors_note_progress();
  trace(TRACE_ORIGIN_REQUEST, HOST_SERVER, id, conn->peer->wire->id);
  outgoing_begin(&conn->informational, 0, BODY_DOWN, &rng);
  bool early = plan->origin == ORIGIN_EARLY || plan->origin == ORIGIN_EARLY_CLOSE;
  if (message_field(in, "Expect", text, sizeof text) && !early) {
    outgoing_line(&conn->informational, "HTTP/1.1 100 Continue");
    outgoing_line(&conn->informational, "%s", "");
  }
  if (early)
    start_answer(conn);
  else if (id % 2 == 0)
    (void)misbehave(conn);
}

static void on_request(struct origin_conn *conn) {
  struct plan *plan = conn->plan;
  uint64_t expected = plan->up_framing == FRAMING_NONE ? 0 : plan->up_bytes;
  if (conn->in.mismatch)
    world_fail("exchange %u: a wrong byte in the request's body", plan->id);
  if (conn->in.bytes != expected)
    world_fail("exchange %u: a complete request with %llu of %llu bytes", plan->id, (unsigned long long)conn->in.bytes,
               (unsigned long long)expected);
  plan->origin_bodies++;
  if (!conn->answering && !misbehave(conn))
    world_after(plan->answer_ns, begin_answer, conn);
}

static void next_request(struct origin_conn *conn) {
  conn->plan = NULL;
  conn->answering = conn->answered = false;
  message_begin(&conn->in, false, false);
}

static void feed(struct origin_conn *conn, const uint8_t *data, size_t len) {
  for (size_t at = 0; at < len && peer_state(conn->peer) != PEER_CLOSED;) {
    if (conn->in.progress == MESSAGE_COMPLETE && conn->answered)
      next_request(conn);
    if (conn->in.progress == MESSAGE_COMPLETE)
      world_fail("exchange %u: bytes behind the request, before its answer", conn->plan->id);
    at += message_feed(&conn->in, data + at, len - at);
    if (conn->in.progress == MESSAGE_MALFORMED)
      world_fail("the origin got a malformed request (%s): %.200s", conn->in.problem, conn->in.head);
    if (conn->plan == NULL && conn->in.progress != MESSAGE_HEAD)
      on_head(conn);
    if (conn->in.progress == MESSAGE_COMPLETE && peer_state(conn->peer) != PEER_CLOSED)
      on_request(conn);
  }
}

static void conn_read(struct origin_conn *conn) {
  uint8_t buffer[16384];
  bool slowly = conn->plan != NULL && conn->plan->origin == ORIGIN_TRICKLES;
  size_t len;
  if (slowly && conn->resting)
    return;
  while ((len = peer_read(conn->peer, buffer, slowly ? TRICKLE_BYTES : sizeof buffer)) > 0) {
    actors_note_progress();
    feed(conn, buffer, len);
    if (!slowly)
      continue;
    conn->resting = true;
    world_after(TRICKLE_MS * NS_PER_MS, conn_rested, conn);
    break;
  }
}

static void conn_step(void *context) {
  struct origin_conn *conn = context;
  if (peer_state(conn->peer) == PEER_CLOSED)
    return;
  conn_read(conn);
  enum peer_state state = peer_state(conn->peer);
  if (state == PEER_ENDED || state == PEER_RESET) {
    hang_up(conn, false);
    return;
  }
  if (state == PEER_CLOSED)
    return;
  conn_write(conn);
  bool over = conn->answered && conn->in.progress == MESSAGE_COMPLETE && peer_state(conn->peer) != PEER_CLOSED;
  if (over)
    next_request(conn);
}

/* --- connections --- */

static enum verdict on_connect(void *context) {
  (void)context;
  if (rng_chance(&rng, scenario->refuse_ppm))
    return VERDICT_REFUSE;
  return rng_chance(&rng, scenario->ignore_ppm) ? VERDICT_IGNORE : VERDICT_ACCEPT;
}

static void on_accepted(void *context, struct peer *peer) {
  (void)context;
  struct origin_conn *conn = calloc(1, sizeof *conn);
  must(conn != NULL);
  list_init(&conn->node);
  list_push(&conns, &conn->node);
  conn->peer = peer;
  peer->event = conn_step;
  peer->owner = conn;
  message_begin(&conn->in, false, false);
}

void origin_script_open(struct scenario *wanted) {
  scenario = wanted;
  rng_seed(&rng, world.seed, 'O');
  wires_open(&(struct wire_server){.verdict = on_connect, .accepted = on_accepted});
}

void origin_script_close(void) {
  struct list *node;
  while ((node = list_pop(&conns)) != NULL)
    free(container_of(node, struct origin_conn, node));
}
