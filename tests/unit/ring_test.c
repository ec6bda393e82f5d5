#include "unit/support_io.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/clock.h"
#include "base/must.h"
#include "io/ring_priv.h"

static uint64_t waited_ns(uint64_t timeout_ns) {
  uint64_t start = clock_monotonic_ns();
  ring_wait(io_ring, timeout_ns);
  return clock_monotonic_ns() - start;
}

static void test_describe(void **state) {
  (void)state;
  io_open(64, 8);
  assert_non_null(strstr(ring_describe(io_ring), "single issuer, deferred task work"));
  assert_non_null(strstr(ring_describe(io_ring), "buffers 4 KiB x 256, 64 KiB x 32"));
  io_close();
  ring_close(NULL);
}

static void test_timeout(void **state) {
  (void)state;
  io_open(64, 8);
  assert_true(waited_ns(0) < 50 * NS_PER_MS);
  uint64_t took = waited_ns(30 * NS_PER_MS);
  assert_true(took >= 29 * NS_PER_MS && took < 2 * NS_PER_S);
  assert_true(ring_counters(io_ring)->enters >= 2);
  io_close();
}

/* --- waking --- */

static void *wake_later(void *context) {
  struct timespec pause = {.tv_nsec = 20 * (long)NS_PER_MS};
  nanosleep(&pause, NULL);
  ring_wake(context);
  return NULL;
}

static void test_wake_by_thread(void **state) {
  (void)state;
  io_open(64, 8);
  for (int i = 0; i < 5; i++) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_later, io_ring), 0);
    uint64_t took = waited_ns(i % 2 == 0 ? UINT64_MAX : 10 * NS_PER_S);
    assert_true(took >= 10 * NS_PER_MS && took < 5 * NS_PER_S);
    pthread_join(thread, NULL);
  }
  io_close();
}

static void test_wake_before_wait(void **state) {
  (void)state;
  io_open(64, 8);
  for (int i = 0; i < 1000; i++)
    ring_wake(io_ring);
  assert_true(waited_ns(10 * NS_PER_S) < 5 * NS_PER_S);
  assert_true(waited_ns(20 * NS_PER_MS) >= 19 * NS_PER_MS); /* many wakes, one completion */
  io_close();
}

static void on_alarm(int number) {
  (void)number;
  ring_wake(io_ring);
}

static void test_wake_by_signal(void **state) {
  (void)state;
  io_open(64, 8);
  struct sigaction action = {.sa_handler = on_alarm}, before;
  assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
  struct itimerval timer = {.it_value = {.tv_usec = 20000}};
  assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
  uint64_t took = waited_ns(10 * NS_PER_S); /* by the signal itself, or by the wake */
  assert_true(took < 5 * NS_PER_S);
  ring_wait(io_ring, 0);
  sigaction(SIGALRM, &before, NULL);
  io_close();
}

/* --- operations --- */

struct counted {
  struct ring_op op;
  unsigned completions;
  int32_t result;
};

static void count(struct ring_op *op, int32_t result, uint32_t flags) {
  (void)flags;
  struct counted *counted = container_of(op, struct counted, op);
  counted->completions++;
  counted->result = result;
}

/* More operations than the submission queue holds: it is submitted in between. */
static void test_queue_full(void **state) {
  (void)state;
  enum { OPS = 3000 };
  static struct counted ops[OPS];
  static struct ring_time times[OPS];
  io_open(64, 8);
  memset(ops, 0, sizeof ops);
  for (int i = 0; i < OPS; i++) {
    ops[i].op.complete = count;
    ring_timeout(io_ring, &ops[i].op, &times[i], 1 + (uint32_t)i % 20);
    assert_int_equal(ops[i].op.inflight, 1);
  }
  for (int i = 0; i < OPS; i++) {
    for (int steps = 0; ops[i].completions == 0; steps++) {
      assert_true(steps < 5000);
      ring_wait(io_ring, NS_PER_MS);
    }
    assert_int_equal(ops[i].completions, 1);
    assert_int_equal(ops[i].op.inflight, 0);
    assert_int_equal(ops[i].result, -ETIME);
  }
  io_close();
}

/* --- looking in place of sleeping --- */

