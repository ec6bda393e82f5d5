#ifndef PTP_TESTS_SIM_SHORTAGE_H
#define PTP_TESTS_SIM_SHORTAGE_H

#include <stdint.h>

/* From now on so many calls of pool_get find the pool empty; 0: none. */
void shortage_begin(uint32_t parts_per_million);

#endif
