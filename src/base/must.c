/* The way down. The process may be in any state here: nothing is allocated, no lock is taken, stdio is not used. */
#include "base/must.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Thread_local must_dump_f *thread_dump;
static _Thread_local const void *thread_object;
static _Thread_local bool failing;

struct line {
  char text[512];
  size_t len;
};

static void add(struct line *line, const char *text) {
  size_t len = strlen(text);
  size_t room = sizeof line->text - line->len;
  if (len > room)
    len = room;
  memcpy(line->text + line->len, text, len);
  line->len += len;
}

static void add_number(struct line *line, int number) {
  char digits[12];
  size_t at = sizeof digits - 1;
  digits[at] = '\0';
  unsigned rest = number < 0 ? 0 : (unsigned)number;
  do {
    digits[--at] = (char)('0' + rest % 10);
    rest /= 10;
  } while (rest > 0);
  add(line, digits + at);
}

void must_set_dump(must_dump_f *dump, const void *object) {
  thread_dump = dump;
  thread_object = object;
}

void must_fail(const char *condition, const char *file, int line_number, const char *function) {
  struct line line = {.len = 0};
  add(&line, "ptproxy: broken invariant: ");
  add(&line, condition);
  add(&line, " (");
  add(&line, function);
  add(&line, ", ");
  add(&line, file);
  add(&line, ":");
  add_number(&line, line_number);
  add(&line, ")\n");
  ssize_t written = write(STDERR_FILENO, line.text, line.len);
  (void)written; /* there is nobody left to tell */

  /* A dump that breaks an invariant itself must not come round again. */
  if (thread_dump != NULL && !failing) {
    failing = true;
    thread_dump(thread_object);
  }
  abort();
}
