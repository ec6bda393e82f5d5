/* A datagram may wait for a second, as the manager's queue is short and only the main thread is held up; one that is
   lost all the same is no reason to stop serving. */
#include "run/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"

/* A number of the environment; 0 when it is none. */
static uint64_t number_of(const char *name) {
  const char *text = getenv(name);
  char *end;
  if (text == NULL || *text < '0' || *text > '9')
    return 0;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  return errno == 0 && *end == '\0' ? value : 0;
}

static bool find_socket(struct address *to) {
  const char *path = getenv("NOTIFY_SOCKET");
  if (path == NULL || *path == '\0')
    return false;
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  size_t len = strlen(path);
  if ((*path != '/' && *path != '@') || len < 2 || len >= sizeof name.sun_path) {
    log_warn("NOTIFY_SOCKET is neither a path nor an abstract name: the service manager is told nothing");
    return false;
  }
  memcpy(name.sun_path, path, len);
  if (*path == '@')
    name.sun_path[0] = '\0'; /* an abstract name has no NUL at its end, a path has one */
  else
    len++;
  address_set(to, (const struct sockaddr *)(const void *)&name,
              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
  return true;
}

static uint64_t watchdog_pause(double factor) {
  must(factor >= 1);
  uint64_t pid = number_of("WATCHDOG_PID");
  if (pid != 0 && pid != (uint64_t)getpid())
    return 0;
  return (uint64_t)((double)number_of("WATCHDOG_USEC") * NS_PER_US / factor);
}

void notify_open(struct notify *notify, double watchdog_factor) {
  *notify = (struct notify){.fd = -1};
  if (!find_socket(&notify->to))
    return;
  notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (notify->fd < 0) {
    log_warn("the service manager is told nothing: %s", strerrordesc_np(errno));
    return;
  }
  struct timeval limit = {.tv_sec = 1};
  setsockopt(notify->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  notify->watchdog_ns = watchdog_pause(watchdog_factor);
}

void notify_close(struct notify *notify) {
  if (notify->fd >= 0)
    close(notify->fd);
  notify->fd = -1;
}

static void send_text(struct notify *notify, const char *text) {
  if (notify->fd < 0)
    return;
  if (sendto(notify->fd, text, strlen(text), MSG_NOSIGNAL, &notify->to.any, notify->to.len) < 0)
    log_debug("the service manager was not told %s: %s", text, strerrordesc_np(errno));
}

void notify_ready(struct notify *notify) {
  if (notify->ready)
    return;
  notify->ready = true;
  send_text(notify, "READY=1");
}

void notify_reloading(struct notify *notify, uint64_t now_ns) {
  char text[64];
  if (!notify->ready)
    return;
  snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_ns / (uint64_t)NS_PER_US);
  send_text(notify, text);
}

void notify_reloaded(struct notify *notify) {
  if (notify->ready)
    send_text(notify, "READY=1");
}

void notify_stopping(struct notify *notify) { send_text(notify, "STOPPING=1"); }

void notify_status(struct notify *notify, const char *format, ...) {
  char status[NOTIFY_STATUS_MAX], text[NOTIFY_STATUS_MAX + sizeof "STATUS="];
  va_list args;
  va_start(args, format);
  vsnprintf(status, sizeof status, format, args);
  va_end(args);
  for (char *at = status; *at != '\0'; at++)
    if ((unsigned char)*at < ' ' || *at == 0x7f)
      *at = ' ';
  if (strcmp(status, notify->status) == 0)
    return;
  memcpy(notify->status, status, sizeof status);
  snprintf(text, sizeof text, "STATUS=%s", status);
  send_text(notify, text);
}

void notify_watchdog(struct notify *notify) { send_text(notify, "WATCHDOG=1"); }

void notify_extend(struct notify *notify, uint64_t ns) {
  char text[64];
  snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%" PRIu64, ns / (uint64_t)NS_PER_US);
  send_text(notify, text);
}
