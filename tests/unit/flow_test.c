#include "unit/support.h"

#include <string.h>

#include "base/poison.h"
#include "flow/flow.h"

enum { SMALL = 8, LARGE = 3, SPANS = 16 };

static struct chunks chunks;
static struct flow flow;

static int set_up(void **state) {
  (void)state;
  if (chunks_open(&chunks, SMALL, LARGE, SPANS) != ERR_OK)
    return -1;
  flow_open(&flow, &chunks);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  flow_close(&flow);
  return chunks_end(&chunks);
}

/* A chunk with |used| bytes that count up from |first|. */
static struct chunk *filled(enum chunk_size size, uint32_t used, uint8_t first) {
  struct chunk *chunk = chunk_get(&chunks, size);
  assert_non_null(chunk);
  for (uint32_t i = 0; i < used; i++)
    chunk->data[i] = (uint8_t)(first + i);
  chunk->used = used;
  return chunk;
}

static size_t spans_live(void) { return chunks.spans.live; }
static size_t chunks_live(void) { return chunks.headers[CHUNK_SMALL].live + chunks.headers[CHUNK_LARGE].live; }

static void test_open_is_empty(void **state) {
  (void)state;
  struct iovec iov[1];
  size_t bytes = 1;
  assert_int_equal(flow_peek(&flow, iov, 1, &bytes), 0);
  assert_int_equal(bytes, 0);
  assert_int_equal(flow_untaken(&flow), 0);
  assert_int_equal(flow_room(&flow), FLOW_UNTAKEN_BYTES_MAX);
  assert_false(flow_finished(&flow));
  assert_int_equal(flow.end, FLOW_OPEN);
  flow_take(&flow, 0);
  flow_release(&flow, 0);
  flow_close(&flow);
  flow_close(&flow); /* harmless */
}

static void test_large_piece_is_referred_to(void **state) {
  (void)state;
  struct chunk *chunk = filled(CHUNK_LARGE, 5000, 0);
  struct iovec iov[2];
  size_t bytes;
  assert_int_equal(flow_push(&flow, chunk, 100, COPY_BELOW_BYTES), ERR_OK);
  assert_int_equal(chunk->refs, 2);
  assert_int_equal(flow_peek(&flow, iov, 2, &bytes), 1);
  assert_int_equal(bytes, COPY_BELOW_BYTES);
  assert_ptr_equal(iov[0].iov_base, chunk->data + 100);
  chunk_unref(chunk);
  assert_int_equal(chunks_live(), 1);
  flow_take(&flow, 1000);
  assert_int_equal(flow_peek(&flow, iov, 2, NULL), 1);
  assert_ptr_equal(iov[0].iov_base, chunk->data + 1100);
  assert_int_equal(iov[0].iov_len, COPY_BELOW_BYTES - 1000);
  flow_release(&flow, 999);
  assert_int_equal(chunks_live(), 1);
  flow_take(&flow, COPY_BELOW_BYTES - 1000);
  flow_release(&flow, COPY_BELOW_BYTES - 999);
  assert_int_equal(pools_live(), 0);
}

static void test_continued_piece_is_merged(void **state) {
  (void)state;
  struct chunk *chunk = filled(CHUNK_LARGE, 4000, 0);
  assert_int_equal(flow_push(&flow, chunk, 0, 2000), ERR_OK);
  assert_int_equal(flow_push(&flow, chunk, 2000, 10), ERR_OK); /* small, but its buffer is pinned already */
  assert_int_equal(flow_push(&flow, chunk, 2010, 1500), ERR_OK);
  assert_int_equal(spans_live(), 1);
  assert_int_equal(chunk->refs, 2);
  flow_take(&flow, 3510);
  assert_int_equal(flow_push(&flow, chunk, 3510, 90), ERR_OK); /* after all was taken */
  struct iovec iov[2];
  assert_int_equal(flow_peek(&flow, iov, 2, NULL), 1);
  assert_ptr_equal(iov[0].iov_base, chunk->data + 3510);
  assert_int_equal(iov[0].iov_len, 90);
  assert_int_equal(flow_push(&flow, chunk, 3601, 399), ERR_OK); /* a gap: copied */
  assert_int_equal(spans_live(), 2);
  assert_int_equal(chunk->refs, 2);
  chunk_unref(chunk);
}

