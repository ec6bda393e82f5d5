/* The list of what a ring may do, on rings of the test's own and on the one of ring.c. */
#include "unit/support_io.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/ring_limit.h"
#include "io/ring_priv.h"

static struct io_uring uring;

static void open_uring(bool limited) {
  struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                            IORING_SETUP_R_DISABLED};
  assert_int_equal(io_uring_queue_init_params(8, &uring, &params), 0);
  if (limited)
    assert_int_equal(ring_limit(&uring), 0);
  assert_int_equal(io_uring_enable_rings(&uring), 0);
}

/* The result of what |sqe| asks for. */
static int submit(void) {
  struct io_uring_cqe *cqe;
  assert_int_equal(io_uring_submit_and_wait(&uring, 1), 1);
  assert_int_equal(io_uring_peek_cqe(&uring, &cqe), 0);
  int result = cqe->res;
  io_uring_cqe_seen(&uring, cqe);
  return result;
}

static int try_code(unsigned code, unsigned flags) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);
  assert_non_null(sqe);
  io_uring_prep_nop(sqe);
  sqe->opcode = (uint8_t)code;
  sqe->flags = (uint8_t)flags;
  sqe->fd = -1;
  return submit();
}

static void test_every_operation(void **state) {
  (void)state;
  struct io_uring_probe *probe = io_uring_get_probe();
  assert_non_null(probe);
  open_uring(true);
  unsigned allowed = 0, refused = 0;
  for (unsigned code = 0; code < IORING_OP_LAST; code++) {
    if (!io_uring_opcode_supported(probe, (int)code))
      continue;
    int result = try_code(code, 0);
    if ((result == -EACCES) == ring_limit_allows(code))
      fail_msg("operation %u: %s", code, strerror(-result));
    allowed += result != -EACCES;
    refused += result == -EACCES;
  }
  assert_int_equal(allowed, ring_limit_count());
  assert_true(refused > 30); /* Linux 6.1 has 49 operations */
  io_uring_queue_exit(&uring);
  io_uring_free_probe(probe);
}

static int open_file(void) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);
  assert_non_null(sqe);
  io_uring_prep_openat(sqe, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
  return submit();
}

static void test_no_file_is_opened(void **state) {
  (void)state;
  open_uring(false);
  int fd = open_file();
  assert_true(fd >= 0); /* or the refusal below would prove nothing */
  close(fd);
  io_uring_queue_exit(&uring);
  open_uring(true);
  assert_int_equal(open_file(), -EACCES);
  io_uring_queue_exit(&uring);
}

static void test_flags(void **state) {
  (void)state;
  static const unsigned refused[] = {IOSQE_FIXED_FILE, IOSQE_IO_DRAIN, IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_ASYNC};
  open_uring(true);
  assert_int_not_equal(try_code(IORING_OP_RECV, IOSQE_BUFFER_SELECT), -EACCES);
  for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++)
    assert_int_equal(try_code(IORING_OP_RECV, refused[i]), -EACCES);
  io_uring_queue_exit(&uring);
}

/* The descriptor of the only ring of this process. */
static unsigned ring_fd(void) {
  for (unsigned fd = 0; fd < 1000; fd++) {
    char link[64], target[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%u", fd);
    if (readlink(link, target, sizeof target - 1) > 0 && strcmp(target, "anon_inode:[io_uring]") == 0)
      return fd;
  }
  fail_msg("there is no ring");
  return 0;
}

/* Credentials to act with, files to act on: nothing that could be brought in later. */
static void test_registrations(void **state) {
  (void)state;
  int fds[1] = {STDERR_FILENO};
  char limit[64];
  io_open(64, 8);
  unsigned fd = ring_fd();
  int id = io_uring_register(fd, IORING_REGISTER_PERSONALITY, NULL, 0);
  assert_true(id > 0); /* not yet in use, and so not yet limited */
  assert_int_equal(io_uring_register(fd, IORING_UNREGISTER_PERSONALITY, NULL, (unsigned)id), 0);
  ring_wait(io_ring, 0);
  assert_int_equal(io_uring_register(fd, IORING_REGISTER_PERSONALITY, NULL, 0), -EACCES);
  assert_int_equal(io_uring_register(fd, IORING_REGISTER_FILES, fds, 1), -EACCES);
  assert_int_equal(io_uring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0), -EACCES);
  struct ring_group group; /* what udp.c does for each socket */
  assert_true(ring_group_open(io_ring, &group, 8));
  ring_group_close(io_ring, &group);
  snprintf(limit, sizeof limit, "restricted to %u operations", ring_limit_count());
  assert_non_null(strstr(ring_describe(io_ring), limit));
  io_close();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_operation),
      cmocka_unit_test(test_no_file_is_opened),
      cmocka_unit_test(test_flags),
      cmocka_unit_test(test_registrations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
