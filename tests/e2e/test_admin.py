"""The admin endpoint: what it says is true, it ends with the daemon, and it disturbs nobody."""

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import threading
import time

import http1
import peers
import pytest
from harness import SLOW, wait_for

JSON = "application/json"


def admin(port=None):
    return {"admin": {"bind_address": f"127.0.0.1:{port or peers.free_port()}"}}


def address(daemon):
    host, _, port = daemon.configuration["admin"]["bind_address"].rpartition(":")
    return host, int(port)


def get(daemon, path, method="GET"):
    return http1.request(address(daemon), method, path, timeout=10 * SLOW)


def status(daemon):
    answer = get(daemon, "/status")
    assert (answer.status, answer.get("Content-Type")) == (200, JSON)
    return json.loads(answer.body)


def metrics(daemon):
    """Name with labels -> number."""
    text = get(daemon, "/metrics").body.decode()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")}


@pytest.fixture
def pair(start_pair):
    return start_pair(client=admin(), server=admin())


def test_figures_of_a_pair(pair):
    for _ in range(20):
        assert pair.request("GET", "/n/1000").status == 200
    for daemon in pair.client, pair.server:
        # the session may be another worker's than the endpoint, which tells of it once a second
        wait_for(lambda: status(daemon)["sessions"][0]["packets"]["received"] > 10)
        told = status(daemon)
        assert (told["state"], told["ready"], told["mode"], told["pid"]) == ("up", True, daemon.name, daemon.pid)
        assert told["link"]["open"] == 1 and told["link"]["established"] == 1
        assert told["requests"]["started"] >= 20 and told["requests"]["in_flight"] == 0
        session, = told["sessions"]
        assert session["id"] == daemon.connections()[0] and session["up"] and session["peer"].startswith("127.0.0.1:")
        assert 0 < session["rtt_seconds"]["min"] <= session["rtt_seconds"]["smoothed"] < 1
        assert session["packets"]["received"] > 10 and session["bytes"]["sent"] > 1000 and session["mtu_bytes"] >= 1200
        found = metrics(daemon)
        assert found["ptproxy_link_up"] == 1 and found['ptproxy_link_connects_total{result="ok"}'] == 1
        assert found['ptproxy_http_requests_total{code_class="2xx"}'] >= 20
        assert found['ptproxy_http_request_ends_total{reason="ok"}'] >= 20
        assert found["ptproxy_http_request_seconds_count"] == found["ptproxy_http_requests_started_total"] >= 20
        assert found["ptproxy_http_requests_in_flight"] == 0
        assert 0 < found['ptproxy_link_rtt_seconds{kind="smoothed"}'] < 1
        assert found["ptproxy_link_cwnd_bytes"] > 1200 and found["ptproxy_link_mtu_bytes"] >= 1200
        for direction, kind in ("in", "read"), ("out", "sent"):
            assert found[f'ptproxy_link_packets_total{{dir="{direction}",kind="{kind}"}}'] > 10
            assert found[f'ptproxy_link_bytes_total{{dir="{direction}"}}'] > 1000
        assert 0 < found["ptproxy_tls_certificate_not_after_seconds"] - time.time() < 3 * 86400
        assert 0 <= time.time() - found["ptproxy_start_time_seconds"] < 60
        assert 0 < found['ptproxy_loop_lag_seconds{thread="0"}'] < 1
        assert found[f'ptproxy_build_info{{version="{told["version"]}",mode="{daemon.name}"}}'] == 1
        assert found['ptproxy_pool_live{pool="sessions"}'] == 1
    server = metrics(pair.server)
    assert server['ptproxy_origin_connections{state="idle"}'] >= 1
    assert server['ptproxy_origin_connections{state="active"}'] == 0


def test_what_is_in_flight(pair, script):
    release = threading.Event()
    script.on("/held", lambda call: release.wait(20) and call.respond(200))
    thread = threading.Thread(target=lambda: pair.request("GET", "/held"), daemon=True)
    thread.start()
    for daemon in pair.server, pair.client:
        wait_for(lambda: metrics(daemon)["ptproxy_http_requests_in_flight"] == 1)
    wait_for(lambda: metrics(pair.server)['ptproxy_origin_connections{state="active"}'] == 1)
    wait_for(lambda: metrics(pair.client)["ptproxy_connections_open"] >= 1)
    release.set()
    thread.join(10)
    for daemon in pair.server, pair.client:
        wait_for(lambda: metrics(daemon)["ptproxy_http_requests_in_flight"] == 0)


def test_ready_follows_the_session(start_pair):
    pair = start_pair(session=None, client={**admin(), "transport": {"max_idle_timeout": "1s"}})
    pair.start_client()
    assert get(pair.client, "/ready").status == 503
    pair.start_server()
    wait_for(lambda: get(pair.client, "/ready").status == 200)
    assert json.loads(get(pair.client, "/ready").body) == {"ready": True, "state": "up", "reason": ""}
    pair.server.kill()
    wait_for(lambda: get(pair.client, "/ready").status == 503)
    told = status(pair.client)
    assert told["state"] == "connecting" and told["link"]["lost"] == 1 and told["link"]["reason"]
    wait_for(lambda: metrics(pair.client)['ptproxy_link_connects_total{result="failed"}'] >= 1)
    found = metrics(pair.client)
    assert found["ptproxy_link_up"] == 0
    assert sum(value for name, value in found.items() if name.startswith("ptproxy_link_disconnects_total")) == 1


