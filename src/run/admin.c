/* A connection reads one request, writes its answer into its own buffer, sends it, and goes on. Requests with a body
   are answered and the connection closed: none of what is here takes one.

   Who may hold a connection: its tcp (events, and the buffer while a send is in flight, until buried), its timer. When
   all places are taken, the one that has been idle for longest makes room. */
#include "run/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/must.h"
#include "proto/http1_read.h"
#include "proto/http1_write.h"

enum {
  SPARE_CONNECTIONS = 8, /* those that are being closed */
  HEAD_MAX = 1024,       /* of an answer */
  IDLE_MS = 120000,      /* longer than Prometheus' usual intervals */
  BUSY_MS = 10000,       /* for the request's head, and for the answer to be taken */
};

enum conn_state {
  CONN_IDLE,    /* not a byte of the next request */
  CONN_READING, /* its head is on its way */
  CONN_SENDING,
  CONN_CLOSED, /* tcp_close was called */
};

struct admin {
  struct proxy *proxy;
  admin_look_f *look;
  void *context;
  struct tcp_listener *listener;
  struct pool connections;
  struct list all; /* the longest idle ones first */
  struct admin_view view;
};

struct admin_conn {
  struct list node;
  struct admin *admin;
  struct tcp *tcp;
  struct timer timer;
  struct http1_reader reader;
  struct head head;
  struct flow body;
  struct fields trailers;
  uint8_t state; /* enum conn_state */
  bool close_after;
  size_t len, sent; /* of |out|; |start| is where the head begins */
  size_t start;
  char out[HEAD_MAX + ADMIN_BODY_MAX];
};

struct answer {
  unsigned status;
  const char *type, *more; /* Content-Type; further field lines */
  size_t len;              /* of the body, which begins at out + HEAD_MAX */
};

/* ---- the end of a connection ---- */

static void drop_request(struct admin_conn *conn) {
  head_close(&conn->head);
  fields_close(&conn->trailers);
  flow_close(&conn->body);
}

static void conn_buried(void *owner) {
  struct admin_conn *conn = owner;
  drop_request(conn);
  list_remove(&conn->node);
  pool_put(&conn->admin->connections, conn);
}

static void conn_close(struct admin_conn *conn, bool reset) {
  if (conn->state == CONN_CLOSED)
    return;
  conn->state = CONN_CLOSED;
  timer_cancel(&conn->admin->proxy->timers, &conn->timer);
  tcp_close(conn->tcp, reset, conn_buried, conn);
}

static void set_timer(struct admin_conn *conn, uint64_t after_ms) {
  timer_set(&conn->admin->proxy->timers, &conn->timer, proxy_deadline(conn->admin->proxy, after_ms));
}

/* ---- answers ---- */

static const char text_plain[] = "text/plain;charset=UTF-8";
static const char json[] = "application/json";

static struct answer sentence(struct admin_conn *conn, unsigned status, const char *text) {
  int len = snprintf(conn->out + HEAD_MAX, ADMIN_BODY_MAX, "%s\n", text);
  const char *more = status == 405 ? "Allow: GET, HEAD\r\n" : "";
  return (struct answer){.status = status, .type = text_plain, .more = more, .len = (size_t)len};
}

static const struct admin_view *look(struct admin *admin) {
  memset(&admin->view, 0, sizeof admin->view);
  admin->look(admin->context, &admin->view);
  return &admin->view;
}

static struct answer page(struct admin_conn *conn) {
  size_t len = strlen(admin_page);
  must(len < ADMIN_BODY_MAX);
  memcpy(conn->out + HEAD_MAX, admin_page, len);
  return (struct answer){.status = 200,
                         .type = "text/html;charset=UTF-8",
                         .more = "Content-Security-Policy: default-src 'none'; connect-src 'self'; "
                                 "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'\r\n",
                         .len = len};
}

