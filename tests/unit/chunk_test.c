#include "unit/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/must.h"
#include "base/poison.h"
#include "flow/chunk.h"
#include "flow/flow.h"

enum { SMALL = 4, LARGE = 2, SPANS = 6 };

static struct chunks chunks;

static int set_up(void **state) {
  (void)state;
  return chunks_open(&chunks, SMALL, LARGE, SPANS) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  return chunks_end(&chunks);
}

static void overfill(enum chunk_size size, uint32_t count, uint32_t bytes) {
  struct chunk *all[SMALL];
  for (uint32_t i = 0; i < count; i++) {
    all[i] = chunk_get(&chunks, size);
    assert_non_null(all[i]);
    assert_int_equal(all[i]->index, i);
    assert_int_equal(all[i]->size, size);
    assert_int_equal(all[i]->capacity, bytes);
    assert_int_equal(all[i]->used, 0);
    assert_int_equal(all[i]->refs, 1);
    assert_int_equal(chunk_room(all[i]), bytes);
    assert_ptr_equal(all[i]->home, &chunks);
    assert_ptr_equal(chunk_at(&chunks, size, (uint16_t)i), all[i]);
    memset(all[i]->data, (int)i + 1, bytes);
  }
  assert_null(chunk_get(&chunks, size));
  for (uint32_t i = 0; i < count; i++) {
    assert_int_equal(all[i]->data[0], i + 1);
    assert_int_equal(all[i]->data[bytes - 1], i + 1);
    chunk_unref(all[i]);
  }
}

static void test_overfill(void **state) {
  (void)state;
  overfill(CHUNK_SMALL, SMALL, CHUNK_SMALL_BYTES);
  overfill(CHUNK_LARGE, LARGE, CHUNK_LARGE_BYTES);
  assert_int_equal(chunks.headers[CHUNK_SMALL].refused, 1);
  assert_int_equal(chunks.headers[CHUNK_LARGE].refused, 1);
}

/* More than half of four in use, of which a quarter may stay. */
static void test_excess(void **state) {
  (void)state;
  static const uint64_t excess[SMALL + 1] = {0, 0, 0, 2 * CHUNK_SMALL_BYTES, 3 * CHUNK_SMALL_BYTES};
  struct chunk *all[SMALL];
  for (uint32_t i = 0; i <= SMALL; i++) {
    assert_int_equal(chunks_excess(&chunks, CHUNK_SMALL, 50, 25), excess[i]);
    assert_int_equal(chunks_excess(&chunks, CHUNK_LARGE, 50, 25), 0);
    if (i < SMALL)
      all[i] = chunk_get(&chunks, CHUNK_SMALL);
  }
  for (uint32_t i = 0; i < SMALL; i++)
    chunk_unref(all[i]);
}

static void test_spans_overfill(void **state) {
  (void)state;
  struct span *spans[SPANS];
  for (int i = 0; i < SPANS; i++)
    assert_non_null(spans[i] = pool_get(&chunks.spans));
  assert_null(pool_get(&chunks.spans));
  for (int i = 0; i < SPANS; i++)
    pool_put(&chunks.spans, spans[i]);
}

static void test_refs(void **state) {
  (void)state;
  struct chunk *chunk = chunk_get(&chunks, CHUNK_SMALL);
  assert_ptr_equal(chunk_ref(chunk), chunk);
  assert_int_equal(chunk->refs, 2);
  chunk_unref(chunk);
  assert_int_equal(pools_live(), 1);
  chunk->used = 100;
  assert_int_equal(chunk_room(chunk), CHUNK_SMALL_BYTES - 100);
  chunk_unref(chunk);
  assert_int_equal(pools_live(), 0);
  struct chunk *again = chunk_get(&chunks, CHUNK_SMALL);
  assert_ptr_equal(again, chunk); /* the warm one */
  assert_int_equal(again->used, 0);
  chunk_unref(again);
}

