"""The language of the files in http_cases/, and HTTP/1.1 messages as the text that cases are compared by.

  pair TEXT              first in a file: JSON merged into the configuration of both ends, for all of its cases
  case NAME              begins a case
  table NAME             begins one case for each of its rows: $1, $2... stand for the columns
    row A | B
  # ...                  a comment

  c> BYTES               what the client sends           s< BYTES   what the origin must receive
  s> BYTES               what the origin answers         c< BYTES   what the client must receive
                         A line of bytes ends with CRLF, unless a backslash is its last character. Escapes: \\r \\n \\t
                         \\0 \\s (a blank) \\\\ \\xHH, and {BYTES*NUMBER}, repeated
  c! pause MS            the client waits                s! pause MS    the origin waits, or is reset, or closes
  c! shutdown            closes its sending side         s! close       ...
  c! reset               closes with RST                 s! reset       ...
  c! pieces NUMBER       what follows goes out in        s! pieces NUMBER
                         segments of so many bytes
                                                         s! early       answers when it has the head, and reads the
                                                                        body afterwards
                                                         s! dropped     the proxy must close this connection
  refused STATUS [TEXT]  the client gets an answer that ptproxy's client end makes, and its connection is closed
  broken STATUS [TEXT]   the same, and the origin may have received a part of the request, but not all of it
  fails STATUS [TEXT]    the client gets an answer that ptproxy's server end makes
  silent                 the client gets nothing
  closed                 its connection is closed after that, in order; without this word, it must still work
  cut                    it is closed too early, so that the last response is not complete
  informed               before that, it may get any number of informational responses
  alone                  no canary is sent behind the case

What is left out is the plain case: the client asks for / and the origin receives what the client has sent, answers with
REPLY, and the client gets that. An `s<` after an `s>` or `s!` begins the next exchange. Behind every case goes, in the
same segment as its last bytes, a canary: it must be answered in its turn, or must never reach the origin.

Messages are compared byte by byte but for this: a chunked body counts as one chunk; a Date that is the present time,
which every final response must have if it has no other, is left out, and so is the mark by which a proxy knows a
request that comes round (CDN-Loop), which every request must have.
"""

import email.utils
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CUT = b"<cut>"
DATE_SECONDS = 30

ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "s": b" ", "\\": b"\\"}
PIECE = re.compile(r"\\x([0-9a-fA-F]{2})|\\([rnt0s\\])|\{((?:[^{}*]|\\.)+)\*(\d+)\}|([^\\{])", re.DOTALL)


@dataclass
class Own:
    """An answer that an end of ptproxy makes itself."""

    status: int
    end: str  # client or server
    text: str


@dataclass
class Exchange:
    """One request that must come to the origin, and what it does then."""

    received: bytes = None  # None: what the client sends
    steps: list = field(default_factory=list)
    early: bool = False


@dataclass
class Case:
    name: str
    place: str
    sends: list = field(default_factory=list)  # bytes, or (act, argument)
    exchanges: list = field(default_factory=list)
    answers: list = field(default_factory=list)  # bytes, each any number of messages, or Own
    end: str = "open"  # open, closed or cut
    canary: bool = True
    silent: bool = False
    informed: bool = False
    partial: bool = False  # what comes to the origin beside the exchanges may be the beginning of a request
    pair: str = "{}"

    def label(self):
        """Short enough for a line, and of one file."""
        return f"{self.place.split('.')[0]}: {self.name}"[:100]

    def sent(self):
        return b"".join(step for step in self.sends if isinstance(step, bytes))

    def complete(self):
        """Fills in what was left out."""
        self.sends = self.sends or [REQUEST]
        refused = any(isinstance(answer, Own) and answer.end == "client" for answer in self.answers)
        if not self.exchanges and not refused and not self.silent:
            self.exchanges = [Exchange()]
        for exchange in self.exchanges:
            if exchange.received is None:
                exchange.received = self.sent()
            if not exchange.steps:
                exchange.steps = [REPLY]
        if not self.answers and not self.silent:
            self.answers = [REPLY] * len(self.exchanges)
        return self


