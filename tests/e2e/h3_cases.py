"""What an HTTP/3 peer may send to a ptproxy in server mode, and what must come of it: a row each, bytes made by hand.

A row is (name, steps, outcome). The steps happen on a new connection of their own; h3_raw.py says what they are. Unless
they name "ucontrol", the three streams that every connection has are opened first, as they should be. The outcome:

  Passed(BYTES)      the origin gets this request; the reply to it comes back
  Stream(CODE)       the stream ends with this error; nothing is forwarded; the connection goes on
  Connection(CODE)   the connection ends with this error; nothing is forwarded but what is `received`, if that is given
  Answer(STATUS)     ptproxy answers itself; nothing is forwarded; the connection goes on

RFC 9114 section 4.1.2 wants a stream error for a malformed message, before which it may be answered; section 8 lets it
be a connection error, and nghttp3 makes it one where it sees the fault itself: that is the reason for Connection(...)
where Answer(400) might be expected.
"""

from dataclasses import dataclass

from h3_wire import (CANCEL_PUSH, CONTROL_STREAM, DECODER_STREAM, ENCODER_STREAM, GOAWAY, HEADERS, MAX_PUSH_ID,
                     PRIORITY_UPDATE, PUSH_PROMISE, PUSH_STREAM, REQUEST, SETTINGS, data, frame, headers, line,
                     prefixed, request, section, settings, varint)

NO_ERROR, INTERNAL_ERROR, STREAM_CREATION_ERROR, CLOSED_CRITICAL_STREAM = 0x100, 0x102, 0x103, 0x104
FRAME_UNEXPECTED, FRAME_ERROR, EXCESSIVE_LOAD, ID_ERROR, SETTINGS_ERROR, MISSING_SETTINGS = (
    0x105, 0x106, 0x107, 0x108, 0x109, 0x10a)
REQUEST_REJECTED, REQUEST_CANCELLED, REQUEST_INCOMPLETE, MESSAGE_ERROR = 0x10b, 0x10c, 0x10d, 0x10e
DECOMPRESSION_FAILED, ENCODER_STREAM_ERROR, DECODER_STREAM_ERROR = 0x200, 0x201, 0x202


@dataclass
class Passed:
    received: bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    status: int = 200


@dataclass
class Stream:
    code: int


@dataclass
class Connection:
    code: int
    received: bytes = None


@dataclass
class Answer:
    status: int


def send(stream, content, end=False):
    return ["send", stream, content.hex(), end]


def ask(*frames):
    """A whole request."""
    return [send("r", b"".join(frames), True)]


def begun(*frames):
    """A request without its end."""
    return [send("r", b"".join(frames))]


def on(stream, kind, *frames, end=False):
    """A unidirectional stream of type `kind`."""
    return [send(stream, kind + b"".join(frames), end)]


CONTROL = on("ucontrol", CONTROL_STREAM, settings())
POST = {"method": "POST"}
LENGTH_5 = ("content-length", "5")
UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
WITH_X = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n"


def pseudo(name, *values, outcome):
    return [(f":{name} is {value!r}", ask(request(**{name: value})), outcome) for value in values]


