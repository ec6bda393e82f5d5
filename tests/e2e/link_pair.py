"""A pair of ptproxy whose ends are in two namespaces with the emulated link of bench/link between them. Callers and the
origin stay outside: UNIX sockets cross namespaces."""

import json
import os
import re
import sys

import harness
import http1
import pytest
from harness import ClientDaemon, Daemon, Pair, wait_for
from peers import TOP

sys.path.insert(0, str(TOP / "bench/link"))
from netns import ADDRESSES, Link, enter  # noqa: E402: the folder is not a package

EMULATOR = harness.BINARY.parent / "link-emulator"
needs_link = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/net/tun"),
                                reason="needs root and /dev/net/tun")


class LinkServer(Daemon):
    """Ready when its admin socket is: its UDP port is in another namespace."""

    def ready(self):
        return os.path.exists(self.configuration["admin"]["bind_address"].removeprefix("unix:"))


class LinkPair(Pair):
    def __init__(self, directory, certificates, origin, settings="delay=10", mtu=1500, both=None, **options):
        self.link = Link(settings=settings, mtu=mtu, emulator=EMULATOR)
        super().__init__(directory, certificates, origin, both, **options)
        self.server_configuration = harness.merge(self.server_configuration, self.admin("server"), {
            "general": {"bind_address": ADDRESSES["b"]}})
        self.client_configuration = harness.merge(self.client_configuration, self.admin("client"), {
            "general": {"bind_address": "0.0.0.0", "connect_address": ADDRESSES["b"],
                        "http_bind_address": f"unix:{directory}/http"}})

    def admin(self, end):
        return {"admin": {"bind_address": f"unix:{self.directory}/admin-{end}"}}

    def start_server(self):
        self.server = LinkServer(self.directory / "server", self.server_configuration, enter(self.link.pid, "b"),
                                 self.patience)

    def start_client(self):
        self.client = ClientDaemon(self.directory / "client", self.client_configuration, enter(self.link.pid, "a"),
                                   self.patience)

    def status(self, end):
        path = f"{self.directory}/admin-{end}"
        return json.loads(http1.request(path, "GET", "/status").body)

    def packet_bytes(self, end):
        """The largest UDP payload that this end sends."""
        return int(re.search(r'"mtu_bytes": ?(\d+)', json.dumps(self.status(end)))[1])

    def wait_packets(self, bytes_each):
        wait_for(lambda: [self.packet_bytes(end) for end in ("client", "server")] == [bytes_each] * 2, 10,
                 f"packets of {bytes_each} bytes")

    def stop(self):
        try:
            super().stop()
        finally:
            self.link.close()
