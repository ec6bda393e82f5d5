"""bench/probe.py and bench/sink.py against small servers."""

import http.server
import json
import socket
import subprocess
import threading
import time

import pytest
from processes import PROBE, PYTHON, SINK


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


def probe(server, what, **options):
    request = {"what": what, "host": server[0], "port": server[1], **options}
    done = subprocess.run([PYTHON, PROBE, json.dumps(request)], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout.splitlines()[-1])


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


def test_download_counts_for_its_time(server):
    got = probe(server, "download", path="/100k", count=2, seconds=0.5)
    assert got["bytes"] > 100000 and 0.5 <= got["seconds"] < 1


def test_beside(server):
    got = probe(server, "beside", path="/small", bulk="/bulk", seconds=0.5)
    assert len(got["requests"]) >= 8 and got["bytes"] > 100000


def test_paced_does_not_wait_for_answers(server):
    answers = probe(server, "paced", path="/slow", interval=0.05, seconds=1, timeout=5)
    assert 10 <= len(answers) <= 20 and all(answer["status"] == 200 for answer in answers)


def test_hold_keeps_connections_open(server):
    request = {"what": "hold", "host": server[0], "port": server[1], "path": "/", "count": 60, "seconds": 0.1}
    done = subprocess.run([PYTHON, PROBE, json.dumps(request)], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout.splitlines()[0]) == {"open": 60}


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
