"""What the pair adds to a request: where it came from, and that it was here."""

import json
import socket

import http1
import peers
import pytest

FORWARDED = {"system": {"add_forwarded": True}}


@pytest.fixture(scope="module")
def marking(start_shared_pair):
    """A pair that adds Forwarded on both ends."""
    return start_shared_pair(both=FORWARDED)


def forwarded_of(pair, *fields):
    """The values of Forwarded at the origin, and the client's port."""
    with pair.open() as client:
        port = client.socket.getsockname()[1]
        response = client.request("GET", "/echo", fields=[("Forwarded", value) for value in fields])
        seen = [value for name, value in json.loads(response.body)["fields"] if name == "Forwarded"]
        return seen, port


def test_forwarded(marking):
    """SPEC 4: by the client end with the HTTP addresses, by the server end with those of QUIC."""
    (first, second), port = forwarded_of(marking)
    assert first == f'for="127.0.0.1:{port}";by="127.0.0.1:{marking.http[1]}";proto=http'
    peer, *rest = second.split(";")
    assert peer.startswith('for="127.0.0.1:') and rest == [f'by="127.0.0.1:{marking.quic_port}"', "proto=http3"]


def test_forwarded_is_appended(marking):
    """Behind those that are there, which stay as they are."""
    seen, _ = forwarded_of(marking, "for=192.0.2.1", 'for="[2001:db8::1]";proto=https')
    assert seen[:2] == ["for=192.0.2.1", 'for="[2001:db8::1]";proto=https'] and len(seen) == 4


@pytest.mark.parametrize("bind, host, node", [("[::1]", "::1", "[::1]"), ("[::]", "::1", "[::1]"),
                                              ("[::]", "127.0.0.1", "127.0.0.1")])
def test_forwarded_ipv6(start_pair, bind, host, node):
    """In brackets; an IPv4 client of an IPv6 listener is an IPv4 client."""
    port = peers.free_port()
    addresses = [f"127.0.0.1:{peers.free_port()}", f"{bind}:{port}"]
    start_pair(both=FORWARDED, client={"general": {"http_bind_address": addresses}})
    with http1.Stream(socket.create_connection((host, port), 10)) as client:
        client.send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
        seen = json.loads(client.body(client.head()).body)["fields"]
        by = f"{node}:{client.socket.getsockname()[1]}"
    assert [value for name, value in seen if name == "Forwarded"][0] == f'for="{by}";by="{node}:{port}";proto=http'


def test_not_forwarded_without_being_asked(start_pair):
    assert forwarded_of(start_pair())[0] == []
    assert forwarded_of(start_pair(), "for=192.0.2.1")[0] == ["for=192.0.2.1"]


def test_loop(start_pair):
    """The client end's own listener as the origin: 508 at the second time round, and no storm."""
    port = peers.free_port()
    pair = start_pair(f"127.0.0.1:{port}", client={"general": {"http_bind_address": f"127.0.0.1:{port}"}})
    response = pair.request("GET", "/")
    assert (response.status, response.get("Server")) == (508, "ptproxy client")
    assert response.body == b"the request came round to the same proxy\n"
    with pair.open() as client:
        for _ in range(3):
            assert client.request("GET", "/").status == 508


def test_a_mark_of_another_is_no_loop(start_pair, script):
    """And goes on, as every field."""
    pair = start_pair()
    fields = [("CDN-Loop", "ptproxy-00000000"), ("CDN-Loop", "other.example; x=y")]
    response = pair.request("GET", "/echo", fields=fields)
    marks = [value for name, value in json.loads(response.body)["fields"] if name == "Cdn-Loop"]
    assert marks[:2] == ["ptproxy-00000000", "other.example; x=y"] and len(marks) == 3
    assert http1.request(pair.http, "GET", "/n/3").status == 200
