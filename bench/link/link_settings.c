/* One table names every setting with its unit; commands, profiles and the JSON of `stats` all go through it. Values are
   decimal numbers: milliseconds, Mbit/s, percent, bytes, packets. */
#include "link/link_settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
  const char *name;
  size_t offset; /* of a uint64_t in struct link_settings */
  double scale;  /* its value for 1 */
  double max;
};

#define MS 1e6
#define PERCENT 1e7
#define MS_MAX 3600000.0
#define AT(member) offsetof(struct link_settings, member)

static const struct setting settings_table[] = {
    {"delay", AT(delay_ns), MS, MS_MAX},
    {"jitter", AT(jitter_ns), MS, MS_MAX},
    {"rate", AT(rate_bps), 1e6, 100000},
    {"queue_ms", AT(queue_ns), MS, MS_MAX},
    {"queue_bytes", AT(queue_bytes), 1, 1e12},
    {"loss", AT(loss_ppb), PERCENT, 100},
    {"burst_loss", AT(burst_loss_ppb), PERCENT, 100},
    {"burst_run", AT(burst_run_ppb), 1e9, 1e6},
    {"reorder", AT(reorder_ppb), PERCENT, 100},
    {"reorder_ms", AT(reorder_ns), MS, MS_MAX},
    {"dup", AT(duplicate_ppb), PERCENT, 100},
    {"corrupt", AT(corrupt_ppb), PERCENT, 100},
    {"mangle", AT(mangle_ppb), PERCENT, 100},
    {"mtu", AT(mtu), 1, 65535},
    {"icmp", AT(icmp), 1, 1},
    {"blackout_ms", AT(blackout_ns), MS, MS_MAX},
    {"blackout_every_ms", AT(blackout_every_ns), MS, MS_MAX},
};

enum { SETTINGS_COUNT = sizeof settings_table / sizeof settings_table[0], WORD_MAX = 64 };

/* Delays are of one direction, so a round trip has twice as much. Each queue holds about one round trip, as routers'
   queues are meant to, and 5 ms at least. */
static const struct {
  const char *name, *words;
} profiles[] = {
    {"none", ""},
    {"lan", "delay=0.1 rate=1000 queue_ms=5"},
    {"metro", "delay=5 rate=200 queue_ms=10"},
    {"transatlantic", "delay=40 rate=100 queue_ms=80 loss=0.1"},
    {"far", "delay=75 rate=30 queue_ms=150"},
    {"lossy", "delay=50 rate=50 queue_ms=100 loss=1"},
    {"bad", "delay=100 rate=20 queue_ms=200 burst_loss=5 burst_run=8"},
    {"satellite", "delay=300 rate=50 queue_ms=600"},
    {"blackout", "delay=25 rate=50 queue_ms=50 blackout_ms=3000 blackout_every_ms=20000"},
};

enum { PROFILES_COUNT = sizeof profiles / sizeof profiles[0] };

static uint64_t *member(struct link_settings *settings, const struct setting *setting) {
  return (uint64_t *)(void *)((char *)settings + setting->offset);
}

static const struct setting *find(const char *name, size_t len) {
  for (size_t i = 0; i < SETTINGS_COUNT; i++)
    if (strlen(settings_table[i].name) == len && memcmp(settings_table[i].name, name, len) == 0)
      return &settings_table[i];
  return NULL;
}

/* One word, without spaces. */
static bool apply_word(struct link_settings settings[LINK_DIRECTIONS], const char *word, char *error, size_t size) {
  const char *name = word;
  bool ab = strncmp(word, "ba.", 3) != 0, ba = strncmp(word, "ab.", 3) != 0;
  if (!ab || !ba)
    name += 3;
  const char *equals = strchr(name, '=');
  const struct setting *setting = equals ? find(name, (size_t)(equals - name)) : NULL;
  if (!setting) {
    snprintf(error, size, "no such setting: %s", word);
    return false;
  }
  char *end;
  double value = strtod(equals + 1, &end);
  if (end == equals + 1 || *end != '\0' || !isfinite(value) || value < 0 || value > setting->max) {
    snprintf(error, size, "not a number from 0 to %.0f: %s", setting->max, word);
    return false;
  }
  uint64_t scaled = (uint64_t)llround(value * setting->scale);
  if (ab)
    *member(&settings[LINK_AB], setting) = scaled;
  if (ba)
    *member(&settings[LINK_BA], setting) = scaled;
  return true;
}

bool link_settings_apply(struct link_settings settings[LINK_DIRECTIONS], const char *text, char *error, size_t size) {
  struct link_settings changed[LINK_DIRECTIONS] = {settings[LINK_AB], settings[LINK_BA]};
  for (const char *at = text + strspn(text, " "); *at != '\0'; at += strspn(at, " ")) {
    char word[WORD_MAX];
    size_t len = strcspn(at, " ");
    if (len >= sizeof word) {
      snprintf(error, size, "no such setting: %.*s...", WORD_MAX - 1, at);
      return false;
    }
    memcpy(word, at, len);
    word[len] = '\0';
    if (!apply_word(changed, word, error, size))
      return false;
    at += len;
  }
  memcpy(settings, changed, sizeof changed);
  return true;
}

const char *link_profile(const char *name) {
  for (size_t i = 0; i < PROFILES_COUNT; i++)
    if (strcmp(profiles[i].name, name) == 0)
      return profiles[i].words;
  return NULL;
}

void link_profile_names(char *out, size_t size) {
  size_t used = 0;
  out[0] = '\0';
  for (size_t i = 0; i < PROFILES_COUNT && used < size; i++)
    used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? " " : "", profiles[i].name);
}

size_t link_settings_json(const struct link_settings *settings, char *out, size_t size) {
  struct link_settings copy = *settings;
  size_t used = 0;
  for (size_t i = 0; i < SETTINGS_COUNT; i++) {
    const struct setting *setting = &settings_table[i];
    double value = (double)*member(&copy, setting) / setting->scale;
    used += (size_t)snprintf(used < size ? out + used : NULL, used < size ? size - used : 0, "%s\"%s\":%.10g",
                             i > 0 ? "," : "{", setting->name, value);
  }
  return used + (size_t)snprintf(used < size ? out + used : NULL, used < size ? size - used : 0, "}");
}
