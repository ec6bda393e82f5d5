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
#include "run/version.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_CONFIG = 78, STATUS_CUT = 130 };
enum action { ACTION_RUN, ACTION_CHECK, ACTION_DUMP, ACTION_VERSION, ACTION_HELP };

struct options {
  enum action action;
  const char *path;
};

static const char help[] =
    "usage: ptproxy [-c FILE] [--check | --dump]\n"
    "       ptproxy certs --client NAME --server NAME [-o DIRECTORY]\n"
    "       ptproxy status [-c FILE]\n"
    "\n"
    "Carries HTTP/1.1 requests over one mutually authenticated HTTP/3 session to another ptproxy.\n"
    "\n"
    "  -c, --config FILE  the configuration (default: /etc/ptproxy/config.json)\n"
    "      --check        print every problem of the configuration, certificates and keys, and exit\n"
    "      --dump         print the effective configuration, defaults filled in, as JSON, and exit\n"
    "      --version      print the version, and those of the libraries in it, and exit\n"
    "      --help         print this, and exit\n"
    "\n"
    "certs makes certificates and configurations for a new pair, status shows how a running daemon is.\n"
    "Without --check or --dump it runs in the foreground and logs to stderr.\n"
    "Exit status: 0 stopped gracefully, 1 failed, 2 wrong usage, 78 wrong configuration, 130 stopped at once.\n"
    "Manual: man ptproxy, man ptproxy.json\n";

/* False when the usage is wrong; the reason was printed. */
static bool read_options(int argc, char **argv, struct options *options) {
  static const struct option known[] = {
      {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, ACTION_CHECK},
      {"dump", no_argument, NULL, ACTION_DUMP}, {"version", no_argument, NULL, ACTION_VERSION},
      {"help", no_argument, NULL, ACTION_HELP}, {NULL, 0, NULL, 0},
  };
  *options = (struct options){.action = ACTION_RUN, .path = "/etc/ptproxy/config.json"};
  int option;
  while ((option = getopt_long(argc, argv, "c:", known, NULL)) != -1) {
    if (option == '?')
      return false;
    if (option == 'c') {
      options->path = optarg;
      continue;
    }
    if (options->action != ACTION_RUN && options->action != (enum action)option) {
      fputs("ptproxy: only one of --check, --dump, --version and --help at a time\n", stderr);
      return false;
    }
    options->action = (enum action)option;
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
    fputs(help, stdout);
    break;
  }
  return fflush(stdout) == 0 && !ferror(stdout) ? status : STATUS_FAILED;
}
