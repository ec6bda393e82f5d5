"""Ends that come, go, and are killed: what happens to requests in flight, and how soon it works again."""

import signal
import threading
import time

import http1
import pytest
from harness import SLOW, wait_for
from payload import payload
from scripted import stream

IDLE = 2  # seconds: transport.max_idle_timeout
QUICK = {"transport": {"max_idle_timeout": "2s", "keep_alive_interval": "500ms"}}
ENDS = ["client", "server"]


def kill_and_restart(pair, end):
    getattr(pair, end).kill()
    getattr(pair, f"start_{end}")()


class Open:
    """A request in flight; `outcome` is how it ended: a status, "cut" or "hangs"."""

    def __init__(self, pair, method, target, body=b"", fields=()):
        self.outcome = self.ended = None
        self.begun = threading.Event()
        self.arguments = (method, target, body, fields)
        self.client = pair.open(4 * IDLE)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.outcome = self.client.request(*self.arguments, hashed=True, on_read=self.begun_reading).status
        except (http1.Cut, ConnectionError):
            self.outcome = "cut"
        except TimeoutError:
            self.outcome = "hangs"
        self.ended = time.monotonic()
        self.client.close()

    def begun_reading(self, _):
        self.begun.set()


def requests_in_flight(pair, script):
    """Of every kind: waiting for an answer, in the middle of a download, in the middle of an upload."""
    never = threading.Event()
    script.on("/never", lambda call: never.wait(20) and False)
    before = len(script.requests)
    slow = 4 << 20  # bytes a second
    many = [Open(pair, "GET", "/never") for _ in range(5)]
    downloads = [Open(pair, "GET", f"/stream/{1 << 28}?rate={slow}") for _ in range(3)]
    uploads = [Open(pair, "POST", f"/sink?rate={slow}", stream(1 << 28), [("Content-Length", str(1 << 28))])
               for _ in range(3)]
    wait_for(lambda: len(script.requests) >= before + 11, what="every request at the origin")
    for download in downloads:
        assert download.begun.wait(10 * SLOW)
    return many, downloads, uploads, never


@pytest.mark.parametrize("end", ENDS)
def test_killed_in_mid_transfer(start_pair, script, end):
    pair = start_pair(both=QUICK)
    waiting, downloads, uploads, never = requests_in_flight(pair, script)
    killed = time.monotonic()
    kill_and_restart(pair, end)
    restarted = time.monotonic()
    time.sleep(max(0, restarted + 1 - time.monotonic()))
    assert pair.request("GET", "/n/1000").body == payload(1000), "1 s after the restart"
    for request in (*waiting, *downloads, *uploads):
        request.thread.join(killed + IDLE + 1 * SLOW - time.monotonic())
        assert request.ended is not None, f"{request.arguments[:2]} is still open after max_idle_timeout + 1 s"
        assert request.ended - killed < IDLE + 1 * SLOW
    never.set()
    assert {request.outcome for request in waiting} <= {502, "cut"}
    assert {request.outcome for request in downloads} == {"cut"}
    assert {request.outcome for request in uploads} <= {502, "cut"}
    with pair.open() as client:
        for size in range(20):
            assert client.request("GET", f"/n/{size}").body == payload(size)


@pytest.mark.parametrize("end", ENDS)
def test_killed_again_and_again(start_pair, end):
    pair = start_pair(both=QUICK)
    for _ in range(5):
        kill_and_restart(pair, end)
        time.sleep(0.1)  # for the listeners of the killed one
        pair.wait_session()
        assert pair.request("GET", "/n/1000").body == payload(1000)


def test_server_gone_for_a_while(start_pair):
    """Requests meanwhile are answered, and the client comes back by itself."""
    pair = start_pair(both=QUICK)
    pair.server.kill()
    wait_for(lambda: pair.request("GET", "/n/1").status == 503, 2 * IDLE, "the loss of the session")
    pair.client.wait_log(r"connection \S+ (closed|lost|failed)")
    pair.start_server()
    pair.wait_session()
    assert pair.request("GET", "/n/1000").body == payload(1000)
    assert len(pair.client.connections()) == 2


def test_server_absent_at_start(start_pair):
    pair = start_pair(session=None)
    pair.start_client()
    assert pair.request("GET", "/n/1").status == 503
    pair.client.wait_log("(WARN|ERROR).*failed", timeout=10)
    pair.start_server()
    pair.wait_session()
    assert pair.request("GET", "/n/1000").body == payload(1000)


def test_first_retry_is_immediate(start_pair):
    """After a working session; connect_interval is for attempts that failed."""
    pair = start_pair(both=QUICK, client={"system": {"connect_interval": "30s"}})
    pair.server.stop()
    pair.start_server()
    pair.wait_session(5)


def test_origin_is_not_bound_to_a_session(start_pair, script):
    """A new session uses what the server has kept."""
    pair = start_pair(both=QUICK)
    kill_and_restart(pair, "client")
    time.sleep(0.1)
    pair.wait_session()
    accepted = script.accepted
    assert pair.request("GET", "/n/10").body == payload(10)
    assert script.accepted == accepted


