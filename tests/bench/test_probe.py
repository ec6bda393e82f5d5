"""bench/probe.py and bench/sink.py against small servers."""

import http.server
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from processes import PYTHON, SINK, BenchError, Caller


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for size in (1, 70000, 3):
                self.wfile.write(b"%x\r\n%s\r\n" % (size, b"x" * size))
            self.wfile.write(b"0\r\n\r\n")
            return
        if self.path == "/slow":
            time.sleep(0.3)
        if self.path == "/stuck":
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            time.sleep(2)
            return
        body = b"x" * (404 if self.path == "/missing" else 100000)
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address
    server.shutdown()


@pytest.fixture
def caller():
    caller = Caller(lambda words: words)
    yield caller
    caller.stop()


def probe(server, what, **options):
    caller = Caller(lambda words: words)
    try:
        return caller.ask(what, 30, host=server[0], port=server[1], **options)
    finally:
        caller.stop()


def test_fetch_times_first_byte_and_all(server):
    rows = probe(server, "fetch", paths=["/slow", "/chunked", "/missing"], count=3, timeout=5)
    assert [[answer["status"] for answer in row] for row in rows] == [[200, 200, 404]] * 3
    for slow, chunked, _ in rows:
        assert 0.3 <= slow["first"] <= slow["total"] < 2
        assert chunked["total"] < 0.3


def test_fetch_says_what_failed():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    [[answer]] = probe(("127.0.0.1", port), "fetch", paths=["/"], count=1, timeout=5)
    assert "ConnectionRefusedError" in answer["error"]


def test_fetch_gives_up(server):
    [[answer]] = probe(server, "fetch", paths=["/slow"], count=1, timeout=0.1)
    assert "Timeout" in answer["error"]


def test_what_is_given_up_is_late_not_wrong(server):
    [[answer]] = probe(server, "fetch", paths=["/stuck"], count=1, timeout=0.3)
    assert 0.3 <= answer["late"] < 2 and 0 < answer["first"] < 0.3
    assert "first" not in probe(server, "fetch", paths=["/slow"], count=1, timeout=0.1)[0][0]


def test_download_counts_for_its_time(server):
    got = probe(server, "download", path="/100k", count=2, skip=0.2, seconds=0.5)
    assert got["bytes"] > 100000 and 0.5 <= got["seconds"] < 1


def test_beside(server):
    got = probe(server, "beside", path="/small", bulk="/bulk", seconds=0.5)
    assert len(got["requests"]) >= 8 and got["bytes"] > 100000


def test_paced_does_not_wait_for_answers(server):
    answers = probe(server, "paced", path="/slow", interval=0.05, seconds=1, timeout=5)
    assert 10 <= len(answers) <= 20 and all(answer["status"] == 200 for answer in answers)


def test_many_waits_for_what_was_begun(server):
    answers = probe(server, "many", path="/slow", count=5, seconds=0.4, timeout=5)
    assert len(answers) == 10 and all(answer["status"] == 200 for answer in answers)


def test_hold_keeps_connections_open_until_their_release(server, caller):
    host, port = server
    hold = {"host": host, "port": port, "path": "/"}
    assert caller.ask("hold", 30, count=20, **hold) == {"open": 20, "refused": 0}
    assert caller.ask("hold", 30, count=60, **hold) == {"open": 60, "refused": 0}

    def held():
        descriptors = Path(f"/proc/{caller.process.pid}/fd").iterdir()
        return sum(os.readlink(descriptor).startswith("socket:") for descriptor in descriptors)

    assert held() >= 60
    caller.ask("release", 30, port=port)
    assert held() < 10


def test_hold_says_what_it_could_not_open():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert probe(("127.0.0.1", port), "hold", path="/", count=3) == {"open": 0, "refused": 3}


def test_caller_says_what_has_failed_and_goes_on(server, caller):
    with pytest.raises(BenchError, match="KeyError"):
        caller.ask("dance", 30)
    with pytest.raises(BenchError, match="not in 0 s"):
        caller.ask("fetch", 0.2, host=server[0], port=server[1], paths=["/stuck"], count=1, timeout=20)
    [[answer]] = caller.ask("fetch", 30, host=server[0], port=server[1], paths=["/"], count=1, timeout=5)
    assert answer["status"] == 200


def exchange(path, data):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_sink_counts_bodies(tmp_path):
    path = tmp_path / "sink"
    process = subprocess.Popen([PYTHON, SINK, path])
    try:
        while not path.exists():
            time.sleep(0.01)
        exchange(path, b"POST /sink HTTP/1.1\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100000)
        chunked = b"POST /sink HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
        exchange(path, chunked)
        assert exchange(path, b"GET /count HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n100008")
    finally:
        process.terminate()
        process.wait()
