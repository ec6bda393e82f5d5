"""Limits and what the sockets are told, where a case of http_cases/ cannot say it: at the very edge of what is
allowed, and on connections that nobody uses."""

import json
import re
import socket
import struct
from pathlib import Path

import http1
import peers
import pytest
from harness import wait_for

HEAD_SIZE = 4096
COUNT = 128  # limits.header_count
OVERHEAD = 32  # of a field, RFC 9114 section 4.2.2
KEEPALIVE_TIMER = "02"  # /proc/net/tcp


def counted(*fields):
    return sum(len(name) + len(value) + OVERHEAD for name, value in fields)


def test_head_size_is_the_same_on_both_ends(start_pair):
    """Around the limit, a byte more each time: accepted by both ends, or refused by the first."""
    pair = start_pair(both={"limits": {"head_size": HEAD_SIZE}, "system": {"add_forwarded": True}})
    rest = counted((":method", "GET"), (":scheme", "https"), (":authority", "origin.test"), (":path", "/n/1"),
                   ("x", ""))
    statuses = []
    for length in range(HEAD_SIZE - rest - 150, HEAD_SIZE - rest + 50):
        response = pair.request("GET", "/n/1", fields=[("X", "y" * length)])
        assert response.status == 200 or response.get("Server") == "ptproxy client", (length, response)
        statuses.append(response.status)
    accepted = statuses.count(200)
    assert accepted > 0 and statuses[accepted:] and set(statuses[accepted:]) == {431}, statuses
    assert accepted <= 151, "by how RFC 9114 counts, this is beyond the limit"
    assert len(pair.client.connections()) == 1


@pytest.mark.parametrize("forwarded", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_is_added_does_not_count(start_pair, forwarded, version):
    """The last field that is allowed goes through, with those of both ends behind it."""
    pair = start_pair(both={"system": {"add_forwarded": forwarded}})
    host = [("Host", "a")] if version == "1.1" else []
    for more, status in ((0, 200), (1, 431)):
        fields = host + [("X", "y")] * (COUNT - len(host) + more)
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        with pair.open() as client:
            client.send(f"GET /echo HTTP/{version}\r\n{head}\r\n")
            response = client.response()
        assert response.status == status
        if status == 200:
            names = [name for name, _ in json.loads(response.body)["fields"]]
            assert names.count("X") == COUNT - len(host)
            assert (names.count("Cdn-Loop"), names.count("Forwarded")) == (1, 2 if forwarded else 0)


def test_response_of_as_many_fields_as_are_allowed(start_pair, script):
    pair = start_pair(both={"limits": {"header_count": 20}})
    for count, status in ((20, 200), (21, 502)):
        script.on("/many", lambda call, count=count: call.send(
            "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * (count - 1) + "Content-Length: 0\r\n\r\n") or True)
        response = pair.request("GET", "/many")
        assert (response.status, len(response.all("X"))) == (status, count - 1 if status == 200 else 0)


def hexadecimal(address):
    """As /proc/net/tcp has it."""
    number, = struct.unpack("=I", socket.inet_aton(address[0]))
    return "%08X:%04X" % (number, address[1])


def timers(local, remote=None):
    """(kind, seconds) of the timer of each connection between these two addresses that is established."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if (columns[1] == hexadecimal(local) and columns[3] == "01"
                and (remote is None or columns[2] == hexadecimal(remote))):
            kind, when = columns[5].split(":")
            found.append((kind, int(when, 16) / 100))  # USER_HZ
    return found


@pytest.mark.parametrize("seconds", [0, 7])
def test_tcp_keepalive(start_pair, script, seconds):
    """On accepted connections and on those to the origin; 0 is off."""
    pair = start_pair(both={"system": {"tcp_keepalive": f"{seconds}s"}})
    with pair.open() as client:
        assert client.request("GET", "/n/1").status == 200
        with script.lock:
            origin_side = [connected.getpeername() for connected in script.open]
        assert origin_side
        for found in (lambda: timers(pair.http, client.socket.getsockname()), lambda: timers(origin_side[-1])):
            if seconds:
                # While something waits for its acknowledgement there is another timer.
                kind, left = wait_for(lambda found=found: next((t for t in found() if t[0] == KEEPALIVE_TIMER), None),
                                      what="a keep-alive timer")
                assert 0 <= left <= seconds + 1
            else:
                assert wait_for(lambda found=found: all(t[0] != KEEPALIVE_TIMER for t in found()) and found())


def test_forwarded_names_no_unix_socket(start_pair, tmp_path):
    """add_forwarded: a UNIX socket has no address to tell (RFC 7239 section 6.3)."""
    path = tmp_path / "listener"
    pair = start_pair(both={"system": {"add_forwarded": True}}, client={"general": {
        "http_bind_address": [f"127.0.0.1:{peers.free_port()}", f"unix:{path}"]}})
    with socket.socket(socket.AF_UNIX) as raw:
        wait_for(lambda: raw.connect_ex(str(path)) == 0, what="the listener")
        with http1.Stream(raw) as client:
            client.send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
            seen = json.loads(client.body(client.head()).body)["fields"]
    assert [value for name, value in seen if name == "Forwarded"][0] == 'for="_unix";by="_unix";proto=http'
    assert len(pair.client.connections()) == 1
