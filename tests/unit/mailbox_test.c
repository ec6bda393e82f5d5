#include "unit/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/mailbox.h"

static struct mail numbered(uint32_t number) {
  return (struct mail){
      .kind = 1, .detail = (uint16_t)(number * 3), .len = ~number, .number = (uint64_t)number << 32 | number};
}

static void expect_numbered(const struct mail *mail, uint32_t number) {
  assert_int_equal(mail->detail, (uint16_t)(number * 3));
  assert_int_equal(mail->len, ~number);
  assert_int_equal(mail->number, (uint64_t)number << 32 | number);
}

static void push(struct mailbox *mailbox, uint32_t number) {
  struct mail mail = numbered(number);
  mailbox_push(mailbox, &mail);
}

static void push_one(void *mailbox) { push(mailbox, 0); }

static void test_order(void **state) {
  (void)state;
  struct mailbox *mailbox;
  struct mail out[8];
  assert_int_equal(mailbox_open(&mailbox, 8), ERR_OK);
  assert_int_equal(mailbox_drain(mailbox, out, 8), 0);
  for (uint32_t i = 0; i < 5; i++)
    push(mailbox, i);
  assert_int_equal(mailbox_drain(mailbox, out, 8), 0); /* not flushed */
  assert_false(mailbox_flush(mailbox));                /* nobody sleeps */
  assert_int_equal(mailbox_drain(mailbox, out, 2), 2);
  expect_numbered(&out[0], 0);
  expect_numbered(&out[1], 1);
  assert_int_equal(mailbox_drain(mailbox, out, 8), 3);
  for (uint32_t i = 0; i < 3; i++)
    expect_numbered(&out[i], i + 2);
  assert_int_equal(mailbox_high_water(mailbox), 5);
  mailbox_close(mailbox);
  mailbox_close(NULL);
}

static void overfill(uint32_t capacity) {
  struct mailbox *mailbox;
  struct mail out[16];
  assert_int_equal(mailbox_open(&mailbox, capacity), ERR_OK);
  uint32_t pushed = 0, drained = 0;
  for (int round = 0; round < 100; round++) {
    assert_int_equal(mailbox_room(mailbox), capacity);
    for (; pushed - drained < capacity; pushed++) {
      assert_true(mailbox_room(mailbox) > 0);
      push(mailbox, pushed);
    }
    assert_int_equal(mailbox_room(mailbox), 0);
    if (round == 0)
      assert_true(dies(push_one, mailbox, "mailbox_room(mailbox) > 0"));
    assert_false(mailbox_flush(mailbox));
    uint32_t count = mailbox_drain(mailbox, out, 16);
    assert_int_equal(count, capacity);
    for (uint32_t i = 0; i < count; i++)
      expect_numbered(&out[i], drained++);
  }
  assert_int_equal(mailbox_high_water(mailbox), capacity);
  mailbox_close(mailbox);
}

static void test_overfill(void **state) {
  (void)state;
  overfill(1);
  overfill(2);
  overfill(16);
}

static void test_sleep(void **state) {
  (void)state;
  struct mailbox *mailbox;
  struct mail out[4];
  assert_int_equal(mailbox_open(&mailbox, 4), ERR_OK);
  assert_true(mailbox_sleep(mailbox));
  assert_false(mailbox_flush(mailbox)); /* nothing new: no reason to wake */
  push(mailbox, 1);
  assert_true(mailbox_flush(mailbox));
  push(mailbox, 2);
  assert_false(mailbox_flush(mailbox)); /* once is enough */
  mailbox_awake(mailbox);
  assert_false(mailbox_sleep(mailbox)); /* not with items inside */
  assert_int_equal(mailbox_drain(mailbox, out, 4), 2);
  assert_true(mailbox_sleep(mailbox));
  mailbox_awake(mailbox); /* by a timer, say */
  push(mailbox, 3);
  assert_false(mailbox_flush(mailbox));
  mailbox_close(mailbox);
}

/* --- two threads --- */

enum { ITEMS = 1000000, CAPACITY = 256, BATCH = 32 };

struct side {
  struct mailbox *there, *back; /* items to the consumer, credits to the producer */
  int wake_consumer, wake_producer;
  uint64_t sum;
  unsigned wakes;
  bool in_order;
};

static void wake(int fd) {
  uint64_t one = 1;
  ssize_t written = write(fd, &one, sizeof one);
  (void)written;
}

static void sleep_until_woken(int fd) {
  uint64_t value;
  ssize_t got = read(fd, &value, sizeof value);
  (void)got;
}

/* Checks each item, gives a credit back for each batch, sleeps when there is nothing. */
static void *consume(void *context) {
  struct side *side = context;
  struct mail items[BATCH];
  side->in_order = true;
  for (uint32_t next = 0; next < ITEMS;) {
    uint32_t count = mailbox_drain(side->there, items, BATCH);
    for (uint32_t i = 0; i < count; i++, next++) {
      struct mail want = numbered(next);
      side->in_order = side->in_order && memcmp(&want, &items[i], offsetof(struct mail, pad)) == 0;
      side->sum += items[i].number;
    }
    if (count > 0) {
      struct mail credit = {.kind = 2, .len = count};
      mailbox_push(side->back, &credit);
      if (mailbox_flush(side->back))
        wake(side->wake_producer);
    } else if (mailbox_sleep(side->there)) {
      sleep_until_woken(side->wake_consumer);
      side->wakes++;
      mailbox_awake(side->there);
    }
  }
  return NULL;
}

static uint32_t collect_credit(struct side *side) {
  struct mail credits[BATCH];
  uint32_t sum = 0, count;
  while ((count = mailbox_drain(side->back, credits, BATCH)) > 0) {
    for (uint32_t i = 0; i < count; i++)
      sum += credits[i].len;
  }
  return sum;
}

static void test_two_threads(void **state) {
  (void)state;
  struct side side = {.wake_consumer = eventfd(0, EFD_CLOEXEC), .wake_producer = eventfd(0, EFD_CLOEXEC)};
  assert_int_equal(mailbox_open(&side.there, CAPACITY), ERR_OK);
  assert_int_equal(mailbox_open(&side.back, CAPACITY), ERR_OK);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, consume, &side), 0);
  uint64_t seed = 99, sum = 0;
  uint32_t credit = CAPACITY;
  for (uint32_t next = 0; next < ITEMS;) {
    uint32_t burst = 1 + draw_below(&seed, 100);
    for (; burst > 0 && credit > 0 && next < ITEMS; burst--, credit--, next++) {
      struct mail mail = numbered(next);
      sum += mail.number;
      mailbox_push(side.there, &mail);
    }
    if (mailbox_flush(side.there))
      wake(side.wake_consumer);
    credit += collect_credit(&side);
    if (credit == 0 && mailbox_sleep(side.back)) {
      sleep_until_woken(side.wake_producer);
      mailbox_awake(side.back);
    }
  }
  pthread_join(thread, NULL);
  assert_true(side.in_order);
  assert_int_equal(side.sum, sum);
  assert_in_range(mailbox_high_water(side.there), 1, CAPACITY);
  close(side.wake_consumer);
  close(side.wake_producer);
  mailbox_close(side.there);
  mailbox_close(side.back);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_order),
      cmocka_unit_test(test_overfill),
      cmocka_unit_test(test_sleep),
      cmocka_unit_test(test_two_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
