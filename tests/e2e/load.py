"""A constant load: requests begin by a fixed schedule, whatever becomes of those before them, each on a connection of
its own. Every one ends, and how it ended is kept with its times, on the clock of the daemons' logs.
"""

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone

from payload import payload, sha256

LIMIT = 20  # seconds: what takes longer hangs


@dataclass
class Outcome:
    """`how`: a status, "refused" (no connection), "cut" (before or in the head), "cut body", or what is always wrong:
    "hangs", "wrong body", "no Retry-After"."""
    number: int
    method: str
    begun: float
    ended: float
    how: object


class Load:
    """Every other request is a POST with a number of its own, so that one which is made twice shows at the origin."""

    POST_BODY = payload(100)

    def __init__(self, address, rate=100, sizes=(0, 10, 1000, 20000)):
        self.address, self.rate, self.sizes = address, rate, sizes
        self.outcomes = []
        self.stopping = threading.Event()
        self.name = f"{id(self):x}"
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)
        self.thread.start()

    async def run(self):
        begun, number, tasks = time.monotonic(), 0, set()
        while not self.stopping.is_set():
            early = begun + number / self.rate - time.monotonic()
            if early > 0:
                await asyncio.sleep(early)
            task = asyncio.create_task(self.one(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.gather(*tasks)

    async def one(self, number):
        method = "POST" if number % 2 else "GET"
        begun = time.time()
        try:
            how = await asyncio.wait_for(self.exchange(number, method), LIMIT)
        except asyncio.TimeoutError:
            how = "hangs"
        except ConnectionRefusedError:
            how = "refused"
        except (ConnectionError, BrokenPipeError):
            how = "cut"
        self.outcomes.append(Outcome(number, method, begun, time.time(), how))

    async def exchange(self, number, method):
        loop, size = asyncio.get_running_loop(), self.sizes[number // 2 % len(self.sizes)]
        with contextlib.closing(socket.socket()) as connection:
            connection.setblocking(False)
            await loop.sock_connect(connection, self.address)
            target = f"/n/{size}" if method == "GET" else f"/sink?{self.name}={number}"
            head = f"{method} {target} HTTP/1.1\r\nHost: load.test\r\nConnection: close\r\n"
            if method == "POST":
                head += f"Content-Length: {len(self.POST_BODY)}\r\n"
            await loop.sock_sendall(connection, head.encode() + b"\r\n" + (self.POST_BODY if method == "POST" else b""))
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := await loop.sock_recv(connection, 65536):
                    answer += piece
        return self.judge(answer, size if method == "GET" else None)

    def judge(self, answer, size):
        head, separator, body = answer.partition(b"\r\n\r\n")
        if not separator:
            return "cut"
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        if length is None or len(body) != int(length[1]):
            return "cut body"
        if status == 200:
            right = body == payload(size) if size is not None else json.loads(body)["sha256"] == sha256(self.POST_BODY)
            return 200 if right else "wrong body"
        return "no Retry-After" if status == 503 and b"\r\nRetry-After: 1\r\n" not in head else status

    def first_good(self, after):
        """When the first request that was begun after this moment was answered 200; None: not yet."""
        good = (each for each in list(self.outcomes) if each.begun >= after and each.how == 200)
        return min((each.ended for each in good), default=None)

    def stop(self):
        """The outcomes of all, none of which is open any more."""
        self.stopping.set()
        self.thread.join(2 * LIMIT)
        assert not self.thread.is_alive(), "a request that never ends"
        return sorted(self.outcomes, key=lambda each: each.number)

    def made_twice(self, requests):
        """The POSTs that came to the origin more than once, of `requests` that it has kept."""
        targets = [request.target for request in list(requests) if f"?{self.name}=" in request.target]
        return {target for target in targets if targets.count(target) > 1}


def log_times(text, pattern):
    """The times of the lines that match, by the log."""
    return [datetime.strptime(when, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
            for when in re.findall(rf"^(\S+Z) +[A-Z]+ ptproxy: (?:{pattern})", text, re.M)]
