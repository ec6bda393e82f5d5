/* Written for the tests alone and strict on purpose: what the proxy sends must be right, not only understandable. */
#include "sim/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/must.h"
#include "sim/world.h"

/* --- the bytes of bodies --- */

static uint64_t body_word(uint32_t id, unsigned direction, uint64_t index) {
  return mix64(((uint64_t)id << 33) ^ ((uint64_t)direction << 32) ^ (index * 0x9e3779b97f4a7c15));
}

static void body_fill(uint8_t *out, size_t len, uint32_t id, unsigned direction, uint64_t offset) {
  for (size_t i = 0; i < len;) {
    uint64_t word = body_word(id, direction, offset / 8);
    for (uint64_t byte = offset % 8; byte < 8 && i < len; byte++, offset++)
      out[i++] = (uint8_t)(word >> (8 * byte));
  }
}

static bool body_holds(const uint8_t *data, size_t len, uint32_t id, unsigned direction, uint64_t offset) {
  uint8_t expected[512];
  while (len > 0) {
    size_t part = len < sizeof expected ? len : sizeof expected;
    body_fill(expected, part, id, direction, offset);
    if (memcmp(expected, data, part) != 0)
      return false;
    data += part;
    offset += part;
    len -= part;
  }
  return true;
}

/* --- reading --- */

enum chunk_part { CHUNK_SIZE_LINE, CHUNK_BYTES, CHUNK_END_LINE, CHUNK_TRAILERS };

void message_begin(struct message *message, bool response, bool request_was_head) {
  memset(message, 0, offsetof(struct message, head));
  message->head_len = 0;
  memset(&message->progress, 0, sizeof *message - offsetof(struct message, progress));
  message->response = response;
  message->request_was_head = request_was_head;
}

static void malformed(struct message *message, const char *problem) {
  message->progress = MESSAGE_MALFORMED;
  message->problem = problem;
}

bool message_field(const struct message *message, const char *name, char *out, size_t size) {
  size_t name_len = strlen(name);
  const char *at = strstr(message->head, "\r\n");
  out[0] = '\0';
  for (; at != NULL && at[2] != '\r'; at = strstr(at + 2, "\r\n")) {
    const char *line = at + 2, *end = strstr(line, "\r\n");
    if (end == NULL || (size_t)(end - line) < name_len + 2 || strncasecmp(line, name, name_len) != 0 ||
        line[name_len] != ':')
      continue;
    const char *value = line + name_len + 2;
    snprintf(out, size, "%.*s", (int)(end - value), value);
    return true;
  }
  return false;
}

static void read_framing(struct message *message) {
  char length[32], coding[32];
  bool has_length = message_field(message, "Content-Length", length, sizeof length);
  bool chunked = message_field(message, "Transfer-Encoding", coding, sizeof coding);
  bool no_body = message->request_was_head || message->status == 204 || message->status == 304 ||
                 (message->response && message->status < 200);
  message->progress = MESSAGE_BODY;
  if (has_length && chunked) {
    malformed(message, "both Content-Length and Transfer-Encoding");
  } else if (no_body) {
    message->framing = FRAMING_NONE;
  } else if (chunked) {
    message->framing = FRAMING_CHUNKED;
    if (strcasecmp(coding, "chunked") != 0)
      malformed(message, "unknown transfer coding");
  } else if (has_length) {
    message->framing = FRAMING_LENGTH;
    message->left = strtoull(length, NULL, 10);
  } else {
    message->framing = message->response ? FRAMING_UNTIL_CLOSE : FRAMING_NONE;
  }
  bool over = message->framing == FRAMING_NONE || (message->framing == FRAMING_LENGTH && message->left == 0);
  if (over && message->progress == MESSAGE_BODY)
    message->progress = MESSAGE_COMPLETE;
}

static void read_start_line(struct message *message) {
  int used = 0;
  bool ok;
  if (message->response)
    ok = sscanf(message->head, "HTTP/1.%1d %3d %n", &message->minor, &message->status, &used) == 2 && used > 0;
  else
    ok = sscanf(message->head, "%15[A-Z] %127s HTTP/1.%1d\r%n", message->method, message->target, &message->minor,
                &used) == 3 &&
         used > 0;
  if (ok)
    read_framing(message);
  else
    malformed(message, "start line");
}

