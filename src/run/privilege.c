/* The order matters: rules for Landlock are made while every directory can be reached, the user changes while there are
   capabilities to do it with, and Landlock comes last, as it forbids some of the rest.

   Capabilities and Landlock are asked of the kernel directly: libcap would save twenty lines of this. */
#include "run/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/address.h"
#include "base/log.h"
#include "run/reach.h"

enum { PRIVILEGED_PORTS = 1024, CAPABILITIES_MAX = 64, NAME_MAX_LEN = 64 };

struct user {
  uid_t uid;
  gid_t gid;
  char name[NAME_MAX_LEN]; /* "": a number without an entry */
};

/* ---- the user ---- */

static bool is_number(const char *text, unsigned long *number) {
  char *end;
  errno = 0;
  *number = strtoul(text, &end, 10);
  return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *number < UINT32_MAX;
}

/* A number needs no entry (a container may have none): its group is of the same number then. */
static bool find_user(const char *text, struct user *user) {
  unsigned long number;
  bool numeric = is_number(text, &number);
  const struct passwd *entry = numeric ? getpwuid((uid_t)number) : getpwnam(text);
  *user = (struct user){.uid = (uid_t)number, .gid = (gid_t)number};
  if (entry == NULL)
    return numeric;
  user->uid = entry->pw_uid;
  user->gid = entry->pw_gid;
  snprintf(user->name, sizeof user->name, "%s", entry->pw_name);
  return strcmp(user->name, entry->pw_name) == 0;
}

enum err privilege_check(const struct config *config, const char *name, config_report_f *report, void *context) {
  struct user user;
  char line[512];
  if (config->system.user == NULL || find_user(config->system.user, &user))
    return ERR_OK;
  snprintf(line, sizeof line, "%s: system.user: there is no user \"%.64s\"", name, config->system.user);
  report(context, true, line);
  return ERR_BAD_CONFIG;
}

static void give_socket(const char *address, const struct user *user) {
  if (address != NULL && strncmp(address, "unix:", 5) == 0 && lchown(address + 5, user->uid, user->gid) != 0)
    log_warn("system.user: %s does not become that user's: %s", address + 5, strerrordesc_np(errno));
}

static void give_sockets(const struct config *config, const struct user *user) {
  for (size_t i = 0; i < config->general.http_bind_address.count; i++)
    give_socket(config->general.http_bind_address.item[i], user);
  give_socket(config->admin.bind_address, user);
}

/* 0, or an errno. Capabilities outlast it. */
static int become(const struct config *config, const struct user *user) {
  if (getuid() == user->uid && geteuid() == user->uid && getgid() == user->gid && getegid() == user->gid)
    return 0; /* the service manager has done it */
  give_sockets(config, user);
  prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
  int groups = user->name[0] != '\0' ? initgroups(user->name, user->gid) : setgroups(0, NULL);
  bool changed =
      groups == 0 && setresgid(user->gid, user->gid, user->gid) == 0 && setresuid(user->uid, user->uid, user->uid) == 0;
  int error = changed ? 0 : errno;
  prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
  return error;
}

/* ---- capabilities ---- */

/* A client makes a new socket for each attempt to connect, and may have been told which port to use. */
static uint64_t needed_capabilities(const struct config *config) {
  struct address local;
  bool privileged = config->general.mode == MODE_CLIENT &&
                    address_parse(&local, config->general.bind_address, 0) == ERR_OK && address_port(&local) > 0 &&
                    address_port(&local) < PRIVILEGED_PORTS;
  return privileged ? (uint64_t)1 << CAP_NET_BIND_SERVICE : 0;
}

/* |call| is SYS_capget or SYS_capset. */
static bool capabilities(long call, uint64_t *permitted, uint64_t *effective) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {
      {.permitted = (uint32_t)*permitted, .effective = (uint32_t)*effective},
      {.permitted = (uint32_t)(*permitted >> 32), .effective = (uint32_t)(*effective >> 32)}};
  bool done = syscall(call, &header, data) == 0;
  *permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
  *effective = data[0].effective | (uint64_t)data[1].effective << 32;
  return done;
}

/* The bounding set too: a program that user 0 executes would get what is in it. Refused to who may not, whom it would
   not help either. */
static void empty_bounding_set(void) {
  for (unsigned long i = 0; i < CAPABILITIES_MAX; i++)
    prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
}

/* Leaves those of |*kept| that are there, and says which. False when others are left. */
static bool drop_capabilities(uint64_t *kept) {
  uint64_t permitted = 0, effective = 0;
  if (!capabilities(SYS_capget, &permitted, &effective))
    return false;
  uint64_t only = *kept &= permitted, same = only;
  if (permitted == *kept && effective == *kept)
    return true; /* the service manager's filter may forbid to ask for it */
  return capabilities(SYS_capset, &only, &same) && capabilities(SYS_capget, &permitted, &effective) &&
         permitted == *kept && effective == *kept;
}

/* ---- all of it ---- */

static void try_to_read(const char *what, const char *path, const char *reader) {
  int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd >= 0)
    close(fd);
  else if (path != NULL)
    log_warn("%s: %s can no longer read %s: %s; a reload (SIGHUP) will fail", what, reader, path,
             strerrordesc_np(errno));
}

static void describe_user(const struct config *config, char *out, size_t size) {
  if (config->system.user != NULL)
    snprintf(out, size, "user %.64s (%u)", config->system.user, (unsigned)geteuid());
  else
    snprintf(out, size, "user %u", (unsigned)geteuid());
}

enum err privilege_drop(struct privilege *privilege, const struct config *config, const char *config_path, char *reason,
                        size_t reason_size) {
  const char *notify = getenv("NOTIFY_SOCKET");
  struct landlock landlock;
  struct user user;
  char limits[64];
  uint64_t kept = needed_capabilities(config);
  landlock_open(&landlock, notify != NULL && *notify == '@');
  reach_allow(&landlock, config, config_path);
  bool no_new = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  empty_bounding_set();
  int error = 0;
  if (config->system.user != NULL)
    error = find_user(config->system.user, &user) ? become(config, &user) : ENOENT;
  if (error != 0) {
    landlock_close(&landlock);
    snprintf(reason, reason_size, "system.user: cannot become %s: %s", config->system.user, strerrordesc_np(error));
    return ERR_SYSTEM;
  }
  bool dropped = drop_capabilities(&kept);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* the keys are in memory: no core dump, no other process of this user */
  if (landlock_enforce(&landlock))
    snprintf(limits, sizeof limits, "Landlock ABI %d", landlock.version);
  else
    snprintf(limits, sizeof limits, "no Landlock (%s)", strerrordesc_np(landlock.error));
  describe_user(config, privilege->reader, sizeof privilege->reader);
  log_info("sandbox: %s, %s, %s, %s", privilege->reader, no_new ? "no new privileges" : "new privileges",
           !dropped    ? "capabilities that could not be dropped"
           : kept != 0 ? "no capability but CAP_NET_BIND_SERVICE"
                       : "no capabilities",
           limits);
  try_to_read("configuration", config_path, privilege->reader);
  try_to_read("tls.ca", config->tls.ca, privilege->reader);
  try_to_read("tls.cert", config->tls.cert, privilege->reader);
  try_to_read("tls.key", config->tls.key, privilege->reader);
  return ERR_OK;
}
