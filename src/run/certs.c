/* Everything is made in memory first; then each file is created, never overwritten: an authority that is lost takes all
   it has signed with it. */
#include "run/certs.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "proto/tls_make.h"
#include "run/usage.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };
enum { DAYS_DEFAULT = 3650, DAYS_MAX = 36500, BACKDATED_S = 86400 /* clocks differ */, CONFIG_MAX = 1024 };

static const char authority[] = "ptproxy CA";

enum { CA_CERT, CA_KEY, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY, CLIENT_CONFIG, SERVER_CONFIG, FILES };

static const struct {
  const char *name;
  mode_t mode;
} files[FILES] = {
    [CA_CERT] = {"ca.pem", 0644},
    [CA_KEY] = {"ca.key", 0600},
    [CLIENT_CERT] = {"client.pem", 0644},
    [CLIENT_KEY] = {"client.key", 0600},
    [SERVER_CERT] = {"server.pem", 0644},
    [SERVER_KEY] = {"server.key", 0600},
    [CLIENT_CONFIG] = {"client.json", 0644},
    [SERVER_CONFIG] = {"server.json", 0644},
};

struct order {
  const char *client, *server, *directory;
  long days;
  int64_t now_s;
  char text[FILES][TLS_PEM_MAX];
};

/* ---- the order ---- */

/* A DNS name or an IP address without brackets and port: what can stand in a certificate and in a configuration. */
static bool is_name(const char *name) {
  char host[TLS_NAME_MAX + 1];
  uint16_t port;
  if (name == NULL || *name == '\0' || address_split(name, 1, host, sizeof host, &port) != ERR_OK ||
      strcmp(host, name) != 0)
    return false;
  return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:")] == '\0';
}

/* False: the usage is wrong. |help|: that is what is asked for, and the order is of no matter. */
static bool read_order(int argc, char **argv, struct order *order, bool *help) {
  enum usage_option option;
  optind = 1;
  while ((option = usage_next(USAGE_CERTS, argc, argv)) != USAGE_END) {
    char *end = NULL;
    if (option == USAGE_CLIENT)
      order->client = optarg;
    else if (option == USAGE_SERVER)
      order->server = optarg;
    else if (option == USAGE_OUTPUT)
      order->directory = optarg;
    else if (option == USAGE_DAYS)
      order->days = strtol(optarg, &end, 10);
    else
      return *help = option == USAGE_HELP;
    if (end != NULL && (*end != '\0' || order->days < 1 || order->days > DAYS_MAX)) {
      fprintf(stderr, "ptproxy certs: --days must be 1-%d, got '%s'\n", DAYS_MAX, optarg);
      return false;
    }
  }
  const char *names[] = {order->client, order->server};
  for (int i = 0; i < 2; i++) {
    if (is_name(names[i]))
      continue;
    if (names[i] != NULL)
      fprintf(stderr, "ptproxy certs: '%s' is neither a DNS name nor an IP address\n", names[i]);
    return false;
  }
  if (optind < argc)
    fprintf(stderr, "ptproxy certs: unexpected argument '%s'\n", argv[optind]);
  return optind == argc;
}

/* ---- making ---- */

static enum err make_end(struct order *order, const struct tls_key *ca, enum tls_usage use, const char *name,
                         int cert) {
  struct tls_key own;
  enum err err = ERR_OK;
  if (use != TLS_FOR_AUTHORITY)
    err = tls_make_key(&own);
  struct tls_request request = {
      .usage = use,
      .name = name,
      .key = use == TLS_FOR_AUTHORITY ? ca : &own,
      .issuer = authority,
      .issuer_key = ca,
      .not_before_s = order->now_s - BACKDATED_S,
      .not_after_s = order->now_s + order->days * 86400,
  };
  if (err == ERR_OK)
    err = tls_make_certificate_pem(&request, order->text[cert]);
  if (err == ERR_OK)
    err = tls_make_key_pem(request.key, order->text[cert + 1]);
  explicit_bzero(&own, sizeof own);
  return err;
}

