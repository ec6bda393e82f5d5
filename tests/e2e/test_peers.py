"""The peers against one another, so that a failure in test_interop.py is known to be ours."""

import json

import peers
import pytest
from payload import payload, sha256
from peers import MEGABYTE

certificates, origin, megabyte = peers.certificates, peers.origin, peers.megabyte


@pytest.fixture(scope="module", params=peers.SERVERS)
def server(request, tmp_path_factory, certificates, origin):
    server = peers.start_server(request.param, tmp_path_factory.mktemp(request.param), certificates, origin)
    server.kind = request.param
    yield server
    server.stop()


def test_curl(server, certificates, megabyte):
    got = peers.curl_h3(server.port, certificates.ca, certificates.client, f"/n/{MEGABYTE}")
    assert (got.returncode, got.stderr) == (0, b"")
    assert got.stdout == payload(MEGABYTE)
    posted = peers.curl_h3(server.port, certificates.ca, certificates.client, "/echo", "--data-binary", f"@{megabyte}")
    assert json.loads(posted.stdout) == {"method": "POST", "length": MEGABYTE, "sha256": sha256(payload(MEGABYTE))}


@pytest.mark.parametrize("who", [None, "foreign"])
def test_curl_is_refused(server, certificates, origin, who):
    before = len(origin.requests)
    got = peers.curl_h3(server.port, certificates.ca, who and getattr(certificates, who), "/n/1",
                        "--write-out", "%{http_code}")
    if server.kind.startswith("nginx"):  # finishes the handshake and then answers every request with 400
        assert got.stdout.endswith(b"400")
    else:
        assert got.returncode != 0
    assert len(origin.requests) == before


def test_aioquic(server, certificates, megabyte):
    got = peers.h3_client(server.port, certificates.ca, certificates.client, "/n/1000", f"/n/{MEGABYTE}", "/nowhere")
    assert [(r["status"], r["length"]) for r in got.responses[:2]] == [(200, 1000), (200, MEGABYTE)], got.stderr
    assert [r["sha256"] for r in got.responses[:2]] == [sha256(payload(1000)), sha256(payload(MEGABYTE))]
    assert got.responses[2]["status"] == 404
    posted = peers.h3_client(server.port, certificates.ca, certificates.client, "/echo", method="POST", data=megabyte)
    assert posted.responses[0]["status"] == 200, posted.stderr


@pytest.mark.parametrize("server", [kind for kind in peers.SERVERS if kind != "caddy"], indirect=True)
def test_gtlsclient(server, certificates, tmp_path):
    got = peers.gtlsclient(server.port, certificates.client, tmp_path, f"/n/{MEGABYTE}")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / str(MEGABYTE)).read_bytes() == payload(MEGABYTE)


@pytest.mark.parametrize("options", [(), ("--validate-addr",)], ids=["plain", "retry"])
def test_gtlsserver(certificates, tmp_path, options):
    server = peers.start_gtlsserver(tmp_path, peers.free_port(), certificates.server, *options)
    try:
        (tmp_path / "htdocs/file").write_bytes(payload(MEGABYTE))
        got = peers.gtlsclient(server.port, certificates.client, tmp_path / "got", "/file")
        assert got.returncode == 0, got.stderr
        assert (tmp_path / "got/file").read_bytes() == payload(MEGABYTE)
        again = peers.curl_h3(server.port, certificates.ca, certificates.client, "/file")
        assert again.stdout == payload(MEGABYTE), again.stderr
    finally:
        server.stop()
