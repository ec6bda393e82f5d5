/* bad_clients PORT SECONDS RATE: callers of 127.0.0.1 who send a request that no server may take, each on a connection
   of its own, RATE of them a second. How many it made, and how many of them were answered, is printed at the end.

   Python and wrk need more of a processor for this than the daemon that refuses them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OPEN_MAX = 200, ADDRESSES = 16, EVENTS_MAX = 64 };

static const char bad[] = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
static unsigned long made, answered;
static unsigned open_now;
static int epoll;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Sends as soon as it is connected. Addresses in turn, or there would soon be no port left that was not used lately. */
static void begin(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + made % ADDRESSES)};
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  to.sin_port = htons((uint16_t)port);
  if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes) != 0 ||
      bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
    fail("socket");
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
    fail("connect");
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
    fail("epoll_ctl");
  made++;
  open_now++;
}

static void go_on(const struct epoll_event *event) {
  char answer[1024];
  int fd = event->data.fd;
  if ((event->events & EPOLLOUT) && !(event->events & EPOLLIN) &&
      send(fd, bad, sizeof bad - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof bad - 1))
    return;
  ssize_t got = recv(fd, answer, sizeof answer, 0);
  if (got < 0 && errno == EAGAIN)
    return;
  answered += got > 9 && answer[9] == '4';
  close(fd); /* it has its answer, or was cut off */
  open_now--;
}

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  int port = atoi(argv[1]);
  double begun = now(), seconds = atof(argv[2]), rate = atof(argv[3]), passed = 0;
  struct epoll_event events[EVENTS_MAX];
  if ((epoll = epoll_create1(0)) < 0)
    fail("epoll_create1");
  while ((passed = now() - begun) < seconds || open_now > 0) {
    while (passed < seconds && open_now < OPEN_MAX && (double)made < passed * rate)
      begin(port);
    int count = epoll_wait(epoll, events, EVENTS_MAX, 1);
    for (int i = 0; i < count; i++)
      go_on(&events[i]);
  }
  printf("%lu %lu\n", made, answered);
  return 0;
}
