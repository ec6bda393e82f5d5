/* ptproxy status: how a running daemon is, for people. */
#ifndef PTP_RUN_STATUS_H
#define PTP_RUN_STATUS_H

/* Asks the daemon's admin endpoint and prints what it says. |argv[0]| is "status". Returns the exit status: 0 when a
   session is up, 1 when none is or the daemon does not answer, 2 wrong usage, 78 when the configuration names no
   endpoint. */
int status_main(int argc, char **argv);

#endif
