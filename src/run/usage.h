/* The command line: one table of the commands and their options, from which parsing, --help and the manual page come.
   The completions are held to what --help prints. */
#ifndef PTP_RUN_USAGE_H
#define PTP_RUN_USAGE_H

#include <stdio.h>

enum usage_command { USAGE_DAEMON, USAGE_CERTS, USAGE_STATUS, USAGE_COMMANDS };

enum usage_option {
  USAGE_END = -1,
  USAGE_WRONG, /* an unknown option, or one without its argument; that was printed */
  USAGE_CONFIG,
  USAGE_CHECK,
  USAGE_DUMP,
  USAGE_VERSION,
  USAGE_HELP,
  USAGE_CLIENT,
  USAGE_SERVER,
  USAGE_OUTPUT,
  USAGE_DAYS,
  USAGE_ADDRESS,
};

/* The next option of |argv|, as getopt_long(3) goes through it: optarg is its argument, optind where the rest begins.
   argv[0] is the command. */
enum usage_option usage_next(enum usage_command command, int argc, char **argv);

/* What --help prints. */
void usage_help(enum usage_command command, FILE *out);

/* The sections OPTIONS and COMMANDS of ptproxy(1). */
void usage_man(FILE *out);

#endif
