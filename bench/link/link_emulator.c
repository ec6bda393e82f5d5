/* The link emulator: two network namespaces, and between them one process that does to each packet what a link would.

   One thread, one loop: deliver what is due, wait for packets or for the next time something is due, take the packets
   that came. It sleeps until shortly before that time and spends the rest awake, for a sleep ends late by some 50 us.
   It asks for a real-time priority, because a link does not wait for a core while the programs under test compute. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "link/link_nat.h"
#include "link/link_packet.h"
#include "link/link_queue.h"
#include "link/link_stats.h"
#include "link/link_tun.h"

enum {
  BATCH = 16, /* packets of a direction in a row: some 50 us */
  PACKET_MAX = 65536,
  SPIN_CREDIT_MAX_NS = 2000000,
  LINE_MAX_BYTES = 1024,
  STATS_MAX_BYTES = 8192,
  ERROR_MAX_BYTES = 128,
};

struct emulator {
  struct link_tun ends[2]; /* packets of direction AB come from ends[0], those of BA from ends[1] */
  struct link_direction directions[LINK_DIRECTIONS];
  struct link_queue queue;
  struct link_nat nat;
  struct link_stats stats;
  uint64_t seed, spin_ns;
  uint64_t spin_credit_ns, spin_credit_at_ns;
  bool spin_rests;
  int signal_fd;
  char line[LINE_MAX_BYTES];
  size_t line_len;
  bool line_too_long; /* its beginning is thrown away, and its end will be */
  bool quit;
  uint8_t scratch[PACKET_MAX];
};

struct options {
  uint64_t seed, spin_us, buffers;
  unsigned mtu;
  bool realtime;
  struct link_settings settings[LINK_DIRECTIONS];
};

static bool number(const char *text, uint64_t max, uint64_t *out) {
  char *end;
  errno = 0;
  *out = strtoull(text, &end, 10);
  bool good = errno == 0 && end != text && *end == '\0' && *out <= max;
  if (!good)
    fprintf(stderr, "link-emulator: not a number up to %llu: %s\n", (unsigned long long)max, text);
  return good;
}

/* --- packets ----------------------------------------------------------------------------------------------------- */

static bool send_to(struct emulator *emulator, int end, const uint8_t *bytes, size_t len) {
  ssize_t sent;
  do
    sent = write(emulator->ends[end].fd, bytes, len);
  while (sent < 0 && errno == EINTR);
  return sent == (ssize_t)len;
}

static void answer_too_big(struct emulator *emulator, int direction, const struct link_packet *packet) {
  uint8_t icmp[LINK_ICMP_MAX];
  size_t len = link_packet_too_big(packet, (uint32_t)emulator->directions[direction].settings.mtu, icmp);
  if (len > 0)
    send_to(emulator, direction, icmp, len);
}

static void enqueue(struct emulator *emulator, int direction, const struct link_fate *fate, struct link_packet *packet,
                    uint32_t buffer) {
  struct link_direction_stats *stats = &emulator->stats.directions[direction];
  if (fate->corrupt)
    link_packet_corrupt(packet, fate->random);
  if (fate->mangle)
    stats->mangled += link_packet_mangle(packet, fate->random);
  stats->corrupted += fate->corrupt;
  stats->reordered += fate->reordered;
  link_queue_push(&emulator->queue, direction, fate->due_ns, buffer, packet->len);
  if (!fate->duplicate)
    return;
  uint32_t copy;
  if (!link_queue_take(&emulator->queue, &copy)) {
    stats->no_buffer++;
    return;
  }
  memcpy(link_queue_bytes(&emulator->queue, copy), packet->bytes, packet->len);
  link_queue_push(&emulator->queue, direction, fate->duplicate_due_ns, copy, packet->len);
  stats->duplicated++;
}

