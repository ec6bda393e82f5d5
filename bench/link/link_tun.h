/* One end of the link: a network namespace of its own with a TUN device in it. */
#ifndef PTP_BENCH_LINK_TUN_H
#define PTP_BENCH_LINK_TUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_DEVICE "link0"

/* The namespaces are open as these descriptors, so anybody who may enters them by /proc/PID/fd/NUMBER. */
enum { LINK_NAMESPACE_FD_A = 100 };

struct link_tun {
  int fd;             /* the device: a read or a write is one packet */
  int namespace_fd;   /* LINK_NAMESPACE_FD_A, or one more for B */
  int devices_fd;     /* /proc/net/dev of the namespace */
  uint64_t dropped_0; /* at the last link_tun_forget_dropped() */
};

/* Makes both ends. On failure says why on stderr. */
bool link_tun_open(struct link_tun ends[2], unsigned mtu);
/* Kills what still runs in the namespaces: they are gone when the last process in them has ended, and this one. */
void link_tun_close(struct link_tun ends[2]);
/* Packets that the kernel has dropped before the link saw them, or instead of taking them. */
uint64_t link_tun_dropped(const struct link_tun *end);
void link_tun_forget_dropped(struct link_tun *end);

#endif
