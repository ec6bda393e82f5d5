"""An HTTP/1.1 origin that does what a test tells it, faults included. The path of a request names the action:

  /n/LENGTH            payload(LENGTH)                    /stream/LENGTH[?rate=B/s]   stream(LENGTH); &chunked
  /sink[?rate=B/s]     reads the body, answers a receipt  /echo                       the request as JSON
  /status/CODE         a response without a body          everything else             what is registered by on(), or 404

An action gets a Call and returns False to have the connection closed. What came is in `requests`.
"""

import hashlib
import json
import socket
import threading
import time
from urllib.parse import parse_qs, urlsplit

from http1 import Cut, Stream
from payload import payload

PIECE = 1 << 20
_block = payload(PIECE)
_blocks = _block + _block


def stream(length):
    """The pieces of a body of any length: 1 MiB each, no two alike, so that a piece lost or misplaced shows."""
    for at in range(0, length, PIECE):
        start = at // PIECE * 4099 % PIECE
        yield _blocks[start:start + min(PIECE, length - at)]


def stream_sha256(length):
    digest = hashlib.sha256()
    for piece in stream(length):
        digest.update(piece)
    return digest.hexdigest()


class Pace:
    """Waits as long as `rate` bytes a second want."""

    def __init__(self, rate):
        self.rate = rate
        self.start = time.monotonic()
        self.done = 0

    def __call__(self, length):
        self.done += length
        if self.rate and (early := self.done / self.rate - (time.monotonic() - self.start)) > 0:
            time.sleep(early)


class Call(Stream):
    """A request that has come, its body still on the connection; what a Stream does, and ways to answer."""

    def __init__(self, connected, origin):
        super().__init__(connected)
        self.origin = origin
        self.request = None
        self.body_read = False

    @property
    def options(self):
        return {name: values[0] for name, values in parse_qs(urlsplit(self.request.target).query, True).items()}

    @property
    def path(self):
        return urlsplit(self.request.target).path

    def read_body(self, hashed=True, rate=None):
        if self.request.get("Expect", "").lower() == "100-continue":
            self.send("HTTP/1.1 100 Continue\r\n\r\n")
        self.body_read = True
        return self.body(self.request, hashed, Pace(rate) if rate else None)

    def send_head(self, status, fields=(), reason="Fine"):
        self.send(f"HTTP/1.1 {status} {reason}\r\n", *(f"{name}: {value}\r\n" for name, value in fields), "\r\n")

    def respond(self, status, body=b"", fields=()):
        self.send_head(status, [*fields, ("Content-Length", str(len(body)))])
        if self.request.method != "HEAD":
            self.send(body)
        return True


def send_payload(call):
    return call.respond(200, payload(int(call.path.split("/")[2])))


def send_stream(call):
    length, chunked = int(call.path.split("/")[2]), "chunked" in call.options
    pace = Pace(int(call.options.get("rate", 0)))
    call.send_head(200, [("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(length))])
    for piece in stream(length):
        if chunked:
            call.send(f"{len(piece):x}\r\n", piece, "\r\n")
        else:
            call.socket.sendall(piece)
        pace(len(piece))
    if chunked:
        call.send("0\r\n\r\n")
    return True


def take_all(call):
    got = call.read_body(rate=int(call.options.get("rate", 0)))
    receipt = {"method": got.method, "length": got.length, "sha256": got.sha256(), "framing": got.framing,
               "trailers": got.trailers}
    return call.respond(200, json.dumps(receipt).encode(), [("Content-Type", "application/json")])


def echo(call):
    got = call.read_body(hashed=False)
    return call.respond(200, json.dumps({
        "start": got.start, "fields": got.fields, "body": got.body.decode("latin-1"), "framing": got.framing,
        "trailers": got.trailers}).encode())


def send_status(call):
    status = int(call.path.split("/")[2])
    call.send_head(status, [] if status in (204, 304) else [("Content-Length", "0")])
    return True


class ScriptedOrigin:
    """Listens on 127.0.0.1, or on the UNIX socket `path`."""

    def __init__(self, path=None, receive_buffer=None):
        self.actions = {"n": send_payload, "stream": send_stream, "sink": take_all, "echo": echo, "status": send_status}
        self.requests = []
        self.open = set()
        self.accepted = 0
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        if receive_buffer:  # inherited by what is accepted: a slow reader must not have megabytes waiting
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(str(path) if path else ("127.0.0.1", 0))
        self.listener.listen(1024)
        self.port = None if path else self.listener.getsockname()[1]
        self.address = f"unix:{path}" if path else f"127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def on(self, path, action):
        self.actions[path.strip("/")] = action

    def accept(self):
        while True:
            try:
                connected, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(connected)
                self.accepted += 1
            threading.Thread(target=self.serve, args=(connected,), daemon=True).start()

    def serve(self, connected):
        call = Call(connected, self)
        try:
            if connected.family == socket.AF_INET:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.serve_one(call):
                pass
        except (OSError, Cut):
            pass  # the proxy has gone; what that means is for the test to see
        finally:
            connected.close()
            with self.lock:
                self.open.discard(connected)

    def serve_one(self, call):
        call.request = call.head()
        call.body_read = False
        if call.request is None:
            return False
        self.requests.append(call.request)
        action = self.actions.get(call.path.strip("/")) or self.actions.get(call.path.split("/")[1])
        keep = action(call) if action else call.respond(404, b"not here\n")
        if keep and not call.body_read:
            call.read_body()
        return keep

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            connections = list(self.open)
        for connected in connections:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