/* Takes |buffer| when the packet goes on its way: else false. */
static bool accept_packet(struct emulator *emulator, int direction, uint32_t buffer, size_t len, uint64_t now_ns) {
  struct link_direction_stats *stats = &emulator->stats.directions[direction];
  struct link_packet packet = link_packet_read(link_queue_bytes(&emulator->queue, buffer), len);
  if (packet.version == 0 || packet.multicast) {
    stats->ignored++;
    return false;
  }
  stats->packets++;
  stats->bytes += len;
  if (direction == LINK_AB) {
    uint64_t connection;
    if (link_packet_initial(&packet, &connection))
      link_stats_initial(&emulator->stats, connection);
    link_nat_outbound(&emulator->nat, &packet);
  }
  struct link_fate fate = link_direction_judge(&emulator->directions[direction], now_ns, len);
  stats->verdicts[fate.verdict]++;
  if (fate.verdict == LINK_PASS)
    enqueue(emulator, direction, &fate, &packet, buffer);
  else if (fate.verdict == LINK_DROP_MTU && emulator->directions[direction].settings.icmp)
    answer_too_big(emulator, direction, &packet);
  return fate.verdict == LINK_PASS;
}

static void receive(struct emulator *emulator, int direction) {
  uint64_t now = clock_monotonic_ns();
  for (int i = 0; i < BATCH; i++) {
    uint32_t buffer;
    if (!link_queue_take(&emulator->queue, &buffer)) {
      if (read(emulator->ends[direction].fd, emulator->scratch, sizeof emulator->scratch) <= 0)
        return;
      emulator->stats.directions[direction].no_buffer++;
      continue;
    }
    uint8_t *bytes = link_queue_bytes(&emulator->queue, buffer);
    ssize_t len = read(emulator->ends[direction].fd, bytes, emulator->queue.buffer_size);
    if (len <= 0 || !accept_packet(emulator, direction, buffer, (size_t)len, now))
      link_queue_give(&emulator->queue, buffer);
    if (len <= 0)
      return;
  }
}

static void deliver(struct emulator *emulator, int direction) {
  struct link_direction_stats *stats = &emulator->stats.directions[direction];
  for (int i = 0; i < BATCH; i++) {
    uint64_t now = clock_monotonic_ns();
    if (link_queue_next(&emulator->queue, direction) > now)
      return;
    struct link_entry entry = link_queue_pop(&emulator->queue, direction);
    uint8_t *bytes = link_queue_bytes(&emulator->queue, entry.buffer);
    bool mapped = true;
    if (direction == LINK_BA) {
      struct link_packet packet = link_packet_read(bytes, entry.len);
      mapped = link_nat_inbound(&emulator->nat, &packet);
    }
    if (!mapped) {
      stats->nat_dropped++;
    } else if (send_to(emulator, 1 - direction, bytes, entry.len)) {
      stats->delivered++;
      stats->delivered_bytes += entry.len;
      link_stats_late(&emulator->stats, now - entry.due_ns);
    } else {
      stats->write_failed++;
    }
    link_queue_give(&emulator->queue, entry.buffer);
  }
}

/* --- commands ---------------------------------------------------------------------------------------------------- */

static void print_stats(struct emulator *emulator) {
  static char text[STATS_MAX_BYTES];
  const struct link_settings *settings[] = {&emulator->directions[LINK_AB].settings,
                                            &emulator->directions[LINK_BA].settings};
  struct link_stats_extra extra = {.seed = emulator->seed, .rebinds = emulator->nat.rebinds};
  for (int i = 0; i < LINK_DIRECTIONS; i++) {
    extra.in_flight += emulator->queue.heaps[i].count;
    emulator->stats.directions[i].device_dropped = link_tun_dropped(&emulator->ends[i]);
  }
  uint64_t now = clock_monotonic_ns();
  if (link_stats_json(&emulator->stats, &extra, settings, now, text, sizeof text) > 0)
    puts(text);
  else
    puts("error: too long");
}

/* Counters, random sequences and periods from their beginning. */
static void reset(struct emulator *emulator, uint64_t now_ns) {
  link_stats_reset(&emulator->stats, now_ns);
  for (int i = 0; i < LINK_DIRECTIONS; i++) {
    link_direction_seed(&emulator->directions[i], emulator->seed, (unsigned)i);
    link_direction_restart(&emulator->directions[i], now_ns);
    link_tun_forget_dropped(&emulator->ends[i]);
  }
}

