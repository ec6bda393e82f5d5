/* The configuration: what SPEC section 2 lists, read from JSON, checked, with defaults filled in. One table
   (config.tbl) has every key with its type, unit, range, default and help; reading, --check, --dump, the JSON schema
   and the reference page come from it. */
#ifndef PTP_CONFIG_CONFIG_H
#define PTP_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum { CONFIG_LIST_MAX = 16 };

enum config_mode { MODE_CLIENT, MODE_SERVER };
enum config_congestion { CONGESTION_BBR, CONGESTION_CUBIC, CONGESTION_NEWRENO, CONGESTION_NONE };

/* One or several texts, owned by the configuration. */
struct config_list {
  const char *item[CONFIG_LIST_MAX];
  size_t count;
};

struct config {
  struct {
    int mode; /* enum config_mode */
    struct config_list peer_hostname;
    uint64_t quic_port;
    const char *bind_address;
    const char *connect_address; /* NULL: the first peer_hostname */
    struct config_list http_bind_address;
    const char *http_connect_address;
  } general;
  struct {
    const char *ca; /* NULL: the system's store; paths are absolute or relative to the working directory */
    const char *cert, *key;
    bool skip_verify;
  } tls;
  struct {
    uint64_t max_idle_timeout_ms, keep_alive_interval_ms, initial_rtt_ms;
    uint64_t initial_window;
    int congestion_algorithm; /* enum config_congestion */
    uint64_t max_concurrent_http_streams;
    uint64_t stream_receive_window, receive_window, send_window;
    uint64_t socket_receive_buffer_size, socket_send_buffer_size;
    uint64_t mtu;
    uint64_t qpack_table_capacity;
    bool redundancy;
  } transport;
  struct {
    uint64_t threads; /* 0: auto */
    uint64_t connect_interval_ms;
    bool tcp_nodelay, wait_for_first_attempt;
    double watchdog_factor;
    bool add_forwarded;
    uint64_t drain_timeout_ms, origin_idle_timeout_ms, tcp_keepalive_ms;
    const char *user; /* NULL: who has started it; whether there is such a user is not checked here */
  } system;
  struct {
    uint64_t request_head_ms, request_body_ms, keep_alive_ms, origin_connect_ms, origin_response_ms;
  } timeouts;
  struct {
    uint64_t head_size, header_count, connections;
  } limits;
  struct {
    int level; /* enum log_level */
    bool json; /* log.format */
    bool access;
  } log;
  struct {
    const char *bind_address; /* NULL: off */
  } admin;
};

/* Called once for each problem (|fatal|) or warning found; |text| is a whole line without its end:
   "FILE: general.quic_port: must be 1-65535, got 70000". */
typedef void config_report_f(void *context, bool fatal, const char *text);

/* Reads, checks and completes the file at |path|. Reports every problem, not the first. Gives the configuration in
   |config| and returns ERR_OK when there was none that is fatal, else ERR_BAD_CONFIG (and *config is NULL).
   Certificates and keys are checked by proto/tls.h, not here; only that their files can be read is. */
must_use enum err config_load(const char *path, config_report_f *report, void *context, struct config **config);

/* The same for text in memory (tests, fuzzing); relative paths are relative to |directory|. */
must_use enum err config_parse(const char *text, size_t len, const char *name, const char *directory,
                               config_report_f *report, void *context, struct config **config);

/* Takes back what config_load gave; NULL is allowed. */
void config_free(struct config *config);

/* Writes the effective configuration as JSON that config_load reads back to the same (--dump). */
void config_dump(const struct config *config, FILE *out);

/* Writes the JSON schema, and the reference page in Markdown, both from config.tbl. */
void config_schema(FILE *out);
void config_reference(FILE *out);
/* Writes the manual page ptproxy.json(5). */
void config_man(FILE *out);

#endif
