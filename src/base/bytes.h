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

/* Names and values are mostly short: up to 16 and 32 bytes cost less here than the call of memcmp and memcpy would. The
   first and the last word of a text may overlap. */
static inline uint64_t bytes_word(const uint8_t *at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

static inline uint32_t bytes_half(const uint8_t *at) {
  uint32_t half;
  memcpy(&half, at, sizeof half);
  return half;
}

static inline bool bytes_equal(struct bytes a, struct bytes b) {
  if (a.len != b.len)
    return false;
  if (a.len < 4 || a.len > 16)
    return a.len == 0 || memcmp(a.data, b.data, a.len) == 0;
  if (a.len < 8)
    return bytes_half(a.data) == bytes_half(b.data) && bytes_half(a.data + a.len - 4) == bytes_half(b.data + b.len - 4);
  uint64_t first = bytes_word(a.data) ^ bytes_word(b.data);
  uint64_t last = bytes_word(a.data + a.len - 8) ^ bytes_word(b.data + b.len - 8);
  return (first | last) == 0;
}

/* Copies |bytes| to |to|, where nothing of them may lie, and returns the end. */
static inline uint8_t *bytes_put(uint8_t *to, struct bytes bytes) {
  const uint8_t *from = bytes.data;
  size_t len = bytes.len;
  if (len > 32) {
    memcpy(to, from, len);
  } else if (len >= 16) {
    uint8_t first[16], last[16];
    memcpy(first, from, 16);
    memcpy(last, from + len - 16, 16);
    memcpy(to, first, 16);
    memcpy(to + len - 16, last, 16);
  } else if (len >= 8) {
    uint64_t first = bytes_word(from), last = bytes_word(from + len - 8);
    memcpy(to, &first, 8);
    memcpy(to + len - 8, &last, 8);
  } else if (len >= 4) {
    uint32_t first = bytes_half(from), last = bytes_half(from + len - 4);
    memcpy(to, &first, 4);
    memcpy(to + len - 4, &last, 4);
  } else if (len > 0) {
    to[0] = from[0];
    to[len / 2] = from[len / 2];
    to[len - 1] = from[len - 1];
  }
  return to + len;
}

/* ASCII case is ignored (RFC 9110 section 5.1). */
static inline bool bytes_equal_nocase(struct bytes a, struct bytes b) {
  return a.len == b.len && (a.len == 0 || strncasecmp((const char *)a.data, (const char *)b.data, a.len) == 0);
}

#endif
