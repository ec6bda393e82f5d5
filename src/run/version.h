/* What --version prints. */
#ifndef PTP_RUN_VERSION_H
#define PTP_RUN_VERSION_H

#include <stdio.h>

/* "ptproxy VERSION", one line for each library that it was built with, and by which packets are protected here. */
void version_print(FILE *out);

#endif
