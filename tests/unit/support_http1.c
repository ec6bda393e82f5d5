#include "unit/support_http1.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

static void text_room(struct text *text, size_t len) {
  if (text->len + len + 1 <= text->room)
    return;
  text->room = (text->len + len + 1) * 2;
  text->data = realloc(text->data, text->room);
  must(text->data != NULL);
}

void text_add(struct text *text, const void *data, size_t len) {
  text_room(text, len);
  memcpy(text->data + text->len, data, len);
  text->len += len;
  text->data[text->len] = '\0';
}

void text_print(struct text *text, const char *format, ...) {
  char line[256];
  va_list args;
  va_start(args, format);
  int len = vsnprintf(line, sizeof(line), format, args);
  va_end(args);
  must(len >= 0 && (size_t)len < sizeof(line));
  text_add(text, line, (size_t)len);
}

void text_free(struct text *text) {
  free(text->data);
  *text = (struct text){.data = NULL};
}

void message_open(struct message *message, struct chunks *chunks, struct head_limits limits) {
  head_open(&message->head, chunks, limits);
  flow_open(&message->body, chunks);
  fields_open(&message->trailers, chunks, limits);
}

void message_close(struct message *message) {
  head_close(&message->head);
  flow_close(&message->body);
  fields_close(&message->trailers);
}

static void add_bytes(struct text *out, struct bytes bytes) { text_add(out, bytes.data, bytes.len); }

void print_fields(struct text *out, const struct fields *fields) {
  struct bytes name, value;
  const char *between = "";
  text_print(out, "{");
  for (uint32_t i = 0; i < fields->count; i++) {
    if (!fields_get(fields, i, &name, &value))
      continue;
    text_print(out, "%s", between);
    add_bytes(out, name);
    text_print(out, ": ");
    add_bytes(out, value);
    between = ", ";
  }
  text_print(out, "}");
}

void print_flow(struct text *out, const struct flow *flow) {
  for (const struct span *span = flow->next; span != NULL; span = span->next) {
    uint32_t skip = span == flow->next ? flow->next_taken : 0;
    text_add(out, span->chunk->data + span->offset + skip, span->len - skip);
  }
}

void print_head(struct text *out, const struct head *head) {
  if (head->status != 0) {
    text_print(out, "%u", head->status);
  } else {
    add_bytes(out, head_method(head));
    text_print(out, " ");
    add_bytes(out, head_target(head));
    text_print(out, " ");
    add_bytes(out, head_authority(head));
  }
  print_fields(out, &head->fields);
  text_print(out, "%s%s%s%s", head->close ? " close" : "", head->keep_alive ? " keep" : "",
             head->trailers_accepted ? " te" : "", head->expects_continue ? " 100" : "");
  if (head->has_length)
    text_print(out, " #%llu", (unsigned long long)head->content_length);
  must(head->body != BODY_SIZED || (head->has_length && head->content_length > 0));
  text_print(out, "%s", head->body == BODY_CHUNKED ? " chunked" : head->body == BODY_UNTIL_CLOSE ? " eof" : "");
}

static void print_body(struct text *out, const struct message *message) {
  text_print(out, " \"");
  print_flow(out, &message->body);
  text_print(out, "\"");
  if (message->trailers.count > 0)
    print_fields(out, &message->trailers);
  if (message->body.end != FLOW_EOF)
    text_print(out, "~%u", message->body.end);
}

struct run {
  struct text *out;
  struct http1_reader reader;
  struct message message;
  bool no_body, headed, over;
  uint32_t messages;
};

static void next_message(struct run *run) {
  http1_reader_next(&run->reader, &run->message.head, &run->message.body, &run->message.trailers, run->no_body);
  must(!http1_reader_started(&run->reader));
  run->headed = false;
}

static void take_step(struct run *run, enum http1_step step, struct chunks *chunks, struct head_limits limits) {
  switch (step) {
  case HTTP1_MORE:
    break;
  case HTTP1_HEAD:
    must(!run->headed && run->message.body.pushed == 0);
    run->headed = true;
    print_head(run->out, &run->message.head);
    break;
  case HTTP1_INFORMATIONAL:
    must(!run->headed);
    print_head(run->out, &run->message.head);
    text_print(run->out, " ");
    http1_reader_final(&run->reader);
    must(run->message.head.fields.count == 0);
    break;
  case HTTP1_MESSAGE:
    must(run->headed && run->message.body.end == FLOW_EOF);
    print_body(run->out, &run->message);
    message_close(&run->message);
    message_open(&run->message, chunks, limits);
    text_print(run->out, " | ");
    next_message(run);
    break;
  case HTTP1_BROKEN:
    if (run->headed)
      print_body(run->out, &run->message);
    text_print(run->out, "!%s", err_name(http1_reader_error(&run->reader)));
    run->over = true;
    break;
  }
}

/* Feeds one piece in a chunk of its own, at an offset of its own. */
static void feed(struct run *run, struct chunks *chunks, struct head_limits limits, const char *bytes, size_t len) {
  struct chunk *chunk = chunk_get(chunks, len + 7 > CHUNK_SMALL_BYTES ? CHUNK_LARGE : CHUNK_SMALL);
  must(chunk != NULL && len + 7 <= chunk->capacity);
  uint32_t offset = (uint32_t)(len % 7), end = (uint32_t)(offset + len);
  memcpy(chunk->data + offset, bytes, len);
  chunk->used = end;
  enum http1_step step = HTTP1_HEAD;
  while (!run->over && (step != HTTP1_MORE || offset < end)) {
    step = http1_read(&run->reader, chunk, &offset, end);
    must(step != HTTP1_MORE || offset == end);
    take_step(run, step, chunks, limits);
    if (step == HTTP1_MESSAGE && offset == end)
      break;
  }
  chunk_unref(chunk);
}

void print_messages(struct text *out, struct chunks *chunks, struct head_limits limits, enum http1_role role,
                    bool no_body, const char *bytes, size_t len, struct arrival arrival) {
  struct run run = {.out = out, .no_body = no_body};
  message_open(&run.message, chunks, limits);
  http1_reader_open(&run.reader, role);
  next_message(&run);
  size_t at = 0, piece = arrival.first > 0 ? arrival.first : len;
  while (at < len && !run.over) {
    if (piece == 0 || piece > len - at)
      piece = len - at;
    feed(&run, chunks, limits, bytes + at, piece);
    at += piece;
    piece = arrival.each;
  }
  if (!run.over)
    take_step(&run, http1_read_end(&run.reader), chunks, limits);
  message_close(&run.message);
}
