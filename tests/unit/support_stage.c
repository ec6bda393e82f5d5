/* See support_stage.h. */
#include "unit/support_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "run/privilege.h"

char stage_top[] = "/tmp/ptproxy-stage-test-XXXXXX";
uint16_t stage_ports[2];
long stage_abi;
struct config *stage_config;
static int listeners[2];

const char *stage_path(const char *name) {
  static char path[4][256];
  static unsigned next;
  char *out = path[next++ % 4];
  snprintf(out, sizeof path[0], "%s/%s", stage_top, name);
  return out;
}

void stage_write(const char *name) {
  int fd = open(stage_path(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "text\n", 5), 5);
  close(fd);
}

static void ignore(void *context, bool fatal, const char *text) {
  (void)context;
  if (fatal)
    fail_msg("%s", text);
}

/* |general| and |more| begin with a comma when they are not empty. */
void stage_configure(const char *mode, const char *general, const char *more) {
  char text[2048], directory[64];
  snprintf(directory, sizeof directory, "%s/keys", stage_top);
  snprintf(text, sizeof text,
           "{\"general\": {\"mode\": \"%s\", \"peer_hostname\": \"192.0.2.1\"%s},"
           "\"tls\": {\"ca\": \"ca.pem\", \"cert\": \"cert.pem\", \"key\": \"key.pem\"}%s}",
           mode, general, more);
  config_free(stage_config);
  assert_int_equal(config_parse(text, strlen(text), "FILE", directory, ignore, NULL, &stage_config), ERR_OK);
}

void stage_server(const char *more) {
  char general[128];
  snprintf(general, sizeof general, ", \"http_connect_address\": \"127.0.0.1:%u\"", stage_ports[0]);
  stage_configure("server", general, more);
}

void stage_drop(void) {
  struct privilege privilege;
  char reason[256] = "";
  must(privilege_drop(&privilege, stage_config, stage_path("keys/config.json"), reason, sizeof reason) == ERR_OK);
}

/* |act| in a process of its own; it fails by must(). */
void stage_child(void (*act)(void)) {
  int status;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    act();
    _exit(0);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

/* 0, or the errno of opening. */
int stage_open(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC, 0644);
  int error = fd < 0 ? errno : 0;
  if (fd >= 0)
    close(fd);
  return error;
}

void stage_needs_landlock(void) {
  if (stage_abi < 1) {
    print_message("NOT TESTED: this kernel has no Landlock\n");
    skip();
  }
}

void stage_needs_root(void) {
  if (geteuid() != 0) {
    print_message("NOT TESTED: only root can become another user\n");
    skip();
  }
}

struct sockaddr_in stage_address(uint16_t port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void listen_somewhere(int i) {
  struct sockaddr_in address = stage_address(0);
  socklen_t len = sizeof address;
  listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(listeners[i] >= 0);
  assert_int_equal(bind(listeners[i], (const struct sockaddr *)&address, len), 0);
  assert_int_equal(listen(listeners[i], 64), 0);
  assert_int_equal(getsockname(listeners[i], (struct sockaddr *)&address, &len), 0);
  stage_ports[i] = ntohs(address.sin_port);
}

int stage_set_up(void **state) {
  (void)state;
  log_setup(LOG_WARN, false);
  unsetenv("NOTIFY_SOCKET");
  stage_abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
  assert_non_null(mkdtemp(stage_top));
  assert_int_equal(chmod(stage_top, 0755), 0);
  static const char *const directories[] = {"keys", "outside", "elsewhere", "sockets"};
  for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
    assert_int_equal(mkdir(stage_path(directories[i]), 0755), 0);
  static const char *const files[] = {"keys/config.json", "elsewhere/ca.pem", "elsewhere/other.pem",
                                      "keys/cert.pem",    "keys/key.pem",     "outside/secret"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    stage_write(files[i]);
  assert_int_equal(symlink("../elsewhere/ca.pem", stage_path("keys/ca.pem")), 0);
  assert_int_equal(symlink("../elsewhere/other.pem", stage_path("keys/linked.pem")), 0);
  assert_int_equal(symlink("../outside/secret", stage_path("keys/link-outside")), 0);
  listen_somewhere(0);
  listen_somewhere(1);
  return 0;
}

int stage_tear_down(void **state) {
  (void)state;
  static const char *const names[] = {"keys/config.json",    "keys/ca.pem",    "keys/linked.pem",
                                      "keys/link-outside",   "keys/cert.pem",  "keys/key.pem",
                                      "elsewhere/ca.pem",    "outside/secret", "sockets/http.sock",
                                      "sockets/admin.sock",  "keys",           "outside",
                                      "elsewhere/other.pem", "elsewhere",      "sockets"};
  config_free(stage_config);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    remove(stage_path(names[i]));
  close(listeners[0]);
  close(listeners[1]);
  return rmdir(stage_top);
}
