"""Faults of callers and of the origin: the answers of SPEC section 5, and nobody else notices.

One pair serves this whole module, and at its end the session must still be its first one.
"""

import re
import socket
import threading
import time

import http1
import peers
import pytest
from harness import SLOW, wait_for
from payload import payload
from scripted import stream, stream_sha256

TIMEOUTS = {"timeouts": {"request_head": "500ms", "request_body": "500ms", "origin_connect": "500ms",
                         "origin_response": "2s"}}
LIMITS = {"limits": {"head_size": 8192, "header_count": 20}}


@pytest.fixture(scope="module")
def pair(start_shared_pair):
    pair = start_shared_pair(both=TIMEOUTS, client=LIMITS)
    yield pair
    assert len(pair.client.connections()) == 1, "a fault of one exchange has ended the session"
    assert pair.server.connections() == pair.client.connections(), "both ends give it the same name"


def is_ours(response, status, end, text=None):
    """A whole answer that `end` of the pair has made itself."""
    assert response.status == status, response
    assert response.get("Server") == f"ptproxy {end}"
    assert response.get("Content-Type") == "text/plain;charset=UTF-8"
    assert response.all("Content-Length") == [str(len(response.body))]
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", response.get("Date"))
    line = response.body.decode()
    assert line.count("\n") <= 1 and len(line) > 10, "one line for a person"
    assert not re.search(r"\d+\.\d+\.\d+\.\d+|:\d{2,5}\b|/work|\.c\b", line), "no internals"
    assert text is None or line.rstrip("\n") == text
    return True


# No session, no origin


def test_no_session(start_pair):
    pair = start_pair(session=None)
    pair.start_client()
    with pair.open() as client:
        for _ in range(3):
            response = client.request("GET", "/n/1")
            assert is_ours(response, 503, "client", "tunnel not established")
            assert response.get("Retry-After") == "1"
        assert client.request("HEAD", "/n/1").status == 503
        response = client.request("POST", "/n/1", b"body")
        assert is_ours(response, 503, "client", "tunnel not established")


def test_origin_down(start_pair):
    pair = start_pair(f"127.0.0.1:{peers.free_port()}")
    for method, body in (("GET", b""), ("POST", payload(1000)), ("POST", payload(3 << 20))):
        assert is_ours(pair.request(method, "/", body), 502, "server")
    assert pair.request("HEAD", "/").status == 502


def test_origin_comes_back(start_pair, script):
    """A name is resolved, and a connection tried, anew for each request."""
    port = peers.free_port()
    pair = start_pair(f"localhost:{port}")
    assert is_ours(pair.request("GET", "/n/1"), 502, "server")
    listener = socket.create_server(("127.0.0.1", port))
    try:
        threading.Thread(target=lambda: script.serve(listener.accept()[0]), daemon=True).start()
        assert pair.request("GET", "/n/9").body == payload(9)
    finally:
        listener.close()


