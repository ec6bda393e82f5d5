/* The sockaddr of each family is copied out and in whole: no aliasing, no alignment to think of. */
#include "base/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/bytes.h"
#include "base/must.h"

static_assert(sizeof(struct sockaddr_un) <= sizeof((struct address *)0)->bytes, "a UNIX address fits");

enum { HOST_NAME_MAX_BYTES = 253, IPV6_TEXT_MAX = INET6_ADDRSTRLEN - 1, NO_PORT = -1 };

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static struct sockaddr_in get_v4(const struct address *address) {
  struct sockaddr_in v4;
  memcpy(&v4, address->bytes, sizeof v4);
  return v4;
}

static struct sockaddr_in6 get_v6(const struct address *address) {
  struct sockaddr_in6 v6;
  memcpy(&v6, address->bytes, sizeof v6);
  return v6;
}

static void put(struct address *address, const void *sockaddr, size_t len) {
  struct address fresh = {.len = (socklen_t)len};
  memcpy(fresh.bytes, sockaddr, len); /* which may be the one that |address| has */
  *address = fresh;
}

/* Digits only, 0 to 65535. */
static bool read_port(const char *text, int *port) {
  int value = 0;
  size_t digits = 0;
  for (; text[digits] >= '0' && text[digits] <= '9' && digits < 5; digits++)
    value = value * 10 + (text[digits] - '0');
  if (digits == 0 || text[digits] != '\0' || value > UINT16_MAX)
    return false;
  *port = value;
  return true;
}

/* Splits by brackets and colons alone. |*port| is NO_PORT when the text has none. */
static bool split(const char *text, struct bytes *host, int *port, bool *bracketed) {
  *port = NO_PORT;
  *bracketed = text[0] == '[';
  if (*bracketed) {
    const char *close = strchr(text, ']');
    if (close == NULL)
      return false;
    *host = bytes_of(text + 1, (size_t)(close - text - 1));
    return close[1] == '\0' || (close[1] == ':' && read_port(close + 2, port));
  }
  const char *colon = strchr(text, ':');
  if (colon == NULL || strchr(colon + 1, ':') != NULL) { /* none, or the many of a bare IPv6 address */
    *host = bytes_of_text(text);
    return true;
  }
  *host = bytes_of(text, (size_t)(colon - text));
  return read_port(colon + 1, port);
}

static bool parse_unix(struct address *address, const char *path) {
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  size_t len = strlen(path);
  if (path[0] != '/' || len >= sizeof un.sun_path)
    return false;
  memcpy(un.sun_path, path, len + 1);
  put(address, &un, offsetof(struct sockaddr_un, sun_path) + len + 1);
  return true;
}

enum err address_parse(struct address *address, const char *text, uint16_t default_port) {
  *address = (struct address){.len = 0};
  if (strncmp(text, "unix:", 5) == 0)
    return parse_unix(address, text + 5) ? ERR_OK : ERR_BAD_CONFIG;
  struct bytes host;
  bool bracketed;
  int found;
  char number[INET6_ADDRSTRLEN];
  if (!split(text, &host, &found, &bracketed) || host.len >= sizeof number)
    return ERR_BAD_CONFIG;
  memcpy(number, host.data, host.len);
  number[host.len] = '\0';
  uint16_t port = found == NO_PORT ? default_port : (uint16_t)found;
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  if (!bracketed && inet_pton(AF_INET, number, &v4.sin_addr) == 1)
    put(address, &v4, sizeof v4);
  else if (inet_pton(AF_INET6, number, &v6.sin6_addr) == 1)
    put(address, &v6, sizeof v6);
  else
    return ERR_BAD_CONFIG;
  return ERR_OK;
}

static bool is_host_name(struct bytes host) {
  if (host.len == 0 || host.len > HOST_NAME_MAX_BYTES)
    return false;
  for (size_t i = 0; i < host.len; i++) {
    uint8_t c = host.data[i];
    bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!alnum && c != '-' && c != '.' && c != '_')
      return false;
  }
  return true;
}

static bool is_ipv6(struct bytes host) {
  char number[INET6_ADDRSTRLEN];
  struct in6_addr ignored;
  if (host.len > IPV6_TEXT_MAX)
    return false;
  memcpy(number, host.data, host.len);
  number[host.len] = '\0';
  return inet_pton(AF_INET6, number, &ignored) == 1;
}

enum err address_split(const char *text, uint16_t default_port, char *host, size_t host_size, uint16_t *port) {
  struct bytes name;
  bool bracketed;
  int found;
  if (!split(text, &name, &found, &bracketed) || name.len >= host_size)
    return ERR_BAD_CONFIG;
  if (!is_ipv6(name) && (bracketed || !is_host_name(name)))
    return ERR_BAD_CONFIG;
  if (found == 0) /* one cannot connect to it */
    return ERR_BAD_CONFIG;
  memcpy(host, name.data, name.len);
  host[name.len] = '\0';
  *port = found == NO_PORT ? default_port : (uint16_t)found;
  return ERR_OK;
}

