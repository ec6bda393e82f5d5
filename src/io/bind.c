/* Waiting for a predecessor that was killed; see bind.h. */
#include "io/bind.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

enum { PAUSE_MS = 10, PAUSES_MAX = 100 };

int bind_patiently(int fd, const struct sockaddr *address, socklen_t len) {
  const struct timespec pause = {.tv_nsec = PAUSE_MS * (long)NS_PER_MS};
  int result = bind(fd, address, len);
  for (int i = 0; result != 0 && errno == EADDRINUSE && i < PAUSES_MAX; i++) {
    nanosleep(&pause, NULL);
    result = bind(fd, address, len);
  }
  return result;
}
