/* Log lines. A message is formatted, cut to its limit, and then escaped byte by byte into the line: there is one place
   that decides what may reach a terminal or a JSON reader. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum {
  MESSAGE_MAX = 1024,
  ESCAPE_MAX = 6, /* \u001b */
  LINE_MAX_BYTES = MESSAGE_MAX * ESCAPE_MAX + 128,
};

static _Atomic int level_wanted = LOG_INFO;
static _Atomic bool json_wanted;
static _Atomic uint64_t dropped;

struct line {
  char text[LINE_MAX_BYTES];
  size_t len;
};

void log_setup(enum log_level level, bool json) {
  level_wanted = (int)level;
  json_wanted = json;
}

bool log_wants(enum log_level level) { return (int)level <= atomic_load_explicit(&level_wanted, memory_order_relaxed); }

uint64_t log_dropped(void) { return dropped; }

static void add(struct line *line, const char *text, size_t len) {
  memcpy(line->text + line->len, text, len); /* LINE_MAX_BYTES holds the longest message, all of it escaped */
  line->len += len;
}

static void add_text(struct line *line, const char *text) { add(line, text, strlen(text)); }

static void add_time(struct line *line) {
  uint64_t wall_us = clock_wall_us();
  time_t seconds = (time_t)(wall_us / 1000000);
  struct tm tm;
  char text[96];
  if (gmtime_r(&seconds, &tm) == NULL)
    return;
  int len = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(wall_us % 1000000));
  if (len > 0 && (size_t)len < sizeof text)
    add(line, text, (size_t)len);
}

/* The length of the UTF-8 character at |at| (RFC 3629: no overlong forms, no surrogates); 0 when there is none. */
static size_t utf8_len(const uint8_t *at, size_t len) {
  uint8_t first = at[0];
  size_t need = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (need == 0 || need > len)
    return 0;
  for (size_t i = 1; i < need; i++)
    if ((at[i] & 0xc0) != 0x80)
      return 0;
  if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) || (first == 0xf0 && at[1] < 0x90) ||
      (first == 0xf4 && at[1] > 0x8f))
    return 0;
  return need;
}

static void add_escaped(struct line *line, const char *message, size_t len, bool json) {
  const uint8_t *at = (const uint8_t *)message;
  const uint8_t *end = at + len;
  while (at < end) {
    char escape[ESCAPE_MAX + 1];
    size_t size = utf8_len(at, (size_t)(end - at));
    /* C0, DEL, and C1 (U+0080 to U+009F), which some terminals obey as well */
    bool control = size == 1 ? *at < 0x20 || *at == 0x7f : size == 2 && at[0] == 0xc2 && at[1] < 0xa0;
    if (size > 0 && !control) {
      if (json && (*at == '"' || *at == '\\'))
        add(line, "\\", 1);
      add(line, (const char *)at, size);
    } else if (json) {
      snprintf(escape, sizeof escape, "\\u%04x", size == 0 ? 0xfffdU : at[size - 1]);
      add_text(line, escape);
    } else {
      for (size_t i = 0; i < (size == 0 ? 1 : size); i++) {
        snprintf(escape, sizeof escape, "\\x%02x", at[i]);
        add_text(line, escape);
      }
    }
    at += size == 0 ? 1 : size;
  }
}

/* Cuts |message| to its limit, not within a character; returns its new length. */
static size_t cut(char *message) {
  size_t len = MESSAGE_MAX - 3;
  while (len > 0 && ((uint8_t)message[len] & 0xc0) == 0x80)
    len--;
  memcpy(message + len, "...", 3);
  return len + 3;
}

static void line_write(const struct line *line) {
  size_t done = 0;
  while (done < line->len) {
    ssize_t written = write(STDERR_FILENO, line->text + done, line->len - done);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0) {
      dropped++;
      return;
    }
    done += (size_t)written;
  }
}

void log_write(enum log_level level, const char *format, ...) {
  static const struct {
    const char *text, *json;
  } words[] = {
      [LOG_ERROR] = {"ERROR", "error"},
      [LOG_WARN] = {" WARN", "warn"},
      [LOG_INFO] = {" INFO", "info"},
      [LOG_DEBUG] = {"DEBUG", "debug"},
  };
  if (!log_wants(level))
    return;
  int errno_before = errno; /* a log line between a call and the look at its errno must not change it */
  char message[MESSAGE_MAX + 1];
  va_list args;
  va_start(args, format);
  int wanted = vsnprintf(message, sizeof message, format, args);
  va_end(args);
  size_t len = wanted < 0 ? 0 : (size_t)wanted;
  if (len > MESSAGE_MAX)
    len = cut(message);

  struct line line;
  line.len = 0;
  bool json = json_wanted;
  if (json)
    add_text(&line, "{\"ts\":\"");
  add_time(&line);
  add_text(&line, json ? "\",\"level\":\"" : " ");
  add_text(&line, json ? words[level].json : words[level].text);
  add_text(&line, json ? "\",\"msg\":\"" : " ptproxy: ");
  add_escaped(&line, message, len, json);
  add_text(&line, json ? "\"}\n" : "\n");
  line_write(&line);
  errno = errno_before;
}

bool log_rate_ok(struct log_rate *rate, unsigned burst, unsigned long long now_ns, unsigned *suppressed) {
  if (rate->refilled_ns == 0) { /* the first call */
    rate->tokens = burst;
    rate->refilled_ns = now_ns > 0 ? now_ns : 1;
  } else if (now_ns > rate->refilled_ns) {
    unsigned long long earned = (now_ns - rate->refilled_ns) / NS_PER_S;
    rate->refilled_ns += earned * NS_PER_S;
    rate->tokens = earned > burst || rate->tokens + (unsigned)earned > burst ? burst : rate->tokens + (unsigned)earned;
  }
  if (rate->tokens == 0) {
    rate->suppressed++;
    return false;
  }
  rate->tokens--;
  *suppressed = rate->suppressed;
  rate->suppressed = 0;
  return true;
}
