/* A stream of the session as an end of an exchange: the near end in server mode, the far end in client mode. h3 has put
   heads, bytes and ends where they belong when a stream is ready; this file only tells the exchange about it. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "proxy/session_priv.h"

enum {
  WAITING_MAX = 4096, /* requests that wait for a stream */
  WAITING_MS = 10000, /* and how long */
  STANDING_MS = 500,  /* a queue whose oldest has waited so long is no burst that is about to be over */
};

static void touch_of(struct exchange *exchange) { session_touch(exchange->link); }

/* ---- client mode: far end ---- */

static void far_output(void *end, struct exchange *exchange) {
  h3_output(end);
  touch_of(exchange);
}

static void far_input(void *end, struct exchange *exchange) {
  struct h3_stream *stream = end;
  if (stream->informational == NULL)
    stream->informational = exchange_informational_slot(exchange);
  h3_input(stream);
  touch_of(exchange);
}

static void far_cancel(void *end, struct exchange *exchange, enum err reason) {
  h3_cancel(end, reason);
  touch_of(exchange);
}

static const struct exchange_ops far_ops = {.output = far_output, .input = far_input, .cancel = far_cancel};

void session_informed(void *context, struct h3_stream *stream) {
  (void)context;
  struct exchange *exchange = stream->owner;
  exchange_inform(exchange);
  stream->informational = exchange_informational_slot(exchange);
}

/* The session died before anything was heard from the peer after the request had been sent: most likely it was dead
   before, and we are the last to know (a peer that was restarted). A request that may be repeated waits for the next
   session; RFC 9110 section 9.2.2. */
static bool unheard(const struct exchange *exchange, const struct session *session) {
  return session->state == SESSION_LOST && exchange->state == EXCHANGE_FORWARDED && !exchange->retried &&
         exchange->reason == ERR_OK && exchange->near != NULL && session->heard_ns <= exchange->forwarded_ns &&
         exchange->req.pushed == 0 && exchange->req.end == FLOW_EOF && head_idempotent(&exchange->req_head);
}

static void wait(struct sessions *sessions, struct exchange *exchange);

/* A head that is too large is the caller's fault only in a request: 502, not 431. */
static enum err response_fault(const struct h3_stream *stream) {
  if (stream->error == ERR_HEAD_TOO_LARGE)
    return ERR_BAD_MESSAGE;
  return stream->error != ERR_OK ? stream->error : ERR_STREAM_RESET;
}

static void client_closed(struct session *session, struct h3_stream *stream, struct exchange *exchange) {
  bool again = unheard(exchange, session);
  enum err error = response_fault(stream);
  h3_stream_done(stream);
  flow_set_account(&exchange->req, NULL);
  if (again) {
    flow_close(&exchange->resp); /* h3 has ended it with the session */
    flow_open(&exchange->resp, &exchange->proxy->chunks);
    exchange_retry(exchange);
    wait(session->sessions, exchange);
    return;
  }
  exchange_far_done(exchange);
  if (exchange->near == NULL)
    return;
  if (exchange->resp.end != FLOW_EOF || exchange->state < EXCHANGE_ANSWERING)
    exchange_fail(exchange, session->state == SESSION_LOST ? ERR_LINK_DOWN : error);
}

static void client_stream(struct session *session, struct h3_stream *stream) {
  struct exchange *exchange = stream->owner;
  unsigned events = stream->events;
  stream->events = 0;
  if ((events & H3_HEAD) && exchange->state == EXCHANGE_FORWARDED)
    exchange_response(exchange);
  bool early_end = (events & (H3_BROKEN | H3_RESET)) && !(events & H3_CLOSED && session->state == SESSION_LOST);
  if (early_end && exchange->state != EXCHANGE_OVER)
    exchange_fail(exchange, response_fault(stream));
  unsigned wakes = 0;
  if (events & (H3_DATA | H3_END))
    wakes |= WAKE_NEAR_OUTPUT;
  if (events & (H3_ROOM | H3_STOPPED))
    wakes |= WAKE_NEAR_INPUT;
  if (wakes != 0)
    exchange_wake(exchange, wakes);
  if (events & H3_CLOSED)
    client_closed(session, stream, exchange);
}

static enum err begin(struct session *session, struct exchange *exchange) {
  struct h3_stream *stream;
  enum err err = h3_request(session->h3, &stream, exchange, &exchange->req_head, &exchange->req,
                            &exchange->req_trailers, &exchange->resp_head, exchange_informational_slot(exchange),
                            &exchange->resp, &exchange->resp_trailers);
  if (err != ERR_OK)
    return err;
  exchange->link = session;
  flow_set_account(&exchange->req, &session->account);
  exchange->forwarded_ns = exchange->proxy->now_ns;
  exchange_attach(exchange, &far_ops, stream);
  exchange_sent(exchange);
  session_touch(session);
  return ERR_OK;
}

