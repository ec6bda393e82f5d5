"""What an HTTP/3 server may answer a ptproxy in client mode, and what its caller must get: a row each.

A row is (name, steps, outcome), as in h3_cases.py; the steps happen when the request has come. The outcome:

  Response(BYTES)     the caller gets this
  Bad(CODE)           502; the stream, unless it is over, is stopped with this code; the session goes on
  Lost(CODE, BYTES)   502, or the response BYTES; the session ends with this code, and another is made
  Cut(BYTES, CODE)    the caller gets the beginning of BYTES, and its connection is closed; with a CODE, as Lost
"""

from dataclasses import dataclass

from h3_cases import (CLOSED_CRITICAL_STREAM, DECOMPRESSION_FAILED, FRAME_UNEXPECTED, ID_ERROR, MESSAGE_ERROR,
                      REQUEST_CANCELLED, STREAM_CREATION_ERROR, on, send)
from h3_wire import (CONTROL_STREAM, GOAWAY, HEADERS, MAX_PUSH_ID, PUSH_PROMISE, PUSH_STREAM, SETTINGS, data, frame,
                     headers, prefixed, settings)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@dataclass
class Response:
    content: bytes = OK


@dataclass
class Bad:
    code: int = 0


@dataclass
class Lost:
    code: int = MESSAGE_ERROR
    content: bytes = None


@dataclass
class Cut:
    content: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    code: int = 0


def answer(*frames):
    return [send("r", b"".join(frames), True)]


def status(code, *fields):
    return headers((":status", code), *fields)


LENGTH_2, LENGTH_5 = ("content-length", "2"), ("content-length", "5")
WITH_2 = status("200", LENGTH_2)

