/* Log lines. A message is formatted, cut to its limit, and then escaped byte by byte into the line: there is one place
   that decides what may reach a terminal or a JSON reader. */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"

enum {
  MESSAGE_MAX = 1024,
  ESCAPE_MAX = 6, /* \u001b */
  FIELD_MAX = 64, /* of a field without the text of others */
  LINE_MAX_BYTES = MESSAGE_MAX * ESCAPE_MAX + LOG_FIELDS_MAX * FIELD_MAX + 128,
};

static_assert(2 * LOG_FIELD_TEXT_MAX <= MESSAGE_MAX, "two texts of others fit a line");

static _Atomic int level_wanted = LOG_INFO;
static _Atomic bool json_wanted;
static _Atomic bool access_wanted;
static _Atomic uint64_t dropped;
static _Atomic bool stream; /* stderr is a pipe or a socket */
static _Atomic bool torn;   /* the last line lacks its end */

struct line {
  char text[LINE_MAX_BYTES];
  size_t len;
};

void log_setup(enum log_level level, bool json) {
  level_wanted = (int)level;
  json_wanted = json;
  struct stat status;
  stream = fstat(STDERR_FILENO, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

bool log_wants(enum log_level level) { return (int)level <= atomic_load_explicit(&level_wanted, memory_order_relaxed); }

void log_setup_access(bool on) { access_wanted = on; }

bool log_wants_access(void) { return atomic_load_explicit(&access_wanted, memory_order_relaxed); }

uint64_t log_dropped(void) { return dropped; }

static void add(struct line *line, const char *text, size_t len) {
  memcpy(line->text + line->len, text, len); /* LINE_MAX_BYTES holds the longest message, all of it escaped */
  line->len += len;
}

static void add_text(struct line *line, const char *text) { add(line, text, strlen(text)); }

static void add_time(struct line *line) {
  uint64_t wall_us = clock_wall_us();
  time_t seconds = (time_t)(wall_us / US_PER_S);
  struct tm tm;
  char text[96];
  if (gmtime_r(&seconds, &tm) == NULL)
    return;
  int len = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(wall_us % US_PER_S));
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

/* |quoted|: quotes and backslashes are escaped as well. */
static void add_escaped(struct line *line, const char *message, size_t len, bool json, bool quoted) {
  const uint8_t *at = (const uint8_t *)message;
  const uint8_t *end = at + len;
  while (at < end) {
    char escape[ESCAPE_MAX + 1];
    size_t size = utf8_len(at, (size_t)(end - at));
    /* C0, DEL, and C1 (U+0080 to U+009F), which some terminals obey as well */
    bool control = size == 1 ? *at < 0x20 || *at == 0x7f : size == 2 && at[0] == 0xc2 && at[1] < 0xa0;
    if (size > 0 && !control) {
      if (quoted && (*at == '"' || *at == '\\'))
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

/* One write that does not wait. A pipe or socket that is ready takes PIPE_BUF bytes at once (pipe(7)), unless another
   thread or process that has it as well was quicker: the kernel is told not to wait then, where it can be. The file
   description is shared with others, so that it cannot be made non-blocking instead. */
static ssize_t write_now(const char *text, size_t len) {
  struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
  int taken = poll(&ready, 1, 0);
  if (taken <= 0) {
    errno = taken == 0 ? EAGAIN : errno;
    return -1;
  }
  if (stream) {
    struct iovec piece = {.iov_base = (char *)(uintptr_t)text, .iov_len = len};
    ssize_t written = pwritev2(STDERR_FILENO, &piece, 1, -1, RWF_NOWAIT);
    if (written >= 0 || errno != EOPNOTSUPP) /* Linux before 6.5 */
      return written;
  }
  return write(STDERR_FILENO, text, len);
}

/* False: not all of it; |*begun| if a part. */
static bool write_all(const char *text, size_t len, bool *begun) {
  size_t done = 0;
  while (done < len) {
    size_t left = len - done;
    ssize_t written = write_now(text + done, left < PIPE_BUF ? left : PIPE_BUF);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      break;
    done += (size_t)written;
  }
  *begun = done > 0;
  return done == len;
}

/* Never waits for who reads the log. After a line that could be written in part only, as on a full disk, the next one
   begins on a line of its own. */
static void line_write(const struct line *line) {
  bool begun = false;
  if (torn && write_all("\n", 1, &begun))
    torn = false;
  if (torn || !write_all(line->text, line->len, &begun)) {
    torn = torn || begun;
    dropped++;
  }
}

static void line_begin(struct line *line, enum log_level level, bool json) {
  static const struct {
    const char *text, *json;
  } words[] = {
      [LOG_ERROR] = {"ERROR", "error"},
      [LOG_WARN] = {" WARN", "warn"},
      [LOG_INFO] = {" INFO", "info"},
      [LOG_DEBUG] = {"DEBUG", "debug"},
  };
  line->len = 0;
  if (json)
    add_text(line, "{\"ts\":\"");
  add_time(line);
  add_text(line, json ? "\",\"level\":\"" : " ");
  add_text(line, json ? words[level].json : words[level].text);
  add_text(line, json ? "\",\"msg\":\"" : " ptproxy: ");
}

void log_write(enum log_level level, const char *format, ...) {
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
  bool json = json_wanted;
  line_begin(&line, level, json);
  add_escaped(&line, message, len, json, json);
  add_text(&line, json ? "\"}\n" : "\n");
  line_write(&line);
  errno = errno_before;
}

static void add_field(struct line *line, const struct log_field *field, bool json) {
  char text[FIELD_MAX];
  snprintf(text, sizeof text, json ? ",\"%s\":" : " %s=", field->name);
  add_text(line, text);
  if (field->text != NULL) {
    size_t len = field->len < LOG_FIELD_TEXT_MAX ? field->len : LOG_FIELD_TEXT_MAX;
    add_text(line, "\"");
    add_escaped(line, field->text, len, json, true);
    add_text(line, len < field->len ? "...\"" : "\"");
    return;
  }
  if (field->nanoseconds)
    snprintf(text, sizeof text, "%" PRIu64 ".%06u", (uint64_t)(field->number / NS_PER_S),
             (unsigned)(field->number % NS_PER_S / NS_PER_US));
  else
    snprintf(text, sizeof text, "%" PRIu64, field->number);
  add_text(line, text);
}

void log_fields(const char *message, const struct log_field *fields, size_t count) {
  must(count <= LOG_FIELDS_MAX);
  int errno_before = errno;
  struct line line;
  bool json = json_wanted;
  line_begin(&line, LOG_INFO, json);
  add_text(&line, message);
  add_text(&line, json ? "\"" : "");
  for (size_t i = 0; i < count; i++)
    add_field(&line, &fields[i], json);
  add_text(&line, json ? "}\n" : "\n");
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
    dropped++;
    return false;
  }
  rate->tokens--;
  *suppressed = rate->suppressed;
  rate->suppressed = 0;
  return true;
}