static void test_spin_finds_a_wake(void **state) {
  (void)state;
  io_open(64, 8);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, wake_later, io_ring), 0);
  uint64_t timeout = UINT64_MAX;
  assert_true(ring_spin(io_ring, 10 * NS_PER_S, &timeout));
  assert_int_equal(timeout, 0);
  uint64_t before = ring_counters(io_ring)->completions;
  ring_wait(io_ring, 0);
  assert_int_equal(ring_counters(io_ring)->completions, before + 1);
  pthread_join(thread, NULL);
  io_close();
}

/* What was prepared is submitted by the look, and nothing is recorded until ring_wait. */
static void test_spin_submits(void **state) {
  (void)state;
  io_open(64, 8);
  struct counted op = {.op.complete = count};
  struct ring_time time;
  ring_timeout(io_ring, &op.op, &time, 20);
  uint64_t timeout = NS_PER_S;
  assert_true(ring_spin(io_ring, 10 * NS_PER_S, &timeout));
  assert_int_equal(op.completions, 0);
  assert_true(ring_spin(io_ring, 10 * NS_PER_S, &timeout)); /* still there */
  ring_wait(io_ring, 0);
  assert_int_equal(op.completions, 1);
  assert_int_equal(op.result, -ETIME);
  io_close();
}

static void test_spin_in_vain(void **state) {
  (void)state;
  io_open(64, 8);
  ring_wait(io_ring, 0);
  uint64_t start = clock_monotonic_ns();
  uint64_t unlimited = UINT64_MAX, timeout = 100 * NS_PER_S, over = NS_PER_MS;
  assert_false(ring_spin(io_ring, 20 * NS_PER_MS, &unlimited));
  uint64_t took = clock_monotonic_ns() - start;
  assert_true(took >= 20 * NS_PER_MS && took < 5 * NS_PER_S);
  assert_true(unlimited == UINT64_MAX);
  assert_false(ring_spin(io_ring, 20 * NS_PER_MS, &timeout)); /* it counts as part of the wait */
  assert_true(timeout <= 100 * NS_PER_S - 20 * NS_PER_MS && timeout > 90 * NS_PER_S);
  assert_false(ring_spin(io_ring, 20 * NS_PER_MS, &over));
  assert_int_equal(over, 0);
  io_close();
}

/* --- quiet sends --- */

enum { QUIET = 64, MESSAGE = 8 };

static void quiet_open(int pair[2], struct counted ops[QUIET + 1]) {
  io_open(64, 8);
  assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
  for (int i = 0; i <= QUIET; i++)
    ops[i] = (struct counted){.op.complete = count};
}

static struct msghdr *a_message(void) {
  static char text[MESSAGE] = "message";
  static struct iovec iov = {.iov_base = text, .iov_len = sizeof text};
  static struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
  return &message;
}

/* A success is told, with the length, but is no completion of the kernel's that would end the wait. */
static void test_quiet_sends(void **state) {
  (void)state;
  struct counted ops[QUIET + 1];
  int pair[2];
  quiet_open(pair, ops);
  for (int i = 0; i < 4; i++)
    assert_true(ring_sendmsg_quiet(io_ring, &ops[i].op, pair[0], a_message(), MESSAGE));
  uint64_t before = ring_counters(io_ring)->completions;
  ring_wait(io_ring, NS_PER_MS);
  assert_int_equal(ring_counters(io_ring)->completions, before);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(ops[i].completions, 1);
    assert_int_equal(ops[i].result, MESSAGE);
    assert_int_equal(ops[i].op.inflight, 0);
  }
  close(pair[0]);
  close(pair[1]);
  io_close();
}

