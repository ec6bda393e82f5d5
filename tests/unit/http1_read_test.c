#include "unit/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/support_http1.h"

/* Every row is read in one piece, in two pieces cut at every position, and byte by byte; the outcome must be the same.
   The names of the rows are those of RELIABILITY.md where it has one. */

static struct chunks chunks;
static const struct head_limits limits = {4096, 20};

static int set_up(void **state) {
  (void)state;
  return chunks_open(&chunks, 64, 16, 512) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  return chunks_end(&chunks);
}

struct row {
  const char *name;
  const char *in;
  size_t len;
  const char *out; /* as print_messages says */
  bool no_body;    /* a response to HEAD */
};

#define ROW(name, in, out)                                                                                             \
  { name, in, sizeof(in) - 1, out, false }
#define ROW_HEAD(name, in, out)                                                                                        \
  { name, in, sizeof(in) - 1, out, true }

static void check(const struct row *row, enum http1_role role, struct arrival arrival) {
  struct text out = {.data = NULL};
  print_messages(&out, &chunks, limits, role, row->no_body, row->in, row->len, arrival);
  /* A response reader waits for the next one when the bytes end. */
  const char *end = " | !origin_closed";
  if (out.len > strlen(end) && strcmp(out.data + out.len - strlen(end), end) == 0)
    out.data[out.len - strlen(end)] = '\0';
  else if (out.len > 3 && strcmp(out.data + out.len - 3, " | ") == 0)
    out.data[out.len - 3] = '\0';
  const char *have = out.data != NULL ? out.data : "";
  if (strcmp(have, row->out) != 0)
    fail_msg("%s, pieces of %zu and %zu:\n  have %s\n  want %s", row->name, arrival.first, arrival.each, have,
             row->out);
  text_free(&out);
  if (pools_live() != 0)
    fail_msg("%s: something was not given back", row->name);
}

static void check_rows(const struct row *rows, size_t count, enum http1_role role) {
  for (size_t i = 0; i < count; i++) {
    check(&rows[i], role, (struct arrival){0, 0});
    check(&rows[i], role, (struct arrival){1, 1});
    check(&rows[i], role, (struct arrival){3, 5});
    for (size_t cut = 1; cut < rows[i].len; cut++)
      check(&rows[i], role, (struct arrival){cut, 0});
  }
}

#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define CANARY "GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"
#define CANARY_OUT " | GET /canary a{} \"\""
#define BAD "!bad_request"
#define HOST "!bad_host"
#define BODY_BAD(body) "POST / a{} chunked \"" body "\"~3!bad_request"

