/* What the emulator has seen and done, as counters and as JSON. */
#ifndef PTP_BENCH_LINK_STATS_H
#define PTP_BENCH_LINK_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link/link_settings.h"

/* A delivery this late (99 % are not) means that the emulator does not keep up. */
enum { LINK_LATE_US_MAX = 4096, LINK_LATE_US_ALLOWED = 300, LINK_CONNECTIONS_MAX = 4096 };

struct link_direction_stats {
  uint64_t packets, bytes; /* that came; of IPv4 and IPv6 unicast */
  uint64_t delivered, delivered_bytes;
  uint64_t verdicts[LINK_VERDICT_COUNT];
  uint64_t reordered, duplicated, corrupted, mangled;
  uint64_t nat_dropped;    /* for a mapping that is forgotten */
  uint64_t ignored;        /* multicast and link-local: not for this link */
  uint64_t no_buffer;      /* faults of the emulator from here: too many packets under way, */
  uint64_t write_failed;   /* the device did not take it (it does refuse what was corrupted in its first byte), */
  uint64_t device_dropped; /* the kernel dropped it on the sender's side */
};

struct link_stats {
  struct link_direction_stats directions[LINK_DIRECTIONS];
  uint64_t start_ns, start_cpu_ns;
  uint64_t spin_ns;                   /* of CPU time: awake for nothing but punctuality */
  uint64_t late_us[LINK_LATE_US_MAX]; /* deliveries by lateness; the last one has all beyond */
  uint64_t late_max_ns;
  uint64_t initials;   /* datagrams from A that begin with a QUIC Initial packet */
  uint64_t handshakes; /* connections that A has begun, at most LINK_CONNECTIONS_MAX */
  uint64_t connections[LINK_CONNECTIONS_MAX];
};

void link_stats_reset(struct link_stats *stats, uint64_t now_ns);
void link_stats_late(struct link_stats *stats, uint64_t late_ns);
void link_stats_initial(struct link_stats *stats, uint64_t connection);

/* Counters that others keep. */
struct link_stats_extra {
  uint64_t seed, rebinds, in_flight;
};

/* Writes one line. The length without the NUL, less than |size|; 0: it did not fit. */
size_t link_stats_json(const struct link_stats *stats, const struct link_stats_extra *extra,
                       const struct link_settings *settings[LINK_DIRECTIONS], uint64_t now_ns, char *out, size_t size);

#endif
