/* An ingress connection is the near end of its exchange. Two enums say where it is: `request`, what of the request has
   come in, and `response`, what of the response has gone out; every pair of them is meaningful (a response may be
   complete while its request still arrives). The timer's meaning follows from them.

   Who may hold a connection: its tcp (events, and the bytes of a send in flight, until buried), its exchange (until
   exchange_near_done), its timer. It goes back to the pool when tcp tells that it is buried. */
#include "proxy/ingress.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/must.h"
#include "proto/http1_read.h"
#include "proto/http1_write.h"
#include "proxy/exchange.h"

enum request_part {
  REQUEST_NONE,     /* between requests: not a byte yet */
  REQUEST_HEAD,     /* the head has begun */
  REQUEST_BODY,     /* forwarded; the body is coming */
  REQUEST_COMPLETE, /* all of it was read; what follows is the next one's */
  REQUEST_REFUSED,  /* what follows cannot be understood, or nobody wants it */
};

enum response_part {
  RESPONSE_NONE,
  RESPONSE_WRITING,
  RESPONSE_COMPLETE, /* sent, but the request is not complete: the rest is drained */
  RESPONSE_LINGER,   /* sent and shut down: input is dropped until the client closes too */
  RESPONSE_CLOSED,   /* tcp_close was called */
};

enum {
  LISTENERS_MAX = CONFIG_LIST_MAX,
  REFUSALS_MAX = 64,         /* connections over the limit that are being answered */
  PIPELINE_BYTES_MAX = 8192, /* received ahead of the current request's end */
  LINGER_MS = 2000,
  POOL_RETRY_MS = 20,
  BULK_BODY_BYTES = 32768, /* a body longer than this is received in large chunks */
};

struct ingress_front {
  struct proxy *proxy;
  struct pool connections;
  struct list all;
  struct tcp_listener *listeners[LISTENERS_MAX];
  size_t listener_count;
};

struct ingress {
  struct list node; /* in front->all */
  struct ingress_front *front;
  struct proxy *proxy;
  struct tcp *tcp;
  struct exchange *exchange; /* NULL between requests */
  struct timer timer;
  struct stall stall;
  struct http1_reader reader;
  struct http1_writer writer;
  uint8_t request;  /* enum request_part */
  uint8_t response; /* enum response_part */
  bool close_after; /* the connection ends with this response */
  bool continued;   /* 100 Continue was passed on */
  uint32_t drained_bytes;
};

static void ingress_read(struct ingress *ingress);
static void ingress_output(void *end, struct exchange *exchange);
static void ingress_input(void *end, struct exchange *exchange);

static const struct exchange_ops ingress_ops = {.output = ingress_output, .input = ingress_input};

static void note_turn(struct ingress *ingress, unsigned events);

/* ---- the end of a connection ---- */

static void ingress_buried(void *owner) {
  struct ingress *ingress = owner;
  if (ingress->exchange != NULL)
    exchange_near_done(ingress->exchange);
  http1_writer_close(&ingress->writer);
  list_remove(&ingress->node);
  if (ingress->proxy->callers != NULL)
    atomic_fetch_sub_explicit(ingress->proxy->callers, 1, memory_order_relaxed);
  pool_put(&ingress->front->connections, ingress);
}

static void ingress_close(struct ingress *ingress, bool reset) {
  if (ingress->response == RESPONSE_CLOSED)
    return;
  ingress->response = RESPONSE_CLOSED;
  timer_cancel(&ingress->proxy->timers, &ingress->timer);
  note_turn(ingress, 0);
  /* The far end stops now; the exchange itself stays until no send refers to its bytes. */
  if (ingress->exchange != NULL)
    exchange_fail(ingress->exchange, ERR_CLIENT_GONE);
  tcp_close(ingress->tcp, reset, ingress_buried, ingress);
}

/* Closing while the client still sends would answer it with RST, which can destroy the response in its receive buffer
   (RFC 9112 section 9.6): so the sending side first, the rest when the client has closed or time is up. */
