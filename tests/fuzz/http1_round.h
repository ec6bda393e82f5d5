/* The oracle against smuggling: what http1_write writes must be read back, strictly, as the same message and no other.
 */
#ifndef PTP_TESTS_FUZZ_HTTP1_ROUND_H
#define PTP_TESTS_FUZZ_HTTP1_ROUND_H

#include "fuzz/http1_pass.h"
#include "proto/http1_write.h"

/* Moves all that |writer| can send now to |out|, in sends of random lengths. */
void round_drain(struct http1_writer *writer, struct text *out, uint64_t *seed);

/* |written| are the bytes of one whole message, |said| is its description. |until_close|: it ends with the connection;
   else another message that follows on it must be read as what it is. */
void round_check(enum http1_role role, bool no_body, bool until_close, const struct text *written,
                 const struct text *said);

/* A 1xx head, written and read back. */
void round_informational(uint64_t *seed, const struct head *head);

/* A fuzz target: |data| are flags, and then the bytes of a connection. */
int round_fuzz(enum http1_role role, const uint8_t *data, size_t size);

#endif
