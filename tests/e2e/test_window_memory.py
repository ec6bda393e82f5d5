"""What each window bounds, in memory that the kernel counts: resident bytes of the end that has to hold what a peer or
a caller that is stuck does not take. A large window is filled, so that a small one shows that it is the window that
binds; how windows bound rates is in tests/sim/windows.c."""

import json
import re
import subprocess
import time

import peers
import pytest
from h3_cases import on
from h3_wire import CONTROL_STREAM, settings
from harness import SANITIZED, wait_for
from link_pair import LinkPair, needs_link
from scripted import ScriptedOrigin

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory is not ours")
MB = 1 << 20
AMPLE = 96 * MB  # of the windows that are not looked at
BESIDE = 8 * MB  # what has nothing to do with windows
OVERHEAD = 1.5   # of a held byte: buffers that are not full, what is known of each packet
HOLES = 24       # streams of 1 MB whose first byte does not come


def windows(**chosen):
    return {"transport": {"stream_receive_window": AMPLE, "receive_window": AMPLE, "send_window": AMPLE, **chosen}}


def grown(daemon, before, until=15):
    """By how many bytes, when it grows no more."""
    last, since, end = daemon.resident(), time.monotonic(), time.monotonic() + until
    while time.monotonic() < min(since + 1, end):
        time.sleep(0.05)
        now = daemon.resident()
        if now > last + MB // 4:
            last, since = now, time.monotonic()
    return last - before


def bounded(held, window, filled):
    print(f"{held / MB:.1f} MB are held, of a window of {window / MB:.0f} MB")
    assert held < OVERHEAD * window + BESIDE, f"{held} bytes are held with a window of {window}"
    if filled:
        assert held > 0.7 * window, f"only {held} bytes are held: it is not the window of {window} that binds"


@pytest.mark.parametrize("megabytes", [1, 8])
def test_stream_receive_window(start_pair, megabytes):
    """Callers who read nothing: the client's end holds a window for each."""
    readers = 4
    pair = start_pair(both=windows(stream_receive_window=megabytes * MB))
    stuck, before = [pair.open(receive_buffer=4096) for _ in range(readers)], pair.client.resident()
    try:
        for caller in stuck:
            caller.send_request("GET", "/stream/1000000000")
        bounded(grown(pair.client, before), readers * megabytes * MB, megabytes > 1)
    finally:
        for caller in stuck:
            caller.reset()


@needs_link
@pytest.mark.parametrize("megabytes", [2, 24])
def test_send_window(tmp_path, identities, megabytes):
    """The peer is not heard: what was sent is kept until it is acknowledged, and no more is taken from the origin."""
    origin = ScriptedOrigin(tmp_path / "origin")
    options = windows(send_window=megabytes * MB, initial_window=AMPLE, initial_rtt=200, congestion_algorithm="none",
                      max_idle_timeout="60s")
    pair = LinkPair(tmp_path / "pair", identities, origin.address, "delay=100", both=options)
    try:
        pair.start()
        pair.request("GET", "/n/1000")
        before = pair.server.resident()
        with pair.open() as caller:
            caller.send_request("GET", "/stream/1000000000")
            caller.head()
            pair.link.command("set ab.loss=100")
            bounded(grown(pair.server, before), megabytes * MB, megabytes > 2)
            caller.reset()
        pair.link.command("set ab.loss=0")
        assert pair.request("GET", "/n/10").status == 200
        assert len(pair.server.connections()) == 1
    finally:
        pair.stop()
        origin.stop()


@pytest.mark.parametrize("megabytes", [2, 16])
def test_receive_window(start_pair, identities, megabytes):
    """A peer that sends much behind gaps, on many streams: credit is given for what comes in order only."""
    peers.require("aioquic")
    pair = start_pair(server=windows(receive_window=megabytes * MB))
    before = pair.server.resident()
    raw = subprocess.Popen(
        [peers.BIN / "python-aioquic", peers.HERE / "h3_raw.py", "--port", str(pair.quic_port), "--name", "server.test",
         "--ca", identities.ca, "--cert", identities.client.cert, "--key", identities.client.key],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    holes = [["hole", f"b{number}", MB] for number in range(HOLES)]
    try:
        raw.stdin.write(json.dumps([*on("ucontrol", CONTROL_STREAM, settings()), *holes, ["closed", 60]]) + "\n")
        raw.stdin.flush()
        wait_for(lambda: len(pair.server.connections()) == 2, what="the session of a peer that leaves gaps")
        bounded(grown(pair.server, before), megabytes * MB, megabytes > 2)
        assert not re.search("connection [0-9a-f]+ (failed|closed)", pair.server.text()), "to leave gaps is no fault"
    finally:
        raw.kill()
        raw.wait()
    assert pair.request("GET", "/n/10").status == 200
