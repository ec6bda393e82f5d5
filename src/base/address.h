/* A socket address as a value. Names are not resolved here: io/resolve.h does. */
#ifndef PTP_BASE_ADDRESS_H
#define PTP_BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

enum { ADDRESS_TEXT_MAX = 128 };

struct address {
  socklen_t len; /* 0: none */
  union {
    struct sockaddr any;
    uint8_t bytes[112]; /* large enough for IPv4, IPv6 and UNIX sockets */
  };
};

/* Reads "IP", "IP:port", "[IPv6]:port" or "unix:/path"; |default_port| when there is none. A bare IPv6 address needs no
   brackets. Port 0 is allowed: a listener's to choose. ERR_OK, or ERR_BAD_CONFIG when it is none of these (a host name,
   for example). */
must_use enum err address_parse(struct address *address, const char *text, uint16_t default_port);

/* Splits "host", "host:port", "[IPv6]:port" or a bare IPv6 address. |host| (of |host_size| bytes) gets the name or the
   address without brackets. ERR_BAD_CONFIG when the text is neither, is too long, or the port is not 1-65535. */
must_use enum err address_split(const char *text, uint16_t default_port, char *host, size_t host_size, uint16_t *port);

/* From |sockaddr|, copied. IPv4-mapped IPv6 addresses are kept as they are. */
void address_set(struct address *address, const struct sockaddr *sockaddr, socklen_t len);

/* "192.0.2.1:443", "[2001:db8::1]:443" or "unix:/path", IPv4-mapped ones as IPv4. Returns |out|. */
const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX]);

bool address_equal(const struct address *a, const struct address *b);
/* 127.0.0.0/8 (mapped to IPv6 too), ::1, or a UNIX socket: nobody else can reach it. */
bool address_is_local(const struct address *address);
uint16_t address_port(const struct address *address);
void address_set_port(struct address *address, uint16_t port);
/* AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC when there is none. */
int address_family(const struct address *address);
/* For a socket of family AF_INET6: an IPv4 address becomes ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). */
void address_map_to_v6(struct address *address);

#endif
