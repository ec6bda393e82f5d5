#include "unit/support.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/must.h"
#include "base/poison.h"
#include "base/pool.h"

enum { CAPACITY = 8, OBJECT_BYTES = 100 };

static int set_up(void **state) {
  static struct pool pool;
  *state = &pool;
  return pool_open(&pool, "test", OBJECT_BYTES, CAPACITY) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state) {
  pool_close(*state);
  return pools_open() == 0 && pools_live() == 0 ? 0 : -1;
}

static void test_open(void **state) {
  struct pool *pool = *state;
  assert_int_equal(pool->object_bytes, 128);
  assert_int_equal(pool->capacity, CAPACITY);
  assert_string_equal(pool->name, "test");
  assert_int_equal(pool->live, 0);
}

static void test_overfill(void **state) {
  struct pool *pool = *state;
  void *objects[CAPACITY];
  for (uint32_t i = 0; i < CAPACITY; i++) {
    objects[i] = pool_get(pool);
    assert_non_null(objects[i]);
    assert_int_equal((uintptr_t)objects[i] % 64, 0);
    assert_int_equal(pool_index(pool, objects[i]), i);
    assert_ptr_equal(pool_at(pool, i), objects[i]);
    memset(objects[i], (int)i, OBJECT_BYTES);
  }
  assert_null(pool_get(pool));
  assert_null(pool_get(pool));
  assert_int_equal(pool->refused, 2);
  assert_int_equal(pool->live, CAPACITY);
  for (uint32_t i = 0; i < CAPACITY; i++) {
    assert_int_equal(((uint8_t *)objects[i])[OBJECT_BYTES - 1], i);
    pool_put(pool, objects[i]);
  }
  assert_int_equal(pool->live, 0);
  assert_int_equal(pool->live_max, CAPACITY);
}

static void test_last_in_first_out(void **state) {
  struct pool *pool = *state;
  void *first = pool_get(pool);
  void *second = pool_get(pool);
  pool_put(pool, first);
  pool_put(pool, second);
  assert_ptr_equal(pool_get(pool), second);
  assert_ptr_equal(pool_get(pool), first);
  pool_put(pool, first);
  pool_put(pool, second);
  assert_int_equal(pool->fresh, 2);
}

static void test_random_order_keeps_objects_apart(void **state) {
  struct pool *pool = *state;
  uint8_t *objects[CAPACITY] = {NULL};
  uint64_t seed = 7;
  for (int round = 0; round < 20000; round++) {
    uint32_t i = draw_below(&seed, CAPACITY);
    if (objects[i] == NULL) {
      objects[i] = pool_get(pool);
      memset(objects[i], (int)i, OBJECT_BYTES);
    } else {
      for (int at = 0; at < OBJECT_BYTES; at++)
        assert_int_equal(objects[i][at], i);
      pool_put(pool, objects[i]);
      objects[i] = NULL;
    }
  }
  for (int i = 0; i < CAPACITY; i++)
    if (objects[i] != NULL)
      pool_put(pool, objects[i]);
}

struct act {
  struct pool *pool;
  void *object;
};
static void put(void *context) { pool_put(((struct act *)context)->pool, ((struct act *)context)->object); }
static void put_twice(void *context) {
  put(context);
  put(context);
}
static void index_of(void *context) { pool_index(((struct act *)context)->pool, ((struct act *)context)->object); }
static void at_capacity(void *context) { pool_at(((struct act *)context)->pool, CAPACITY); }
static void close_pool(void *context) { pool_close(((struct act *)context)->pool); }

