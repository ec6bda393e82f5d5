#include "fuzz/http1_pass.h"

#include <string.h>

#include "fuzz/fuzz.h"

enum { PIECE_OFFSET = 3 }; /* nothing in a buffer is aligned by chance */

/* --- descriptions ------------------------------------------------------------------------------------------------ */

static void add(struct text *out, struct bytes bytes) { text_add(out, bytes.data, bytes.len); }

static void describe_cookies(struct text *out, const struct fields *fields) {
  struct bytes name, value;
  const char *before = "";
  if (fields_find(fields, BYTES_LITERAL("cookie"), 0) == fields->count)
    return;
  text_print(out, "\ncookie: ");
  for (uint32_t i = 0; i < fields->count; i++) {
    if (!fields_get(fields, i, &name, &value) || value.len == 0 || !bytes_equal(name, BYTES_LITERAL("cookie")))
      continue;
    text_print(out, "%s", before);
    add(out, value);
    before = "; ";
  }
}

static void describe_fields(struct text *out, const struct fields *fields, bool join_cookies) {
  struct bytes name, value;
  for (uint32_t i = 0; i < fields->count; i++) {
    if (!fields_get(fields, i, &name, &value) || bytes_equal(name, BYTES_LITERAL("content-length")) ||
        (join_cookies && bytes_equal(name, BYTES_LITERAL("cookie"))))
      continue;
    text_print(out, "\n");
    add(out, name);
    text_print(out, ": ");
    add(out, value);
  }
  if (join_cookies)
    describe_cookies(out, fields);
}

void describe_head(struct text *out, const struct head *head) {
  bool request = head->status == 0;
  if (request) {
    add(out, head_method(head));
    text_print(out, " ");
    add(out, head_target(head));
    text_print(out, " ");
    add(out, head_authority(head));
  } else {
    text_print(out, "%u", head->status);
  }
  describe_fields(out, &head->fields, request);
  text_print(out, "\n%s%s", request && head->trailers_accepted ? "te " : "", head->expects_continue ? "100 " : "");
  /* A body of no bytes may be said or not be said. */
  if (head->has_length && head->content_length > 0)
    text_print(out, "#%llu ", (unsigned long long)head->content_length);
}

void describe_rest(struct text *out, const struct text *body, const struct fields *trailers) {
  text_print(out, "%zu \"", body->len);
  text_add(out, body->len > 0 ? body->data : "", body->len);
  text_print(out, "\"");
  if (trailers != NULL)
    describe_fields(out, trailers, false);
  text_print(out, " | ");
}

void describe_body(struct text *out, const struct flow *flow, const struct fields *trailers) {
  struct text body = {.data = NULL};
  print_flow(&body, flow);
  describe_rest(out, &body, trailers);
  text_free(&body);
}

/* --- the pass ------------------------------------------------------------------------------------------------------
 */

struct run {
  struct pass *pass;
  struct http1_reader reader;
  struct message message;
  bool headed, over;
};

static void next_message(struct run *run) {
  const struct pass *pass = run->pass;
  message_open(&run->message, fuzz_chunks(), pass->limits);
  http1_reader_next(&run->reader, &run->message.head, &run->message.body, &run->message.trailers, pass->no_body);
  run->headed = false;
}

static void say_head(struct run *run) {
  describe_head(&run->pass->said, &run->message.head);
  if (run->pass->said_all)
    print_head(&run->pass->said, &run->message.head);
}

static void take_message(struct run *run) {
  struct pass *pass = run->pass;
  struct message *message = &run->message;
  must(run->headed && message->body.end == FLOW_EOF);
  must(message->head.body != BODY_NONE || message->body.pushed == 0);
  must(message->head.body != BODY_SIZED || message->body.pushed == message->head.content_length);
  describe_body(&pass->said, &message->body, &message->trailers);
  if (pass->message != NULL)
    pass->message(pass->context, message);
  message_close(message);
  next_message(run);
  run->over = pass->one;
}

static void take_step(struct run *run, enum http1_step step) {
  struct pass *pass = run->pass;
  switch (step) {
  case HTTP1_MORE:
    break;
  case HTTP1_HEAD:
    must(!run->headed && run->message.body.pushed == 0);
    run->headed = true;
    say_head(run);
    break;
  case HTTP1_INFORMATIONAL:
    must(!run->headed && pass->role == HTTP1_READS_RESPONSES);
    say_head(run);
    text_print(&pass->said, " | ");
    if (pass->informational != NULL)
      pass->informational(pass->context, &run->message.head);
    http1_reader_final(&run->reader);
    break;
  case HTTP1_MESSAGE:
    take_message(run);
    break;
  case HTTP1_BROKEN:
    if (run->headed)
      describe_body(&pass->said, &run->message.body, &run->message.trailers);
    must(!run->headed || (run->message.body.end != FLOW_EOF && run->message.body.end != FLOW_OPEN));
    pass->error = http1_reader_error(&run->reader);
    must(pass->error != ERR_OK);
    run->over = true;
    break;
  }
}

/* |at|: where the piece is in the whole. */
static void feed(struct run *run, struct bytes piece, size_t at) {
  struct chunk *chunk =
      chunk_get(fuzz_chunks(), piece.len + PIECE_OFFSET > CHUNK_SMALL_BYTES ? CHUNK_LARGE : CHUNK_SMALL);
  must(chunk != NULL);
  memcpy(chunk->data + PIECE_OFFSET, piece.data, piece.len);
  uint32_t offset = PIECE_OFFSET, end = PIECE_OFFSET + (uint32_t)piece.len;
  chunk->used = end;
  for (enum http1_step step = HTTP1_HEAD; !run->over && (step == HTTP1_HEAD || offset < end);) {
    uint32_t before = offset;
    step = http1_read(&run->reader, chunk, &offset, end);
    must(offset >= before && offset <= end && (step != HTTP1_MORE || offset == end));
    if (step == HTTP1_MESSAGE)
      run->pass->used = at + offset - PIECE_OFFSET;
    take_step(run, step);
  }
  chunk_unref(chunk);
}

void pass_run(struct pass *pass, struct bytes bytes) {
  struct run run = {.pass = pass};
  must(bytes.len <= CHUNK_LARGE_BYTES - PIECE_OFFSET);
  http1_reader_open(&run.reader, pass->role);
  next_message(&run);
  uint32_t piece_max = pass->split != 0 ? 1 + draw_below(&pass->split, draw_below(&pass->split, 2) == 0 ? 4 : 200) : 0;
  for (size_t at = 0; at < bytes.len && !run.over;) {
    size_t len = pass->split != 0 ? 1 + draw_below(&pass->split, piece_max) : bytes.len;
    len = len < bytes.len - at ? len : bytes.len - at;
    feed(&run, bytes_of(bytes.data + at, len), at);
    at += len;
  }
  if (!run.over)
    take_step(&run, http1_read_end(&run.reader));
  message_close(&run.message);
}