static void linger(struct ingress *ingress) {
  ingress->response = RESPONSE_LINGER;
  tcp_shutdown(ingress->tcp);
  timer_set(&ingress->proxy->timers, &ingress->timer, proxy_deadline(ingress->proxy, LINGER_MS));
  tcp_input(ingress->tcp, TCP_INPUT_SMALL);
  ingress_read(ingress);
}

/* ---- the request ---- */

static void set_timer(struct ingress *ingress) {
  const struct config *config = ingress->proxy->config;
  uint64_t after_ms = 0;
  if (ingress->request == REQUEST_NONE)
    after_ms = config->timeouts.keep_alive_ms;
  else if (ingress->request == REQUEST_HEAD)
    after_ms = config->timeouts.request_head_ms;
  else if (ingress->request == REQUEST_BODY || ingress->response == RESPONSE_WRITING)
    after_ms = config->timeouts.request_body_ms; /* the client's turn: to send its body, to read the response */
  timer_set(&ingress->proxy->timers, &ingress->timer, proxy_deadline(ingress->proxy, after_ms));
}

static bool wants_input(const struct ingress *ingress) {
  if (ingress->response == RESPONSE_CLOSED)
    return false;
  if (ingress->response == RESPONSE_LINGER)
    return true;
  switch ((enum request_part)ingress->request) {
  case REQUEST_NONE:
    return !ingress->proxy->draining || ingress->exchange != NULL;
  case REQUEST_HEAD:
    return true;
  case REQUEST_BODY:
    return ingress->exchange->req.end != FLOW_OPEN || flow_room(&ingress->exchange->req) > 0;
  case REQUEST_COMPLETE:
  case REQUEST_REFUSED:
    return false;
  }
  must_never("every part is in the switch");
}

/* What to ask the kernel for: nothing while the request's flow is full; after a complete request only as much as shows
   that the client is still there. */
static void ask_for_input(struct ingress *ingress) {
  if (ingress->response == RESPONSE_CLOSED)
    return;
  enum tcp_input_mode mode = TCP_INPUT_SMALL;
  if (!wants_input(ingress))
    mode = tcp_input_bytes(ingress->tcp) < PIPELINE_BYTES_MAX ? TCP_INPUT_SMALL : TCP_INPUT_OFF;
  if (ingress->request == REQUEST_BODY) {
    const struct exchange *exchange = ingress->exchange;
    if (!wants_input(ingress))
      mode = TCP_INPUT_OFF;
    else if (exchange->req_head.content_length > BULK_BODY_BYTES || exchange->req.pushed > BULK_BODY_BYTES)
      mode = TCP_INPUT_BULK;
  }
  tcp_input(ingress->tcp, mode);
}

static bool begin_exchange(struct ingress *ingress) {
  struct exchange *exchange = exchange_open(ingress->proxy, &ingress_ops, ingress);
  if (exchange == NULL)
    return false;
  ingress->exchange = exchange;
  ingress->continued = false;
  ingress->drained_bytes = 0;
  http1_reader_next(&ingress->reader, &exchange->req_head, &exchange->req, &exchange->req_trailers, false);
  return true;
}

/* The client sent something that ends the exchange, and after which nothing on this connection can be trusted. */
static void refuse(struct ingress *ingress, enum err reason) {
  ingress->request = REQUEST_REFUSED;
  ingress->close_after = true;
  set_timer(ingress);
  if (ingress->response == RESPONSE_COMPLETE)
    linger(ingress); /* it was only being drained */
  else
    exchange_fail(ingress->exchange, reason);
}

static enum err mark_request(const struct ingress *ingress, struct head *head) {
  const struct proxy *proxy = ingress->proxy;
  fields_allow_marks(&head->fields);
  enum err err = loop_mark_add(head, proxy->loop_mark);
  if (err != ERR_OK || !proxy->config->system.add_forwarded)
    return err;
  struct address peer = tcp_remote(ingress->tcp), local = tcp_local(ingress->tcp);
  return forwarded_add(head, &peer, &local, "http");
}

