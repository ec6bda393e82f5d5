/* HTTP/1.1 as the scripted ends speak it: a reader that checks every byte of a body, and a writer that makes them. Byte
   |offset| of a body follows from the exchange, the direction and the offset, so that both ends know it. */
#ifndef PTP_TESTS_SIM_MESSAGE_H
#define PTP_TESTS_SIM_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/wire.h"

enum { MESSAGE_HEAD_MAX = 16384 };

enum framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED, FRAMING_UNTIL_CLOSE };
enum body_direction { BODY_UP, BODY_DOWN };

/* --- reading --- */

enum message_progress { MESSAGE_HEAD, MESSAGE_BODY, MESSAGE_COMPLETE, MESSAGE_MALFORMED };

struct message {
  bool response, request_was_head;
  uint32_t id;   /* whose body is expected: set by the reader's owner when the head is complete */
  bool check;    /* the body is compared */
  bool mismatch; /* and was wrong */
  char head[MESSAGE_HEAD_MAX];
  size_t head_len;
  uint8_t progress; /* enum message_progress */
  uint8_t framing;  /* enum framing */
  uint8_t chunk_part;
  char method[16], target[128];
  int status, minor;
  uint64_t left;  /* of the length, or of the chunk */
  uint64_t bytes; /* of the body so far */
  char line[128]; /* chunk size or trailer */
  size_t line_len;
  uint32_t trailers;
  const char *problem;
};

void message_begin(struct message *message, bool response, bool request_was_head);
/* Takes bytes until the head is complete (once), or the message is, or all are taken; returns how many. */
size_t message_feed(struct message *message, const uint8_t *data, size_t len);
/* The sender closed: completes a body that ends so. */
void message_end(struct message *message);
/* The value of a field in |out|, empty when there is none. */
bool message_field(const struct message *message, const char *name, char *out, size_t size);

/* --- writing --- */

struct outgoing {
  char head[MESSAGE_HEAD_MAX];
  size_t head_len, head_sent;
  uint32_t id;
  uint8_t direction, framing;
  bool trailers;
  bool hold; /* the body waits */
  uint64_t body_bytes, body_sent;
  uint64_t stop_at; /* of the body: nothing is written from there on; UINT64_MAX: all is */
  char frame[64];   /* chunk header, chunk end, last chunk */
  size_t frame_len, frame_sent;
  uint64_t chunk_left; /* of the chunk that is being written */
  bool in_chunk, last_written;
  struct rng *rng;
};

/* Ready to be filled: head (head_len) and the other members after that. */
void outgoing_begin(struct outgoing *outgoing, uint32_t id, enum body_direction direction, struct rng *rng);
void outgoing_line(struct outgoing *outgoing, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Writes up to |budget| bytes of the body and what belongs to them; true when all, or all up to stop_at, is written. */
bool outgoing_pump(struct outgoing *outgoing, struct peer *peer, uint64_t budget);
/* Nothing of it is missing. */
bool outgoing_complete(const struct outgoing *outgoing);

#endif
