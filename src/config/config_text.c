/* Text work for the configuration that knows nothing of keys. The comments are blanked here and not by cJSON_Minify,
   which moves every byte, so that a place in an error message would be meaningless, and which lets a comment without an
   end pass. */
#include <string.h>
#include <strings.h>

#include "config/config_table.h"

enum { DEPTH_MAX = 16, DISTANCE_TEXT_MAX = 64 };

struct unit {
  const char *name;
  uint64_t factor;
};

static const struct unit times[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {NULL, 0}};
static const struct unit sizes[] = {
    {"B", 1},           {"kB", 1000},     {"KiB", 1024}, {"MB", 1000000}, {"MiB", 1024 * 1024},
    {"GB", 1000000000}, {"GiB", 1 << 30}, {NULL, 0}};

static uint64_t unit_factor(const struct unit *units, const char *name) {
  for (; units->name != NULL; units++) {
    if (strcasecmp(units->name, name) == 0)
      return units->factor;
  }
  return 0;
}

/* In whole numbers only, so that "0.1s" is 100 and not 99. */
bool text_quantity(enum key_type type, const char *text, uint64_t *value) {
  uint64_t digits = 0, divisor = 1;
  const char *at = text;
  bool fraction = false;
  for (; (*at >= '0' && *at <= '9') || (*at == '.' && !fraction); at++) {
    if (*at == '.') {
      fraction = true;
      continue;
    }
    if (__builtin_mul_overflow(digits, 10, &digits) || __builtin_add_overflow(digits, (uint64_t)(*at - '0'), &digits) ||
        (fraction && __builtin_mul_overflow(divisor, 10, &divisor)))
      return false;
  }
  if (at == text || *text == '.' || at[-1] == '.')
    return false;
  if (*at == ' ')
    at++;
  uint64_t factor = unit_factor(type == KEY_TIME ? times : sizes, at);
  if (factor == 0 || __builtin_mul_overflow(digits, factor, &digits) || digits % divisor != 0)
    return false;
  *value = digits / divisor;
  return true;
}

/* The length of the UTF-8 sequence at |at| (RFC 3629 section 4); 0 when it is none. */
static size_t utf8_len(const unsigned char *at, size_t left) {
  size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
  if (len > left)
    return 0;
  for (size_t i = 1; i < len; i++) {
    if ((at[i] & 0xc0) != 0x80)
      return 0;
  }
  if (len >= 3) {
    unsigned first_two = (unsigned)(at[0] << 8 | at[1]);
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = first_two >= 0xeda0 && first_two <= 0xedbf;
    if (overlong || surrogate || first_two >= 0xf490)
      return 0;
  }
  return len;
}

static const char *check_bytes(const char *text, size_t len, size_t *where) {
  const unsigned char *bytes = (const unsigned char *)text;
  *where = 0;
  if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
    return "starts with a byte order mark: save the file as UTF-8 without BOM";
  if (len >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0))
    return "looks like UTF-16: save the file as UTF-8 without BOM";
  size_t step = 0;
  for (size_t i = 0; i < len; i += step) {
    *where = i;
    step = utf8_len(bytes + i, len - i);
    if (step == 0)
      return "not UTF-8";
    if (bytes[i] == 0)
      return "a NUL byte";
    if (bytes[i] < 0x20 && bytes[i] != '\t' && bytes[i] != '\n' && bytes[i] != '\r')
      return "a control character";
  }
  return NULL;
}

/* Moves |*i| from the opening quote to the closing one. cJSON ends a text at a NUL, so none may be written as such. */
static const char *skip_string(const char *text, size_t len, size_t *i, size_t *where) {
  *where = *i;
  for (size_t at = *i + 1; at < len && text[at] != '\n' && text[at] != '\r'; at++) {
    if (text[at] == '"') {
      *i = at;
      return NULL;
    }
    bool control = text[at] == '\t' || (len - at >= 6 && memcmp(text + at, "\\u0000", 6) == 0);
    if (control) {
      *where = at;
      return "a control character in a string";
    }
    if (text[at] == '\\')
      at++;
  }
  return "a string without an end";
}

