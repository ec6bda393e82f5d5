/* What the tests of src/io share: a ring with its chunks, opened and closed around each test. */
#ifndef PTP_TESTS_UNIT_SUPPORT_IO_H
#define PTP_TESTS_UNIT_SUPPORT_IO_H

#include "base/address.h"
#include "flow/chunk.h"
#include "io/ring.h"
#include "unit/support.h"

extern struct chunks io_chunks;
extern struct ring *io_ring;

void io_open(uint32_t small, uint32_t large);
/* Checks that everything went back to its pool. */
void io_close(void);

/* Byte |offset| of the test's endless pattern. */
static inline uint8_t pattern(uint64_t offset) { return (uint8_t)((offset * 0x9e3779b97f4a7c15u) >> 56); }
void pattern_fill(uint8_t *out, size_t len, uint64_t offset);
bool pattern_holds(const uint8_t *data, size_t len, uint64_t offset);

struct address io_address(const char *text);

#endif
