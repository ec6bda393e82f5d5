/* ptproxy certs: what a newcomer needs for a first tunnel. */
#ifndef PTP_RUN_CERTS_H
#define PTP_RUN_CERTS_H

/* Makes an authority, a certificate for each end and a minimal configuration for each, and says what to do with them.
   |argv[0]| is "certs". Returns the exit status: 0, 1 (nothing is left half made), 2 wrong usage. */
int certs_main(int argc, char **argv);

#endif
