"""ptproxy against HTTP/3 software that is not ours: each mode alone, with the other end of the session a stranger.

test_peers.py shows that the strangers work with one another.
"""

import http.client
from concurrent.futures import ThreadPoolExecutor

import harness
import peers
import pytest
from harness import wait_for
from payload import payload, receipt, sha256
from peers import MEGABYTE

certificates, origin, megabyte = peers.certificates, peers.origin, peers.megabyte

PARALLEL = 100
SIZES = range(1000, 1000 + PARALLEL)
RECEIPT = receipt("POST", payload(MEGABYTE))


def configuration(certificates, identity, quic_port, **general):
    return {
        "general": {"quic_port": quic_port, "bind_address": "127.0.0.1", **general},
        "tls": {"ca": str(certificates.ca), "cert": str(identity.cert), "key": str(identity.key)},
    }


class ClientMode(harness.ClientDaemon):
    def request(self, method, path, body=None, headers=(), timeout=30):
        """A request over a connection of its own. Host is the peer's name: nginx and Caddy, when they want client
        certificates, answer 421 if it is not the name of the handshake."""
        connection = http.client.HTTPConnection(*self.http, timeout=timeout)
        try:
            connection.request(method, path, body, {"Host": "server.test", **dict(headers)},
                               encode_chunked="Transfer-Encoding" in dict(headers))
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def wait_tunnel(self):
        wait_for(lambda: self.request("GET", "/n/0")[0].status != 503, what="the session")


def server_mode(directory, certificates, origin):
    return harness.Daemon(directory, configuration(
        certificates, certificates.server, peers.free_port(), mode="server", peer_hostname="client.test",
        http_connect_address=origin.address))


def client_mode(directory, certificates, port, identity=None, peer_hostname="server.test"):
    return ClientMode(directory, configuration(
        certificates, identity or certificates.client, port, mode="client", peer_hostname=peer_hostname,
        connect_address="127.0.0.1", http_bind_address=f"127.0.0.1:{peers.free_port()}"))


@pytest.fixture(scope="module")
def server(tmp_path_factory, certificates, origin):
    """ptproxy in server mode, the same one for all clients."""
    server = server_mode(tmp_path_factory.mktemp("server"), certificates, origin)
    yield server
    server.stop()


# curl -> server mode


def curl(server, certificates, path, *options):
    done = peers.curl_h3(server.port, certificates.ca, certificates.client, path, *options)
    assert (done.returncode, done.stderr) == (0, b""), server.log.read_text()
    return done.stdout


@pytest.mark.parametrize("length", [0, 1000, MEGABYTE])
def test_curl_gets(server, certificates, length):
    assert curl(server, certificates, f"/n/{length}") == payload(length)


def test_curl_posts_with_length(server, certificates, origin, megabyte):
    assert curl(server, certificates, "/echo", "--data-binary", f"@{megabyte}") == RECEIPT
    assert origin.requests[-1][2]["Content-Length"] == str(MEGABYTE)


def test_curl_posts_without_length(server, certificates, origin, megabyte):
    assert curl(server, certificates, "/echo", "--request", "POST", "--header", "Content-Length:",
                "--upload-file", megabyte) == RECEIPT
    assert origin.requests[-1][2]["Transfer-Encoding"] == "chunked"


def test_curl_heads(server, certificates):
    head = curl(server, certificates, f"/n/{MEGABYTE}", "--head").decode().lower()
    assert head.startswith("http/3 200")
    assert f"\ncontent-length: {MEGABYTE}\r\n" in head
    assert "\ndate: " in head


def test_curl_requests_in_parallel(server, certificates, tmp_path):
    connects = curl(server, certificates, f"/n/[{SIZES[0]}-{SIZES[-1]}]", "--parallel", "--parallel-max", str(PARALLEL),
                    "--output", tmp_path / "#1", "--write-out", "%{num_connects}\n")
    assert sum(map(int, connects.split())) == 1
    for size in SIZES:
        assert (tmp_path / str(size)).read_bytes() == payload(size)