static enum err make_all(struct order *order) {
  struct tls_key ca;
  enum err err = tls_make_key(&ca);
  if (err == ERR_OK)
    err = make_end(order, &ca, TLS_FOR_AUTHORITY, authority, CA_CERT);
  if (err == ERR_OK)
    err = make_end(order, &ca, TLS_FOR_CLIENT, order->client, CLIENT_CERT);
  if (err == ERR_OK)
    err = make_end(order, &ca, TLS_FOR_SERVER, order->server, SERVER_CERT);
  explicit_bzero(&ca, sizeof ca);
  static const char form[] = "{\n"
                             "  \"general\": {\n"
                             "    \"mode\": \"%s\",\n"
                             "    \"peer_hostname\": \"%s\",\n"
                             "    \"%s\": \"%s\"\n"
                             "  },\n"
                             "  \"tls\": { \"ca\": \"ca.pem\", \"cert\": \"%s.pem\", \"key\": \"%s.key\" }\n"
                             "}\n";
  snprintf(order->text[CLIENT_CONFIG], CONFIG_MAX, form, "client", order->server, "http_bind_address",
           "127.0.0.1:20080", "client", "client");
  snprintf(order->text[SERVER_CONFIG], CONFIG_MAX, form, "server", order->client, "http_connect_address",
           "127.0.0.1:8080", "server", "server");
  return err;
}

/* ---- writing ---- */

static bool write_file(const char *path, mode_t mode, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  bool done = fd >= 0;
  for (size_t len = strlen(text); done && len > 0;) {
    ssize_t written = write(fd, text, len);
    done = written > 0;
    text += done ? written : 0;
    len -= done ? (size_t)written : 0;
  }
  int error = errno;
  if (fd >= 0) {
    done = close(fd) == 0 && done;
    if (!done)
      unlink(path);
  }
  if (!done)
    fprintf(stderr, "ptproxy certs: %s: %s\n", path, strerrordesc_np(error));
  return done;
}

static bool write_all(const struct order *order) {
  char path[PATH_MAX];
  if (mkdir(order->directory, 0755) != 0 && errno != EEXIST) {
    fprintf(stderr, "ptproxy certs: %s: %s\n", order->directory, strerrordesc_np(errno));
    return false;
  }
  int made = 0;
  while (made < FILES) {
    snprintf(path, sizeof path, "%s/%s", order->directory, files[made].name);
    if (!write_file(path, files[made].mode, order->text[made]))
      break;
    made++;
  }
  bool all = made == FILES;
  while (!all && made-- > 0) {
    snprintf(path, sizeof path, "%s/%s", order->directory, files[made].name);
    unlink(path);
  }
  return all;
}

static void explain(const struct order *order) {
  const char *where = order->directory;
  printf("In %s: ca.pem and ca.key (the authority: keep its key apart), and for each end a certificate,\n"
         "a key and a configuration.\n\n"
         "Next to the service that is called (%s), with ca.pem, server.pem, server.key and server.json:\n\n%s\n"
         "Next to the service that calls (%s), with ca.pem, client.pem, client.key and client.json:\n\n%s\n"
         "Set http_connect_address to where the service is, then:\n\n"
         "  ptproxy -c %s/server.json\n"
         "  ptproxy -c %s/client.json\n",
         where, order->server, order->text[SERVER_CONFIG], order->client, order->text[CLIENT_CONFIG], where, where);
}

int certs_main(int argc, char **argv) {
  struct order *order = calloc(1, sizeof *order);
  int status = STATUS_FAILED;
  if (order == NULL)
    return status;
  order->directory = ".";
  order->days = DAYS_DEFAULT;
  order->now_s = (int64_t)(clock_wall_us() / US_PER_S);
  bool help = false;
  if (!read_order(argc, argv, order, &help)) {
    usage_help(USAGE_CERTS, stderr);
    status = STATUS_USAGE;
  } else if (help) {
    usage_help(USAGE_CERTS, stdout);
    status = STATUS_OK;
  } else if (make_all(order) != ERR_OK) {
    fputs("ptproxy certs: the keys could not be made\n", stderr);
  } else if (write_all(order)) {
    explain(order);
    status = fflush(stdout) == 0 ? STATUS_OK : STATUS_FAILED;
  }
  explicit_bzero(order, sizeof *order);
  free(order);
  return status;
}
