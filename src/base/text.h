/* A bounded text that is put together piece by piece. */
#ifndef PTP_BASE_TEXT_H
#define PTP_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
  char *out; /* borrowed; ends with a NUL after the first piece */
  size_t size, len;
  bool full; /* a piece did not fit: |out| ends with what did of it, |len| before it, and nothing is added any more */
};

/* Adds a piece as printf does. */
__attribute__((format(printf, 2, 3))) void text_put(struct text *text, const char *format, ...);
/* Adds |ns| nanoseconds in seconds: "0.012000000". */
void text_put_seconds(struct text *text, uint64_t ns);
/* The length, or 0 when it did not fit. */
static inline size_t text_len(const struct text *text) { return text->full ? 0 : text->len; }

#endif
