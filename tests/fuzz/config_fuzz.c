/* Configuration files: whatever is accepted is written as a file that reads back to the same, and every problem is told
   in one printable line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "fuzz/fuzz.h"

struct problems {
  unsigned fatal;
};

static char directory[] = "/tmp/ptproxy-fuzz-XXXXXX";
static const char *const files[] = {"ca.pem", "cert.pem", "key.pem"};

static void remove_files(void) {
  char path[64];
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    snprintf(path, sizeof path, "%s/%s", directory, files[i]);
    unlink(path);
  }
  rmdir(directory);
}

/* The files that a configuration may name must be readable; what is in them is not looked at. */
static void make_files(void) {
  char path[64];
  must(mkdtemp(directory) != NULL);
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    snprintf(path, sizeof path, "%s/%s", directory, files[i]);
    FILE *file = fopen(path, "w");
    must(file != NULL && fclose(file) == 0);
  }
  must(atexit(remove_files) == 0);
}

static void report(void *context, bool fatal, const char *text) {
  struct problems *problems = context;
  problems->fatal += fatal;
  must(strncmp(text, "FILE: ", 6) == 0 || strncmp(text, "FILE:", 5) == 0);
  for (; *text != '\0'; text++)
    must((unsigned char)*text >= ' ' && *text != 0x7f);
}

/* NULL: there was a fatal problem. */
static struct config *parse(const char *text, size_t len) {
  struct problems problems = {0};
  struct config *config;
  enum err err = config_parse(text, len, "FILE", directory, report, &problems, &config);
  must((err == ERR_OK) == (config != NULL) && (err == ERR_OK) == (problems.fatal == 0));
  return config;
}

static char *dump(const struct config *config, size_t *len) {
  char *text;
  FILE *out = open_memstream(&text, len);
  must(out != NULL);
  config_dump(config, out);
  must(fclose(out) == 0);
  return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static bool ready;
  if (!ready)
    make_files();
  ready = true;
  struct config *config = parse((const char *)data, size);
  if (config == NULL)
    return 0;
  size_t len, len_again;
  char *text = dump(config, &len);
  struct config *again = parse(text, len);
  must(again != NULL);
  char *text_again = dump(again, &len_again);
  must(len == len_again && memcmp(text, text_again, len) == 0);
  config_free(config);
  config_free(again);
  free(text);
  free(text_again);
  return 0;
}
