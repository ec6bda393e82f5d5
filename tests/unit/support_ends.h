/* Ends of TCP connections for the tests of io/tcp: each sends the pattern of support_io.h, or sends back what it
   receives, and checks what it receives. */
#ifndef PTP_TESTS_UNIT_SUPPORT_ENDS_H
#define PTP_TESTS_UNIT_SUPPORT_ENDS_H

#include "io/tcp.h"
#include "unit/support_io.h"

enum { SEND_BYTES = 48 * 1024, STEPS_MAX = 200000, ENDS_MAX = 64 };

/* One side of a connection. */
struct end {
  struct tcp *tcp;
  bool used, connected, ended, failed, buried, echo;
  size_t to_send, sent, received;
  unsigned buried_count;
  const char *failure;
  uint8_t buffer[SEND_BYTES];
  size_t buffered; /* bytes in the buffer: being sent */
  struct chunk *borrowed[16];
  size_t borrowed_count;
};

extern struct tcp_config ends_options; /* for ends_open, which sets the number of connections */
extern struct end ends[ENDS_MAX];
extern struct tcp_stack *ends_stack;
extern struct tcp_listener *ends_listener;
extern struct address ends_listening;
extern unsigned ends_accepted;  /* calls of the accept function */
extern bool ends_accept_closes; /* it closes what it gets */
extern uint64_t ends_random;    /* for draw() */

/* A ring, a stack and a listener on |address|; ends_close ends all of it and checks that nothing is left. */
void ends_open(uint32_t small, uint32_t large, uint32_t connections, const char *address);
void ends_close(void);
void ends_tick(void);
/* The listener's: gives the connection to the first end that is not used. */
void ends_on_accept(void *context, struct tcp *tcp);

bool end_connect(struct end *end, const struct address *address);
void end_close(struct end *end, bool reset);
/* Sends what can be sent. */
void end_pump(struct end *end);
/* Connects ends[0] to the listener; its other side becomes ends[1]. */
void ends_connect(void);
/* A plain blocking socket, connected to the listener, whose other side is ends[0]. */
int ends_connect_plain(void);
enum tcp_input_mode ends_random_mode(void);

#define TICK_UNTIL(condition)                                                                                          \
  do {                                                                                                                 \
    for (int steps_ = 0; !(condition); steps_++) {                                                                     \
      assert_true(steps_ < STEPS_MAX);                                                                                 \
      ends_tick();                                                                                                     \
    }                                                                                                                  \
  } while (0)

#endif
