/* The field list and the texts of a head. Every stored byte is counted against limits.bytes, and a field's descriptor
   is smaller than the overhead that is counted for it: so whatever the limits allow fits into one large chunk, and no
   other bound is needed. Which fields may stand in a list is not decided here: head_http1.c and head_http3.c. */
#include "proto/fields.h"

#include "base/must.h"
#include "proto/syntax.h"

struct entry {
  uint16_t offset; /* of the name; the value follows it */
  uint16_t name_len;
  uint16_t value_len;
  uint8_t removed;
  uint8_t flags; /* of the name's rule, and FLAGS_NOTED when they are */
};

enum {
  TEXT_OVERHEAD_BYTES = FIELD_OVERHEAD_BYTES + 10, /* as the longest pseudo-header field, ":authority" */
  HEAD_SPARE_BYTES = 256, /* what a head needs beyond the counted bytes when it is written as HTTP/1.1 */
};

enum { FLAGS_NOTED = 0x80 };
static_assert((NAME_FLAGS & FLAGS_NOTED) == 0, "a bit that no rule has");

static_assert(CHUNK_LARGE_BYTES <= 65536, "an offset has 16 bits");
static_assert(sizeof(struct entry) <= FIELD_OVERHEAD_BYTES, "descriptors are paid for by the counted overhead");

void fields_open(struct fields *fields, struct chunks *chunks, struct head_limits limits) {
  if (limits.bytes > CHUNK_LARGE_BYTES - HEAD_SPARE_BYTES)
    limits.bytes = CHUNK_LARGE_BYTES - HEAD_SPARE_BYTES;
  if (limits.count > HEAD_FIELDS_MAX)
    limits.count = HEAD_FIELDS_MAX;
  *fields = (struct fields){.chunks = chunks, .limits = limits};
}

void fields_allow_marks(struct fields *fields) {
  struct head_limits *limits = &fields->limits;
  limits->count += HEAD_MARKS_MAX;
  limits->bytes += HEAD_MARKS_MAX * HEAD_MARK_BYTES;
  if (limits->bytes > CHUNK_LARGE_BYTES - HEAD_SPARE_BYTES)
    limits->bytes = CHUNK_LARGE_BYTES - HEAD_SPARE_BYTES;
}

void fields_close(struct fields *fields) {
  if (fields->store != NULL)
    chunk_unref(fields->store);
  *fields = (struct fields){.chunks = fields->chunks, .limits = fields->limits};
}

enum err fields_copy(struct fields *to, const struct fields *from) {
  must(to->store == NULL && from->open_name_len == 0);
  struct chunk *store = NULL;
  if (from->store != NULL) {
    store = chunk_get(to->chunks, from->store->size);
    if (store == NULL)
      return ERR_OVERLOADED;
    size_t entries = from->count * sizeof(struct entry), capacity = store->capacity;
    memcpy(store->data, from->store->data, from->used);
    memcpy(store->data + capacity - entries, from->store->data + capacity - entries, entries);
  }
  struct chunks *chunks = to->chunks;
  *to = *from;
  to->chunks = chunks;
  to->store = store;
  return ERR_OK;
}

static inline struct entry *entry_place(const struct fields *fields, uint32_t index) {
  uint8_t *end = fields->store->data + fields->store->capacity;
  return (struct entry *)(void *)(end - (index + 1) * sizeof(struct entry));
}

static inline struct entry *entry_at(const struct fields *fields, uint32_t index) {
  must(index < fields->count);
  return entry_place(fields, index);
}

/* Moves the list into a large chunk. */
static enum err grow(struct fields *fields) {
  struct chunk *small = fields->store;
  struct chunk *large = chunk_get(fields->chunks, CHUNK_LARGE);
  if (large == NULL)
    return ERR_OVERLOADED;
  if (small != NULL) {
    size_t entries = fields->count * sizeof(struct entry);
    memcpy(large->data, small->data, fields->used);
    memcpy(large->data + large->capacity - entries, small->data + small->capacity - entries, entries);
    chunk_unref(small);
  }
  fields->store = large;
  return ERR_OK;
}

/* Makes room for |len| more bytes and one more descriptor. */
static inline enum err reserve(struct fields *fields, size_t len) {
  size_t need = fields->used + len + (fields->count + 1) * sizeof(struct entry);
  if (fields->store == NULL)
    fields->store = chunk_get(fields->chunks, CHUNK_SMALL);
  if (fields->store != NULL && need <= fields->store->capacity)
    return ERR_OK;
  must(need <= CHUNK_LARGE_BYTES);
  return grow(fields);
}

