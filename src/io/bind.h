/* bind(2) for sockets of a service at its start. For io/ only. */
#ifndef PTP_IO_BIND_H
#define PTP_IO_BIND_H

#include <sys/socket.h>

/* As bind(2), but when the address is in use it tries again for a second: the kernel closes the sockets of an io_uring
   user that was killed some time after the process is gone. Blocks: only before there is anything to serve. */
int bind_patiently(int fd, const struct sockaddr *address, socklen_t len);

#endif
