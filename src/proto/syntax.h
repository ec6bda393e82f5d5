/* The grammar that both versions of HTTP share (RFC 9110 section 5, RFC 3986 section 3.2, RFC 9112 section 3.2), and
   the field names that an intermediary treats specially. For proto/ only. */
#ifndef PTP_PROTO_SYNTAX_H
#define PTP_PROTO_SYNTAX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
  CHAR_TOKEN = 1,   /* tchar of RFC 9110 section 5.6.2 */
  CHAR_UPPER = 2,   /* A-Z */
  CHAR_TARGET = 4,  /* of a request target: visible ASCII but "#" */
  CHAR_HOST = 8,    /* of a registered name: RFC 3986's reg-name without the comma, which would make a list of it */
  CHAR_CONTROL = 16 /* not in a field value: controls but HTAB */
};

extern const uint8_t syntax_class[256];

enum {
  FIELD_NAME_BYTES_MAX = 256, /* nghttp3's QPACK decoder takes a longer name for an attack on the connection */
  METHOD_BYTES_MAX = 64,
  HOST_BYTES_MAX = 255,
};

/* The largest Content-Length: what a QUIC stream can carry (RFC 9000 section 4.5). */
#define CONTENT_LENGTH_MAX ((UINT64_C(1) << 62) - 1)

bool syntax_token(struct bytes text);
/* A method: a token of bearable length. */
bool syntax_method(struct bytes text);
/* A field value: no controls but HTAB, no white space around it. */
bool syntax_value(struct bytes text);
/* Copies |text|, A-Z as a-z. */
void syntax_lower(uint8_t *out, struct bytes text);
/* Copies |text|, "content-type" as "Content-Type". */
void syntax_capitalise(uint8_t *out, struct bytes text);
/* "uri-host [ ":" port ]", not empty, with a port of 1-65535 when there is a colon; at most 255 characters before it
   (RFC 3986 section 3.2.2: no name of DNS is longer). */
bool syntax_host(struct bytes text);
/* "/..." or "*"; never empty. */
bool syntax_path(struct bytes text);
/* Digits only, at least one, at most |max|. */
bool syntax_decimal(struct bytes text, uint64_t max, uint64_t *value);

/* The next element of the comma-separated |rest|, without white space around it; empty ones are elements too. False
   after the last: rest->data is NULL then. */
bool syntax_list_next(struct bytes *rest, struct bytes *element);

enum name_id {
  NAME_OTHER,
  NAME_CONNECTION,
  NAME_CONTENT_LENGTH,
  NAME_EXPECT,
  NAME_HOST,
  NAME_TE,
  NAME_TRANSFER_ENCODING,
};

enum {
  NAME_HOP = 1,        /* hop-by-hop: never passed on (SPEC 4) */
  NAME_NOT_HTTP3 = 2,  /* connection-specific: makes an HTTP/3 message malformed (RFC 9114 section 4.2) */
  NAME_FIXED = 4,      /* "Connection" cannot remove it */
  NAME_NO_TRAILER = 8, /* not passed on in a trailer section (RFC 9110 section 6.5.1) */
  NAME_NO_INDEX = 16,  /* kept out of QPACK's tables: secrets, so that no user can probe for another's, and what is
                          never the same twice */
  NAME_FLAGS = 31,     /* all of them */
};

struct name_rule {
  const char *text;
  uint8_t id;    /* enum name_id */
  uint8_t flags; /* NAME_... */
};

/* The rule for |name|, in lower case; one with NAME_OTHER and no flags when there is none. */
const struct name_rule *syntax_rule(struct bytes name);
/* The same for a name that nobody has checked yet; NULL: it is no field name in lower case. */
const struct name_rule *syntax_rule_checked(struct bytes name);

#endif