static void unref(void *context) {
  struct chunk *chunk = context;
  chunk_unref(chunk);
  chunk_unref(chunk);
}
static void ref_none(void *context) {
  struct chunk *chunk = context;
  chunk->refs = 0;
  chunk_ref(chunk);
}
static void at_never_used(void *context) {
  (void)context;
  chunk_at(&chunks, CHUNK_SMALL, 1);
}
static void at_beyond(void *context) {
  (void)context;
  chunk_at(&chunks, CHUNK_SMALL, SMALL);
}
static void close_early(void *context) {
  (void)context;
  chunks_close(&chunks);
}

static void test_misuse(void **state) {
  (void)state;
  struct chunk *chunk = chunk_get(&chunks, CHUNK_SMALL);
#if !defined(PTP_ADDRESS_SANITIZER) /* which finds it in its own way */
  assert_true(dies(unref, chunk, "chunk->refs > 0"));
#else
  (void)unref;
#endif
  assert_true(dies(ref_none, chunk, "chunk->refs > 0"));
  assert_true(dies(at_never_used, NULL, "broken invariant"));
  assert_true(dies(at_beyond, NULL, "broken invariant"));
  assert_true(dies(close_early, NULL, "pool->live == 0"));
  chunk_unref(chunk);
}

/* What is borrowed is shown where it lies, and is not ours to give back. */
static void test_borrowed(void **state) {
  (void)state;
  static const char text[] = "another worker's";
  uint32_t live = chunks.borrowed.live;
  struct chunk *chunk = chunk_borrow(&chunks, text, sizeof text);
  assert_ptr_equal(chunk->data, text);
  assert_int_equal(chunk->used, sizeof text);
  assert_int_equal(chunk_room(chunk), 0);
  assert_int_equal(chunks.borrowed.live, live + 1);
  chunk_ref(chunk);
  chunk_unref(chunk);
  assert_memory_equal(chunk->data, "another worker's", sizeof text);
  chunk_unref(chunk);
  assert_int_equal(chunks.borrowed.live, live);
  struct chunk *all[8] = {NULL};
  uint32_t count = 0;
  while ((chunk = chunk_borrow(&chunks, text, 1)) != NULL)
    all[count++] = chunk;
  assert_int_equal(count, 6);
  while (count > 0)
    chunk_unref(all[--count]);
}

static void names_add(void *context, const struct pool *pool) {
  char *names = context;
  size_t len = strlen(names);
  snprintf(names + len, 100 - len, "%s=%u ", pool->name, pool->capacity);
}

static void test_pool_names(void **state) {
  (void)state;
  char names[100] = "";
  pool_each(names_add, names);
  assert_string_equal(names, "chunks_small=4 chunks_large=2 spans=6 chunks_borrowed=6 ");
}

/* The limit on address space grows until it is enough: whatever part failed, nothing stays behind. */
static void open_with_too_little(void *context) {
  (void)context;
  unsigned failures = 0;
  long pages = 0;
  FILE *statm = fopen("/proc/self/statm", "r");
  must(statm != NULL && fscanf(statm, "%ld", &pages) == 1);
  fclose(statm);
  rlim_t now = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
  for (rlim_t more = 0; more < 16 << 20; more += 64 << 10) {
    struct chunks late;
    struct rlimit limit = {now + more, RLIM_INFINITY};
    must(setrlimit(RLIMIT_AS, &limit) == 0);
    if (chunks_open(&late, 1024, 64, 16384) == ERR_OK) {
      chunks_close(&late);
      must(failures > 20);
      must_never("opened in the end");
    }
    failures++;
    must(pools_open() == 4);
  }
}

static void test_no_memory(void **state) {
  (void)state;
  assert_true(dies(open_with_too_little, NULL, "opened in the end"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_overfill, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_excess, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_spans_overfill, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_refs, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_borrowed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_misuse, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_pool_names, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
