/* A client works through its exchanges in order on one connection at a time, and makes a new one when that ended. When
   its scenario says so it sends requests that may be repeated ahead of the answers; those that stay without an answer
   because the connection ended are sent again on the next one, as RFC 9112 section 9.3.1 allows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "sim/actors.h"

enum {
  ATTEMPTS_MAX = 8,
  SLOW_MS = 20,
  SLOW_BYTES = 8192,
  RECONNECT_MS = 2,
  RETRY_AFTER_MS = 3000,
  EXPECT_MS = 1000,
  PAUSE_MS = 4000,
  PAD_LINE_MAX = 4096
};

struct client {
  struct scenario *scenario;
  uint32_t *queue; /* exchanges, by number */
  uint32_t count;
  uint32_t first; /* of those that are not over */
  uint32_t sent;  /* of those that are not yet sent */
  struct peer *peer;
  uint32_t carried; /* requests on this connection so far */
  bool sending, head_seen, close_after, thinking, resting, over;
  bool paused;          /* it has begun to */
  bool wait;            /* the last answer was 503: not so soon again */
  uint64_t thought_for; /* the position that the pause was for, plus one */
  struct outgoing out;
  struct message in;
};

static struct client *clients;
static uint32_t client_count;
static bool stopping;
static struct rng rng;
static uint64_t progress_ns, received_bytes;

uint64_t actors_progress_ns(void) { return progress_ns; }
void actors_note_progress(void) { progress_ns = world.now_ns; }
uint64_t actors_received_bytes(void) { return received_bytes; }

static void client_step(void *context);

static struct plan *plan_at(const struct client *client, uint32_t position) {
  return &client->scenario->plans[client->queue[position]];
}

static void later(struct client *client, uint64_t delay_ns) { world_after(delay_ns, client_step, client); }

/* --- the end of an exchange and of a connection --- */

static void finish(struct client *client, enum outcome outcome) {
  struct plan *plan = plan_at(client, client->first);
  must(plan->outcome == OUTCOME_NONE && client->first < client->sent);
  plan->outcome = (uint8_t)outcome;
  plan->ended_ns = world.now_ns;
  client->first++;
  actors_note_progress();
  trace(TRACE_CLIENT_END, HOST_CLIENT, plan->id, (uint64_t)outcome << 32 | (uint32_t)plan->got_status);
}

static void disconnect(struct client *client, bool reset) {
  if (client->peer == NULL)
    return;
  if (reset)
    peer_reset(client->peer);
  else
    peer_close(client->peer);
  client->peer = NULL;
  client->sending = client->close_after = false;
  client->sent = client->first; /* what has no answer is sent again */
  later(client, RECONNECT_MS * NS_PER_MS);
}

/* The client itself gives up. */
static void leave(struct client *client) {
  struct plan *plan = plan_at(client, client->first);
  finish(client, OUTCOME_LEFT);
  disconnect(client, plan->id % 2 == 0);
}

static void connection_ended(struct client *client, bool reset) {
  bool waiting = client->first < client->sent;
  struct plan *plan = waiting ? plan_at(client, client->first) : NULL;
  if (waiting && !reset)
    message_end(&client->in);
  if (waiting && client->in.progress == MESSAGE_COMPLETE) {
    finish(client, OUTCOME_RESPONSE);
  } else if (waiting) {
    plan->unanswered = client->in.head_len == 0;
    bool again =
        !stopping && plan->unanswered && plan_repeatable(plan) && plan->reused && plan->attempts < ATTEMPTS_MAX;
    if (!again)
      finish(client, OUTCOME_CUT);
  }
  disconnect(client, false);
}

/* --- receiving --- */

