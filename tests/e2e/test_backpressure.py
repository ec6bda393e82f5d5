"""One body that moves slowly: it holds little memory on either end, and nobody else notices it."""

import threading
import time

import http1
import pytest
from harness import SANITIZED, SLOW, wait_for
from payload import payload
from scripted import Pace, stream

SECONDS = 20
RATE = 1_000_000  # bytes a second that the slow side takes
GIGABYTE = 1 << 30  # its length, of which only SECONDS * RATE are ever taken
RESIDENT_MAX = 64 << 20
GROWTH_MAX = 48 << 20  # with a sanitizer, whose own memory is not ours: from the third second on
SMALL_RECEIVE_BUFFER = 128 << 10  # of the slow caller: else the kernel takes megabytes on its behalf


def percentile(values, part):
    return sorted(values)[int(len(values) * part)]


def small_requests(pair, seconds):
    """How long each of many small requests took, one after the other on one connection."""
    durations = []
    end = time.monotonic() + seconds
    with pair.open() as client:
        while (start := time.monotonic()) < end:
            response = client.request("GET", "/n/1000")
            durations.append(time.monotonic() - start)
            assert (response.status, response.body) == (200, payload(1000))
            time.sleep(0.01)
    return durations


class Residence:
    """The memory of both ends, looked at all the time."""

    def __init__(self, pair):
        self.samples = {pair.client: [], pair.server: []}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def sample(self):
        start = time.monotonic()
        while not self.over.wait(0.05):
            for daemon, samples in self.samples.items():
                samples.append((time.monotonic() - start, daemon.resident()))

    def check(self):
        for daemon, samples in self.samples.items():
            highest = max(resident for _, resident in samples)
            if SANITIZED:
                early = max(resident for at, resident in samples if at < 3)
                assert highest - early < GROWTH_MAX, daemon.name
            else:
                assert highest < RESIDENT_MAX, daemon.name


def slow_download(pair, taken, over):
    """A caller that reads RATE bytes a second."""
    pace = Pace(RATE)
    with pair.open(60, receive_buffer=SMALL_RECEIVE_BUFFER) as client:
        client.send_request("GET", f"/stream/{GIGABYTE}")
        client.head()
        while not over.is_set():
            piece = client.buffer or client.socket.recv(16384)
            client.buffer = b""
            assert piece, "the response has ended early"
            taken.append(len(piece))
            pace(len(piece))
        client.reset()


def slow_upload(pair, taken, over):
    """An origin that reads RATE bytes a second; the caller sends as fast as it may."""
    def sender(client):
        try:
            client.send_request("POST", "/slow-sink", stream(GIGABYTE), [("Content-Length", str(GIGABYTE))])
        except OSError:
            pass  # by the reset below

    with pair.open(60) as client:
        thread = threading.Thread(target=sender, args=(client,), daemon=True)
        thread.start()
        over.wait()
        assert thread.is_alive(), "the whole request was taken: from memory it went nowhere"
        client.socket.shutdown(2)
        thread.join()
        client.reset()


@pytest.fixture
def slow_sink(script):
    taken = []

    def sink(call):
        pace = Pace(RATE)

        def on_read(length):
            taken.append(length)
            pace(length)

        call.PIECE = 16384
        call.body_read = True
        try:
            call.body(call.request, True, on_read)
        except http1.Cut:
            taken.append(None)
        return False

    script.on("/slow-sink", sink)
    return taken


@pytest.mark.parametrize("direction", [slow_download, slow_upload])
def test_slow_body(start_pair, slow_sink, direction):
    pair = start_pair()
    alone = percentile(small_requests(pair, 2), 0.95)
    taken, over = (slow_sink if direction is slow_upload else []), threading.Event()
    slow = threading.Thread(target=direction, args=(pair, taken, over), daemon=True)
    with Residence(pair) as residence:
        slow.start()
        beside = small_requests(pair, SECONDS)
        over.set()
        slow.join(10 * SLOW)
    assert not slow.is_alive()
    residence.check()
    assert percentile(beside, 0.95) < 5 * alone + 0.05 * SLOW
    assert max(beside) < 2 * SLOW
    if direction is slow_upload:
        wait_for(lambda: taken[-1] is None, what="the end of the upload at the origin")
    moved = sum(length or 0 for length in taken)
    assert 0.7 * SECONDS * RATE < moved < 1.5 * SECONDS * RATE + (8 << 20), "the slow body did move, at its pace"
    assert len(pair.client.connections()) == 1


def test_many_stalled_downloads(start_pair):
    """Callers that read nothing at all: their windows fill, the rest goes on."""
    pair = start_pair()
    stalled = []
    try:
        for _ in range(20):
            client = pair.open(receive_buffer=4096)
            client.send_request("GET", f"/stream/{GIGABYTE}")
            stalled.append(client)
        with Residence(pair) as residence:
            durations = small_requests(pair, 3)
        assert percentile(durations, 0.95) < 0.5 * SLOW
        residence.check()
    finally:
        for client in stalled:
            client.reset()
    assert pair.request("GET", "/n/10").body == payload(10)
