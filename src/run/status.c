/* The text is the daemon's own (admin_text.c), so that nothing has to be understood here. */
#include "run/status.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/address.h"
#include "config/config.h"
#include "run/usage.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_CONFIG = 78 };
enum { ANSWER_MAX = 131072, PATIENCE_S = 5 };

static const char request[] = "GET /status.txt HTTP/1.0\r\nHost: localhost\r\n\r\n";

static int wrong_usage(void) {
  usage_help(USAGE_STATUS, stderr);
  return STATUS_USAGE;
}

static void print_problem(void *context, bool fatal, const char *text) {
  (void)context;
  if (fatal)
    fprintf(stderr, "ptproxy status: %s\n", text);
}

/* The endpoint's address from the configuration; false: said why. */
static bool find_address(const char *path, struct address *address) {
  struct config *config;
  if (config_load(path, print_problem, NULL, &config) != ERR_OK)
    return false;
  bool found = config->admin.bind_address != NULL && address_parse(address, config->admin.bind_address, 0) == ERR_OK;
  if (!found)
    fprintf(stderr, "ptproxy status: %s: admin.bind_address is not set: the daemon has no admin endpoint\n", path);
  config_free(config);
  return found;
}

/* All that the daemon answers, with a NUL; false: errno. */
static bool ask(const struct address *address, char *answer, size_t size) {
  int fd = socket(address_family(address), SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return false;
  struct timeval limit = {.tv_sec = PATIENCE_S};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ssize_t got = -1;
  size_t len = 0;
  if (connect(fd, &address->any, address->len) == 0 && send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0)
    while (len < size - 1 && (got = recv(fd, answer + len, size - 1 - len, 0)) > 0)
      len += (size_t)got;
  int error = got == 0 ? ECONNRESET : errno;
  close(fd);
  errno = error == EAGAIN ? ETIMEDOUT : error;
  answer[len] = '\0';
  return len > 0; /* whatever it was that answered */
}

static int show(const struct address *address) {
  static const char *const heads[] = {"HTTP/1.1 200 ", "HTTP/1.1 503 "};
  char where[ADDRESS_TEXT_MAX];
  char *answer = malloc(ANSWER_MAX);
  int status = STATUS_FAILED;
  if (answer == NULL || !ask(address, answer, ANSWER_MAX)) {
    fprintf(stderr, "ptproxy status: %s: %s\n", address_text(address, where), strerrordesc_np(errno));
  } else {
    const char *body = strstr(answer, "\r\n\r\n");
    bool up = strncmp(answer, heads[0], strlen(heads[0])) == 0;
    if (body != NULL && (up || strncmp(answer, heads[1], strlen(heads[1])) == 0)) {
      fputs(body + 4, stdout);
      status = up && fflush(stdout) == 0 ? STATUS_OK : STATUS_FAILED;
    } else {
      fprintf(stderr, "ptproxy status: %s: that is not ptproxy's admin endpoint\n", address_text(address, where));
    }
  }
  free(answer);
  return status;
}

int status_main(int argc, char **argv) {
  const char *path = "/etc/ptproxy/config.json", *where = NULL;
  struct address address;
  enum usage_option option;
  optind = 1;
  while ((option = usage_next(USAGE_STATUS, argc, argv)) != USAGE_END) {
    if (option == USAGE_WRONG)
      return wrong_usage();
    if (option == USAGE_HELP) {
      usage_help(USAGE_STATUS, stdout);
      return STATUS_OK;
    }
    *(option == USAGE_CONFIG ? &path : &where) = optarg;
  }
  if (optind < argc) {
    fprintf(stderr, "ptproxy status: unexpected argument '%s'\n", argv[optind]);
    return wrong_usage();
  }
  if (where == NULL && !find_address(path, &address))
    return STATUS_CONFIG;
  if (where != NULL && address_parse(&address, where, 0) != ERR_OK) {
    fprintf(stderr, "ptproxy status: '%s' is neither IP:port nor unix:/path\n", where);
    return wrong_usage();
  }
  return show(&address);
}
