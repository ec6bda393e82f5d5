/* One pass of http1_read over some bytes, and what a message says in a form that can be compared. */
#ifndef PTP_TESTS_FUZZ_HTTP1_PASS_H
#define PTP_TESTS_FUZZ_HTTP1_PASS_H

#include "proto/http1_read.h"
#include "unit/support_http1.h"

enum { PASS_BYTES_MAX = 32768 }; /* longer inputs add nothing, and would meet the limits of flows */

struct pass {
  enum http1_role role;
  bool no_body;   /* responses: to HEAD */
  bool said_all;  /* also what is only the connection's business: close, keep-alive, how the body was framed */
  bool one;       /* no further message is read */
  uint64_t split; /* state of draw(): the bytes come in pieces of lengths drawn from it; 0: all at once */
  struct head_limits limits;
  /* Either may be NULL. A message is complete, and its flow not taken from; a 1xx head likewise. */
  void (*message)(void *context, struct message *message);
  void (*informational)(void *context, const struct head *head);
  void *context;
  /* results */
  struct text said; /* the descriptions of all messages */
  size_t used;      /* bytes up to the end of the last message */
  enum err error;   /* ERR_OK: it ended between two messages */
};

/* Ends with the end of the connection. The caller frees |said|. */
void pass_run(struct pass *pass, struct bytes bytes);

/* What the head says to its receiver, in whatever way it is framed: cookies of a request in one line, lengths apart. */
void describe_head(struct text *out, const struct head *head);
/* Behind the head: the body, and the trailers; NULL: none. */
void describe_rest(struct text *out, const struct text *body, const struct fields *trailers);
/* The same, with the body that is still in |flow|. */
void describe_body(struct text *out, const struct flow *flow, const struct fields *trailers);

#endif