@pytest.mark.parametrize("who", [None, "stranger", "foreign"])
def test_curl_is_refused(tmp_path, certificates, origin, who):
    """A server of its own each time, as refusals are logged at a limited rate."""
    server = server_mode(tmp_path, certificates, origin)
    try:
        before = len(origin.requests)
        done = peers.curl_h3(server.port, certificates.ca, who and getattr(certificates, who), "/n/1000")
        assert done.returncode != 0 and done.stdout == b""
        assert len(origin.requests) == before
        server.wait_log(r"127\.0\.0\.1.*(?i:certificate|name)")
        assert curl(server, certificates, "/n/1000") == payload(1000)
    finally:
        server.stop()


# aioquic -> server mode


def test_aioquic_gets_and_heads(server, certificates):
    done = peers.h3_client(server.port, certificates.ca, certificates.client, "/n/0", "/n/1000", f"/n/{MEGABYTE}")
    assert done.returncode == 0, done.stderr
    assert [response["status"] for response in done.responses] == [200, 200, 200]
    assert [response["sha256"] for response in done.responses] == [sha256(payload(n)) for n in (0, 1000, MEGABYTE)]

    done = peers.h3_client(server.port, certificates.ca, certificates.client, f"/n/{MEGABYTE}", method="HEAD")
    assert done.returncode == 0, done.stderr
    assert (done.responses[0]["status"], done.responses[0]["length"]) == (200, 0)
    assert ["content-length", str(MEGABYTE)] in done.responses[0]["headers"]


def test_aioquic_posts(server, certificates, origin, megabyte):
    done = peers.h3_client(server.port, certificates.ca, certificates.client, "/echo", method="POST", data=megabyte,
                           headers=["X-Mark: kept"])
    assert done.returncode == 0, done.stderr
    assert done.responses[0]["sha256"] == sha256(RECEIPT)
    assert origin.requests[-1][2]["X-Mark"] == "kept"


def test_aioquic_requests_in_parallel(server, certificates):
    done = peers.h3_client(server.port, certificates.ca, certificates.client, *(f"/n/{size}" for size in SIZES))
    assert done.returncode == 0, done.stderr
    assert [response["sha256"] for response in done.responses] == [sha256(payload(size)) for size in SIZES]


@pytest.mark.parametrize("who", [None, "stranger", "foreign"])
def test_aioquic_is_refused(server, certificates, origin, who):
    before = len(origin.requests)
    done = peers.h3_client(server.port, certificates.ca, who and getattr(certificates, who), "/n/1000")
    assert done.returncode != 0 and [r["status"] for r in done.responses] in ([], [None])
    assert "error 0x1" in done.stderr, "ended by a TLS alert, not by a timeout"
    assert len(origin.requests) == before


# gtlsclient -> server mode


def test_gtlsclient_gets(server, certificates, tmp_path):
    peers.gtlsclient(server.port, certificates.client, tmp_path, "/n/1000", f"/n/{MEGABYTE}")
    for length in (1000, MEGABYTE):
        assert (tmp_path / str(length)).read_bytes() == payload(length)


def test_gtlsclient_posts(server, certificates, tmp_path, megabyte):
    peers.gtlsclient(server.port, certificates.client, tmp_path, "/echo", options=["-m", "POST", "--data", megabyte])
    assert (tmp_path / "echo").read_bytes() == RECEIPT


def test_gtlsclient_requests_in_parallel(server, certificates, tmp_path):
    peers.gtlsclient(server.port, certificates.client, tmp_path, *(f"/n/{size}" for size in SIZES))
    for size in SIZES:
        assert (tmp_path / str(size)).read_bytes() == payload(size)


def test_gtlsclient_changes_its_address(server, certificates, tmp_path):
    """As behind a NAT that rebinds, between handshake and request; then new keys and some loss on top."""
    peers.gtlsclient(server.port, certificates.client, tmp_path, f"/n/{MEGABYTE}",
                     options=["--change-local-addr=50ms", "--nat-rebinding", "--delay-stream=100ms",
                              "--key-update=120ms", "--tx-loss=0.01", "--rx-loss=0.01"])
    assert (tmp_path / str(MEGABYTE)).read_bytes() == payload(MEGABYTE)


@pytest.mark.parametrize("who", [None, "stranger", "foreign"])
def test_gtlsclient_is_refused(server, certificates, origin, tmp_path, who):
    before = len(origin.requests)
    peers.gtlsclient(server.port, who and getattr(certificates, who), tmp_path, "/n/1000")
    assert not (tmp_path / "1000").exists() or (tmp_path / "1000").stat().st_size == 0
    assert len(origin.requests) == before


