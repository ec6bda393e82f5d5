/* DEFER_TASKRUN: completions are made only while this thread is inside ring_wait, so that nothing interrupts protocol
   code and a tick sees them as one batch. No timeout, linked or fixed-file operations: measured, the plain ones are
   what the load consists of.

   The kernel chooses receive buffers from two groups of chunks. The ring holds one reference of each chunk that it
   lent; with the completion the reference passes to the receiver. Ids in the kernel's queue are slots of chunk_group,
   not chunk indices, so that the group's size does not depend on the pool's. The last chunks of a pool are never lent:
   who must finish an exchange still gets one.

   A full completion queue loses nothing (IORING_FEAT_NODROP): the kernel keeps the rest and ends multishot operations,
   which their owners arm again.

   The ring is made disabled: so it can be limited to what is in use here (ring_limit.c), and may be made by another
   thread than the one that it then answers to, which is whoever submits first. */
#include "io/ring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "io/ring_limit.h"
#include "io/ring_priv.h"

enum {
  SQ_ENTRIES = 1024,
  CQ_ENTRIES = 16384,
  SMALL_ENTRIES = 256,
  LARGE_ENTRIES = 32,
  RESERVE_MAX = 64,    /* chunks of a size that are never lent */
  QUIET_MAX = 64,      /* sends whose success is not told */
  GROUPS_MAX = 64,     /* bits of groups_used */
  SUBMIT_TRIES = 1000, /* of a millisecond each, when the kernel has no memory for requests */
  CLOSE_TRIES = 500,   /* of ten milliseconds each */
};

static_assert(SMALL_ENTRIES >= LARGE_ENTRIES, "chunk_group's arrays are of the larger size");

struct chunk_group {
  struct ring_group group;
  struct chunk *lent[SMALL_ENTRIES]; /* by buffer id */
  uint16_t free_ids[SMALL_ENTRIES];
  uint32_t free_count;
  uint32_t reserve;
};

struct ring {
  struct io_uring uring;
  struct chunks *chunks;
  struct chunk_group groups[CHUNK_SIZES];
  struct list hooks, corpses;
  uint64_t groups_used; /* bit i: buffer group i */
  uint32_t inflight;    /* operations, over all owners */
  int wake_fd;
  struct ring_op wake;
  uint64_t wake_value;
  bool enabled, closing, waiting;
  struct ring_op *quiet[QUIET_MAX];
  uint32_t quiet_count;
  struct ring_counters counters;
  char description[160];
};

/* --- submission --- */

static void sleep_1ms(void) {
  struct timespec pause = {.tv_nsec = (long)NS_PER_MS};
  nanosleep(&pause, NULL);
}

/* On the thread that is the ring's from now on. */
static void enable(struct ring *ring) {
  if (ring->enabled)
    return;
  io_uring_register_ring_fd(&ring->uring);  /* saves a look-up in each call; without it, all works */
  io_uring_set_iowait(&ring->uring, false); /* else an idle wait counts as load; refused before 6.15, harmless */
  must(io_uring_enable_rings(&ring->uring) == 0);
  ring->enabled = true;
}

static struct io_uring_sqe *sqe_get(struct ring *ring) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
  if (sqe == NULL)
    enable(ring);
  for (int tries = 0; sqe == NULL && tries < SUBMIT_TRIES; tries++) {
    if (io_uring_submit(&ring->uring) <= 0)
      sleep_1ms();
    ring->counters.enters++;
    sqe = io_uring_get_sqe(&ring->uring);
  }
  must(sqe != NULL);
  return sqe;
}

/* After the preparation, which clears parts of |sqe|. */
static void sqe_finish(struct ring *ring, struct io_uring_sqe *sqe, struct ring_op *op) {
  must(op->complete != NULL);
  io_uring_sqe_set_data(sqe, op);
  op->inflight++;
  ring->inflight++;
}

void ring_accept_multishot(struct ring *ring, struct ring_op *op, int fd) {
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, SOCK_CLOEXEC);
  sqe_finish(ring, sqe, op);
}

void ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *sockaddr, socklen_t len) {
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_connect(sqe, fd, sockaddr, len);
  sqe_finish(ring, sqe, op);
}

static struct io_uring_sqe *sqe_select(struct io_uring_sqe *sqe, uint16_t group) {
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = group;
  return sqe;
}

void ring_recv_multishot(struct ring *ring, struct ring_op *op, int fd, enum chunk_size size) {
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
  sqe_finish(ring, sqe_select(sqe, ring->groups[size].group.id), op);
}