def test_several_clients(start_pair, script):
    """The server takes any number of sessions from valid peers; the end of one is not felt by another."""
    first = start_pair(both=QUICK)
    second = start_pair(session=None, client={"general": {"quic_port": first.quic_port}}, both=QUICK)
    second.start_client()
    second.wait_session()
    with first.open() as one, second.open() as two:
        assert one.request("GET", "/n/1000").body == two.request("GET", "/n/1000").body == payload(1000)
    second.client.kill()
    with first.open() as one:
        for size in range(100):
            assert one.request("GET", f"/n/{size}").body == payload(size)
    first.server.wait_log(r"connection \S+ closed", timeout=2 * IDLE)
    assert len(first.client.connections()) == 1


# Graceful


@pytest.fixture
def gate(script):
    """/gate answers when the event is set."""
    gate = threading.Event()
    script.on("/gate", lambda call: gate.wait(20) and call.respond(200, payload(100000)))
    script.on("/half", half_of_a_body(gate))
    yield gate
    gate.set()


def half_of_a_body(gate):
    def half(call):
        call.send_head(200, [("Content-Length", "200000")])
        call.send(payload(200000)[:100000])
        gate.wait(20)
        call.send(payload(200000)[100000:])
        return True
    return half


@pytest.mark.parametrize("path", ["/gate", "/half"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("end", ENDS)
def test_what_is_in_flight_is_finished(start_pair, script, gate, end, number, path):
    pair = start_pair()
    stopping = getattr(pair, end)
    before = len(script.requests)
    request = Open(pair, "GET", path)
    wait_for(lambda: len(script.requests) > before, what="the request at the origin")
    stopping.signal(number)
    stopping.wait_log("stopping")
    time.sleep(0.3)
    assert stopping.process.poll() is None, "it waits"
    if end == "client":
        with pytest.raises(OSError):
            http1.Client(pair.http)  # nobody is let in any more
    gate.set()
    request.thread.join(10 * SLOW)
    assert request.outcome == 200
    assert stopping.wait_exit() == 0


def test_idle_connections_do_not_hold_the_end_up(start_pair):
    pair = start_pair()
    with pair.open() as idle:
        assert idle.request("GET", "/n/1").status == 200
        start = time.monotonic()
        pair.client.stop()
        assert time.monotonic() - start < 2 * SLOW
        assert idle.at_end()


def test_stop_without_a_session(start_pair):
    pair = start_pair(session=None)
    pair.start_client()
    start = time.monotonic()
    pair.client.stop()
    assert time.monotonic() - start < 2 * SLOW


def test_server_that_stops_tells_the_client(start_pair):
    """By GOAWAY and close, not by silence: the next request has its answer at once."""
    pair = start_pair()
    pair.server.stop()
    start = time.monotonic()
    assert pair.request("GET", "/n/1").status in (502, 503)
    assert time.monotonic() - start < 1 * SLOW
    pair.client.wait_log(r"connection \S+ closed")


@pytest.mark.parametrize("end", ENDS)
def test_drain_timeout(start_pair, script, gate, end):
    pair = start_pair(both={"system": {"drain_timeout": "500ms"}})
    before = len(script.requests)
    request = Open(pair, "GET", "/gate")
    wait_for(lambda: len(script.requests) > before, what="the request at the origin")
    start = time.monotonic()
    getattr(pair, end).stop()
    assert 0.4 < time.monotonic() - start < 3 * SLOW
    request.thread.join(10 * SLOW)
    assert request.outcome in (502, 503, "cut")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("end", ENDS)
def test_second_signal_ends_at_once(start_pair, script, gate, end, second):
    pair = start_pair(both=QUICK)
    stopping = getattr(pair, end)
    before = len(script.requests)
    request = Open(pair, "GET", "/gate")
    wait_for(lambda: len(script.requests) > before, what="the request at the origin")
    stopping.signal(signal.SIGINT)
    stopping.wait_log("stopping")
    stopping.signal(second)
    assert stopping.wait_exit(2 * SLOW) == 130
    stopping.ended = True
    gate.set()
    request.thread.join(10 * SLOW)


def test_requests_while_the_server_stops(start_pair):
    """None is lost without an answer: it is served, or told that it was not."""
    pair = start_pair()
    outcomes = []
    over = threading.Event()

    def caller():
        while not over.is_set():
            try:
                response = pair.request("GET", "/n/1000")
                right = response.status != 200 or response.body == payload(1000)
                outcomes.append(response.status if right else "wrong")
            except (http1.Cut, ConnectionError):
                outcomes.append("cut")

    callers = [threading.Thread(target=caller, daemon=True) for _ in range(8)]
    for each in callers:
        each.start()
    wait_for(lambda: len(outcomes) > 100)
    pair.server.stop()
    pair.start_server()
    before = len(outcomes)
    wait_for(lambda: 200 in outcomes[before:], what="an answer of the new server")
    over.set()
    for each in callers:
        each.join(10 * SLOW)
    assert set(outcomes) <= {200, 502, 503}
    assert outcomes.count(502) <= len(callers), "what had not begun is refused, not lost"