static void on_head(struct ingress *ingress) {
  struct exchange *exchange = ingress->exchange;
  ingress->request = REQUEST_BODY;
  ingress->close_after = exchange->req_head.close || ingress->proxy->draining;
  enum err err = mark_request(ingress, &exchange->req_head);
  if (err == ERR_OK)
    exchange_request(exchange);
  else
    exchange_fail(exchange, err);
}

/* Acts on what the reader found; false when there is nothing more to read for now. */
static bool on_step(struct ingress *ingress, enum http1_step step) {
  switch (step) {
  case HTTP1_MORE:
    if (ingress->request == REQUEST_NONE && http1_reader_started(&ingress->reader)) {
      ingress->request = REQUEST_HEAD;
      set_timer(ingress);
    } else if (ingress->request == REQUEST_BODY) {
      set_timer(ingress);
    }
    return true;
  case HTTP1_MESSAGE:
    ingress->request = REQUEST_COMPLETE;
    set_timer(ingress);
    return false;
  case HTTP1_BROKEN:
    refuse(ingress, http1_reader_error(&ingress->reader));
    return false;
  case HTTP1_HEAD:
  case HTTP1_INFORMATIONAL:
    break;
  }
  must_never("a head was followed by another step, and a request is not informational");
}

static void finish_exchange(struct ingress *ingress);

/* The client has closed its sending side. A half-close behind a complete request is no abort. */
static void on_input_end(struct ingress *ingress) {
  if (ingress->response == RESPONSE_LINGER || ingress->request == REQUEST_NONE) {
    ingress_close(ingress, false);
  } else if (ingress->request == REQUEST_COMPLETE || ingress->request == REQUEST_REFUSED) {
    ingress->close_after = true;
    tcp_input(ingress->tcp, TCP_INPUT_OFF);
  } else {
    (void)http1_read_end(&ingress->reader);
    ingress_close(ingress, true);
  }
}

/* One piece of input; false when reading must stop. */
static bool read_piece(struct ingress *ingress, struct chunk *chunk, uint32_t offset, uint32_t len) {
  if (ingress->response == RESPONSE_LINGER) {
    tcp_input_consume(ingress->tcp, len); /* LINGER_MS is the limit: a close on unread bytes is a RST */
    return true;
  }
  if (ingress->exchange == NULL && !begin_exchange(ingress)) {
    timer_set(&ingress->proxy->timers, &ingress->timer, proxy_deadline(ingress->proxy, POOL_RETRY_MS));
    return false;
  }
  uint32_t at = offset;
  enum http1_step step = http1_read(&ingress->reader, chunk, &at, offset + len);
  must(at > offset || step != HTTP1_MORE);
  if (step == HTTP1_HEAD) {
    on_head(ingress);
    step = http1_read(&ingress->reader, chunk, &at, offset + len); /* without a body it is complete now */
  }
  tcp_input_consume(ingress->tcp, at - offset);
  if (ingress->response == RESPONSE_COMPLETE) {
    ingress->drained_bytes += at - offset;
    if (ingress->drained_bytes > DRAIN_BYTES_MAX && step == HTTP1_MORE) {
      linger(ingress);
      return false;
    }
  }
  return on_step(ingress, step);
}

static void ingress_read(struct ingress *ingress) {
  uint32_t offset, len;
  struct chunk *chunk;
  while (wants_input(ingress) && (chunk = tcp_input_peek(ingress->tcp, &offset, &len)) != NULL) {
    if (!read_piece(ingress, chunk, offset, len))
      break;
  }
  if (ingress->response == RESPONSE_CLOSED)
    return;
  if (tcp_input_ended(ingress->tcp)) {
    on_input_end(ingress);
    if (ingress->response == RESPONSE_CLOSED)
      return;
  } else {
    ask_for_input(ingress);
  }
  if (ingress->exchange != NULL && ingress->request >= REQUEST_BODY)
    exchange_wake(ingress->exchange, WAKE_FAR_OUTPUT);
  if (ingress->response == RESPONSE_COMPLETE && ingress->request == REQUEST_COMPLETE)
    finish_exchange(ingress);
}

static void ingress_input(void *end, struct exchange *exchange) {
  struct ingress *ingress = end;
  must(ingress->exchange == exchange);
  if (ingress->response != RESPONSE_CLOSED && ingress->request == REQUEST_BODY)
    ingress_read(ingress);
  note_turn(ingress, 0);
}

