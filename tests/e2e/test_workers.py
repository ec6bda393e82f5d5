"""Both ends with several workers: what one worker alone promises holds for all of them together, and a session stays
with its worker wherever the network takes it."""

import signal
import threading
import time

import http1
import pytest
from harness import SLOW, ClientDaemon, merge, wait_for
from load import Load
from payload import payload, sha256
from relay import Relay
from scripted import stream, stream_sha256
from test_admin import admin, metrics, status

LONG = 16 << 20  # bytes of a body that is under way for a while


def workers(count):
    return {"system": {"threads": count}}


@pytest.fixture(params=[2, 4])
def threads(request):
    return request.param


@pytest.fixture
def pair(start_pair, threads):
    return start_pair(both=workers(threads), client=admin(), server=admin())


@pytest.fixture
def network():  # named before start_pair, so that it is there until the pair has ended
    made = []

    def make(pair):
        made.append(Relay(pair.quic_port))
        pair.client_configuration["general"]["quic_port"] = made[-1].port
        return made[-1]

    yield make
    for relay in made:
        relay.stop()


class Many:
    """`count` threads that call `work(number)`; leaving waits for all of them and shows what went wrong in any."""

    def __init__(self, count, work):
        self.faults = []
        self.threads = [threading.Thread(target=self.run, args=(work, number), daemon=True) for number in range(count)]

    def run(self, work, number):
        try:
            work(number)
        except Exception as fault:  # whatever it is, the test shows it
            self.faults.append(f"{number}: {fault!r}")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        for thread in self.threads:
            thread.join(60 * SLOW)
        if kind is None:
            assert self.faults == []
            assert not any(thread.is_alive() for thread in self.threads)


def hold(script, count):
    """/held answers only when all `count` requests have come, or what is returned is set: so many at once."""
    release, came = threading.Event(), threading.Semaphore(0)

    def action(call):
        came.release()
        return release.wait(60) and call.respond(200, payload(100))

    def all_came():
        for _ in range(count):
            assert came.acquire(timeout=20 * SLOW), "a request has not come to the origin"

    script.on("/held", action)
    return release, all_came


def test_many_requests_on_many_connections(pair, script, threads):
    """1000 on 200 connections, and all 200 in flight at once between: they come in at every worker, and are served by
    every worker."""
    release, all_came = hold(script, 200)

    def work(number):
        with pair.open() as client:
            for turn in range(4):
                size = (0, 10, 1000, 50000)[(number + turn) % 4]
                if turn % 2:
                    assert client.request("GET", f"/n/{size}").body == payload(size)
                else:
                    answer = client.request("POST", "/sink", payload(size))
                    assert answer.status == 200 and sha256(payload(size)).encode() in answer.body
            assert client.request("GET", "/held").body == payload(100)

    with Many(200, work):
        all_came()
        for end in pair.client, pair.server:
            wait_for(lambda end=end: metrics(end)["ptproxy_http_requests_in_flight"] == 200, what="all in flight")
        release.set()
    for end in pair.client, pair.server:
        found = metrics(end)
        assert found['ptproxy_http_requests_total{code_class="2xx"}'] >= 1000
        assert found["ptproxy_worker_requests_relayed_total"] > 0
        # A caller has its response before both halves of the exchange are over.
        wait_for(lambda end=end: metrics(end)["ptproxy_http_requests_in_flight"] == 0, what="none in flight")
        assert len([name for name in found if name.startswith("ptproxy_loop_lag_seconds{")]) == threads


def test_bodies_both_ways(pair):
    def work(number):
        if number % 2:
            answer = pair.request("GET", f"/stream/{LONG}", hashed=True)
            assert (answer.status, answer.sha256()) == (200, stream_sha256(LONG))
        else:
            answer = pair.request("POST", "/sink", stream(LONG), [("Content-Length", str(LONG))])
            assert answer.status == 200 and stream_sha256(LONG).encode() in answer.body

    with Many(12, work):
        pass


def test_answers_before_the_request_is_complete(pair, script):
    script.on("/early", lambda call: call.respond(413, payload(30000)) and False)

    def work(_):
        with pair.open() as client:
            client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", payload(50000))
            answer = client.response("POST")
            assert (answer.status, answer.body) == (413, payload(30000))

    with Many(20, work):
        pass
    assert pair.request("GET", "/n/1000").body == payload(1000)


