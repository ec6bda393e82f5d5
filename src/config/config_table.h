/* The rows of config.tbl as data, and the text work on keys and values: for the files of this folder only. */
#ifndef PTP_CONFIG_CONFIG_TABLE_H
#define PTP_CONFIG_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/must.h"
#include "config/config.h"

/* The comment names what the member of struct config is. */
enum key_type {
  KEY_ENUM,      /* int, or bool when there are two choices */
  KEY_BOOL,      /* bool */
  KEY_COUNT,     /* uint64_t, as the next three */
  KEY_THREADS,   /* 0: "auto" */
  KEY_TIME,      /* milliseconds, or a string with a unit */
  KEY_SIZE,      /* bytes, or a string with a unit */
  KEY_RATIO,     /* double, above min and up to max */
  KEY_FILE,      /* const char *, as the next five: a file that can be read */
  KEY_USER,      /* name or number */
  KEY_LOCAL,     /* IP or IP:port */
  KEY_HOST_PORT, /* host or host:port */
  KEY_ORIGIN,    /* host, host:port or unix:/path */
  KEY_LISTENER,  /* IP:port or unix:/path */
  KEY_LISTENERS, /* struct config_list of KEY_LISTENER */
  KEY_NAMES,     /* struct config_list of host names or IP addresses */
};

enum key_mode { IN_BOTH, IN_CLIENT, IN_SERVER };

struct config_key {
  const char *section, *name;
  size_t offset, size; /* of its member in struct config */
  enum key_type type;
  const char *unit; /* "ms", "bytes", ...; "" when there is none */
  uint64_t min, max;
  bool zero_too;             /* 0 is allowed though it is below min */
  const char *choices;       /* KEY_ENUM: words separated by one space, in the order of the enum's values */
  const char *default_json;  /* NULL: see default_prose */
  const char *default_prose; /* what is so without the key; NULL for a required key */
  bool required;             /* in the modes where the key is allowed */
  enum key_mode mode;
  const char *help;
};

struct config_section {
  const char *name, *help;
};

enum {
#define CONFIG_SECTION(section, help)
#define CONFIG_KEY(section, key, ...) CONFIG_KEY_##section##_##key,
#include "config/config.tbl"
#undef CONFIG_SECTION
#undef CONFIG_KEY
  CONFIG_KEYS
};

enum {
#define CONFIG_SECTION(section, help) CONFIG_SECTION_##section,
#define CONFIG_KEY(section, key, ...)
#include "config/config.tbl"
#undef CONFIG_SECTION
#undef CONFIG_KEY
  CONFIG_SECTIONS
};

extern const struct config_key config_keys[CONFIG_KEYS];
extern const struct config_section config_sections[CONFIG_SECTIONS];

static inline const void *key_field(const struct config *config, const struct config_key *key) {
  return (const char *)config + key->offset;
}

/* True when |mode| (enum config_mode) has the key. */
static inline bool key_in_mode(const struct config_key *key, int mode) {
  return key->mode == IN_BOTH || (key->mode == IN_CLIENT) == (mode == MODE_CLIENT);
}

/* config_key.c */

/* The value of a number, a choice or a bool; of a text or a list: 1 when there is one. */
double key_number(const struct config *config, const struct config_key *key);
void key_set_choice(struct config *config, const struct config_key *key, int choice);

/* Writes what is allowed, for "must be ..." and for the reference: "1-65535", "true or false". */
void key_allowed(const struct config_key *key, char *out, size_t size);

/* What is to be added to it for times and sizes: " or a string such as ...", else "". */
const char *key_allowed_too(const struct config_key *key);

/* The |index|th choice, |len| characters at the result; NULL when there are no more. */
const char *key_choice(const struct config_key *key, size_t index, size_t *len);

/* The index of the choice that |text| is, case ignored; -1 when it is none. */
int key_find_choice(const struct config_key *key, const char *text);

/* True when |text| is right for one value of |key|, whose type is one of addresses and names. */
bool key_text_ok(const struct config_key *key, const char *text);

/* Writes what the person who wrote |name| (a key, or a section when |section| is NULL) may have meant: "quic_port",
   "general.quic_port" or "tls". Returns false when nothing is similar; then |out| has what is known there. */
bool key_suggest(const char *section, const char *name, char *out, size_t size);

/* config_text.c */

/* Reads "1.5s" or "64KiB" in the units of |type| (KEY_TIME: to milliseconds, KEY_SIZE: to bytes). False when it is not
   one, has no unit, is not whole in that unit, or is too large for |value|. */
bool text_quantity(enum key_type type, const char *text, uint64_t *value);

/* Replaces the comments in |text| by spaces, so that every other byte keeps its place, and looks for what cJSON would
   let pass or not explain: bytes that are not UTF-8, control characters, strings and comments without an end, deep
   nesting. Returns NULL, or the problem in words; it is at |*where| then. */
const char *text_prepare(char *text, size_t len, size_t *where);

/* Puts into words why the JSON parser stopped at |*where|, and moves |*where| to what a person would point at. */
const char *text_syntax_problem(const char *text, size_t len, size_t *where);

/* Line and column, from 1, of the byte at |where|; a column is a character, not a byte. */
void text_place(const char *text, size_t where, size_t *line, size_t *column);

/* The number of letters to insert, delete, replace or swap with the next to get from |a| to |b|; case is ignored. */
size_t text_distance(const char *a, const char *b);

/* Copies |text| to |out|, fit for a line of a message: control characters become '?', what does not fit "...". */
void text_quote(const char *text, char *out, size_t size);

#endif