static void set(struct emulator *emulator, const struct link_settings from[LINK_DIRECTIONS], const char *words) {
  struct link_settings settings[LINK_DIRECTIONS] = {from[LINK_AB], from[LINK_BA]};
  char error[ERROR_MAX_BYTES];
  if (!link_settings_apply(settings, words, error, sizeof error)) {
    printf("error: %s\n", error);
    return;
  }
  for (int i = 0; i < LINK_DIRECTIONS; i++)
    emulator->directions[i].settings = settings[i];
  puts("ok");
}

static void set_profile(struct emulator *emulator, const char *name, uint64_t now_ns) {
  const struct link_settings none[] = {link_settings_default, link_settings_default};
  const char *words = link_profile(name);
  if (!words) {
    printf("error: no such profile: %s\n", name);
    return;
  }
  for (int i = 0; i < LINK_DIRECTIONS; i++)
    emulator->directions[i].epoch_ns = now_ns;
  set(emulator, none, words);
}

/* MILLISECONDS, or MILLISECONDS ab, or MILLISECONDS ba. */
static void down(struct emulator *emulator, const char *argument, uint64_t now_ns) {
  char *end;
  unsigned long milliseconds = strtoul(argument, &end, 10);
  bool both = *end == '\0', ab = strcmp(end, " ab") == 0, ba = strcmp(end, " ba") == 0;
  if (end == argument || (!both && !ab && !ba)) {
    puts("error: down MILLISECONDS [ab|ba]");
    return;
  }
  for (int i = 0; i < LINK_DIRECTIONS; i++)
    if (both || (i == LINK_AB ? ab : ba))
      link_direction_down(&emulator->directions[i], now_ns, milliseconds * NS_PER_MS);
  puts("ok");
}

/* SEED: another random sequence than before. */
static void reset_to(struct emulator *emulator, const char *argument, uint64_t now_ns) {
  if (!number(argument, UINT64_MAX, &emulator->seed)) {
    puts("error: reset [SEED]");
    return;
  }
  reset(emulator, now_ns);
  puts("ok");
}

static void command(struct emulator *emulator, const char *line) {
  uint64_t now = clock_monotonic_ns();
  struct link_settings settings[] = {emulator->directions[LINK_AB].settings, emulator->directions[LINK_BA].settings};
  if (strncmp(line, "set ", 4) == 0) {
    set(emulator, settings, line + 4);
  } else if (strncmp(line, "profile ", 8) == 0) {
    set_profile(emulator, line + 8, now);
  } else if (strncmp(line, "down ", 5) == 0) {
    down(emulator, line + 5, now);
  } else if (strcmp(line, "rebind") == 0) {
    link_nat_rebind(&emulator->nat);
    puts("ok");
  } else if (strcmp(line, "reset") == 0) {
    reset(emulator, now);
    puts("ok");
  } else if (strncmp(line, "reset ", 6) == 0) {
    reset_to(emulator, line + 6, now);
  } else if (strcmp(line, "stats") == 0) {
    print_stats(emulator);
  } else if (strcmp(line, "quit") == 0) {
    emulator->quit = true;
    puts("ok");
  } else {
    puts("error: set NAME=VALUE..., profile NAME, down MILLISECONDS [ab|ba], rebind, reset [SEED], stats or quit");
  }
}

