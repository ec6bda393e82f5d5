/* Listeners: one multishot accept each. Accepted connections inherit the listener's options (tcp(7)), which saves the
   system calls per connection.

   Out of descriptors or kernel memory, accepting pauses: the connection stays in the kernel's queue, and asking again
   at once would be a busy loop. It goes on when a connection was closed, or after PAUSE_MS. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "io/bind.h"
#include "io/tcp_priv.h"

enum { BACKLOG = 4096, PAUSE_MS = 100, PAUSES_PER_LOG_LINE = 100 };

struct tcp_listener {
  struct list node; /* in the stack's listeners */
  struct tcp_stack *stack;
  struct ring *ring;
  int fd;
  bool closing;
  uint32_t pending; /* accepted and not yet shown */
  uint32_t pauses;
  tcp_accept_f *accept;
  void *context;
  struct ring_op accepting, pause;
  struct ring_time pause_time;
  struct ring_corpse corpse;
};

/* --- accept --- */

static void accept_arm(struct tcp_listener *listener) {
  if (!listener->closing && listener->accepting.inflight == 0)
    ring_accept_multishot(listener->ring, &listener->accepting, listener->fd);
}

static void accept_pause(struct tcp_listener *listener, int error) {
  if (listener->pauses++ % PAUSES_PER_LOG_LINE == 0)
    log_warn("cannot accept connections for now: %s", strerror(error));
  if (listener->pause.inflight == 0)
    ring_timeout(listener->ring, &listener->pause, &listener->pause_time, PAUSE_MS);
}

static void pause_complete(struct ring_op *op, int32_t result, uint32_t flags) {
  (void)result, (void)flags;
  accept_arm(container_of(op, struct tcp_listener, pause));
}

static void accept_fd(struct tcp_listener *listener, int fd) {
  if (listener->closing) {
    close(fd);
    return;
  }
  struct tcp *tcp = tcp_new(listener->stack, fd, TCP_ACCEPTED);
  if (tcp == NULL)
    return; /* the pool counts it */
  tcp->listener = listener;
  listener->pending++;
  list_push(&listener->stack->ready, &tcp->ready);
}

static void accept_complete(struct ring_op *op, int32_t result, uint32_t flags) {
  (void)flags;
  struct tcp_listener *listener = container_of(op, struct tcp_listener, accepting);
  if (result >= 0)
    accept_fd(listener, result);
  if (op->inflight > 0 || listener->closing)
    return;
  switch (result) {
  case -ECONNABORTED: /* these concern the one connection only (accept(2)) */
  case -EPROTO:
  case -EINTR:
  case -EAGAIN:
    accept_arm(listener);
    break;
  default:
    if (result >= 0)
      accept_arm(listener);
    else
      accept_pause(listener, -result);
    break;
  }
}

void tcp_resume_accepting(struct tcp_stack *stack) {
  for (struct list *node = stack->listeners.next; node != &stack->listeners; node = node->next)
    accept_arm(container_of(node, struct tcp_listener, node));
}

void tcp_forget_accepted(struct tcp *tcp) {
  must(tcp->listener != NULL && tcp->listener->pending > 0);
  tcp->listener->pending--;
  tcp->listener = NULL;
}

void tcp_accepted(struct tcp *tcp) {
  must(tcp->state == TCP_ACCEPTED);
  struct tcp_listener *listener = tcp->listener;
  if (listener->closing) {
    tcp_close(tcp, true, NULL, NULL);
    return;
  }
  tcp_forget_accepted(tcp);
  tcp->state = TCP_OPEN;
  listener->accept(listener->context, tcp);
  must(tcp->state == TCP_DYING || tcp->on_event != NULL);
}

/* --- listen --- */

static bool is_wildcard_v6(const struct address *address) {
  if (address_family(address) != AF_INET6)
    return false;
  struct sockaddr_in6 v6;
  memcpy(&v6, address->bytes, sizeof v6);
  return IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr);
}

