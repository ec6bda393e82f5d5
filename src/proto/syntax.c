/* Tables instead of conditions: every question about a character is one look-up, and what is special about a field
   name stands in one row. */
#include "proto/syntax.h"

#include <assert.h>
#include <string.h>

#define ALL (CHAR_TOKEN | CHAR_TARGET | CHAR_HOST)

const uint8_t syntax_class[256] = {
    [0x00 ... 0x08] = CHAR_CONTROL,
    [0x0a ... 0x1f] = CHAR_CONTROL,
    ['!'] = ALL,
    ['"'] = CHAR_TARGET,
    ['#'] = CHAR_TOKEN,
    ['$' ... '\''] = ALL,
    ['(' ... ')'] = CHAR_TARGET | CHAR_HOST,
    ['*' ... '+'] = ALL,
    [','] = CHAR_TARGET,
    ['-' ... '.'] = ALL,
    ['/'] = CHAR_TARGET,
    ['0' ... '9'] = ALL,
    [':'] = CHAR_TARGET,
    [';'] = CHAR_TARGET | CHAR_HOST,
    ['<'] = CHAR_TARGET,
    ['='] = CHAR_TARGET | CHAR_HOST,
    ['>' ... '@'] = CHAR_TARGET,
    ['A' ... 'Z'] = ALL | CHAR_UPPER,
    ['[' ... ']'] = CHAR_TARGET,
    ['^'] = CHAR_TOKEN | CHAR_TARGET,
    ['_'] = ALL,
    ['`'] = CHAR_TOKEN | CHAR_TARGET,
    ['a' ... 'z'] = ALL,
    ['{'] = CHAR_TARGET,
    ['|'] = CHAR_TOKEN | CHAR_TARGET,
    ['}'] = CHAR_TARGET,
    ['~'] = ALL,
    [0x7f] = CHAR_CONTROL,
};

/* True when of |set| every byte has |wanted| and nothing else. */
static bool all_are(struct bytes text, unsigned set, unsigned wanted) {
  unsigned differs = 0;
  for (size_t i = 0; i < text.len; i++)
    differs |= syntax_class[text.data[i]] ^ wanted;
  return (differs & set) == 0;
}

static bool is_space(uint8_t c) { return c == ' ' || c == '\t'; }

bool syntax_token(struct bytes text) { return text.len > 0 && all_are(text, CHAR_TOKEN, CHAR_TOKEN); }

bool syntax_method(struct bytes text) { return text.len <= METHOD_BYTES_MAX && syntax_token(text); }

/* Eight bytes at once; those that are not ASCII stay as they are. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte of a word has its lowest bits");
#define EACH_BYTE UINT64_C(0x0101010101010101)
enum { WORD_BYTES = sizeof(uint64_t), HALF_BYTES = sizeof(uint32_t) };

/* The bit 0x80 for every byte that is below 0x20 or is 0x7f: a control character, which may be HTAB. The other bits
   mean nothing. */
static uint64_t word_controls(uint64_t word) {
  uint64_t ascii = word & 0x7f * EACH_BYTE;
  uint64_t from_space = ascii + (0x80 - 0x20) * EACH_BYTE, delete = ascii + EACH_BYTE;
  return (~from_space | delete) & ~word;
}

/* The bit 0x20 for every byte that is A-Z. */
static uint64_t word_case_bits(uint64_t word) {
  uint64_t ascii = word & 0x7f * EACH_BYTE;
  uint64_t from_a = ascii + (0x80 - 'A') * EACH_BYTE, beyond_z = ascii + (0x80 - 'Z' - 1) * EACH_BYTE;
  return ((from_a & ~beyond_z & ~word) & 0x80 * EACH_BYTE) >> 2;
}

/* The next place to look at a word of |len| bytes: the last word may overlap the one before. */
static size_t word_next(size_t at, size_t len) {
  return at + 2 * WORD_BYTES <= len ? at + WORD_BYTES : len - WORD_BYTES;
}

/* A text of one to seven bytes as a word: some of them twice, and spaces. */
static uint64_t short_word(struct bytes text) {
  if (text.len >= HALF_BYTES)
    return (uint64_t)bytes_half(text.data + text.len - HALF_BYTES) << 32 | bytes_half(text.data);
  return 0x20 * EACH_BYTE << 24 | (uint64_t)text.data[text.len / 2] << 16 | (uint64_t)text.data[text.len - 1] << 8 |
         text.data[0];
}

/* |text| is not empty. */
static bool has_control(struct bytes text) {
  uint64_t controls = 0;
  if (text.len < WORD_BYTES) {
    controls = word_controls(short_word(text));
  } else {
    size_t last = text.len - WORD_BYTES;
    for (size_t at = 0; at < last; at += WORD_BYTES)
      controls |= word_controls(bytes_word(text.data + at));
    controls |= word_controls(bytes_word(text.data + last));
  }
  return (controls & 0x80 * EACH_BYTE) != 0 && !all_are(text, CHAR_CONTROL, 0);
}

