/* HTTP/1 messages in tests: what http1_read makes of some bytes, as one line of text that a table can hold. */
#ifndef PTP_TESTS_UNIT_SUPPORT_HTTP1_H
#define PTP_TESTS_UNIT_SUPPORT_HTTP1_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/http1_read.h"

/* A text that grows. */
struct text {
  char *data; /* ends in NUL once something was added */
  size_t len, room;
};
void text_add(struct text *text, const void *data, size_t len);
void text_print(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *text);

/* Where one message goes. */
struct message {
  struct head head;
  struct flow body;
  struct fields trailers;
};
void message_open(struct message *message, struct chunks *chunks, struct head_limits limits);
void message_close(struct message *message);

/* "name: value, name: value" */
void print_fields(struct text *out, const struct fields *fields);
/* "GET /x host{name: value} close te chunked": see print_messages */
void print_head(struct text *out, const struct head *head);
/* All bytes of |flow| that are not taken. */
void print_flow(struct text *out, const struct flow *flow);

/* How the bytes arrive. */
struct arrival {
  size_t first; /* length of the first piece; 0: all at once */
  size_t each;  /* length of all other pieces; 0: the rest */
};

/* Reads |len| bytes as messages until they are used up or something is broken, then ends the connection, and adds what
   happened to |out|:
     GET /x host{name: value} close keep te 100 #5 "body"{trailer: value}       messages apart by " | "
     200{...} #5 chunked eof "body"     103{...}     !err_name                   flow ends other than EOF as "~3"  */
void print_messages(struct text *out, struct chunks *chunks, struct head_limits limits, enum http1_role role,
                    bool no_body, const char *bytes, size_t len, struct arrival arrival);

#endif