/* Checks that |len| more counted bytes are within the limits. */
static enum err count_room(const struct fields *fields, size_t len) {
  must(fields->counted <= fields->limits.bytes);
  return len <= fields->limits.bytes - fields->counted ? ERR_OK : ERR_HEAD_TOO_LARGE;
}

/* Room for |len| more bytes of the open field, within the limits. */
static inline enum err open_field_room(struct fields *fields, size_t len) {
  if (fields->count >= fields->limits.count || len > CHUNK_LARGE_BYTES)
    return ERR_HEAD_TOO_LARGE;
  enum err err = count_room(fields, fields->used - fields->open_start + len + FIELD_OVERHEAD_BYTES);
  return err == ERR_OK ? reserve(fields, len) : err;
}

enum err fields_name(struct fields *fields, struct bytes piece) {
  if (fields->open_name_len == 0)
    fields->open_start = fields->used;
  if (piece.len > FIELD_NAME_BYTES_MAX - fields->open_name_len)
    return ERR_HEAD_TOO_LARGE;
  enum err err = open_field_room(fields, piece.len);
  if (err != ERR_OK)
    return err;
  syntax_lower(fields->store->data + fields->used, piece);
  fields->used += (uint32_t)piece.len;
  fields->open_name_len += (uint32_t)piece.len;
  return ERR_OK;
}

enum err fields_value(struct fields *fields, struct bytes piece) {
  must(fields->open_name_len > 0);
  if (piece.len == 0)
    return ERR_OK;
  enum err err = open_field_room(fields, piece.len);
  if (err != ERR_OK)
    return err;
  bytes_put(fields->store->data + fields->used, piece);
  fields->used += (uint32_t)piece.len;
  return ERR_OK;
}

/* The open field, whose value of |value_len| bytes is in its place, is one of the list. */
static void close_field(struct fields *fields, uint32_t value_len) {
  *entry_place(fields, fields->count) = (struct entry){
      .offset = (uint16_t)fields->open_start,
      .name_len = (uint16_t)fields->open_name_len,
      .value_len = (uint16_t)value_len,
  };
  fields->counted += fields->open_name_len + value_len + FIELD_OVERHEAD_BYTES;
  fields->count++;
  fields->used = fields->open_start + fields->open_name_len + value_len;
  fields->open_name_len = 0;
}

static bool is_space(uint8_t c) { return c == ' ' || c == '\t'; }

enum err fields_commit(struct fields *fields) {
  must(fields->open_name_len > 0);
  uint32_t start = fields->open_start + fields->open_name_len;
  uint8_t *value = fields->store->data + start;
  uint32_t len = fields->used - start, lead = 0;
  while (len > 0 && is_space(value[len - 1]))
    len--;
  while (lead < len && is_space(value[lead]))
    lead++;
  len -= lead;
  if (lead > 0)
    memmove(value, value + lead, len);
  close_field(fields, len);
  return ERR_OK;
}

/* Appends the descriptor of a whole field, for whose bytes |out| is the place. |spare|: bytes that count for the limits
   although they are not stored. */
static inline enum err place_field(struct fields *fields, size_t name_len, size_t value_len, size_t spare,
                                   uint8_t flags, uint8_t **out) {
  must(fields->open_name_len == 0 && name_len > 0);
  size_t len = name_len + value_len;
  if (fields->count >= fields->limits.count || name_len > FIELD_NAME_BYTES_MAX || value_len + spare > CHUNK_LARGE_BYTES)
    return ERR_HEAD_TOO_LARGE;
  enum err err = count_room(fields, len + spare + FIELD_OVERHEAD_BYTES);
  if (err == ERR_OK)
    err = reserve(fields, len + spare);
  if (err != ERR_OK)
    return err;
  *out = fields->store->data + fields->used;
  *entry_place(fields, fields->count) = (struct entry){
      .offset = (uint16_t)fields->used,
      .name_len = (uint16_t)name_len,
      .value_len = (uint16_t)value_len,
      .flags = flags,
  };
  fields->counted += (uint32_t)(len + FIELD_OVERHEAD_BYTES);
  fields->used += (uint32_t)len;
  fields->count++;
  return ERR_OK;
}

enum err fields_line(struct fields *fields, struct bytes name, struct bytes value) {
  size_t received = value.len;
  while (value.len > 0 && is_space(value.data[value.len - 1]))
    value.len--;
  while (value.len > 0 && is_space(value.data[0]))
    value = bytes_of(value.data + 1, value.len - 1);
  uint8_t *out;
  enum err err = place_field(fields, name.len, value.len, received - value.len, 0, &out);
  if (err != ERR_OK)
    return err;
  syntax_lower(out, name);
  bytes_put(out + name.len, value);
  return ERR_OK;
}