static struct session *session_for_requests(const struct sessions *sessions) {
  struct session *session = sessions->connector.session;
  if (session == NULL || session->state != SESSION_UP || h3_peer_goaway(session->h3))
    return NULL;
  return session;
}

bool sessions_exhausted(const struct sessions *sessions) {
  const struct session *session = session_for_requests(sessions);
  return session != NULL && quic_streams_left(session->conn) == 0;
}

/* ---- waiting for a stream, or for the next session ---- */

static void waiting_nothing(void *end, struct exchange *exchange) {
  (void)end;
  (void)exchange;
}

static void waiting_cancel(void *end, struct exchange *exchange, enum err reason) {
  (void)reason;
  struct sessions *sessions = end;
  must(sessions->waiting_count > 0);
  list_remove(&exchange->queue);
  sessions->waiting_count--;
  exchange_far_done(exchange);
}

static const struct exchange_ops waiting_ops = {
    .output = waiting_nothing, .input = waiting_nothing, .cancel = waiting_cancel};

static void set_wait_timer(struct sessions *sessions) {
  uint64_t due = TIMER_NEVER;
  if (!list_empty(&sessions->waiting))
    due = container_of(sessions->waiting.next, struct exchange, queue)->queued_ns + WAITING_MS * NS_PER_MS;
  timer_set(&sessions->proxy->timers, &sessions->wait_timer, due);
}

static void wait(struct sessions *sessions, struct exchange *exchange) {
  exchange_attach(exchange, &waiting_ops, sessions);
  exchange->queued_ns = sessions->proxy->now_ns;
  list_push(&sessions->waiting, &exchange->queue);
  sessions->waiting_count++;
  set_wait_timer(sessions);
  sessions_consider_yield(sessions);
  if (sessions->waiting_count > WAITING_MAX)
    exchange_fail(exchange, ERR_OVERLOADED);
}

void sessions_fail_waiting(struct sessions *sessions, enum err reason) {
  while (!list_empty(&sessions->waiting))
    exchange_fail(container_of(sessions->waiting.next, struct exchange, queue), reason);
  set_wait_timer(sessions);
}

void sessions_on_wait_timer(struct timer *timer, uint64_t now_ns) {
  struct sessions *sessions = container_of(timer, struct sessions, wait_timer);
  while (!list_empty(&sessions->waiting)) {
    struct exchange *oldest = container_of(sessions->waiting.next, struct exchange, queue);
    if (oldest->queued_ns + WAITING_MS * NS_PER_MS > now_ns)
      break;
    exchange_fail(oldest, session_for_requests(sessions) == NULL ? ERR_NO_TUNNEL : ERR_QUEUE_TIMEOUT);
  }
  set_wait_timer(sessions);
}

/* The oldest first. But in a queue that has come to stand, everybody would then wait as long as those before him who
   hold the streams and do not move: of every two streams one goes to the newest, who is served at once, and nobody
   else waits more than twice as long. */
static bool newest_is_next(struct sessions *sessions) {
  const struct exchange *oldest = container_of(sessions->waiting.next, struct exchange, queue);
  bool stands = sessions->proxy->now_ns - oldest->queued_ns >= STANDING_MS * NS_PER_MS;
  sessions->newest_next = stands && !sessions->newest_next;
  return sessions->newest_next;
}

void sessions_serve_waiting(struct sessions *sessions) {
  struct session *session = session_for_requests(sessions);
  if (session == NULL || list_empty(&sessions->waiting))
    return;
  while (!list_empty(&sessions->waiting) && quic_streams_left(session->conn) > 0) {
    bool newest = newest_is_next(sessions);
    struct list *node = newest ? sessions->waiting.prev : sessions->waiting.next;
    struct exchange *exchange = container_of(node, struct exchange, queue);
    list_remove(node);
    sessions->waiting_count--;
    enum err err = begin(session, exchange);
    if (err == ERR_OK && sessions->promised.amount > 0)
      sessions->promised.amount--;
    if (err == ERR_AGAIN) {
      if (newest)
        list_push(&sessions->waiting, node);
      else
        list_push_front(&sessions->waiting, node);
      sessions->waiting_count++;
      break;
    }
    if (err != ERR_OK) {
      exchange_far_done(exchange);
      exchange_fail(exchange, err);
    }
  }
  set_wait_timer(sessions);
}

/* Only the server's word that it has verified us is missing, which is a round trip behind: no reason for a 503. */
static bool session_is_near(const struct sessions *sessions) {
  const struct session *session = sessions->connector.session;
  return session != NULL && session->state == SESSION_OPENING;
}

