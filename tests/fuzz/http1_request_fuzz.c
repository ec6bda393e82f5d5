/* Requests over HTTP/1, in random pieces: read the same whatever the pieces, and written and read back the same. */
#include "fuzz/fuzz.h"
#include "fuzz/http1_round.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return round_fuzz(HTTP1_READS_REQUESTS, data, size); }
