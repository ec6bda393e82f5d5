/* Start lines of HTTP/1.x messages. They are read by our own code, not by llhttp, which knows a fixed list of methods
   and takes versions and protocols that we do not (RELIABILITY.md T-9). For http1_read.c only. */
#ifndef PTP_PROTO_HTTP1_LINE_H
#define PTP_PROTO_HTTP1_LINE_H

#include "proto/http1_read.h"

/* Gets ready for the start line of the reader's next head. */
void http1_line_open(struct http1_reader *reader);

/* Consumes bytes from |*at| on, up to |end| or the end of the line, and fills method and target, or the status, and the
   version of the reader's head. ERR_OK or how to answer. */
must_use enum err http1_line_read(struct http1_reader *reader, const uint8_t **at, const uint8_t *end);

/* The line is complete. */
bool http1_line_done(const struct http1_reader *reader);

#endif