def test_counters_never_go_back(start_pair):
    """A client has a socket and a connection for each session; what they counted stays."""
    pair = start_pair(client=admin())
    before = metrics(pair.client)
    for _ in range(2):
        pair.server.stop()
        pair.start_server()
        pair.wait_session()
        after = metrics(pair.client)
        down = {name: (before[name], after[name]) for name in before if after[name] < before[name]
                if "_total" in name or name.endswith("_count")}
        assert down == {}
        before = after
    assert before['ptproxy_link_connects_total{result="ok"}'] == 3


def test_methods_and_paths(pair):
    assert get(pair.client, "/nothing").status == 404
    refused = get(pair.client, "/metrics", "POST")
    assert (refused.status, refused.get("Allow")) == (405, "GET, HEAD")
    head = get(pair.client, "/metrics?x=1", "HEAD")
    assert head.status == 200 and int(head.get("Content-Length")) > 1000 and head.body == b""
    with http1.Client(address(pair.client), 10) as client:  # kept alive
        for path in ("/ready", "/status", "/metrics", "/") * 5:
            assert client.request("GET", path).status == 200


def raw(daemon, data, size=65536):
    with socket.create_connection(address(daemon), 10 * SLOW) as connection:
        connection.sendall(data)
        received = b""
        while piece := connection.recv(size):
            received += piece
        return received


@pytest.mark.parametrize("data, first", [
    (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
    (b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 OK"),
    (b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 200 OK"),
    (b"GET /ready HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nbad", b"HTTP/1.1 200 OK"),
    (b"GET /ready HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\nhello", b"HTTP/1.1 200 OK"),
    (b"GET /ready HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
    (b"\x16\x03\x01\x02\x00\x01\x00", b"HTTP/1.1 400 Bad Request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + 10000 * b"x" + b"\r\n\r\n", b"HTTP/1.1 431 "),
    (b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
])
def test_bytes(pair, data, first):
    answer = raw(pair.client, data)
    assert answer.startswith(first)
    assert answer.count(b"HTTP/1.1 ") == data.count(b"HTTP/1.") or first != b"HTTP/1.1 200 OK"


def test_unix_socket_of_its_owner_alone(start_pair, tmp_path):
    path = tmp_path / "admin.sock"
    pair = start_pair(client={"admin": {"bind_address": f"unix:{path}"}})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert http1.request(str(path), "GET", "/ready").status == 200
    pair.client.stop()
    assert not path.exists()


def test_more_connections_than_places(pair):
    """Idle ones make room; those that are stuck in their request do not, and nobody else notices."""
    idle = [socket.create_connection(address(pair.client)) for _ in range(40)]
    wait_for(lambda: get_or_none(pair.client))
    stuck = []
    for _ in range(40):
        stuck.append(socket.create_connection(address(pair.client)))
        with contextlib.suppress(ConnectionError):
            stuck[-1].sendall(b"GET /metrics HTTP/1.1\r\n")
    time.sleep(0.2)
    for _ in range(20):
        assert pair.request("GET", "/n/1000").status == 200
    for connection in idle + stuck:
        connection.close()
    wait_for(lambda: get_or_none(pair.client))


def get_or_none(daemon):
    try:
        return get(daemon, "/ready").status == 200
    except (OSError, http1.Cut):
        return None


def test_open_connections_do_not_hold_up_the_end(pair):
    connections = [socket.create_connection(address(daemon)) for daemon in (pair.client, pair.server)]
    connections[0].sendall(b"GET /sta")
    begun = time.monotonic()
    pair.stop()
    assert time.monotonic() - begun < 3 * SLOW
    for connection in connections:
        connection.close()


def test_while_it_drains(pair, script):
    release = threading.Event()
    script.on("/held", lambda call: release.wait(20) and call.respond(200))
    thread = threading.Thread(target=lambda: pair.request("GET", "/held"), daemon=True)
    thread.start()
    wait_for(lambda: status(pair.client)["requests"]["in_flight"] == 1)
    pair.client.signal(15)
    answer = wait_for(lambda: (got := get(pair.client, "/ready")).status == 503 and got)
    assert json.loads(answer.body)["state"] == "stopping"
    release.set()
    thread.join(10)
    assert pair.client.wait_exit() == 0


def test_page_needs_nothing_else(pair):
    page = get(pair.client, "/")
    assert page.get("Content-Type") == "text/html;charset=UTF-8"
    assert "default-src 'none'" in page.get("Content-Security-Policy")
    text = page.body.decode()
    assert not re.search(r"(src|href)=['\"]?(https?:)?//|@import|url\(", text)
    assert set(re.findall(r"href='([^']*)'", text)) == {"/metrics", "/status", "/ready"}


def test_promtool(pair):
    made = subprocess.run([peers.TOP / "tools/promtool"], stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        pytest.skip(f"NOT TESTED: promtool is not to be had: {made.stderr}")
    for daemon in pair.client, pair.server:
        checked = subprocess.run([peers.TOP / "build/promtool/promtool", "check", "metrics"],
                                 input=get(daemon, "/metrics").body, capture_output=True, timeout=60)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_an_address_that_others_reach_is_refused(start_pair):
    pair = start_pair(session=None, client={"admin": {"bind_address": "0.0.0.0:9000"}})
    with pytest.raises(pytest.fail.Exception, match=r"ended with 78(.|\n)*must be a loopback address"):
        pair.start_client()
    from harness import running
    running.pop().ended = True


def test_a_port_that_is_taken(start_pair):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        pair = start_pair(session=None, client=admin(taken.getsockname()[1]))
        with pytest.raises(pytest.fail.Exception, match=r"ended with 1(.|\n)*cannot listen on"):
            pair.start_client()
    from harness import running
    running.pop().ended = True
