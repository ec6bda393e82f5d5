/* What the tests of privileges share: a directory with files that a configuration leads to and others that it does not,
   two TCP listeners, and children that give up their privileges and try what is left. */
#ifndef PTP_TESTS_UNIT_SUPPORT_STAGE_H
#define PTP_TESTS_UNIT_SUPPORT_STAGE_H

#include "unit/support.h"

#include <netinet/in.h>

#include "config/config.h"

/* Between the two functions, which are a group's set-up and tear-down. keys/ has config.json, cert.pem, key.pem, and
   links to elsewhere/ca.pem, elsewhere/other.pem and outside/secret; sockets/ is empty. */
extern char stage_top[];
extern uint16_t stage_ports[2]; /* of the listeners; the first one is the origin's */
extern long stage_abi;          /* of this kernel's Landlock; below 1: none */
extern struct config *stage_config;
int stage_set_up(void **state);
int stage_tear_down(void **state);

/* A path in the directory; good for the next three calls. */
const char *stage_path(const char *name);
void stage_write(const char *name);

/* Makes |stage_config|, with the certificates in keys/; |general| and |more| begin with a comma when they are not
   empty. A server's origin is the first listener. */
void stage_configure(const char *mode, const char *general, const char *more);
void stage_server(const char *more);

/* Runs |act| in a process of its own, where it fails by must(). */
void stage_child(void (*act)(void));
/* privilege_drop. */
void stage_drop(void);

/* 0, or the errno of opening. */
int stage_open(const char *path, int flags);
/* Of 127.0.0.1. */
struct sockaddr_in stage_address(uint16_t port);

/* Skip the test, and say so, where it cannot be run. */
void stage_needs_landlock(void);
void stage_needs_root(void);

#endif
