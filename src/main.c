/* The command line, the configuration and the exit status; what the daemon does is run/daemon.h. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "run/certs.h"
#include "run/credentials.h"
#include "run/daemon.h"
#include "run/privilege.h"
#include "run/status.h"
#include "run/usage.h"
#include "run/version.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_CONFIG = 78, STATUS_CUT = 130 };
enum action { ACTION_RUN, ACTION_CHECK, ACTION_DUMP, ACTION_VERSION, ACTION_HELP };

struct options {
  enum action action;
  const char *path;
};

/* False when the usage is wrong; the reason was printed. */
static bool read_options(int argc, char **argv, struct options *options) {
  static const enum action actions[] = {[USAGE_CHECK] = ACTION_CHECK,
                                        [USAGE_DUMP] = ACTION_DUMP,
                                        [USAGE_VERSION] = ACTION_VERSION,
                                        [USAGE_HELP] = ACTION_HELP};
  *options = (struct options){.action = ACTION_RUN, .path = "/etc/ptproxy/config.json"};
  enum usage_option option;
  while ((option = usage_next(USAGE_DAEMON, argc, argv)) != USAGE_END) {
    if (option == USAGE_WRONG)
      return false;
    if (option == USAGE_CONFIG) {
      options->path = optarg;
      continue;
    }
    if (options->action != ACTION_RUN && options->action != actions[option]) {
      fputs("ptproxy: only one of --check, --dump, --version and --help at a time\n", stderr);
      return false;
    }
    options->action = actions[option];
  }
  if (optind < argc)
    fprintf(stderr, "ptproxy: unexpected argument '%s'\n", argv[optind]);
  return optind == argc;
}

/* A socket must not get the number of a stream that the caller has closed: the log would be written to it. */
static void occupy_standard_streams(void) {
  int fd;
  do
    fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0)
    close(fd);
}

/* |context| is the stream to print to. */
static void print_problem(void *context, bool fatal, const char *text) {
  fprintf(context, "%s%s\n", fatal ? "" : "warning: ", text);
}

static int check(const char *path) {
  struct config *config;
  if (config_load(path, print_problem, stdout, &config) != ERR_OK)
    return STATUS_CONFIG;
  enum err user = privilege_check(config, path, print_problem, stdout);
  enum err credentials = credentials_check(config, path, print_problem, stdout);
  config_free(config);
  return user == ERR_OK && credentials == ERR_OK ? STATUS_OK : STATUS_CONFIG;
}

static int dump(const char *path) {
  struct config *config;
  if (config_load(path, print_problem, stderr, &config) != ERR_OK)
    return STATUS_CONFIG;
  config_dump(config, stdout);
  config_free(config);
  return STATUS_OK;
}

int main(int argc, char **argv) {
  struct options options;
  int status = STATUS_OK;
  occupy_standard_streams();
  signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of the call, not the end of the process */
  signal(SIGUSR1, SIG_IGN); /* scripts send these to other daemons, to open log files anew: no reason to die */
  signal(SIGUSR2, SIG_IGN);
  if (argc > 1 && strcmp(argv[1], "certs") == 0)
    return certs_main(argc - 1, argv + 1);
  if (argc > 1 && strcmp(argv[1], "status") == 0)
    return status_main(argc - 1, argv + 1);
  if (!read_options(argc, argv, &options)) {
    fputs("Try 'ptproxy --help'.\n", stderr);
    return STATUS_USAGE;
  }
  switch (options.action) {
  case ACTION_RUN:
    status = daemon_run(options.path);
    if (status == STATUS_CUT)
      _exit(status); /* the workers still run: nothing may be taken from under them */
    return status;
  case ACTION_CHECK:
    status = check(options.path);
    break;
  case ACTION_DUMP:
    status = dump(options.path);
    break;
  case ACTION_VERSION:
    version_print(stdout);
    break;
  case ACTION_HELP:
    usage_help(USAGE_DAEMON, stdout);
    break;
  }
  return fflush(stdout) == 0 && !ferror(stdout) ? status : STATUS_FAILED;
}
