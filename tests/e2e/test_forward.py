"""What callers may send and get through the pair: curl and bytes on sockets, to nginx and to a scripted origin."""

import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import http1
import pytest
from harness import GIGABYTE, SLOW, Nginx, curl
from payload import payload, sha256
from scripted import ScriptedOrigin, stream, stream_sha256

SIZES = [0, 1000, 1 << 20]
CONNECTIONS, REQUESTS = 200, 1000


@pytest.fixture(scope="module")
def pair(start_shared_pair):
    """In front of the scripted origin."""
    return start_shared_pair()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory, script):
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), script.address)
    for size in SIZES:
        (nginx.root / str(size)).write_bytes(payload(size))
    yield nginx
    nginx.stop()


@pytest.fixture(scope="module")
def to_nginx(start_shared_pair, nginx):
    return start_shared_pair(nginx.address)


@pytest.fixture(scope="module")
def gigabyte(nginx):
    """A file that holds stream(GIGABYTE), below nginx's root; its hash."""
    digest = hashlib.sha256()
    with open(nginx.root / "gigabyte", "wb") as file:
        for piece in stream(GIGABYTE):
            file.write(piece)
            digest.update(piece)
    yield nginx.root / "gigabyte", digest.hexdigest()
    (nginx.root / "gigabyte").unlink()


def file_sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def echoed(response):
    """What the origin saw: the request line, its fields, and the rest."""
    assert response.status == 200, response
    seen = json.loads(response.body)
    seen["fields"] = [tuple(field) for field in seen["fields"]]
    seen["trailers"] = [tuple(field) for field in seen["trailers"]]
    return seen


def names(fields):
    return [name for name, _ in fields]


def of_the_caller(seen):
    """The fields that came through, without Host and the mark by which ptproxy knows its own requests in a loop."""
    return [field for field in seen["fields"] if field[0] not in ("Host", "Cdn-Loop")]


# Bodies, to nginx


@pytest.mark.parametrize("size", SIZES)
def test_get(to_nginx, size):
    done = curl(to_nginx, f"/{size}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == payload(size)
    response = to_nginx.request("GET", f"/{size}")
    assert (response.status, response.get("Content-Length"), response.body) == (200, str(size), payload(size))


def test_get_gigabyte(to_nginx, gigabyte, tmp_path):
    _, digest = gigabyte
    done = curl(to_nginx, "/gigabyte", "--output", tmp_path / "got", timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert file_sha256(tmp_path / "got") == digest
    (tmp_path / "got").unlink()
    response = to_nginx.request("GET", "/gigabyte", hashed=True, timeout=120)
    assert (response.status, response.length, response.sha256()) == (200, GIGABYTE, digest)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_put_gigabyte(to_nginx, nginx, gigabyte, framing):
    file, digest = gigabyte
    chunked = ["--header", "Transfer-Encoding: chunked"] if framing == "chunked" else []
    done = curl(to_nginx, f"/put-{framing}", "--upload-file", file, *chunked, "--write-out", "%{http_code}",
                timeout=120)
    assert (done.returncode, done.stderr, done.stdout[-3:]) == (0, b"", b"201")
    assert file_sha256(nginx.root / f"put-{framing}") == digest
    (nginx.root / f"put-{framing}").unlink()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_post_gigabyte(to_nginx, framing):
    """Through nginx, which passes the body on as it comes, to a sink that hashes it."""
    fields = [("Content-Length", str(GIGABYTE))] if framing == "length" else []
    response = to_nginx.request("POST", "/through/sink", stream(GIGABYTE), fields, timeout=120)
    receipt = json.loads(response.body)
    assert (receipt["length"], receipt["framing"]) == (GIGABYTE, framing)
    assert receipt["sha256"] == stream_sha256(GIGABYTE)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "REPORT"])
@pytest.mark.parametrize("size", SIZES)
def test_upload(pair, method, size):
    for body in (payload(size), [payload(size)] if size else []):
        seen = json.loads(pair.request(method, "/sink", body).body)
        assert (seen["method"], seen["length"], seen["sha256"]) == (method, size, sha256(payload(size)))
        if size:
            assert seen["framing"] == ("length" if isinstance(body, bytes) else "chunked")
        elif method.startswith("P"):
            assert seen["framing"] != "none", "an origin may answer 411 (RFC 9110 section 8.6)"


