/* What tcp, udp and resolve use of a ring beyond ring.h: preparing operations, buffers that the kernel chooses from,
   and work before each submission. Nothing of liburing shows here. */
#ifndef PTP_IO_RING_PRIV_H
#define PTP_IO_RING_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/list.h"
#include "flow/chunk.h"
#include "io/ring.h"

/* Prepare one operation each; it is submitted by the next ring_wait, or earlier when the submission queue is full. What
   a pointer leads to (not what a msghdr's iovecs lead to: that until the last completion) must stay until ring_wait. */
void ring_accept_multishot(struct ring *ring, struct ring_op *op, int fd);
void ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *sockaddr, socklen_t len);
void ring_recv_multishot(struct ring *ring, struct ring_op *op, int fd, enum chunk_size size);
void ring_recv(struct ring *ring, struct ring_op *op, int fd, enum chunk_size size);
void ring_recvmsg_multishot(struct ring *ring, struct ring_op *op, int fd, struct msghdr *msg, uint16_t group);
/* As a message of one piece, but 100 ns less. */
void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, size_t len);
void ring_sendmsg(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *msg);
/* As ring_sendmsg of |len| bytes, but a success ends no wait: it is told when ring_wait next returns. So nothing may
   depend on it before that. Does not wait for room: -EAGAIN. One at a time for each |op|. False: too many such sends,
   nothing was prepared. */
bool ring_sendmsg_quiet(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *msg, uint32_t len);
/* Completes with -ETIME after |ms|. One at a time per ring is not required: the time is kept in |storage|. */
struct ring_time {
  int64_t seconds;
  long long nanoseconds;
};
void ring_timeout(struct ring *ring, struct ring_op *op, struct ring_time *storage, uint32_t ms);
/* Asks to end |op|, which completes as cancelled or, when it was quicker, as it would have. Harmless when idle. */
void ring_cancel(struct ring *ring, struct ring_op *op);

/* The chunk that a completion filled, whose reference passes to the caller; NULL when |flags| tell of none. */
struct chunk *ring_take_chunk(struct ring *ring, enum chunk_size size, uint32_t flags);
/* Chunks that the kernel can choose from, those of completions that are not yet recorded included. */
uint32_t ring_chunks_lent(const struct ring *ring, enum chunk_size size);
void ring_note_out_of_buffers(struct ring *ring);

/* A group of buffers that the kernel chooses from, for the owner's own memory. */
struct ring_group {
  void *shared; /* with the kernel */
  uint16_t id, entries;
};
/* |entries|: a power of two. False when the kernel refuses; errno says why. */
bool ring_group_open(struct ring *ring, struct ring_group *group, uint16_t entries);
void ring_group_close(struct ring *ring, struct ring_group *group);
/* Lends |len| bytes at |data| as buffer |id|, below |entries| and not lent now. */
void ring_group_lend(struct ring_group *group, void *data, uint32_t len, uint16_t id);
/* The id of the buffer that a completion used; -1: none. */
int32_t ring_buffer_id(uint32_t flags);

/* What a multishot recvmsg left in a buffer. */
struct ring_message {
  const uint8_t *name, *control, *payload;
  size_t name_len, control_len, payload_len;
  int flags; /* MSG_TRUNC ... */
};
/* False when |result| bytes cannot be a message that was asked for with |msg|. */
bool ring_message_read(void *buffer, int32_t result, struct msghdr *msg, struct ring_message *message);

/* Runs in each ring_wait, after the buffers were refilled and before the submission: the place where receives are
   armed, so that an owner may change its mind within a tick for nothing. Taken out with list_remove(&hook->node). */
struct ring_hook {
  struct list node;
  void (*run)(struct ring_hook *hook);
};
void ring_hook_add(struct ring *ring, struct ring_hook *hook);

/* Something closed that waits for its last completion. |bury| frees it and says true, or says false: not yet. */
struct ring_corpse {
  struct list node;
  bool (*bury)(struct ring_corpse *corpse);
};
void ring_corpse_add(struct ring *ring, struct ring_corpse *corpse);
void ring_bury(struct ring *ring);

#endif