# The language


def unescape(text):
    """The bytes that a line of a case stands for."""
    if text.endswith("\\") and not text.endswith("\\\\"):
        return unescape_pieces(text[:-1])
    return unescape_pieces(text) + b"\r\n"


def unescape_pieces(text):
    done, at = b"", 0
    while at < len(text):
        found = PIECE.match(text, at)
        assert found, f"what is this: {text[at:]!r}"
        code, letter, repeated, count, plain = found.groups()
        if code:
            done += bytes([int(code, 16)])
        elif letter:
            done += ESCAPES[letter]
        elif repeated:
            done += unescape_pieces(repeated) * int(count)
        else:
            done += plain.encode("latin-1")
        at = found.end()
    return done


def add_bytes(steps, text):
    if steps and isinstance(steps[-1], bytes):
        steps[-1] += unescape(text)
    else:
        steps.append(unescape(text))


def add_act(steps, text):
    act, _, argument = text.partition(" ")
    steps.append((act, int(argument or 0)))


def exchange_of(case, begins):
    """The exchange that a line belongs to."""
    if not case.exchanges or (begins and case.exchanges[-1].steps):
        case.exchanges.append(Exchange())
    return case.exchanges[-1]


def add_line(case, mark, text):
    """One line of a case; False when there is no such mark."""
    if mark == "c>":
        add_bytes(case.sends, text)
    elif mark == "c!":
        add_act(case.sends, text)
    elif mark == "s<":
        exchange = exchange_of(case, True)
        exchange.received = (exchange.received or b"") + unescape(text)
    elif mark == "s>":
        add_bytes(exchange_of(case, False).steps, text)
    elif mark == "s!" and text == "early":
        exchange_of(case, False).early = True
    elif mark == "s!":
        add_act(exchange_of(case, False).steps, text)
    elif mark == "c<":
        add_bytes(case.answers, text)
    elif mark in ("refused", "broken", "fails"):
        status, _, words = text.partition(" ")
        case.answers.append(Own(int(status), "server" if mark == "fails" else "client", words))
        case.end = case.end if mark == "fails" else "closed"
        case.partial = mark == "broken"
    elif mark in ("closed", "cut"):
        case.end = mark
    elif mark == "silent":
        case.silent = True
        case.end = "closed"
    elif mark == "informed":
        case.informed = True
    elif mark == "alone":
        case.canary = False
    else:
        return False
    return True


def parse_case(name, place, lines, columns=()):
    case = Case(name, place)
    for number, line in lines:
        for index, column in enumerate(columns, 1):
            line = line.replace(f"${index}", column)
        mark, _, text = line.partition(" ")
        assert add_line(case, mark, text), f"{place}, line {number}: {line!r}"
    return case.complete()


def blocks(path):
    """(kind, name, number, lines, rows) of each case or table of a file, and the file's configuration as the first."""
    pair, found = "{}", []
    for number, line in enumerate(path.read_text().split("\n"), 1):
        line = line.strip(" ")
        kind, _, rest = line.partition(" ")
        if kind == "pair":
            pair = rest
        elif kind in ("case", "table"):
            found.append((kind, rest, number, [], []))
        elif kind == "row":
            found[-1][4].append([column.strip(" ") for column in rest.split("|")])
        elif line and not line.startswith("#"):
            found[-1][3].append((number, line))
    return pair, found


def load(path):
    """The cases of a file, in its order."""
    pair, found = blocks(path)
    json.loads(pair)
    cases = []
    for kind, name, number, lines, rows in found:
        place = f"{path.name}:{number}"
        if kind == "case":
            cases.append(parse_case(name, place, lines))
        else:
            assert rows, f"{place}: a table without rows"
            cases += [parse_case(f"{name}: {' | '.join(row)}", place, lines, row) for row in rows]
    for case in cases:
        case.pair = pair
    return cases


def load_all(directory=Path(__file__).resolve().parent / "http_cases"):
    cases = [case for path in sorted(directory.glob("*.cases")) for case in load(path)]
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), f"twice: {sorted({name for name in names if names.count(name) > 1})}"
    return cases


