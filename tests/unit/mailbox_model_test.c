/* A model of how io/mailbox.c wakes its consumer, in which every order of the two threads' atomic operations is tried:
   no state is reached in which items wait, the consumer sleeps, and nobody is going to wake it. The same search finds
   the lost wake-up when the operations are put in another order, which shows that it would find one here.

   The model: the producer publishes its items in flushes of any size; the consumer drains, and sleeps when there is
   nothing. Each step below is one atomic operation of the source, all of them sequentially consistent there, or private
   to its thread. A wake-up is an eventfd's: it stays until it is read. Both threads' copies of the other's index are
   left out: they are only older than what is read here, and mailbox_sleep reads no copy. */
#include "unit/support.h"

#include <string.h>

enum { ITEMS = 5, STATES_MAX = 1 << 20 };

/* Where the producer is: between two flushes, or within mailbox_flush and after it. */
enum producer { P_PUSH, P_READ_SLEEPING, P_EXCHANGE_SLEEPING, P_WAKE, P_STEPS };
/* Where the consumer is: mailbox_drain, mailbox_sleep, the wait, mailbox_awake. */
enum consumer { C_DRAIN, C_WRITE_SLEEPING, C_READ_TAIL, C_WAIT, C_AWAKE, C_STEPS };

/* What the order of the operations may be. */
enum variant {
  AS_IT_IS,
  READS_TAIL_FIRST,     /* the consumer: reads tail, then writes sleeping */
  READS_SLEEPING_FIRST, /* the producer: reads sleeping, then writes tail */
};

struct state {
  uint8_t producer, consumer;
  uint8_t pushed;   /* items written; published up to tail */
  uint8_t tail;     /* shared */
  uint8_t head;     /* items taken */
  uint8_t seen;     /* READS_TAIL_FIRST: the tail that was read; READS_SLEEPING_FIRST: what sleeping was */
  uint8_t sleeping; /* shared */
  uint8_t wakes;    /* the eventfd: 0 or 1 */
};

static struct {
  enum variant variant;
  bool seen[1 << 22];
  struct state stack[STATES_MAX];
  size_t depth;
  unsigned states, lost, ends, wakes, slept;
} search;

/* A number for each state: every field is small. */
static uint32_t key(const struct state *state) {
  uint32_t key = state->producer;
  key = key * C_STEPS + state->consumer;
  key = key * (ITEMS + 1) + state->pushed;
  key = key * (ITEMS + 1) + state->tail;
  key = key * (ITEMS + 1) + state->head;
  key = key * (ITEMS + 1) + state->seen;
  key = key * 2 + state->sleeping;
  return key * 2 + state->wakes;
}

static void visit(const struct state *state) {
  uint32_t number = key(state);
  assert_true(number < sizeof search.seen);
  if (search.seen[number])
    return;
  search.seen[number] = true;
  search.states++;
  assert_true(search.depth < STATES_MAX);
  search.stack[search.depth++] = *state;
}

/* mailbox_flush of one item more, two, ... or all that are left: one successor each. */
static void step_flush(const struct state *from) {
  for (uint8_t pushed = from->pushed + 1; pushed <= ITEMS; pushed++) {
    struct state to = *from;
    to.pushed = pushed;
    if (search.variant == READS_SLEEPING_FIRST)
      to.seen = from->sleeping;
    else
      to.tail = pushed;
    to.producer = P_READ_SLEEPING;
    visit(&to);
  }
}

static void step_producer(const struct state *from) {
  struct state to = *from;
  switch (from->producer) {
  case P_PUSH:
    step_flush(from);
    return;
  case P_READ_SLEEPING:
    if (search.variant == READS_SLEEPING_FIRST) {
      to.tail = from->pushed;
      to.producer = from->seen ? P_EXCHANGE_SLEEPING : P_PUSH;
      to.seen = 0;
    } else {
      to.producer = from->sleeping ? P_EXCHANGE_SLEEPING : P_PUSH;
    }
    break;
  case P_EXCHANGE_SLEEPING:
    to.producer = from->sleeping ? P_WAKE : P_PUSH;
    to.sleeping = 0;
    break;
  default:
    to.wakes = 1;
    to.producer = P_PUSH;
    search.wakes++;
    break;
  }
  visit(&to);
}

static void step_drain(const struct state *from) {
  struct state to = *from;
  if (from->tail != from->head) {
    to.head = from->tail;
  } else if (search.variant == READS_TAIL_FIRST) {
    to.seen = from->tail;
    to.consumer = C_READ_TAIL;
  } else {
    to.consumer = C_WRITE_SLEEPING;
  }
  visit(&to);
}

/* The two halves of mailbox_sleep; swapped in one of the variants. */
static void step_sleep(const struct state *from) {
  struct state to = *from;
  if (from->consumer == C_WRITE_SLEEPING) {
    to.sleeping = 1;
    to.consumer = C_READ_TAIL;
  } else if (search.variant == READS_TAIL_FIRST) {
    to.sleeping = 1;
    to.consumer = C_WAIT;
    to.seen = 0;
  } else {
    to.consumer = from->tail == from->head ? C_WAIT : C_AWAKE;
  }
  visit(&to);
}

static void step_consumer(const struct state *from) {
  struct state to = *from;
  switch (from->consumer) {
  case C_DRAIN:
    step_drain(from);
    return;
  case C_WRITE_SLEEPING:
  case C_READ_TAIL:
    step_sleep(from);
    return;
  case C_WAIT:
    if (from->wakes == 0)
      return; /* it sleeps */
    search.slept++;
    to.wakes = 0;
    to.consumer = C_AWAKE;
    break;
  default:
    to.sleeping = 0;
    to.consumer = C_DRAIN;
    break;
  }
  visit(&to);
}

/* The consumer sleeps, and the producer has done all it will do for what it has pushed so far. */
static void judge(const struct state *state) {
  bool asleep = state->consumer == C_WAIT && state->wakes == 0;
  if (!asleep || state->producer != P_PUSH)
    return;
  if (state->head != state->tail)
    search.lost++;
  else if (state->pushed == ITEMS)
    search.ends++;
}

static void explore(enum variant variant) {
  memset(&search, 0, sizeof search);
  search.variant = variant;
  visit(&(struct state){.producer = P_PUSH});
  while (search.depth > 0) {
    struct state state = search.stack[--search.depth];
    judge(&state);
    step_producer(&state);
    step_consumer(&state);
  }
  print_message("variant %d: %u states, %u wake-ups, %u lost\n", (int)variant, search.states, search.wakes,
                search.lost);
}

static void test_no_wake_up_is_lost(void **state) {
  (void)state;
  explore(AS_IT_IS);
  assert_int_equal(search.lost, 0);
  assert_true(search.ends > 0 && search.wakes > 0 && search.slept > 0 && search.states > 100);
}

static void test_the_search_finds_lost_ones(void **state) {
  (void)state;
  explore(READS_TAIL_FIRST);
  assert_true(search.lost > 0);
  explore(READS_SLEEPING_FIRST);
  assert_true(search.lost > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_wake_up_is_lost),
      cmocka_unit_test(test_the_search_finds_lost_ones),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
