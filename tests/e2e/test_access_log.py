"""The access log: a line for each request on both ends; and who reads the log cannot hold anything up."""

import json
import os
import re
import signal
import socket
import time

import harness
import http1
import pytest
from harness import wait_for

ACCESS = {"log": {"access": True}}
LINE = re.compile(r"^\S+  INFO ptproxy: request (.*)$", re.MULTILINE)


def lines(daemon):
    """The fields of each line, in order."""
    return [dict(re.findall(r'(\w+)="?([^" ]*)"?(?: |$)', found)) for found in LINE.findall(daemon.text())]


def wait_line(daemon, path):
    """The first line about `path`; it comes when the response has gone out."""
    def look():
        return next((line for line in lines(daemon) if line["path"] == path), None)
    return wait_for(look, what=f"the line about {path} of {daemon.name}")


def test_a_line_for_each_request(start_pair):
    pair = start_pair(both=ACCESS)
    begun = time.monotonic()
    assert pair.request("POST", "/echo?secret=1", b"12345").status == 200
    lasted = time.monotonic() - begun + 0.01  # our clock may stop before the daemon's does
    for end, far in ("client", "link_s"), ("server", "origin_s"):
        line = wait_line(getattr(pair, end), "/echo")
        assert (line["method"], line["status"], line["bytes_in"]) == ("POST", "200", "5")
        assert int(line["bytes_out"]) > 100 and line["end"] == "ok"
        assert 0 <= float(line["queue_s"]) + float(line[far]) <= float(line["total_s"]) <= lasted
        assert "secret" not in "".join(LINE.findall(getattr(pair, end).text()))


def test_how_requests_end(start_pair, script):
    script.on("/close", lambda call: False)
    pair = start_pair(both=ACCESS)
    assert pair.request("POST", "/close", b"x").status == 502
    assert wait_line(pair.client, "/close")["end"] == "ok"  # the other end answered, and that was passed on
    assert wait_line(pair.server, "/close")["end"] == "origin_closed"
    assert pair.request("CONNECT", "host:80").status == 405
    assert wait_line(pair.client, "host:80")["end"] == "connect_method"
    with socket.create_connection(pair.http) as raw:
        raw.sendall(b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 400 " in raw.recv(1000)
    wait_for(lambda: any(line["end"] == "bad_request" for line in lines(pair.client)))


def test_a_response_that_is_cut_is_logged(start_pair, script):
    """Without the access log, too: nobody else can tell. A caller that goes away cuts nothing."""
    script.on("/cut", lambda call: call.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc") or time.sleep(0.1))
    pair = start_pair()
    with pair.open() as client:
        client.socket.sendall(b"GET /stream/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.recv(1000)
    assert "cut" not in pair.client.text() + pair.server.text()
    with pytest.raises(http1.Cut):
        pair.request("GET", "/cut")
    pair.server.wait_log("WARN .*a response was cut: the origin closed the connection")
    pair.client.wait_log("WARN .*a response was cut: the peer gave up the request")
    assert (pair.client.text() + pair.server.text()).count("a response was cut") == 2


def test_a_caller_that_goes_away(start_pair):
    pair = start_pair(both=ACCESS)
    client = pair.open()
    client.socket.sendall(b"GET /stream/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    client.socket.recv(1000)
    client.close()
    line = wait_line(pair.client, "/stream/100000000")
    assert (line["status"], line["end"]) == ("200", "client_gone") and int(line["bytes_out"]) < 100000000


def test_json_and_reload(start_pair):
    pair = start_pair(both={"log": {"access": False, "format": "json"}})
    assert pair.request("GET", "/n/2").status == 200
    assert '"msg":"request"' not in pair.client.text()
    pair.client.configuration["log"]["access"] = True
    pair.client.file.write_text(json.dumps(pair.client.configuration))
    pair.client.signal(signal.SIGHUP)
    pair.client.wait_log("were read again")
    assert pair.request("GET", "/n/1").status == 200
    # The one before may end, for the daemon, when the log is on already: its caller had all of it before.
    pair.client.wait_log('"msg":"request".*"path":"/n/1"')
    found = [json.loads(line) for line in pair.client.text().splitlines() if '"msg":"request"' in line]
    found = [line for line in found if line["path"] not in ("/n/0", "/n/2")]
    assert len(found) == 1
    assert found[0].keys() == {"ts", "level", "msg", "method", "path", "status", "bytes_in", "bytes_out", "queue_s",
                               "link_s", "total_s", "end"}
    assert (found[0]["path"], found[0]["status"], found[0]["bytes_out"]) == ("/n/1", 200, 1)


def test_a_storm_of_bad_requests_is_not_a_storm_of_lines(start_pair):
    pair = start_pair(both=ACCESS)
    for _ in range(600):
        with socket.create_connection(pair.http) as raw:
            raw.sendall(b"bad\r\n\r\n")
            assert b" 400 " in raw.recv(1000)
    refused = [line for line in lines(pair.client) if line["status"] == "400"]
    assert 150 <= len(refused) < 250  # those before the session have had their share
    assert pair.request("GET", "/n/1").status == 200
    assert wait_line(pair.client, "/n/1")["end"] == "ok"


def test_a_log_that_nobody_reads(start_pair, tmp_path):
    pair = start_pair(session=None, both=ACCESS)
    pair.start_server()
    reader, writer = os.pipe()
    script = tmp_path / "piped"
    script.write_text(f"#!/bin/bash\nexec \"$@\" 2>&{writer}\n")
    script.chmod(0o755)
    os.set_inheritable(writer, True)
    popen = harness.peers.subprocess.Popen
    harness.peers.subprocess.Popen = lambda *a, **k: popen(*a, **{**k, "pass_fds": (writer,)})
    try:
        pair.wrapper = (str(script),)
        pair.start_client()
    finally:
        harness.peers.subprocess.Popen = popen
    pair.wait_session()
    client = http1.Client(pair.http, 30)
    begun = time.monotonic()
    for _ in range(2000):  # 64 KiB in the pipe are some 300 lines
        assert client.request("GET", "/n/1").status == 200
    assert time.monotonic() - begun < 20 * harness.SLOW
    client.close()
    pair.client.signal(signal.SIGTERM)
    assert pair.client.wait_exit() == 0
    pair.client.ended = True
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert 50 < pipe.read().count(b" request ") < 2000
