#include "base/err.h"

#include <ctype.h>

#include "base/must.h"

enum { NAME_MAX_BYTES = 32 };

struct row {
  const char *text;
  uint16_t status;
  uint16_t h3_code;
};

static const struct row rows[ERR_COUNT] = {
#define ERR(name, text, status, h3_code) [ERR_##name] = {text, status, h3_code},
#include "base/err.tbl"
#undef ERR
};

static char names[ERR_COUNT][NAME_MAX_BYTES] = {
#define ERR(name, text, status, h3_code) [ERR_##name] = #name,
#include "base/err.tbl"
#undef ERR
};

#define ERR(name, text, status, h3_code)                                                                               \
  _Static_assert(sizeof #name <= NAME_MAX_BYTES, "the name of " #name " is too long");
#include "base/err.tbl"
#undef ERR

/* The preprocessor cannot write in lower case, and a column of the same words again could disagree with the first.
   Before main, because there is no other thread then. */
__attribute__((constructor)) static void lower_names(void) {
  for (int i = 0; i < ERR_COUNT; i++)
    for (char *c = names[i]; *c != '\0'; c++)
      *c = (char)tolower((unsigned char)*c);
}

const char *err_name(enum err err) {
  must((unsigned)err < ERR_COUNT);
  return names[err];
}

const char *err_text(enum err err) {
  must((unsigned)err < ERR_COUNT);
  return rows[err].text;
}

uint16_t err_status(enum err err) {
  must((unsigned)err < ERR_COUNT);
  return rows[err].status;
}

uint64_t err_h3_code(enum err err) {
  must((unsigned)err < ERR_COUNT);
  return rows[err].h3_code;
}
