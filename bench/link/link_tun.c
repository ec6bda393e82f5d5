/* The namespaces have no names and the devices do not persist: nothing is left behind, however the process ends. At an
   orderly end not even processes are, whoever started them: a daemon that was forgotten would hold its namespace.

   A device without IFF_VNET_HDR has no offloads: the kernel cuts what TCP and UDP hand down as one large segment into
   packets, with checksums, before the link sees them. */
#include "link/link_tun.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* The device's own queue, between the kernel and our read: a sender's burst must fit, for its loss would not be one
   of the model's. */
enum { DEVICE_QUEUE_PACKETS = 20000 };

static bool fail(const char *what) {
  fprintf(stderr, "link-emulator: %s: %s\n", what, strerror(errno));
  return false;
}

static bool set_device(struct ifreq *request, unsigned mtu) {
  int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket_fd < 0)
    return fail("socket");
  request->ifr_qlen = DEVICE_QUEUE_PACKETS;
  bool done = ioctl(socket_fd, SIOCSIFTXQLEN, request) == 0;
  request->ifr_mtu = (int)mtu;
  done = done && ioctl(socket_fd, SIOCSIFMTU, request) == 0;
  if (!done)
    fail("queue and MTU of the device");
  close(socket_fd);
  return done;
}

/* Leaves the process in the new namespace. */
static bool open_end(struct link_tun *end, int namespace_fd, unsigned mtu) {
  if (unshare(CLONE_NEWNET) != 0)
    return fail("a network namespace (are you root?)");
  int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (fd < 0 || dup3(fd, namespace_fd, O_CLOEXEC) != namespace_fd)
    return fail("/proc/thread-self/ns/net");
  close(fd);
  end->namespace_fd = namespace_fd;
  end->devices_fd = open("/proc/thread-self/net/dev", O_RDONLY | O_CLOEXEC);
  if (end->devices_fd < 0)
    return fail("/proc/thread-self/net/dev");
  end->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (end->fd < 0)
    return fail("/dev/net/tun");
  struct ifreq request = {.ifr_name = LINK_DEVICE, .ifr_flags = IFF_TUN | IFF_NO_PI};
  if (ioctl(end->fd, TUNSETIFF, &request) != 0)
    return fail("a TUN device");
  return set_device(&request, mtu);
}

bool link_tun_open(struct link_tun ends[2], unsigned mtu) {
  int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0)
    return fail("/proc/thread-self/ns/net");
  bool done = true;
  for (int i = 0; i < 2 && done; i++)
    done = open_end(&ends[i], LINK_NAMESPACE_FD_A + i, mtu);
  if (setns(home, CLONE_NEWNET) != 0)
    done = fail("the way back to our own namespace");
  close(home);
  return done;
}

static bool runs_in(const char *pid, const struct stat *namespace) {
  char path[64];
  struct stat own;
  snprintf(path, sizeof path, "/proc/%.20s/ns/net", pid);
  return stat(path, &own) == 0 && own.st_dev == namespace->st_dev && own.st_ino == namespace->st_ino;
}

static void kill_all_in(const struct stat *namespace) {
  DIR *folder = opendir("/proc");
  if (!folder)
    return;
  struct dirent *entry;
  while ((entry = readdir(folder)) != NULL) {
    long pid = strtol(entry->d_name, NULL, 10);
    if (pid > 1 && pid != getpid() && runs_in(entry->d_name, namespace))
      kill((pid_t)pid, SIGKILL);
  }
  closedir(folder);
}

void link_tun_close(struct link_tun ends[2]) {
  for (int i = 0; i < 2; i++) {
    struct stat namespace;
    if (fstat(ends[i].namespace_fd, &namespace) == 0)
      kill_all_in(&namespace);
    close(ends[i].fd);
    close(ends[i].devices_fd);
    close(ends[i].namespace_fd);
  }
}

/* The sum of columns 4 and 12 in the device's line: drops on the way in and out. */
static uint64_t dropped_ever(const struct link_tun *end) {
  enum { COLUMN_RX_DROPPED = 4, COLUMN_TX_DROPPED = 12 };
  char text[4096];
  ssize_t got = pread(end->devices_fd, text, sizeof text - 1, 0);
  if (got <= 0)
    return 0;
  text[got] = '\0';
  char *at = strstr(text, LINK_DEVICE ":");
  if (!at)
    return 0;
  at += sizeof LINK_DEVICE; /* with the colon */
  uint64_t sum = 0;
  for (int column = 1; column <= COLUMN_TX_DROPPED; column++) {
    uint64_t value = strtoull(at, &at, 10);
    if (column == COLUMN_RX_DROPPED || column == COLUMN_TX_DROPPED)
      sum += value;
  }
  return sum;
}

uint64_t link_tun_dropped(const struct link_tun *end) { return dropped_ever(end) - end->dropped_0; }

void link_tun_forget_dropped(struct link_tun *end) { end->dropped_0 = dropped_ever(end); }
