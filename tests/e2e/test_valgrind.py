"""Both ends under valgrind, from start to graceful stop: no error, and every block of the heap given back.

Nothing is suppressed. valgrind 3.19 knows io_uring but takes io_uring_enter for a call that does not block: it holds
its one lock in it, and the thread that waits for signals runs only when the worker's time slice is over. So requests go
on until the end has come; without them, SIGTERM would wait for ever.
"""

import re
import shutil
import signal
import time

import http1
import pytest
from harness import SANITIZED
from payload import payload, sha256
from scripted import stream, stream_sha256

VALGRIND = ["valgrind", "--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all",
            "--error-exitcode=99", "--num-callers=30", "--fair-sched=yes"]
PATIENCE = 60


def stop(pair, daemon):
    daemon.signal(signal.SIGTERM)
    end = time.monotonic() + PATIENCE
    while daemon.process.poll() is None and time.monotonic() < end:
        try:
            pair.request("GET", "/n/1000", timeout=10)
        except (http1.Cut, OSError):
            time.sleep(0.01)
    daemon.stop(timeout=1)
    text = daemon.text()
    assert "All heap blocks were freed -- no leaks are possible" in text
    assert re.search(r"ERROR SUMMARY: 0 errors from 0 contexts", text)


def some_of_everything(pair, script):
    def cut(call):
        call.send_head(200, [("Content-Length", "1000")])
        call.send("abc")
        return False

    with pair.open() as client:
        for size in (0, 1, 1000, 100000):
            assert client.request("GET", f"/n/{size}").body == payload(size)
            assert sha256(payload(size)).encode() in client.request("POST", "/sink", payload(size)).body
            assert sha256(payload(size)).encode() in client.request("PUT", "/sink", [payload(size)] * bool(size)).body
        assert client.request("HEAD", "/n/100").status == 200
        client.send(*["GET /n/50 HTTP/1.1\r\nHost: a\r\n\r\n"] * 20)
        for _ in range(20):
            assert client.response().body == payload(50)
    size = 5 << 20
    assert pair.request("GET", f"/stream/{size}?chunked", hashed=True).sha256() == stream_sha256(size)
    assert stream_sha256(size).encode() in pair.request("POST", "/sink", stream(size)).body
    script.on("/cut", cut)
    with pytest.raises(http1.Cut):
        raise http1.Cut(pair.request("GET", "/cut"))
    with pair.open() as client:
        client.send("POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        client.reset()
    with pair.open() as client:
        client.send("GET / HTTP/1.1\r\n\r\n")
        assert client.response().status == 400


@pytest.mark.skipif(SANITIZED, reason="a sanitizer and valgrind exclude one another")
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_no_error_and_no_leak(start_pair, script):
    # valgrind runs one thread at a time and does not know that io_uring_enter waits: it would stop all others
    pair = start_pair(wrapper=VALGRIND, patience=PATIENCE, both={"system": {"threads": 1}})
    some_of_everything(pair, script)
    stop(pair, pair.server)
    stop(pair, pair.client)
