/* What Landlock leaves within reach of a configuration: files, ports, processes. Whatever is refused afterwards was
   possible before, or the refusal would prove nothing. */
#include "unit/support_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <liburing.h>

#include "base/must.h"

enum { ABI_TCP = 4, ABI_SCOPES = 6 };

/* ---- files ---- */

static void files_in_reach(void) {
  must(stage_open(stage_path("outside/secret"), O_RDONLY) == 0);
  must(stage_open("/etc/passwd", O_RDONLY) == 0);
  stage_drop();
  must(stage_open(stage_path("keys/config.json"), O_RDONLY) == 0);
  must(stage_open(stage_path("keys/ca.pem"), O_RDONLY) == 0);
  must(stage_open(stage_path("keys/later.pem"), O_RDONLY) == ENOENT); /* what comes later can be read */
  must(stage_open(stage_path("keys/linked.pem"), O_RDONLY) == 0);     /* it was one of the files at the start */
  must(stage_open("/proc/cpuinfo", O_RDONLY) == 0);
}

static void files_out_of_reach(void) {
  int before = open("/dev/null", O_WRONLY | O_CLOEXEC);
  stage_drop();
  must(stage_open(stage_path("outside/secret"), O_RDONLY) == EACCES);
  must(stage_open(stage_path("keys/link-outside"), O_RDONLY) == EACCES);
  must(stage_open("/etc/passwd", O_RDONLY) == EACCES);
  must(stage_open("/dev/null", O_RDONLY) == EACCES);
  must(stage_open(stage_path("keys"), O_RDONLY | O_DIRECTORY) == EACCES); /* nor is a directory listed */
  must(stage_open(stage_path("keys/cert.pem"), O_WRONLY) == EACCES);
  must(stage_open(stage_path("keys/new.pem"), O_WRONLY | O_CREAT) == EACCES);
  must(truncate(stage_path("keys/cert.pem"), 0) != 0 && errno == EACCES);
  must(unlink(stage_path("keys/cert.pem")) != 0 && errno == EACCES);
  must(mkdir(stage_path("sockets/new"), 0755) != 0 && errno == EACCES);
  must(rename(stage_path("keys/cert.pem"), stage_path("sockets/a")) != 0 && (errno == EACCES || errno == EXDEV));
  must(write(before, "x", 1) == 1); /* what is open stays open */
}

static void nothing_is_executed(void) {
  stage_drop();
  execl("/bin/true", "true", (char *)NULL);
  must(errno == EACCES);
}

static void socket_files_go(void) {
  stage_drop();
  must(unlink(stage_path("sockets/http.sock")) == 0);
  must(unlink(stage_path("sockets/admin.sock")) == 0);
}

static void test_files(void **state) {
  (void)state;
  stage_needs_landlock();
  stage_server("");
  stage_child(files_in_reach);
  stage_child(files_out_of_reach);
  stage_child(nothing_is_executed);
}

static void test_socket_files(void **state) {
  (void)state;
  char general[256], more[256];
  stage_write("sockets/http.sock");
  stage_write("sockets/admin.sock");
  snprintf(general, sizeof general, ", \"http_bind_address\": \"unix:%s/sockets/http.sock\"", stage_top);
  snprintf(more, sizeof more, ", \"admin\": {\"bind_address\": \"unix:%s/sockets/admin.sock\"}", stage_top);
  stage_configure("client", general, more);
  stage_child(socket_files_go);
}

/* Without tls.ca. Where there is no store at all, it is at least not refused. */
static void system_store_is_read(void) {
  stage_drop();
  must(stage_open("/etc/ssl/certs", O_RDONLY | O_DIRECTORY) != EACCES);
  must(stage_open("/etc/passwd", O_RDONLY) == EACCES);
}

static void test_system_store(void **state) {
  (void)state;
  stage_needs_landlock();
  stage_server("");
  stage_config->tls.ca = NULL;
  stage_child(system_store_is_read);
}

static void *open_in_thread(void *context) {
  must(stage_open(stage_path("outside/secret"), O_RDONLY) == EACCES);
  return context;
}

