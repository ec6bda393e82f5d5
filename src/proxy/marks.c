/* Via would serve for loops as well, and RFC 9110 asks gateways for it; but origins change their answers for a request
   that has one (nginx stops compressing, for example), and this pair is to be invisible to them. */
#include "proxy/marks.h"

#include <stdio.h>
#include <string.h>

#include "base/random.h"

static const struct bytes cdn_loop = {(const uint8_t *)"cdn-loop", 8};
static const struct bytes forwarded = {(const uint8_t *)"forwarded", 9};

void loop_mark_make(char mark[LOOP_MARK_MAX]) {
  uint32_t digits;
  random_fill(&digits, sizeof digits);
  snprintf(mark, LOOP_MARK_MAX, "ptproxy-%08x", digits);
}

enum err loop_mark_add(struct head *head, const char *mark) {
  struct fields *fields = &head->fields;
  size_t len = strlen(mark);
  for (uint32_t i = 0; (i = fields_find(fields, cdn_loop, i)) < fields->count; i++) {
    struct bytes name, value;
    if (fields_get(fields, i, &name, &value) && memmem(value.data, value.len, mark, len) != NULL)
      return ERR_LOOP;
  }
  return fields_add(fields, cdn_loop, bytes_of_text(mark));
}

/* A node of RFC 7239 section 6, quoted, as it has a colon: "192.0.2.1:80" or "[2001:db8::1]:80". A UNIX socket has no
   address to tell: an obfuscated identifier. */
static const char *node_text(const struct address *address, char out[ADDRESS_TEXT_MAX]) {
  if (address_family(address) != AF_INET && address_family(address) != AF_INET6)
    return "_unix";
  return address_text(address, out);
}

enum err forwarded_add(struct head *head, const struct address *peer, const struct address *local, const char *proto) {
  char from[ADDRESS_TEXT_MAX], by[ADDRESS_TEXT_MAX], value[2 * ADDRESS_TEXT_MAX + 64];
  int len = snprintf(value, sizeof value, "for=\"%s\";by=\"%s\";proto=%s", node_text(peer, from), node_text(local, by),
                     proto);
  return fields_add(&head->fields, forwarded, bytes_of(value, (size_t)len));
}
