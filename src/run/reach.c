/* Directories rather than files, as a file is renewed by another one of the same name. */
#include "run/reach.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/address.h"
#include "base/poison.h"

enum { HTTP_PORT = 80, DNS_PORT = 53, HOST_MAX = 256 };

static bool is_root_directory(const char *path) {
  struct stat status, root;
  return stat(path, &status) == 0 && stat("/", &root) == 0 && status.st_dev == root.st_dev &&
         status.st_ino == root.st_ino;
}

/* Allows |files| in the directory of |path|; not in "/", as that would be everywhere. */
static void allow_directory_of(struct landlock *landlock, const char *path, unsigned files) {
  char directory[PATH_MAX];
  const char *slash = strrchr(path, '/');
  int len = slash == NULL ? 0 : (int)(slash - path);
  snprintf(directory, sizeof directory, "%.*s", slash == NULL ? 1 : len + (len == 0), slash == NULL ? "." : path);
  if (!is_root_directory(directory))
    landlock_allow_path(landlock, directory, files);
  else if (files & LANDLOCK_READ)
    landlock_allow_path(landlock, path, files);
}

/* The directory, as files are renewed by another one of the same name; and the one that links lead to, as in
   /etc/letsencrypt/live. */
static void allow_file(struct landlock *landlock, const char *path) {
  char target[PATH_MAX];
  struct stat status;
  if (stat(path, &status) != 0 || !S_ISREG(status.st_mode))
    return; /* /dev/stdin: there is nothing to be read again */
  allow_directory_of(landlock, path, LANDLOCK_READ);
  if (realpath(path, target) != NULL)
    allow_directory_of(landlock, target, LANDLOCK_READ);
}

static void allow_all(struct landlock *landlock, const char *const *paths, unsigned files) {
  for (; *paths != NULL; paths++)
    landlock_allow_path(landlock, *paths, files);
}

/* The C library asks in many ways (nsswitch.conf), each a library that is loaded when it is asked; what it reads is in
   /etc, or linked from there, and may be replaced at any time. */
static void allow_name_service(struct landlock *landlock) {
  static const char *const paths[] = {"/lib",
                                      "/lib64",
                                      "/usr/lib",
                                      "/usr/lib64",
                                      "/usr/local/lib",
                                      "/etc",
                                      "/run/systemd/resolve",
                                      "/run/NetworkManager",
                                      "/run/resolvconf",
                                      NULL};
  allow_all(landlock, paths, LANDLOCK_READ);
  allow_file(landlock, "/etc/resolv.conf");
  allow_file(landlock, "/etc/hosts");
  landlock_allow_port(landlock, DNS_PORT);
}

/* Where the system's authorities are (wolfSSL looks in some of them), and what they are links to. */
static void allow_system_store(struct landlock *landlock) {
  static const char *const stores[] = {"/etc/ssl", "/etc/pki", "/usr/share/ca-certificates",
                                       "/usr/local/share/ca-certificates", NULL};
  allow_all(landlock, stores, LANDLOCK_READ | LANDLOCK_LIST);
}

static bool is_unix(const char *address) { return address != NULL && strncmp(address, "unix:", 5) == 0; }

static void allow_end_of_listener(struct landlock *landlock, const char *address) {
  if (is_unix(address))
    allow_directory_of(landlock, address + 5, LANDLOCK_REMOVE);
}

/* What requests are sent to: its name must be found, and its port be reached over TCP unless |datagrams|. */
static void allow_target(struct landlock *landlock, const char *target, uint16_t port, bool datagrams) {
  char host[HOST_MAX];
  struct address literal;
  if (is_unix(target) || address_split(target, port, host, sizeof host, &port) != ERR_OK)
    return;
  if (!datagrams)
    landlock_allow_port(landlock, port);
  if (address_parse(&literal, host, 1) != ERR_OK)
    allow_name_service(landlock);
}

static void allow_target_of(struct landlock *landlock, const struct config *config) {
  if (config->general.mode == MODE_SERVER)
    allow_target(landlock, config->general.http_connect_address, HTTP_PORT, false);
  else if (config->general.connect_address != NULL)
    allow_target(landlock, config->general.connect_address, (uint16_t)config->general.quic_port, true);
  else
    allow_target(landlock, config->general.peer_hostname.item[0], (uint16_t)config->general.quic_port, true);
}

/* A sanitizer reads its own process when it has something to say. */
static void allow_sanitizer(struct landlock *landlock) {
  static const char *const paths[] = {"/proc", "/usr", NULL};
  if (MEMORY_IS_WATCHED)
    allow_all(landlock, paths, LANDLOCK_READ | LANDLOCK_LIST);
}

void reach_allow(struct landlock *landlock, const struct config *config, const char *config_path) {
  allow_file(landlock, config_path);
  allow_file(landlock, config->tls.cert);
  allow_file(landlock, config->tls.key);
  if (config->tls.ca != NULL)
    allow_file(landlock, config->tls.ca);
  else
    allow_system_store(landlock);
  landlock_allow_path(landlock, "/proc/cpuinfo", LANDLOCK_READ); /* TLS is set up by what the processor can do */
  allow_target_of(landlock, config);
  for (size_t i = 0; i < config->general.http_bind_address.count; i++)
    allow_end_of_listener(landlock, config->general.http_bind_address.item[i]);
  allow_end_of_listener(landlock, config->admin.bind_address);
  allow_sanitizer(landlock);
}