/* ---- the response ---- */

/* The exchange is complete and the connection goes on: the next request, if one is waiting already, begins here. */
static void finish_exchange(struct ingress *ingress) {
  struct exchange *exchange = ingress->exchange;
  ingress->exchange = NULL;
  exchange_near_done(exchange);
  ingress->request = REQUEST_NONE;
  ingress->response = RESPONSE_NONE;
  if (ingress->proxy->draining) {
    ingress_close(ingress, false);
    return;
  }
  set_timer(ingress);
  ingress_read(ingress);
}

static void response_written(struct ingress *ingress) {
  struct exchange *exchange = ingress->exchange;
  if (ingress->close_after && ingress->request == REQUEST_COMPLETE && tcp_input_bytes(ingress->tcp) == 0) {
    ingress->exchange = NULL;
    exchange_near_done(exchange);
    ingress_close(ingress, false);
  } else if (ingress->close_after) {
    linger(ingress);
  } else if (ingress->request == REQUEST_COMPLETE) {
    finish_exchange(ingress);
  } else {
    ingress->response = RESPONSE_COMPLETE;
    flow_end(&exchange->req, FLOW_CANCELLED, ERR_OK);
    exchange_wake(exchange, WAKE_FAR_OUTPUT);
    ingress_read(ingress);
  }
}

/* A client that waits for 100 Continue and gets the final response instead may or may not send the body: nobody can
   tell where the next request would begin (RFC 9110 section 10.1.1). */
static bool body_uncertain(const struct ingress *ingress) {
  const struct exchange *exchange = ingress->exchange;
  return ingress->request == REQUEST_BODY && exchange->req_head.expects_continue && !ingress->continued &&
         exchange->req.pushed == 0;
}

static bool start_response(struct ingress *ingress) {
  struct exchange *exchange = ingress->exchange;
  const struct proxy *proxy = ingress->proxy;
  bool http10 = exchange->req_head.minor_version == 0;
  ingress->close_after = ingress->close_after || body_uncertain(ingress);
  struct http1_reply_style style = {
      .client_http10 = http10,
      .request_was_head = head_method_is(&exchange->req_head, "HEAD"),
      .keep_alive = !ingress->close_after && !proxy->draining,
      .date = proxy->date,
  };
  bool close = false;
  if (exchange->resp_head.status == 0 || http1_write_response(&ingress->writer, &exchange->resp_head, &exchange->resp,
                                                              &exchange->resp_trailers, &style, &close) != ERR_OK)
    return false;
  ingress->close_after = ingress->close_after || close;
  ingress->response = RESPONSE_WRITING;
  uint16_t status = exchange->resp_head.status;
  metrics_count_response(proxy->metrics, status);
  return true;
}

static void write_informational(struct ingress *ingress, const struct head *head) {
  struct exchange *exchange = ingress->exchange;
  /* HTTP/1.0 knows no 1xx (RFC 9110 section 15.2). One that finds no chunk is lost: they are optional. */
  if (exchange->req_head.minor_version != 0 && http1_write_informational(&ingress->writer, head) != ERR_OK)
    log_debug("an informational response was dropped: no buffer");
  ingress->continued = ingress->continued || head->status == 100;
  exchange_informed(exchange);
}

static void send_more(struct ingress *ingress) {
  struct iovec iov[HTTP1_WRITE_IOV_MAX];
  size_t count = http1_writer_fill(&ingress->writer, iov, HTTP1_WRITE_IOV_MAX);
  if (count > 0) {
    tcp_send(ingress->tcp, iov, count);
    if (ingress->request >= REQUEST_COMPLETE)
      set_timer(ingress);
    return;
  }
  if (ingress->response != RESPONSE_WRITING)
    return;
  enum http1_progress progress = http1_writer_progress(&ingress->writer);
  if (progress == HTTP1_WRITTEN)
    response_written(ingress);
  else if (progress == HTTP1_CUT)
    ingress_close(ingress, true);
}

