/* A borrowed run of bytes: never owns, never ends in NUL by contract. */
#ifndef PTP_BASE_BYTES_H
#define PTP_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct bytes {
  const uint8_t *data;
  size_t len;
};

#define BYTES_LITERAL(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

static inline struct bytes bytes_of(const void *data, size_t len) { return (struct bytes){data, len}; }

static inline struct bytes bytes_of_text(const char *text) {
  return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* ASCII case is ignored (RFC 9110 section 5.1). */
static inline bool bytes_equal_nocase(struct bytes a, struct bytes b) {
  return a.len == b.len && (a.len == 0 || strncasecmp((const char *)a.data, (const char *)b.data, a.len) == 0);
}

#endif