bool syntax_value(struct bytes text) {
  if (text.len == 0)
    return true;
  return !is_space(text.data[0]) && !is_space(text.data[text.len - 1]) && !has_control(text);
}

void syntax_lower(uint8_t *out, struct bytes text) {
  if (text.len < WORD_BYTES) {
    for (size_t i = 0; i < text.len; i++)
      out[i] = (uint8_t)(text.data[i] | (syntax_class[text.data[i]] & CHAR_UPPER) << 4);
    return;
  }
  for (size_t at = 0;; at = word_next(at, text.len)) {
    uint64_t word = bytes_word(text.data + at);
    word |= word_case_bits(word);
    memcpy(out + at, &word, WORD_BYTES);
    if (at + WORD_BYTES == text.len)
      return;
  }
}

/* The bit 0x80 for every byte that is |c|, which is ASCII. */
static uint64_t word_equals(uint64_t word, uint8_t c) {
  uint64_t differs = word ^ c * EACH_BYTE, low = 0x7f * EACH_BYTE;
  return ~(((differs & low) + low) | differs | low);
}

void syntax_capitalise(uint8_t *out, struct bytes text) {
  if (text.len < WORD_BYTES) {
    for (size_t i = 0; i < text.len; i++) {
      bool begins = i == 0 || text.data[i - 1] == '-';
      out[i] = (uint8_t)(begins && text.data[i] >= 'a' && text.data[i] <= 'z' ? text.data[i] - 0x20 : text.data[i]);
    }
    return;
  }
  for (size_t at = 0;; at = word_next(at, text.len)) {
    uint64_t word = bytes_word(text.data + at), first = at == 0 || text.data[at - 1] == '-';
    uint64_t begins = word_equals(word, '-') << 8 | first << 7; /* of two neighbours the later has the higher bits */
    uint64_t small = word_case_bits(word ^ 0x20 * EACH_BYTE);
    word ^= small & begins >> 2;
    memcpy(out + at, &word, WORD_BYTES);
    if (at + WORD_BYTES == text.len)
      return;
  }
}

bool syntax_path(struct bytes text) {
  if (text.len == 0 || !all_are(text, CHAR_TARGET, CHAR_TARGET))
    return false;
  return text.data[0] == '/' || (text.len == 1 && text.data[0] == '*');
}

bool syntax_decimal(struct bytes text, uint64_t max, uint64_t *value) {
  uint64_t sum = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] < '0' || text.data[i] > '9')
      return false;
    uint64_t digit = text.data[i] - (uint64_t)'0';
    if (digit > max || sum > (max - digit) / 10)
      return false;
    sum = sum * 10 + digit;
  }
  *value = sum;
  return text.len > 0;
}

/* The length of the IP-literal that |text| begins with, brackets included; 0: there is none. Groups are not counted:
   what matters is that nothing but an address can stand here. */
