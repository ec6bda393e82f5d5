/* No operation that opens a file, makes a socket or changes what a name leads to. The one that reads is for the eventfd
   that wakes the ring. */
#include "io/ring_limit.h"

enum { SQE_FLAGS = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS };

static const uint8_t operations[] = {
    IORING_OP_ACCEPT,  IORING_OP_CONNECT, IORING_OP_RECV,         IORING_OP_RECVMSG, IORING_OP_SEND,
    IORING_OP_SENDMSG, IORING_OP_TIMEOUT, IORING_OP_ASYNC_CANCEL, IORING_OP_READ,
};

/* Sockets bring their own buffers, also later; a descriptor that was registered is taken back at the end. */
static const uint8_t registrations[] = {
    IORING_REGISTER_PBUF_RING,
    IORING_UNREGISTER_PBUF_RING,
    IORING_UNREGISTER_RING_FDS,
};

enum {
  OPERATIONS = sizeof operations / sizeof *operations,
  REGISTRATIONS = sizeof registrations / sizeof *registrations,
};

int ring_limit(struct io_uring *uring) {
  struct io_uring_restriction limits[OPERATIONS + REGISTRATIONS + 1] = {
      {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = SQE_FLAGS}};
  unsigned count = 1;
  for (unsigned i = 0; i < OPERATIONS; i++)
    limits[count++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = operations[i]};
  for (unsigned i = 0; i < REGISTRATIONS; i++)
    limits[count++] =
        (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = registrations[i]};
  return io_uring_register_restrictions(uring, limits, count);
}

bool ring_limit_allows(unsigned code) {
  for (unsigned i = 0; i < OPERATIONS; i++) {
    if (operations[i] == code)
      return true;
  }
  return false;
}

unsigned ring_limit_count(void) { return OPERATIONS; }