static const struct row good_requests[] = {
    ROW("simple", GET H "\r\n" CANARY, "GET / a{} \"\"" CANARY_OUT),
    ROW("empty lines before", "\r\n\r\n" GET H "\r\n\r\n" CANARY, "GET / a{} \"\"" CANARY_OUT),
    ROW("fields", GET "HOST:a\r\nX-A: \t b c \t\r\nx-a:\r\nY:\x80\xff\r\n\r\n",
        "GET / a{x-a: b c, x-a: , y: \x80\xff} \"\""),
    ROW("length", POST "Content-Length: 5\r\n\r\nhello" CANARY, "POST / a{content-length: 5} #5 \"hello\"" CANARY_OUT),
    ROW("length 0", POST "Content-Length: 0\r\n\r\n" CANARY, "POST / a{content-length: 0} #0 \"\"" CANARY_OUT),
    ROW("H1-4", POST "Content-Length: 005\r\n\r\nhello" CANARY, "POST / a{content-length: 5} #5 \"hello\"" CANARY_OUT),
    ROW("H1-4 zeros", POST "Content-Length: 000\r\n\r\n" CANARY, "POST / a{content-length: 0} #0 \"\"" CANARY_OUT),
    ROW("chunked", CHUNKED "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n" CANARY,
        "POST / a{} chunked \"hello world\"" CANARY_OUT),
    ROW("chunked, empty", CHUNKED "0\r\n\r\n" CANARY, "POST / a{} chunked \"\"" CANARY_OUT),
    ROW("chunked, odd case", POST "tRANSFER-eNCODING: ChUnKeD\r\n\r\n0A\r\n0123456789\r\n000\r\n\r\n" CANARY,
        "POST / a{} chunked \"0123456789\"" CANARY_OUT),
    ROW("H1-14 extensions", CHUNKED "5;a=b\r\nhello\r\n1;a=\"x;y\\\"z\";c\r\n!\r\n0;z\r\n\r\n" CANARY,
        "POST / a{} chunked \"hello!\"" CANARY_OUT),
    ROW("H1-15 trailers", CHUNKED "1\r\nx\r\n0\r\nX-Sum: 1 \r\nAuthorization: b\r\nCookie: c\r\nx-two:\r\n\r\n" CANARY,
        "POST / a{} chunked \"x\"{x-sum: 1, x-two: }" CANARY_OUT),
    ROW("H1-15 all dropped",
        CHUNKED "0\r\nHost: b\r\nSet-Cookie: a\r\nTE: trailers\r\nTrailer: x\r\nContent-Type: a\r\nContent-Range: b\r\n"
                "Content-Encoding: c\r\nConnection: X-A\r\nX-A: 1\r\n\r\n",
        "POST / a{} chunked \"\"{x-a: 1}"),
    ROW("H1-8 underscore", POST "Content_Length: 5\r\n\r\n" CANARY, "POST / a{content_length: 5} \"\"" CANARY_OUT),
    ROW("1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / a{} close \"\""),
    ROW("1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "GET / {} close \"\""),
    ROW("1.0 keep-alive", "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", "GET / a{} keep \"\""),
    ROW("1.0 both", "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive, close\r\n\r\n", "GET / a{} close \"\""),
    ROW("1.0 expects", "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nExpect: x\r\nContent-Length: 1\r\n\r\nx",
        "POST / a{content-length: 1} close #1 \"x\""),
    ROW("close", GET H "Connection: foo,Close\r\n\r\n", "GET / a{} close \"\""),
    ROW("hop by hop",
        GET H
        "Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers, gzip;q=0.5\r\nX: y\r\nUpgrade: websocket\r\n"
        "Connection: upgrade, TE\r\nProxy-Authorization: b\r\nProxy-Authenticate: c\r\n\r\n" CANARY,
        "GET / a{x: y} te \"\"" CANARY_OUT),
    ROW("TE without trailers", GET H "TE: gzip\r\n\r\n", "GET / a{} \"\""),
    ROW("Trailer stays", CHUNKED "0\r\n\r\n", "POST / a{} chunked \"\""),
    ROW("Trailer field", POST "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
        "POST / a{trailer: X-Sum} chunked \"\"{x-sum: 1}"),
    ROW("H1-17 absolute", "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x b{} \"\""),
    ROW("H1-17 case and port", "GET HTTP://A:80/x?y=/z HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y=/z A:80{} \"\""),
    ROW("H1-17 no path", "GET http://bb HTTP/1.1\r\nHost: a\r\n\r\n" CANARY, "GET / bb{} \"\"" CANARY_OUT),
    ROW("H1-17 query only", "GET https://bb?q=1 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?q=1 bb{} \"\""),
    ROW("H1-17 1.0", "GET http://b/ HTTP/1.0\r\n\r\n", "GET / b{} close \"\""),
    ROW("H1-17 OPTIONS", "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * b{} \"\""),
    ROW("H1-17 OPTIONS query", "OPTIONS http://b? HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS /? b{} \"\""),
    ROW("H1-18 OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * a{} \"\""),
    ROW("H1-18 //evil", "GET //evil/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET //evil/x a{} \"\""),
    ROW("H1-18 dots", "GET /../.. HTTP/1.1\r\nHost: a\r\n\r\n", "GET /../.. a{} \"\""),
    ROW("H1-18 percent", "GET /%0d%0aX:%201%00 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%0d%0aX:%201%00 a{} \"\""),
    ROW("odd characters", "GET /\"<>[]\\^`{|}@:,;!$&'()*+=?? HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\"<>[]\\^`{|}@:,;!$&'()*+=?? a{} \"\""),
    ROW("H1-19 lower case", "get / HTTP/1.1\r\nHost: a\r\n\r\n", "get / a{} \"\""),
    ROW("H1-19 any token", "G!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n", "G!#$%&'*+-.^_`|~9 / a{} \"\""),
    ROW("H1-19 TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE / a{} \"\""),
    ROW("unknown method with body",
        "BREW / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" CANARY,
        "BREW / a{} chunked \"x\"" CANARY_OUT),
    ROW("methods of RTSP", "PLAY / HTTP/1.1\r\nHost: a\r\n\r\n", "PLAY / a{} \"\""),
    ROW("H1-21",
        POST "Connection: close, X-Secret, Host, content-length, cookie\r\nX-Secret: 1\r\nContent-Length: 1\r\n"
             "Cookie: c\r\nx-secret: 2\r\nX-Open: 3\r\n\r\nx",
        "POST / a{content-length: 1, cookie: c, x-open: 3} close #1 \"x\""),
    ROW("H1-21 fixed names",
        GET H "Connection: content-type,authorization,set-cookie,date,forwarded,b c,,x\r\nContent-Type: 1\r\n"
              "Authorization: 2\r\nSet-Cookie: 3\r\nDate: 4\r\nForwarded: 5\r\nX: 6\r\n\r\n",
        "GET / a{content-type: 1, authorization: 2, set-cookie: 3, date: 4, forwarded: 5} \"\""),
    ROW("H1-21 two lines", GET H "X-A: 1\r\nConnection: X-A\r\nX-B: 2\r\nConnection: X-B, X-C\r\nX-C: 3\r\n\r\n",
        "GET / a{} \"\""),
    ROW("H1-21 Expect", POST "Expect: 100-continue\r\nConnection: expect\r\n\r\n", "POST / a{} \"\""),
    ROW("H1-21 TE chunked",
        POST "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "POST / a{} chunked \"x\""),
    ROW("H1-22 websocket", GET H "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n" CANARY,
        "GET / a{sec-websocket-key: x} \"\"" CANARY_OUT),
    ROW("H1-22 h2c", GET H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n" CANARY,
        "GET / a{} \"\"" CANARY_OUT),
    ROW("H1-22 h2c unnamed", GET H "HTTP2-Settings: AAM\r\nUpgrade: h2c\r\n\r\n", "GET / a{} \"\""),
    ROW("H1-22 upgrade with a body",
        POST "Connection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" CANARY,
        "POST / a{} chunked \"x\"" CANARY_OUT),
    ROW("H1-23", POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
        "POST / a{expect: 100-Continue, content-length: 1} 100 #1 \"x\""),
    ROW("H1-24 GET", GET H "Content-Length: 3\r\n\r\nabc" CANARY, "GET / a{content-length: 3} #3 \"abc\"" CANARY_OUT),
    ROW("H1-24 HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" CANARY,
        "HEAD / a{content-length: 3} #3 \"abc\"" CANARY_OUT),
    ROW("H1-24 DELETE", "DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" CANARY,
        "DELETE / a{} chunked \"ab\"" CANARY_OUT),
    ROW("body like a request", POST "Content-Length: 34\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n" CANARY,
        "POST / a{content-length: 34} #34 \"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n\"" CANARY_OUT),
    ROW("hosts", GET "Host: A-b_c.~1:65535\r\n\r\n", "GET / A-b_c.~1:65535{} \"\""),
    ROW("host v6", GET "Host: [2001:db8::1.2.3.4]:1\r\n\r\n", "GET / [2001:db8::1.2.3.4]:1{} \"\""),
    ROW("host v6 bare", GET "Host: [::1]\r\n\r\n", "GET / [::1]{} \"\""),
    ROW("cookies stay apart", GET H "Cookie: a\r\nCookie: b\r\n\r\n", "GET / a{cookie: a, cookie: b} \"\""),
    ROW("ends in the line", "GET / HT", "!client_gone"),
    ROW("ends in the head", GET "Host: a\r\n", "!client_gone"),
    ROW("ends in the body", POST "Content-Length: 5\r\n\r\nhel",
        "POST / a{content-length: 5} #5 \"hel\"~2!client_gone"),
    ROW("ends in a chunk", CHUNKED "5\r\nhel", "POST / a{} chunked \"hel\"~2!client_gone"),
    ROW("ends before the last chunk", CHUNKED "5\r\nhello\r\n", "POST / a{} chunked \"hello\"~2!client_gone"),
    ROW("ends in the trailers", CHUNKED "0\r\nX: y\r\n", "POST / a{} chunked \"\"~2!client_gone"),
    ROW("nothing", "\r\n\r", ""),
};

