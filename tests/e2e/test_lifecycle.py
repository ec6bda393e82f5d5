"""A session from its first attempt on, line by line of what is promised about its life; restarts, drains and refusals
have modules of their own (test_restart, test_lifecycle_load, test_certificates)."""

import json
import re
import signal
import subprocess
import threading
import time

import harness
import http1
import pytest
from harness import SLOW, Daemon, merge, wait_for
from identities import Authority
from load import Load, log_times
from payload import payload
from relay import Relay


@pytest.fixture
def relay():  # named before start_pair, so that it is there until the pair has ended
    relays = []

    def make(pair):
        made = Relay(pair.quic_port)
        relays.append(made)
        pair.client_configuration["general"]["quic_port"] = made.port
        return made

    yield make
    for made in relays:
        made.stop()


def rewrite(daemon, *changes):
    """The file that SIGHUP reads."""
    daemon.configuration = merge(daemon.configuration, *changes)
    daemon.file.write_text(json.dumps(daemon.configuration))


def test_session_before_any_request(start_pair):
    pair = start_pair(session=None)
    pair.start_server()
    pair.start_client()
    for end in pair.client, pair.server:
        end.wait_log(r"connection \S+ established")
    assert pair.client.connections() == pair.server.connections(), "both ends name it alike"


def test_what_is_said_at_the_start(start_pair):
    """What is bound, how io_uring and UDP are used, the buffers granted, and the AES code; by a client once, although
    it makes a socket for each attempt."""
    pair = start_pair()
    pair.server.kill()
    pair.start_server()
    wait_for(lambda: len(pair.client.connections()) == 2, what="a second session")
    udp = r"127\.0\.0\.1:\d+ \(GSO (on|off), GRO (on|off), receive buffer \d{4,}, send buffer \d{4,} bytes\)$"
    pair.client.wait_log("INFO ptproxy: accepting HTTP requests on %s:%d$" % pair.http)
    pair.server.wait_log(f"INFO ptproxy: accepting connections on UDP {udp}")
    version = subprocess.run([harness.BINARY, "--version"], capture_output=True, text=True).stdout
    for end in pair.client, pair.server:
        end.wait_log(f"INFO ptproxy: packets: AES-GCM by {re.escape(version.split('CPU: ')[1].strip())}$")
        end.wait_log(r"INFO ptproxy: io_uring: single issuer, .* restricted to \d+ operations; buffers \d+ KiB")
    assert len(re.findall(f"INFO ptproxy: connecting from UDP {udp}", pair.client.text(), re.MULTILINE)) == 1


def test_attempts_of_a_peer_that_is_silent(relay, start_pair):
    """Each is as long as max_idle_timeout, then comes the pause of connect_interval, 20 % more or less, then another
    attempt; every failure is logged."""
    pair = start_pair(session=None, client={"transport": {"max_idle_timeout": "300ms", "keep_alive_interval": "100ms"},
                                            "system": {"connect_interval": "500ms"}})
    network = relay(pair)
    network.swallows = True
    pair.start_client()
    pair.client.wait_log(r"WARN.*connection \S+ failed \(peer 127.0.0.1:\d+\): handshake timeout", timeout=15, count=5)
    begun = log_times(pair.client.text(), "connecting to")
    failed = log_times(pair.client.text(), r"connection \S+ failed")
    lengths = [end - start for start, end in zip(begun, failed)]
    pauses = [start - end for start, end in zip(begun[1:], failed)]
    assert min(lengths) > 0.29 and sorted(lengths)[2] < 0.5 * SLOW, lengths
    assert min(pauses) > 0.39 and sorted(pauses)[2] < 0.75 * SLOW, pauses
    assert len({round(pause, 3) for pause in pauses}) > 1, "the pauses are not all of the same length"
    assert len(set(network.initials)) >= 5, "every attempt is a connection of its own"


def test_name_that_is_not_there(start_pair):
    """Callers are answered all the while; the name is asked for again with every attempt."""
    pair = start_pair(session=None, client={"general": {"connect_address": "nowhere.invalid"}})
    pair.start_client()
    pair.client.wait_log("WARN.*connection to nowhere.invalid failed: .", timeout=30, count=2)
    answer = pair.request("GET", "/n/1")
    assert (answer.status, answer.get("Retry-After"), answer.body) == (503, "1", b"tunnel not established\n")