static void write_more(struct ingress *ingress) {
  struct exchange *exchange = ingress->exchange;
  if (ingress->response > RESPONSE_WRITING || tcp_sending(ingress->tcp))
    return;
  const struct head *head;
  while (ingress->response == RESPONSE_NONE && (head = exchange_informational(exchange)) != NULL)
    write_informational(ingress, head);
  if (ingress->response == RESPONSE_NONE && exchange->state == EXCHANGE_ANSWERING && !start_response(ingress)) {
    ingress_close(ingress, true);
    return;
  }
  send_more(ingress);
}

static void ingress_output(void *end, struct exchange *exchange) {
  struct ingress *ingress = end;
  must(ingress->exchange == exchange);
  write_more(ingress);
  note_turn(ingress, 0);
}

static void on_sent(struct ingress *ingress) {
  http1_writer_sent(&ingress->writer, tcp_sent_bytes(ingress->tcp));
  if (ingress->exchange == NULL)
    return;
  exchange_wake(ingress->exchange, WAKE_FAR_INPUT);
  write_more(ingress);
}

/* ---- callers that do not move ---- */

/* Whether it is the client's turn, and for what. One that waits for 100 Continue waits for the origin. */
static enum stall_kind turn(const struct ingress *ingress) {
  const struct exchange *exchange = ingress->exchange;
  if (exchange == NULL || ingress->response > RESPONSE_WRITING)
    return STALL_NONE;
  if (ingress->response == RESPONSE_WRITING && tcp_sending(ingress->tcp))
    return STALL_READ;
  bool expects = exchange->req_head.expects_continue && !ingress->continued && exchange->req.pushed == 0;
  return ingress->request == REQUEST_BODY && wants_input(ingress) && !expects ? STALL_BODY : STALL_NONE;
}

/* To be called at the end of everything that may change whose turn it is; |events|: those of tcp that led to it. */
static void note_turn(struct ingress *ingress, unsigned events) {
  enum stall_kind kind = turn(ingress);
  bool moved = (events & (kind == STALL_READ ? TCP_SENT : TCP_INPUT)) != 0;
  stall_note(&ingress->proxy->stalls, &ingress->stall, kind, ingress->exchange, moved, ingress->proxy->now_ns);
}

static uint64_t stall_queued_bytes(struct stall *stall) {
  return tcp_queued_bytes(container_of(stall, struct ingress, stall)->tcp);
}

static void cut_response(struct ingress *ingress, enum err reason) {
  exchange_fail(ingress->exchange, reason);
  ingress_close(ingress, true);
}

static void stall_end(struct stall *stall) {
  struct ingress *ingress = container_of(stall, struct ingress, stall);
  if (stall->kind == STALL_READ)
    cut_response(ingress, ERR_READ_YIELDED);
  else
    refuse(ingress, ERR_BODY_YIELDED);
  note_turn(ingress, 0);
}

static const struct stall_ops stall_ops = {.queued_bytes = stall_queued_bytes, .end = stall_end};

/* ---- events ---- */

static void on_event(void *owner, struct tcp *tcp, unsigned events) {
  struct ingress *ingress = owner;
  must(ingress->tcp == tcp);
  if (events & TCP_FAILED) {
    ingress_close(ingress, true);
    return;
  }
  if (events & TCP_SENT)
    on_sent(ingress);
  if ((events & TCP_INPUT) && ingress->response != RESPONSE_CLOSED)
    ingress_read(ingress);
  note_turn(ingress, events);
}

static void on_timer(struct timer *timer, uint64_t now_ns) {
  (void)now_ns;
  struct ingress *ingress = container_of(timer, struct ingress, timer);
  if (ingress->response == RESPONSE_LINGER) {
    ingress_close(ingress, false);
  } else if (ingress->request == REQUEST_HEAD) {
    refuse(ingress, ERR_REQUEST_HEAD_TIMEOUT);
  } else if (ingress->request == REQUEST_BODY) {
    if (wants_input(ingress))
      refuse(ingress, ERR_REQUEST_BODY_TIMEOUT);
    else
      set_timer(ingress); /* it is we who do not read */
  } else if (ingress->request == REQUEST_NONE) {
    if (tcp_input_bytes(ingress->tcp) > 0)
      ingress_read(ingress); /* it waited for an exchange */
    else
      ingress_close(ingress, false);
  } else if (ingress->response == RESPONSE_WRITING && tcp_sending(ingress->tcp)) {
    cut_response(ingress, ERR_CLIENT_STALLED);
  }
  note_turn(ingress, 0);
}

