"""max_concurrent_http_streams: what is beyond it waits for its turn, and streams are given anew as they end."""

import re
import selectors
import shutil
import socket
import struct
import subprocess
import threading

import pytest
from harness import SANITIZED, SLOW, Nginx
from payload import payload

WAITING_MAX = 4096  # of proxy/session_stream.c
REQUESTS = 10_000 if not SANITIZED else 1000


@pytest.fixture
def nginx_file(tmp_path, script):
    nginx = Nginx(tmp_path / "nginx", script.address)
    (nginx.root / "file").write_bytes(payload(1000))
    yield nginx
    nginx.stop()


@pytest.mark.skipif(not shutil.which("ab"), reason="ab (apache2-utils) is not installed")
def test_many_requests_through_ten_streams(start_pair, nginx_file):
    """The client is not told of the limit: the server advertises it."""
    pair = start_pair(nginx_file.address, server={"transport": {"max_concurrent_http_streams": 10}})
    done = subprocess.run(["ab", "-q", "-k", "-n", str(REQUESTS), "-c", "60", "-s", "60",
                           "http://%s:%d/file" % pair.http], capture_output=True, text=True, timeout=200 * SLOW)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"Complete requests:\s+{REQUESTS}\n", done.stdout), done.stdout
    assert re.search(r"Failed requests:\s+0\n", done.stdout) and "Non-2xx" not in done.stdout, done.stdout
    assert len(pair.client.connections()) == 1


def test_more_than_may_wait(start_pair, script):
    """Beyond 4096 that wait for a stream, the next is told so at once; the others keep their places."""
    ended = threading.Event()
    script.on("/never", lambda call: ended.wait(60 * SLOW) and False)
    pair = start_pair(server={"transport": {"max_concurrent_http_streams": 1}})
    callers = [socket.create_connection(pair.http) for _ in range(WAITING_MAX + 20)]
    for caller in callers:
        caller.sendall(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
    answers = []
    with selectors.DefaultSelector() as selector:
        for caller in callers:
            selector.register(caller, selectors.EVENT_READ)
        while len(answers) < 19:
            ready = selector.select(8)  # those that wait are given up after 10 s
            assert ready, f"only {len(answers)} were refused"
            for key, _ in ready:
                answers.append(key.fileobj.recv(4096))
                selector.unregister(key.fileobj)
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 503 "}
    assert all(b"\r\nRetry-After: 1\r\n" in answer for answer in answers)
    for caller in callers:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()
    ended.set()
    assert pair.request("GET", "/n/10").body == payload(10)
