/* Tables instead of conditions: every question about a character is one look-up, and what is special about a field
   name stands in one row. */
#include "proto/syntax.h"

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

bool syntax_name(struct bytes text) {
  return text.len > 0 && text.len <= FIELD_NAME_BYTES_MAX && all_are(text, CHAR_TOKEN | CHAR_UPPER, CHAR_TOKEN);
}

bool syntax_value(struct bytes text) {
  if (text.len == 0)
    return true;
  return !is_space(text.data[0]) && !is_space(text.data[text.len - 1]) && all_are(text, CHAR_CONTROL, 0);
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
#define ROW(text, id, flags)                                                                                           \
  { text, sizeof(text) - 1, id, flags }

static const struct name_rule rules[] = {
    ROW("connection", NAME_CONNECTION, HOP | NAME_NOT_HTTP3),
    ROW("keep-alive", NAME_OTHER, HOP | NAME_NOT_HTTP3),
    ROW("proxy-connection", NAME_OTHER, HOP | NAME_NOT_HTTP3),
    ROW("transfer-encoding", NAME_TRANSFER_ENCODING, HOP | NAME_NOT_HTTP3),
    ROW("upgrade", NAME_OTHER, HOP | NAME_NOT_HTTP3),
    ROW("te", NAME_TE, HOP),
    ROW("proxy-authenticate", NAME_OTHER, HOP),
    ROW("proxy-authorization", NAME_OTHER, HOP),
    ROW("http2-settings", NAME_OTHER, HOP),
    /* end to end whatever Connection says */
    ROW("host", NAME_HOST, NAME_FIXED | NAME_NO_TRAILER),
    ROW("content-length", NAME_CONTENT_LENGTH, NAME_FIXED | NAME_NO_TRAILER),
    ROW("content-type", NAME_OTHER, NAME_FIXED | NAME_NO_TRAILER),
    ROW("authorization", NAME_OTHER, NAME_FIXED | NAME_NO_TRAILER),
    ROW("cookie", NAME_OTHER, NAME_FIXED | NAME_NO_TRAILER),
    ROW("set-cookie", NAME_OTHER, NAME_FIXED | NAME_NO_TRAILER),
    ROW("date", NAME_OTHER, NAME_FIXED | NAME_NO_TRAILER),
    ROW("forwarded", NAME_OTHER, NAME_FIXED | NAME_NO_TRAILER),
    /* framing, routing, request modifiers, response control data: RFC 9110 section 6.5.1 */
    ROW("age", NAME_OTHER, NAME_NO_TRAILER),
    ROW("cache-control", NAME_OTHER, NAME_NO_TRAILER),
    ROW("content-encoding", NAME_OTHER, NAME_NO_TRAILER),
    ROW("content-range", NAME_OTHER, NAME_NO_TRAILER),
    ROW("expect", NAME_EXPECT, NAME_NO_TRAILER),
    ROW("expires", NAME_OTHER, NAME_NO_TRAILER),
    ROW("if-match", NAME_OTHER, NAME_NO_TRAILER),
    ROW("if-modified-since", NAME_OTHER, NAME_NO_TRAILER),
    ROW("if-none-match", NAME_OTHER, NAME_NO_TRAILER),
    ROW("if-range", NAME_OTHER, NAME_NO_TRAILER),
    ROW("if-unmodified-since", NAME_OTHER, NAME_NO_TRAILER),
    ROW("location", NAME_OTHER, NAME_NO_TRAILER),
    ROW("max-forwards", NAME_OTHER, NAME_NO_TRAILER),
    ROW("pragma", NAME_OTHER, NAME_NO_TRAILER),
    ROW("range", NAME_OTHER, NAME_NO_TRAILER),
    ROW("retry-after", NAME_OTHER, NAME_NO_TRAILER),
    ROW("trailer", NAME_OTHER, NAME_NO_TRAILER),
    ROW("vary", NAME_OTHER, NAME_NO_TRAILER),
    ROW("via", NAME_OTHER, NAME_NO_TRAILER),
    ROW("warning", NAME_OTHER, NAME_NO_TRAILER),
    ROW("www-authenticate", NAME_OTHER, NAME_NO_TRAILER),
};

const struct name_rule *syntax_rule(struct bytes name) {
  static const struct name_rule none = ROW("", NAME_OTHER, 0);
  for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
    if (rules[i].len == name.len && memcmp(rules[i].text, name.data, name.len) == 0)
      return &rules[i];
  return &none;
}
