#!/usr/bin/python3
"""probe.py JSON: the caller of what wrk and ab cannot measure. It runs beside the callers' proxy and knows nothing else
of the bench. The JSON object names what to do (a function below) and its arguments; the answer is JSON too.

Times are seconds of CLOCK_MONOTONIC, which all namespaces share.
"""

import asyncio
import json
import socket
import struct
import sys
import time

PIECE = 1 << 18


class Caller:
    """One connection."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.reader = self.writer = None

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=1 << 20)

    def close(self):
        """At once, with what is in the socket's buffer: nothing of this measurement is to go on in the next."""
        if self.writer:
            connection = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()

    async def head(self):
        """Status and body length of a response; None: the body is chunked."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        chunked = "chunked" in fields.get("transfer-encoding", "")
        return int(lines[0].split()[1]), None if chunked else int(fields.get("content-length", 0))

    async def body(self, length, count):
        """Reads a body and calls count(bytes) for each piece."""
        while length is None:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            await self.exactly(size, count)
            await self.reader.readexactly(2)
            if size == 0:
                return
        await self.exactly(length, count)

    async def exactly(self, length, count):
        while length > 0:
            piece = await self.reader.read(min(length, PIECE))
            if not piece:
                raise EOFError("the response ends early")
            count(len(piece))
            length -= len(piece)

    async def get(self, path, count=lambda size: None):
        """A request; when it began, and how long until the first byte of the response and until its last."""
        if self.writer is None:
            await self.connect()
        start = time.monotonic()
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        status, length = await self.head()
        first = time.monotonic()
        await self.body(length, count)
        return {"start": start, "first": first - start, "total": time.monotonic() - start, "status": status}


async def attempt(caller, path, timeout):
    try:
        return await asyncio.wait_for(caller.get(path), timeout)
    except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
        caller.close()
        caller.writer = None
        return {"error": repr(error)}


async def fetch(host, port, paths, count, timeout):
    """`count` callers at once, each requesting `paths` one after the other; for each caller, what get() returns."""
    callers = [Caller(host, port) for _ in range(count)]

    async def one(caller):
        return [await attempt(caller, path, timeout) for path in paths]

    results = await asyncio.gather(*map(one, callers))
    for caller in callers:
        caller.close()
    return results


async def repeat(caller, path, count):
    while True:
        try:
            await caller.get(path, count)
        except (OSError, EOFError, ValueError):
            caller.close()
            caller.writer = None
            await asyncio.sleep(0.05)


async def for_a_while(tasks, seconds):
    running = [asyncio.ensure_future(task) for task in tasks]
    await asyncio.sleep(seconds)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def download(host, port, path, count, seconds):
    """Bytes that `count` callers get in that time."""
    got = [0]

    def add(size):
        got[0] += size

    callers = [Caller(host, port) for _ in range(count)]
    start = time.monotonic()
    await for_a_while([repeat(caller, path, add) for caller in callers], seconds)
    seconds = time.monotonic() - start
    for caller in callers:
        caller.close()
    return {"bytes": got[0], "seconds": seconds}


async def send_for_ever(caller, path):
    """One request whose body has no end that matters. What of it has arrived, the origin knows."""
    await caller.connect()
    caller.writer.write(f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {1 << 40}\r\n\r\n".encode())
    piece = bytes(range(256)) * (PIECE // 256)
    while True:
        caller.writer.write(piece)
        await caller.writer.drain()


async def upload(host, port, path, count, seconds):
    """`count` callers send as fast as they can."""
    callers = [Caller(host, port) for _ in range(count)]
    await for_a_while([send_for_ever(caller, path) for caller in callers], seconds)
    for caller in callers:
        caller.close()
    return {}


async def beside(host, port, path, bulk, seconds):
    """Small requests on four connections, 20 a second each at most, while another one downloads `bulk`; their times."""
    big, small = Caller(host, port), [Caller(host, port) for _ in range(4)]
    found, got = [], [0]

    def add(size):
        got[0] += size

    async def ask(caller):
        while True:
            found.append(await attempt(caller, path, seconds))
            await asyncio.sleep(0.05)

    await for_a_while([repeat(big, bulk, add), *map(ask, small)], seconds)
    for caller in [big, *small]:
        caller.close()
    return {"requests": found, "bytes": got[0]}


async def paced(host, port, path, interval, seconds, timeout):
    """A request every `interval` on a connection of its own, whether or not the earlier ones are answered."""
    found = []

    async def one():
        caller = Caller(host, port)
        found.append(await attempt(caller, path, timeout))
        caller.close()

    tasks, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        tasks.append(asyncio.ensure_future(one()))
        await asyncio.sleep(interval)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def hold(host, port, path, count, seconds):
    """Opens `count` connections, a request on each, tells so, and keeps them open for a while."""
    callers = [Caller(host, port) for _ in range(count)]
    good = 0
    for start in range(0, count, 50):
        answers = await asyncio.gather(*(attempt(caller, path, 10) for caller in callers[start:start + 50]))
        good += sum(answer.get("status") == 200 for answer in answers)
    print(json.dumps({"open": good}), flush=True)
    await asyncio.sleep(seconds)
    for caller in callers:
        caller.close()
    return {}


def main():
    request = json.loads(sys.argv[1])
    what = {"fetch": fetch, "download": download, "upload": upload, "beside": beside, "paced": paced, "hold": hold}
    print(json.dumps(asyncio.run(what[request.pop("what")](**request))))


if __name__ == "__main__":
    main()
