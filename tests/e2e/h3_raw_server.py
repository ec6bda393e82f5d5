"""An HTTP/3 server that answers with the bytes it is told, to be run by build/peers/bin/python-aioquic: see --help.

The target of a request says what is done: /steps/HEX is a list of steps as JSON, as in h3_raw.py; the stream of the
request is called "r", "ucontrol" is the control stream, which is open already. Every other target is answered 200. Each
line on stdout is something that the client did, as JSON: ["closed", CODE], ["reset", CODE] or ["stop", CODE].
"""

import argparse
import asyncio
import json
import re

import pylsqpack
from aioquic.asyncio import QuicConnectionProtocol
from aioquic.buffer import Buffer, BufferReadError
from aioquic.quic.events import (ConnectionTerminated, HandshakeCompleted, StopSendingReceived, StreamDataReceived,
                                 StreamReset)
from h3_server import serve_asking
from h3_wire import CONTROL_STREAM, DECODER_STREAM, ENCODER_STREAM, HEADERS, data, headers, settings


def target_in(content):
    """The :path of the request that `content` begins with; None when it is not there yet."""
    buffer = Buffer(data=content)
    try:
        while True:
            kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
            payload = buffer.pull_bytes(length)
            if kind == HEADERS:
                return dict(pylsqpack.Decoder(0, 0).feed_header(0, payload)[1])[b":path"].decode()
    except BufferReadError:
        return None


class Server(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.received = {}
        self.control = None
        self.tasks = set()

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.control = self.open(CONTROL_STREAM + settings())
            self.open(ENCODER_STREAM)
            self.open(DECODER_STREAM)
        elif isinstance(event, ConnectionTerminated):
            print(json.dumps(["closed", event.error_code]), flush=True)
        elif isinstance(event, StreamReset):
            print(json.dumps(["reset", event.error_code]), flush=True)
        elif isinstance(event, StopSendingReceived):
            print(json.dumps(["stop", event.error_code]), flush=True)
        elif isinstance(event, StreamDataReceived) and event.stream_id % 4 == 0:
            self.request(event)

    def open(self, content):
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self._quic.send_stream_data(stream, content)
        return stream

    def request(self, event):
        before = self.received.get(event.stream_id, b"")
        self.received[event.stream_id] = before + event.data
        target = target_in(self.received[event.stream_id])
        if target is None or target_in(before) is not None:
            return
        steps = re.fullmatch("/steps/([0-9a-f]*)", target)
        if steps:
            task = asyncio.create_task(self.answer(event.stream_id, json.loads(bytes.fromhex(steps[1]))))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            response = headers((":status", "200"), ("content-length", "2")) + data("ok")
            self._quic.send_stream_data(event.stream_id, response, True)

    async def answer(self, stream, steps):
        names = {"r": stream, "ucontrol": self.control}
        for what, *arguments in steps:
            if what == "pause":
                self.transmit()
                await asyncio.sleep(arguments[0])
                continue
            if arguments[0] not in names:
                names[arguments[0]] = self._quic.get_next_available_stream_id(is_unidirectional=True)
            number = names[arguments[0]]
            if what == "send":
                self._quic.send_stream_data(number, bytes.fromhex(arguments[1]), arguments[2])
            elif what == "reset":
                self._quic.reset_stream(number, arguments[1])
        self.transmit()


def main():
    parser = argparse.ArgumentParser(description="HTTP/3 server that sends what it is told, on 127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="UDP port")
    parser.add_argument("--cert", required=True, help="PEM file with the server's certificate")
    parser.add_argument("--key", required=True, help="PEM file with its key")
    asyncio.run(serve_asking(parser.parse_args(), Server))


if __name__ == "__main__":
    main()
