/* The process: reads the configuration, starts the workers, turns signals into requests to them, and tells the service
   manager how it is. */
#ifndef PTP_RUN_DAEMON_H
#define PTP_RUN_DAEMON_H

/* Runs on the configuration at |path| until it is told to stop by SIGINT or SIGTERM. SIGHUP reads certificates, key and
   log settings again. Returns the exit status: 0 after a graceful stop, 1 after a failure, 78 when the configuration is
   wrong, 130 after a second SIGINT or SIGTERM. */
int daemon_run(const char *path);

#endif
