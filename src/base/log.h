/* Log lines on stderr, as text or JSON (SPEC 8). Thread-safe: a line is formatted on the stack and written by one
   write(2). What came from a peer is escaped: control characters never reach the terminal or start a new line. */
#ifndef PTP_BASE_LOG_H
#define PTP_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* What is written from now on; may be called again at any time (SIGHUP). Before the first call: info, text. */
void log_setup(enum log_level level, bool json);

bool log_wants(enum log_level level);

/* printf-like; |format| is one clause in lower case without a full stop. Longer than 1 KiB is cut with "...". */
void log_write(enum log_level level, const char *format, ...) __attribute__((cold, format(printf, 2, 3)));

/* Whether there is a line for each request (log.access). */
void log_setup_access(bool on);
bool log_wants_access(void);

enum { LOG_FIELD_TEXT_MAX = 512, LOG_FIELDS_MAX = 12 };

/* |name| is ours; |text| (NULL: |number|) is anybody's, at most LOG_FIELD_TEXT_MAX bytes of it count. */
struct log_field {
  const char *name, *text;
  size_t len;
  uint64_t number;
  bool nanoseconds; /* the number is shown in seconds */
};

/* Writes a line at level info, whatever levels are wanted: |message|, then name=value or, in JSON, the members. At most
   LOG_FIELDS_MAX fields, two of them texts of others. */
void log_fields(const char *message, const struct log_field *fields, size_t count);

/* Lines that were not written, for the metrics: stderr did not take them at once, or a bucket was empty. */
uint64_t log_dropped(void);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) (log_wants(LOG_DEBUG) ? log_write(LOG_DEBUG, __VA_ARGS__) : (void)0)

/* A bucket for messages that an attacker can provoke: true when one may be written now, at most |burst| at once and
   one a second after that. A bucket starts as all zeros and full. |suppressed| counts what was held back since the last
   true and is then reset to 0. */
struct log_rate {
  unsigned tokens, suppressed;
  unsigned long long refilled_ns;
};
bool log_rate_ok(struct log_rate *rate, unsigned burst, unsigned long long now_ns, unsigned *suppressed);

#endif
