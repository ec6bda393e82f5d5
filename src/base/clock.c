#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/must.h"

uint64_t clock_monotonic_ns(void) {
  struct timespec now;
  must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_wall_us(void) {
  struct timespec now;
  must(clock_gettime(CLOCK_REALTIME, &now) == 0);
  return (uint64_t)now.tv_sec * US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

/* By the clock that costs 30 ns; asking for the thread's CPU time takes 500, and the loop a microsecond too long. */
void clock_burn_us(uint64_t us) {
  uint64_t end = clock_monotonic_ns() + us * NS_PER_US;
  while (clock_monotonic_ns() < end)
    ;
}

void clock_http_date(uint64_t wall_us, char out[30]) {
  static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  static const uint64_t last_second = 253402300799; /* of the year 9999: the format has four digits */
  uint64_t seconds = wall_us / US_PER_S;
  time_t when = (time_t)(seconds > last_second ? last_second : seconds);
  struct tm tm;
  must(gmtime_r(&when, &tm) != NULL);
  char text[96]; /* as large as the compiler thinks that it can become */
  int len = snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday,
                     months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
  must(len == 29);
  for (int i = 0; i <= len; i++)
    out[i] = text[i];
}