# Messages


class Malformed(Exception):
    pass


class Incomplete(Exception):
    """Ends before it is complete; `text` is what there is, as far as it can be compared."""

    def __init__(self, text):
        super().__init__("a message is not complete")
        self.text = text


FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\x20-\x7e\x80-\xff\t]*)")


def split_head(data):
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        raise Incomplete(head)
    lines = head.split(b"\r\n")
    fields = []
    for line in lines[1:]:
        found = FIELD.fullmatch(line)
        if not found:
            raise Malformed(f"a line of a head: {line!r}")
        fields.append((found[1].decode("latin-1").lower(), found[2].decode("latin-1")))
    return lines, fields, rest


def split_chunks(data):
    """(body, trailer section, rest)"""
    body = b""
    while True:
        size, separator, data = data.partition(b"\r\n")
        if not separator:
            raise Incomplete(body)
        if not re.fullmatch(rb"[0-9a-fA-F]+(;.*)?", size):
            raise Malformed(f"a chunk size: {size!r}")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            break
        if len(data) < length + 2:
            raise Incomplete(body + data[:length])
        if data[length:length + 2] != b"\r\n":
            raise Malformed("no CRLF behind a chunk")
        body, data = body + data[:length], data[length + 2:]
    if data.startswith(b"\r\n"):
        return body, b"", data[2:]
    trailers, separator, data = data.partition(b"\r\n\r\n")
    if not separator:
        raise Incomplete(body)
    return body, trailers + b"\r\n", data


def is_now(value):
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return False
    return abs(time.time() - then) < DATE_SECONDS


def without_date(lines, fields, status):
    """The lines of a response without the Date of the present; there must be exactly one in a final response."""
    dates = [value for name, value in fields if name == "date"]
    if status >= 200 and len(dates) != 1:
        raise Malformed(f"{len(dates)} Date fields in a response of {status}")
    return lines[:1] + [line for line, (name, value) in zip(lines[1:], fields, strict=True)
                        if name != "date" or not is_now(value)]


def without_mark(lines):
    """The lines of a request without the one that marks it."""
    kept = [line for line in lines if not re.fullmatch(rb"Cdn-Loop: ptproxy-[0-9a-f]{8}", line)]
    if len(kept) != len(lines) - 1:
        raise Malformed(f"{len(lines) - len(kept)} marks in a request")
    return kept


def take_message(data, method="", proxied=False, until_close=False):
    """The first message of `data` as it is compared, and the rest. `method`: of the request, when it is a response;
    `proxied`: it has what a proxy adds; `until_close`: the connection has been closed behind `data`."""
    lines, fields, rest = split_head(data)
    values = dict(fields)
    status = int(lines[0].split(b" ")[1]) if lines[0].startswith(b"HTTP/") else 0
    if proxied:
        lines = without_date(lines, fields, status) if status else without_mark(lines)
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    try:
        if status and (status < 200 or status in (204, 304) or method == "HEAD"):
            return head, rest
        if values.get("transfer-encoding", "").lower() == "chunked":
            body, trailers, rest = split_chunks(rest)
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return head + chunk + b"0\r\n" + trailers + b"\r\n", rest
        if "content-length" in values:
            length = int(values["content-length"])
            if len(rest) < length:
                raise Incomplete(rest)
            return head + rest[:length], rest[length:]
        if status:
            if not until_close:
                raise Incomplete(rest)
            return head + rest, b""
        return head, rest
    except Incomplete as incomplete:
        raise Incomplete(head + incomplete.text) from None


def normal(data, methods=(), proxied=False, until_close=False):
    """All messages of `data` as a list; the last is marked when it is cut."""
    methods, done = list(methods), []
    while data:
        method = methods[0] if methods else ""
        try:
            message, data = take_message(data, method, proxied, until_close)
        except Incomplete as incomplete:
            done.append(incomplete.text + CUT)
            break
        done.append(message)
        if methods and not re.match(rb"HTTP/1\.1 1", message):
            methods.pop(0)
    return done