/* More than the peer's queue takes, and more than may be under way: each is told once, and as it went. */
static void test_quiet_sends_fail(void **state) {
  (void)state;
  struct counted ops[QUIET + 1];
  int pair[2], sent = 0, arrived = 0;
  quiet_open(pair, ops);
  int little = 1; /* the kernel makes it a few messages */
  assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof little), 0);
  for (int i = 0; i < QUIET; i++)
    assert_true(ring_sendmsg_quiet(io_ring, &ops[i].op, pair[0], a_message(), MESSAGE));
  assert_false(ring_sendmsg_quiet(io_ring, &ops[QUIET].op, pair[0], a_message(), MESSAGE));
  assert_int_equal(ops[QUIET].op.inflight, 0);
  ring_wait(io_ring, 0);
  for (int i = 0; i < QUIET; i++) {
    assert_int_equal(ops[i].completions, 1);
    assert_int_equal(ops[i].op.inflight, 0);
    assert_true(ops[i].result == MESSAGE || ops[i].result == -EAGAIN);
    sent += ops[i].result == MESSAGE;
  }
  char text[MESSAGE];
  while (recv(pair[1], text, sizeof text, MSG_DONTWAIT) == MESSAGE)
    arrived++;
  assert_int_equal(sent, arrived);
  assert_in_range(sent, 1, QUIET - 1);
  assert_true(ring_sendmsg_quiet(io_ring, &ops[QUIET].op, pair[0], a_message(), MESSAGE));
  ring_wait(io_ring, 0);
  assert_int_equal(ops[QUIET].result, MESSAGE);
  close(pair[0]);
  close(pair[1]);
  io_close();
}

/* More completions at once than the completion queue holds (16384): the kernel keeps the rest. */
static void test_completions_overflow(void **state) {
  (void)state;
  enum { OPS = 20000 };
  static struct counted ops[OPS];
  static struct ring_time time;
  io_open(64, 8);
  memset(ops, 0, sizeof ops);
  for (int i = 0; i < OPS; i++) {
    ops[i].op.complete = count;
    ring_timeout(io_ring, &ops[i].op, &time, 0);
  }
  for (int i = 0; i < OPS; i++) {
    for (int steps = 0; ops[i].completions == 0; steps++) {
      assert_true(steps < 50000);
      ring_wait(io_ring, NS_PER_MS);
    }
  }
  for (int i = 0; i < OPS; i++)
    assert_int_equal(ops[i].completions, 1);
  io_close();
}

static void test_cancel(void **state) {
  (void)state;
  io_open(64, 8);
  struct counted op = {.op.complete = count};
  struct ring_time time;
  ring_cancel(io_ring, &op.op); /* idle: nothing */
  ring_timeout(io_ring, &op.op, &time, 60000);
  ring_cancel(io_ring, &op.op);
  for (int i = 0; op.completions == 0; i++) {
    assert_true(i < 100);
    ring_wait(io_ring, 10 * NS_PER_MS);
  }
  assert_int_equal(op.result, -ECANCELED);
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  ring_recv(io_ring, &op.op, fds[0], CHUNK_SMALL); /* two with one owner */
  ring_recv(io_ring, &op.op, fds[0], CHUNK_SMALL);
  ring_wait(io_ring, 0);
  assert_int_equal(op.op.inflight, 2);
  ring_cancel(io_ring, &op.op);
  for (int i = 0; op.op.inflight > 0; i++) {
    assert_true(i < 100);
    ring_wait(io_ring, 10 * NS_PER_MS);
  }
  assert_int_equal(op.completions, 3);
  close(fds[0]);
  close(fds[1]);
  io_close();
}

/* --- buffers --- */

static void expect_lent(uint32_t small, uint32_t large) {
  ring_wait(io_ring, 0);
  assert_int_equal(ring_chunks_lent(io_ring, CHUNK_SMALL), small);
  assert_int_equal(ring_chunks_lent(io_ring, CHUNK_LARGE), large);
}

static void test_reserve(void **state) {
  (void)state;
  static const struct {
    uint32_t capacity_small, capacity_large, small, large;
  } cases[] = {{1, 1, 1, 1}, {2, 3, 1, 2}, {16, 8, 13, 6}, {300, 40, 256, 32}, {4096, 512, 256, 32}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    io_open(cases[i].capacity_small, cases[i].capacity_large);
    expect_lent(cases[i].small, cases[i].large);
    expect_lent(cases[i].small, cases[i].large);
    io_close();
  }
}

struct receiver {
  struct ring_op op;
  struct chunk *chunk;
  int32_t result;
};

static void take(struct ring_op *op, int32_t result, uint32_t flags) {
  struct receiver *receiver = container_of(op, struct receiver, op);
  receiver->chunk = ring_take_chunk(io_ring, CHUNK_SMALL, flags);
  receiver->result = result;
}