static const struct row bad_requests[] = {
    ROW("H1-1", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-1 reverse", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-1 case", POST "content-length: 5\r\nTRANSFER-ENCODING: Chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-2", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", BAD),
    ROW("H1-2 differ", POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", BAD),
    ROW("H1-2 list", POST "Content-Length: 5, 5\r\n\r\nhello", BAD),
    ROW("H1-2 list differs", POST "Content-Length: 5,6\r\n\r\nhello", BAD),
    ROW("H1-3 empty", POST "Content-Length:\r\n\r\nhello", BAD),
    ROW("H1-3 blank", POST "Content-Length: \t\r\n\r\nhello", BAD),
    ROW("H1-3 +", POST "Content-Length: +5\r\n\r\nhello", BAD),
    ROW("H1-3 -", POST "Content-Length: -1\r\n\r\nhello", BAD),
    ROW("H1-3 space", POST "Content-Length: 5 5\r\n\r\nhello", BAD),
    ROW("H1-3 hex", POST "Content-Length: 0x5\r\n\r\nhello", BAD),
    ROW("H1-3 underscore", POST "Content-Length: 5_0\r\n\r\nhello", BAD),
    ROW("H1-3 exponent", POST "Content-Length: 1e1\r\n\r\nhello", BAD),
    ROW("H1-3 20 digits", POST "Content-Length: 99999999999999999999\r\n\r\nhello", BAD),
    ROW("H1-3 2^64", POST "Content-Length: 18446744073709551616\r\n\r\nhello", BAD),
    ROW("H1-3 2^62", POST "Content-Length: 4611686018427387904\r\n\r\nhello", BAD),
    ROW("H1-3 quoted", POST "Content-Length: \"5\"\r\n\r\nhello", BAD),
    ROW("H1-5 xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 chunkedx", POST "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 identity", POST "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 gzip", POST "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 comma before", POST "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 comma after", POST "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 empty", POST "Transfer-Encoding:\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 VT",
        POST "Transfer-Encoding: \x0b"
             "chunked\r\n\r\n0\r\n\r\n",
        BAD),
    ROW("H1-5 parameter", POST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 quoted", POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 semicolon", POST "Transfer-Encoding: gzip;chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-5 parameter before", POST "Transfer-Encoding: gzip;q=1, chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-6", POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "!not_implemented"),
    ROW("H1-6 identity", POST "Transfer-Encoding: identity,chunked\r\n\r\n0\r\n\r\n", "!not_implemented"),
    ROW("H1-6 two lines", POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "!not_implemented"),
    ROW("H1-6 three", POST "Transfer-Encoding: gzip, br, chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-7", POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-7 twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-7 two lines", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-7 identity after", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-8 TE", POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-8 CL", POST "Content-Length : 5\r\n\r\nhello", BAD),
    ROW("H1-8 tab", POST "Content-Length\t: 5\r\n\r\nhello", BAD),
    ROW("H1-8 first", "POST / HTTP/1.1\r\n Content-Length: 5\r\nHost: a\r\n\r\nhello", BAD),
    ROW("H1-8 first tab", "POST / HTTP/1.1\r\n\tHost: a\r\n\r\n", BAD),
    ROW("H1-8 NEL", POST "Transfer-Encoding\x85: chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-9", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-10", GET H "X: a\r\n b\r\n\r\n", BAD),
    ROW("H1-10 tab", GET H "X: a\r\n\tb\r\n\r\n", BAD),
    ROW("H1-10 TE", POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", BAD),
    ROW("H1-10 CL", POST "Content-Length:\r\n 5\r\n\r\nhello", BAD),
    ROW("H1-11 LF after line", "GET / HTTP/1.1\nHost: a\r\n\r\n", BAD),
    ROW("H1-11 LF after field", GET "Host: a\n\r\n", BAD),
    ROW("H1-11 LF at end", GET H "\n", BAD),
    ROW("H1-11 LF in a value", GET H "X: a\nY: b\r\n\r\n", BAD),
    ROW("H1-11 CR in a value", GET H "X: a\rb\r\n\r\n", BAD),
    ROW("H1-11 CR CR LF", GET H "X: a\r\r\n\r\n", BAD),
    ROW("H1-11 CRLF CR X", GET H "\r\rX", BAD),
    ROW("H1-11 CR X", GET H "\rX", BAD),
    ROW("H1-11 NUL", GET H "X: a\0b\r\n\r\n", BAD),
    ROW("H1-11 0x01",
        GET H "X: a\x01"
              "b\r\n\r\n",
        BAD),
    ROW("H1-11 0x1f", GET H "X: \x1f\r\n\r\n", BAD),
    ROW("H1-11 0x7f", GET H "X: a\x7f\r\n\r\n", BAD),
    ROW("H1-11 name not ASCII", GET H "X\xc3\xa4: a\r\n\r\n", BAD),
    ROW("name NUL", GET H "X\0: a\r\n\r\n", BAD),
    ROW("name empty", GET H ": a\r\n\r\n", BAD),
    ROW("name with a space", GET H "X Y: a\r\n\r\n", BAD),
    ROW("name only", GET H "X\r\n\r\n", BAD),
    ROW("name in parentheses", GET H "(X): a\r\n\r\n", BAD),
    ROW("H1-12 space after", CHUNKED "5 \r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 space before", CHUNKED " 5\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 tab", CHUNKED "\t5\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 tab after", CHUNKED "5\t\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 +", CHUNKED "+5\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 -", CHUNKED "-5\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 0x", CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 underscore", CHUNKED "5_\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 g", CHUNKED "5g\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 empty", CHUNKED "\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 17 digits", CHUNKED "10000000000000005\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 2^64 - 1", CHUNKED "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 2^62", CHUNKED "4000000000000000\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-12 negative", CHUNKED "1\r\nx\r\n-1\r\nhello\r\n0\r\n\r\n", BODY_BAD("x")),
    ROW("H1-13 LF", CHUNKED "5\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-13 CR", CHUNKED "5\rhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-13 no CRLF", CHUNKED "5\r\nhello0\r\n\r\n", BODY_BAD("hello")),
    ROW("H1-13 LF after data", CHUNKED "5\r\nhello\n0\r\n\r\n", BODY_BAD("hello")),
    ROW("H1-13 longer", CHUNKED "5\r\nhelloxx\r\n0\r\n\r\n", BODY_BAD("hello")),
    ROW("H1-13 last with LF", CHUNKED "5\r\nhello\r\n0\n\r\n", BODY_BAD("hello")),
    ROW("H1-13 last line LF", CHUNKED "0\r\n\n", BODY_BAD("")),
    ROW("H1-14 ; LF", CHUNKED "5;\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-14 CR", CHUNKED "5;a\rX\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-14 CRLF in quotes", CHUNKED "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-14 LF after extension", CHUNKED "5;a=b\nhello\r\n0\r\n\r\n", BODY_BAD("")),
    ROW("H1-15 Content-Length", CHUNKED "0\r\nContent-Length: 5\r\n\r\n", BODY_BAD("")),
    ROW("H1-15 Transfer-Encoding", CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n", BODY_BAD("")),
    ROW("H1-15 folded", CHUNKED "0\r\nX: a\r\n b\r\n\r\n", "POST / a{} chunked \"\"~3!bad_request"),
    ROW("H1-16 missing", GET "\r\n", HOST),
    ROW("H1-16 missing, absolute", "GET http://b/ HTTP/1.1\r\n\r\n", HOST),
    ROW("H1-16 two", GET H H "\r\n", HOST),
    ROW("H1-16 two differ", GET H "Host: b\r\n\r\n", HOST),
    ROW("H1-16 empty", GET "Host:\r\n\r\n", HOST),
    ROW("H1-16 space", GET "Host: a b\r\n\r\n", HOST),
    ROW("H1-16 comma", GET "Host: a,b\r\n\r\n", HOST),
    ROW("H1-16 userinfo", GET "Host: user@a\r\n\r\n", HOST),
    ROW("H1-16 slash", GET "Host: a/b\r\n\r\n", HOST),
    ROW("H1-16 hash", GET "Host: a#b\r\n\r\n", HOST),
    ROW("H1-16 query", GET "Host: a?b\r\n\r\n", HOST),
    ROW("H1-16 backslash", GET "Host: a\\b\r\n\r\n", HOST),
    ROW("H1-16 open bracket", GET "Host: [::1\r\n\r\n", HOST),
    ROW("H1-16 bracket name", GET "Host: [a]\r\n\r\n", HOST),
    ROW("H1-16 bracket tail", GET "Host: [::1]x\r\n\r\n", HOST),
    ROW("H1-16 zone", GET "Host: [fe80::1%25eth0]\r\n\r\n", HOST),
    ROW("H1-16 large port", GET "Host: a:99999\r\n\r\n", HOST),
    ROW("H1-16 port 65536", GET "Host: a:65536\r\n\r\n", HOST),
    ROW("H1-16 port 0", GET "Host: a:0\r\n\r\n", HOST),
    ROW("H1-16 no port", GET "Host: a:\r\n\r\n", HOST),
    ROW("H1-16 only a port", GET "Host: :80\r\n\r\n", HOST),
    ROW("H1-16 two ports", GET "Host: a:1:2\r\n\r\n", HOST),
    ROW("H1-16 8 bit", GET "Host: \xc3\xa4\r\n\r\n", HOST),
    ROW("H1-16 bad beside absolute", "GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", HOST),
    ROW("H1-17 no authority", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-17 nothing", "GET https:// HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-17 userinfo", "GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-17 other scheme", "GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-17 one slash", "GET http:/b/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-17 bad port", "GET http://b:0/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 space", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 NUL", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 fragment", "GET /a#frag HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 relative", "GET admin HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 **", "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 8 bit", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 tab", "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-18 CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "!connect_method"),
    ROW("H1-18 CONNECT without Host", "CONNECT a:80 HTTP/1.1\r\n\r\n", "!connect_method"),
    ROW("H1-19 =", "G=T / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-19 NUL", "GET\0 / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-19 empty", " / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-19 PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!http_version"),
    ROW("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("two spaces after", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BAD),
    ROW("tabs", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD),
    ROW("H1-20 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "!http_version"),
    ROW("H1-20 2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "!http_version"),
    ROW("H1-20 0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", "!http_version"),
    ROW("H1-20 01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-20 1.", "GET / HTTP/1.\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-20 1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-20 none", "GET /\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-20 RTSP", "GET / RTSP/1.0\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-20 ICE", "SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-20 case", "GET / http/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("H1-21 Host", GET "Connection: host\r\n\r\n", HOST),
    ROW("H1-23 unknown", POST "Expect: foo\r\n\r\n", "!expectation"),
    ROW("H1-23 list", POST "Expect: 100-continue, foo\r\n\r\n", "!expectation"),
    ROW("H1-23 twice", POST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", "!expectation"),
    ROW("H1-24 stray byte", POST "Content-Length: 0\r\n\r\n=" CANARY,
        "POST / a{content-length: 0} #0 \"\" | !bad_request"),
    ROW("after a good one", CANARY "GET / HTTP/1.1\r\nHost: a b\r\n\r\n" CANARY, "GET /canary a{} \"\" | !bad_host"),
    ROW("empty lines without end", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", BAD),
    ROW("bare LF before", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ROW("CR before", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
};

#define OK "HTTP/1.1 200 OK\r\n"
#define BAD_RESPONSE "!origin_bad_response"
#define LENGTH_2 "Content-Length: 2\r\n"
#define OK_2 OK LENGTH_2 "\r\nab"
#define OK_2_OUT "200{content-length: 2} #2 \"ab\""
#define TE "Transfer-Encoding: chunked\r\n"

static const struct row responses[] = {
    ROW("length", OK_2 OK_2, OK_2_OUT " | " OK_2_OUT),
    ROW("length 0", OK "Content-Length: 0\r\n\r\n", "200{content-length: 0} #0 \"\""),
    ROW("chunked", OK TE "\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n" OK_2, "200{} chunked \"abc\"{x-sum: 1} | " OK_2_OUT),
    ROW("until close", OK "X: y\r\n\r\nabc\r\nGET", "200{x: y} close eof \"abc\r\nGET\""),
    ROW("until close, empty", OK "\r\n", "200{} close eof \"\""),
    ROW("1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", "200{content-length: 2} close #2 \"ab\""),
    ROW("1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab",
        "200{content-length: 2} keep #2 \"ab\""),
    ROW("1.0 until close", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nab", "200{} close keep eof \"ab\""),
    ROW("close", OK "Connection: close\r\n" LENGTH_2 "\r\nab", "200{content-length: 2} close #2 \"ab\""),
    ROW("no reason", "HTTP/1.1 200\r\n" LENGTH_2 "\r\nab", OK_2_OUT),
    ROW("no reason, space", "HTTP/1.1 200 \r\n" LENGTH_2 "\r\nab", OK_2_OUT),
    ROW("odd reason", "HTTP/1.1 299 \xc3\xa4 \t: x\r\n" LENGTH_2 "\r\nab", "299{content-length: 2} #2 \"ab\""),
    ROW("status 999", "HTTP/1.1 999 X\r\n" LENGTH_2 "\r\nab", "999{content-length: 2} #2 \"ab\""),
    ROW("informational", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK_2,
        "100{} 103{link: x} " OK_2_OUT),
    ROW("informational with a length", "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" OK_2, "100{} " OK_2_OUT),
    ROW("204", "HTTP/1.1 204 No Content\r\n\r\n" OK_2, "204{} \"\" | " OK_2_OUT),
    ROW("204 length 0", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n" OK_2, "204{} \"\" | " OK_2_OUT),
    ROW("H1-34 204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nab",
        "204{} close \"\" | !origin_bad_response"),
    ROW("H1-34 204 chunked", "HTTP/1.1 204 No Content\r\n" TE "\r\n", "204{} close \"\""),
    ROW("304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\nETag: x\r\n\r\n" OK_2,
        "304{content-length: 20, etag: x} #20 \"\" | " OK_2_OUT),
    ROW("304 chunked", "HTTP/1.1 304 Not Modified\r\n" TE "\r\n" OK_2, "304{} \"\" | " OK_2_OUT),
    ROW_HEAD("HEAD", OK "Content-Length: 20\r\n\r\n", "200{content-length: 20} #20 \"\""),
    ROW_HEAD("HEAD chunked", OK TE "\r\n" OK "\r\n", "200{} \"\" | 200{} \"\""),
    ROW_HEAD("HEAD without length", OK "\r\n", "200{} \"\""),
    ROW_HEAD("HEAD after 100", "HTTP/1.1 100 Continue\r\n\r\n" OK "\r\n", "100{} 200{} \"\""),
    ROW_HEAD("H1-34 HEAD", OK LENGTH_2 "\r\nab", "200{content-length: 2} #2 \"\" | !origin_bad_response"),
    ROW_HEAD("HEAD both", OK LENGTH_2 TE "\r\n", BAD_RESPONSE),
    ROW("hop by hop",
        OK "Keep-Alive: 1\r\nConnection: keep-alive, x\r\nX: 1\r\nUpgrade: h2\r\nProxy-Authenticate: b\r\n" LENGTH_2
           "\r\nab",
        OK_2_OUT),
    ROW("cookies", OK "Set-Cookie: a\r\nSet-Cookie: b\r\n" LENGTH_2 "\r\nab",
        "200{set-cookie: a, set-cookie: b, content-length: 2} #2 \"ab\""),
    ROW("ends before", "", "!origin_closed"),
    ROW("ends in the line", "HTTP/1.1 2", "!origin_closed"),
    ROW("ends in the head", OK "X: y\r\n", "!origin_closed"),
    ROW("ends after 100", "HTTP/1.1 100 Continue\r\n\r\n", "100{} !origin_closed"),
    ROW("ends in the body", OK LENGTH_2 "\r\na", "200{content-length: 2} #2 \"a\"~2!origin_closed"),
    ROW("ends in a chunk", OK TE "\r\n3\r\na", "200{} chunked \"a\"~2!origin_closed"),
    ROW("H1-30", OK LENGTH_2 TE "\r\n0\r\n\r\n", BAD_RESPONSE),
    ROW("H1-30 reverse", OK TE LENGTH_2 "\r\n0\r\n\r\n", BAD_RESPONSE),
    ROW("H1-31", OK LENGTH_2 LENGTH_2 "\r\nab", BAD_RESPONSE),
    ROW("H1-31 list", OK "Content-Length: 2, 2\r\n\r\nab", BAD_RESPONSE),
    ROW("H1-32", "HTTP/1.1 200 OK\n" LENGTH_2 "\r\nab", BAD_RESPONSE),
    ROW("H1-32 field", OK "Content-Length: 2\n\r\nab", BAD_RESPONSE),
    ROW("H1-33 99", "HTTP/1.1 99 X\r\n\r\n", BAD_RESPONSE),
    ROW("H1-33 1000", "HTTP/1.1 1000 X\r\n\r\n", BAD_RESPONSE),
    ROW("H1-33 2xx", "HTTP/1.1 2xx X\r\n\r\n", BAD_RESPONSE),
    ROW("H1-33 099", "HTTP/1.1 099 X\r\n\r\n", BAD_RESPONSE),
    ROW("H1-33 +20", "HTTP/1.1 +20 X\r\n\r\n", BAD_RESPONSE),
    ROW("two spaces", "HTTP/1.1  200 X\r\n\r\n", BAD_RESPONSE),
    ROW("H1-37", OK_2 "x" OK_2, OK_2_OUT " | !origin_bad_response"),
    ROW("H1-39 CR", OK "X: a\rb\r\n\r\n", BAD_RESPONSE),
    ROW("H1-39 NUL", OK "X: a\0b\r\n\r\n", BAD_RESPONSE),
    ROW("H1-39 fold", OK "X: a\r\n b\r\n\r\n", BAD_RESPONSE),
    ROW("reason NUL", "HTTP/1.1 200 O\0K\r\n\r\n", BAD_RESPONSE),
    ROW("reason CR", "HTTP/1.1 200 O\rK\r\n\r\n", BAD_RESPONSE),
    ROW("H1-40", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", BAD_RESPONSE),
    ROW("gzip", OK "Transfer-Encoding: gzip\r\n\r\n", BAD_RESPONSE),
    ROW("gzip, chunked", OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", BAD_RESPONSE),
    ROW("chunked twice", OK TE TE "\r\n0\r\n\r\n", BAD_RESPONSE),
    ROW("1.0 chunked", "HTTP/1.0 200 OK\r\n" TE "\r\n0\r\n\r\n", BAD_RESPONSE),
    ROW("version 2", "HTTP/2.0 200 OK\r\n\r\n", BAD_RESPONSE),
    ROW("version 1.2", "HTTP/1.2 200 OK\r\n\r\n", BAD_RESPONSE),
    ROW("ICY", "ICY 200 OK\r\n\r\nmusic", BAD_RESPONSE),
    ROW("RTSP", "RTSP/1.0 200 OK\r\n\r\n", BAD_RESPONSE),
    ROW("empty line before", "\r\n" OK "\r\n", BAD_RESPONSE),
    ROW("garbage", "<html>hello</html>", BAD_RESPONSE),
    ROW("broken chunk", OK TE "\r\n1\r\nx\r\nzz\r\n", "200{} chunked \"x\"~3!origin_bad_response"),
};

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static void test_good_requests(void **state) {
  (void)state;
  check_rows(good_requests, COUNT(good_requests), HTTP1_READS_REQUESTS);
}

static void test_bad_requests(void **state) {
  (void)state;
  check_rows(bad_requests, COUNT(bad_requests), HTTP1_READS_REQUESTS);
}

static void test_responses(void **state) {
  (void)state;
  check_rows(responses, COUNT(responses), HTTP1_READS_RESPONSES);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_good_requests, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_bad_requests, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_responses, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
