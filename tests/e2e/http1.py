"""HTTP/1.1 as bytes on a socket: what a test sends is what goes out, what came is kept as it was written.

http.client hides what these tests look at: interim responses, trailers, the case and order of fields, the framing, and
how a connection ends.
"""

import hashlib
import socket


class Cut(Exception):
    """The connection ended (`reset`: by RST) before the message did; `message` is what there was of it."""

    def __init__(self, message, reset=False):
        super().__init__(f"the connection ended in {message}")
        self.message = message
        self.reset = reset


class Message:
    """A request or a response: start line, fields in order, and the body as bytes or, read into a sink, its hash."""

    def __init__(self, start):
        self.start = start
        self.fields = []
        self.trailers = []
        self.interim = []
        self.framing = "none"
        self.body = b""
        self.length = 0
        self.hash = None

    def __repr__(self):
        return f"<{self.start!r} {self.fields} {self.framing} {self.length} bytes {self.body[:200]!r}>"

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    @property
    def method(self):
        return self.start.split(" ")[0]

    @property
    def target(self):
        return self.start.split(" ")[1]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        return (self.all(name) or [default])[0]

    def take(self, piece):
        self.length += len(piece)
        if self.hash is None:
            self.body += piece
        else:
            self.hash.update(piece)

    def sha256(self):
        return self.hash.hexdigest() if self.hash else hashlib.sha256(self.body).hexdigest()


class Stream:
    """One side of a connection, reading messages. `on_read` is called with the length of every piece of a body."""

    PIECE = 1 << 18

    def __init__(self, connected):
        self.socket = connected
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with RST: what is in flight is lost."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, *pieces):
        self.socket.sendall(b"".join(piece.encode("latin-1") if isinstance(piece, str) else piece for piece in pieces))

    def fill(self, message, size=PIECE):
        try:
            piece = self.socket.recv(size)
        except ConnectionResetError:
            raise Cut(message, reset=True) from None
        if not piece:
            raise Cut(message)
        self.buffer += piece

    def line(self, message):
        while b"\n" not in self.buffer:
            self.fill(message)
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r"), f"a line that ends without CR: {line!r}"
        return line[:-1].decode("latin-1")

    def field_lines(self, message, fields):
        while line := self.line(message):
            name, value = line.split(":", 1)
            fields.append((name, value.strip(" \t")))

    def head(self):
        """The next head, without its body; None at the end of the connection."""
        try:
            message = Message(self.line(None))
        except Cut as cut:
            if self.buffer or cut.reset:
                raise
            return None
        self.field_lines(message, message.fields)
        return message

    def sized(self, message, left, on_read):
        while left:
            if not self.buffer:
                self.fill(message, min(left, self.PIECE))
            piece, self.buffer = self.buffer[:left], self.buffer[left:]
            left -= len(piece)
            message.take(piece)
            if on_read:
                on_read(len(piece))

    def body(self, message, hashed=False, on_read=None, no_body=False):
        """Reads the body of `message` by its framing."""
        if hashed:
            message.hash = hashlib.sha256()
        if no_body:
            return message
        if message.get("Transfer-Encoding", "").lower() == "chunked":
            message.framing = "chunked"
            while size := int(self.line(message).split(";")[0], 16):
                self.sized(message, size, on_read)
                assert self.line(message) == ""
            self.field_lines(message, message.trailers)
        elif message.get("Content-Length") is not None:
            message.framing = "length"
            self.sized(message, int(message.get("Content-Length")), on_read)
        elif message.start.startswith("HTTP/"):
            message.framing = "close"
            self.until_close(message, on_read)
        return message

    def until_close(self, message, on_read=None):
        while True:
            piece, self.buffer = self.buffer, b""
            message.take(piece)
            if piece and on_read:
                on_read(len(piece))
            try:
                self.fill(message)
            except Cut as cut:
                if cut.reset:
                    raise
                return

    def at_end(self):
        """True when the other side has closed and nothing is left to read; waits for the one or the other."""
        try:
            return not self.buffer and not self.socket.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True


class Client(Stream):
    """A connection to `address`: (host, port), or the path of a UNIX socket."""

    def __init__(self, address, timeout=30, receive_buffer=None):
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        connected = socket.socket(family)
        if receive_buffer:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connected.settimeout(timeout)
        connected.connect(address)
        if family == socket.AF_INET:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(connected)

    def send_request(self, method, target, body=b"", fields=(), version="HTTP/1.1"):
        """A whole request. A `body` that is neither bytes nor None is an iterable of pieces and goes out chunked,
        unless a Content-Length is in `fields`."""
        fields = [("Host", "origin.test")] * (version == "HTTP/1.1") + list(fields)
        pieces = () if isinstance(body, bytes) else body
        sized = any(name.lower() == "content-length" for name, _ in fields)
        if isinstance(body, bytes) and not sized and (body or method in ("POST", "PUT", "PATCH")):
            fields.append(("Content-Length", str(len(body))))
        elif not isinstance(body, bytes) and not sized:
            fields.append(("Transfer-Encoding", "chunked"))
        head = f"{method} {target} {version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        self.send(head, body if isinstance(body, bytes) else b"")
        for piece in pieces:
            if sized:
                self.socket.sendall(piece)
            else:
                self.send(f"{len(piece):x}\r\n", piece, "\r\n")
        if not isinstance(body, bytes) and not sized:
            self.send("0\r\n\r\n")

    def response(self, method="GET", hashed=False, on_read=None):
        """The next response, interim ones in its list; raises Cut when it is not complete."""
        interim = []
        while True:
            message = self.head()
            if message is None:
                raise Cut(None)
            if message.status >= 200:
                break
            interim.append(message)
        message.interim = interim
        return self.body(message, hashed, on_read, method == "HEAD" or message.status in (204, 304))

    def request(self, method, target, body=b"", fields=(), version="HTTP/1.1", **options):
        self.send_request(method, target, body, fields, version)
        return self.response(method, **options)


def request(address, method, target, body=b"", fields=(), timeout=30, **options):
    """One request over a connection of its own."""
    with Client(address, timeout) as client:
        return client.request(method, target, body, fields, **options)
