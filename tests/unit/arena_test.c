#include "base/arena.h"

#include <string.h>

#include "base/random.h"
#include "unit/support.h"

enum { SLOTS = 500, STEPS = 100000, MEBIBYTE = 1 << 20 };

struct slot {
  uint8_t *block;
  size_t size;
  uint8_t fill;
};

static void expect_filled(const struct slot *slot, size_t size) {
  for (size_t i = 0; i < size; i++)
    assert_int_equal(slot->block[i], slot->fill);
}

static size_t some_size(uint64_t number) { return number % 8 == 0 ? number / 8 % 20000 : number / 8 % 600; }

/* Blocks keep their content whatever happens to others, and are aligned. */
static void test_model(void **state) {
  (void)state;
  static struct slot slots[SLOTS];
  struct arena arena;
  arena_open(&arena, 64 * MEBIBYTE);
  random_seed(7);
  for (int step = 0; step < STEPS; step++) {
    uint64_t dice[3];
    random_fill((uint8_t *)dice, sizeof dice);
    struct slot *slot = &slots[dice[0] % SLOTS];
    expect_filled(slot, slot->size);
    size_t size = some_size(dice[1]);
    if (slot->block != NULL && dice[2] % 2 == 0) {
      arena_free(&arena, slot->block);
      *slot = (struct slot){.block = NULL};
      continue;
    }
    slot->block = arena_realloc(&arena, slot->block, size);
    assert_non_null(slot->block);
    assert_int_equal((uintptr_t)slot->block % 16, 0);
    expect_filled(slot, slot->size < size ? slot->size : size);
    slot->size = size;
    slot->fill = (uint8_t)dice[2];
    memset(slot->block, slot->fill, size);
  }
  for (size_t i = 0; i < SLOTS; i++)
    arena_free(&arena, slots[i].block);
  assert_int_equal(arena.live, 0);
  assert_int_equal(arena.blocks, 0);
  assert_true(arena.held <= arena.live_max * 4);
  arena_close(&arena);
}

/* The same again needs no more memory of the system. */
static void test_steady(void **state) {
  (void)state;
  struct arena arena;
  arena_open(&arena, 64 * MEBIBYTE);
  size_t held = 0;
  for (int round = 0; round < 100; round++) {
    void *blocks[300];
    for (size_t i = 0; i < 300; i++)
      blocks[i] = arena_calloc(&arena, i + 1, 13);
    for (size_t i = 0; i < 300; i++)
      arena_free(&arena, blocks[(i * 7) % 300]);
    if (round == 0)
      held = arena.held;
    assert_int_equal(arena.held, held);
  }
  arena_close(&arena);
}

/* Every size gets a block that holds it and its header, and that is at most half as large again. */
static void test_classes(void **state) {
  (void)state;
  struct arena arena;
  arena_open(&arena, MEBIBYTE);
  for (size_t size = 0; size < 7000; size++) {
    void *block = arena_malloc(&arena, size);
    assert_non_null(block);
    assert_true(arena.live >= size + 16);
    assert_true(arena.live == 32 || arena.live <= (size + 16) * 3 / 2);
    arena_free(&arena, block);
  }
  arena_close(&arena);
}

static void test_limit(void **state) {
  (void)state;
  struct arena arena;
  void *blocks[5000];
  for (size_t size = 100; size <= 100000; size *= 10) {
    size_t count = 0;
    arena_open(&arena, MEBIBYTE);
    while (count < 5000 && (blocks[count] = arena_malloc(&arena, size)) != NULL)
      count++;
    if (size > 100) {
      assert_int_equal(arena.refused, 1);
      assert_in_range(count, MEBIBYTE / size / 3, MEBIBYTE / size);
    }
    assert_true(arena.held <= MEBIBYTE && arena.live <= arena.held);
    if (count > 0)
      assert_null(arena_realloc(&arena, blocks[0], 2 * MEBIBYTE)); /* the old one stays */
    while (count > 0)
      arena_free(&arena, blocks[--count]);
    arena_close(&arena);
  }
}

static void test_overflow(void **state) {
  (void)state;
  struct arena arena;
  arena_open(&arena, SIZE_MAX);
  assert_null(arena_malloc(&arena, SIZE_MAX));
  assert_null(arena_malloc(&arena, SIZE_MAX - 8));
  assert_null(arena_calloc(&arena, SIZE_MAX / 2, 3));
  assert_int_equal(arena.refused, 3);
  void *nothing = arena_malloc(&arena, 0);
  assert_non_null(nothing);
  arena_free(&arena, nothing);
  arena_free(&arena, NULL);
  arena_close(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_model), cmocka_unit_test(test_steady),   cmocka_unit_test(test_classes),
      cmocka_unit_test(test_limit), cmocka_unit_test(test_overflow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