static struct answer answer_to(struct admin_conn *conn) {
  struct bytes target = head_target(&conn->head);
  const uint8_t *query = memchr(target.data, '?', target.len);
  if (query != NULL)
    target.len = (size_t)(query - target.data);
  if (!head_method_is(&conn->head, "GET") && !head_method_is(&conn->head, "HEAD"))
    return sentence(conn, 405, "only GET and HEAD");
  if (bytes_equal(target, bytes_of_text("/")))
    return page(conn);
  char *out = conn->out + HEAD_MAX;
  struct answer answer = {.status = 200, .type = json, .more = ""};
  if (bytes_equal(target, bytes_of_text("/metrics"))) {
    answer.type = "text/plain; version=0.0.4; charset=utf-8";
    answer.len = admin_text_metrics(look(conn->admin), out, ADMIN_BODY_MAX);
  } else if (bytes_equal(target, bytes_of_text("/status"))) {
    answer.len = admin_text_status(look(conn->admin), out, ADMIN_BODY_MAX);
  } else if (bytes_equal(target, bytes_of_text("/ready"))) {
    answer.len = admin_text_ready(look(conn->admin), out, ADMIN_BODY_MAX);
    answer.status = admin_is_ready(&conn->admin->view) ? 200 : 503;
  } else if (bytes_equal(target, bytes_of_text("/status.txt"))) {
    answer.type = text_plain;
    answer.len = admin_text_people(look(conn->admin), out, ADMIN_BODY_MAX);
    answer.status = admin_is_ready(&conn->admin->view) ? 200 : 503;
  } else {
    return sentence(conn, 404, "there are /, /metrics, /ready and /status");
  }
  return answer.len > 0 ? answer : sentence(conn, 500, "the answer is too long");
}

static void send_more(struct admin_conn *conn) {
  struct iovec iov = {.iov_base = conn->out + conn->start + conn->sent, .iov_len = conn->len - conn->sent};
  tcp_send(conn->tcp, &iov, 1);
}

/* The head goes right before the body, so that both are sent at once. */
static void send_answer(struct admin_conn *conn, const struct answer *answer) {
  const struct proxy *proxy = conn->admin->proxy;
  char head[HEAD_MAX];
  bool head_only = head_method_is(&conn->head, "HEAD");
  int len =
      snprintf(head, sizeof head,
               "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nDate: %s\r\nServer: ptproxy %s\r\n"
               "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s%s\r\n",
               answer->status, http1_reason((uint16_t)answer->status), answer->type, answer->len, proxy->date,
               proxy->server ? "server" : "client", answer->more, conn->close_after ? "Connection: close\r\n" : "");
  must(len > 0 && (size_t)len < sizeof head);
  conn->start = HEAD_MAX - (size_t)len;
  memcpy(conn->out + conn->start, head, (size_t)len);
  conn->len = (size_t)len + (head_only ? 0 : answer->len);
  conn->sent = 0;
  conn->state = CONN_SENDING;
  set_timer(conn, BUSY_MS);
  send_more(conn);
}

/* ---- requests ---- */

static void next_request(struct admin_conn *conn) {
  struct admin *admin = conn->admin;
  struct head_limits limits = {.bytes = 8192, .count = 64};
  drop_request(conn);
  head_open(&conn->head, &admin->proxy->chunks, limits);
  fields_open(&conn->trailers, &admin->proxy->chunks, limits);
  flow_open(&conn->body, &admin->proxy->chunks);
  http1_reader_next(&conn->reader, &conn->head, &conn->body, &conn->trailers, false);
  conn->state = CONN_IDLE;
  list_remove(&conn->node);
  list_push(&admin->all, &conn->node);
  set_timer(conn, IDLE_MS);
}

static void on_request(struct admin_conn *conn, bool complete) {
  conn->close_after = !complete || conn->head.close || conn->head.minor_version == 0;
  struct answer answer = answer_to(conn);
  send_answer(conn, &answer);
}

static void on_broken(struct admin_conn *conn) {
  enum err error = http1_reader_error(&conn->reader);
  conn->close_after = true;
  struct answer answer = sentence(conn, err_status(error) != 0 ? err_status(error) : 400, err_text(error));
  send_answer(conn, &answer);
}

static void read_request(struct admin_conn *conn) {
  uint32_t offset, len;
  struct chunk *chunk;
  while (conn->state <= CONN_READING && (chunk = tcp_input_peek(conn->tcp, &offset, &len)) != NULL) {
    uint32_t at = offset, end = offset + len;
    enum http1_step step = http1_read(&conn->reader, chunk, &at, end);
    bool head = step == HTTP1_HEAD;
    if (head)
      step = http1_read(&conn->reader, chunk, &at, end); /* without a body it is complete now */
    tcp_input_consume(conn->tcp, at - offset);
    if (step == HTTP1_BROKEN && !head) {
      on_broken(conn);
    } else if (head) {
      on_request(conn, step == HTTP1_MESSAGE);
    } else if (conn->state == CONN_IDLE && http1_reader_started(&conn->reader)) {
      conn->state = CONN_READING;
      set_timer(conn, BUSY_MS);
    }
  }
  if (conn->state <= CONN_READING && tcp_input_ended(conn->tcp))
    conn_close(conn, false);
  else if (conn->state != CONN_CLOSED)
    tcp_input(conn->tcp, conn->state == CONN_SENDING ? TCP_INPUT_OFF : TCP_INPUT_SMALL);
}