def test_nat_rebinding(relay, start_pair):
    """The client's address changes as the server sees it, several times in one download: the session goes on."""
    pair = start_pair(session=None)
    network = relay(pair)
    pair.start()
    body, rebound = [], []

    def download():
        body.append(pair.request("GET", "/stream/20000000?rate=10000000", hashed=True))

    caller = threading.Thread(target=download, daemon=True)
    caller.start()
    for _ in range(4):
        time.sleep(0.4)
        rebound.append(network.outer.getsockname()[1])
        network.rebind()
    caller.join(60 * SLOW)
    assert body and (body[0].status, body[0].length) == (200, 20000000)
    assert pair.request("GET", "/n/1000").body == payload(1000)
    assert len(set(rebound)) == 4
    assert len(pair.client.connections()) == len(pair.server.connections()) == 1
    assert not re.search(r"connection \S+ (closed|failed)", pair.server.text())


def test_back_at_once_where_nothing_says_so(relay, start_pair):
    """No ICMP comes through: what is sent while the server is away is lost without a word."""
    pair = start_pair(session=None)
    network = relay(pair)
    pair.start()
    seconds = []
    for turn in (1, 2):
        pair.server.stop()
        pair.client.wait_log(r"connection \S+ closed", count=turn)
        network.swallows = True
        time.sleep(1.05)  # the first repetition of QUIC itself, after 1 s, goes astray, too; the next is due after 2 s
        pair.start_server()
        network.swallows = False
        start = time.monotonic()
        wait_for(lambda turn=turn: len(pair.client.connections()) == turn + 1, what="the session")
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 0.4 * SLOW, seconds
    assert pair.request("GET", "/n/1000").body == payload(1000)


# Another server


def hosts_of_its_own(path):
    """Runs a command with this file as /etc/hosts."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            'mount --bind "$0" /etc/hosts && exec "$@"', str(path)]


def test_failover_by_name(start_pair, tmp_path):
    """The client asks for its connect_address anew at every attempt: first it leads to one server, then to another."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 there.test\n")
    if (tried := subprocess.run([*hosts_of_its_own(hosts), "true"], capture_output=True, text=True)).returncode != 0:
        pytest.skip(f"NOT TESTED: no mount namespace here: {tried.stderr}")
    life = {"transport": {"max_idle_timeout": "1s", "keep_alive_interval": "300ms"}}
    pair = start_pair(session=None, both=life, server={"general": {"bind_address": "127.0.0.2"}},
                      client={"general": {"connect_address": "there.test"}})
    pair.start_server()
    second = Daemon(tmp_path / "second", merge(pair.server_configuration, {"general": {"bind_address": "127.0.0.3"}}))
    try:
        pair.wrapper = hosts_of_its_own(hosts)
        pair.start_client()
        pair.wait_session()
        hosts.write_text("127.0.0.3 there.test\n")
        time.sleep(0.5)
        assert pair.request("GET", "/n/1000").body == payload(1000)
        assert second.connections() == [], "the old session is kept while it works"
        pair.server.stop()  # back to the first, by a kill, afterwards
        wait_for(second.connections, what="a session with the second server")
        pair.wait_session()
        pair.wrapper = ()
        pair.start_server()
        hosts.write_text("127.0.0.2 there.test\n")
        second.kill()
        pair.server.wait_log(r"connection \S+ established", timeout=15, count=2)
        pair.wait_session()
    finally:
        if not second.ended:
            second.kill()


# Renewal


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def test_renewal_under_load(start_pair, authority, tmp_path):
    """SIGHUP to both ends, with certificates of other names, and with broken files: no request fails, the session is
    kept, and the next one shows the new certificate."""
    identities = {"ca": authority.identity.cert, "client": authority.issue("client", "client.test", "clientAuth"),
                  "server": authority.issue("server", "server.test", "serverAuth")}
    pair = start_pair(identities=identities,
                      client={"general": {"peer_hostname": ["server.test", "new-server.test"]}},
                      server={"general": {"peer_hostname": ["client.test", "new-client.test"]}})
    ends = pair.server, pair.client
    load = Load(pair.http, 100 if SLOW == 1 else 25)
    wait_for(lambda: load.first_good(0))
    for turn in range(2):
        for end, name, usage in zip(ends, ("server", "client"), ("serverAuth", "clientAuth")):
            identities[name].cert.write_text("-----BEGIN CERTIFICATE-----\nbroken\n")
            end.signal(signal.SIGHUP)
            end.wait_log("ERROR.*certificates and key stay as they were", count=turn + 1)
            time.sleep(0.1)
            authority.issue(name, f"new-{name}.test", usage)
            end.signal(signal.SIGHUP)
            end.wait_log("were read again", count=turn + 1)
    stranger = {"general": {"http_bind_address": f"127.0.0.1:{harness.peers.free_port()}",
                            "peer_hostname": "server.test"}}  # who wants to see the old one is disappointed
    refused = harness.ClientDaemon(tmp_path / "refused", merge(pair.client_configuration, stranger))
    refused.wait_log("failed.*host name")
    refused.stop()
    time.sleep(0.3)
    outcomes = load.stop()
    assert {each.how for each in outcomes} == {200} and len(outcomes) > 30 / SLOW
    assert len(pair.client.connections()) == 1
    for end, only in (pair.client_configuration, "new-server.test"), (pair.server_configuration, "new-client.test"):
        end["general"]["peer_hostname"] = only
    kept = pair.server
    pair.client.stop()
    pair.start_client()  # it has the new one now by itself; the server must show the one that it has read meanwhile
    pair.wait_session()
    assert pair.server is kept and len(kept.connections()) == 2