static void test_wrong_objects(void **state) {
  struct pool *pool = *state;
  struct act act = {pool, pool_get(pool)};
  uint8_t *good = act.object;
  assert_true(dies(put_twice, &act, "broken invariant"));
  assert_true(dies(close_pool, &act, "pool->live == 0"));
  assert_true(dies(at_capacity, &act, "index < pool->capacity"));
  act.object = good + 1;
  assert_true(dies(put, &act, "broken invariant"));
  act.object = good + 64; /* aligned, yet within an object */
  assert_true(dies(put, &act, "unit % units_each"));
  act.object = good + 128; /* never handed out */
  assert_true(dies(put, &act, "pool->fresh"));
  act.object = pool->memory + (size_t)CAPACITY * 128;
  assert_true(dies(index_of, &act, "broken invariant"));
  act.object = pool->memory - 64;
  assert_true(dies(index_of, &act, "broken invariant"));
  act.object = NULL;
  assert_true(dies(put, &act, "broken invariant"));
  pool_put(pool, good);
}

static void test_free_objects_are_poisoned(void **state) {
  struct pool *pool = *state;
  uint8_t *object = pool_get(pool);
  assert_false(memory_poisoned(object));
  pool_put(pool, object);
#if defined(PTP_ADDRESS_SANITIZER)
  assert_true(memory_poisoned(object));
  assert_true(memory_poisoned(object + 127));
#endif
}

static void names_add(void *context, const struct pool *pool) {
  char *names = context;
  size_t len = strlen(names);
  snprintf(names + len, 100 - len, "%s=%u/%u ", pool->name, pool->live, pool->capacity);
}

static void test_each_in_order_of_opening(void **state) {
  struct pool *pool = *state;
  struct pool second, third;
  char names[100] = "";
  assert_int_equal(pool_open(&second, "second", 1, 2), ERR_OK);
  assert_int_equal(pool_open(&third, "third", 64, 0), ERR_OK);
  assert_null(pool_get(&third));
  void *object = pool_get(&second);
  pool_each(names_add, names);
  assert_string_equal(names, "test=0/8 second=1/2 third=0/0 ");
  pool_put(&second, object);
  pool_close(&second);
  names[0] = '\0';
  pool_each(names_add, names);
  assert_string_equal(names, "test=0/8 third=0/0 ");
  pool_close(&third);
  assert_int_equal(pool->live, 0);
}

static void *use_own_pool(void *context) {
  (void)context;
  for (int round = 0; round < 200; round++) {
    struct pool pool;
    must(pool_open(&pool, "thread", 64, 4) == ERR_OK);
    for (int i = 0; i < 50; i++)
      pool_put(&pool, pool_get(&pool));
    pool_close(&pool);
  }
  return NULL;
}

static void test_each_beside_other_threads(void **state) {
  (void)state;
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, use_own_pool, NULL), 0);
  for (int i = 0; i < 1000; i++)
    assert_true(pools_live() <= 2 && pools_open() <= 3);
  for (int i = 0; i < 2; i++)
    pthread_join(threads[i], NULL);
}

static void open_without_memory(void *context) {
  struct rlimit none = {1, 1};
  struct pool pool;
  (void)context;
  setrlimit(RLIMIT_AS, &none);
  if (pool_open(&pool, "none", 64, 1024) == ERR_NO_MEMORY)
    must_never("refused, as it should");
}

static void test_no_memory(void **state) {
  (void)state;
  assert_true(dies(open_without_memory, NULL, "refused, as it should"));
}

static void test_resident_only_what_was_used(void **state) {
  (void)state;
  struct pool pool;
  unsigned char resident[1024];
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  assert_int_equal(pool_open(&pool, "lazy", page, sizeof resident), ERR_OK);
  madvise(pool.memory, page * sizeof resident, MADV_NOHUGEPAGE);
  for (int i = 0; i < 100; i++) {
    uint8_t *object = pool_get(&pool);
    object[0] = 1;
    pool_put(&pool, object);
  }
  size_t pages = 0;
  assert_int_equal(mincore(pool.memory, page * sizeof resident, resident), 0);
  for (size_t i = 0; i < sizeof resident; i++)
    pages += resident[i] & 1;
  assert_int_equal(pages, 1);
  pool_close(&pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_open, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_overfill, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_last_in_first_out, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_random_order_keeps_objects_apart, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_wrong_objects, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_free_objects_are_poisoned, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_each_in_order_of_opening, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_each_beside_other_threads, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_resident_only_what_was_used, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