void ring_recv(struct ring *ring, struct ring_op *op, int fd, enum chunk_size size) {
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_recv(sqe, fd, NULL, 0, 0);
  sqe_finish(ring, sqe_select(sqe, ring->groups[size].group.id), op);
}

void ring_recvmsg_multishot(struct ring *ring, struct ring_op *op, int fd, struct msghdr *msg, uint16_t group) {
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_recvmsg_multishot(sqe, fd, msg, 0);
  sqe_finish(ring, sqe_select(sqe, group), op);
}

void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, size_t len) {
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_send(sqe, fd, data, len, MSG_NOSIGNAL);
  sqe_finish(ring, sqe, op);
}

void ring_sendmsg(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *msg) {
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_sendmsg(sqe, fd, msg, MSG_NOSIGNAL);
  sqe_finish(ring, sqe, op);
}

/* Without waiting the kernel does a send within the submission, and posts a completion only for a failure. */
bool ring_sendmsg_quiet(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *msg, uint32_t len) {
  must(op->quiet == 0 && len > 0);
  if (ring->quiet_count == QUIET_MAX)
    return false;
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_sendmsg(sqe, fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
  io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
  sqe_finish(ring, sqe, op);
  op->quiet = len;
  ring->quiet[ring->quiet_count++] = op;
  return true;
}

void ring_timeout(struct ring *ring, struct ring_op *op, struct ring_time *storage, uint32_t ms) {
  static_assert(sizeof(struct ring_time) == sizeof(struct __kernel_timespec), "the kernel's layout");
  *storage = (struct ring_time){.seconds = ms / 1000, .nanoseconds = (long long)(ms % 1000) * (long long)NS_PER_MS};
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_timeout(sqe, (struct __kernel_timespec *)(void *)storage, 0, 0);
  sqe_finish(ring, sqe, op);
}

void ring_cancel(struct ring *ring, struct ring_op *op) {
  if (op->inflight == 0)
    return;
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_cancel(sqe, op, op->inflight > 1 ? IORING_ASYNC_CANCEL_ALL : 0);
  io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data(sqe, NULL); /* that there was nothing to cancel is of no interest */
}

/* --- buffers --- */

bool ring_group_open(struct ring *ring, struct ring_group *group, uint16_t entries) {
  uint16_t id = 0;
  while (id < GROUPS_MAX && (ring->groups_used >> id & 1) != 0)
    id++;
  if (id == GROUPS_MAX) {
    errno = ENOBUFS;
    return false;
  }
  int error = 0;
  void *shared = io_uring_setup_buf_ring(&ring->uring, entries, id, 0, &error);
  if (shared == NULL) {
    errno = -error;
    return false;
  }
  ring->groups_used |= (uint64_t)1 << id;
  *group = (struct ring_group){.shared = shared, .id = id, .entries = entries};
  return true;
}

void ring_group_close(struct ring *ring, struct ring_group *group) {
  must(group->shared != NULL);
  io_uring_free_buf_ring(&ring->uring, group->shared, group->entries, group->id);
  ring->groups_used &= ~((uint64_t)1 << group->id);
  group->shared = NULL;
}

void ring_group_lend(struct ring_group *group, void *data, uint32_t len, uint16_t id) {
  must(id < group->entries);
  io_uring_buf_ring_add(group->shared, data, len, id, io_uring_buf_ring_mask(group->entries), 0);
  io_uring_buf_ring_advance(group->shared, 1);
}

int32_t ring_buffer_id(uint32_t flags) {
  return (flags & IORING_CQE_F_BUFFER) != 0 ? (int32_t)(flags >> IORING_CQE_BUFFER_SHIFT) : -1;
}

static bool chunk_group_open(struct ring *ring, enum chunk_size size, uint16_t entries) {
  struct chunk_group *group = &ring->groups[size];
  if (!ring_group_open(ring, &group->group, entries))
    return false;
  for (uint16_t id = 0; id < entries; id++)
    group->free_ids[group->free_count++] = (uint16_t)(entries - 1 - id);
  uint32_t capacity = ring->chunks->headers[size].capacity;
  uint32_t reserve = capacity / 8 + (capacity > 1);
  group->reserve = reserve < RESERVE_MAX ? reserve : RESERVE_MAX;
  return true;
}

static void chunk_group_close(struct ring *ring, enum chunk_size size) {
  struct chunk_group *group = &ring->groups[size];
  if (group->group.shared == NULL)
    return;
  ring_group_close(ring, &group->group);
  for (uint32_t id = 0; id < SMALL_ENTRIES; id++) {
    if (group->lent[id] != NULL)
      chunk_unref(group->lent[id]);
  }
}

static void chunk_group_refill(struct ring *ring, enum chunk_size size) {
  struct chunk_group *group = &ring->groups[size];
  const struct pool *pool = &ring->chunks->headers[size];
  while (group->free_count > 0 && pool->capacity - pool->live > group->reserve) {
    struct chunk *chunk = chunk_get(ring->chunks, size);
    must(chunk != NULL);
    uint16_t id = group->free_ids[--group->free_count];
    group->lent[id] = chunk;
    ring_group_lend(&group->group, chunk->data, chunk->capacity, id);
  }
}

struct chunk *ring_take_chunk(struct ring *ring, enum chunk_size size, uint32_t flags) {
  int32_t id = ring_buffer_id(flags);
  if (id < 0)
    return NULL;
  struct chunk_group *group = &ring->groups[size];
  must(id < group->group.entries && group->lent[id] != NULL);
  struct chunk *chunk = group->lent[id];
  group->lent[id] = NULL;
  group->free_ids[group->free_count++] = (uint16_t)id;
  return chunk;
}

uint32_t ring_chunks_lent(const struct ring *ring, enum chunk_size size) {
  return ring->groups[size].group.entries - ring->groups[size].free_count;
}

void ring_note_out_of_buffers(struct ring *ring) { ring->counters.out_of_buffers++; }

bool ring_message_read(void *buffer, int32_t result, struct msghdr *msg, struct ring_message *message) {
  struct io_uring_recvmsg_out *out = io_uring_recvmsg_validate(buffer, result, msg);
  if (out == NULL)
    return false;
  const uint8_t *name = io_uring_recvmsg_name(out);
  *message = (struct ring_message){
      .name = name,
      .control = name + msg->msg_namelen,
      .payload = io_uring_recvmsg_payload(out, msg),
      .name_len = out->namelen < msg->msg_namelen ? out->namelen : msg->msg_namelen,
      .control_len = out->controllen < msg->msg_controllen ? out->controllen : msg->msg_controllen,
      .payload_len = io_uring_recvmsg_payload_length(out, result, msg),
      .flags = (int)out->flags,
  };
  return true;
}

/* --- hooks and corpses --- */

void ring_hook_add(struct ring *ring, struct ring_hook *hook) { list_push(&ring->hooks, &hook->node); }

static void hooks_run(struct ring *ring) {
  for (struct list *node = ring->hooks.next, *next; node != &ring->hooks; node = next) {
    next = node->next;
    struct ring_hook *hook = container_of(node, struct ring_hook, node);
    hook->run(hook);
  }
}

void ring_corpse_add(struct ring *ring, struct ring_corpse *corpse) { list_push(&ring->corpses, &corpse->node); }

void ring_bury(struct ring *ring) {
  for (struct list *node = ring->corpses.next, *next; node != &ring->corpses; node = next) {
    next = node->next;
    struct ring_corpse *corpse = container_of(node, struct ring_corpse, node);
    list_remove(node);
    if (!corpse->bury(corpse))
      list_push(next, node); /* back to its place: before |next| */
  }
}

/* --- waking and waiting --- */

/* A blocking read on purpose: io_uring waits for a file that may block, and gives up on one that may not. */
static void wake_arm(struct ring *ring) {
  struct io_uring_sqe *sqe = sqe_get(ring);
  io_uring_prep_read(sqe, ring->wake_fd, &ring->wake_value, sizeof ring->wake_value, 0);
  sqe_finish(ring, sqe, &ring->wake);
}

static void wake_complete(struct ring_op *op, int32_t result, uint32_t flags) {
  (void)flags;
  struct ring *ring = container_of(op, struct ring, wake);
  must(result == (int32_t)sizeof ring->wake_value || result == -EINTR || result == -EAGAIN);
  if (!ring->closing)
    wake_arm(ring);
}

void ring_wake(struct ring *ring) {
  uint64_t one = 1;
  int saved = errno; /* of what a signal interrupted */
  ssize_t written = write(ring->wake_fd, &one, sizeof one);
  (void)written; /* fails only when 2^64 - 2 wakes are pending: awake enough */
  errno = saved;
}

static void record(struct ring *ring) {
  struct io_uring_cqe *cqe;
  unsigned head, count = 0;
  io_uring_for_each_cqe(&ring->uring, head, cqe) {
    count++;
    struct ring_op *op = io_uring_cqe_get_data(cqe);
    if (op == NULL)
      continue;
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
      must(op->inflight > 0 && ring->inflight > 0);
      op->inflight--;
      ring->inflight--;
    }
    op->quiet = 0;
    op->complete(op, cqe->res, cqe->flags);
  }
  io_uring_cq_advance(&ring->uring, count);
  ring->counters.completions += count;
}