static void test_account_bounds_several_flows(void **state) {
  (void)state;
  struct flow other;
  struct flow_account account = {.limit = 5000};
  static const uint8_t data[4000];
  flow_open(&other, &chunks);
  assert_int_equal(flow_push_copy(&flow, data, 1000), ERR_OK);
  flow_set_account(&flow, &account); /* what it holds already counts */
  flow_set_account(&other, &account);
  assert_int_equal(account.held, 1000);
  assert_int_equal(flow_push_copy(&other, data, 3999), ERR_OK);
  assert_int_not_equal(flow_room(&flow), 0);
  assert_int_equal(flow_push_copy(&other, data, 1), ERR_OK);
  assert_int_equal(account.held, 5000);
  assert_int_equal(flow_room(&flow), 0);
  assert_int_equal(flow_room(&other), 0);
  flow_take(&flow, 1000);
  assert_int_equal(flow_room(&flow), 0);
  assert_int_equal(flow_push_copy(&other, data, 1000), ERR_OK); /* what was received already */
  flow_release(&flow, 1000);
  assert_int_equal(account.held, 5000);
  assert_int_not_equal(flow_room(&flow), 0); /* it holds nothing: it goes on */
  assert_int_equal(flow_room(&other), 0);
  flow_take(&other, 1000);
  flow_release(&other, 1000);
  assert_int_equal(account.held, 4000);
  assert_int_not_equal(flow_room(&other), 0);
  flow_set_account(&other, NULL);
  assert_int_equal(account.held, 0);
  flow_close(&other);
  flow_set_account(&flow, NULL); /* it outlives the account */
  assert_int_equal(account.held, 0);
}

static void test_small_pieces_are_copied_together(void **state) {
  (void)state;
  for (uint8_t i = 0; i < 4; i++) {
    struct chunk *chunk = filled(CHUNK_LARGE, COPY_BELOW_BYTES - 1, i);
    assert_int_equal(flow_push(&flow, chunk, 0, COPY_BELOW_BYTES - 1), ERR_OK);
    assert_int_equal(chunk->refs, 1);
    chunk_unref(chunk);
  }
  assert_int_equal(spans_live(), 1);
  assert_int_equal(chunks_live(), 1);
  struct iovec iov[1];
  size_t bytes;
  flow_peek(&flow, iov, 1, &bytes);
  assert_int_equal(bytes, 4 * (COPY_BELOW_BYTES - 1));
  for (uint32_t i = 0; i < bytes; i++)
    assert_int_equal(((uint8_t *)iov[0].iov_base)[i],
                     (uint8_t)(i / (COPY_BELOW_BYTES - 1) + i % (COPY_BELOW_BYTES - 1)));
}

static void test_copy_after_a_reference_does_not_touch_it(void **state) {
  (void)state;
  struct chunk *chunk = filled(CHUNK_SMALL, 2000, 0);
  assert_int_equal(flow_push(&flow, chunk, 0, 2000), ERR_OK);
  assert_int_equal(flow_push_copy(&flow, "abc", 3), ERR_OK);
  assert_int_equal(chunk->used, 2000); /* its producer goes on to fill it */
  assert_int_equal(spans_live(), 2);
  assert_int_equal(flow_push_copy(&flow, "def", 3), ERR_OK);
  assert_int_equal(spans_live(), 2);
  struct iovec iov[2];
  assert_int_equal(flow_peek(&flow, iov, 2, NULL), 2);
  assert_int_equal(iov[1].iov_len, 6);
  assert_memory_equal(iov[1].iov_base, "abcdef", 6);
  chunk_unref(chunk);
}

static void test_copy_chunk_is_filled_while_its_start_is_released(void **state) {
  (void)state;
  struct iovec iov[1];
  assert_int_equal(flow_push_copy(&flow, "abcdef", 6), ERR_OK);
  flow_take(&flow, 6);
  flow_release(&flow, 5);
  assert_int_equal(flow_push_copy(&flow, "ghi", 3), ERR_OK);
  assert_int_equal(chunks_live(), 1);
  assert_int_equal(spans_live(), 1);
  assert_int_equal(flow_peek(&flow, iov, 1, NULL), 1);
  assert_int_equal(iov[0].iov_len, 3);
  assert_memory_equal(iov[0].iov_base, "ghi", 3);
  flow_take(&flow, 3);
  flow_release(&flow, 4);
  assert_int_equal(pools_live(), 0);
  assert_int_equal(flow_push_copy(&flow, "j", 1), ERR_OK); /* all was released: a new one */
  assert_int_equal(chunks_live(), 1);
}