static void check_head(struct client *client, struct plan *plan) {
  struct message *in = &client->in;
  char text[64];
  plan->got_status = in->status;
  plan->by_proxy = message_field(in, "Server", text, sizeof text) && strncmp(text, "ptproxy", 7) == 0;
  if (plan->by_proxy && in->status == 503 && !message_field(in, "Retry-After", text, sizeof text))
    world_fail("exchange %u: 503 without Retry-After", plan->id);
  client->close_after = client->close_after || plan->http10;
  client->wait = in->status == 503;
  if (message_field(in, "Connection", text, sizeof text) && strcasecmp(text, "close") == 0)
    client->close_after = true;
  if (in->framing == FRAMING_UNTIL_CLOSE && in->minor == 1 && !plan->http10)
    world_fail("exchange %u: a body that ends with the connection for an HTTP/1.1 client", plan->id);
  if (plan->http10 && in->framing == FRAMING_CHUNKED)
    world_fail("exchange %u: a chunked body for an HTTP/1.0 client", plan->id);
  if (plan->by_proxy)
    return;
  if (!message_field(in, "X-Sim-Id", text, sizeof text) || strtoul(text, NULL, 10) != plan->id)
    world_fail("exchange %u: got the response of exchange %s", plan->id, text);
  if (!message_field(in, "Date", text, sizeof text))
    world_fail("exchange %u: a response without Date", plan->id);
  if (in->status != plan->status)
    world_fail("exchange %u: status %d instead of %d", plan->id, in->status, plan->status);
  bool keeps_length = plan_is(plan, "HEAD") && plan->down_framing == FRAMING_LENGTH;
  if (keeps_length &&
      (!message_field(in, "Content-Length", text, sizeof text) || strtoull(text, NULL, 10) != plan->down_bytes))
    world_fail("exchange %u: HEAD with Content-Length '%s'", plan->id, text);
  in->id = plan->id;
  in->check = true;
}

static void check_complete(const struct client *client, const struct plan *plan) {
  const struct message *in = &client->in;
  if (in->mismatch)
    world_fail("exchange %u: a wrong byte in the response's body", plan->id);
  if (plan->by_proxy)
    return;
  if (in->framing != FRAMING_NONE && in->bytes != plan->down_bytes)
    world_fail("exchange %u: a complete response with %llu of %llu bytes", plan->id, (unsigned long long)in->bytes,
               (unsigned long long)plan->down_bytes);
  bool wants_trailers = plan->trailers && plan->down_framing == FRAMING_CHUNKED && in->framing == FRAMING_CHUNKED;
  if (wants_trailers && in->trailers != 1)
    world_fail("exchange %u: %u trailer fields instead of 1", plan->id, in->trailers);
}

static void response_complete(struct client *client) {
  struct plan *plan = plan_at(client, client->first);
  check_complete(client, plan);
  finish(client, OUTCOME_RESPONSE);
  bool withholds = plan->client == CLIENT_EXPECTS && client->out.hold;
  if (client->sending && (plan->client == CLIENT_STALLS || withholds))
    client->close_after = true; /* it will not send the rest */
  if (client->first < client->sent) {
    message_begin(&client->in, true, plan_is(plan_at(client, client->first), "HEAD"));
    client->head_seen = false;
  }
  if (client->close_after)
    disconnect(client, false);
}

/* Acts on what was read; false: read no more of it now. */
static bool on_progress(struct client *client) {
  struct message *in = &client->in;
  struct plan *plan = plan_at(client, client->first);
  if (in->progress == MESSAGE_MALFORMED)
    world_fail("exchange %u: a malformed response (%s): %.200s", plan->id, in->problem, in->head);
  if (in->progress != MESSAGE_HEAD && in->status < 200) {
    if (in->status == 103 && plan->origin != ORIGIN_INFORMS)
      world_fail("exchange %u: 103 from nowhere", plan->id);
    if (in->status == 100 && plan->client != CLIENT_EXPECTS)
      world_fail("exchange %u: 100 Continue for nobody", plan->id);
    if (in->status == 100)
      client->out.hold = false;
    message_begin(in, true, plan_is(plan, "HEAD"));
    return true;
  }
  if (in->progress != MESSAGE_HEAD && !client->head_seen) {
    client->head_seen = true;
    check_head(client, plan);
  }
  if (client->head_seen && plan->client == CLIENT_CUTS_RESPONSE && in->bytes >= plan->down_stop) {
    leave(client);
    return false;
  }
  if (in->progress == MESSAGE_COMPLETE)
    response_complete(client);
  return client->peer != NULL;
}

static bool slow(const struct client *client) {
  return client->first < client->sent && plan_at(client, client->first)->client == CLIENT_SLOW_READER;
}

static void client_rested(void *context) {
  struct client *client = context;
  client->resting = false;
  client_step(client);
}