def test_another_authority_is_read_again(start_pair, identities, tmp_path):
    """`tls.ca` as well: a session with a certificate of another authority, once both are in the file."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(identities.ca.read_text())
    pair = start_pair(session=None, server={"tls": {"ca": str(bundle)}}, identities={"client": identities.foreign})
    pair.start_server()
    pair.start_client()
    pair.server.wait_log("WARN.*failed")
    assert pair.server.connections() == []
    bundle.write_text(identities.ca.read_text() + (identities.ca.parent / "other-ca.pem").read_text())
    pair.server.signal(signal.SIGHUP)
    pair.wait_session()


def test_log_settings_are_read_again(start_pair):
    pair = start_pair()
    pair.client.wait_log("DEBUG")
    rewrite(pair.client, {"log": {"level": "info", "format": "json"}})
    pair.client.signal(signal.SIGHUP)
    pair.client.wait_log(r'^\{"ts":".*"level":"info","msg":"certificates, key and log settings were read again"\}$')
    before = len(pair.client.text())
    pair.client.file.write_text("{")
    pair.client.signal(signal.SIGHUP)
    pair.client.wait_log('"level":"error","msg":"the configuration stays as it was')
    assert all(json.loads(line) for line in pair.client.text()[before:].splitlines())
    rewrite(pair.client, {"log": {"level": "debug", "format": "text"}})
    pair.client.signal(signal.SIGHUP)
    pair.client.wait_log("INFO ptproxy: certificates, key and log settings were read again")
    assert pair.request("GET", "/n/1000").body == payload(1000)
    assert len(pair.client.connections()) == 1


# Signals


def test_signals_that_come_in_storms_or_are_of_no_matter(start_pair):
    pair = start_pair()
    load = Load(pair.http, 50 if SLOW == 1 else 10)
    wait_for(lambda: load.first_good(0))
    ends = pair.client, pair.server
    for number in (signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
        for end in ends:
            end.signal(number)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        for end in ends:
            end.signal(signal.SIGHUP)
        time.sleep(0.001)
    assert {each.how for each in load.stop()} == {200}
    for end in ends:
        assert end.process.poll() is None
        assert "were read again" in end.text()
        assert len(end.connections()) == 1


@pytest.mark.parametrize("end", ["client", "server"])
def test_stopped_and_continued(start_pair, end):
    """As when a machine sleeps: longer than the session lives, it is made again; nothing hangs, no timer runs wild."""
    pair = start_pair(both={"transport": {"max_idle_timeout": "1s", "keep_alive_interval": "300ms"}})
    sleeper, other = (pair.client, pair.server) if end == "client" else (pair.server, pair.client)
    sleeper.signal(signal.SIGSTOP)
    answers = []

    def ask():
        try:
            answers.append(pair.request("GET", "/n/1000").status)
        except (http1.Cut, ConnectionError):
            answers.append("cut")

    callers = [threading.Thread(target=ask, daemon=True) for _ in range(20)]
    for caller in callers:
        caller.start()
    other.wait_log(r"connection \S+ closed.*nothing was heard")
    time.sleep(1)
    sleeper.signal(signal.SIGCONT)
    for caller in callers:
        caller.join(20 * SLOW)
    assert len(answers) == 20 and set(answers) <= {200, 502, 503}
    pair.wait_session()
    before = sleeper.cpu_seconds()
    time.sleep(0.5)
    assert sleeper.cpu_seconds() - before < 0.1 * SLOW
    for daemon in pair.client, pair.server:
        daemon.wait_log(r"connection \S+ established", count=2)
