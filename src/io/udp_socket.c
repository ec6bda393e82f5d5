/* The socket: options, binding, what the kernel granted. */
#include <errno.h>
#include <linux/filter.h>
#include <netinet/udp.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"
#include "io/bind.h"
#include "io/udp_priv.h"

static bool set(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

static bool is_wildcard(const struct address *address) {
  if (address_family(address) == AF_INET6) {
    struct sockaddr_in6 v6;
    memcpy(&v6, address->bytes, sizeof v6);
    return IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr);
  }
  struct sockaddr_in v4;
  memcpy(&v4, address->bytes, sizeof v4);
  return v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

static struct address any_address(int family, uint16_t port) {
  struct address address;
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  if (family == AF_INET6)
    address_set(&address, (const struct sockaddr *)(const void *)&v6, sizeof v6);
  else
    address_set(&address, (const struct sockaddr *)(const void *)&v4, sizeof v4);
  return address;
}

/* The kernel doubles what it is asked for to account for its own overhead (socket(7)). */
static uint64_t buffer_size(int fd, int force, int plain, uint64_t wanted) {
  int bytes = wanted < INT32_MAX / 2 ? (int)wanted : INT32_MAX / 2;
  if (bytes > 0 && !set(fd, SOL_SOCKET, force, bytes))
    set(fd, SOL_SOCKET, plain, bytes);
  int granted = 0;
  socklen_t len = sizeof granted;
  must(getsockopt(fd, SOL_SOCKET, plain, &granted, &len) == 0);
  return (uint64_t)granted / 2;
}

static void set_options(struct udp *udp, const struct udp_config *config, int fd) {
  udp->receive_granted = buffer_size(fd, SO_RCVBUFFORCE, SO_RCVBUF, config->receive_buffer_bytes);
  udp->send_granted = buffer_size(fd, SO_SNDBUFFORCE, SO_SNDBUF, config->send_buffer_bytes);
  /* do not fragment, and do not believe ICMP about the path's packet size: QUIC probes it itself (RFC 8899) */
  set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  if (udp->family == AF_INET6)
    set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  udp->gro = set(fd, SOL_UDP, UDP_GRO, 1);
  udp->gso = set(fd, SOL_UDP, UDP_SEGMENT, 0);
  if (udp->wildcard && !udp->connected) {
    if (udp->family == AF_INET6)
      set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1); /* for IPv4 too, as a mapped address */
    else
      set(fd, IPPROTO_IP, IP_PKTINFO, 1);
  }
}

/* A service's SO_REUSEPORT comes after bind: another process that has the port, or comes later for it, is an error and
   not a share of its datagrams; further sockets of this process can still join. A client's new socket has to bind while
   the one before it, of the same process, is still being closed. */
static int bind_to(const struct udp *udp, const struct udp_config *config, int fd, const struct address *address) {
  if (udp->connected || config->number > 0) {
    set(fd, SOL_SOCKET, SO_REUSEPORT, address_port(address) != 0);
    return bind(fd, &address->any, address->len);
  }
  if (bind_patiently(fd, &address->any, address->len) != 0)
    return -1;
  set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  return 0;
}

/* Which of the |sharers| gets a datagram (socket(7), SO_ATTACH_REUSEPORT_CBPF): the number in the first two bytes of
   the connection ID that it is for, so that a session stays where it is when its peer's address changes (RFC 9000
   sections 17.2, 17.3). A client's first packets carry an ID of its own choice, the same for all of them: what is left
   of the division is as good a number as any. */
static bool steer(int fd, uint16_t sharers) {
  enum { LONG_HEADER = 0x80, SHORT_ID = 1, LONG_ID = 6 };
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, LONG_HEADER, 2, 0),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, SHORT_ID),
      BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, LONG_ID),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, sharers),
      BPF_STMT(BPF_RET | BPF_A, 0),
  };
  const struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof filter) == 0;
}

/* What comes before all sharers are there could go to the wrong one; a client sends it again. */
static bool deafen(int fd) {
  struct sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  const struct sock_fprog filter = {.len = 1, .filter = program};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0;
}

void udp_listen(struct udp *udp) {
  int unused = 0;
  if (udp->deaf)
    must(setsockopt(udp->fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused) == 0);
  udp->deaf = false;
}

static int open_at(struct udp *udp, const struct udp_config *config, const struct address *bind_address,
                   const char **what) {
  udp->family = address_family(bind_address);
  udp->wildcard = is_wildcard(bind_address);
  *what = "open a socket for";
  int fd = socket(udp->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return -1;
  if (udp->family == AF_INET6)
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  set_options(udp, config, fd);
  *what = "attach a filter to";
  udp->deaf = config->sharers > 1;
  if (udp->deaf && !deafen(fd))
    goto failed;
  *what = "bind";
  if (bind_to(udp, config, fd, bind_address) != 0)
    goto failed;
  *what = "attach a filter to";
  if (config->number == 1 && !steer(fd, config->sharers)) /* the second one makes them a group */
    goto failed;
  if (udp->connected) {
    udp->remote = config->connect;
    if (udp->family == AF_INET6)
      address_map_to_v6(&udp->remote);
    *what = "connect";
    if (connect(fd, &udp->remote.any, udp->remote.len) != 0)
      goto failed;
  }
  udp->local.len = sizeof udp->local.bytes;
  must(getsockname(fd, &udp->local.any, &udp->local.len) == 0);
  return fd;

failed:;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int udp_socket(struct udp *udp, const struct udp_config *config, const char **what) {
  udp->connected = config->connect.len > 0;
  must(config->bind.len > 0 || udp->connected);
  struct address address = config->bind;
  if (address.len == 0)
    address = any_address(address_family(&config->connect), 0);
  int fd = open_at(udp, config, &address, what);
  bool no_ipv6 = fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
  if (!no_ipv6 || udp->family != AF_INET6 || !udp->wildcard)
    return fd;
  address = any_address(AF_INET, address_port(&address));
  return open_at(udp, config, &address, what);
}
