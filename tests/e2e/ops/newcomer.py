"""A tunnel as a newcomer makes it: `ptproxy certs`, and then what is different on this machine."""

import json
from types import SimpleNamespace

import peers


def adapt(directory, origin):
    """Has both configurations in `directory` be of ports that are free here, and of an origin; what those ports are."""
    quic, http = peers.free_port(), peers.free_port()
    for end, more in (("server", {"http_connect_address": origin}),
                      ("client", {"connect_address": "127.0.0.1", "http_bind_address": f"127.0.0.1:{http}"})):
        file = directory / f"{end}.json"
        told = json.loads(file.read_text())
        told["general"].update(more, quic_port=quic, bind_address="127.0.0.1")
        file.write_text(json.dumps(told))
    return SimpleNamespace(quic=quic, http=http)