def test_callers_that_take_nothing(pair, script):
    """What is sent stops at what may be under way; others go on, and it goes on for those who take it at last."""
    sent = []

    def endless(call):
        call.send_head(200, [("Content-Length", str(1 << 30))])
        sent.append(0)
        number = len(sent) - 1
        for piece in stream(1 << 30):
            call.socket.sendall(piece)
            sent[number] += len(piece)
        return False

    script.on("/endless", endless)
    slow = [pair.open(receive_buffer=1 << 16) for _ in range(6)]
    try:
        for client in slow:
            client.send_request("GET", "/endless")
            assert client.head().status == 200
        wait_for(lambda: len(sent) == 6)
        for _ in range(100):
            assert pair.request("GET", "/n/1000").body == payload(1000)
        assert max(sent) < LONG
        for client in slow:
            taken = 0
            while taken < 2 * LONG:
                piece = client.socket.recv(1 << 20)
                assert piece
                taken += len(piece)
        assert min(sent) >= LONG
    finally:
        for client in slow:
            client.reset()


def test_reload_under_load(pair):
    load = Load(pair.http)
    for turn in range(1, 4):
        time.sleep(0.3)
        for end in pair.client, pair.server:
            end.signal(signal.SIGHUP)
            end.wait_log("were read again", count=turn)
    outcomes = load.stop()
    assert len(outcomes) > 50 and {each.how for each in outcomes} == {200}


@pytest.mark.parametrize("end", ["client", "server"])
def test_drain_under_load(pair, script, end):
    """What is in flight on any worker, or between two, is finished; then it ends."""
    release, all_came = hold(script, 60)
    answers = []

    def work(_):
        answers.append(pair.request("GET", "/held").body)

    with Many(60, work):
        all_came()
        daemon = getattr(pair, end)
        daemon.signal(signal.SIGTERM)
        daemon.wait_log("stopping: ")
        release.set()
    assert answers == [payload(100)] * 60
    assert daemon.wait_exit() == 0


def test_connections_are_counted_over_all_workers(start_pair, threads):
    pair = start_pair(both=workers(threads), client={"limits": {"connections": 20}})
    clients = [pair.open_admitted() for _ in range(20)]
    for _ in range(5):
        with pair.open() as one_more:
            assert one_more.response().status == 503
    for client in clients:
        assert client.request("GET", "/n/1").status == 200
        client.close()
    wait_for(lambda: pair.request("GET", "/n/1").status == 200)


def test_many_clients_of_one_server(start_pair, tmp_path, threads):
    """The server shows all its sessions, whichever workers they live on."""
    pair = start_pair(both=workers(threads), server=admin())
    more = []
    try:
        for number in range(5):
            http = f"unix:{tmp_path}/http{number}"
            configuration = merge(pair.client_configuration, {"general": {"http_bind_address": http}})
            more.append(ClientDaemon(tmp_path / f"client{number}", configuration))
        for client in more:
            client.wait_log(r"connection \S+ established")
            assert http1.request(client.http, "GET", "/n/1000").body == payload(1000)
        ids = {each for client in [pair.client, *more] for each in client.connections()}
        wait_for(lambda: {each["id"] for each in status(pair.server)["sessions"]} == ids, what="all sessions")
        assert status(pair.server)["link"]["established"] == 6
        assert metrics(pair.server)['ptproxy_link_connects_total{result="ok"}'] == 6
    finally:
        for client in more:
            client.stop()
    wait_for(lambda: len(status(pair.server)["sessions"]) == 1, what="the end of five sessions")
    assert metrics(pair.server)['ptproxy_link_connects_total{result="ok"}'] == 6


def test_address_that_changes_all_the_time(network, start_pair):
    """The server sees the client at another port every second, under load: no request is lost, and nothing begins anew.
    A packet that came to another worker than the session's would be of no session there, and dropped."""
    pair = start_pair(session=None, both=workers(4), client=admin(), server=admin())
    relay = network(pair)
    pair.start()
    load = Load(pair.http, rate=60)
    ports = set()
    for _ in range(6):
        time.sleep(1)
        ports.add(relay.outer.getsockname()[1])
        relay.rebind()
    time.sleep(0.5)
    outcomes = load.stop()
    assert len(ports) == 6 and len(outcomes) > 200
    assert {each.how for each in outcomes} == {200}
    for end in pair.client, pair.server:
        found = metrics(end)
        assert found['ptproxy_link_connects_total{result="ok"}'] == 1
        assert found["ptproxy_udp_datagrams_dropped_total"] == 0
    assert len(pair.server.connections()) == 1