static void receive_one(struct receiver *receiver, int fd) {
  ring_recv(io_ring, &receiver->op, fd, CHUNK_SMALL);
  for (int i = 0; receiver->op.inflight > 0; i++) {
    assert_true(i < 100);
    ring_wait(io_ring, 10 * NS_PER_MS);
  }
}

/* A chunk goes from the pool to the kernel, to the receiver, and back; without any left, the kernel says so. */
static void test_chunk_cycle(void **state) {
  (void)state;
  io_open(4, 2);
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  struct receiver receiver = {.op.complete = take};
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(write(fds[1], "hello", 5), 5);
    receive_one(&receiver, fds[0]);
    assert_non_null(receiver.chunk);
    assert_int_equal(receiver.result, 5);
    assert_int_equal(receiver.chunk->refs, 1);
    assert_memory_equal(receiver.chunk->data, "hello", 5);
    chunk_unref(receiver.chunk);
  }
  struct chunk *held[3];
  for (int i = 0; i < 3; i++) {
    assert_int_equal(write(fds[1], "hello", 5), 5);
    receive_one(&receiver, fds[0]);
    held[i] = receiver.chunk;
    assert_non_null(held[i]);
  }
  assert_int_equal(write(fds[1], "hello", 5), 5);
  receive_one(&receiver, fds[0]);
  assert_null(receiver.chunk);
  assert_int_equal(receiver.result, -ENOBUFS);
  struct chunk *last = chunk_get(&io_chunks, CHUNK_SMALL); /* the reserve is still there */
  assert_non_null(last);
  chunk_unref(last);
  for (int i = 0; i < 3; i++)
    chunk_unref(held[i]);
  ring_wait(io_ring, 0);
  receive_one(&receiver, fds[0]);
  assert_non_null(receiver.chunk);
  chunk_unref(receiver.chunk);
  close(fds[0]);
  close(fds[1]);
  io_close();
}

static void test_groups_reused(void **state) {
  (void)state;
  io_open(64, 8);
  struct ring_group groups[62];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 62; i++)
      assert_true(ring_group_open(io_ring, &groups[i], 8));
    struct ring_group more;
    assert_false(ring_group_open(io_ring, &more, 8)); /* 64 with the ring's own two */
    assert_int_equal(errno, ENOBUFS);
    for (int i = 0; i < 62; i++)
      ring_group_close(io_ring, &groups[i]);
  }
  io_close();
}

/* --- refusals --- */

static void forbid_io_uring(int error) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

struct refusal {
  int error;
  const char *text;
};

/* Runs in a child; dies with the reason in its message, as the test wants to see it. */
static void open_forbidden(void *context) {
  const struct refusal *refusal = context;
  forbid_io_uring(refusal->error);
  char reason[256] = "";
  must(chunks_open(&io_chunks, 8, 8, 8) == ERR_OK);
  must(ring_open(&io_ring, &io_chunks, reason, sizeof reason) == ERR_IO_URING);
  must_fail(reason, "", 0, "");
}

static void test_refused(void **state) {
  (void)state;
  static struct refusal refusals[] = {
      {EPERM, "allow the system calls io_uring_setup, io_uring_enter and io_uring_register"},
      {ENOSYS, "io_uring_setup is hidden (ENOSYS), most likely by the seccomp profile"},
      {EINVAL, "use Linux 6.1 or newer"},
      {ENOMEM, "raise LimitMEMLOCK (ulimit -l)"},
      {EMFILE, "Too many open files"},
  };
  for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
    assert_true(dies(open_forbidden, &refusals[i], refusals[i].text));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_describe),
      cmocka_unit_test(test_timeout),
      cmocka_unit_test(test_wake_by_thread),
      cmocka_unit_test(test_wake_before_wait),
      cmocka_unit_test(test_wake_by_signal),
      cmocka_unit_test(test_queue_full),
      cmocka_unit_test(test_spin_finds_a_wake),
      cmocka_unit_test(test_spin_submits),
      cmocka_unit_test(test_spin_in_vain),
      cmocka_unit_test(test_quiet_sends),
      cmocka_unit_test(test_quiet_sends_fail),
      cmocka_unit_test(test_completions_overflow),
      cmocka_unit_test(test_cancel),
      cmocka_unit_test(test_reserve),
      cmocka_unit_test(test_chunk_cycle),
      cmocka_unit_test(test_groups_reused),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