static void test_copy_sizes(void **state) {
  (void)state;
  static uint8_t data[CHUNK_LARGE_BYTES + CHUNK_SMALL_BYTES];
  assert_int_equal(flow_push_copy(&flow, data, 0), ERR_OK);
  assert_int_equal(pools_live(), 0);
  assert_int_equal(flow_push_copy(&flow, data, CHUNK_SMALL_BYTES), ERR_OK);
  assert_int_equal(chunks.headers[CHUNK_SMALL].live, 1);
  assert_int_equal(flow_push_copy(&flow, data, CHUNK_SMALL_BYTES + 1), ERR_OK);
  assert_int_equal(chunks.headers[CHUNK_LARGE].live, 1);
  assert_int_equal(flow_push_copy(&flow, data, CHUNK_LARGE_BYTES - CHUNK_SMALL_BYTES - 1), ERR_OK);
  assert_int_equal(chunks_live(), 2);
  assert_int_equal(flow_push_copy(&flow, data, sizeof data), ERR_OK);
  assert_int_equal(flow_untaken(&flow), 2 * (CHUNK_LARGE_BYTES + CHUNK_SMALL_BYTES));
  /* A little goes into a large one, too, when much waits already: small ones are for heads. */
  assert_int_equal(chunks.headers[CHUNK_SMALL].live, 1);
  assert_int_equal(chunks.headers[CHUNK_LARGE].live, 3);
  flow_take(&flow, 2 * (CHUNK_LARGE_BYTES + CHUNK_SMALL_BYTES));
  flow_release(&flow, 2 * (CHUNK_LARGE_BYTES + CHUNK_SMALL_BYTES));
  assert_int_equal(flow_push_copy(&flow, data, 1), ERR_OK);
  assert_int_equal(chunks.headers[CHUNK_SMALL].live, 1);
  assert_int_equal(chunks.headers[CHUNK_LARGE].live, 0);
}

static void test_other_size_when_one_is_out(void **state) {
  (void)state;
  struct chunk *held[SMALL];
  for (int i = 0; i < SMALL; i++)
    held[i] = filled(CHUNK_SMALL, 500, 0);
  assert_int_equal(flow_push_copy(&flow, "abc", 3), ERR_OK);
  assert_int_equal(chunks.headers[CHUNK_LARGE].live, 1);
  for (int i = 0; i < SMALL; i++)
    chunk_unref(held[i]);
  for (int i = 0; i < LARGE - 1; i++)
    held[i] = filled(CHUNK_LARGE, 500, 0);
  static uint8_t data[CHUNK_LARGE_BYTES - 3 + 2 * CHUNK_SMALL_BYTES];
  assert_int_equal(flow_push_copy(&flow, data, sizeof data), ERR_OK);
  assert_int_equal(chunks.headers[CHUNK_SMALL].live, 2);
  for (int i = 0; i < LARGE - 1; i++)
    chunk_unref(held[i]);
}

static void test_refers_when_nothing_is_left_to_copy_to(void **state) {
  (void)state;
  struct chunk *held[SMALL + LARGE];
  for (int i = 0; i < SMALL + LARGE; i++)
    held[i] = filled(i < SMALL ? CHUNK_SMALL : CHUNK_LARGE, 500, 0);
  assert_int_equal(flow_push(&flow, held[0], 10, 100), ERR_OK);
  assert_int_equal(held[0]->refs, 2);
  assert_int_equal(flow_push_copy(&flow, "abc", 3), ERR_OVERLOADED); /* N+1 chunks */
  assert_int_equal(flow_untaken(&flow), 100);
  assert_int_equal(spans_live(), 1); /* the span that was got in vain is back */
  for (int i = 0; i < SMALL + LARGE; i++)
    chunk_unref(held[i]);
}

static void test_no_span_left(void **state) {
  (void)state;
  struct chunk *chunk = filled(CHUNK_LARGE, CHUNK_LARGE_BYTES, 0);
  for (uint32_t i = 0; i < SPANS; i++)
    assert_int_equal(flow_push(&flow, chunk, i * 2000, 1999), ERR_OK);
  assert_int_equal(flow_push(&flow, chunk, 50000, 2000), ERR_OVERLOADED); /* N+1 spans */
  assert_int_equal(flow_push(&flow, chunk, 50000, 2), ERR_OVERLOADED);
  assert_int_equal(flow_push_copy(&flow, "abc", 3), ERR_OVERLOADED);
  assert_int_equal(flow_push(&flow, chunk, (SPANS - 1) * 2000 + 1999, 1), ERR_OK); /* merging needs none */
  assert_int_equal(chunk->refs, SPANS + 1);
  assert_int_equal(chunks_live(), 1); /* no chunk was got in vain */
  flow_close(&flow);
  assert_int_equal(chunk->refs, 1);
  chunk_unref(chunk);
}

static void test_room(void **state) {
  (void)state;
  struct chunk *chunk = filled(CHUNK_LARGE, CHUNK_LARGE_BYTES, 0);
  assert_int_equal(flow_push(&flow, chunk, 0, CHUNK_LARGE_BYTES), ERR_OK);
  assert_int_equal(flow_room(&flow), FLOW_UNTAKEN_BYTES_MAX - CHUNK_LARGE_BYTES);
  assert_int_equal(flow_push(&flow, chunk, 0, CHUNK_LARGE_BYTES), ERR_OK);
  assert_int_equal(flow_room(&flow), 0);
  assert_int_equal(flow_push(&flow, chunk, 0, CHUNK_LARGE_BYTES), ERR_OK); /* the overshoot */
  assert_int_equal(flow_room(&flow), 0);
  flow_take(&flow, CHUNK_LARGE_BYTES + 1);
  assert_int_equal(flow_room(&flow), 1);
  flow_end(&flow, FLOW_ABORTED, ERR_STREAM_RESET);
  assert_int_equal(flow_room(&flow), 0);
  chunk_unref(chunk);
}

