"""An HTTP/3 origin on aioquic, to be run by build/peers/bin/python-aioquic. What it answers is in payload.py.

It wants a client certificate that chains to --ca and names --client. aioquic can ask for one but does not look at it,
so this is done here, after the handshake and before any request is answered.
"""

import argparse
import asyncio

import aioquic.asyncio.server
from aioquic import tls
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted
from aioquic.quic.packet import QuicErrorCode
from payload import response_to


class AskingConnection(QuicConnection):
    """A server's connection that asks for the client's certificate, for which aioquic has no public setting."""

    def _initialize(self, peer_cid):
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = True


class Server(QuicConnectionProtocol):
    arguments = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = None
        self.requests = {}

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.admit()
        if self.h3 is None:
            return
        for h3_event in self.h3.handle_event(event):
            if isinstance(h3_event, (HeadersReceived, DataReceived)):
                self.receive(h3_event)

    def admit(self):
        try:
            certificate = self._quic.tls._peer_certificate
            if certificate is None:
                raise tls.AlertHandshakeFailure("client certificate missing")
            tls.verify_certificate(certificate, self._quic.tls._peer_certificate_chain, self.arguments.client,
                                   cafile=self.arguments.ca)
        except tls.Alert as alert:
            print(f"refused: {alert}", flush=True)
            self.close(QuicErrorCode.CRYPTO_ERROR + alert.description, str(alert))
        else:
            print("admitted", flush=True)
            self.h3 = H3Connection(self._quic)

    def receive(self, event):
        headers, body = self.requests.setdefault(event.stream_id, ({}, bytearray()))
        if isinstance(event, HeadersReceived):
            headers.update(event.headers)
        else:
            body += event.data
        if event.stream_ended:
            del self.requests[event.stream_id]
            self.respond(event.stream_id, headers[b":method"].decode(), headers[b":path"].decode(), bytes(body))

    def respond(self, stream, method, path, body):
        status, content = response_to(method, path, body)
        headers = [(b":status", str(status).encode()), (b"content-length", str(len(content)).encode()),
                   (b"server", b"aioquic")]
        self.h3.send_headers(stream, headers, end_stream=method == "HEAD")
        if method != "HEAD":
            self.h3.send_data(stream, content, end_stream=True)
        self.transmit()


async def serve_asking(arguments, protocol, **options):
    """Serves for ever, on connections that ask for a certificate."""
    aioquic.asyncio.server.QuicConnection = AskingConnection  # serve() has no parameter for it
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(arguments.cert, arguments.key)
    await serve("127.0.0.1", arguments.port, configuration=configuration, create_protocol=protocol, **options)
    await asyncio.get_running_loop().create_future()


def main():
    parser = argparse.ArgumentParser(description="HTTP/3 origin that wants a client certificate, on 127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="UDP port")
    parser.add_argument("--cert", required=True, help="PEM file with the server's certificate")
    parser.add_argument("--key", required=True, help="PEM file with its key")
    parser.add_argument("--ca", required=True, help="PEM file the client's certificate must chain to")
    parser.add_argument("--client", required=True, help="name the client's certificate must have")
    parser.add_argument("--retry", action="store_true", help="send Retry first")
    Server.arguments = parser.parse_args()
    asyncio.run(serve_asking(Server.arguments, Server, retry=Server.arguments.retry))


if __name__ == "__main__":
    main()
