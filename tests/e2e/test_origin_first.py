"""An origin that answers before it was asked (RELIABILITY H1-36)."""

import socketserver
import threading

import pytest
from harness import wait_for


class SpeaksFirst(socketserver.ThreadingTCPServer):
    """Sends a response as soon as somebody connects, and one more to each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Speaking)
        self.requests, self.ended = [], []  # of each connection: what came, and that the proxy has closed it
        self.address = "127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Speaking(socketserver.BaseRequestHandler):
    def handle(self):
        requests, ended = [], threading.Event()
        self.server.requests.append(requests)
        self.server.ended.append(ended)
        try:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
            data = b""
            while piece := self.request.recv(65536):
                data += piece
                while b"\r\n\r\n" in data:
                    request, data = data.split(b"\r\n\r\n", 1)
                    requests.append(request.split(b" ")[1].decode())
                    self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        except OSError:
            pass
        finally:
            ended.set()


@pytest.fixture
def origin():
    origin = SpeaksFirst()
    yield origin
    origin.shutdown()
    origin.server_close()


def test_surplus_is_for_nobody(start_pair, origin):
    """What is there when the request is sent cannot be told from a quick answer to it; what comes behind it can: it is
    never given to the next request, and its connection is not used again."""
    pair = start_pair(origin.address)

    def wait_ended():
        wait_for(lambda: origin.ended and all(event.is_set() for event in origin.ended), 30,
                 "the end of the origin's connections")

    wait_ended()  # of what asked whether there is a session
    begun = len(origin.ended)
    with pair.open() as client:
        for number in range(5):
            response = client.request("GET", f"/{number}")
            assert response.status == 502 or response.body == b"early"
            wait_ended()
    # Not even one where the proxy has closed before the origin has read it.
    assert all(len(requests) <= 1 for requests in origin.requests[begun:]), origin.requests
    assert len(origin.requests[begun:]) == 5, "a connection for each"
    assert len(pair.client.connections()) == 1
