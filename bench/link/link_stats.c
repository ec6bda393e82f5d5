/* A saturated emulator would show as a bad link, and whoever uses it would be blamed; so `saturated` says when figures
   are not to be believed: packets lost that the model did not drop, deliveries late, or a core all taken. */
#include "link/link_stats.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define CPU_SHARE_MAX 0.9

static const char *const verdict_names[LINK_VERDICT_COUNT] = {
    [LINK_DROP_BLACKOUT] = "blackout", [LINK_DROP_MTU] = "mtu",     [LINK_DROP_LOSS] = "loss",
    [LINK_DROP_BURST] = "burst",       [LINK_DROP_QUEUE] = "queue",
};

struct text {
  char *out;
  size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...) {
  bool room = text->used < text->size;
  va_list arguments;
  va_start(arguments, format);
  int len = vsnprintf(room ? text->out + text->used : NULL, room ? text->size - text->used : 0, format, arguments);
  va_end(arguments);
  text->used += len > 0 ? (size_t)len : 0;
}

static void put_count(struct text *text, const char *name, uint64_t value) {
  put(text, "\"%s\":%llu,", name, (unsigned long long)value);
}

/* Of the process: it has one thread. */
static uint64_t cpu_ns(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

void link_stats_reset(struct link_stats *stats, uint64_t now_ns) {
  memset(stats, 0, sizeof *stats);
  stats->start_ns = now_ns;
  stats->start_cpu_ns = cpu_ns();
}

void link_stats_late(struct link_stats *stats, uint64_t late_ns) {
  uint64_t us = late_ns / NS_PER_US;
  stats->late_us[us < LINK_LATE_US_MAX ? us : LINK_LATE_US_MAX - 1]++;
  if (late_ns > stats->late_max_ns)
    stats->late_max_ns = late_ns;
}

void link_stats_initial(struct link_stats *stats, uint64_t connection) {
  stats->initials++;
  for (uint64_t i = 0; i < stats->handshakes; i++)
    if (stats->connections[stats->handshakes - 1 - i] == connection)
      return;
  if (stats->handshakes < LINK_CONNECTIONS_MAX)
    stats->connections[stats->handshakes++] = connection;
}

/* The microseconds that |share| of all deliveries were not later than. */
static unsigned late_quantile(const struct link_stats *stats, double share) {
  uint64_t all = 0, seen = 0;
  for (unsigned us = 0; us < LINK_LATE_US_MAX; us++)
    all += stats->late_us[us];
  for (unsigned us = 0; us < LINK_LATE_US_MAX; us++) {
    seen += stats->late_us[us];
    if ((double)seen >= share * (double)all)
      return all > 0 ? us + 1 : 0;
  }
  return LINK_LATE_US_MAX;
}

static void put_direction(struct text *text, const char *name, const struct link_direction_stats *stats,
                          const struct link_settings *settings) {
  put(text, ",\"%s\":{", name);
  put_count(text, "packets", stats->packets);
  put_count(text, "bytes", stats->bytes);
  put_count(text, "delivered", stats->delivered);
  put_count(text, "delivered_bytes", stats->delivered_bytes);
  put(text, "\"dropped\":{");
  for (int verdict = LINK_PASS + 1; verdict < LINK_VERDICT_COUNT; verdict++)
    put_count(text, verdict_names[verdict], stats->verdicts[verdict]);
  put(text, "\"nat\":%llu},", (unsigned long long)stats->nat_dropped);
  put_count(text, "reordered", stats->reordered);
  put_count(text, "duplicated", stats->duplicated);
  put_count(text, "corrupted", stats->corrupted);
  put_count(text, "mangled", stats->mangled);
  put_count(text, "ignored", stats->ignored);
  put_count(text, "no_buffer", stats->no_buffer);
  put_count(text, "write_failed", stats->write_failed);
  put_count(text, "device_dropped", stats->device_dropped);
  put(text, "\"settings\":");
  bool room = text->used < text->size;
  text->used += link_settings_json(settings, room ? text->out + text->used : NULL, room ? text->size - text->used : 0);
  put(text, "}");
}

size_t link_stats_json(const struct link_stats *stats, const struct link_stats_extra *extra,
                       const struct link_settings *settings[LINK_DIRECTIONS], uint64_t now_ns, char *out, size_t size) {
  struct text text = {.out = out, .size = size};
  const struct link_direction_stats *ab = &stats->directions[LINK_AB], *ba = &stats->directions[LINK_BA];
  double seconds = (double)(now_ns - stats->start_ns) / (double)NS_PER_S;
  double cpu = (double)(cpu_ns() - stats->start_cpu_ns) / (double)NS_PER_S;
  double share = seconds > 0 ? cpu / seconds : 0, spin = (double)stats->spin_ns / (double)NS_PER_S;
  double busy = cpu > spin ? cpu - spin : 0;
  unsigned late_p99 = late_quantile(stats, 0.99);
  bool lost = ab->no_buffer + ba->no_buffer + ab->device_dropped + ba->device_dropped > 0;
  bool saturated = lost || late_p99 > LINK_LATE_US_ALLOWED || (seconds > 0.5 && busy / seconds > CPU_SHARE_MAX);
  put(&text, "{\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"spin_seconds\":%.6f,\"cpu_share\":%.4f,", seconds, cpu, spin,
      share);
  put(&text, "\"saturated\":%s,", saturated ? "true" : "false");
  put(&text, "\"late_us\":{\"p50\":%u,\"p99\":%u,\"max\":%llu},", late_quantile(stats, 0.5), late_p99,
      (unsigned long long)(stats->late_max_ns / NS_PER_US));
  put_count(&text, "seed", extra->seed);
  put_count(&text, "in_flight", extra->in_flight);
  put_count(&text, "rebinds", extra->rebinds);
  put_count(&text, "initials", stats->initials);
  put(&text, "\"handshakes\":%llu", (unsigned long long)stats->handshakes);
  put_direction(&text, "ab", ab, settings[LINK_AB]);
  put_direction(&text, "ba", ba, settings[LINK_BA]);
  put(&text, "}");
  return text.used < text.size ? text.used : 0;
}
