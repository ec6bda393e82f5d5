#include "unit/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "run/notify.h"

static char directory[] = "/tmp/ptproxy-notify-test-XXXXXX";
static char path[64];
static int manager = -1;
static struct notify notify;

/* The manager's socket, at |name| as $NOTIFY_SOCKET has it. */
static void listen_at(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t len = strlen(name);
  assert_true(len < sizeof address.sun_path);
  memcpy(address.sun_path, name, len);
  if (name[0] == '@')
    address.sun_path[0] = '\0';
  else
    len++;
  manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  assert_true(manager >= 0);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
  assert_int_equal(bind(manager, (struct sockaddr *)&address, size), 0);
  setenv("NOTIFY_SOCKET", name, 1);
}

static void assert_told(const char *expected) {
  char text[1024];
  ssize_t len = recv(manager, text, sizeof text - 1, 0);
  assert_true(len >= 0);
  text[len] = '\0';
  assert_string_equal(text, expected);
}

static void assert_nothing_told(void) {
  char text[16];
  assert_int_equal(recv(manager, text, sizeof text, 0), -1);
}

static int set_up(void **state) {
  (void)state;
  log_setup(LOG_ERROR, false);
  unsetenv("NOTIFY_SOCKET");
  unsetenv("WATCHDOG_USEC");
  unsetenv("WATCHDOG_PID");
  snprintf(path, sizeof path, "%s/notify", directory);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  notify_close(&notify);
  if (manager >= 0)
    close(manager);
  manager = -1;
  unlink(path);
  return 0;
}

static int make_directory(void **state) {
  (void)state;
  return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state) {
  (void)state;
  return rmdir(directory);
}

static void test_without_a_manager(void **state) {
  (void)state;
  static const char *const none[] = {NULL, "", "relative/path", "/", "@", "vsock:2:1234"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    if (none[i] != NULL)
      setenv("NOTIFY_SOCKET", none[i], 1);
    setenv("WATCHDOG_USEC", "1000000", 1);
    notify_open(&notify, 2);
    assert_int_equal(notify.fd, -1);
    assert_true(notify.watchdog_ns == 0);
    notify_ready(&notify);
    notify_status(&notify, "fine");
    notify_reloading(&notify, 1);
    notify_reloaded(&notify);
    notify_watchdog(&notify);
    notify_extend(&notify, 1);
    notify_stopping(&notify);
    notify_close(&notify);
  }
  char longest[256];
  memset(longest, 'a', sizeof longest);
  longest[0] = '/';
  longest[sizeof longest - 1] = '\0';
  setenv("NOTIFY_SOCKET", longest, 1);
  notify_open(&notify, 2);
  assert_int_equal(notify.fd, -1);
}

static void tell_all(void) {
  notify_open(&notify, 1.5);
  notify_reloading(&notify, 1); /* not ready yet */
  notify_reloaded(&notify);
  assert_nothing_told();
  notify_ready(&notify);
  notify_ready(&notify);
  assert_told("READY=1");
  assert_nothing_told();
  notify_status(&notify, "connection failed: %s", "no\nSTOPPING=1\tr\x7f");
  assert_told("STATUS=connection failed: no STOPPING=1 r ");
  notify_status(&notify, "connection failed: %s", "no\nSTOPPING=1\tr\x7f");
  assert_nothing_told();
  notify_reloading(&notify, 1234567890);
  assert_told("RELOADING=1\nMONOTONIC_USEC=1234567");
  notify_reloaded(&notify);
  assert_told("READY=1");
  notify_watchdog(&notify);
  assert_told("WATCHDOG=1");
  notify_extend(&notify, 5000000000);
  assert_told("EXTEND_TIMEOUT_USEC=5000000");
  notify_stopping(&notify);
  assert_told("STOPPING=1");
}

static void test_path(void **state) {
  (void)state;
  listen_at(path);
  tell_all();
}

static void test_abstract_name(void **state) {
  (void)state;
  char name[64];
  snprintf(name, sizeof name, "@ptproxy-notify-test-%d", (int)getpid());
  listen_at(name);
  tell_all();
}

static void test_long_status(void **state) {
  (void)state;
  listen_at(path);
  notify_open(&notify, 1.5);
  char text[2 * NOTIFY_STATUS_MAX], expected[NOTIFY_STATUS_MAX + 16];
  memset(text, 'x', sizeof text);
  text[sizeof text - 1] = '\0';
  snprintf(expected, sizeof expected, "STATUS=%.*s", NOTIFY_STATUS_MAX - 1, text);
  notify_status(&notify, "%s", text);
  assert_told(expected);
}

static uint64_t watchdog_with(const char *usec, const char *pid, double factor) {
  setenv("WATCHDOG_USEC", usec, 1);
  if (pid != NULL)
    setenv("WATCHDOG_PID", pid, 1);
  notify_open(&notify, factor);
  notify_close(&notify);
  return notify.watchdog_ns;
}

static void test_watchdog(void **state) {
  (void)state;
  char mine[16];
  snprintf(mine, sizeof mine, "%d", (int)getpid());
  listen_at(path);
  assert_true(watchdog_with("3000000", NULL, 1.5) == 2000000000);
  assert_true(watchdog_with("3000000", mine, 3) == 1000000000);
  assert_true(watchdog_with("3000000", "1", 3) == 0); /* it is meant for another process */
  unsetenv("WATCHDOG_PID");
  static const char *const wrong[] = {"", "0", "-1", "x", "1x", "99999999999999999999999"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_true(watchdog_with(wrong[i], NULL, 2) == 0);
}

/* The manager may be gone, or its queue full: the call returns, soon. */
static void test_a_manager_that_does_not_read(void **state) {
  (void)state;
  listen_at(path);
  notify_open(&notify, 2);
  unsigned told = 0;
  char text[64];
  int flags = MSG_DONTWAIT;
  while (send(notify.fd, "", 0, flags) >= 0 || sendto(notify.fd, "X=1", 3, flags, &notify.to.any, notify.to.len) >= 0)
    assert_true(++told < 100000);
  notify_watchdog(&notify);
  while (recv(manager, text, sizeof text, 0) >= 0)
    told--;
  assert_int_equal(told, 0);
  close(manager);
  manager = -1;
  unlink(path);
  notify_watchdog(&notify);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_without_a_manager, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_path, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_abstract_name, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_long_status, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_watchdog, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_manager_that_does_not_read, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
