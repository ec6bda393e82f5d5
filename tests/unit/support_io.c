#include "unit/support_io.h"

#include <stdio.h>

struct chunks io_chunks;
struct ring *io_ring;

void io_open(uint32_t small, uint32_t large) {
  char reason[256] = "";
  assert_int_equal(chunks_open(&io_chunks, small, large, 16), ERR_OK);
  enum err err = ring_open(&io_ring, &io_chunks, reason, sizeof reason);
  if (err != ERR_OK)
    fail_msg("%s", reason);
}

void io_close(void) {
  ring_close(io_ring);
  io_ring = NULL;
  assert_int_equal(pools_live(), 0);
  chunks_close(&io_chunks);
  assert_int_equal(pools_open(), 0);
}

void pattern_fill(uint8_t *out, size_t len, uint64_t offset) {
  for (size_t i = 0; i < len; i++)
    out[i] = pattern(offset + i);
}

bool pattern_holds(const uint8_t *data, size_t len, uint64_t offset) {
  for (size_t i = 0; i < len; i++) {
    if (data[i] != pattern(offset + i))
      return false;
  }
  return true;
}

struct address io_address(const char *text) {
  struct address address;
  assert_int_equal(address_parse(&address, text, 0), ERR_OK);
  return address;
}