/* By the kernel itself or, with IOSQE_ASYNC, by a thread of its own. */
static int open_by_ring(struct io_uring *uring, const char *path, unsigned flags) {
  struct io_uring_cqe *cqe;
  struct io_uring_sqe *sqe = io_uring_get_sqe(uring);
  must(sqe != NULL);
  io_uring_prep_openat(sqe, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  io_uring_sqe_set_flags(sqe, flags);
  must(io_uring_submit_and_wait(uring, 1) == 1 && io_uring_peek_cqe(uring, &cqe) == 0);
  int result = cqe->res;
  io_uring_cqe_seen(uring, cqe);
  return result;
}

/* The ring is from before, and not limited: Landlock holds for it all the same. */
static void threads_and_rings_inherit_it(void) {
  pthread_t thread;
  struct io_uring uring;
  must(io_uring_queue_init(8, &uring, 0) == 0);
  must(open_by_ring(&uring, stage_path("outside/secret"), IOSQE_ASYNC) >= 0);
  stage_drop();
  must(pthread_create(&thread, NULL, open_in_thread, NULL) == 0);
  must(pthread_join(thread, NULL) == 0);
  must(open_by_ring(&uring, stage_path("outside/secret"), 0) == -EACCES);
  must(open_by_ring(&uring, stage_path("outside/secret"), IOSQE_ASYNC) == -EACCES);
  must(open_by_ring(&uring, stage_path("keys/cert.pem"), IOSQE_ASYNC) >= 0);
}

static void test_threads_and_rings(void **state) {
  (void)state;
  stage_needs_landlock();
  stage_server("");
  stage_child(threads_and_rings_inherit_it);
}

/* ---- the network, and other processes ---- */

static int try_connect(const void *address, socklen_t len, int type) {
  const struct sockaddr *sockaddr = address;
  int fd = socket(sockaddr->sa_family, type | SOCK_CLOEXEC, 0);
  must(fd >= 0);
  int error = connect(fd, sockaddr, len) != 0 ? errno : 0;
  close(fd);
  return error;
}

static int try_tcp(uint16_t port) {
  struct sockaddr_in address = stage_address(port);
  return try_connect(&address, sizeof address, SOCK_STREAM);
}

static int try_bind(void) {
  struct sockaddr_in address = stage_address(0);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  must(fd >= 0);
  int error = bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ? errno : 0;
  close(fd);
  return error;
}

static void only_the_origins_port(void) {
  must(try_tcp(stage_ports[1]) == 0 && try_bind() == 0);
  stage_drop();
  must(try_tcp(stage_ports[0]) == 0);
  if (stage_abi >= ABI_TCP)
    must(try_tcp(stage_ports[1]) == EACCES && try_bind() == EACCES);
  struct sockaddr_in udp = stage_address(stage_ports[1]);
  must(try_connect(&udp, sizeof udp, SOCK_DGRAM) == 0);
}

static void no_tcp_at_all(void) {
  stage_drop();
  if (stage_abi >= ABI_TCP)
    must(try_tcp(stage_ports[0]) == EACCES && try_tcp(stage_ports[1]) == EACCES && try_bind() == EACCES);
}

static void others_are_out_of_reach(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  pid_t parent = getppid();
  must(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name.sun_family) == 0); /* a name of its choice */
  socklen_t len = sizeof name;
  must(getsockname(fd, (struct sockaddr *)&name, &len) == 0);
  must(kill(parent, 0) == 0);
  stage_drop();
  if (stage_abi < ABI_SCOPES)
    return;
  must(kill(parent, 0) != 0 && errno == EPERM);
  must(kill(getpid(), 0) == 0);
  must(try_connect(&name, len, SOCK_DGRAM) == EPERM); /* made before, and so outside */
}

static void manager_with_an_abstract_name(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  must(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name.sun_family) == 0);
  socklen_t len = sizeof name;
  must(getsockname(fd, (struct sockaddr *)&name, &len) == 0);
  setenv("NOTIFY_SOCKET", "@manager", 1);
  stage_drop();
  must(try_connect(&name, len, SOCK_DGRAM) == 0);
}

static void test_network(void **state) {
  (void)state;
  stage_needs_landlock();
  stage_server("");
  stage_child(only_the_origins_port);
  stage_child(others_are_out_of_reach);
  stage_child(manager_with_an_abstract_name);
  stage_configure("client", "", "");
  stage_child(no_tcp_at_all);
}

static void names_are_resolved(void) {
  struct addrinfo *found = NULL;
  stage_drop();
  must(getaddrinfo("localhost", "80", NULL, &found) == 0 && found != NULL);
  freeaddrinfo(found);
  must(stage_open("/etc/resolv.conf", O_RDONLY) != EACCES && stage_open("/etc/hosts", O_RDONLY) != EACCES);
  must(stage_open(stage_path("outside/secret"), O_RDONLY) == EACCES);
  if (stage_abi >= ABI_TCP) /* an answer that is too long for a datagram; nobody may listen */
    must(try_tcp(53) != EACCES && try_tcp(stage_ports[1]) == EACCES);
}

static void test_names(void **state) {
  (void)state;
  stage_needs_landlock();
  stage_configure("client", ", \"connect_address\": \"b.example\"", "");
  stage_child(names_are_resolved);
  stage_configure("server", ", \"http_connect_address\": \"b.example:8080\"", "");
  stage_child(names_are_resolved);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_files),        cmocka_unit_test(test_socket_files),
      cmocka_unit_test(test_system_store), cmocka_unit_test(test_threads_and_rings),
      cmocka_unit_test(test_network),      cmocka_unit_test(test_names),
  };
  return cmocka_run_group_tests(tests, stage_set_up, stage_tear_down);
}