static const char *blank_comment(char *text, size_t len, size_t *i, size_t *where) {
  bool to_line_end = text[*i + 1] == '/';
  size_t at = *i + 2;
  *where = *i;
  if (to_line_end) {
    while (at < len && text[at] != '\n')
      at++;
  } else {
    while (at < len && !(text[at] == '/' && text[at - 1] == '*' && at > *i + 2))
      at++;
    if (at == len)
      return "a comment without an end";
    at++;
  }
  for (size_t j = *i; j < at; j++) {
    if (text[j] != '\n' && text[j] != '\r')
      text[j] = ' ';
  }
  *i = at - 1;
  return NULL;
}

const char *text_prepare(char *text, size_t len, size_t *where) {
  const char *problem = check_bytes(text, len, where);
  size_t depth = 0;
  for (size_t i = 0; i < len && problem == NULL; i++) {
    if (text[i] == '"') {
      problem = skip_string(text, len, &i, where);
    } else if (text[i] == '/' && i + 1 < len && (text[i + 1] == '/' || text[i + 1] == '*')) {
      problem = blank_comment(text, len, &i, where);
    } else if (text[i] == '{' || text[i] == '[') {
      *where = i;
      if (++depth > DEPTH_MAX)
        problem = "nested too deeply";
    } else if ((text[i] == '}' || text[i] == ']') && depth > 0) {
      depth--;
    }
  }
  return problem;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* The place of the last byte before |where| that is not white space; SIZE_MAX when there is none. */
static size_t before(const char *text, size_t where) {
  while (where > 0 && is_space(text[where - 1]))
    where--;
  return where - 1;
}

/* The parser stops at what it did not expect, but one byte after the beginning of what should have been a key. */
const char *text_syntax_problem(const char *text, size_t len, size_t *where) {
  size_t previous = before(text, *where);
  if (previous == SIZE_MAX)
    return *where >= len ? "is empty" : "must be an object: {\"general\": {...}, \"tls\": {...}}";
  size_t earlier = before(text, previous);
  char last = text[previous], earlier_last = earlier == SIZE_MAX ? '\0' : text[earlier];
  if (last == '}' && earlier_last == ',' && previous + 1 == *where) {
    *where = earlier;
    return "a comma before a closing bracket";
  }
  if (*where < len && last == ',' && (text[*where] == '}' || text[*where] == ']')) {
    *where = previous;
    return "a comma before a closing bracket";
  }
  bool key =
      previous + 1 == *where && (earlier_last == '{' || earlier_last == ',') && strchr("\"}]0123456789", last) == NULL;
  if (key) {
    *where = previous;
    return "expected a key in double quotes";
  }
  if (*where >= len || text[*where] == '\0')
    return "the file ends before the last bracket is closed";
  if (last == ':' || last == '[')
    return "expected a value";
  if (text[*where] == '"')
    return "a comma or colon is missing before this";
  return "not expected here";
}

void text_place(const char *text, size_t where, size_t *line, size_t *column) {
  *line = *column = 1;
  for (size_t i = 0; i < where; i++) {
    if (text[i] == '\n') {
      ++*line;
      *column = 1;
    } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
      ++*column;
    }
  }
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c; }

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

size_t text_distance(const char *a, const char *b) {
  /* Optimal string alignment: a row of the matrix needs the two before it. */
  size_t rows[3][DISTANCE_TEXT_MAX + 1];
  size_t a_len = strlen(a), b_len = strlen(b);
  if (a_len > DISTANCE_TEXT_MAX || b_len > DISTANCE_TEXT_MAX)
    return a_len + b_len;
  for (size_t j = 0; j <= b_len; j++)
    rows[0][j] = j;
  for (size_t i = 1; i <= a_len; i++) {
    size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= b_len; j++) {
      bool same = lower(a[i - 1]) == lower(b[j - 1]);
      row[j] = smaller(above[j - 1] + (same ? 0 : 1), smaller(above[j], row[j - 1]) + 1);
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
        row[j] = smaller(row[j], two_above[j - 2] + 1);
    }
  }
  return rows[a_len % 3][b_len];
}

void text_quote(const char *text, char *out, size_t size) {
  size_t len = strlen(text), room = size - 1;
  bool cut = len > room;
  if (cut) {
    len = room - 3;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
      len--;
  }
  for (size_t i = 0; i < len; i++)
    out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
  memcpy(out + len, cut ? "..." : "", cut ? 4 : 1);
}