static struct address wildcard_v4(uint16_t port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct address address;
  address_set(&address, (const struct sockaddr *)(const void *)&v4, sizeof v4);
  return address;
}

/* A socket file that nobody listens on is left over from a process that did not end well. */
static void remove_stale_socket(const struct address *address) {
  struct sockaddr_un name = {.sun_family = AF_UNSPEC};
  memcpy(&name, address->bytes, address->len < sizeof name ? address->len : sizeof name);
  struct stat status;
  if (name.sun_path[0] == '\0' || lstat(name.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
    return;
  int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0)
    return;
  if (connect(probe, &address->any, address->len) != 0 && errno == ECONNREFUSED)
    unlink(name.sun_path);
  close(probe);
}

/* The descriptor, or -1 with errno. */
static int listen_on(const struct tcp_config *config, const struct address *address) {
  int family = address_family(address);
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return -1;
  int on = 1, off = 0;
  if (family == AF_UNIX) {
    remove_stale_socket(address);
  } else {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (config->joins)
      setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  }
  if (family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_wildcard_v6(address) ? &off : &on, sizeof off);
  tcp_set_options(config, fd, family);
  bool bound = bind_patiently(fd, &address->any, address->len) == 0;
  if (bound &&
      family != AF_UNIX) /* after bind: a port that another process has is an error, not a share of its calls */
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (!bound || listen(fd, BACKLOG) != 0) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

enum err tcp_listen(struct tcp_stack *stack, const struct address *address, tcp_accept_f *accept_f, void *context,
                    struct tcp_listener **out, char *reason, size_t reason_size) {
  must(address->len > 0 && accept_f != NULL);
  int fd = listen_on(&stack->config, address);
  if (fd < 0 && is_wildcard_v6(address) && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
    struct address v4 = wildcard_v4(address_port(address)); /* a host without IPv6 */
    fd = listen_on(&stack->config, &v4);
  }
  struct tcp_listener *listener = fd >= 0 ? calloc(1, sizeof *listener) : NULL;
  if (listener == NULL) {
    char text[ADDRESS_TEXT_MAX];
    snprintf(reason, reason_size, "cannot listen on %s: %s", address_text(address, text), strerror(errno));
    if (fd >= 0)
      close(fd);
    return ERR_SYSTEM;
  }
  *listener =
      (struct tcp_listener){.stack = stack, .ring = stack->ring, .fd = fd, .accept = accept_f, .context = context};
  listener->accepting.complete = accept_complete;
  listener->pause.complete = pause_complete;
  list_push(&stack->listeners, &listener->node);
  accept_arm(listener);
  *out = listener;
  return ERR_OK;
}

static bool listener_bury(struct ring_corpse *corpse) {
  struct tcp_listener *listener = container_of(corpse, struct tcp_listener, corpse);
  if (listener->accepting.inflight > 0 || listener->pause.inflight > 0 || listener->pending > 0)
    return false;
  close(listener->fd);
  free(listener);
  return true;
}

/* A caller is to find no file rather than a dead one. */
static void remove_socket_file(const struct tcp_listener *listener) {
  struct sockaddr_un name = {.sun_family = AF_UNSPEC};
  socklen_t len = sizeof name - 1; /* the path ends in a NUL whatever its length */
  if (getsockname(listener->fd, (struct sockaddr *)&name, &len) == 0 && name.sun_family == AF_UNIX)
    unlink(name.sun_path);
}

void tcp_unlisten(struct tcp_listener *listener) {
  if (listener == NULL)
    return;
  must(!listener->closing);
  remove_socket_file(listener);
  listener->closing = true;
  list_remove(&listener->node);
  ring_cancel(listener->ring, &listener->accepting);
  ring_cancel(listener->ring, &listener->pause);
  listener->corpse.bury = listener_bury;
  ring_corpse_add(listener->ring, &listener->corpse);
}

struct address tcp_listener_address(const struct tcp_listener *listener) {
  struct address address = {.len = sizeof address.bytes};
  must(getsockname(listener->fd, &address.any, &address.len) == 0);
  return address;
}
