/* What a key is: its row, the words for what it allows, and whether a text is right for it. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/address.h"
#include "base/limits.h"
#include "config/config_table.h"

enum { HOST_MAX = 256, LABEL_MAX = 63, NAME_MAX_LEN = 253, SUGGEST_MAX = 3, PART_SCORE = 2 };

#define RANGE(low, high) .min = (low), .max = (high)
#define ZERO_OR(low, high) .min = (low), .max = (high), .zero_too = true
#define CHOICES(words) .choices = (words)
#define ANY .min = 0
#define JSON(text) .default_json = (text)
#define PROSE(text) .default_prose = (text)
#define REQUIRED .required = true

const struct config_key config_keys[CONFIG_KEYS] = {
#define CONFIG_SECTION(section, help)
#define CONFIG_KEY(section_, key_, member, type_, unit_, range_, default_, mode_, help_)                               \
  {                                                                                                                    \
      .section = #section_,                                                                                            \
      .name = #key_,                                                                                                   \
      .offset = offsetof(struct config, member),                                                                       \
      .size = sizeof(((struct config *)NULL)->member),                                                                 \
      .type = KEY_##type_,                                                                                             \
      .unit = unit_,                                                                                                   \
      range_,                                                                                                          \
      default_,                                                                                                        \
      .mode = IN_##mode_,                                                                                              \
      .help = help_,                                                                                                   \
  },
#include "config/config.tbl"
#undef CONFIG_SECTION
#undef CONFIG_KEY
};

const struct config_section config_sections[CONFIG_SECTIONS] = {
#define CONFIG_SECTION(section, help_) {.name = #section, .help = help_},
#define CONFIG_KEY(section, key, ...)
#include "config/config.tbl"
#undef CONFIG_SECTION
#undef CONFIG_KEY
};

double key_number(const struct config *config, const struct config_key *key) {
  const void *field = key_field(config, key);
  switch (key->type) {
  case KEY_ENUM:
  case KEY_BOOL:
    return key->size == sizeof(bool) ? *(const bool *)field : *(const int *)field;
  case KEY_COUNT:
  case KEY_THREADS:
  case KEY_TIME:
  case KEY_SIZE:
    return (double)*(const uint64_t *)field;
  case KEY_RATIO:
    return *(const double *)field;
  case KEY_LISTENERS:
  case KEY_NAMES:
    return ((const struct config_list *)field)->count > 0;
  case KEY_FILE:
  case KEY_USER:
  case KEY_LOCAL:
  case KEY_HOST_PORT:
  case KEY_ORIGIN:
  case KEY_LISTENER:
    return *(const char *const *)field != NULL;
  }
  must_never("every type is above");
}

void key_set_choice(struct config *config, const struct config_key *key, int choice) {
  void *field = (char *)config + key->offset;
  if (key->size == sizeof(bool))
    *(bool *)field = choice != 0;
  else
    *(int *)field = choice;
}

const char *key_choice(const struct config_key *key, size_t index, size_t *len) {
  const char *at = key->choices;
  for (; index > 0 && at != NULL; index--) {
    at = strchr(at, ' ');
    at = at == NULL ? NULL : at + 1;
  }
  if (at != NULL)
    *len = strcspn(at, " ");
  return at;
}

int key_find_choice(const struct config_key *key, const char *text) {
  size_t len;
  const char *choice;
  for (size_t i = 0; (choice = key_choice(key, i, &len)) != NULL; i++) {
    if (strlen(text) == len && strncasecmp(text, choice, len) == 0)
      return (int)i;
  }
  return -1;
}

static void allowed_choices(const struct config_key *key, char *out, size_t size) {
  size_t used = 0, len = 0, count = 0;
  const char *choice;
  while (key_choice(key, count, &len) != NULL)
    count++;
  for (size_t i = 0; i < count; i++) {
    choice = key_choice(key, i, &len);
    const char *joint = i == 0 ? "" : i + 1 == count ? " or " : ", ";
    int put = snprintf(out + used, size - used, "%s\"%.*s\"", joint, (int)len, choice);
    must(put > 0 && (size_t)put < size - used);
    used += (size_t)put;
  }
}

void key_allowed(const struct config_key *key, char *out, size_t size) {
  unsigned long long min = key->min, max = key->max;
  const char *zero = key->zero_too ? "0 or " : "";
  int put = 0;
  switch (key->type) {
  case KEY_ENUM:
    allowed_choices(key, out, size);
    break;
  case KEY_BOOL:
    put = snprintf(out, size, "true or false");
    break;
  case KEY_COUNT:
    put = snprintf(out, size, "%s%llu-%llu", zero, min, max);
    break;
  case KEY_THREADS:
    put = snprintf(out, size, "\"auto\" or %llu-%llu", min, max);
    break;
  case KEY_TIME:
    put = snprintf(out, size, "%s%llu-%llu ms", zero, min, max);
    break;
  case KEY_SIZE:
    put = snprintf(out, size, "%s%llu-%llu bytes", zero, min, max);
    break;
  case KEY_RATIO:
    put = snprintf(out, size, "a number above %llu, up to %llu", min, max);
    break;
  case KEY_FILE:
    put = snprintf(out, size, "the path of a file");
    break;
  case KEY_USER:
    put = snprintf(out, size, "a user's name or number, as a string");
    break;
  case KEY_LOCAL:
    put = snprintf(out, size, "an IP address or IP:port");
    break;
  case KEY_HOST_PORT:
    put = snprintf(out, size, "a host name or IP address, or host:port");
    break;
  case KEY_ORIGIN:
    put = snprintf(out, size, "host, host:port or unix:/path");
    break;
  case KEY_LISTENER:
    put = snprintf(out, size, "IP:port or unix:/path");
    break;
  case KEY_LISTENERS:
    put = snprintf(out, size, "IP:port or unix:/path, or an array of up to %d such", CONFIG_LIST_MAX);
    break;
  case KEY_NAMES:
    put =
        snprintf(out, size, "a host name or IP address without a port, or an array of up to %d such", CONFIG_LIST_MAX);
    break;
  }
  must(put >= 0 && (size_t)put < size);
}

const char *key_allowed_too(const struct config_key *key) {
  if (key->type == KEY_TIME)
    return " or a string such as \"150ms\" or \"5s\"";
  return key->type == KEY_SIZE ? " or a string such as \"64KiB\" or \"1MB\"" : "";
}

static bool is_label(const char *label, size_t len) {
  if (len == 0 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
    return false;
  return strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") >= len;
}

/* The last label may not be all digits, so that 192.0.2.300 is not taken for a name (RFC 1123 section 2.1). A dot at
   the end is allowed. */