GOOD = [
    ("a plain request", ask(request()), Passed()),
    ("a body with its length", ask(request(LENGTH_5, **POST), data("hello")), Passed(UPLOAD)),
    ("a body without a length", [*begun(request(**POST)), ["pause", 0.03], send("r", data("hello"), True)],
     Passed(CHUNKED)),
    ("a body in two DATA frames", ask(request(LENGTH_5, **POST), data("he"), data("llo")), Passed(UPLOAD)),
    ("empty DATA frames", ask(request(LENGTH_5, **POST), data(""), data("hello"), data("")), Passed(UPLOAD)),
    ("the end apart from the body", [*begun(request(LENGTH_5, **POST), data("hello")), ["pause", 0.02],
                                     send("r", b"", True)], Passed(UPLOAD)),
    ("byte by byte", [*(send("r", bytes([byte])) for byte in request(LENGTH_5, **POST) + data("hello")),
                      send("r", b"", True)], Passed(UPLOAD)),
    ("three cookie fields", ask(request(("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f"))),
     Passed(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d; e=f\r\n\r\n")),
    ("cookie fields, and one that is empty", ask(request(("cookie", "a=b"), ("cookie", ""))),
     Passed(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\n\r\n")),
    ("a path that looks like an authority", ask(request(path="//h/x")),
     Passed(b"GET //h/x HTTP/1.1\r\nHost: a\r\n\r\n")),
    ("te: trailers", ask(request(("te", "trailers"))),
     Passed(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")),
    ("trailers", [*begun(request(**POST)), ["pause", 0.03], send("r", data("hello") + headers(("x-sum", "1")), True)],
     Passed(CHUNKED[:-2] + b"X-Sum: 1\r\n\r\n")),
    ("host instead of :authority, as the Rust ptproxy sends it", ask(request(("host", "a"), authority=None)), Passed()),
    ("host beside the same :authority", ask(request(("host", "a"))), Passed()),
    ("a field value of 8-bit characters", ask(request(("x", "caf\xe9"))), Passed(WITH_X % b"caf\xe9")),
    ("an empty field value", ask(request(("x", ""))), Passed(WITH_X % b"")),
    ("frames of unknown types around the head", ask(frame(0x21, b"x" * 50), request(), frame(0x2f00 + 0x1f * 31, b"")),
     Passed()),
    ("a frame type in eight bytes", ask(b"\xc0\0\0\0\0\0\0\x21\x01x", request()), Passed()),
    ("a unidirectional stream of unknown type", on("unknown", varint(0x21), b"whatever") + ask(request()), Passed()),
    ("settings of unknown names",
     on("ucontrol", CONTROL_STREAM, settings((0x21, 5), (0x1f * 7 + 0x21, 1))) + ask(request()), Passed()),
    ("a setting twice, which may be overlooked",
     on("ucontrol", CONTROL_STREAM, settings((6, 1000), (6, 1000))) + ask(request()), Passed()),
    ("a flood of PRIORITY_UPDATE", on("ucontrol", CONTROL_STREAM, settings(),
                                      *(frame(PRIORITY_UPDATE, varint(4 * number) + b"u=1") for number in range(1000)))
     + ask(request()), Passed()),
    ("as many fields as may be, with the two of the client's end",
     ask(request(*(("x", "y") for _ in range(130)))),
     Passed(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 130 + b"\r\n")),
    ("OPTIONS *", ask(request(method="OPTIONS", path="*")), Passed(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")),
    ("expect: 100-continue with the body at once",
     ask(request(("expect", "100-continue"), LENGTH_5, **POST), data("hello")),
     Passed(UPLOAD.replace(b"Content", b"Expect: 100-continue\r\nContent", 1))),
]

PSEUDO = [
    *((f":{name} is missing", ask(request(**{name: None})), Connection(MESSAGE_ERROR))
      for name in ("method", "scheme", "path")),
    ("no authority at all", ask(request(authority=None)), Connection(MESSAGE_ERROR)),
    *((f":{name} twice", ask(request((f":{name}", value))), Connection(MESSAGE_ERROR))
      for name, value in (("method", "GET"), ("scheme", "https"), ("authority", "a"), ("path", "/"))),
    ("an unknown pseudo-header field", ask(request((":foo", "x"))), Connection(MESSAGE_ERROR)),
    (":status in a request", ask(request((":status", "200"))), Connection(MESSAGE_ERROR)),
    (":protocol without extended CONNECT", ask(request((":protocol", "websocket"), method="CONNECT")),
     Connection(MESSAGE_ERROR)),
    ("a pseudo-header field behind a regular one", ask(request(("x", "y"), (":path", "/"), path=None)),
     Connection(MESSAGE_ERROR)),
    ("a name of a colon only", ask(request((":", "x"))), Connection(MESSAGE_ERROR)),
    *pseudo("method", "", "G T", "G\rT", "G\nT", "G\0T", "GET / HTTP/1.1\r\nHost: b\r\n\r\nGET", "G\xc9T", "G,T",
            " GET", "GET ", outcome=Connection(MESSAGE_ERROR)),
    (":method is longer than we take", ask(request(method="X" * 65)), Answer(400)),
    *pseudo("scheme", "", "ht tp", "1http", "http\r\n", "http:", outcome=Connection(MESSAGE_ERROR)),
    *pseudo("path", "", "x", "x/y", "a b", "/a b", "/a HTTP/1.1\r\nHost: b", "/\t", "/\0", "/\r", "/\n", "/\x7f", "*",
            "* ", " /", "/ ", outcome=Connection(MESSAGE_ERROR)),
    *pseudo("path", "/#f", "/\x80", "/\xc3\xa9", outcome=Answer(400)),
    *pseudo("authority", "", "a b", "a\r\nX: y", "a\0", "user@a", "a/b", "a#b", "a?b", "a\\b", " a",
            "a ", outcome=Connection(MESSAGE_ERROR)),
    *pseudo("authority", "a,b", "[::1", "a:x", "a:", "a:0", "a:65536", outcome=Answer(400)),
    *((f":path is {path!r} with :scheme {scheme}", ask(request(path=path, scheme=scheme)), Answer(400))
      for path, scheme in (("x", "ftp"), ("http://b/", "ftp"))),
    (":path is x with :scheme http", ask(request(path="x", scheme="http")), Connection(MESSAGE_ERROR)),
    (":path is * for GET with :scheme ftp", ask(request(path="*", scheme="ftp")), Answer(400)),
    ("another scheme is as good", ask(request(scheme="ftp")), Passed()),
    ("CONNECT", ask(headers((":method", "CONNECT"), (":authority", "a:80"))), Answer(405)),
    ("CONNECT with a path", ask(request(method="CONNECT")), Connection(MESSAGE_ERROR)),
    ("CONNECT without authority", ask(headers((":method", "CONNECT"))), Connection(MESSAGE_ERROR)),
]

HOST = [
    ("host is another than :authority", ask(request(("host", "b"))), Answer(400)),
    ("host twice", ask(request(("host", "a"), ("host", "a"))), Connection(MESSAGE_ERROR)),
    ("host twice without :authority", ask(request(("host", "a"), ("host", "b"), authority=None)),
     Connection(MESSAGE_ERROR)),
    ("host is invalid, and the only one", ask(request(("host", "a b"), authority=None)), Connection(MESSAGE_ERROR)),
    ("host has userinfo, and is the only one", ask(request(("host", "user@a"), authority=None)),
     Connection(MESSAGE_ERROR)),
    ("host is a list, and the only one", ask(request(("host", "a,b"), authority=None)), Answer(400)),
]

# RFC 9114 sections 4.1.2 and 10.3. nghttp3 itself drops such fields without telling (tools/deps).
MALFORMED = [
    ("a trailer of CR and LF",
     [*begun(request(**POST)), ["pause", 0.03], send("r", data("hello") + headers(("x-sum", "1\r\nx: y")), True)],
     Answer(400)),
    *((f"field {name!r}: {value!r}", ask(request((name, value))), Answer(400)) for name, value in (
    ("x", "a\r\nx-injected: 1"), ("x", "a\nb"), ("x", "a\rb"), ("x", "a\0b"), ("x", "\0"), ("x", "a\x01b"),
    ("x", "a\x7f"), ("x", " a"), ("x", "a "), ("x", "\ta"), ("x", "a\t"),
    ("x\r\ny", "z"), ("x y", "z"), ("x:y", "z"), ("x\0", "z"), ("\xe9", "z"), ("x(", "z"), ("", "z"),
    ("cookie", "a=b\r\nx: y"), ("cookie", "a\0"), ("cookie", "a=b\n")))]

FIELDS = [
    ("a name in upper case", ask(request(("X-Upper", "y"))), Connection(MESSAGE_ERROR)),
    ("a name of one letter in upper case", ask(request(("x-uppeR", "y"))), Connection(MESSAGE_ERROR)),
    *((f"{name}: {value}", ask(request((name, value))), Connection(MESSAGE_ERROR)) for name, value in (
        ("connection", "close"), ("connection", ""), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"), ("transfer-encoding", "identity"), ("transfer-encoding", ""),
        ("upgrade", "h2c"), ("te", "gzip"), ("te", "trailers, gzip"), ("te", ""))),
    ("a name that is too long", ask(request(("x" * 300, "y"))), Connection(INTERNAL_ERROR)),  # nghttp3's bound
    # 128, and the two that the client's end may add
    ("too many fields", ask(request(*((f"x-{number}", "y") for number in range(131)))), Answer(431)),
    ("fields that are too large", ask(request(*((f"x-{number}", "y" * 8000) for number in range(9)))), Answer(431)),
    ("expect: something else", ask(request(("expect", "more"), LENGTH_5, **POST), data("hello")), Answer(417)),
]

# The defect that HAProxy had (CVE-2026-33555): a message may not end before its length is there.
LENGTHS = [
    *((f"content-length 5, {len(body)} bytes", ask(request(LENGTH_5, **POST), data(body)), outcome)
      for body, outcome in (("", Answer(400)), ("hell", Answer(400)),
                            ("hellow", Connection(MESSAGE_ERROR)), ("hello" * 1000, Connection(MESSAGE_ERROR)))),
    ("content-length 5, and the end in the head's packet", ask(request(LENGTH_5, **POST)), Answer(400)),
    ("content-length 5, and the end alone", [*begun(request(LENGTH_5, **POST)), ["pause", 0.03], send("r", b"", True)],
     Answer(400)),
    ("content-length 5, 2 bytes, and the end alone", [*begun(request(LENGTH_5, **POST), data("he")), ["pause", 0.03],
                                                      send("r", b"", True)], Answer(400)),
    ("content-length 5, 2 bytes and trailers", ask(request(LENGTH_5, **POST), data("he"), headers(("x-sum", "1"))),
     Answer(400)),
    ("content-length 5, and a reset", [*begun(request(LENGTH_5, **POST), data("he")), ["pause", 0.03],
                                       ["reset", "r", REQUEST_CANCELLED]], Stream(REQUEST_CANCELLED)),
    ("content-length 0, 1 byte",
     [*begun(request(("content-length", "0"), **POST)), ["pause", 0.05], send("r", data("x"))],
     Connection(MESSAGE_ERROR, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")),
    ("content-length twice", ask(request(LENGTH_5, LENGTH_5, **POST), data("hello")), Connection(MESSAGE_ERROR)),
    ("content-length 5 and 6", ask(request(LENGTH_5, ("content-length", "6"), **POST), data("hello")),
     Connection(MESSAGE_ERROR)),
    *((f"content-length {value!r}", ask(request(("content-length", value), **POST), data("hello")),
       Connection(MESSAGE_ERROR))
      for value in ("+5", "-5", "", "0x5", "5,5", "5 5", "5.", "18446744073709551616", "99999999999999999999")),
    ("content-length 2^62", ask(request(("content-length", str(1 << 62)), **POST), data("hello")),
     Connection(MESSAGE_ERROR)),
]

FRAMES = [
    ("DATA before HEADERS", ask(data("hello"), request()), Connection(FRAME_UNEXPECTED)),
    ("HEADERS behind trailers", ask(request(**POST), data("x"), headers(("x", "1")), headers(("x", "2"))),
     Connection(FRAME_UNEXPECTED)),
    ("DATA behind trailers",
     ask(request(**POST), data("x"), headers(("x", "1")), data("y")), Connection(FRAME_UNEXPECTED)),
    *((f"frame 0x{kind:x} on a request stream", ask(frame(kind, b"\0"), request()), Connection(FRAME_UNEXPECTED))
      for kind in (CANCEL_PUSH, SETTINGS, GOAWAY, MAX_PUSH_ID, 0x2, 0x6, 0x8, 0x9)),
    ("PUSH_PROMISE of a client", ask(frame(PUSH_PROMISE, b"\0" + section([(":method", "GET")]))),
     Connection(FRAME_UNEXPECTED)),
    ("nothing but the end", ask(b""), Stream(REQUEST_INCOMPLETE)),
    ("nothing but an unknown frame", ask(frame(0x21, b"x")), Stream(REQUEST_INCOMPLETE)),
    # RFC 9114 section 7.1 names H3_FRAME_ERROR for the whole connection; a stream that ends before its head is complete
    # is not worth the session.
    ("a frame header cut by the end", ask(b"\x01"), Stream(REQUEST_INCOMPLETE)),
    ("HEADERS cut by the end", ask(request()[:-3]), Answer(400)),
    ("DATA cut by the end", ask(request(**POST), data("hello")[:-2]), Connection(FRAME_ERROR)),
    ("an empty HEADERS frame", ask(frame(HEADERS)), Connection(MESSAGE_ERROR)),
    ("a field section without fields", ask(headers()), Connection(MESSAGE_ERROR)),
    ("trailers with a pseudo-header field", ask(request(**POST), data("x"), headers((":path", "/"))),
     Connection(MESSAGE_ERROR)),
    ("trailers in upper case", ask(request(**POST), data("x"), headers(("X-Sum", "1"))), Connection(MESSAGE_ERROR)),
    ("trailers with transfer-encoding", ask(request(**POST), data("x"), headers(("transfer-encoding", "chunked"))),
     Connection(MESSAGE_ERROR)),
]

CONTROL_STREAMS = [
    ("no SETTINGS first", on("ucontrol", CONTROL_STREAM, frame(GOAWAY, b"\0")), Connection(MISSING_SETTINGS)),
    ("DATA on the control stream", on("ucontrol", CONTROL_STREAM, settings(), data("x")), Connection(FRAME_UNEXPECTED)),
    ("HEADERS on the control stream",
     on("ucontrol", CONTROL_STREAM, settings(), request()), Connection(FRAME_UNEXPECTED)),
    ("SETTINGS twice", on("ucontrol", CONTROL_STREAM, settings(), settings()), Connection(FRAME_UNEXPECTED)),
    *((f"setting 0x{name:x} of HTTP/2", on("ucontrol", CONTROL_STREAM, settings((name, 1))), Connection(SETTINGS_ERROR))
      for name in (2, 3, 4, 5)),
    ("SETTINGS cut within a pair", on("ucontrol", CONTROL_STREAM, frame(SETTINGS, b"\x06")), Connection(FRAME_ERROR)),
    *((f"frame 0x{kind:x} on the control stream", on("ucontrol", CONTROL_STREAM, settings(), frame(kind, b"\0")),
       Connection(FRAME_UNEXPECTED)) for kind in (PUSH_PROMISE, 0x2, 0x6, 0x8, 0x9)),
    ("two control streams", CONTROL + on("u2", CONTROL_STREAM, settings()), Connection(STREAM_CREATION_ERROR)),
    ("two encoder streams",
     CONTROL + on("u2", ENCODER_STREAM) + on("u3", ENCODER_STREAM), Connection(STREAM_CREATION_ERROR)),
    ("two decoder streams",
     CONTROL + on("u2", DECODER_STREAM) + on("u3", DECODER_STREAM), Connection(STREAM_CREATION_ERROR)),
    ("a push stream of a client", CONTROL + on("u2", PUSH_STREAM, b"\0"), Connection(STREAM_CREATION_ERROR)),
    ("the control stream ends",
     on("ucontrol", CONTROL_STREAM, settings(), end=True), Connection(CLOSED_CRITICAL_STREAM)),
    ("the control stream is reset", [*CONTROL, ["pause", 0.02], ["reset", "ucontrol", NO_ERROR]],
     Connection(CLOSED_CRITICAL_STREAM)),
    ("the encoder stream ends", CONTROL + on("u2", ENCODER_STREAM, end=True), Connection(CLOSED_CRITICAL_STREAM)),
    ("the decoder stream ends", CONTROL + on("u2", DECODER_STREAM, end=True), Connection(CLOSED_CRITICAL_STREAM)),
    # RFC 9114 sections 7.2.3 and 7.2.7 name H3_ID_ERROR; nghttp3 has other codes.
    ("MAX_PUSH_ID goes down", on("ucontrol", CONTROL_STREAM, settings(), frame(MAX_PUSH_ID, b"\x05"),
                                 frame(MAX_PUSH_ID, b"\x04")), Connection(FRAME_ERROR)),
    ("GOAWAY goes up", on("ucontrol", CONTROL_STREAM, settings(), frame(GOAWAY, b"\0"), frame(GOAWAY, b"\x04")),
     Connection(ID_ERROR)),
    ("CANCEL_PUSH of a push that never was", on("ucontrol", CONTROL_STREAM, settings(), frame(CANCEL_PUSH, b"\x05")),
     Connection(FRAME_UNEXPECTED)),
]


def encoder(*instructions):
    return CONTROL + on("u2", ENCODER_STREAM, *instructions) + on("u3", DECODER_STREAM)


def decoder(*instructions):
    return CONTROL + on("u2", ENCODER_STREAM) + on("u3", DECODER_STREAM, *instructions)


def insert(name, value):
    """An insert with a literal name (RFC 9204 section 4.3.3)."""
    return prefixed(len(name), 5, 0x40) + name + prefixed(len(value), 7, 0) + value


TABLE = prefixed(8192, 5, 0x20)  # its capacity
FIRST_ENTRY = b"\x80"  # of the dynamic table, as a field line
BLOCKED_MAX = 100  # SETTINGS_QPACK_BLOCKED_STREAMS of ptproxy


def waiting(*lines):
    """HEADERS of a request whose section refers to the first entry of the dynamic table."""
    pseudo_fields = section(REQUEST.items())[2:]
    return frame(HEADERS, b"\x02\0" + pseudo_fields + b"".join(lines))


QPACK = [
    ("a field from the dynamic table", encoder(TABLE, insert(b"x", b"y")) + ask(waiting(FIRST_ENTRY)),
     Passed(WITH_X % b"y")),
    ("a field that is inserted later", [*CONTROL, *on("u3", DECODER_STREAM), *ask(waiting(FIRST_ENTRY)),
                                        ["pause", 0.03], *on("u2", ENCODER_STREAM, TABLE, insert(b"x", b"y"))],
     Passed(WITH_X % b"y")),
    ("a bomb: a large entry a thousand times", encoder(TABLE, insert(b"x", b"y" * 8000))
     + ask(waiting(FIRST_ENTRY * 1000)), Answer(431)),
    ("more streams that wait for an entry than may",
     [*encoder(), *(send(f"waits {number}", waiting(FIRST_ENTRY), True) for number in range(BLOCKED_MAX + 1))],
     Connection(DECOMPRESSION_FAILED)),
    ("an instruction without its end stops nobody", encoder(TABLE, insert(b"x", b"y" * 100)[:50]) + ask(request()),
     Passed()),
    ("an entry that is larger than the table", encoder(prefixed(64, 5, 0x20), insert(b"x", b"y" * 100)),
     Connection(ENCODER_STREAM_ERROR)),
    ("a string far longer than its section, in Huffman code",
     ask(frame(HEADERS, b"\0\0" + prefixed(1, 3, 0x20) + b"x" + prefixed(1000, 7, 0x80) + b"\x1f" * 4)),
     Connection(DECOMPRESSION_FAILED)),
    ("a static entry that is none",
     ask(frame(HEADERS, b"\0\0" + prefixed(99, 6, 0xc0))), Connection(DECOMPRESSION_FAILED)),
    ("a dynamic entry where there is none", ask(frame(HEADERS, b"\0\0" + prefixed(0, 6, 0x80))),
     Connection(DECOMPRESSION_FAILED)),
    ("a name of a dynamic entry where there is none", ask(frame(HEADERS, b"\0\0" + prefixed(0, 4, 0x40) + b"\x01x")),
     Connection(DECOMPRESSION_FAILED)),
    ("an entry behind the base", ask(frame(HEADERS, b"\0\0" + prefixed(0, 4, 0x10))), Connection(DECOMPRESSION_FAILED)),
    ("a base below zero", ask(frame(HEADERS, b"\x02" + prefixed(5, 7, 0x80))), Connection(DECOMPRESSION_FAILED)),
    ("an insert count that cannot be", ask(frame(HEADERS, prefixed(1 << 20, 8, 0) + b"\0")),
     Connection(DECOMPRESSION_FAILED)),
    ("an integer without end", ask(frame(HEADERS, b"\xff" + b"\xff" * 12)), Connection(DECOMPRESSION_FAILED)),
    ("a string longer than its section", ask(frame(HEADERS, b"\0\0" + line("x", "y")[:-1])),
     Connection(DECOMPRESSION_FAILED)),
    ("a Huffman code that is none", ask(frame(HEADERS, b"\0\0" + prefixed(1, 3, 0x20) + b"x" + prefixed(4, 7, 0x80)
                                              + b"\xff\xff\xff\xff")), Connection(DECOMPRESSION_FAILED)),
    ("a table larger than allowed", encoder(prefixed(1 << 20, 5, 0x20)), Connection(ENCODER_STREAM_ERROR)),
    ("an insert without a table", encoder(prefixed(1, 5, 0x40) + b"x\x01y"), Connection(ENCODER_STREAM_ERROR)),
    ("an insert by a static name that is none", encoder(prefixed(99, 6, 0xc0) + b"\x01y"),
     Connection(ENCODER_STREAM_ERROR)),
    ("a duplicate of nothing", encoder(prefixed(0, 5, 0)), Connection(ENCODER_STREAM_ERROR)),
    ("an increment of zero", decoder(prefixed(0, 6, 0)), Connection(DECODER_STREAM_ERROR)),
    ("an increment beyond what was inserted", decoder(prefixed(1000, 6, 0)), Connection(DECODER_STREAM_ERROR)),
    ("an acknowledgement of nothing", decoder(prefixed(0, 7, 0x80)), Connection(DECODER_STREAM_ERROR)),
]

CASES = [*GOOD, *PSEUDO, *HOST, *MALFORMED, *FIELDS, *LENGTHS, *FRAMES, *CONTROL_STREAMS, *QPACK]