static size_t feed_head(struct message *message, const uint8_t *data, size_t len) {
  size_t used = 0;
  while (used < len && message->progress == MESSAGE_HEAD) {
    if (message->head_len + 1 >= sizeof message->head) {
      malformed(message, "the head is too long");
      break;
    }
    message->head[message->head_len++] = (char)data[used++];
    message->head[message->head_len] = '\0';
    if (message->head_len >= 4 && memcmp(message->head + message->head_len - 4, "\r\n\r\n", 4) == 0)
      read_start_line(message);
  }
  return used;
}

static void take_body(struct message *message, const uint8_t *data, size_t len) {
  if (message->check && !body_holds(data, len, message->id, message->response ? BODY_DOWN : BODY_UP, message->bytes))
    message->mismatch = true;
  message->bytes += len;
}

static void read_line(struct message *message) {
  char *end = NULL;
  switch ((enum chunk_part)message->chunk_part) {
  case CHUNK_SIZE_LINE:
    message->left = strtoull(message->line, &end, 16);
    message->chunk_part = message->left > 0 ? CHUNK_BYTES : CHUNK_TRAILERS;
    if (end == message->line || *end != '\0')
      malformed(message, "chunk size");
    return;
  case CHUNK_END_LINE:
    message->chunk_part = CHUNK_SIZE_LINE;
    if (message->line_len != 0)
      malformed(message, "bytes behind a chunk");
    return;
  case CHUNK_TRAILERS:
    if (message->line_len == 0)
      message->progress = MESSAGE_COMPLETE;
    else
      message->trailers++;
    return;
  case CHUNK_BYTES:
    break;
  }
  must_never("chunk bytes are no line");
}

static size_t feed_line(struct message *message, const uint8_t *data, size_t len) {
  for (size_t used = 0; used < len;) {
    char byte = (char)data[used++];
    if (byte == '\n' && message->line_len > 0 && message->line[message->line_len - 1] == '\r') {
      message->line[--message->line_len] = '\0';
      read_line(message);
      message->line_len = 0;
      return used;
    }
    if (message->line_len + 1 >= sizeof message->line) {
      malformed(message, "line too long");
      return used;
    }
    message->line[message->line_len++] = byte;
    message->line[message->line_len] = '\0';
  }
  return len;
}

static size_t feed_body(struct message *message, const uint8_t *data, size_t len) {
  bool chunked = message->framing == FRAMING_CHUNKED;
  if (chunked && message->chunk_part != CHUNK_BYTES)
    return feed_line(message, data, len);
  size_t part = message->framing == FRAMING_UNTIL_CLOSE || len < message->left ? len : (size_t)message->left;
  take_body(message, data, part);
  if (message->framing == FRAMING_UNTIL_CLOSE)
    return part;
  message->left -= part;
  if (message->left == 0 && chunked)
    message->chunk_part = CHUNK_END_LINE;
  else if (message->left == 0)
    message->progress = MESSAGE_COMPLETE;
  return part;
}

size_t message_feed(struct message *message, const uint8_t *data, size_t len) {
  if (message->progress == MESSAGE_HEAD)
    return feed_head(message, data, len);
  size_t used = 0;
  while (used < len && message->progress == MESSAGE_BODY)
    used += feed_body(message, data + used, len - used);
  return used;
}

void message_end(struct message *message) {
  if (message->progress == MESSAGE_BODY && message->framing == FRAMING_UNTIL_CLOSE)
    message->progress = MESSAGE_COMPLETE;
}

/* --- writing --- */

void outgoing_begin(struct outgoing *outgoing, uint32_t id, enum body_direction direction, struct rng *rng) {
  outgoing->head_len = 0;
  memset(&outgoing->head_sent, 0, sizeof *outgoing - offsetof(struct outgoing, head_sent));
  outgoing->id = id;
  outgoing->direction = (uint8_t)direction;
  outgoing->stop_at = UINT64_MAX;
  outgoing->rng = rng;
}

void outgoing_line(struct outgoing *outgoing, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  size_t room = sizeof outgoing->head - outgoing->head_len;
  int len = vsnprintf(outgoing->head + outgoing->head_len, room, format, arguments);
  va_end(arguments);
  must(len >= 0 && (size_t)len + 2 < room);
  outgoing->head_len += (size_t)len;
  outgoing->head[outgoing->head_len++] = '\r';
  outgoing->head[outgoing->head_len++] = '\n';
}

static bool write_part(struct peer *peer, const char *data, size_t len, size_t *sent) {
  *sent += peer_write(peer, data + *sent, len - *sent);
  return *sent == len;
}