def test_origin_that_does_not_accept(start_pair):
    """The backlog of a listener is filled, so that the kernel drops further attempts."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        pair = start_pair("127.0.0.1:%d" % listener.getsockname()[1], both=TIMEOUTS, session=False)
        wait_for(lambda: pair.client.connections(), what="the session")
        start = time.monotonic()
        assert is_ours(pair.request("GET", "/"), 504, "server")
        assert 0.4 < time.monotonic() - start < 3 * SLOW
    finally:
        for each in (*fillers, listener):
            each.close()


# The origin's faults before its response

HEADS = {
    "nothing": "",
    "half a status line": "HTTP/1.1 20",
    "half a head": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-",
    "all but the last line": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
}
BAD_HEADS = {
    "not HTTP": "SSH-2.0-OpenSSH_9.2\r\n",
    "another version": "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status below 100": "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "length and chunked": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "negative length": "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "length that overflows": "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
    "unknown coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "folded line": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: b\r\n c\r\n\r\n",
    "NUL in a value": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: b\0c\r\n\r\n",
    "bare CR in a value": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: b\rc\r\n\r\n",
    "space before the colon": "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "bad name": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX@A: b\r\n\r\n",
    "an endless head": "HTTP/1.1 200 OK\r\n" + "X-A: " + "a" * 300000 + "\r\n\r\n",
    "switching protocols": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("ending", ["closes", "resets"])
@pytest.mark.parametrize("head", HEADS)
def test_origin_ends_in_its_head(pair, script, head, ending):
    def broken(call):
        call.send(HEADS[head])
        if ending == "resets":
            call.reset()
        return False

    script.on("/broken", broken)
    assert is_ours(pair.request("GET", "/broken"), 502, "server")
    assert is_ours(pair.request("POST", "/broken", payload(100000)), 502, "server")


@pytest.mark.parametrize("head", BAD_HEADS)
def test_origin_sends_nonsense(pair, script, head):
    def broken(call):
        call.send(BAD_HEADS[head])
        return False

    script.on("/broken", broken)
    assert is_ours(pair.request("GET", "/broken"), 502, "server")


def test_origin_never_answers(pair, script):
    over = threading.Event()
    script.on("/never", lambda call: over.wait(30) and False)
    start = time.monotonic()
    assert is_ours(pair.request("GET", "/never"), 504, "server")
    assert 1.9 < time.monotonic() - start < 4 * SLOW
    assert is_ours(pair.request("POST", "/never", payload(1000)), 504, "server")
    over.set()


def test_slow_origin_is_no_fault(pair, script):
    """The timeout is for the head; between pieces of a body an origin may take longer."""
    def slow(call):
        time.sleep(1)
        call.send_head(200, [("Content-Length", "2")])
        time.sleep(2.5)
        call.send("ab")
        return True

    script.on("/slow", slow)
    assert pair.request("GET", "/slow").body == b"ab"


# The origin's faults in its body: what has begun is cut, never completed


@pytest.mark.parametrize("ending", ["closes", "resets"])
@pytest.mark.parametrize("sent", [0, 10, 100000])
def test_origin_ends_in_a_body_with_length(pair, script, sent, ending):
    def broken(call):
        call.send_head(200, [("Content-Length", str(sent + 1))])
        call.send(payload(sent))
        if ending == "resets":
            call.reset()
        return False

    script.on("/broken", broken)
    with pair.open() as client:
        client.send_request("GET", "/broken")
        try:
            response = client.response()
            assert is_ours(response, 502, "client"), "only when the head had not come out"
        except http1.Cut as cut:
            assert cut.message is None or cut.message.length <= sent
            if cut.message and ending == "closes":
                assert payload(sent).startswith(cut.message.body)


CHUNKED_ENDS = ["", "5", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n",
                "5\r\nhello\r\n0\r\nX-A: b\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n",
                "5\r\nhelloworld\r\n0\r\n\r\n", "fffffffffffffffff\r\nhello\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n"]


@pytest.mark.parametrize("rest", CHUNKED_ENDS)
def test_origin_ends_in_a_chunked_body(pair, script, rest):
    def broken(call):
        call.send_head(200, [("Transfer-Encoding", "chunked")])
        call.send("3\r\nabc\r\n")
        time.sleep(0.05)  # so that the head is on its way
        call.send(rest)
        return False

    script.on("/broken", broken)
    with pytest.raises(http1.Cut):
        response = pair.request("GET", "/broken")
        assert is_ours(response, 502, "client"), "only when the head had not come out"
        raise http1.Cut(response)


def test_body_until_close_may_be_cut_by_reset_only(pair, script):
    def until_close(call):
        call.send_head(200)
        call.send(payload(100000))
        return False

    def cut(call):
        call.send_head(200)
        call.send(payload(100000))
        time.sleep(0.2)
        call.reset()
        return False

    script.on("/until-close", until_close)
    response = pair.request("GET", "/until-close")
    assert (response.framing, response.body) == ("chunked", payload(100000))
    script.on("/cut", cut)
    with pytest.raises(http1.Cut):
        pair.request("GET", "/cut")


# Connections to the origin that die while they are kept


def flaky(call):
    """Closes at the second request on a connection, without a word."""
    call.seen = getattr(call, "seen", 0) + 1
    return call.respond(200, b"first") if call.seen == 1 else False


def test_idempotent_request_is_retried(start_pair, script):
    script.on("/flaky", flaky)
    pair = start_pair()
    with pair.open() as client:
        for method in ("GET", "GET", "HEAD", "OPTIONS", "DELETE", "GET"):
            assert client.request(method, "/flaky").status == 200


def test_other_request_is_not_retried(start_pair, script):
    script.on("/flaky", flaky)
    pair = start_pair()
    assert pair.request("GET", "/flaky").status == 200
    before = len(script.requests)
    assert is_ours(pair.request("POST", "/flaky", b"once"), 502, "server")
    assert len(script.requests) == before + 1


def test_closed_idle_connection_is_not_used(pair, script):
    def closes(call):
        call.respond(200, b"bye")
        return False

    script.on("/closes", closes)
    for _ in range(5):
        assert pair.request("GET", "/closes").body == b"bye"
        assert pair.request("POST", "/n/3", b"x").body == payload(3)


# Callers' faults

HOST = "Host: a\r\n"
MALFORMED = {
    "no host": (400, "GET /n/1 HTTP/1.1\r\n\r\n"),
    "two hosts": (400, "GET /n/1 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "host with a space": (400, "GET /n/1 HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "host with a path": (400, "GET /n/1 HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host with a user": (400, "GET /n/1 HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "port of letters": (400, "GET /n/1 HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    "length and chunked": (400, f"POST /n/1 HTTP/1.1\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "0\r\n\r\n"),
    "two lengths": (400, f"POST /n/1 HTTP/1.1\r\n{HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    "list of lengths": (400, f"POST /n/1 HTTP/1.1\r\n{HOST}Content-Length: 5, 6\r\n\r\nhello"),
    "signed length": (400, f"POST /n/1 HTTP/1.1\r\n{HOST}Content-Length: +5\r\n\r\nhello"),
    "negative length": (400, f"POST /n/1 HTTP/1.1\r\n{HOST}Content-Length: -5\r\n\r\nhello"),
    "length in hex": (400, f"POST /n/1 HTTP/1.1\r\n{HOST}Content-Length: 0x5\r\n\r\nhello"),
    "empty length": (400, f"POST /n/1 HTTP/1.1\r\n{HOST}Content-Length:\r\n\r\n"),
    "length that overflows": (400, f"POST /n/1 HTTP/1.1\r\n{HOST}Content-Length: 99999999999999999999999\r\n\r\n"),
    "coding before chunked": ((400, 501), f"POST /n/1 HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n"
                                          "0\r\n\r\n"),
    "chunked twice": ((400, 501), f"POST /n/1 HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "unknown coding": ((400, 501), f"POST /n/1 HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "coding in 1.0": (400, f"POST /n/1 HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "folded line": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}X-A: b\r\n c\r\n\r\n"),
    "folded first line": (400, "GET /n/1 HTTP/1.1\r\n X-A: b\r\nHost: a\r\n\r\n"),
    "bare CR": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}X-A: b\rX-C: d\r\n\r\n"),
    "NUL": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}X-A: b\0c\r\n\r\n"),
    "control character": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}X-A: b\x01c\r\n\r\n"),
    "space before the colon": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}X-A : b\r\n\r\n"),
    "space in a name": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}X A: b\r\n\r\n"),
    "at sign in a name": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}X@A: b\r\n\r\n"),
    "no name": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}: b\r\n\r\n"),
    "no colon": (400, f"GET /n/1 HTTP/1.1\r\n{HOST}X-A\r\n\r\n"),
    "two spaces": (400, f"GET  /n/1 HTTP/1.1\r\n{HOST}\r\n"),
    "space in the target": (400, f"GET /n/ 1 HTTP/1.1\r\n{HOST}\r\n"),
    "control in the target": (400, f"GET /n/\x01 HTTP/1.1\r\n{HOST}\r\n"),
    "target without slash": (400, f"GET n/1 HTTP/1.1\r\n{HOST}\r\n"),
    "asterisk without OPTIONS": (400, f"GET * HTTP/1.1\r\n{HOST}\r\n"),
    "fragment": (400, f"GET /n/1#a HTTP/1.1\r\n{HOST}\r\n"),
    "method with a bracket": (400, f"G(T /n/1 HTTP/1.1\r\n{HOST}\r\n"),
    "no version": (400, "GET /n/1\r\n\r\n"),
    "version in lower case": (400, f"GET /n/1 http/1.1\r\n{HOST}\r\n"),
    "another protocol": ((400, 505), f"GET /n/1 ICY/1.1\r\n{HOST}\r\n"),
    "version 2": (505, f"GET /n/1 HTTP/2.0\r\n{HOST}\r\n"),
    "preface of HTTP/2": ((400, 505), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 64 + "\r\n\r\n"),
}
BAD_CHUNKS = ["-5\r\nhello\r\n", "+5\r\nhello\r\n", "0x5\r\nhello\r\n", "g\r\n", "\r\n", "5\r\nhelloworld\r\n",
              "10000000000000000\r\n", "fffffffffffffffff\r\n", "5 5\r\nhello\r\n", "5\nhello\r\n",
              "5;a\0b\r\nhello\r\n", "0\r\nX A: b\r\n\r\n", "0\r\nX-A: b\0\r\n\r\n"]


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_request(pair, script, fault):
    statuses, text = MALFORMED[fault]
    before = len(script.requests)
    with pair.open() as client:
        client.send(text, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.response()
        assert response.status in (statuses if isinstance(statuses, tuple) else (statuses,))
        assert is_ours(response, response.status, "client")
        assert client.at_end()
    assert [request.start for request in script.requests[before:]] == [], "nothing is forwarded"


@pytest.mark.parametrize("chunk", BAD_CHUNKS)
def test_malformed_chunk(pair, script, chunk):
    completed = []

    def sink(call):
        call.read_body()
        completed.append(call.request)
        return call.respond(200, b"taken")

    script.on("/take", sink)
    with pair.open() as client:
        client.send(f"POST /take HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        time.sleep(0.02)  # so that the head is on its way
        client.send(chunk, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert is_ours(client.response(), 400, "client")
        assert client.at_end()
    assert completed == []
    assert script.requests[-1].target != "/smuggled"


def test_connect(pair):
    with pair.open() as client:
        client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
        assert is_ours(client.response(), 405, "client", "CONNECT requests not implemented yet")


@pytest.mark.parametrize("fields", [[("X-A", "a" * 9000)], [(f"X-{number}", "a") for number in range(30)]])
def test_head_too_large(pair, fields):
    with pair.open() as client:
        client.send_request("GET", "/n/1", fields=fields)
        assert is_ours(client.response(), 431, "client")
        assert client.at_end()


def test_target_too_long(pair):
    with pair.open() as client:
        client.send_request("GET", "/" + "a" * 20000)
        response = client.response()
        assert is_ours(response, response.status, "client") and response.status in (414, 431)


@pytest.mark.parametrize("part", ["G", "GET /n/1 HTTP/1.1\r\n", "GET /n/1 HTTP/1.1\r\nHost: a\r\n"])
def test_slow_head(pair, part):
    with pair.open() as client:
        client.send(part)
        start = time.monotonic()
        assert is_ours(client.response(), 408, "client")
        assert 0.4 < time.monotonic() - start < 2 * SLOW
        assert client.at_end()


def test_head_in_drips(pair):
    """A byte now and then does not help: the limit is for the whole head."""
    with pair.open() as client:
        start = time.monotonic()
        for byte in "GET /n/1 HTTP/1.1\r\n" + "X: a\r\n" * 20:
            try:
                client.send(byte)
                client.socket.settimeout(0.1)
                client.fill(None)
                break
            except TimeoutError:
                pass
        client.socket.settimeout(5 * SLOW)
        assert is_ours(client.response(), 408, "client")
        assert time.monotonic() - start < 2 * SLOW


@pytest.mark.parametrize("head", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_slow_body(pair, head):
    with pair.open() as client:
        client.send(f"POST /sink HTTP/1.1\r\n{HOST}{head}\r\n\r\n")
        assert is_ours(client.response(), 408, "client")
        assert client.at_end()


def test_idle_connection_is_closed_without_a_word(start_pair):
    pair = start_pair(client={"timeouts": {"keep_alive": "300ms"}})
    with pair.open() as client:
        assert client.request("GET", "/n/1").status == 200
        assert client.at_end()
    with pair.open() as client:
        assert client.at_end()


def test_too_many_connections(start_pair):
    pair = start_pair(client={"limits": {"connections": 5}})
    wait_for(lambda: pair.request("GET", "/n/1").status == 200)
    clients = []
    try:
        for _ in range(5):
            clients.append(pair.open_admitted())
        with pair.open() as one_more:
            assert is_ours(one_more.response(), 503, "client")
            assert one_more.at_end()
        assert clients[0].request("GET", "/n/1").status == 200
    finally:
        for client in clients:
            client.close()
    wait_for(lambda: pair.request("GET", "/n/1").status == 200)


# Callers that go away


@pytest.mark.parametrize("ending", ["closes", "resets"])
@pytest.mark.parametrize("head", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_caller_ends_in_its_body(pair, script, head, ending):
    """The origin must not take the rest for the whole."""
    ends = []

    def take(call):
        try:
            call.read_body()
            ends.append("complete")
            return call.respond(200, b"")
        except http1.Cut:
            ends.append("cut")
            raise

    script.on("/take", take)
    before = len(script.requests)
    with pair.open() as client:
        client.send(f"POST /take HTTP/1.1\r\n{HOST}{head}\r\n\r\n", "5\r\nhello\r\n")
        wait_for(lambda: len(script.requests) > before, what="the request at the origin")
        if ending == "resets":
            client.reset()
    wait_for(lambda: ends, what="the end of the request at the origin")
    assert ends == ["cut"]


def test_caller_ends_in_the_response(pair, script):
    """The origin is not left sending for nobody."""
    ends = []

    def give(call):
        try:
            call.send_head(200, [("Content-Length", str(1 << 40))])
            for piece in stream(1 << 40):
                call.socket.sendall(piece)
        except OSError:
            ends.append("gone")
            raise

    script.on("/give", give)
    for closing in (http1.Client.close, http1.Client.reset):
        client = pair.open()
        client.send_request("GET", "/give")
        client.fill(None)
        closing(client)
    wait_for(lambda: ends == ["gone", "gone"], what="the end of the response at the origin")


# Neighbours


def test_faults_do_not_disturb_neighbours(pair, script):
    """While requests of every kind go wrong, others on the same session run to their ends."""
    size, rate = 4 << 20, 3 << 20
    done = {}

    def download(name):
        done[name] = pair.request("GET", f"/stream/{size}?rate={rate}", hashed=True).sha256() == stream_sha256(size)

    def upload(name):
        answer = pair.request("POST", f"/sink?rate={rate}", stream(size), [("Content-Length", str(size))])
        done[name] = stream_sha256(size).encode() in answer.body

    neighbours = [threading.Thread(target=what, args=(f"{what.__name__} {number}",), daemon=True)
                  for what in (download, upload) for number in range(3)]
    for neighbour in neighbours:
        neighbour.start()
    while any(neighbour.is_alive() for neighbour in neighbours):
        for fault in (broken_by_origin, broken_by_caller, malformed_by_caller):
            fault(pair, script)
    assert sorted(done) == sorted(f"{what} {number}" for what in ("download", "upload") for number in range(3))
    assert all(done.values()), done


def broken_by_origin(pair, script):
    def broken(call):
        call.send_head(200, [("Content-Length", "100000")])
        call.send(payload(50000))
        return False

    script.on("/broken", broken)
    with pytest.raises(http1.Cut):
        response = pair.request("GET", "/broken")
        assert response.status == 502
        raise http1.Cut(response)


def broken_by_caller(pair, _):
    with pair.open() as client:
        client.send(f"POST /sink HTTP/1.1\r\n{HOST}Content-Length: 100000\r\n\r\n", payload(50000))
        client.reset()


def malformed_by_caller(pair, _):
    with pair.open() as client:
        client.send(f"POST /sink HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n-1\r\n")
        assert client.response().status == 400
