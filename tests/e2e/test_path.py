"""Two ends with an emulated link between them: where the kernel has a part in what a link does to a session. What is a
matter of time alone is in tests/sim (sim --windows, --moves, --outages, --goodput)."""

import re
import subprocess
import sys
import threading
import time

import http1
import pytest
from harness import SLOW, wait_for
from link_pair import LinkPair, needs_link
from netns import ADDRESSES, enter
from payload import payload
from scripted import ScriptedOrigin, stream, stream_sha256

pytestmark = needs_link
BODY = 4 << 20


@pytest.fixture
def link_pair(tmp_path, identities):
    made, origin = [], ScriptedOrigin(tmp_path / "origin")

    def start(settings="delay=10", device=1500, session=True, who=None, **transport):
        made.append(LinkPair(tmp_path / f"pair{len(made)}", identities, origin.address, settings, device,
                             {"transport": transport}, identities=who))
        return made[-1].start(session)

    yield start
    for pair in made:
        pair.stop()
    origin.stop()


class Download:
    """A body of BODY bytes that is on its way; join() says how long it took."""

    def __init__(self, pair):
        self.pair, self.seconds, self.begun = pair, None, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        start = time.monotonic()
        with self.pair.open() as client:
            response = client.request("GET", f"/stream/{BODY}", hashed=True, on_read=lambda _: self.begun.set())
        if response.hash.hexdigest() == stream_sha256(BODY):
            self.seconds = time.monotonic() - start

    def join(self):
        self.thread.join(60 * SLOW)
        assert self.seconds is not None, "the download is not complete, or not what was sent"
        return self.seconds


def one_session(pair):
    assert pair.link.stats()["handshakes"] == 1
    assert len(pair.client.connections()) == 1


def packets_repeated(pair, end):
    metrics = http1.request(f"{pair.directory}/admin-{end}", "GET", "/metrics").body.decode()
    return int(re.search(r"^ptproxy_link_packets_repeated_total (\d+)$", metrics, re.MULTILINE)[1])


FORGED = """
import socket, struct, sys
here, there, port, peer_port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff

def ip(source, target, protocol, length):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 1, 0x4000, 64, protocol, 0, socket.inet_aton(source),
                       socket.inet_aton(target))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:]

quoted = ip(here, there, 17, 1400) + struct.pack("!HHHH", port, peer_port, 1400, 0)
icmp = struct.pack("!BBHHH", 3, 4, 0, 0, 68) + quoted
icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for _ in range(20):
    raw.sendto(ip(there, here, 1, len(icmp)) + icmp, (here, 0))
"""


def icmp_errors(pair):
    """ICMP messages of type 3 that the client's host has taken in."""
    text = subprocess.run([*enter(pair.link.pid, "a"), "cat", "/proc/net/snmp"], capture_output=True, check=True).stdout
    names, values = [line.split()[1:] for line in text.decode().splitlines() if line.startswith("Icmp:")]
    return int(dict(zip(names, values))["InDestUnreachs"])


def test_forged_size_is_not_believed(link_pair):
    """"Fragmentation needed, 68 bytes", by anybody who can guess ports (RFC 8899 section 4.6)."""
    pair = link_pair("delay=5")
    pair.wait_packets(1472)
    client, server = (pair.status(end)["sessions"][0] for end in ("client", "server"))
    ports = [session["peer"].rsplit(":", 1)[1] for session in (server, client)]
    download, before = Download(pair), icmp_errors(pair)
    assert download.begun.wait(20 * SLOW)
    subprocess.run([*enter(pair.link.pid, "a"), sys.executable, "-c", FORGED, ADDRESSES["a"], ADDRESSES["b"], *ports],
                   check=True)
    assert icmp_errors(pair) >= before + 20, "the kernel has seen them"
    download.join()
    assert stream_sha256(BODY).encode() in pair.request("POST", "/sink", stream(BODY)).body
    assert pair.packet_bytes("client") == 1472
    one_session(pair)


@pytest.mark.parametrize("mtu, found", [(1280, 1252), (1400, 1372), (1500, 1472), (9000, 8952)])
def test_packets_as_large_as_the_link_takes(link_pair, mtu, found):
    pair = link_pair(f"delay=5 mtu={mtu}", device=9000)
    pair.wait_packets(found)
    assert Download(pair).join() < 20 * SLOW