def test_chunked_response(pair):
    response = pair.request("GET", "/stream/3000000?chunked", hashed=True)
    assert (response.framing, response.length, response.sha256()) == ("chunked", 3000000, stream_sha256(3000000))


def test_both_directions_at_once(pair, script):
    """An origin that answers while it reads: neither direction waits for the other."""
    def mirror(call):
        call.body_read = True
        call.send_head(200, [("Content-Length", str(call.request.get("Content-Length")))])
        call.sized(call.request, 0, None)
        left = int(call.request.get("Content-Length"))
        while left:
            piece = call.buffer or call.socket.recv(65536)
            call.buffer = b""
            left -= len(piece)
            call.socket.sendall(piece)
        return True

    script.on("/mirror", mirror)
    size = 32 << 20
    with pair.open() as client:
        sender = threading.Thread(target=client.send_request, daemon=True,
                                  args=("POST", "/mirror", stream(size), [("Content-Length", str(size))]))
        sender.start()
        response = client.response(hashed=True)
        sender.join(10 * SLOW)
    assert response.sha256() == stream_sha256(size)


# Many


def test_1000_requests_on_200_connections(to_nginx):
    barrier = threading.Barrier(CONNECTIONS)

    def caller(number):
        with to_nginx.open(60) as client:
            barrier.wait(30 * SLOW)
            answers = [client.request("GET", "/1000") for _ in range(REQUESTS // CONNECTIONS)]
        return [(answer.status, answer.body == payload(1000)) for answer in answers]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        results = sum(pool.map(caller, range(CONNECTIONS)), [])
    assert results == [(200, True)] * REQUESTS


def test_1000_different_responses(pair):
    """Every caller gets its own: 200 connections ask for 1000 sizes."""
    def caller(first):
        with pair.open(60) as client:
            return [client.request("GET", f"/n/{size}").body == payload(size)
                    for size in range(first, REQUESTS, CONNECTIONS)]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        assert all(sum(pool.map(caller, range(CONNECTIONS)), []))


def test_curl_in_parallel(to_nginx, tmp_path):
    done = curl(to_nginx, "/1000?[1-200]", "--parallel", "--parallel-max", "100", "--output", tmp_path / "#1",
                "--write-out", "%{http_code}\n")
    assert (done.returncode, done.stdout.split()) == (0, [b"200"] * 200)
    assert all((tmp_path / str(number)).read_bytes() == payload(1000) for number in range(1, 201))


# Connections


def test_keep_alive(pair):
    with pair.open() as client:
        for size in range(50):
            response = client.request("GET", f"/n/{size}")
            assert (response.status, response.body) == (200, payload(size))
            assert response.get("Connection", "").lower() != "close"


def test_connection_close(pair):
    with pair.open() as client:
        assert client.request("GET", "/n/10", fields=[("Connection", "close")]).get("Connection").lower() == "close"
        assert client.at_end()


def test_pipelining(pair, script):
    """All requests in one write; the first is the slowest to answer."""
    script.on("/late", lambda call: call.origin.late.wait(10) and call.respond(200, b"late"))
    script.late = threading.Event()
    targets = ["/late"] + [f"/n/{size}" for size in range(1, 40)]
    with pair.open() as client:
        client.send(*(f"GET {target} HTTP/1.1\r\nHost: origin.test\r\n\r\n" for target in targets))
        script.late.set()
        bodies = [client.response().body for _ in targets]
    assert bodies == [b"late"] + [payload(size) for size in range(1, 40)]


def test_pipelining_with_bodies(pair):
    with pair.open() as client:
        for size in range(0, 2000, 100):
            client.send_request("POST", "/sink", payload(size) if size % 200 else [payload(size)] * bool(size))
        lengths = [json.loads(client.response().body)["length"] for _ in range(0, 2000, 100)]
    assert lengths == list(range(0, 2000, 100))


def test_a_byte_at_a_time(pair):
    request = (b"POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"5;ext=1\r\nhello\r\n0\r\nA: b\r\n\r\n")
    with pair.open() as client:
        for at in range(len(request)):
            client.send(request[at:at + 1])
        receipt = json.loads(client.response().body)
    assert (receipt["length"], receipt["trailers"]) == (5, [["A", "b"]])


def test_half_closed_caller_gets_its_response(pair):
    with pair.open() as client:
        client.send("GET /n/1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.shutdown(1)
        assert client.response().body == payload(1000)
        assert client.at_end()


@pytest.mark.parametrize("keep", [False, True])
def test_http10(pair, keep):
    """Never chunked: the end of the connection is the end of a body whose length is not known."""
    with pair.open() as client:
        fields = [("Connection", "keep-alive")] if keep else []
        response = client.request("GET", "/n/1000", fields=fields, version="HTTP/1.0")
        assert (response.status, response.body, response.framing) == (200, payload(1000), "length")
        assert (response.get("Connection", "close").lower() == "keep-alive") == keep
        if keep:
            assert client.request("GET", "/n/5", fields=fields, version="HTTP/1.0").body == payload(5)
        else:
            assert client.at_end()
    with pair.open() as client:
        response = client.request("GET", "/stream/100000?chunked", hashed=True, version="HTTP/1.0")
        assert (response.framing, response.sha256()) == ("close", stream_sha256(100000))


def test_many_origin_connections_are_kept(pair, script):
    """One after the other, requests use one connection to the origin."""
    pair.request("GET", "/n/1")
    before = script.accepted
    with pair.open() as client:
        for _ in range(20):
            client.request("GET", "/n/1")
    assert script.accepted - before <= 1


# Methods, targets, status codes


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "DELETE", "TRACE", "PATCH", "PROPFIND", "BREW", "M-SEARCH"])
def test_methods(pair, method):
    assert echoed(pair.request(method, "/echo"))["start"] == f"{method} /echo HTTP/1.1"


def test_head(pair):
    with pair.open() as client:
        response = client.request("HEAD", "/n/1000")
        assert (response.status, response.get("Content-Length")) == (200, "1000")
        assert client.request("GET", "/n/3").body == payload(3), "nothing was left of the HEAD"


def test_options_asterisk(pair, script):
    script.on("*", lambda call: call.respond(200, b"any"))
    assert pair.request("OPTIONS", "*").body == b"any"
    assert script.requests[-1].target == "*"


@pytest.mark.parametrize("target", ["/echo?a=1&b=%20x&c=a+b&&=", "/echo?", "/echo?a?b", "/echo?%C3%A4=/../",
                                    "/echo?" + "q" * 8000, "/echo?a=:@!$'()*,;"])
def test_targets_are_kept(pair, target):
    assert echoed(pair.request("GET", target))["start"] == f"GET {target} HTTP/1.1"


def test_absolute_form(pair):
    with pair.open() as client:
        client.send("GET http://other.test:81/echo?a=b HTTP/1.1\r\nHost: ignored.test\r\n\r\n")
        seen = echoed(client.response())
    assert seen["start"] == "GET /echo?a=b HTTP/1.1"
    assert [value for name, value in seen["fields"] if name == "Host"] == ["other.test:81"]


@pytest.mark.parametrize("status", [204, 304])
def test_no_content(pair, status):
    with pair.open() as client:
        response = client.request("GET", f"/status/{status}")
        assert (response.status, response.get("Transfer-Encoding"), response.length) == (status, None, 0)
        assert client.request("GET", "/n/3").body == payload(3)


def test_304_keeps_the_length(pair, script):
    def not_modified(call):
        call.send_head(304, [("Content-Length", "1000"), ("ETag", '"1"')])
        return True

    script.on("/304", not_modified)
    with pair.open() as client:
        response = client.request("GET", "/304")
        assert (response.status, response.get("Content-Length"), response.get("ETag")) == (304, "1000", '"1"')
        assert client.request("GET", "/n/3").body == payload(3)


@pytest.mark.parametrize("status, phrase", [(200, "OK"), (404, "Not Found"), (418, ""), (500, "Internal Server Error"),
                                            (599, ""), (301, "Moved Permanently")])
def test_status_codes(pair, status, phrase):
    """With the standard reason phrase, whatever the origin's is."""
    response = pair.request("GET", f"/status/{status}")
    assert response.status == status
    if phrase:
        assert response.start == f"HTTP/1.1 {status} {phrase}"


# Fields


def test_request_fields(pair):
    sent = [("X-Second", "2"), ("x-first", "1"), ("ACCEPT", "text/html"), ("X-Second", "3"), ("Cookie", "a=b; c=d"),
            ("x-empty", ""), ("Authorization", "Basic eA=="), ("X-Latin", "caf\xe9"), ("X-Spaces", "a  b")]
    seen = echoed(pair.request("GET", "/echo", fields=sent))
    expected = [("X-Second", "2"), ("X-First", "1"), ("Accept", "text/html"), ("X-Second", "3"), ("Cookie", "a=b; c=d"),
                ("X-Empty", ""), ("Authorization", "Basic eA=="), ("X-Latin", "caf\xe9"), ("X-Spaces", "a  b")]
    assert of_the_caller(seen) == expected
    assert ("Host", "origin.test") in seen["fields"]


def test_response_fields(pair, script):
    fields = [("X-B", "1"), ("set-cookie", "a=1; Path=/"), ("x-a", "2"), ("Set-Cookie", "b=2"), ("X-B", "3"),
              ("Content-Type", "text/plain"), ("Server", "scripted"), ("Www-Authenticate", "Basic")]
    script.on("/fields", lambda call: call.respond(200, b"x", fields))
    response = pair.request("GET", "/fields")
    expected = [(name.title(), value) for name, value in fields]
    assert [field for field in response.fields if field[0] in names(expected)] == expected


def test_date(pair, script):
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", pair.request("GET", "/n/1").get("Date")), "added"
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    script.on("/date", lambda call: call.respond(200, b"", [("Date", date)]))
    assert pair.request("GET", "/date").all("Date") == [date]


HOP_BY_HOP = [("Connection", "keep-alive, X-Named"), ("X-Named", "1"), ("Keep-Alive", "timeout=5"), ("Upgrade", "h2c"),
              ("Proxy-Connection", "keep-alive"), ("Proxy-Authenticate", "Basic"), ("Proxy-Authorization", "Basic x"),
              ("X-Kept", "1")]


def test_hop_by_hop_of_requests(pair):
    seen = echoed(pair.request("GET", "/echo", fields=HOP_BY_HOP + [("TE", "gzip")]))
    assert {name for name in names(of_the_caller(seen)) if name != "Connection"} == {"X-Kept"}
    assert "x-named" not in dict(seen["fields"]).get("Connection", "").lower()


def test_hop_by_hop_of_responses(pair, script):
    script.on("/hops", lambda call: call.respond(200, b"x", HOP_BY_HOP))
    response = pair.request("GET", "/hops")
    gone = {"X-Named", "Keep-Alive", "Upgrade", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization"}
    assert set(names(response.fields)) & gone == set()
    assert response.get("X-Kept") == "1"


def test_connection_cannot_remove_what_matters(pair):
    kept = [("Content-Type", "text/plain"), ("Authorization", "x"), ("Cookie", "a=b"), ("Forwarded", "for=a"),
            ("Date", "Tue, 15 Nov 1994 08:12:31 GMT")]
    named = ", ".join(["Host", "Content-Length", *names(kept)])
    seen = echoed(pair.request("POST", "/echo", b"body", [("Connection", named), *kept]))
    assert [field for field in seen["fields"] if field in kept] == kept
    assert ("Host", "origin.test") in seen["fields"] and seen["body"] == "body"


def test_many_fields(pair):
    fields = [(f"X-Field-{number}", "v" * 300) for number in range(100)]
    seen = echoed(pair.request("GET", "/echo", fields=fields))
    assert [field for field in seen["fields"] if field[0].startswith("X-Field")] == fields


# Trailers, interim responses, 100-continue


def test_trailers_of_requests(pair):
    with pair.open() as client:
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Sum\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n")
        seen = echoed(client.response())
    assert (seen["body"], seen["trailers"]) == ("abc", [("X-Sum", "1"), ("X-More", "2")])
    assert ("Trailer", "X-Sum") in seen["fields"] and ("Te", "trailers") in [(n.title(), v) for n, v in seen["fields"]]


def test_trailers_of_responses(pair, script):
    def trailers(call):
        call.send_head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
        call.send("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
        return True

    script.on("/trailers", trailers)
    response = pair.request("GET", "/trailers", fields=[("TE", "trailers")])
    assert (response.body, response.trailers, response.get("Trailer")) == (b"abc", [("X-Sum", "1")], "X-Sum")


def test_early_hints(pair, script):
    def hints(call):
        call.send_head(103, [("Link", "</a.css>; rel=preload")], "Early Hints")
        call.send_head(103, [("Link", "</b.css>; rel=preload")], "Early Hints")
        return call.respond(200, b"page")

    script.on("/hints", hints)
    response = pair.request("GET", "/hints")
    assert (response.status, response.body) == (200, b"page")
    assert [(interim.status, interim.get("Link")) for interim in response.interim] == [
        (103, "</a.css>; rel=preload"), (103, "</b.css>; rel=preload")]
    with pair.open() as client:
        old = client.request("GET", "/hints", version="HTTP/1.0")
        assert (old.interim, old.body) == ([], b"page"), "HTTP/1.0 has no interim responses"


def test_expect_continue_is_end_to_end(pair, script):
    """The body is held until the origin asks for it."""
    with pair.open() as client:
        client.send("POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        interim = client.head()
        assert interim.status == 100
        assert script.requests[-1].get("Expect") == "100-continue"
        client.send("hello")
        assert json.loads(client.response().body)["length"] == 5


def test_expect_continue_refused(pair, script):
    def refuse(call):
        call.respond(417, b"no")
        return False

    script.on("/refuse", refuse)
    with pair.open() as client:
        client.send("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        assert client.response().status == 417, "the caller is answered at once, its body never comes"


def test_curl_expects_continue(to_nginx, nginx, tmp_path):
    (tmp_path / "body").write_bytes(payload(2 << 20))
    done = curl(to_nginx, "/expected", "--upload-file", tmp_path / "body", "--header", "Expect: 100-continue")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (nginx.root / "expected").read_bytes() == payload(2 << 20)


def test_response_before_the_request_has_ended(pair, script):
    """It is forwarded at once; what follows on other connections is not touched."""
    def early(call):
        call.respond(413, b"too much", [("Connection", "close")])
        return False

    script.on("/early", early)
    with pair.open() as client:
        client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", payload(1000))
        response = client.response()
        assert (response.status, response.body) == (413, b"too much")
    assert pair.request("GET", "/n/10").body == payload(10)


def test_small_rest_of_a_request_is_drained(pair, script):
    """After an early response the connection goes on when the rest is small."""
    script.on("/ignore", lambda call: call.respond(200, b"early"))
    with pair.open() as client:
        client.send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n")
        assert client.response().body == b"early"
        client.send(payload(20000))
        try:
            assert client.request("GET", "/n/10").body == payload(10)
        except (http1.Cut, OSError):
            pass  # allowed, too: "drained up to 64 KiB or the connection closed"


# UNIX sockets


def test_unix_sockets(start_pair, tmp_path):
    """Listener and origin."""
    origin = ScriptedOrigin(tmp_path / "origin.sock")
    try:
        pair = start_pair(origin.address, client={"general": {"http_bind_address": f"unix:{tmp_path}/http.sock"}})
        for size in SIZES:
            assert pair.request("GET", f"/n/{size}").body == payload(size)
            assert json.loads(pair.request("POST", "/sink", payload(size)).body)["sha256"] == sha256(payload(size))
        pair.stop()
        assert not (tmp_path / "http.sock").exists(), "removed at the end"
    finally:
        origin.stop()


def test_several_listeners(start_pair, tmp_path):
    pair = start_pair(client={"general": {"http_bind_address": [f"unix:{tmp_path}/a.sock", f"unix:{tmp_path}/b.sock"]}})
    for name in "ab":
        assert http1.request(f"{tmp_path}/{name}.sock", "GET", "/n/100").body == payload(100)


def test_nginx_on_a_unix_socket(start_pair, tmp_path, script):
    nginx = Nginx(tmp_path / "nginx", script.address, listen=f"unix:{tmp_path}/nginx.sock")
    try:
        (nginx.root / "file").write_bytes(payload(100000))
        assert start_pair(nginx.address).request("GET", "/file").body == payload(100000)
    finally:
        nginx.stop()