static bool is_name(const char *name) {
  const char *end = name + strlen(name);
  if (end - name > 1 && end[-1] == '.')
    end--;
  if (end - name > NAME_MAX_LEN)
    return false;
  for (const char *label = name;;) {
    size_t len = strcspn(label, ".");
    if (!is_label(label, len))
      return false;
    if (label + len == end)
      return strspn(label, "0123456789") < len;
    label += len + 1;
  }
}

static bool is_host(const char *host) {
  struct address address;
  if (address_parse(&address, host, 1) == ERR_OK)
    return address_family(&address) != AF_UNIX;
  return is_name(host);
}

static bool is_unix(const char *text) {
  struct address address;
  return address_parse(&address, text, 1) == ERR_OK && address_family(&address) == AF_UNIX;
}

static bool is_host_port(const char *text) {
  char host[HOST_MAX];
  uint16_t port;
  return address_split(text, 1, host, sizeof host, &port) == ERR_OK && is_host(host);
}

/* A port was written when it does not change with the default. */
static bool is_ip_with_port(const char *text) {
  struct address one, two;
  return address_parse(&one, text, 1) == ERR_OK && address_parse(&two, text, 2) == ERR_OK &&
         address_family(&one) != AF_UNIX && address_port(&one) == address_port(&two);
}

bool key_text_ok(const struct config_key *key, const char *text) {
  struct address address;
  char host[HOST_MAX];
  uint16_t port;
  switch (key->type) {
  case KEY_LOCAL:
    return address_parse(&address, text, 1) == ERR_OK && address_family(&address) != AF_UNIX;
  case KEY_HOST_PORT:
    return is_host_port(text);
  case KEY_ORIGIN:
    return is_unix(text) || is_host_port(text);
  case KEY_LISTENER:
  case KEY_LISTENERS:
    return is_unix(text) || is_ip_with_port(text);
  case KEY_NAMES:
    return address_split(text, 1, host, sizeof host, &port) == ERR_OK && strcmp(host, text) == 0 && is_host(host);
  default:
    return *text != '\0';
  }
}

/* Few letters differ, or the one is a part of the other ("port" for "quic_port"). */
static size_t unlikeness(const char *name, const char *known) {
  size_t distance = text_distance(name, known);
  bool part = strlen(name) >= 3 && strcasestr(known, name) != NULL;
  return part && distance > PART_SCORE ? PART_SCORE : distance;
}

static void list_known(const char *section, char *out, size_t size) {
  size_t used = 0;
  out[0] = '\0';
  for (size_t i = 0; i < (section == NULL ? CONFIG_SECTIONS : CONFIG_KEYS); i++) {
    if (section != NULL && strcmp(config_keys[i].section, section) != 0)
      continue;
    const char *name = section == NULL ? config_sections[i].name : config_keys[i].name;
    int put = snprintf(out + used, size - used, "%s%s", used == 0 ? "" : ", ", name);
    must(put > 0 && (size_t)put < size - used);
    used += (size_t)put;
  }
}

bool key_suggest(const char *section, const char *name, char *out, size_t size) {
  size_t best = SIZE_MAX;
  for (size_t i = 0; section == NULL && i < CONFIG_SECTIONS; i++) {
    size_t score = unlikeness(name, config_sections[i].name);
    if (score < best) {
      best = score;
      snprintf(out, size, "%s", config_sections[i].name);
    }
  }
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    const struct config_key *key = &config_keys[i];
    bool here = section != NULL && strcmp(key->section, section) == 0;
    size_t score = unlikeness(name, key->name) + (here ? 0 : 1);
    if (score < best) {
      best = score;
      snprintf(out, size, "%s%s%s", here ? "" : key->section, here ? "" : ".", key->name);
    }
  }
  if (best <= SUGGEST_MAX && best <= 1 + strlen(name) / 3)
    return true;
  list_known(section, out, size);
  return false;
}