static size_t ip_literal(struct bytes text) {
  size_t colons = 0;
  for (size_t i = 1; i < text.len; i++) {
    uint8_t c = text.data[i];
    if (c == ']')
      return colons >= 2 && i <= 46 ? i + 1 : 0;
    if (c == ':')
      colons++;
    else if (c != '.' && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f'))
      return 0;
  }
  return 0;
}

bool syntax_host(struct bytes text) {
  size_t name_len = 0;
  if (text.len > 0 && text.data[0] == '[')
    name_len = ip_literal(text);
  else
    while (name_len < text.len && (syntax_class[text.data[name_len]] & CHAR_HOST))
      name_len++;
  if (name_len == 0 || name_len > HOST_BYTES_MAX)
    return false;
  if (name_len == text.len)
    return true;
  uint64_t port;
  return text.data[name_len] == ':' &&
         syntax_decimal(bytes_of(text.data + name_len + 1, text.len - name_len - 1), 65535, &port) && port > 0;
}

static struct bytes trim(struct bytes text) {
  while (text.len > 0 && is_space(text.data[0]))
    text = bytes_of(text.data + 1, text.len - 1);
  while (text.len > 0 && is_space(text.data[text.len - 1]))
    text.len--;
  return text;
}

bool syntax_list_next(struct bytes *rest, struct bytes *element) {
  if (rest->data == NULL)
    return false;
  const uint8_t *comma = rest->len > 0 ? memchr(rest->data, ',', rest->len) : NULL;
  size_t len = comma != NULL ? (size_t)(comma - rest->data) : rest->len;
  *element = trim(bytes_of(rest->data, len));
  *rest = comma != NULL ? bytes_of(comma + 1, rest->len - len - 1) : bytes_of(NULL, 0);
  return true;
}

#define HOP (NAME_HOP | NAME_NO_TRAILER)
#define HOP_NOT_HTTP3 (HOP | NAME_NOT_HTTP3)
#define FIXED (NAME_FIXED | NAME_NO_TRAILER)
#define ROWS (const struct name_rule[])
#define END                                                                                                            \
  { NULL, NAME_OTHER, 0 }

/* By the length of the name, so that most names, which no rule is about, cost a comparison or two. NAME_FIXED: end to
   end whatever Connection says. NAME_NO_TRAILER: framing, routing, request modifiers, response control data. */
static const struct name_rule *const rules[] = {
    [2] = ROWS{{"te", NAME_TE, HOP}, END},
    [3] = ROWS{{"age", NAME_OTHER, NAME_NO_TRAILER | NAME_NO_INDEX}, {"via", NAME_OTHER, NAME_NO_TRAILER}, END},
    [4] = ROWS{{"date", NAME_OTHER, FIXED | NAME_NO_INDEX},
               {"etag", NAME_OTHER, NAME_NO_INDEX},
               {"host", NAME_HOST, FIXED},
               {"vary", NAME_OTHER, NAME_NO_TRAILER},
               END},
    [5] = ROWS{{"range", NAME_OTHER, NAME_NO_TRAILER}, END},
    [6] = ROWS{{"cookie", NAME_OTHER, FIXED | NAME_NO_INDEX},
               {"expect", NAME_EXPECT, NAME_NO_TRAILER},
               {"pragma", NAME_OTHER, NAME_NO_TRAILER},
               END},
    [7] = ROWS{{"expires", NAME_OTHER, NAME_NO_TRAILER | NAME_NO_INDEX},
               {"trailer", NAME_OTHER, NAME_NO_TRAILER},
               {"upgrade", NAME_OTHER, HOP_NOT_HTTP3},
               {"warning", NAME_OTHER, NAME_NO_TRAILER},
               END},
    [8] = ROWS{{"if-match", NAME_OTHER, NAME_NO_TRAILER},
               {"if-range", NAME_OTHER, NAME_NO_TRAILER},
               {"location", NAME_OTHER, NAME_NO_TRAILER},
               END},
    [9] = ROWS{{"forwarded", NAME_OTHER, FIXED | NAME_NO_INDEX}, END},
    [10] = ROWS{{"connection", NAME_CONNECTION, HOP_NOT_HTTP3},
                {"keep-alive", NAME_OTHER, HOP_NOT_HTTP3},
                {"set-cookie", NAME_OTHER, FIXED | NAME_NO_INDEX},
                END},
    [11] = ROWS{{"retry-after", NAME_OTHER, NAME_NO_TRAILER}, {"traceparent", NAME_OTHER, NAME_NO_INDEX}, END},
    [12] = ROWS{{"content-type", NAME_OTHER, FIXED},
                {"max-forwards", NAME_OTHER, NAME_NO_TRAILER},
                {"x-request-id", NAME_OTHER, NAME_NO_INDEX},
                END},
    [13] = ROWS{{"authorization", NAME_OTHER, FIXED | NAME_NO_INDEX},
                {"cache-control", NAME_OTHER, NAME_NO_TRAILER},
                {"content-range", NAME_OTHER, NAME_NO_TRAILER | NAME_NO_INDEX},
                {"if-none-match", NAME_OTHER, NAME_NO_TRAILER | NAME_NO_INDEX},
                {"last-modified", NAME_OTHER, NAME_NO_INDEX},
                END},
    [14] =
        ROWS{{"content-length", NAME_CONTENT_LENGTH, FIXED | NAME_NO_INDEX}, {"http2-settings", NAME_OTHER, HOP}, END},
    [16] = ROWS{{"content-encoding", NAME_OTHER, NAME_NO_TRAILER},
                {"proxy-connection", NAME_OTHER, HOP_NOT_HTTP3},
                {"www-authenticate", NAME_OTHER, NAME_NO_TRAILER},
                END},
    [17] = ROWS{{"if-modified-since", NAME_OTHER, NAME_NO_TRAILER},
                {"transfer-encoding", NAME_TRANSFER_ENCODING, HOP_NOT_HTTP3},
                END},
    [18] = ROWS{{"proxy-authenticate", NAME_OTHER, HOP}, END},
    [19] = ROWS{{"if-unmodified-since", NAME_OTHER, NAME_NO_TRAILER}, {"proxy-authorization", NAME_OTHER, HOP}, END},
};

/* NULL: there is none. */
static const struct name_rule *find_rule(struct bytes name) {
  const struct name_rule *rule = name.len < sizeof(rules) / sizeof(rules[0]) ? rules[name.len] : NULL;
  while (rule != NULL && rule->text != NULL) {
    if (rule->text[0] == name.data[0] && bytes_equal(bytes_of(rule->text, name.len), name))
      return rule;
    rule++;
  }
  return NULL;
}

static const struct name_rule no_rule = {"", NAME_OTHER, 0};

const struct name_rule *syntax_rule(struct bytes name) {
  const struct name_rule *rule = find_rule(name);
  return rule != NULL ? rule : &no_rule;
}

static bool is_name(struct bytes text) {
  return text.len > 0 && text.len <= FIELD_NAME_BYTES_MAX && all_are(text, CHAR_TOKEN | CHAR_UPPER, CHAR_TOKEN);
}

const struct name_rule *syntax_rule_checked(struct bytes name) {
  const struct name_rule *rule = find_rule(name);
  if (rule != NULL)
    return rule;
  return is_name(name) ? &no_rule : NULL;
}