static void set_frame(struct outgoing *outgoing, const char *text) {
  outgoing->frame_len = (size_t)snprintf(outgoing->frame, sizeof outgoing->frame, "%s", text);
  outgoing->frame_sent = 0;
}

/* The next chunk's header, or the last chunk; false when there is nothing more. */
static bool next_frame(struct outgoing *outgoing) {
  uint64_t left = outgoing->body_bytes - outgoing->body_sent;
  if (outgoing->last_written)
    return false;
  if (left == 0) {
    char text[48];
    snprintf(text, sizeof text, "0\r\n%.*s\r\n", outgoing->trailers ? 19 : 0, "X-Check: complete\r\n");
    set_frame(outgoing, text);
    outgoing->last_written = true;
    return true;
  }
  static const uint64_t sizes[] = {1, 100, 1000, 4096, 16384, 100000};
  uint64_t limit = sizes[rng_below(outgoing->rng, sizeof sizes / sizeof sizes[0])];
  outgoing->chunk_left = rng_between(outgoing->rng, 1, limit);
  if (outgoing->chunk_left > left)
    outgoing->chunk_left = left;
  else if (left / outgoing->chunk_left > 2000)
    outgoing->chunk_left = left / 2000; /* megabytes in chunks of a byte would take too long */
  char text[24];
  snprintf(text, sizeof text, "%llx\r\n", (unsigned long long)outgoing->chunk_left);
  set_frame(outgoing, text);
  outgoing->in_chunk = true;
  return true;
}

/* Bytes of the body that may be written now, before a frame, an end or the budget. */
static uint64_t body_allowed(const struct outgoing *outgoing, uint64_t budget) {
  uint64_t allowed = outgoing->body_bytes - outgoing->body_sent;
  uint64_t until_stop = outgoing->stop_at > outgoing->body_sent ? outgoing->stop_at - outgoing->body_sent : 0;
  if (outgoing->framing == FRAMING_CHUNKED && allowed > outgoing->chunk_left)
    allowed = outgoing->chunk_left;
  allowed = allowed < until_stop ? allowed : until_stop;
  return allowed < budget ? allowed : budget;
}

static bool stopped(const struct outgoing *outgoing) { return outgoing->body_sent >= outgoing->stop_at; }

/* False: no room. */
static bool write_body(struct outgoing *outgoing, struct peer *peer, uint64_t *budget) {
  uint8_t buffer[4096];
  uint64_t allowed;
  while ((allowed = body_allowed(outgoing, *budget)) > 0) {
    size_t room = peer_room(peer);
    size_t part = allowed < sizeof buffer ? (size_t)allowed : sizeof buffer;
    part = part < room ? part : room;
    if (part == 0)
      return false;
    body_fill(buffer, part, outgoing->id, outgoing->direction, outgoing->body_sent);
    must(peer_write(peer, buffer, part) == part);
    outgoing->body_sent += part;
    *budget -= part;
    if (outgoing->framing == FRAMING_CHUNKED)
      outgoing->chunk_left -= part;
  }
  if (outgoing->in_chunk && outgoing->chunk_left == 0) {
    outgoing->in_chunk = false;
    set_frame(outgoing, "\r\n");
  }
  return true;
}

bool outgoing_complete(const struct outgoing *outgoing) {
  bool framed = outgoing->framing != FRAMING_CHUNKED || outgoing->last_written;
  return outgoing->head_sent == outgoing->head_len && outgoing->body_sent == outgoing->body_bytes && framed &&
         outgoing->frame_sent == outgoing->frame_len;
}

bool outgoing_pump(struct outgoing *outgoing, struct peer *peer, uint64_t budget) {
  if (!write_part(peer, outgoing->head, outgoing->head_len, &outgoing->head_sent))
    return false;
  while (!outgoing->hold) {
    if (stopped(outgoing))
      return true;
    if (!write_part(peer, outgoing->frame, outgoing->frame_len, &outgoing->frame_sent))
      return false;
    if (outgoing->framing == FRAMING_CHUNKED && !outgoing->in_chunk && !next_frame(outgoing))
      return true;
    if (!write_part(peer, outgoing->frame, outgoing->frame_len, &outgoing->frame_sent) ||
        !write_body(outgoing, peer, &budget))
      return false;
    if (outgoing->framing != FRAMING_CHUNKED)
      return stopped(outgoing) || outgoing->body_sent == outgoing->body_bytes;
    if (budget == 0 && outgoing->body_sent < outgoing->body_bytes)
      return stopped(outgoing);
  }
  return false;
}