static enum err add_field(struct fields *fields, struct bytes name, struct bytes value, uint8_t flags) {
  uint8_t *out;
  enum err err = place_field(fields, name.len, value.len, 0, flags, &out);
  if (err == ERR_OK)
    bytes_put(bytes_put(out, name), value);
  return err;
}

enum err fields_add(struct fields *fields, struct bytes name, struct bytes value) {
  return add_field(fields, name, value, 0);
}

enum err fields_add_noted(struct fields *fields, struct bytes name, struct bytes value, uint8_t flags) {
  return add_field(fields, name, value, flags | FLAGS_NOTED);
}

void fields_note(struct fields *fields, uint32_t index, uint8_t flags) {
  entry_at(fields, index)->flags = flags | FLAGS_NOTED;
}

uint8_t fields_flags(const struct fields *fields, uint32_t index) {
  const struct entry *entry = entry_at(fields, index);
  if (entry->flags & FLAGS_NOTED)
    return entry->flags & NAME_FLAGS;
  return syntax_rule(bytes_of(fields->store->data + entry->offset, entry->name_len))->flags;
}

bool fields_get(const struct fields *fields, uint32_t index, struct bytes *name, struct bytes *value) {
  const struct entry *entry = entry_at(fields, index);
  const uint8_t *data = fields->store->data + entry->offset;
  *name = bytes_of(data, entry->name_len);
  *value = bytes_of(data + entry->name_len, entry->value_len);
  return !entry->removed;
}

uint32_t fields_find(const struct fields *fields, struct bytes name, uint32_t from) {
  struct bytes have, value;
  for (uint32_t i = from; i < fields->count; i++)
    if (fields_get(fields, i, &have, &value) && bytes_equal(have, name))
      return i;
  return fields->count;
}

void fields_remove(struct fields *fields, uint32_t index) { entry_at(fields, index)->removed = 1; }

void fields_skip(struct fields *fields, uint32_t index, uint32_t len) {
  struct entry *entry = entry_at(fields, index);
  must(len <= entry->value_len);
  uint8_t *value = fields->store->data + entry->offset + entry->name_len;
  entry->value_len = (uint16_t)(entry->value_len - len);
  memmove(value, value + len, entry->value_len);
}

void head_open(struct head *head, struct chunks *chunks, struct head_limits limits) {
  *head = (struct head){.minor_version = 1};
  fields_open(&head->fields, chunks, limits);
}

void head_close(struct head *head) {
  fields_close(&head->fields);
  *head = (struct head){.fields = head->fields, .minor_version = 1};
}

void head_move(struct head *to, struct head *from) {
  must(to->fields.store == NULL && from->fields.open_name_len == 0);
  *to = *from;
  from->fields.store = NULL;
  head_close(from);
}

enum err head_copy(struct head *to, const struct head *from) {
  enum err err = fields_copy(&to->fields, &from->fields);
  if (err != ERR_OK)
    return err;
  struct fields fields = to->fields;
  *to = *from;
  to->fields = fields;
  return ERR_OK;
}

enum err head_count(struct head *head, size_t len) {
  enum err err = count_room(&head->fields, len);
  if (err == ERR_OK)
    head->fields.counted += (uint32_t)len;
  return err;
}

enum err head_append(struct head *head, struct text_at *which, struct bytes piece) {
  struct fields *fields = &head->fields;
  must(fields->open_name_len == 0);
  bool first = which->len == 0;
  must(first || which->offset + which->len == fields->used);
  if (piece.len > CHUNK_LARGE_BYTES)
    return ERR_HEAD_TOO_LARGE;
  enum err err = head_count(head, piece.len + (first ? TEXT_OVERHEAD_BYTES : 0));
  if (err == ERR_OK)
    err = reserve(fields, piece.len);
  if (err != ERR_OK)
    return err;
  if (first)
    which->offset = fields->used;
  bytes_put(fields->store->data + fields->used, piece);
  fields->used += (uint32_t)piece.len;
  which->len += (uint32_t)piece.len;
  return ERR_OK;
}

enum err head_set(struct head *head, struct text_at *which, struct bytes text) {
  *which = (struct text_at){0, 0};
  return head_append(head, which, text);
}

bool head_idempotent(const struct head *head) {
  static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
  for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
    if (head_method_is(head, methods[i]))
      return true;
  return false;
}

bool head_take_length(struct head *head, uint32_t index) {
  struct bytes name, value;
  fields_get(&head->fields, index, &name, &value);
  if (!syntax_decimal(value, CONTENT_LENGTH_MAX, &head->content_length))
    return false;
  uint32_t zeros = 0;
  while (zeros + 1 < value.len && value.data[zeros] == '0')
    zeros++;
  if (zeros > 0)
    fields_skip(&head->fields, index, zeros);
  head->has_length = true;
  return true;
}
