#!/usr/bin/python3
"""probe.py: the caller of what wrk and ab cannot measure. It runs beside the callers' proxy and knows nothing else of
the bench. Each line of input is a JSON object that names what to do (a function below) and its arguments; the answer is
a line of JSON too. It ends with its input.

Times are seconds of CLOCK_MONOTONIC, which all namespaces share.
"""

import asyncio
import contextlib
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
        self.reader = self.writer = self.first = None

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=1 << 20)

    def close(self):
        """At once, with what is in the socket's buffer: nothing of this measurement is to go on in the next."""
        if self.writer:
            connection = self.writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it may be gone
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
        self.first = time.monotonic() - start
        await self.body(length, count)
        return {"start": start, "first": self.first, "total": time.monotonic() - start, "status": status}


async def attempt(caller, path, timeout):
    """What get() returns. When the time is up, what is known by then: `first`, if that byte has come, and as `late` how
    long it has taken so far."""
    caller.first, start = None, time.monotonic()
    try:
        return await asyncio.wait_for(caller.get(path), timeout)
    except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
        caller.close()
        caller.writer = None
        late = {"late": time.monotonic() - start} if isinstance(error, asyncio.TimeoutError) else {}
        return {"error": repr(error), **late, **({"first": caller.first} if caller.first and late else {})}


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


async def for_a_while(tasks, *seconds):
    """Runs the tasks; hands over control after each of these times, and ends them."""
    running = [asyncio.ensure_future(task) for task in tasks]
    for time_each in seconds:
        await asyncio.sleep(time_each)
        yield
    await end_all(running)


async def end_all(tasks):
    """Again and again: a task that is told so at the moment when what it waits for comes may not hear it."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.2)


async def download(host, port, path, count, skip, seconds):
    """Bytes that `count` callers get in `seconds`, the time `skip` before them left out."""
    got, marks = [0], []

    def add(size):
        got[0] += size

    callers = [Caller(host, port) for _ in range(count)]
    async for _ in for_a_while([repeat(caller, path, add) for caller in callers], skip, seconds):
        marks.append((got[0], time.monotonic()))
    for caller in callers:
        caller.close()
    return {"bytes": marks[1][0] - marks[0][0], "seconds": marks[1][1] - marks[0][1]}


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
    async for _ in for_a_while([send_for_ever(caller, path) for caller in callers], seconds):
        pass
    for caller in callers:
        caller.close()
    return {}


async def beside(host, port, path, bulk, seconds):
    """Small requests on ten connections, 20 a second each at most, while another one downloads `bulk`; their times."""
    big, small = Caller(host, port), [Caller(host, port) for _ in range(10)]
    found, got = [], [0]

    def add(size):
        got[0] += size

    async def ask(caller):
        while True:
            found.append(await attempt(caller, path, seconds))
            await asyncio.sleep(0.05)

    async for _ in for_a_while([repeat(big, bulk, add), *map(ask, small)], seconds):
        pass
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
    await end_all(tasks)
    return found


async def many(host, port, path, count, seconds, timeout):
    """`count` callers, each with one request after the other; none is begun after `seconds`, and all that were are
    waited for until their timeout."""
    callers, end = [Caller(host, port) for _ in range(count)], time.monotonic() + seconds

    async def one(caller):
        found = []
        while time.monotonic() < end:
            found.append(await attempt(caller, path, timeout))
        return found

    results = await asyncio.gather(*map(one, callers))
    for caller in callers:
        caller.close()
    return [result for row in results for result in row]


held = {}  # port -> connections


def response(connection):
    """The status of a response with a length; its body is read."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(PIECE)
        if not more:
            raise EOFError
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    got = len(body)
    while got < length:
        more = connection.recv(PIECE)
        if not more:
            raise EOFError
        got += len(more)
    return int(head.split()[1])


def opened(host, port, path):
    """A connection with one response behind it; None: it could not be had."""
    try:
        connection = socket.create_connection((host, port), timeout=10)
    except OSError:
        return None
    try:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        if response(connection) == 200:
            return connection
    except (OSError, EOFError, StopIteration):
        pass
    connection.close()
    return None


async def hold(host, port, path, count):
    """Opens connections, a request on each, until `count` are open; they stay so. How many there are, and how many
    could not be had."""
    mine, failed = held.setdefault(port, []), 0
    while len(mine) + failed < count:
        connection = opened(host, port, path)
        if connection:
            mine.append(connection)
        else:
            failed += 1
    return {"open": len(mine), "refused": failed}


async def release(port):
    """Closes what hold() has opened."""
    for connection in held.pop(port, []):
        connection.close()
    return {}


WHAT = {one.__name__: one for one in (fetch, download, upload, beside, paced, many, hold, release)}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = asyncio.run(WHAT[request.pop("what")](**request))
        except Exception as error:  # whoever asked decides what it means
            answer = {"failed": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
