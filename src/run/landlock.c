/* As Documentation/userspace-api/landlock.rst of the kernel has it. A right that a set does not handle is not denied,
   so each version's rights are handled only where the kernel has them. */
#include "run/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE_VERSION = 1, RULE_PATH = 1, RULE_PORT = 2, NET_VERSION = 4, SCOPE_VERSION = 6 };

enum {
  FS_READ_FILE = 1 << 2,
  FS_READ_DIR = 1 << 3,
  FS_REMOVE_FILE = 1 << 5,
  NET_BIND_TCP = 1 << 0,
  NET_CONNECT_TCP = 1 << 1,
  SCOPE_ABSTRACT_SOCKETS = 1 << 0,
  SCOPE_SIGNALS = 1 << 1,
};

/* All rights of files up to the version: 13 of the first one, then refer, truncate, and ioctl of devices. */
static const uint64_t fs_rights[] = {0, 0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff};
enum { FS_VERSIONS = sizeof fs_rights / sizeof *fs_rights };

struct handled {
  uint64_t fs, net, scoped;
};

struct path_rule {
  uint64_t allowed;
  int32_t parent_fd;
} __attribute__((packed));

struct port_rule {
  uint64_t allowed, port;
};

void landlock_open(struct landlock *landlock, bool abstract_sockets) {
  *landlock = (struct landlock){.fd = -1};
  long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
  if (version < 1) {
    landlock->error = version < 0 ? errno : ENOSYS;
    return;
  }
  struct handled handled = {.fs = fs_rights[version < FS_VERSIONS ? version : FS_VERSIONS - 1]};
  if (version >= NET_VERSION)
    handled.net = NET_BIND_TCP | NET_CONNECT_TCP;
  if (version >= SCOPE_VERSION)
    handled.scoped = SCOPE_SIGNALS | (abstract_sockets ? 0 : SCOPE_ABSTRACT_SOCKETS);
  size_t size = version >= SCOPE_VERSION ? sizeof handled : version >= NET_VERSION ? 16 : 8;
  landlock->version = (int)version;
  landlock->fd = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
  if (landlock->fd < 0)
    landlock->error = errno;
}

void landlock_allow_path(struct landlock *landlock, const char *path, unsigned files) {
  if (landlock->fd < 0)
    return;
  struct stat status;
  struct path_rule rule = {.parent_fd = open(path, O_PATH | O_CLOEXEC)};
  if (rule.parent_fd < 0)
    return;
  bool directory = fstat(rule.parent_fd, &status) == 0 && S_ISDIR(status.st_mode);
  if (files & LANDLOCK_READ)
    rule.allowed |= FS_READ_FILE;
  if (files & LANDLOCK_LIST && directory)
    rule.allowed |= FS_READ_DIR;
  if (files & LANDLOCK_REMOVE && directory)
    rule.allowed |= FS_REMOVE_FILE;
  if (rule.allowed != 0 && syscall(SYS_landlock_add_rule, landlock->fd, RULE_PATH, &rule, 0) != 0)
    landlock->error = errno;
  close(rule.parent_fd);
}

void landlock_allow_port(struct landlock *landlock, uint16_t port) {
  if (landlock->fd < 0 || landlock->version < NET_VERSION)
    return;
  struct port_rule rule = {.allowed = NET_CONNECT_TCP, .port = port};
  if (syscall(SYS_landlock_add_rule, landlock->fd, RULE_PORT, &rule, 0) != 0)
    landlock->error = errno;
}

void landlock_close(struct landlock *landlock) {
  if (landlock->fd >= 0)
    close(landlock->fd);
  landlock->fd = -1;
}

/* A rule that was refused would be missed years later: better no rules. */
bool landlock_enforce(struct landlock *landlock) {
  if (landlock->fd >= 0 && landlock->error == 0 && syscall(SYS_landlock_restrict_self, landlock->fd, 0) != 0)
    landlock->error = errno;
  landlock_close(landlock);
  return landlock->error == 0;
}