static void on_sent(struct admin_conn *conn) {
  conn->sent += tcp_sent_bytes(conn->tcp);
  if (conn->sent < conn->len) {
    send_more(conn);
  } else if (conn->close_after) {
    tcp_shutdown(conn->tcp);
    conn_close(conn, false);
  } else {
    next_request(conn);
    read_request(conn);
  }
}

static void on_event(void *owner, struct tcp *tcp, unsigned events) {
  struct admin_conn *conn = owner;
  must(conn->tcp == tcp);
  if (events & TCP_FAILED) {
    conn_close(conn, true);
    return;
  }
  if (events & TCP_SENT)
    on_sent(conn);
  if ((events & TCP_INPUT) && conn->state <= CONN_READING)
    read_request(conn);
}

static void on_timer(struct timer *timer, uint64_t now_ns) {
  (void)now_ns;
  conn_close(container_of(timer, struct admin_conn, timer), true);
}

/* ---- accepting ---- */

static void make_room(struct admin *admin) {
  uint32_t open = 0;
  struct admin_conn *idle = NULL;
  for (struct list *node = admin->all.next; node != &admin->all; node = node->next) {
    struct admin_conn *conn = container_of(node, struct admin_conn, node);
    open += conn->state != CONN_CLOSED;
    if (idle == NULL && conn->state == CONN_IDLE)
      idle = conn;
  }
  if (open >= ADMIN_CONNECTIONS_MAX && idle != NULL)
    conn_close(idle, false);
}

static void on_accept(void *context, struct tcp *tcp) {
  struct admin *admin = context;
  make_room(admin);
  struct admin_conn *conn = pool_get(&admin->connections);
  if (conn == NULL) {
    tcp_close(tcp, true, NULL, NULL);
    return;
  }
  memset(conn, 0, offsetof(struct admin_conn, out));
  conn->admin = admin;
  conn->tcp = tcp;
  list_init(&conn->node);
  timer_init(&conn->timer, on_timer);
  http1_reader_open(&conn->reader, HTTP1_READS_REQUESTS);
  tcp_own(tcp, on_event, conn);
  next_request(conn);
  tcp_input(tcp, TCP_INPUT_SMALL);
}

/* ---- the whole ---- */

enum err admin_open(struct admin **out, struct proxy *proxy, admin_look_f *look_f, void *context, char *reason,
                    size_t reason_size) {
  *out = NULL;
  snprintf(reason, reason_size, "out of memory");
  struct admin *admin = aligned_alloc(_Alignof(struct admin), sizeof *admin);
  if (admin == NULL)
    return ERR_NO_MEMORY;
  memset(admin, 0, sizeof *admin);
  admin->proxy = proxy;
  admin->look = look_f;
  admin->context = context;
  list_init(&admin->all);
  struct address address;
  uint32_t capacity = ADMIN_CONNECTIONS_MAX + SPARE_CONNECTIONS;
  enum err err = address_parse(&address, proxy->config->admin.bind_address, 0);
  if (err == ERR_OK)
    err = pool_open(&admin->connections, "admin_connections", sizeof(struct admin_conn), capacity);
  if (err == ERR_OK) {
    mode_t mask = umask(0177); /* nobody else may connect, from the first moment on */
    err = tcp_listen(proxy->tcp, &address, on_accept, admin, &admin->listener, reason, reason_size);
    umask(mask);
  }
  if (err != ERR_OK) {
    admin_close(admin);
    return err;
  }
  *out = admin;
  return ERR_OK;
}

void admin_stop(struct admin *admin) {
  if (admin == NULL)
    return;
  tcp_unlisten(admin->listener);
  admin->listener = NULL;
  for (struct list *node = admin->all.next; node != &admin->all; node = node->next)
    conn_close(container_of(node, struct admin_conn, node), true);
}

void admin_close(struct admin *admin) {
  if (admin == NULL)
    return;
  must(list_empty(&admin->all) && admin->listener == NULL);
  if (admin->connections.memory != NULL)
    pool_close(&admin->connections);
  free(admin);
}

struct address admin_address(const struct admin *admin) {
  return tcp_listener_address(admin->listener);
}