GOOD = [
    ("a plain response", answer(WITH_2, data("ok")), Response()),
    ("without a length", [send("r", status("200")), ["pause", 0.02], send("r", data("ok"), True)], Response(CHUNKED)),
    ("in pieces", [*(send("r", bytes([byte])) for byte in WITH_2 + data("ok")), send("r", b"", True)], Response()),
    ("unknown frames", answer(frame(0x21, b"x"), WITH_2, frame(0x21), data("ok"), frame(0x21)), Response()),
    ("103 before it", answer(status("103", ("link", "</x>")), WITH_2, data("ok")),
     Response(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)),
    ("trailers", [send("r", status("200")), ["pause", 0.02], send("r", data("ok") + headers(("x-sum", "1")), True)],
     Response(CHUNKED[:-2] + b"X-Sum: 1\r\n\r\n")),
    ("204", answer(status("204")), Response(b"HTTP/1.1 204 No Content\r\n\r\n")),
    ("304 with a length", answer(status("304", LENGTH_5)),
     Response(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")),
    ("503 of the other side", answer(status("503", LENGTH_2), data("ok")),
     Response(OK.replace(b"200 OK", b"503 Service Unavailable"))),
]

HEADS = [
    ("no status", answer(headers(("x", "y"))), Lost()),
    ("status twice", answer(status("200", (":status", "200"))), Lost()),
    ("status behind a field", answer(headers(("x", "y"), (":status", "200"))), Lost()),
    *((f":status is {code!r}", answer(status(code)), Lost())
      for code in ("", "20", "2000", "2xx", "+20", " 200", "099", "OK")),
    (":status is 101", answer(status("101"), WITH_2, data("ok")), Lost()),
    *((f"{name} in a response", answer(status("200", (name, value)), data("ok")), Lost())
      for name, value in ((":path", "/"), (":foo", "x"))),
    ("a name in upper case", answer(status("200", ("X-Upper", "y")), data("ok")), Lost()),
    *((f"{name}: {value}", answer(status("200", (name, value)), data("ok")), Lost()) for name, value in (
        ("connection", "close"), ("transfer-encoding", "chunked"), ("keep-alive", "x"), ("upgrade", "h2c"),
        ("proxy-connection", "close"), ("content-length", "5,5"), ("content-length", "-5"), ("content-length", ""))),
    ("nothing but 103", answer(status("103")), Bad()),
    ("17 times 103", answer(status("103") * 17, WITH_2, data("ok")), Bad()),
    ("17 times 103, and more to come", [send("r", status("103") * 17)], Bad(MESSAGE_ERROR)),
    ("103 that is malformed", answer(status("103", ("X-Upper", "y")), WITH_2, data("ok")), Lost()),
    ("a field of CR and LF", answer(status("200", ("x", "a\r\ny: z"), LENGTH_2), data("ok")), Bad()),
    ("a field of NUL", answer(status("200", ("x", "a\0"), LENGTH_2), data("ok")), Bad()),
    ("too many fields", answer(status("200", *((f"x-{number}", "y") for number in range(200)), LENGTH_2), data("ok")),
     Bad()),
]

BODIES = [
    ("content-length 5 and nothing", answer(status("200", LENGTH_5)), Cut()),
    ("content-length 5 and 2 bytes", answer(status("200", LENGTH_5), data("he")), Cut()),
    ("content-length 5, a pause, and the end", [send("r", status("200", LENGTH_5) + data("he")), ["pause", 0.05],
                                                send("r", b"", True)], Cut()),
    ("content-length 5, a pause, and a reset", [send("r", status("200", LENGTH_5) + data("he")), ["pause", 0.05],
                                                ["reset", "r", REQUEST_CANCELLED]], Cut()),
    ("content-length 5, a pause, and 6 bytes", [send("r", status("200", LENGTH_5)), ["pause", 0.05],
                                                send("r", data("hellow"), True)], Cut(code=MESSAGE_ERROR)),
    ("content-length 5 twice", answer(status("200", LENGTH_5, LENGTH_5), data("hello")), Lost()),
    ("content-length x", answer(status("200", ("content-length", "x")), data("hello")), Lost()),
    ("204 with a body", answer(status("204"), data("hello")), Lost(content=b"HTTP/1.1 204 No Content\r\n\r\n")),
    ("304 with a body", answer(status("304"), data("hello")), Lost(content=b"HTTP/1.1 304 Not Modified\r\n\r\n")),
    ("a reset before the head", [["reset", "r", REQUEST_CANCELLED]], Bad()),
    ("nothing but the end", answer(b""), Bad()),
]

# Its beginning is with the caller when the fault comes.
SENT_HEAD = [send("r", status("200")), ["pause", 0.05]]
BEGUN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok"

FRAMES = [
    ("DATA before HEADERS", answer(data("x"), WITH_2), Lost(FRAME_UNEXPECTED)),
    ("SETTINGS on the request stream", answer(frame(SETTINGS)), Lost(FRAME_UNEXPECTED)),
    # RFC 9114 sections 4.6 and 7.2.5 name H3_ID_ERROR; nghttp3 has other codes.
    ("a push that nobody allowed", answer(frame(PUSH_PROMISE, b"\0\0\0")), Lost(FRAME_UNEXPECTED)),
    ("a push stream that nobody allowed", on("u2", PUSH_STREAM, b"\0"), Lost(STREAM_CREATION_ERROR)),
    ("a section without prefix", answer(frame(HEADERS, b"\0")), Lost(DECOMPRESSION_FAILED)),
    ("a static entry that is none",
     answer(frame(HEADERS, b"\0\0" + prefixed(99, 6, 0xc0))), Lost(DECOMPRESSION_FAILED)),
    *((f"frame 0x{kind:x} on the request stream", answer(frame(kind, b"\0"), WITH_2), Lost(FRAME_UNEXPECTED))
      for kind in (0x2, 0x6, 0x8, 0x9, GOAWAY, MAX_PUSH_ID)),
    ("DATA behind trailers", [*SENT_HEAD, send("r", data("ok") + headers(("x-sum", "1")) + data("x"), True)],
     Cut(BEGUN, FRAME_UNEXPECTED)),
    ("HEADERS behind trailers", [*SENT_HEAD, send("r", headers(("x-sum", "1")) + headers(("x-sum", "2")), True)],
     Cut(BEGUN, FRAME_UNEXPECTED)),
    ("a second response", [*SENT_HEAD, send("r", data("ok") + WITH_2 + data("ok"), True)], Cut(BEGUN, MESSAGE_ERROR)),
    ("trailers in upper case", [*SENT_HEAD, send("r", data("ok") + headers(("X-Sum", "1")), True)],
     Cut(BEGUN, MESSAGE_ERROR)),
    ("SETTINGS twice", on("ucontrol", settings()), Lost(FRAME_UNEXPECTED)),
    ("DATA on the control stream", on("ucontrol", data("x")), Lost(FRAME_UNEXPECTED)),
    ("MAX_PUSH_ID of a server", on("ucontrol", frame(MAX_PUSH_ID, b"\0")), Lost(FRAME_UNEXPECTED)),
    ("GOAWAY with the id of a push", on("ucontrol", frame(GOAWAY, b"\x03")), Lost(ID_ERROR)),
    ("two control streams", on("u2", CONTROL_STREAM, settings()), Lost(STREAM_CREATION_ERROR)),
    ("the control stream ends", on("ucontrol", b"", end=True), Lost(CLOSED_CRITICAL_STREAM)),
]

CASES = [*GOOD, *HEADS, *BODIES, *FRAMES]