/* Once, longer than a proxy puts up with when others wait. */
static bool pauses(struct client *client) {
  if (client->first == client->sent || plan_at(client, client->first)->client != CLIENT_PAUSES)
    return false;
  if (!client->paused && client->in.bytes >= plan_at(client, client->first)->down_stop) {
    client->paused = client->resting = true;
    world_after(PAUSE_MS * NS_PER_MS, client_rested, client);
  }
  return client->resting;
}

/* At most |max| bytes; false when there is nothing to read, or the connection is gone. */
static bool read_some(struct client *client, size_t max) {
  uint8_t buffer[16384];
  size_t len = peer_read(client->peer, buffer, max < sizeof buffer ? max : sizeof buffer);
  if (len > 0)
    actors_note_progress();
  received_bytes += len;
  for (size_t at = 0; at < len;) {
    if (client->first == client->sent)
      world_fail("client got bytes without a request: %.*s", (int)(len - at < 100 ? len - at : 100), buffer + at);
    at += message_feed(&client->in, buffer + at, len - at);
    if (!on_progress(client))
      return false;
  }
  return len > 0;
}

static void client_read(struct client *client) {
  while (client->peer != NULL && !pauses(client)) {
    if (slow(client)) {
      if (!client->resting && peer_readable(client->peer) > 0) {
        client->resting = true;
        read_some(client, SLOW_BYTES);
        world_after(SLOW_MS * NS_PER_MS, client_rested, client);
      }
      return;
    }
    if (!read_some(client, SIZE_MAX))
      return;
  }
}

/* --- sending --- */