/* The end of the input is the end of whoever started us: nothing is left to emulate for. */
static void read_commands(struct emulator *emulator) {
  must(emulator->line_len < sizeof emulator->line);
  size_t room = sizeof emulator->line - emulator->line_len;
  ssize_t got = read(STDIN_FILENO, emulator->line + emulator->line_len, room);
  if (got <= 0) {
    emulator->quit = got == 0 || (errno != EAGAIN && errno != EINTR);
    return;
  }
  emulator->line_len += (size_t)got;
  char *end;
  while ((end = memchr(emulator->line, '\n', emulator->line_len)) != NULL) {
    *end = '\0';
    if (emulator->line_too_long)
      puts("error: the line is too long");
    else
      command(emulator, emulator->line);
    emulator->line_too_long = false;
    size_t used = (size_t)(end + 1 - emulator->line);
    emulator->line_len -= used;
    memmove(emulator->line, end + 1, emulator->line_len);
  }
  if (emulator->line_len == sizeof emulator->line) {
    emulator->line_len = 0;
    emulator->line_too_long = true;
  }
  fflush(stdout);
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */

/* How long to stay awake before the next delivery. At high rates that would be always; but the kernel takes a core from
   a real-time process that lets nobody else have it, for 50 ms at once. So a third of the time at most. */
static uint64_t spin_ns(struct emulator *emulator, uint64_t now_ns) {
  uint64_t earned = (now_ns - emulator->spin_credit_at_ns) / 3;
  emulator->spin_credit_at_ns = now_ns;
  emulator->spin_credit_ns += earned;
  if (emulator->spin_credit_ns >= SPIN_CREDIT_MAX_NS) {
    emulator->spin_credit_ns = SPIN_CREDIT_MAX_NS;
    emulator->spin_rests = false;
  }
  return emulator->spin_rests ? 0 : emulator->spin_ns;
}

static void spent_spinning(struct emulator *emulator, uint64_t ns) {
  emulator->stats.spin_ns += ns;
  emulator->spin_rests = emulator->spin_rests || emulator->spin_credit_ns <= ns;
  emulator->spin_credit_ns -= emulator->spin_credit_ns < ns ? emulator->spin_credit_ns : ns;
}

/* How long nothing is to be done; what is left of a short time is spent awake. */
static uint64_t idle_ns(struct emulator *emulator, uint64_t now_ns) {
  uint64_t ab = link_queue_next(&emulator->queue, LINK_AB), ba = link_queue_next(&emulator->queue, LINK_BA);
  uint64_t next = ab < ba ? ab : ba, spin = spin_ns(emulator, now_ns);
  if (next == UINT64_MAX)
    return UINT64_MAX;
  return next > now_ns + spin ? next - now_ns - spin : 0;
}

static void run(struct emulator *emulator) {
  enum { A, B, COMMANDS, SIGNALS, COUNT };
  struct pollfd polls[COUNT] = {
      [A] = {.fd = emulator->ends[0].fd, .events = POLLIN},
      [B] = {.fd = emulator->ends[1].fd, .events = POLLIN},
      [COMMANDS] = {.fd = STDIN_FILENO, .events = POLLIN},
      [SIGNALS] = {.fd = emulator->signal_fd, .events = POLLIN},
  };
  while (!emulator->quit) {
    deliver(emulator, LINK_AB);
    deliver(emulator, LINK_BA);
    uint64_t now = clock_monotonic_ns(), idle = idle_ns(emulator, now);
    struct timespec timeout = {.tv_sec = (time_t)(idle / NS_PER_S), .tv_nsec = (long)(idle % NS_PER_S)};
    int ready = ppoll(polls, COUNT, idle == UINT64_MAX ? NULL : &timeout, NULL);
    if (ready <= 0) {
      if (idle == 0)
        spent_spinning(emulator, clock_monotonic_ns() - now);
      continue;
    }
    if (polls[A].revents != 0)
      receive(emulator, LINK_AB);
    if (polls[B].revents != 0)
      receive(emulator, LINK_BA);
    if (polls[COMMANDS].revents != 0)
      read_commands(emulator);
    if (polls[SIGNALS].revents != 0)
      emulator->quit = true;
  }
}

/* --- the start --------------------------------------------------------------------------------------------------- */

static void usage(FILE *out) {
  char names[ERROR_MAX_BYTES];
  link_profile_names(names, sizeof names);
  fprintf(out,
          "link-emulator [OPTION]...: two network namespaces and a link between them. Commands on stdin.\n\n"
          "  --profile NAME   one of: %s\n"
          "  --set WORDS      settings as by the command set, on top of the profile\n"
          "  --seed N         of everything random (default 1)\n"
          "  --mtu N          of the devices (default 1500)\n"
          "  --buffers N      packets under way at most (default 65536)\n"
          "  --spin-us N      awake that long before something is due (default 40)\n"
          "  --no-realtime    ask for no real-time priority\n",
          names);
}

static bool apply_words(struct options *options, const char *words, const char *name) {
  char error[ERROR_MAX_BYTES];
  if (!words)
    fprintf(stderr, "link-emulator: no such profile: %s\n", name);
  else if (!link_settings_apply(options->settings, words, error, sizeof error))
    fprintf(stderr, "link-emulator: %s\n", error);
  else
    return true;
  return false;
}

static bool option(struct options *options, int letter, const char *value) {
  uint64_t mtu = options->mtu;
  switch (letter) {
  case 'p':
    return apply_words(options, link_profile(value), value);
  case 's':
    return apply_words(options, value, value);
  case 'r':
    return number(value, UINT64_MAX, &options->seed);
  case 'm':
    if (!number(value, 65000, &mtu))
      return false;
    options->mtu = (unsigned)mtu;
    return true;
  case 'b':
    return number(value, 16777216, &options->buffers);
  case 'u':
    return number(value, 1000, &options->spin_us);
  case 'n':
    options->realtime = false;
    return true;
  default:
    usage(stderr);
    return false;
  }
}

static bool read_options(struct options *options, int argc, char **argv) {
  static const struct option names[] = {
      {"profile", required_argument, NULL, 'p'}, {"set", required_argument, NULL, 's'},
      {"seed", required_argument, NULL, 'r'},    {"mtu", required_argument, NULL, 'm'},
      {"buffers", required_argument, NULL, 'b'}, {"spin-us", required_argument, NULL, 'u'},
      {"no-realtime", no_argument, NULL, 'n'},   {NULL, 0, NULL, 0},
  };
  int letter;
  while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
    if (!option(options, letter, optarg))
      return false;
  if (optind < argc)
    usage(stderr);
  return optind == argc;
}

/* Sleeps end on time, and the core is ours when they do. False: there was no permission for the latter. */
static bool be_punctual(bool realtime) {
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  struct sched_param parameters = {.sched_priority = 1};
  return realtime && sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
}

static bool open_emulator(struct emulator *emulator, const struct options *options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  emulator->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
  emulator->seed = options->seed;
  emulator->spin_ns = options->spin_us * NS_PER_US;
  size_t buffer_size = (options->mtu + 63U) / 64 * 64;
  if (emulator->signal_fd < 0 || !link_queue_open(&emulator->queue, options->buffers, buffer_size)) {
    fprintf(stderr, "link-emulator: no memory or descriptor\n");
    return false;
  }
  if (!link_tun_open(emulator->ends, options->mtu))
    return false;
  uint64_t now = clock_monotonic_ns();
  for (int i = 0; i < LINK_DIRECTIONS; i++) {
    link_direction_open(&emulator->directions[i], options->seed, (unsigned)i, now);
    emulator->directions[i].settings = options->settings[i];
  }
  reset(emulator, now);
  return true;
}

int main(int argc, char **argv) {
  struct options options = {.seed = 1, .spin_us = 40, .buffers = 65536, .mtu = 1500, .realtime = true};
  options.settings[LINK_AB] = options.settings[LINK_BA] = link_settings_default;
  if (argc == 2 && strcmp(argv[1], "--help") == 0) {
    usage(stdout);
    return 0;
  }
  if (!read_options(&options, argc, argv))
    return 2;
  struct emulator *emulator = calloc(1, sizeof *emulator);
  if (!emulator || !open_emulator(emulator, &options))
    return 1;
  bool realtime = be_punctual(options.realtime);
  printf("{\"pid\":%d,\"a\":\"/proc/%d/fd/%d\",\"b\":\"/proc/%d/fd/%d\",\"realtime\":%s}\n", getpid(), getpid(),
         LINK_NAMESPACE_FD_A, getpid(), LINK_NAMESPACE_FD_A + 1, realtime ? "true" : "false");
  fflush(stdout);
  run(emulator);
  fflush(stdout);
  link_tun_close(emulator->ends);
  link_queue_close(&emulator->queue);
  free(emulator);
  return 0;
}
