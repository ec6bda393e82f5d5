"""bench/link: what the emulator is told to do is what is seen at the ends of the link.

Seeds are fixed, so what is lost is the same in every run. What depends on the clock is tried again once: this machine
may have been busy.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import harness
import pytest
from peers import HERE, TOP

sys.path.insert(0, str(TOP / "bench/link"))
from netns import Link, LinkError  # noqa: E402: the folder is not a package

EMULATOR = harness.BINARY.parent / "link-emulator"
PROBE = [sys.executable, str(HERE / "link_probe.py")]
A, B, B_6 = "10.77.0.1", "10.77.0.2", "fd77::2"
PORT = 7000
UDP_HEADERS = 28

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/net/tun"),
                                reason="needs root and /dev/net/tun")


@pytest.fixture
def start():
    """Starts links for one test and ends them; each must end in order."""
    links = []

    def start(settings="", **options):
        links.append(Link(settings=settings, emulator=EMULATOR, **options))
        return links[-1]

    yield start
    for link in links:
        link.close()
    assert [link.process.returncode for link in links] == [0] * len(links)


def probe(link, side, *arguments):
    done = link.run(side, [*PROBE, *map(str, arguments)], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def probe_server(link, side, *arguments):
    server = link.popen(side, [*PROBE, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "up\n"
    return server


def result(server):
    out, _ = server.communicate(timeout=30)
    return json.loads(out)


def numbers_through(link, size, count, per_second, seed=""):
    """The numbers of the datagrams that arrive of `count` sent, the link reset before, to a seed if one is given."""
    receiver = probe_server(link, "b", "receive", PORT)
    link.command(f"reset {seed}".strip())
    probe(link, "a", "send", B, PORT, size, count, per_second)
    return result(receiver)


def again(check):
    try:
        check()
    except AssertionError:
        time.sleep(1)
        check()


# Time and rate


@pytest.mark.parametrize("address, delay", [(B, 0), (B, 5), (B, 75), (B_6, 25)])
def test_round_trip_is_twice_the_delay(start, address, delay):
    link = start(f"delay={delay}")

    def check():
        took = probe(link, "a", "ping", address, 25, 10)
        assert 2 * delay <= statistics.median(took) <= 2 * delay + 1

    again(check)


def test_deliveries_are_punctual(start):
    link = start("delay=10 rate=30 queue_ms=100")

    def check():
        numbers_through(link, 1000, 2000, 2000)
        stats = link.stats()
        assert stats["ab"]["delivered"] >= 2000
        assert stats["late_us"]["p50"] <= 300 * harness.SLOW
        assert 0 < stats["cpu_seconds"] < stats["seconds"]

    again(check)


@pytest.mark.parametrize("share, lost", [(0.9, 0), (1.2, 1 / 6)])
def test_rate(start, share, lost):
    """Of the second half: until then the queue has filled."""
    rate, size, seconds = 20e6, 1200, 2
    link = start("rate=20 queue_ms=50 delay=5")
    per_second = rate * share / 8 / (size + UDP_HEADERS)
    count = int(seconds * per_second)

    def check():
        numbers = numbers_through(link, size, count, int(per_second))
        late = [number for number in numbers if number >= count // 2]
        assert 1 - len(late) / (count - count // 2) == pytest.approx(lost, abs=0.01 if lost else 0)

    again(check)


def test_tcp_fills_the_link(start):
    """One connection with CUBIC, and a queue of one round trip."""
    link = start("rate=50 delay=10 queue_ms=20")

    def check():
        receiver = probe_server(link, "b", "tcp_receive", PORT)
        link.command("reset")
        probe(link, "a", "tcp_send", B, PORT, 3)
        assert 0.9 * 50 <= result(receiver) <= 50
        stats = link.stats()
        direction = stats["ab"]
        assert direction["bytes"] / direction["packets"] <= 1500  # TSO is undone
        assert direction["device_dropped"] == direction["no_buffer"] == 0
        assert (stats["cpu_seconds"] - stats["spin_seconds"]) / stats["seconds"] < 0.7

    again(check)


# Loss


def test_random_loss(start):
    link, count = start("loss=1", seed=3), 100000
    arrived = numbers_through(link, 100, count, 30000)
    lost = count - len(arrived)
    assert arrived == sorted(set(arrived))
    assert 0.0092 * count <= lost <= 0.0108 * count
    assert 0 <= link.stats()["ab"]["dropped"]["loss"] - lost <= 20  # those that say end may be lost as well


def runs(count, arrived):
    """Lengths of the gaps in the numbers that arrived."""
    ends = [-1, *arrived, count]
    return [after - before - 1 for before, after in zip(ends, ends[1:]) if after - before > 1]


def test_bursts_and_the_same_seed_again(start):
    count = 20000
    first, same, other = (start("burst_loss=5 burst_run=8", seed=seed) for seed in (11, 11, 12))
    arrived = [numbers_through(link, 100, count, 20000) for link in (first, same, other)]
    assert arrived[0] == arrived[1] != arrived[2]
    for numbers in arrived:
        lost = runs(count, numbers)
        assert sum(lost) / count == pytest.approx(0.05, rel=0.2)
    lost = [run for numbers in arrived[1:] for run in runs(count, numbers)]
    assert statistics.mean(lost) == pytest.approx(8, rel=0.1)


def test_reset_to_a_seed(start):
    """What comes after it does not depend on what the link began with."""
    one, other = (start("loss=3 burst_loss=3", seed=seed) for seed in (1, 2))
    lost = [numbers_through(link, 100, 3000, 20000, seed) for link, seed in ((one, 7), (other, 7), (one, 8), (one, 7))]
    assert lost[0] == lost[1] == lost[3] != lost[2] and len(lost[0]) < 3000
    assert one.stats()["seed"] == 7
    for wrong in ("reset x", "reset 1 2"):
        with pytest.raises(LinkError):
            one.command(wrong)


def test_blackout(start):
    link = start("delay=5")

    def check():
        pinger = link.popen("a", [*PROBE, "ping", B, "100", "10"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        link.command("down 400")
        lost = runs(100, [number for number, took in enumerate(result(pinger)) if took is not None])
        assert len(lost) == 1 and 35 <= lost[0] <= 45

    again(check)


# What else can happen to a packet


def asked(link, *commands, address=B):
    with probe_server(link, "b", "echo", PORT):
        answers = probe(link, "a", "ask", address, PORT, *commands)
        link.close()  # ends the echo
    return answers


def test_segments_pass_one_by_one(start):
    assert asked(start(), "gso:1000") == [10]


def test_corruption_does_not_arrive_and_mangling_does(start):
    corrupt = start("ab.corrupt=100")
    assert asked(corrupt, 500, 500) == [None, None]
    answers = asked(start("ab.mangle=100"), 500, 500, 500)
    assert [[bin(byte).count("1") for byte in wrong] for _, wrong in answers] == [[1]] * 3
    assert asked(start("ab.mangle=100"), 500, address=B_6)[0][1] != []


def test_duplicates(start):
    assert asked(start("ab.dup=100"), "count:100") == [2]
    assert asked(start("dup=100"), "count:100") == [4]


def test_reordering(start):
    arrived = numbers_through(start("delay=2 reorder=10 reorder_ms=2", seed=5), 100, 5000, 5000)
    assert sorted(arrived) == list(range(5000)) != arrived


@pytest.mark.parametrize("address, header", [(B, 28), (B_6, 48)])
def test_mtu(start, address, header):
    fits, exceeds = 1300 - header, 1301 - header
    assert asked(start("ab.mtu=1300"), fits, exceeds, exceeds, fits, address=address)[1:3] == [None, None]
    answers = asked(start("ab.mtu=1300 icmp=1"), fits, exceeds, exceeds, fits, address=address)
    assert answers[1:3] == ["EMSGSIZE", "EMSGSIZE"] and answers[0] and answers[3]


def test_rebinding(start):
    link = start("delay=1")
    probe_server(link, "b", "echo", PORT)
    asker = link.popen("a", [*PROBE, "ask", B, str(PORT), "10", "rebind", "10", "11", "rebind", "10"],
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        assert asker.stdout.readline() == "rebind\n"
        link.command("rebind")
        asker.stdin.write("\n")
        asker.stdin.flush()
    ports = [answer[0] for answer in result(asker) if answer]
    assert len(ports) == 4 and ports[1] == ports[2] and len(set(ports)) == 3
    assert link.stats()["rebinds"] == 2


# Commands, several links at once, and the end


def test_commands(start):
    link = start(profile="far")
    assert link.stats()["ba"]["settings"]["rate"] == 30
    link.command("set loss=5 ba.rate=10")
    stats = link.stats()
    assert (stats["ab"]["settings"]["rate"], stats["ba"]["settings"]["rate"]) == (30, 10)
    for wrong in ("set loss=101", "set lost=1", "profile moon", "down soon", "down 5 ac", "set" + 2000 * " ", "x"):
        with pytest.raises(LinkError):
            link.command(wrong)
    assert link.stats()["ab"]["settings"]["loss"] == 5
    link.command("profile lan")
    assert link.stats()["ab"]["settings"]["loss"] == 0


def test_an_unknown_profile_is_refused():
    with pytest.raises(LinkError, match="moon"):
        Link("moon", emulator=EMULATOR)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def netns(*arguments, **options):
    return subprocess.Popen([TOP / "bench/link/netns", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True, env={**os.environ, "LINK_EMULATOR": str(EMULATOR)}, **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_it_is_killed(number):
    """Not even a program in a namespace that nobody ends."""
    wrapper = netns("up", "--profile", "metro")
    emulator = int(wrapper.stdout.readline().split()[1])
    wrapper.stdin.write("exec a setsid sleep 600 >/dev/null & echo $!\n")
    wrapper.stdin.flush()
    sleeper = int(wrapper.stdout.readline())
    assert not gone(emulator) and not gone(sleeper)
    wrapper.send_signal(number)
    harness.wait_for(lambda: gone(emulator) and gone(sleeper), what="the end of the link")
    wrapper.communicate(timeout=10)


def test_commands_at_the_ends_from_a_shell():
    script = f"{TOP}/bench/link/netns exec $LINK a ip -o address; {TOP}/bench/link/netns exec $LINK b ip -o address"
    with netns("run", "--", "sh", "-c", script) as wrapper:
        out, _ = wrapper.communicate(timeout=20)
    assert wrapper.returncode == 0
    assert all(address in out for address in (A, B, B_6, "127.0.0.1"))
