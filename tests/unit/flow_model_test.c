/* Flows against plain byte buffers: random pushes, copies, takes, releases and ends over several flows that share too
   few chunks and spans, so that every way of running out is met. */
#include "unit/support.h"

#include <stdlib.h>
#include <string.h>

#include "flow/flow.h"

enum { FLOWS = 3, SOURCES = 3, SMALL = 5, LARGE = 4, SPANS = 9, BYTES_MAX = 1 << 21, STEPS = 60000 };

struct model {
  struct flow flow;
  uint8_t *bytes; /* all that was pushed */
  uint64_t pushed, taken, released;
};

static struct {
  struct chunks chunks;
  struct model models[FLOWS];
  struct chunk *sources[SOURCES]; /* what is being received into */
  uint32_t pushed_of[SOURCES];    /* bytes of the source that were pushed or skipped */
  uint64_t seed;
  unsigned refusals, ends, merges;
} world;

static uint32_t below(uint32_t limit) { return draw_below(&world.seed, limit); }

/* Sizes of all orders of magnitude, at most |max|. */
static uint32_t some_len(uint32_t max) {
  uint32_t len = below(1U << (1 + below(17)));
  return len < max ? len : max;
}

static void bytes_fill(uint8_t *out, size_t len) {
  for (size_t i = 0; i < len; i++)
    out[i] = (uint8_t)below(256);
}

static void check_bytes(const struct model *model) {
  struct iovec iov[SPANS];
  size_t bytes;
  size_t count = flow_peek(&model->flow, iov, SPANS, &bytes);
  assert_int_equal(bytes, model->pushed - model->taken);
  const uint8_t *expected = model->bytes + model->taken;
  for (size_t i = 0; i < count; i++) {
    assert_true(iov[i].iov_len > 0);
    assert_memory_equal(iov[i].iov_base, expected, iov[i].iov_len);
    expected += iov[i].iov_len;
  }
  /* and what is taken but not released is still where it was */
  uint64_t at = model->released;
  uint32_t skip = model->flow.first_released;
  for (const struct span *span = model->flow.first; span != NULL; span = span->next) {
    assert_memory_equal(span->chunk->data + span->offset + skip, model->bytes + at, span->len - skip);
    at += span->len - skip;
    skip = 0;
  }
  assert_int_equal(at, model->pushed);
}

static void model_reopen(struct model *model) {
  flow_close(&model->flow);
  flow_open(&model->flow, &world.chunks);
  model->pushed = model->taken = model->released = 0;
}

/* After a push of |len| bytes at |data| that returned |err|. */
static void model_pushed(struct model *model, const uint8_t *data, size_t len, enum err err) {
  uint64_t accepted = model->flow.pushed - model->pushed;
  if (model->flow.end != FLOW_OPEN) {
    assert_int_equal(err, ERR_OK);
    assert_int_equal(accepted, 0);
    return;
  }
  assert_true(err == ERR_OK ? accepted == len : accepted < len);
  memcpy(model->bytes + model->pushed, data, accepted);
  model->pushed += accepted;
  if (err != ERR_OK) {
    assert_int_equal(err, ERR_OVERLOADED);
    world.refusals++;
    assert_true(flow_end(&model->flow, FLOW_ABORTED, err));
  }
}

static void step_push(struct model *model) {
  uint32_t slot = below(SOURCES);
  struct chunk *chunk = world.sources[slot];
  if (chunk == NULL) {
    chunk = world.sources[slot] = chunk_get(&world.chunks, below(2) == 0 ? CHUNK_SMALL : CHUNK_LARGE);
    world.pushed_of[slot] = 0;
    if (chunk == NULL)
      return;
  }
  uint32_t more = some_len(chunk_room(chunk));
  bytes_fill(chunk->data + chunk->used, more);
  chunk->used += more;
  uint32_t offset = world.pushed_of[slot];
  if (below(4) == 0) /* bytes that are no payload: a chunk's size line, a frame's header */
    offset += some_len(chunk->used - offset);
  uint32_t len = below(3) == 0 ? some_len(chunk->used - offset) : chunk->used - offset;
  size_t spans = world.chunks.spans.live;
  bool was_open = model->flow.end == FLOW_OPEN;
  enum err err = flow_push(&model->flow, chunk, offset, len);
  world.merges += was_open && len > 0 && err == ERR_OK && spans == world.chunks.spans.live;
  model_pushed(model, chunk->data + offset, len, err);
  world.pushed_of[slot] = offset + len;
  if (world.pushed_of[slot] == chunk->capacity || below(4) == 0) {
    chunk_unref(chunk);
    world.sources[slot] = NULL;
  }
}

