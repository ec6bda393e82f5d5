#include "run/usage.h"

#include <ctype.h>
#include <getopt.h>
#include <stdbool.h>

#include "base/must.h"

enum { OPTIONS_MAX = 8, COLUMN = 26 };

static const struct {
  const char *name, *synopsis, *does, *more;
} commands[USAGE_COMMANDS] = {
    [USAGE_DAEMON] =
        {"ptproxy", "[-c FILE] [--check | --dump]",
         "Carries HTTP/1.1 requests over one mutually authenticated HTTP/3 session to another ptproxy.",
         "certs makes certificates and configurations for a new pair, status shows how a running daemon is;\n"
         "ptproxy certs --help and ptproxy status --help tell more.\n"
         "Without --check or --dump it runs in the foreground and logs to stderr.\n"
         "Exit status: 0 stopped gracefully, 1 failed, 2 wrong usage, 78 wrong configuration, 130 stopped "
         "at once.\n"
         "Manual: man ptproxy, man ptproxy.json\n"},
    [USAGE_CERTS] = {"ptproxy certs", "--client NAME --server NAME [-o DIRECTORY] [--days NUMBER]",
                     "Makes a certificate authority, a certificate for each end (ECDSA on P-256), and a minimal "
                     "configuration for each.",
                     "Names are DNS names or IP addresses. No file is overwritten.\n"},
    [USAGE_STATUS] = {"ptproxy status", "[-c FILE | -a ADDRESS]", "Shows how a running daemon is.",
                      "Exit status: 0 a session is up, 1 none is, or there is no answer.\n"},
};

static const struct row {
  enum usage_command command;
  enum usage_option option;
  char letter; /* 0: none */
  const char *name, *argument, *text;
} rows[] = {
    {USAGE_DAEMON, USAGE_CONFIG, 'c', "config", "FILE", "the configuration (default: /etc/ptproxy/config.json)"},
    {USAGE_DAEMON, USAGE_CHECK, 0, "check", NULL,
     "print every problem of the configuration, certificates and keys, and exit"},
    {USAGE_DAEMON, USAGE_DUMP, 0, "dump", NULL,
     "print the effective configuration, defaults filled in, as JSON, and exit"},
    {USAGE_DAEMON, USAGE_VERSION, 0, "version", NULL, "print the version, and those of the libraries in it, and exit"},
    {USAGE_DAEMON, USAGE_HELP, 0, "help", NULL, "print a summary of the options, and exit"},
    {USAGE_CERTS, USAGE_CLIENT, 0, "client", "NAME", "name of the client end, which goes into its certificate"},
    {USAGE_CERTS, USAGE_SERVER, 0, "server", "NAME", "name of the server end; the client connects to it"},
    {USAGE_CERTS, USAGE_OUTPUT, 'o', "output", "DIRECTORY", "where the files go (default: here)"},
    {USAGE_CERTS, USAGE_DAYS, 0, "days", "NUMBER", "for how long the certificates are valid (default: 3650)"},
    {USAGE_CERTS, USAGE_HELP, 0, "help", NULL, "print a summary of the options, and exit"},
    {USAGE_STATUS, USAGE_CONFIG, 'c', "config", "FILE",
     "the daemon's configuration (default: /etc/ptproxy/config.json)"},
    {USAGE_STATUS, USAGE_ADDRESS, 'a', "address", "ADDRESS", "the admin endpoint itself: IP:port or unix:/path"},
    {USAGE_STATUS, USAGE_HELP, 0, "help", NULL, "print a summary of the options, and exit"},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

enum usage_option usage_next(enum usage_command command, int argc, char **argv) {
  struct option known[OPTIONS_MAX + 1] = {{0}};
  char letters[2 * OPTIONS_MAX + 1] = "";
  size_t count = 0, letters_len = 0;
  for (size_t i = 0; i < ROWS; i++) {
    if (rows[i].command != command)
      continue;
    must(count < OPTIONS_MAX);
    known[count++] = (struct option){.name = rows[i].name, .has_arg = rows[i].argument != NULL, .val = rows[i].option};
    if (rows[i].letter == 0)
      continue;
    letters[letters_len++] = rows[i].letter;
    if (rows[i].argument != NULL)
      letters[letters_len++] = ':';
  }
  int got = getopt_long(argc, argv, letters, known, NULL);
  if (got == -1)
    return USAGE_END;
  if (got == '?')
    return USAGE_WRONG;
  for (size_t i = 0; i < ROWS; i++) {
    if (rows[i].command == command && rows[i].letter != 0 && got == rows[i].letter)
      return rows[i].option;
  }
  return (enum usage_option)got;
}

/* ---- --help ---- */

static void print_row(const struct row *row, FILE *out) {
  char letter[] = "    ";
  if (row->letter != 0)
    snprintf(letter, sizeof letter, "-%c, ", row->letter);
  bool takes = row->argument != NULL;
  int len = fprintf(out, "  %s--%s%s%s", letter, row->name, takes ? " " : "", takes ? row->argument : "");
  fprintf(out, "%*s%s\n", COLUMN - len > 2 ? COLUMN - len : 2, "", row->text);
}

void usage_help(enum usage_command command, FILE *out) {
  for (int i = 0; i < USAGE_COMMANDS; i++) {
    if (command == USAGE_DAEMON || command == (enum usage_command)i)
      fprintf(out, "%s %s %s\n", i == 0 || command != USAGE_DAEMON ? "usage:" : "      ", commands[i].name,
              commands[i].synopsis);
  }
  fprintf(out, "\n%s\n\n", commands[command].does);
  for (size_t i = 0; i < ROWS; i++) {
    if (rows[i].command == command)
      print_row(&rows[i], out);
  }
  fprintf(out, "\n%s", commands[command].more);
}

/* ---- the manual page ---- */

static void print_roff(const char *text, FILE *out) {
  for (; *text != '\0'; text++)
    fprintf(out, *text == '-' ? "\\-" : "%c", *text);
}

static void print_man_row(const struct row *row, FILE *out) {
  fputs(".TP\n.B ", out);
  if (row->letter != 0)
    fprintf(out, "\\-%c\\fR, \\fB", row->letter);
  fputs("\\-\\-", out);
  print_roff(row->name, out);
  if (row->argument != NULL)
    fprintf(out, " \\fI%s\\fR", row->argument);
  fprintf(out, "\n%c", toupper((unsigned char)row->text[0]));
  print_roff(row->text + 1, out);
  fputs(".\n", out);
}

static void print_man_rows(enum usage_command command, FILE *out) {
  for (size_t i = 0; i < ROWS; i++) {
    if (rows[i].command == command)
      print_man_row(&rows[i], out);
  }
}

void usage_man(FILE *out) {
  fputs(".SH OPTIONS\n", out);
  print_man_rows(USAGE_DAEMON, out);
  fputs(".SH COMMANDS\n", out);
  for (int i = USAGE_CERTS; i < USAGE_COMMANDS; i++) {
    fprintf(out, ".SS %s ", commands[i].name);
    print_roff(commands[i].synopsis, out);
    fputc('\n', out);
    print_roff(commands[i].does, out);
    fputc('\n', out);
    print_roff(commands[i].more, out);
    print_man_rows((enum usage_command)i, out);
  }
}