static void on_accept(void *context, struct tcp *tcp) {
  struct ingress_front *front = context;
  struct proxy *proxy = front->proxy;
  struct ingress *ingress = pool_get(&front->connections);
  if (ingress == NULL) {
    metrics_add(&proxy->metrics->connections_refused, 1);
    tcp_close(tcp, true, NULL, NULL);
    return;
  }
  *ingress = (struct ingress){.front = front, .proxy = proxy, .tcp = tcp};
  list_init(&ingress->node);
  stall_init(&ingress->stall);
  list_push(&front->all, &ingress->node);
  timer_init(&ingress->timer, on_timer);
  http1_reader_open(&ingress->reader, HTTP1_READS_REQUESTS);
  http1_writer_open(&ingress->writer, &proxy->chunks);
  tcp_own(tcp, on_event, ingress);
  metrics_add(&proxy->metrics->connections_accepted, 1);
  if (proxy_callers_with_one_more(proxy, front->connections.live) > proxy->config->limits.connections &&
      begin_exchange(ingress)) {
    metrics_add(&proxy->metrics->connections_refused, 1);
    refuse(ingress, ERR_OVERLOADED);
    return;
  }
  set_timer(ingress);
  tcp_input(tcp, TCP_INPUT_SMALL);
}

/* ---- the front ---- */

enum err ingress_front_open(struct ingress_front **out, struct proxy *proxy) {
  *out = NULL;
  struct ingress_front *front = calloc(1, sizeof *front);
  if (front == NULL)
    return ERR_NO_MEMORY;
  front->proxy = proxy;
  proxy->stalls.ops = &stall_ops;
  list_init(&front->all);
  uint32_t capacity = (uint32_t)proxy->config->limits.connections + REFUSALS_MAX;
  enum err err = pool_open(&front->connections, "ingress_connections", sizeof(struct ingress), capacity);
  if (err != ERR_OK) {
    free(front);
    return err;
  }
  *out = front;
  return ERR_OK;
}

void ingress_front_close(struct ingress_front *front) {
  if (front == NULL)
    return;
  must(list_empty(&front->all));
  pool_close(&front->connections);
  free(front);
}

enum err ingress_listen(struct ingress_front *front, const struct address *address, char *reason, size_t reason_size) {
  must(front->listener_count < LISTENERS_MAX);
  struct tcp_listener *listener;
  enum err err = tcp_listen(front->proxy->tcp, address, on_accept, front, &listener, reason, reason_size);
  if (err == ERR_OK)
    front->listeners[front->listener_count++] = listener;
  return err;
}

size_t ingress_addresses(const struct ingress_front *front, struct address *out, size_t max) {
  size_t count = front->listener_count < max ? front->listener_count : max;
  for (size_t i = 0; i < count; i++)
    out[i] = tcp_listener_address(front->listeners[i]);
  return count;
}

static void unlisten(struct ingress_front *front) {
  for (size_t i = 0; i < front->listener_count; i++)
    tcp_unlisten(front->listeners[i]);
  front->listener_count = 0;
}

void ingress_drain(struct ingress_front *front) {
  unlisten(front);
  for (struct list *node = front->all.next, *next; node != &front->all; node = next) {
    next = node->next;
    struct ingress *ingress = container_of(node, struct ingress, node);
    if (ingress->request == REQUEST_NONE)
      ingress_close(ingress, false);
  }
}

void ingress_abort(struct ingress_front *front) {
  unlisten(front);
  for (struct list *node = front->all.next, *next; node != &front->all; node = next) {
    next = node->next;
    ingress_close(container_of(node, struct ingress, node), true);
  }
}

uint32_t ingress_count(const struct ingress_front *front) { return front->connections.live; }
