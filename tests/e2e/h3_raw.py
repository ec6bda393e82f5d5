"""Sends bytes on QUIC streams and says what comes back; to be run by build/peers/bin/python-aioquic: see --help.

Each line on stdin is a case, as JSON: a list of steps, all on one new connection. A step is

  ["send", STREAM, HEX, END]   STREAM is a name; one that begins with "u" is unidirectional, and opened when first named
  ["hole", STREAM, COUNT]      that many bytes, of which the first one is never sent
  ["reset", STREAM, CODE], ["stop", STREAM, CODE], ["pause", SECONDS]
  ["wait", STREAM, SECONDS]    until the peer has ended the stream or the connection
  ["closed", SECONDS]          until the peer has ended the connection

Each line on stdout is what came, as JSON: closed (null or [code, reason]) and streams, by name: data (hex), end, reset
and stop (codes or null), and status (of the final response, or null); fault, when a step could not be done.
"""

import argparse
import asyncio
import json
import sys

import pylsqpack
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.buffer import Buffer, BufferReadError
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamDataReceived, StreamReset

HEADERS = 1
CASE_SECONDS = 60  # for everything, on a machine however slow


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ids = {}
        self.streams = {}
        self.closed = None
        self.changed = asyncio.Event()

    def stream(self, name):
        if name not in self.ids:
            self.ids[name] = self._quic.get_next_available_stream_id(is_unidirectional=name.startswith("u"))
            # The id is taken by the first byte that is sent.
            self._quic.send_stream_data(self.ids[name], b"", False)
            self.streams[self.ids[name]] = {"data": b"", "end": False, "reset": None, "stop": None}
        return self.ids[name]

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.closed = [event.error_code, event.reason_phrase]
        elif getattr(event, "stream_id", None) in self.streams:
            got = self.streams[event.stream_id]
            if isinstance(event, StreamDataReceived):
                got["data"] += event.data
                got["end"] |= event.end_stream
            elif isinstance(event, StreamReset):
                got["reset"] = event.error_code
            elif isinstance(event, StopSendingReceived):
                got["stop"] = event.error_code
        self.changed.set()

    async def until(self, condition, seconds):
        end = self._loop.time() + seconds
        while not condition() and (left := end - self._loop.time()) > 0:
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def do(self, what, *arguments):
        if what == "send":
            name, content, end = arguments
            if not self.closed:
                self._quic.send_stream_data(self.stream(name), bytes.fromhex(content), end)
        elif what == "hole":
            stream = self.stream(arguments[0])
            self._quic.send_stream_data(stream, bytes(arguments[1]), False)
            self._quic._streams[stream].sender._pending.subtract(0, 1)
        elif what == "reset":
            self._quic.reset_stream(self.stream(arguments[0]), arguments[1])
        elif what == "stop":
            self._quic.stop_stream(self.stream(arguments[0]), arguments[1])
        elif what == "pause":
            self.transmit()
            await asyncio.sleep(arguments[0])
        elif what == "wait":
            self.transmit()
            stream = self.streams[self.stream(arguments[0])]
            await self.until(lambda: self.closed or stream["end"] or stream["reset"] is not None, arguments[1])
        elif what == "closed":
            self.transmit()
            await self.until(lambda: self.closed, arguments[0])

    def report(self):
        named = {name: self.streams[number] for name, number in self.ids.items()}
        return {"closed": self.closed, "streams": {
            name: {**got, "data": got["data"].hex(), "status": status_in(got["data"])} for name, got in named.items()}}


def status_in(content):
    """The status in the last HEADERS frame that has one. The dynamic table is off, as our SETTINGS do not allow it."""
    buffer, status = Buffer(data=content), None
    try:
        while not buffer.eof():
            kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
            payload = buffer.pull_bytes(length)
            if kind == HEADERS:
                _, fields = pylsqpack.Decoder(0, 0).feed_header(0, payload)
                status = dict(fields).get(b":status", status)
    except BufferReadError:
        pass  # cut
    return int(status) if status else None


async def run_case(arguments, steps, reported):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=arguments.name,
                                      cafile=arguments.ca)
    configuration.load_cert_chain(arguments.cert, arguments.key)
    client = None

    def create(*args, **kwargs):
        nonlocal client
        client = Client(*args, **kwargs)
        return client

    try:
        async with connect("127.0.0.1", arguments.port, configuration=configuration, create_protocol=create):
            for step in steps:
                await client.do(*step)
            reported.set_result(client.report())
    except Exception as error:  # whatever it is, somebody waits for the report
        if not reported.done():
            report = client.report() if client else {"closed": None, "streams": {}}
            reported.set_result(report if isinstance(error, ConnectionError) else {**report, "fault": repr(error)})


async def run(arguments):
    """The next case begins while the connection of the one before is still being closed."""
    loop, closing = asyncio.get_running_loop(), set()
    while text := await loop.run_in_executor(None, sys.stdin.readline):
        reported = loop.create_future()
        task = asyncio.create_task(asyncio.wait_for(run_case(arguments, json.loads(text), reported), CASE_SECONDS))
        closing.add(task)
        task.add_done_callback(closing.discard)
        await asyncio.wait([task, reported], return_when=asyncio.FIRST_COMPLETED)
        report = reported.result() if reported.done() else {"closed": None, "streams": {}, "fault": "no end in time"}
        print(json.dumps(report), flush=True)
    await asyncio.gather(*closing, return_exceptions=True)


def main():
    parser = argparse.ArgumentParser(description="bytes on QUIC streams to 127.0.0.1; cases on stdin")
    parser.add_argument("--port", type=int, required=True, help="UDP port")
    parser.add_argument("--name", required=True, help="name the server's certificate must have")
    parser.add_argument("--ca", required=True, help="PEM file the server's certificate must chain to")
    parser.add_argument("--cert", required=True, help="PEM file with the client's certificate")
    parser.add_argument("--key", required=True, help="PEM file with its key")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