static void step_copy(struct model *model) {
  static uint8_t data[1 << 17];
  uint32_t len = some_len(below(8) == 0 ? sizeof data : 3000);
  bytes_fill(data, len);
  model_pushed(model, data, len, flow_push_copy(&model->flow, data, len));
}

static void step_take(struct model *model) {
  uint64_t most = model->pushed - model->taken;
  uint64_t len = below(2) == 0 ? most : some_len((uint32_t)most);
  flow_take(&model->flow, len);
  model->taken += len;
}

static void step_release(struct model *model) {
  uint64_t most = model->taken - model->released;
  uint64_t len = below(2) == 0 ? most : some_len((uint32_t)most);
  flow_release(&model->flow, len);
  model->released += len;
}

static void step_end(struct model *model) {
  enum flow_end end = (enum flow_end)(FLOW_EOF + below(FLOW_CANCELLED));
  bool first = model->flow.end == FLOW_OPEN;
  assert_int_equal(flow_end(&model->flow, end, end == FLOW_EOF ? ERR_OK : ERR_LINK_DOWN), first);
  world.ends += first;
}

static void step(struct model *model) {
  if (model->pushed > BYTES_MAX - (1 << 18))
    model_reopen(model);
  switch (below(16)) {
  case 0:
  case 1:
  case 2:
  case 3:
    step_push(model);
    break;
  case 4:
  case 5:
    step_copy(model);
    break;
  case 6:
  case 7:
  case 8:
  case 9:
    step_take(model);
    break;
  case 10:
  case 11:
  case 12:
  case 13:
    step_release(model);
    break;
  case 14:
    if (below(10) == 0)
      step_end(model);
    break;
  default:
    if (model->flow.end != FLOW_OPEN)
      model_reopen(model);
    break;
  }
  const struct flow *flow = &model->flow;
  uint64_t untaken = model->pushed - model->taken;
  assert_int_equal(flow_untaken(flow), untaken);
  assert_int_equal(flow_room(flow),
                   flow->end != FLOW_OPEN || untaken > FLOW_UNTAKEN_BYTES_MAX ? 0 : FLOW_UNTAKEN_BYTES_MAX - untaken);
  assert_int_equal(flow_finished(flow), flow->end == FLOW_EOF && untaken == 0);
  assert_true((flow->first == NULL) == (model->released == model->pushed));
}

static void run(uint64_t seed) {
  world.seed = seed;
  assert_int_equal(chunks_open(&world.chunks, SMALL, LARGE, SPANS), ERR_OK);
  for (int i = 0; i < FLOWS; i++) {
    flow_open(&world.models[i].flow, &world.chunks);
    world.models[i].bytes = malloc(BYTES_MAX);
    assert_non_null(world.models[i].bytes);
  }
  for (int i = 0; i < STEPS; i++) {
    struct model *model = &world.models[below(FLOWS)];
    step(model);
    if (i % 16 == 0)
      check_bytes(model);
  }
  for (int i = 0; i < SOURCES; i++) {
    if (world.sources[i] != NULL)
      chunk_unref(world.sources[i]);
    world.sources[i] = NULL;
  }
  for (int i = 0; i < FLOWS; i++) {
    check_bytes(&world.models[i]);
    flow_close(&world.models[i].flow);
    free(world.models[i].bytes);
    world.models[i] = (struct model){.bytes = NULL};
  }
  assert_int_equal(pools_live(), 0);
  chunks_close(&world.chunks);
  assert_int_equal(pools_open(), 0);
}

static void test_random_against_bytes(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 4; seed++)
    run(seed * 0x9e3779b97f4a7c15);
  print_message("refused %u, ended %u, merged %u\n", world.refusals, world.ends, world.merges);
  /* the walk did go where it should */
  assert_true(world.refusals > 100);
  assert_true(world.ends > 100);
  assert_true(world.merges > 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_against_bytes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
