/* The user, the capabilities, and what is said about them. */
#include "unit/support_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "run/privilege.h"

enum { NOBODY = 65534 };

/* A line of /proc/self/status, read before anything is forbidden through |status|. */
static unsigned long long status_number(FILE *status, const char *name, int base) {
  char line[256];
  rewind(status);
  while (fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0)
      return strtoull(line + strlen(name), NULL, base);
  }
  must_never("the line is there");
}

static FILE *open_status(void) {
  FILE *status = fopen("/proc/self/status", "re");
  must(status != NULL);
  setvbuf(status, NULL, _IONBF, 0);
  return status;
}

/* ---- capabilities and the user ---- */

static void nothing_is_left(void) {
  FILE *status = open_status();
  stage_drop();
  must(status_number(status, "CapEff:", 16) == 0 && status_number(status, "CapPrm:", 16) == 0);
  must(status_number(status, "CapInh:", 16) == 0 && status_number(status, "CapAmb:", 16) == 0);
  must(geteuid() != 0 || status_number(status, "CapBnd:", 16) == 0);
  must(status_number(status, "NoNewPrivs:", 10) == 1);
  must(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
}

/* Groups of who has started it. */
static void have_groups(void) {
  static const gid_t groups[] = {4, 27};
  must(setgroups(2, groups) == 0 && getgroups(0, NULL) == 2);
}

static void becomes_nobody(void) {
  FILE *status = open_status();
  struct stat file;
  gid_t group = NOBODY;
  have_groups();
  stage_drop();
  uid_t uids[3];
  gid_t gids[3];
  must(getresuid(&uids[0], &uids[1], &uids[2]) == 0 && getresgid(&gids[0], &gids[1], &gids[2]) == 0);
  for (int i = 0; i < 3; i++)
    must(uids[i] == NOBODY && gids[i] == NOBODY);
  must(getgroups(1, &group) >= 0 && group == NOBODY); /* its own group, or none */
  must(setuid(0) != 0 && errno == EPERM);
  must(status_number(status, "CapPrm:", 16) == 0 && status_number(status, "CapBnd:", 16) == 0);
  must(stat(stage_path("sockets/http.sock"), &file) == 0 && file.st_uid == NOBODY && file.st_gid == NOBODY);
}

static void test_capabilities(void **state) {
  (void)state;
  stage_server("");
  stage_child(nothing_is_left);
}

static void test_user(void **state) {
  (void)state;
  stage_needs_root();
  char general[256], more[64];
  snprintf(general, sizeof general, ", \"http_bind_address\": \"unix:%s/sockets/http.sock\"", stage_top);
  for (int i = 0; i < 2; i++) {
    snprintf(more, sizeof more, ", \"system\": {\"user\": \"%s\"}", i == 0 ? "nobody" : "65534");
    stage_write("sockets/http.sock");
    stage_configure("client", general, more);
    stage_child(becomes_nobody);
    unlink(stage_path("sockets/http.sock"));
  }
}

/* Nobody has this number. */
static void becomes_a_number(void) {
  have_groups();
  stage_drop();
  must(geteuid() == 3999999999u && getegid() == 3999999999u && getgroups(0, NULL) == 0);
}

static void test_number(void **state) {
  (void)state;
  stage_needs_root();
  stage_server(", \"system\": {\"user\": \"3999999999\"}");
  assert_int_equal(privilege_check(stage_config, "FILE", NULL, NULL), ERR_OK);
  stage_child(becomes_a_number);
}

static void cannot_become(void) {
  struct privilege privilege;
  char reason[256] = "";
  must(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
  must(privilege_drop(&privilege, stage_config, stage_path("keys/config.json"), reason, sizeof reason) == ERR_SYSTEM);
  must(strcmp(reason, "system.user: cannot become daemon: Operation not permitted") == 0);
}

static void is_it_already(void) {
  must(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
  stage_drop();
}

static void test_without_being_root(void **state) {
  (void)state;
  stage_needs_root();
  stage_server(", \"system\": {\"user\": \"daemon\"}");
  stage_child(cannot_become);
  stage_server(", \"system\": {\"user\": \"nobody\"}");
  stage_child(is_it_already);
}

/* The client's port is bound anew for each attempt. */
static void may_bind_its_port(void) {
  FILE *status = open_status();
  stage_drop();
  must(geteuid() == NOBODY && status_number(status, "CapEff:", 16) == 1ull << CAP_NET_BIND_SERVICE);
  must(status_number(status, "CapPrm:", 16) == 1ull << CAP_NET_BIND_SERVICE);
}

static void test_port_below_1024(void **state) {
  (void)state;
  stage_needs_root();
  stage_configure("client", ", \"bind_address\": \"127.0.0.1:700\"", ", \"system\": {\"user\": \"nobody\"}");
  stage_child(may_bind_its_port);
}

static void collect_one(void *context, bool fatal, const char *text) {
  assert_true(fatal);
  snprintf(context, 256, "%s", text);
}

static void test_unknown_user(void **state) {
  (void)state;
  static const char *const unknown[] = {"no-such-user", "65534x", "-1", "4294967295"};
  char more[128], problem[256], expected[256];
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
    snprintf(more, sizeof more, ", \"system\": {\"user\": \"%s\"}", unknown[i]);
    stage_server(more);
    assert_int_equal(privilege_check(stage_config, "FILE", collect_one, problem), ERR_BAD_CONFIG);
    snprintf(expected, sizeof expected, "FILE: system.user: there is no user \"%s\"", unknown[i]);
    assert_string_equal(problem, expected);
  }
}

/* ---- what is said ---- */

static void check_line(const char *part) {
  log_setup(LOG_INFO, false);
  capture_start();
  stage_drop();
  const char *text = capture_stop();
  const char *line = strstr(text, "sandbox: user ");
  must(line != NULL && strstr(line, part) != NULL);
}

/* |number| of a system call that fails with |error| from now on. */
static void forbid(unsigned number, unsigned error) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void without_landlock(void) {
  forbid(SYS_landlock_create_ruleset, EPERM);
  check_line(", no new privileges, no capabilities, no Landlock (Operation not permitted)\n");
  must(stage_open(stage_path("outside/secret"), O_RDONLY) == 0);
}

static void with_an_older_kernel(void) {
  forbid(SYS_landlock_create_ruleset, ENOSYS);
  check_line(", no new privileges, no capabilities, no Landlock (Function not implemented)\n");
}

static void with_landlock(void) {
  char part[80];
  snprintf(part, sizeof part, ", no new privileges, no capabilities, Landlock ABI %ld\n", stage_abi);
  check_line(part);
}

/* As the unit's filter did for who has none. */
static void without_capset(void) {
  must(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
  forbid(SYS_capset, EPERM);
  check_line(", no capabilities, ");
}

static void root_without_capset(void) {
  forbid(SYS_capset, EPERM);
  check_line(", capabilities that could not be dropped, ");
}

static void test_filtered(void **state) {
  (void)state;
  stage_needs_root();
  stage_server("");
  stage_child(without_capset);
  stage_child(root_without_capset);
}

static void test_description(void **state) {
  (void)state;
  stage_server("");
  stage_child(without_landlock);
  stage_child(with_an_older_kernel);
  if (stage_abi >= 1)
    stage_child(with_landlock);
}

/* What SIGHUP will not be able to read is known at the start already. */
static void key_of_root(void) {
  capture_start();
  stage_drop();
  const char *text = capture_stop();
  const char *line = strstr(text, "tls.key: user nobody (65534) can no longer read ");
  must(line != NULL && strstr(line, "keys/key.pem: Permission denied; a reload (SIGHUP) will fail") != NULL);
  must(strstr(text, "tls.cert: ") == NULL && strstr(text, "tls.ca: ") == NULL);
}

static void test_warning(void **state) {
  (void)state;
  stage_needs_root();
  stage_server(", \"system\": {\"user\": \"nobody\"}");
  assert_int_equal(chmod(stage_path("keys/key.pem"), 0600), 0);
  stage_child(key_of_root);
  assert_int_equal(chmod(stage_path("keys/key.pem"), 0644), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_capabilities),    cmocka_unit_test(test_user),
      cmocka_unit_test(test_number),          cmocka_unit_test(test_without_being_root),
      cmocka_unit_test(test_port_below_1024), cmocka_unit_test(test_unknown_user),
      cmocka_unit_test(test_description),     cmocka_unit_test(test_filtered),
      cmocka_unit_test(test_warning),
  };
  return cmocka_run_group_tests(tests, stage_set_up, stage_tear_down);
}