void sessions_route(void *router, struct exchange *exchange) {
  struct sessions *sessions = router;
  struct session *session = session_for_requests(sessions);
  if (session == NULL && !session_is_near(sessions)) {
    exchange_fail(exchange, ERR_NO_TUNNEL);
    return;
  }
  enum err err = ERR_AGAIN;
  if (session != NULL && list_empty(&sessions->waiting)) {
    sessions->promised.amount = 0; /* those for whom it was did not need it */
    err = begin(session, exchange);
  }
  if (err == ERR_AGAIN)
    wait(sessions, exchange);
  else if (err != ERR_OK)
    exchange_fail(exchange, err);
}

/* ---- server mode: near end ---- */

static void respond(struct h3_stream *stream, struct exchange *exchange) {
  enum err err = ERR_BAD_MESSAGE;
  if (exchange->resp_head.status != 0)
    err = h3_respond(stream, &exchange->resp_head, &exchange->resp, &exchange->resp_trailers);
  if (err != ERR_OK)
    h3_cancel(stream, exchange->reason != ERR_OK ? exchange->reason : err);
  else
    metrics_count_response(exchange->proxy->metrics, exchange->resp_head.status);
}

static void inform(struct h3_stream *stream, struct exchange *exchange) {
  const struct head *head;
  while ((head = exchange_informational(exchange)) != NULL) {
    if (h3_inform(stream, head) != ERR_OK)
      log_debug("an informational response was dropped");
    exchange_informed(exchange);
  }
}

static void near_output(void *end, struct exchange *exchange) {
  struct h3_stream *stream = end;
  if (stream->head_out == NULL)
    inform(stream, exchange);
  if (stream->head_out != NULL)
    h3_output(stream);
  else if (exchange->state == EXCHANGE_ANSWERING)
    respond(stream, exchange);
  touch_of(exchange);
}

static void near_input(void *end, struct exchange *exchange) {
  h3_input(end);
  touch_of(exchange);
}

static const struct exchange_ops near_ops = {.output = near_output, .input = near_input};

bool session_accept_stream(void *context, struct h3_stream *stream) {
  struct session *session = context;
  if (session->sessions->draining)
    return false;
  struct exchange *exchange = exchange_open(session->sessions->proxy, &near_ops, stream);
  if (exchange == NULL)
    return false;
  exchange->link = session;
  flow_set_account(&exchange->resp, &session->account);
  stream->owner = exchange;
  stream->head = &exchange->req_head;
  fields_allow_marks(&stream->head->fields); /* the client end's */
  stream->in = &exchange->req;
  stream->trailers = &exchange->req_trailers;
  return true;
}

static void server_request(struct exchange *exchange) {
  const struct session *session = exchange->link;
  enum err err = ERR_OK;
  if (exchange->proxy->config->system.add_forwarded) {
    struct address peer = quic_peer(session->conn), local = quic_local(session->conn);
    fields_allow_marks(&exchange->req_head.fields);
    err = forwarded_add(&exchange->req_head, &peer, &local, "http3");
  }
  if (err == ERR_OK)
    exchange_request(exchange);
  else
    exchange_fail(exchange, err);
}

/* What the client end calls a malformed response is a malformed request here: 400, not 502. */
static enum err request_fault(const struct h3_stream *stream) {
  return stream->error != ERR_OK && stream->error != ERR_BAD_MESSAGE ? stream->error : ERR_BAD_REQUEST;
}

static void server_stream(struct h3_stream *stream) {
  struct exchange *exchange = stream->owner;
  unsigned events = stream->events;
  stream->events = 0;
  if ((events & H3_HEAD) && exchange->state == EXCHANGE_READING)
    server_request(exchange);
  bool answered = exchange->state == EXCHANGE_ANSWERING && exchange->resp.end == FLOW_EOF;
  if ((events & H3_BROKEN) && !answered)
    exchange_fail(exchange, request_fault(stream));
  else if ((events & (H3_RESET | H3_STOPPED)) && !answered)
    exchange_fail(exchange, ERR_CLIENT_GONE);
  unsigned wakes = 0;
  if (events & (H3_DATA | H3_END | H3_RESET))
    wakes |= WAKE_FAR_OUTPUT;
  if (events & (H3_ROOM | H3_STOPPED))
    wakes |= WAKE_FAR_INPUT;
  if (wakes != 0)
    exchange_wake(exchange, wakes);
  if (events & H3_CLOSED) {
    h3_stream_done(stream);
    flow_set_account(&exchange->resp, NULL);
    exchange_near_done(exchange);
  }
}

void session_handle_streams(struct session *session) {
  if (session->h3 == NULL)
    return;
  struct h3_stream *stream;
  while ((stream = h3_ready(session->h3)) != NULL) {
    if (session->sessions->proxy->server)
      server_stream(stream);
    else
      client_stream(session, stream);
  }
}
