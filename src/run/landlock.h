/* Landlock: what this process, and every thread it starts from then on, may still open, however its memory is abused.
   Rules are collected while everything can be reached, and enforced at the end. The kernel's interface is spelled out
   in landlock.c, as the headers of Debian 12 know two of its versions only. */
#ifndef PTP_RUN_LANDLOCK_H
#define PTP_RUN_LANDLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct landlock {
  int fd;      /* of the set of rules; -1: there is none, and all functions do nothing */
  int version; /* of the interface; 4 and above knows TCP, 6 and above what is outside but no file */
  int error;   /* errno of what the kernel has refused; 0: nothing */
};

enum landlock_files {
  LANDLOCK_READ = 1,   /* open for reading */
  LANDLOCK_LIST = 2,   /* read directories */
  LANDLOCK_REMOVE = 4, /* remove what is no directory */
};

/* Begins a set without a rule: no file may be opened, executed, made or removed, no TCP socket bound or connected, no
   process outside signalled, and no abstract UNIX socket outside reached unless |abstract_sockets|; each as far as this
   kernel knows it. */
void landlock_open(struct landlock *landlock, bool abstract_sockets);

/* Allows |files| (enum landlock_files) at |path|, and below it where it is a directory; a path that is not there is
   passed over. */
void landlock_allow_path(struct landlock *landlock, const char *path, unsigned files);

/* Allows TCP connections to |port|, anywhere. */
void landlock_allow_port(struct landlock *landlock, uint16_t port);

/* Gives up the set. */
void landlock_close(struct landlock *landlock);

/* From now on; the set is gone. The thread must have no_new_privs. True when it is enforced; else |landlock->error|
 * says why not. */
bool landlock_enforce(struct landlock *landlock);

#endif
