"""Many at once: origins that close at random, thousands of slow callers, and the load generators that people use."""

import hashlib
import os
import random
import re
import resource
import select
import selectors
import socket
import struct
import subprocess
import threading
import time

import http1
import peers
import pytest
from harness import SLOW, Nginx, curl, wait_for
from payload import payload
from scripted import stream_sha256

CALLERS_MAX = 5000 if SLOW == 1 else 1000
RESIDENT_MAX = (200e6 + 400e6 * len(os.sched_getaffinity(0))) * SLOW  # each worker has payload buffers of 384 MiB


@pytest.fixture(scope="module", autouse=True)
def descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard > CALLERS_MAX + 1000, "ulimit -Hn is too low for this test"


@pytest.fixture(scope="module")
def nginx(tmp_path_factory, script):
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), script.address)
    (nginx.root / "file").write_bytes(payload(1000))
    (nginx.root / "medium").write_bytes(payload(300_000))
    (nginx.root / "large").write_bytes(payload(3_000_000))
    with (nginx.root / "huge").open("wb") as huge:
        huge.truncate(20_000_000)
    yield nginx
    nginx.stop()


def test_origin_closes_at_random(start_pair, script):
    """The race of kept connections: the origin closes one as the next request is on its way. No caller may see it."""
    dice = random.Random(1)
    closed = []

    def sometimes_closes(call):
        call.respond(200, payload(200))
        if dice.random() < 0.3:
            closed.append(None)
            time.sleep(dice.random() * 0.003)  # now, or when the connection has been given its next request
            return False
        return True

    script.on("/sometimes", sometimes_closes)
    pair = start_pair()
    faults = []

    def ask():
        with pair.open() as caller:
            for _ in range(150):
                answer = caller.request("GET", "/sometimes")
                if answer.status != 200 or answer.body != payload(200):
                    faults.append(answer)

    callers = [threading.Thread(target=ask) for _ in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert faults == []
    assert len(closed) > 300, "the origin did close"


def slow_callers(pair, count, first):
    """Connections that have sent `first` and nothing more."""
    host, port = pair.http
    sockets = []
    for _ in range(count):
        caller = socket.create_connection((host, port))
        caller.sendall(first)
        sockets.append(caller)
    return sockets


def hang_up(callers):
    """With RST: a FIN from who has not been answered yet does not tell that he has gone, and a drain waits for him."""
    for caller in callers:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()


STALLED_BODY = b"POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc"


@pytest.mark.parametrize("first,answer", [
    (b"GET /n/10 HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"HTTP/1.1 408 "),
    (STALLED_BODY, b"HTTP/1.1 408 "),
    (b"", b""),
], ids=["head", "body", "nothing"])
def test_slow_callers_stop_nobody(start_pair, first, answer):
    seconds = 4 * SLOW
    limits = {"request_head": f"{seconds}s", "request_body": f"{seconds}s", "keep_alive": f"{seconds}s"}
    pair = start_pair(both={"timeouts": limits, "limits": {"connections": CALLERS_MAX + 100}})
    callers = slow_callers(pair, CALLERS_MAX, first)
    with pair.open() as other:  # a caller that is not slow is served among them
        for _ in range(50):
            assert other.request("GET", "/n/1000").body == payload(1000)
    end = time.monotonic() + seconds + 30 * SLOW
    for caller in callers:
        caller.settimeout(max(0.1, end - time.monotonic()))
        got = caller.recv(4096)
        assert got.startswith(answer) and (answer or got == b""), got[:60]
        caller.close()
    assert pair.request("GET", "/n/10").body == payload(10)


def test_callers_that_stop_sending_make_room(start_pair):
    """Thousands of bodies that stop want all streams. With the default limits each gets its 408 long before its time is
    up, and the session is the same afterwards."""
    pair = start_pair()
    callers = slow_callers(pair, max(CALLERS_MAX, 2000), STALLED_BODY)
    pair.client.wait_log("requests wait for a stream: ended a request whose caller has not sent anything", 60)
    for _ in range(50):
        assert pair.request("GET", "/n/1000", timeout=60).body == payload(1000)
    answers = []
    with selectors.DefaultSelector() as selector:
        for caller in callers:
            selector.register(caller, selectors.EVENT_READ)
        end = time.monotonic() + 30 * SLOW
        while len(answers) < len(callers) - 1024:  # as many keep their streams: nobody waits any more
            assert time.monotonic() < end, f"{len(answers)} answers"
            for key, _ in selector.select(1):
                answers.append(key.fileobj.recv(4096))
                selector.unregister(key.fileobj)
    assert [answer[:60] for answer in answers if not answer.startswith(b"HTTP/1.1 408 ")] == []
    hang_up(callers)
    assert pair.request("GET", "/n/10").body == payload(10)
    assert len(pair.client.connections()) == 1


def test_callers_that_give_up_keep_the_session(start_pair, script):
    """QPACK is told of each stream that is given up, and the origin answers none of them."""
    ended = threading.Event()

    def never(call):
        ended.wait(60 * SLOW)
        return False

    script.on("/never", never)
    pair = start_pair()
    for _ in range(4):
        before = len(script.requests)
        callers = slow_callers(pair, 600, b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: len(script.requests) >= before + 600, 30, "every request at the origin")
        hang_up(callers)
    assert pair.request("GET", "/n/10").body == payload(10)
    assert len(pair.client.connections()) == 1
    ended.set()


def callers_that_do_not_read(pair, count, target):
    callers = []
    for _ in range(count):
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(pair.http)
        caller.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        callers.append(caller)
    return callers


def wait_reset(callers, seconds):
    """Until the peer has reset each of these connections, from which nothing is read: the time of each."""
    ended, poller = {}, select.poll()
    for caller in callers:
        poller.register(caller, 0)  # errors and hang-ups only
    end = time.monotonic() + seconds
    while len(ended) < len(callers):
        assert time.monotonic() < end, f"{len(ended)} of {len(callers)} were reset"
        for number, events in poller.poll(1000):
            assert events & select.POLLERR, "closed, but not as a response that was cut"
            ended[number] = time.monotonic()
            poller.unregister(number)
    return ended.values()


def in_flight(admin):
    metrics = http1.request(admin, "GET", "/metrics", timeout=30 * SLOW).body.decode()
    return int(re.search(r"^ptproxy_http_requests_in_flight (\d+)$", metrics, re.M)[1])


def test_readers_that_do_not_read(start_pair, nginx):
    """They are closed when their time is up and not before, and what they hold is freed; the others go on."""
    seconds = 2 * SLOW
    admins = {end: ("127.0.0.1", peers.free_port()) for end in ("client", "server")}
    pair = start_pair(nginx.address, both={"timeouts": {"request_body": f"{seconds}s"}}, **{
        end: {"admin": {"bind_address": "%s:%d" % admin}} for end, admin in admins.items()})
    begun = time.monotonic()
    callers = callers_that_do_not_read(pair, 50, b"/huge")
    assert pair.request("GET", "/file").body == payload(1000)
    ended = wait_reset(callers, 60 * SLOW)  # on a busy machine it takes its time until each has a response
    assert min(ended) > begun + seconds * 0.95
    for caller in callers:
        total = 0
        with pytest.raises(ConnectionResetError):
            while piece := caller.recv(1 << 16):
                total += len(piece)
        assert total < 20_000_000
        caller.close()
    for admin in admins.values():
        wait_for(lambda admin=admin: in_flight(admin) == 0, 10 * SLOW, "the end of all requests")
    assert pair.request("GET", "/file").body == payload(1000)
    assert len(pair.client.connections()) == 1


def test_thousands_of_readers_that_do_not_read(start_pair, nginx):
    """Each holds a stream until its time is up: with enough of them allowed, the others go on meanwhile."""
    pair = start_pair(nginx.address, both={"timeouts": {"request_body": f"{20 * SLOW}s"},
                                           "transport": {"max_concurrent_http_streams": 8192}})
    callers = callers_that_do_not_read(pair, min(CALLERS_MAX, 3500), b"/medium")  # of 4096 connections to an origin
    assert pair.request("GET", "/file", timeout=60).status == 200  # behind what was on the way to the others
    seconds = []
    for _ in range(30):
        start = time.monotonic()
        assert pair.request("GET", "/file").body == payload(1000)
        seconds.append(time.monotonic() - start)
    assert sorted(seconds)[15] < 1, seconds
    assert max(pair.client.resident(), pair.server.resident()) < RESIDENT_MAX
    hang_up(callers)


def request_ends(admin):
    """How many requests have ended for which reason."""
    metrics = http1.request(admin, "GET", "/metrics", timeout=30 * SLOW).body.decode()
    found = re.findall(r'^ptproxy_http_request_ends_total\{reason="(\w+)"\} ([1-9]\d*)$', metrics, re.M)
    return {reason: int(count) for reason, count in found}


def test_callers_that_do_not_read_make_room(start_pair, nginx):
    """With the default limits, thousands of them want all streams, and more buffers than there are."""
    admin = ("127.0.0.1", peers.free_port())
    pair = start_pair(nginx.address, client={"admin": {"bind_address": "%s:%d" % admin}})
    callers = callers_that_do_not_read(pair, max(CALLERS_MAX, 2000), b"/large")
    # Within seconds; but a busy machine takes its time until all streams have a response that is not read. On a fast
    # one the buffers are gone first, and so many callers with them that no request waits for a stream.
    wait_for(lambda: request_ends(admin).get("read_yielded", 0) > len(callers) // 4, 60, "callers that are ended")
    for _ in range(50):
        answer = pair.request("GET", "/file", timeout=60)
        assert answer.status == 200 and answer.body == payload(1000), answer
    assert max(pair.client.resident(), pair.server.resident()) < RESIDENT_MAX
    pair.client.wait_log("(wait for a stream|the buffers run out): ended a request whose caller has not taken anything")
    ends = request_ends(admin)
    assert ends["read_yielded"] > len(callers) // 4, ends
    assert ends["ok"] >= 50 and set(ends) <= {"ok", "read_yielded", "no_tunnel", "queue_timeout"}, ends
    hang_up(callers)
    assert pair.request("GET", "/file").body == payload(1000)


def test_who_reads_slowly_keeps_his_stream(start_pair, script):
    """All streams are in use, and two requests wait: of three callers the two are ended that do not read at all."""
    go_on = threading.Event()

    def waits(call):
        go_on.wait(60 * SLOW)
        return call.respond(200, b"done")

    script.on("/waits", waits)
    pair = start_pair(both={"transport": {"max_concurrent_http_streams": 3}})
    length = 8_000_000
    still, slow, still_too = callers_that_do_not_read(pair, 3, b"/stream/%d" % length)
    slow.settimeout(30 * SLOW)
    got = bytearray(slow.recv(4096))
    answers = []
    others = [threading.Thread(target=lambda: answers.append(pair.request("GET", "/waits"))) for _ in range(2)]
    for other in others:
        other.start()
    end = time.monotonic() + 30 * SLOW
    while sum(request.target == "/waits" for request in script.requests) < 2:
        got += slow.recv(2048)
        time.sleep(0.05)
        assert time.monotonic() < end, "the others have no stream"
    go_on.set()
    for other in others:
        other.join()
    assert [answer.status for answer in answers] == [200, 200]
    pair.client.wait_log("requests wait for a stream: ended a request whose caller has not taken anything", count=2)
    while piece := slow.recv(1 << 16 if len(got) < length else length + got.index(b"\r\n\r\n") + 4 - len(got)):
        got += piece
    _, _, body = got.partition(b"\r\n\r\n")
    assert hashlib.sha256(body).hexdigest() == stream_sha256(length)
    for caller in (still, still_too):
        with pytest.raises(ConnectionResetError):
            while caller.recv(1 << 16):
                pass
    hang_up([still, slow, still_too])


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 * SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("keep_alive", [[], ["-k"]], ids=["close", "keep-alive"])
def test_ab(start_pair, nginx, keep_alive):
    """HTTP/1.0, with and without keep-alive."""
    pair = start_pair(nginx.address)
    count = 20000 if SLOW == 1 else 2000
    text = run("ab", "-q", *keep_alive, "-n", str(count), "-c", "50", "http://%s:%d/file" % pair.http)
    assert re.search(rf"^Complete requests: +{count}$", text, re.M), text
    assert re.search(r"^Failed requests: +0$", text, re.M), text
    assert "Non-2xx" not in text, text
    if keep_alive:
        assert re.search(rf"^Keep-Alive requests: +{count}$", text, re.M), text


def test_wrk_with_pipelining(start_pair, nginx, tmp_path):
    pair = start_pair(nginx.address)
    script = tmp_path / "pipeline.lua"
    script.write_text("""init = function(args)
  local all = {}
  for i = 1, 8 do all[i] = wrk.format("GET", "/file") end
  joined = table.concat(all)
end
request = function() return joined end
""")
    text = run("wrk", "-t1", "-c20", "-d3s", "-s", str(script), "http://%s:%d/" % pair.http)
    assert int(re.search(r"(\d+) requests in", text).group(1)) > 100, text
    assert "Non-2xx" not in text and "Socket errors" not in text, text


def test_curl_expects_and_is_refused(start_pair, script, tmp_path):
    """An origin that answers 413 to the head: curl, which waits for 100 Continue, gets that and sends nothing."""

    def refuses(call):
        call.respond(413, b"too much")
        return False

    script.on("/refuses", refuses)
    pair = start_pair()
    body = tmp_path / "body"
    body.write_bytes(payload(3_000_000))
    done = curl(pair, "/refuses", "-T", str(body), "-H", "Expect: 100-continue", "--expect100-timeout", "60",
                "-w", " %{http_code} %{size_upload}")
    assert done.stdout == b"too much 413 0", done.stdout + done.stderr
    assert pair.request("GET", "/n/5").body == payload(5)
