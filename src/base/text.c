#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

void text_put(struct text *text, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int len = text->full ? -1 : vsnprintf(text->out + text->len, text->size - text->len, format, args);
  va_end(args);
  text->full = len < 0 || (size_t)len >= text->size - text->len;
  if (!text->full)
    text->len += (size_t)len;
}

void text_put_seconds(struct text *text, uint64_t ns) {
  text_put(text, "%" PRIu64 ".%09" PRIu64, ns / (uint64_t)NS_PER_S, ns % (uint64_t)NS_PER_S);
}