static void test_end_is_set_once(void **state) {
  (void)state;
  struct chunk *chunk = filled(CHUNK_SMALL, 3000, 0);
  assert_int_equal(flow_push(&flow, chunk, 0, 2000), ERR_OK);
  assert_true(flow_end(&flow, FLOW_TIMED_OUT, ERR_ORIGIN_TIMEOUT));
  assert_false(flow_end(&flow, FLOW_EOF, ERR_OK));
  assert_int_equal(flow.end, FLOW_TIMED_OUT);
  assert_int_equal(flow.reason, ERR_ORIGIN_TIMEOUT);
  assert_int_equal(flow_push(&flow, chunk, 2000, 1000), ERR_OK); /* dropped */
  assert_int_equal(flow_push_copy(&flow, "abc", 3), ERR_OK);
  assert_int_equal(flow_untaken(&flow), 2000);
  flow_take(&flow, 2000); /* what came before the end can still be had */
  assert_false(flow_finished(&flow));
  chunk_unref(chunk);
}

static void test_finished(void **state) {
  (void)state;
  assert_int_equal(flow_push_copy(&flow, "abc", 3), ERR_OK);
  assert_true(flow_end(&flow, FLOW_EOF, ERR_OK));
  assert_false(flow_finished(&flow));
  flow_take(&flow, 3);
  assert_true(flow_finished(&flow));
  flow_close(&flow);
  flow_open(&flow, &chunks);
  assert_int_equal(flow.end, FLOW_OPEN);
  assert_int_equal(flow.pushed, 0);
}

static void test_peek_is_bounded(void **state) {
  (void)state;
  struct chunk *chunk = filled(CHUNK_LARGE, CHUNK_LARGE_BYTES, 0);
  struct iovec iov[3];
  size_t bytes;
  for (uint32_t i = 0; i < 5; i++)
    assert_int_equal(flow_push(&flow, chunk, i * 3000, 2000), ERR_OK);
  flow_take(&flow, 2500);
  assert_int_equal(flow_peek(&flow, iov, 0, &bytes), 0);
  assert_int_equal(bytes, 0);
  assert_int_equal(flow_peek(&flow, iov, 3, &bytes), 3);
  assert_int_equal(bytes, 1500 + 2000 + 2000);
  assert_ptr_equal(iov[0].iov_base, chunk->data + 3500);
  assert_ptr_equal(iov[2].iov_base, chunk->data + 9000);
  chunk_unref(chunk);
}

static void push_beyond_used(void *context) { (void)!flow_push(&flow, context, 1, 2000); }
static void push_wrapping(void *context) { (void)!flow_push(&flow, context, 10, UINT32_MAX - 5); }
static void take_too_much(void *context) { flow_take(context, 4); }
static void release_untaken(void *context) { flow_release(context, 3); }
static void end_open(void *context) { flow_end(context, FLOW_OPEN, ERR_OK); }
static void end_unknown(void *context) { flow_end(context, (enum flow_end)(FLOW_CANCELLED + 1), ERR_OK); }
static void end_well_for_a_reason(void *context) { flow_end(context, FLOW_EOF, ERR_STREAM_RESET); }

static void test_misuse(void **state) {
  (void)state;
  struct chunk *chunk = filled(CHUNK_SMALL, 2000, 0);
  assert_true(dies(push_beyond_used, chunk, "chunk->used"));
  assert_true(dies(push_wrapping, chunk, "chunk->used"));
  assert_int_equal(flow_push_copy(&flow, "abc", 3), ERR_OK);
  flow_take(&flow, 2);
  assert_true(dies(take_too_much, &flow, "flow->taken"));
  assert_true(dies(release_untaken, &flow, "flow->released"));
  assert_true(dies(end_open, &flow, "FLOW_OPEN"));
  assert_true(dies(end_unknown, &flow, "FLOW_CANCELLED"));
  assert_true(dies(end_well_for_a_reason, &flow, "ERR_OK"));
  chunk_unref(chunk);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_open_is_empty, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_large_piece_is_referred_to, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_continued_piece_is_merged, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_account_bounds_several_flows, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_small_pieces_are_copied_together, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_copy_after_a_reference_does_not_touch_it, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_copy_chunk_is_filled_while_its_start_is_released, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_copy_sizes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_other_size_when_one_is_out, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_refers_when_nothing_is_left_to_copy_to, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_no_span_left, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_room, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_end_is_set_once, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_finished, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_peek_is_bounded, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_misuse, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
