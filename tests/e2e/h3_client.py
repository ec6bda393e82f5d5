"""An HTTP/3 client on aioquic, to be run by build/peers/bin/python-aioquic: see --help.

All PATHs are requested at once, over one connection. Each response is a line of JSON on stdout, in the order of the
PATHs: path, status, headers and trailers (lists of pairs), length and sha256 of the body, and error, which is null or
says how the stream ended instead. Exit status: 0 when every response is complete, else 1; the reason is on stderr.
"""

import argparse
import asyncio
import hashlib
import json
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset


class Exchange:
    """What has come so far of the response to one request."""

    def __init__(self, path, finished):
        self.path = path
        self.finished = finished
        self.status = None
        self.headers = []
        self.trailers = []
        self.length = 0
        self.hash = hashlib.sha256()
        self.error = None

    def receive(self, event):
        if isinstance(event, HeadersReceived):
            fields = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
            if fields[0][0] != ":status":
                self.trailers = fields
            elif not fields[0][1].startswith("1"):
                self.status, self.headers = int(fields[0][1]), fields[1:]
        elif isinstance(event, DataReceived):
            self.length += len(event.data)
            self.hash.update(event.data)
        if event.stream_ended:
            self.finish()

    def finish(self, error=None):
        if not self.finished.done():
            self.error = error
            self.finished.set_result(None)

    def report(self):
        print(json.dumps({
            "path": self.path, "status": self.status, "headers": self.headers, "trailers": self.trailers,
            "length": self.length, "sha256": self.hash.hexdigest(), "error": self.error,
        }))


class Connection(H3Connection):
    """aioquic holds the response to HEAD to be malformed, as its body is not as long as its Content-Length says."""

    method = None

    def _check_content_length(self, stream):
        if self.method != "HEAD":
            super()._check_content_length(stream)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = Connection(self._quic)
        self.exchanges = {}
        self.end = None

    def request(self, arguments, path, body):
        self.h3.method = arguments.method
        stream = self._quic.get_next_available_stream_id()
        exchange = self.exchanges[stream] = Exchange(path, self._loop.create_future())
        headers = [
            (b":method", arguments.method.encode()),
            (b":scheme", b"https"),
            (b":authority", f"{arguments.name}:{arguments.port}".encode()),
            (b":path", path.encode()),
        ]
        for field in arguments.header:
            name, value = field.split(":", 1)
            headers.append((name.strip().lower().encode(), value.strip().encode()))
        if body is not None:
            headers.append((b"content-length", str(len(body)).encode()))
        self.h3.send_headers(stream, headers, end_stream=body is None)
        if body is not None:
            self.h3.send_data(stream, body, end_stream=True)
        return exchange

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.end = f"connection ended with error 0x{event.error_code:x}: {event.reason_phrase or 'no reason given'}"
            for exchange in self.exchanges.values():
                exchange.finish(self.end)
        elif isinstance(event, StreamReset) and event.stream_id in self.exchanges:
            self.exchanges[event.stream_id].finish(f"stream reset with error 0x{event.error_code:x}")
        for h3_event in self.h3.handle_event(event):
            if isinstance(h3_event, (HeadersReceived, DataReceived)):
                self.exchanges[h3_event.stream_id].receive(h3_event)


async def run(arguments):
    body = None
    if arguments.data:
        with open(arguments.data, "rb") as file:
            body = file.read()
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=arguments.name,
                                      cafile=arguments.ca)
    if arguments.cert:
        configuration.load_cert_chain(arguments.cert, arguments.key)
    client = None

    def create(*args, **kwargs):
        nonlocal client
        client = Client(*args, **kwargs)
        return client

    try:
        async with connect("127.0.0.1", arguments.port, configuration=configuration, create_protocol=create):
            exchanges = [client.request(arguments, path, body) for path in arguments.paths]
            client.transmit()
            await asyncio.gather(*(exchange.finished for exchange in exchanges))
    except ConnectionError:
        return client.end or "connection failed"
    for exchange in exchanges:
        exchange.report()
    return next((f"{exchange.path}: {exchange.error}" for exchange in exchanges if exchange.error), None)


def main():
    parser = argparse.ArgumentParser(description="HTTP/3 requests over one connection to 127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="UDP port")
    parser.add_argument("--name", required=True, help="name the server's certificate must have")
    parser.add_argument("--ca", required=True, help="PEM file the server's certificate must chain to")
    parser.add_argument("--cert", help="PEM file with the client's certificate")
    parser.add_argument("--key", help="PEM file with its key")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("--data", metavar="FILE", help="body of every request, sent with its length")
    parser.add_argument("--timeout", type=float, default=30, help="seconds for everything together")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    arguments = parser.parse_args()
    try:
        sys.exit(asyncio.run(asyncio.wait_for(run(arguments), arguments.timeout)))
    except asyncio.TimeoutError:
        sys.exit(f"no end after {arguments.timeout} s")


if __name__ == "__main__":
    main()
