"""A UDP relay on this machine, between a client and its server: the network, as far as a test has it in hand.

It may swallow everything, and change the address that the server sees of the client as a NAT does.
"""

import select
import socket
import threading

import peers


class Relay:
    """Takes datagrams at `port` and hands them on to 127.0.0.1:`to`; one client at a time, the one that spoke last."""

    def __init__(self, to):
        self.to = ("127.0.0.1", to)
        self.port = peers.free_port()
        self.inner = self.socket(self.port)
        self.outer = self.socket(0)
        self.client = None
        self.swallows = False
        self.initials = []  # of each datagram of a client with an Initial packet: its Destination Connection ID
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @staticmethod
    def socket(port):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.bind(("127.0.0.1", port))
        return made

    def run(self):
        while not self.stopping.is_set():
            for ready in select.select([self.inner, self.outer], [], [], 0.05)[0]:
                try:
                    data, source = ready.recvfrom(65536)
                    self.hand_on(ready, data, source)
                except OSError:
                    pass  # nobody there: an ICMP message that a real network may have lost as well

    def hand_on(self, ready, data, source):
        if ready is self.inner:
            self.client = source
            if data[0] & 0xf0 == 0xc0:
                self.initials.append(data[6:6 + data[5]])
        if self.swallows:
            return
        if ready is self.inner:
            self.outer.sendto(data, self.to)
        elif self.client and ready is self.outer:
            self.inner.sendto(data, self.client)

    def rebind(self):
        """From now on the server sees another port, and what it sends to the old one is lost."""
        self.outer = self.socket(0)

    def stop(self):
        self.stopping.set()
        self.thread.join(5)
        self.inner.close()
        self.outer.close()