static void write_head(struct client *client, struct plan *plan) {
  static const char pad[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.~ABCDEFGHIJKLMNOPQRSTUVWX";
  struct outgoing *out = &client->out;
  outgoing_line(out, "%s /exchange/%u HTTP/1.%d", plan->method, plan->id, plan->http10 ? 0 : 1);
  outgoing_line(out, "Host: b.example");
  outgoing_line(out, "X-Sim-Id: %u", plan->id);
  if (plan->up_pad > 0) {
    char text[PAD_LINE_MAX];
    for (uint32_t i = 0; i < plan->up_pad; i++)
      text[i] = pad[(i * 7 + plan->id) % 64];
    text[plan->up_pad] = '\0';
    outgoing_line(out, "X-Pad: %s", text);
  }
  if (plan->up_framing == FRAMING_LENGTH)
    outgoing_line(out, "Content-Length: %llu", (unsigned long long)plan->up_bytes);
  else if (plan->up_framing == FRAMING_CHUNKED)
    outgoing_line(out, "Transfer-Encoding: chunked");
  if (plan->trailers)
    outgoing_line(out, "TE: trailers");
  if (plan->client == CLIENT_EXPECTS)
    outgoing_line(out, "Expect: 100-continue");
  outgoing_line(out, "%s", "");
}

/* The client has waited long enough for 100 Continue (it may be at another exchange by now, which is as well). */
static void client_expected(void *context) {
  struct client *client = context;
  client->out.hold = false;
  client_step(client);
}

static void begin_request(struct client *client) {
  struct plan *plan = plan_at(client, client->sent);
  struct outgoing *out = &client->out;
  outgoing_begin(out, plan->id, BODY_UP, &rng);
  write_head(client, plan);
  out->framing = plan->up_framing;
  out->body_bytes = plan->up_bytes;
  if (plan->client == CLIENT_CUTS_REQUEST || plan->client == CLIENT_STALLS)
    out->stop_at = plan->up_stop;
  if (plan->client == CLIENT_EXPECTS) {
    out->hold = true;
    world_after(EXPECT_MS * NS_PER_MS, client_expected, client);
  }
  plan->attempts++;
  plan->began_ns = world.now_ns;
  plan->reused = client->carried > 0;
  trace(TRACE_CLIENT_BEGIN, HOST_CLIENT, plan->id, client->peer->wire->id);
  if (client->first == client->sent) {
    message_begin(&client->in, true, plan_is(plan, "HEAD"));
    client->head_seen = false;
  }
  client->sent++;
  client->carried++;
  client->sending = true;
}

static bool may_send(const struct client *client) {
  if (client->sending || client->close_after || client->sent == client->count || stopping)
    return false;
  uint32_t waiting = client->sent - client->first;
  if (waiting == 0)
    return true;
  if (waiting >= client->scenario->pipeline || !plan_repeatable(plan_at(client, client->sent)))
    return false;
  for (uint32_t i = client->first; i < client->sent; i++) {
    if (!plan_repeatable(plan_at(client, i)))
      return false;
  }
  return true;
}

static void client_thought(void *context) {
  struct client *client = context;
  client->thinking = false;
  client_step(client);
}

/* Once for each exchange; false: the pause has begun. */
static bool thought(struct client *client) {
  uint64_t wanted = (uint64_t)client->sent + 1;
  if (client->thinking)
    return false;
  if (client->thought_for == wanted)
    return true;
  client->thought_for = wanted;
  client->thinking = true;
  uint64_t wait_ns = client->wait ? rng_below(&rng, RETRY_AFTER_MS) * NS_PER_MS : 0;
  client->wait = false;
  world_after(wait_ns + plan_at(client, client->sent)->think_ns, client_thought, client);
  return false;
}

/* The request is written, or as much of it as this client writes. */
static void request_written(struct client *client) {
  struct plan *plan = &client->scenario->plans[client->out.id];
  if (outgoing_complete(&client->out)) {
    client->sending = false;
    if (plan->client == CLIENT_HALF_CLOSES) {
      client->close_after = true;
      peer_shutdown(client->peer);
    }
    return;
  }
  if (plan->client != CLIENT_CUTS_REQUEST)
    return; /* it stalls */
  if (plan->outcome == OUTCOME_NONE)
    leave(client);
  else
    disconnect(client, false);
}

static void client_write(struct client *client) {
  if (!client->sending || client->thinking)
    return;
  bool slowly = client->scenario->plans[client->out.id].client == CLIENT_SLOW_WRITER;
  uint64_t before = client->out.body_sent;
  bool done = outgoing_pump(&client->out, client->peer, slowly ? SLOW_BYTES : UINT64_MAX);
  if (client->out.body_sent > before)
    actors_note_progress();
  if (done) {
    request_written(client);
  } else if (slowly) {
    client->thinking = true;
    world_after(SLOW_MS * NS_PER_MS, client_thought, client);
  }
}

/* --- the whole --- */

static void client_connect(struct client *client) {
  client->carried = 0;
  client->close_after = client->sending = false;
  client->peer = peer_connect(HOST_CLIENT, client_step, client);
}

static void client_step(void *context) {
  struct client *client = context;
  if (client->over)
    return;
  if (client->peer == NULL) {
    if (client->first == client->count || stopping)
      client->over = true;
    else if (thought(client))
      client_connect(client);
    return;
  }
  client_read(client);
  if (client->peer == NULL)
    return;
  enum peer_state state = peer_state(client->peer);
  if (state == PEER_ENDED || state == PEER_RESET) {
    connection_ended(client, state == PEER_RESET);
    return;
  }
  if (state == PEER_CONNECTING) {
    if (stopping)
      disconnect(client, false);
    return;
  }
  client_write(client);
  while (client->peer != NULL && may_send(client) && thought(client)) {
    begin_request(client);
    client_write(client);
  }
  bool idle = client->first == client->count || (stopping && client->first == client->sent);
  if (client->peer != NULL && idle && !client->sending)
    disconnect(client, false);
}

void clients_stop(void) {
  stopping = true;
  for (uint32_t i = 0; i < client_count; i++)
    later(&clients[i], 0);
}

void clients_open(struct scenario *scenario) {
  stopping = false;
  rng_seed(&rng, world.seed, 'C');
  progress_ns = world.now_ns;
  client_count = scenario->clients;
  clients = calloc(client_count, sizeof *clients);
  must(clients != NULL);
  for (uint32_t i = 0; i < client_count; i++) {
    struct client *client = &clients[i];
    client->scenario = scenario;
    client->queue = calloc(scenario->exchanges / client_count + 1, sizeof *client->queue);
    must(client->queue != NULL);
    for (uint32_t id = i; id < scenario->exchanges; id += client_count)
      client->queue[client->count++] = id;
    later(client, rng_below(&rng, 50 * NS_PER_MS));
  }
}

bool clients_done(void) {
  for (uint32_t i = 0; i < client_count; i++) {
    if (!clients[i].over)
      return false;
  }
  return true;
}

void clients_close(void) {
  for (uint32_t i = 0; i < client_count; i++)
    free(clients[i].queue);
  free(clients);
  clients = NULL;
  client_count = 0;
}