/* All quiet sends that were submitted and of which no failure is recorded have succeeded. None is known to when some
   are not yet submitted, or when the queue was too short for all completions. */
static void record_quiet(struct ring *ring) {
  if (io_uring_sq_ready(&ring->uring) > 0 || io_uring_cq_has_overflow(&ring->uring))
    return;
  uint32_t count = ring->quiet_count;
  ring->quiet_count = 0;
  for (uint32_t i = 0; i < count; i++) {
    struct ring_op *op = ring->quiet[i];
    uint32_t len = op->quiet;
    if (len == 0)
      continue; /* it failed */
    must(op->inflight == 1);
    op->inflight--;
    ring->inflight--;
    op->quiet = 0;
    op->complete(op, (int32_t)len, 0);
  }
}

/* What comes before a submission. */
static void prepare(struct ring *ring) {
  must(!ring->waiting);
  ring->waiting = true;
  enable(ring);
  chunk_group_refill(ring, CHUNK_SMALL);
  chunk_group_refill(ring, CHUNK_LARGE);
  hooks_run(ring);
}

/* With deferred task work a completion is not in the queue yet: the flag says that there is something to do. */
static bool completion_due(const struct ring *ring) {
  return io_uring_cq_ready(&ring->uring) > 0 ||
         (IO_URING_READ_ONCE(*ring->uring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

bool ring_spin(struct ring *ring, uint64_t spin_ns, uint64_t *timeout_ns) {
  prepare(ring);
  if (io_uring_sq_ready(&ring->uring) > 0) {
    ring->counters.enters++;
    if (io_uring_submit(&ring->uring) < 0)
      spin_ns = 0; /* ring_wait deals with it */
  }
  ring->waiting = false;
  uint64_t start = clock_monotonic_ns(), spent = 0;
  bool due;
  while (!(due = completion_due(ring)) && spent < spin_ns) {
    sched_yield(); /* who would answer may need this core to do so, and for longer than |spin_ns| */
    spent = clock_monotonic_ns() - start;
  }
  if (due)
    *timeout_ns = 0;
  else if (*timeout_ns != UINT64_MAX)
    *timeout_ns -= spent < *timeout_ns ? spent : *timeout_ns;
  return due;
}

void ring_wait(struct ring *ring, uint64_t timeout_ns) {
  prepare(ring);
  struct io_uring_cqe *first;
  struct __kernel_timespec timeout = {
      .tv_sec = (long long)(timeout_ns / NS_PER_S),
      .tv_nsec = (long long)(timeout_ns % NS_PER_S),
  };
  int result = timeout_ns == 0 ? io_uring_submit_and_get_events(&ring->uring)
                               : io_uring_submit_and_wait_timeout(&ring->uring, &first, 1,
                                                                  timeout_ns == UINT64_MAX ? NULL : &timeout, NULL);
  ring->counters.enters++;
  if (result == -ENOMEM || result == -EAGAIN)
    sleep_1ms(); /* no memory for requests: what is prepared stays, the next call tries again */
  else
    must(result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY);
  record(ring);
  record_quiet(ring);
  ring->waiting = false;
}

/* --- set-up --- */

static int read_io_uring_disabled(void) {
  FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
  if (file == NULL)
    return 0;
  int digit = fgetc(file);
  fclose(file);
  return digit >= '0' && digit <= '9' ? digit - '0' : 0;
}

static const char seccomp_remedy[] =
    "most likely by the seccomp profile of the container: allow the system calls io_uring_setup, io_uring_enter and "
    "io_uring_register";

static void explain_eperm(char *reason, size_t size) {
  int disabled = read_io_uring_disabled();
  if (disabled == 2)
    snprintf(reason, size, "io_uring is switched off by sysctl kernel.io_uring_disabled=2: set it to 0");
  else if (disabled == 1)
    snprintf(reason, size,
             "io_uring is restricted by sysctl kernel.io_uring_disabled=1: set it to 0, or put the user into the group "
             "of kernel.io_uring_group");
  else
    snprintf(reason, size, "io_uring_setup is not permitted, %s", seccomp_remedy);
}

/* The profiles of some engines answer as a kernel without the call would. */
static void explain_enosys(const char *release, char *reason, size_t size) {
  if (prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER)
    snprintf(reason, size, "io_uring_setup is hidden (ENOSYS), %s", seccomp_remedy);
  else
    snprintf(reason, size, "the kernel (%s) has no io_uring: use Linux 6.1 or newer built with CONFIG_IO_URING",
             release);
}

static void explain(int error, const char *what, char *reason, size_t size) {
  struct utsname kernel;
  if (uname(&kernel) != 0)
    kernel.release[0] = '\0';
  switch (error) {
  case EPERM:
  case EACCES:
    explain_eperm(reason, size);
    break;
  case ENOSYS:
    explain_enosys(kernel.release, reason, size);
    break;
  case EINVAL:
    snprintf(reason, size, "the io_uring of this kernel (%s) is too old (%s): use Linux 6.1 or newer", kernel.release,
             what);
    break;
  case ENOMEM:
    snprintf(reason, size,
             "not enough locked memory for io_uring (%s): raise LimitMEMLOCK (ulimit -l) or the memory "
             "limit of the container",
             what);
    break;
  default:
    snprintf(reason, size, "io_uring failed (%s): %s", what, strerror(error));
    break;
  }
}

/* 0, or an errno with |what| failed. */
static int open_uring(struct ring *ring, const char **what) {
  struct io_uring_params params = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP |
               IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED | IORING_SETUP_TASKRUN_FLAG,
      .cq_entries = CQ_ENTRIES,
  };
  *what = "io_uring_setup with deferred task work";
  int result = io_uring_queue_init_params(SQ_ENTRIES, &ring->uring, &params); /* tries NO_SQARRAY first */
  if (result < 0)
    return -result;
  const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;
  if ((params.features & needed) != needed) {
    *what = "features";
    io_uring_queue_exit(&ring->uring);
    return EINVAL;
  }
  char limited[64] = "not restricted";
  int refused = ring_limit(&ring->uring);
  if (refused == 0)
    snprintf(limited, sizeof limited, "restricted to %u operations", ring_limit_count());
  snprintf(ring->description, sizeof ring->description,
           "single issuer, deferred task work%s, %s; buffers %d KiB x %d, %d KiB x %d",
           (params.flags & IORING_SETUP_NO_SQARRAY) != 0 ? ", no SQ array" : "", limited, CHUNK_SMALL_BYTES / 1024,
           SMALL_ENTRIES, CHUNK_LARGE_BYTES / 1024, LARGE_ENTRIES);
  return 0;
}

enum err ring_open(struct ring **out, struct chunks *chunks, char *reason, size_t reason_size) {
  struct ring *ring = calloc(1, sizeof *ring);
  if (ring == NULL)
    return ERR_NO_MEMORY;
  ring->chunks = chunks;
  ring->wake.complete = wake_complete;
  list_init(&ring->hooks);
  list_init(&ring->corpses);
  const char *what = "eventfd";
  int error = 0;
  ring->wake_fd = eventfd(0, EFD_CLOEXEC);
  if (ring->wake_fd < 0) {
    error = errno;
    goto free_ring;
  }
  error = open_uring(ring, &what);
  if (error != 0)
    goto close_wake;
  if (!chunk_group_open(ring, CHUNK_SMALL, SMALL_ENTRIES) || !chunk_group_open(ring, CHUNK_LARGE, LARGE_ENTRIES)) {
    what = "provided buffer rings";
    error = errno;
    goto exit_uring;
  }
  wake_arm(ring);
  *out = ring;
  return ERR_OK;

exit_uring:
  chunk_group_close(ring, CHUNK_SMALL);
  io_uring_queue_exit(&ring->uring);
close_wake:
  close(ring->wake_fd);
free_ring:
  explain(error, what, reason, reason_size);
  free(ring);
  return ERR_IO_URING;
}

void ring_close(struct ring *ring) {
  if (ring == NULL)
    return;
  ring->closing = true;
  ring_wake(ring);
  for (int tries = 0; tries < CLOSE_TRIES && (ring->inflight > 0 || !list_empty(&ring->corpses)); tries++) {
    ring_wait(ring, 10 * NS_PER_MS);
    ring_bury(ring);
  }
  must(ring->inflight == 0);
  must(list_empty(&ring->hooks) && list_empty(&ring->corpses));
  chunk_group_close(ring, CHUNK_LARGE);
  chunk_group_close(ring, CHUNK_SMALL);
  io_uring_queue_exit(&ring->uring);
  close(ring->wake_fd);
  free(ring);
}

const char *ring_describe(const struct ring *ring) { return ring->description; }
const struct ring_counters *ring_counters(const struct ring *ring) { return &ring->counters; }
