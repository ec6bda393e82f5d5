/* The manual page of the configuration, from the same table as everything else about it. */
#include <string.h>

#include "config/config_table.h"

enum { ALLOWED_MAX = 256, LINE_BYTES = 70 };

/* Running text, broken into lines that roff joins again: what is between backquotes is set in bold, and nothing is
   taken for a request. */
static void put_text(FILE *out, const char *text) {
  bool bold = false;
  unsigned column = 0;
  for (const char *at = text; *at != '\0'; at++, column++) {
    if (*at == ' ' && column > LINE_BYTES) {
      fputc('\n', out);
      column = 0;
    } else if (*at == '`') {
      bold = !bold;
      fputs(bold ? "\\fB" : "\\fR", out);
    } else if (*at == '\\') {
      fputs("\\e", out);
    } else if (*at == '-') {
      fputs("\\-", out);
    } else if ((*at == '.' || *at == '\'') && column <= 1) {
      fprintf(out, "\\&%c", *at);
    } else {
      fputc(*at, out);
    }
  }
}

static void put_key(FILE *out, const struct config_key *key) {
  char allowed[ALLOWED_MAX];
  key_allowed(key, allowed, sizeof allowed);
  fputs(".TP\n.B ", out);
  put_text(out, key->name);
  fputs("\n", out);
  put_text(out, key->help);
  if (key->mode != IN_BOTH)
    fputs(key->mode == IN_CLIENT ? " (an error in server mode)" : " (an error in client mode)", out);
  fputs(".\n.br\nAllowed: ", out);
  put_text(out, allowed);
  put_text(out, key_allowed_too(key));
  fputs(key->default_json != NULL || key->default_prose != NULL ? ".\nDefault: " : ".\nRequired", out);
  if (key->default_json != NULL)
    put_text(out, key->default_json);
  else if (key->default_prose != NULL)
    put_text(out, key->default_prose);
  fputs(".\n", out);
}

void config_man(FILE *out) {
  fputs(".\\\" Generated from src/config/config.tbl; do not edit.\n"
        ".TH PTPROXY.JSON 5 \"\" ptproxy\n"
        ".SH NAME\nptproxy.json \\- configuration of ptproxy\n"
        ".SH DESCRIPTION\n"
        "A file in JSON, in UTF\\-8; // and /* */ comments are allowed. A key that is not listed here is an error.\n"
        "\\fBptproxy \\-\\-check \\-c\\fR \\fIFILE\\fR reports every problem of a file, and\n"
        "\\fBptproxy \\-\\-dump \\-c\\fR \\fIFILE\\fR prints it with all defaults filled in.\n"
        ".PP\nPaths of files and UNIX sockets that do not begin with / are relative to the file.\n"
        "Times are whole milliseconds, or a string with a unit: ms, s, m or min, h (\"1.5s\").\n"
        "Sizes are whole bytes, or a string with a unit: B, kB, KiB, MB, MiB, GB, GiB (\"64KiB\").\n"
        "Words such as client may be written in upper or lower case.\n",
        out);
  for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
    const char *section = config_sections[i].name;
    fputs(".SH SECTION ", out);
    put_text(out, section);
    fputs("\n", out);
    put_text(out, config_sections[i].help);
    fputs("\n", out);
    for (size_t j = 0; j < CONFIG_KEYS; j++)
      if (strcmp(config_keys[j].section, section) == 0)
        put_key(out, &config_keys[j]);
  }
  fputs(".SH EXAMPLE\nA client end:\n.PP\n.nf\n.RS\n"
        "{\n"
        "  \"general\": { \"mode\": \"client\", \"peer_hostname\": \"b.example\" },\n"
        "  \"tls\": { \"ca\": \"ca.pem\", \"cert\": \"client.pem\", \"key\": \"client.key\" }\n"
        "}\n.RE\n.fi\n.PP\nBoth ends are made by \\fBptproxy certs\\fR.\n"
        ".SH SEE ALSO\n.BR ptproxy (1)\n",
        out);
}