# client mode -> nginx, Caddy, aioquic, gtlsserver


@pytest.fixture(scope="module", params=peers.SERVERS)
def client(request, tmp_path_factory, certificates, origin):
    """ptproxy in client mode with its session to the peer up."""
    peer = peers.start_server(request.param, tmp_path_factory.mktemp(request.param), certificates, origin)
    try:
        client = client_mode(tmp_path_factory.mktemp("client"), certificates, peer.port)
        try:
            client.wait_tunnel()
            yield client
        finally:
            client.stop()
    finally:
        peer.stop()


@pytest.mark.parametrize("length", [0, 1000, MEGABYTE])
def test_client_gets(client, length):
    response, body = client.request("GET", f"/n/{length}")
    assert (response.status, body) == (200, payload(length))


def test_client_heads(client):
    response, body = client.request("HEAD", f"/n/{MEGABYTE}")
    assert (response.status, response.getheader("Content-Length"), body) == (200, str(MEGABYTE), b"")


def test_client_posts_with_length(client):
    response, body = client.request("POST", "/echo", payload(MEGABYTE))
    assert (response.status, body) == (200, RECEIPT)


def test_client_posts_chunked(client):
    content = payload(MEGABYTE)
    chunks = (content[at:at + 10000] for at in range(0, MEGABYTE, 10000))
    response, body = client.request("POST", "/echo", chunks, {"Transfer-Encoding": "chunked"})
    assert (response.status, body) == (200, RECEIPT)


def test_client_requests_in_parallel(client):
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(lambda size: client.request("GET", f"/n/{size}"), SIZES))
    assert [response.status for response, _ in answers] == [200] * PARALLEL
    assert [body for _, body in answers] == [payload(size) for size in SIZES]


def test_client_gets_from_gtlsserver(certificates, tmp_path):
    peer = peers.start_gtlsserver(tmp_path / "peer", peers.free_port(), certificates.server, "--validate-addr")
    try:
        (tmp_path / "peer/htdocs/file").write_bytes(payload(MEGABYTE))
        client = client_mode(tmp_path / "client", certificates, peer.port)
        try:
            client.wait_tunnel()
            response, body = client.request("GET", "/file")
            assert (response.status, body) == (200, payload(MEGABYTE))
        finally:
            client.stop()
    finally:
        peer.stop()


@pytest.mark.parametrize("kind", ["nginx", "caddy", "aioquic"])
def test_client_of_another_ca_is_refused(certificates, origin, tmp_path, kind):
    peer = peers.start_server(kind, tmp_path / "peer", certificates, origin)
    try:
        client = client_mode(tmp_path / "client", certificates, peer.port, certificates.foreign)
        try:
            if kind == "nginx":  # finishes the handshake and answers each request with 400: an answer like any other
                client.wait_tunnel()
                statuses = {400}
            else:  # 502 when the request came between the client's end of the handshake and the server's alert
                client.wait_log("(?i)(warn|error).*(alert|certificate)")
                statuses = {502, 503}
            before = len(origin.requests)
            assert client.request("GET", "/n/1000")[0].status in statuses
            assert len(origin.requests) == before
        finally:
            client.stop()
    finally:
        peer.stop()


@pytest.mark.parametrize("fault", ["another CA", "another name"])
def test_client_refuses_server(certificates, origin, tmp_path, fault):
    identity = certificates.foreign_server if fault == "another CA" else certificates.server
    peer = peers.start_server("nginx", tmp_path / "peer", certificates, origin, identity)
    try:
        name = "other.test" if fault == "another name" else "server.test"
        client = client_mode(tmp_path / "client", certificates, peer.port, peer_hostname=name)
        try:
            client.wait_log("(?i)(warn|error).*(certificate|name)")
            before = len(origin.requests)
            response, body = client.request("GET", "/n/1000")
            assert (response.status, response.getheader("Retry-After")) == (503, "1")
            assert b"tunnel not established" in body
            assert len(origin.requests) == before
        finally:
            client.stop()
    finally:
        peer.stop()
