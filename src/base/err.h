/* Every way in which a call, an exchange or a session can end, from one table (err.tbl). */
#ifndef PTP_BASE_ERR_H
#define PTP_BASE_ERR_H

#include <stdint.h>

enum err {
#define ERR(name, text, status, h3_code) ERR_##name,
#include "base/err.tbl"
#undef ERR
  ERR_COUNT
};

#define must_use __attribute__((warn_unused_result))

/* The row's name in lower case ("origin_timeout"): for metrics labels and log fields. Static. */
const char *err_name(enum err err);
/* The row's text, for people: one clause without addresses. Static. */
const char *err_text(enum err err);
/* The status that we answer with when nothing of a response was sent yet; 0: close without an answer. */
uint16_t err_status(enum err err);
/* The HTTP/3 error code for RESET_STREAM and STOP_SENDING (RFC 9114 section 8.1). */
uint64_t err_h3_code(enum err err);

#endif