def test_packets_of_a_fixed_size(link_pair):
    pair = link_pair("delay=5 mtu=1378", mtu=1350)
    assert [pair.packet_bytes(end) for end in ("client", "server")] == [1350] * 2
    assert Download(pair).join() < 20 * SLOW
    assert pair.link.stats()["ba"]["dropped"]["mtu"] == 0


def test_a_fixed_size_that_is_too_large(link_pair):
    """It is what the first packets have, and nothing else is tried."""
    pair = link_pair("delay=5 mtu=1377", session=False, mtu=1350)
    wait_for(lambda: pair.link.stats()["ab"]["dropped"]["mtu"] >= 2, what="packets that are too large")
    assert pair.client.connections() == []


def test_a_black_hole_for_large_packets(link_pair):
    pair = link_pair("delay=25 rate=30 queue_ms=100")
    pair.wait_packets(1472)
    download = Download(pair)
    assert download.begun.wait(10 * SLOW)
    pair.link.command("set mtu=1280")
    assert download.join() < BODY * 8 / 30e6 + 4 * SLOW
    one_session(pair)


@pytest.mark.parametrize("times", [1, 5])
def test_another_port(link_pair, times):
    pair = link_pair("delay=25 rate=30 queue_ms=100")
    download = Download(pair)
    assert download.begun.wait(10 * SLOW)
    for _ in range(times):
        pair.link.command("rebind")
        time.sleep(0.2)
    download.join()
    assert pair.request("GET", "/n/1000").body == payload(1000)
    one_session(pair)


def test_another_address_of_the_client(link_pair):
    """The old one is gone, and with it what a connected socket can send from: the session goes on from the new one."""
    pair = link_pair("delay=25 rate=30 queue_ms=100")
    download = Download(pair)
    assert download.begun.wait(10 * SLOW)
    for words in (f"addr del {ADDRESSES['a']}/24 dev link0", "addr add 10.77.0.9/24 dev link0",
                  "route replace default dev link0"):
        pair.link.run("a", ["ip", *words.split()], check=True)
    assert download.join() < BODY * 8 / 30e6 + 4 * SLOW
    one_session(pair)
    assert "goes on from 10.77.0.9:" in pair.client.text()


def test_first_response_of_a_window(link_pair):
    """A response of one bandwidth-delay product on a fresh session: two round trips and its serialisation."""
    bdp = 250_000
    pair = link_pair("delay=50 rate=20 queue_ms=200", initial_window=bdp, initial_rtt=100)
    start = time.monotonic()
    assert pair.request("GET", f"/n/{bdp}").body == payload(bdp)
    assert 0.2 <= time.monotonic() - start < 0.33 + 0.2 * SLOW


def test_what_is_sent_last_is_sent_twice(link_pair):
    """transport.redundancy where every tenth packet is lost: requests and bodies arrive whole, on one session."""
    pair = link_pair("delay=10 loss=10", redundancy=True)
    with pair.open() as client:
        for number in range(50):
            assert client.request("GET", f"/n/{number * 100}").body == payload(number * 100)
    assert stream_sha256(BODY).encode() in pair.request("POST", "/sink", stream(BODY)).body
    Download(pair).join()
    one_session(pair)
    for end in ("client", "server"):
        assert packets_repeated(pair, end) >= 50
    assert all(pair.link.stats()[way]["dropped"]["loss"] > 0 for way in ("ab", "ba"))


def test_outage(link_pair):
    pair = link_pair("delay=25")
    pair.link.command("down 1000")
    start = time.monotonic()
    assert pair.request("GET", "/n/1000").body == payload(1000)
    assert 0.8 < time.monotonic() - start < 2.5 * SLOW
    one_session(pair)


def test_a_refusal_that_is_a_round_trip_away(link_pair, identities):
    """The client has verified the server and waits for its word. What is requested meanwhile waits, too, and gets 503
    when that word is a refusal; what is requested between two attempts is told so at once."""
    pair = link_pair("delay=50", session=False, who={"client": identities.foreign})
    seconds = []
    until = time.monotonic() + 2 * SLOW
    while time.monotonic() < until:
        start = time.monotonic()
        answer = pair.request("GET", "/n/1")
        seconds.append(time.monotonic() - start)
        assert (answer.status, answer.body) == (503, b"tunnel not established\n")
        time.sleep(0.01)
    assert max(seconds) < 2 * SLOW and min(seconds) < 0.03 * SLOW
    assert [each for each in seconds if each > 0.03], "none came while the word was awaited"
    for end in pair.client, pair.server:
        assert end.connections() == []
        end.wait_log("WARN.*connection .* failed")