void address_set(struct address *address, const struct sockaddr *sockaddr, socklen_t len) {
  must(len <= sizeof address->bytes);
  put(address, sockaddr, len);
}

const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX]) {
  char number[INET6_ADDRSTRLEN];
  int family = address_family(address);
  if (family == AF_INET) {
    struct sockaddr_in v4 = get_v4(address);
    inet_ntop(AF_INET, &v4.sin_addr, number, sizeof number);
    snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", number, ntohs(v4.sin_port));
  } else if (family == AF_INET6) {
    struct sockaddr_in6 v6 = get_v6(address);
    bool mapped = memcmp(&v6.sin6_addr, mapped_prefix, sizeof mapped_prefix) == 0;
    if (mapped)
      inet_ntop(AF_INET, v6.sin6_addr.s6_addr + sizeof mapped_prefix, number, sizeof number);
    else
      inet_ntop(AF_INET6, &v6.sin6_addr, number, sizeof number);
    snprintf(out, ADDRESS_TEXT_MAX, mapped ? "%s:%u" : "[%s]:%u", number, ntohs(v6.sin6_port));
  } else if (family == AF_UNIX) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(&un, address->bytes, address->len < sizeof un ? address->len : sizeof un);
    bool abstract = un.sun_path[0] == '\0' && un.sun_path[1] != '\0'; /* shown with @, as ss(8) does */
    snprintf(out, ADDRESS_TEXT_MAX, "unix:%s%.*s", abstract ? "@" : "", (int)sizeof un.sun_path - abstract,
             un.sun_path + abstract);
  } else {
    snprintf(out, ADDRESS_TEXT_MAX, "none");
  }
  return out;
}

bool address_equal(const struct address *a, const struct address *b) {
  int family = address_family(a);
  if (family != address_family(b))
    return false;
  if (family == AF_INET) {
    struct sockaddr_in x = get_v4(a), y = get_v4(b);
    return x.sin_port == y.sin_port && x.sin_addr.s_addr == y.sin_addr.s_addr;
  }
  if (family == AF_INET6) {
    struct sockaddr_in6 x = get_v6(a), y = get_v6(b);
    return x.sin6_port == y.sin6_port && x.sin6_scope_id == y.sin6_scope_id &&
           memcmp(&x.sin6_addr, &y.sin6_addr, sizeof x.sin6_addr) == 0;
  }
  return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

bool address_is_local(const struct address *address) {
  static const uint8_t loopback[16] = {[15] = 1};
  if (address_family(address) == AF_INET) {
    struct sockaddr_in v4 = get_v4(address);
    return ((const uint8_t *)&v4.sin_addr)[0] == 127;
  }
  if (address_family(address) == AF_INET6) {
    struct sockaddr_in6 v6 = get_v6(address);
    const uint8_t *bytes = v6.sin6_addr.s6_addr;
    bool mapped = memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0;
    return mapped ? bytes[12] == 127 : memcmp(bytes, loopback, sizeof loopback) == 0;
  }
  return address_family(address) == AF_UNIX;
}

uint16_t address_port(const struct address *address) {
  int family = address_family(address);
  if (family == AF_INET)
    return ntohs(get_v4(address).sin_port);
  return family == AF_INET6 ? ntohs(get_v6(address).sin6_port) : 0;
}

void address_set_port(struct address *address, uint16_t port) {
  int family = address_family(address);
  if (family == AF_INET) {
    struct sockaddr_in v4 = get_v4(address);
    v4.sin_port = htons(port);
    put(address, &v4, sizeof v4);
  } else if (family == AF_INET6) {
    struct sockaddr_in6 v6 = get_v6(address);
    v6.sin6_port = htons(port);
    put(address, &v6, sizeof v6);
  }
}

int address_family(const struct address *address) {
  sa_family_t family;
  if (address->len < sizeof family)
    return AF_UNSPEC;
  memcpy(&family, address->bytes, sizeof family);
  return family;
}

void address_map_to_v6(struct address *address) {
  if (address_family(address) != AF_INET)
    return;
  struct sockaddr_in v4 = get_v4(address);
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
  memcpy(v6.sin6_addr.s6_addr, mapped_prefix, sizeof mapped_prefix);
  memcpy(v6.sin6_addr.s6_addr + sizeof mapped_prefix, &v4.sin_addr, sizeof v4.sin_addr);
  put(address, &v6, sizeof v6);
}
