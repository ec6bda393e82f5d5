"""HTTP/3 as no library would send it, to a ptproxy in server mode: h3_cases.py row by row.

Every row is a connection of its own, beside the session of a ptproxy in client mode, which must not be touched by it.
"""

import json
import re
import subprocess

import h3_cases
import http1
import http_case
import peers
import pytest
from h3_cases import REQUEST_CANCELLED, Answer, Connection, Passed, Stream, on, send
from h3_wire import CONTROL_STREAM, DECODER_STREAM, ENCODER_STREAM, data, request, settings
from harness import SANITIZED, SLOW, wait_for
from http_case import Case, Exchange
from http_case_run import CaseOrigin, compare_requests

CASES_MIN = 60
PATIENCE = 3 * SLOW
CANARY = "/canary/%d"


@pytest.fixture(scope="module")
def origin():
    origin = CaseOrigin(marked=False)
    yield origin
    origin.stop()


@pytest.fixture(scope="module")
def pair(start_shared_pair, origin):
    return start_shared_pair(origin.address, server={"admin": {"bind_address": f"127.0.0.1:{peers.free_port()}"}})


@pytest.fixture(scope="module")
def raw(pair, identities):
    """A function from steps to what came of them."""
    peers.require("aioquic")
    process = subprocess.Popen(
        [peers.BIN / "python-aioquic", peers.HERE / "h3_raw.py", "--port", str(pair.quic_port), "--name", "server.test",
         "--ca", identities.ca, "--cert", identities.client.cert, "--key", identities.client.key],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(steps):
        process.stdin.write(json.dumps(steps) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield run
    process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def whole(steps, outcome, canary):
    """The steps with the streams that every connection has before them, and behind them a wait for the outcome."""
    if not any(step[1] == "ucontrol" for step in steps):
        steps = [*on("ucontrol", CONTROL_STREAM, settings()), *on("uenc", ENCODER_STREAM), *on("udec", DECODER_STREAM),
                 *steps]
    if isinstance(outcome, Connection):
        return [*steps, ["closed", PATIENCE]]
    return [*steps, ["wait", "r", PATIENCE], send("canary", request(path=canary), True), ["wait", "canary", PATIENCE]]


def describe(got):
    lines = [f"closed: {got['closed'] and hex(got['closed'][0])}"]
    return "\n".join(lines + [f"{name}: {stream}" for name, stream in got["streams"].items() if name[0] != "u"])


def compare(outcome, got):
    stream = got["streams"].get("r")
    if "fault" in got:
        return [got["fault"]]
    if isinstance(outcome, Connection):
        return [] if got["closed"] and got["closed"][0] == outcome.code else [f"not closed with 0x{outcome.code:x}"]
    problems = [f"the connection was closed: {got['closed']}"] if got["closed"] else []
    if isinstance(outcome, Stream) and outcome.code not in (stream["reset"], stream["stop"]):
        problems.append(f"no stream error 0x{outcome.code:x}")
    if isinstance(outcome, Answer | Passed) and (stream["status"], stream["end"]) != (outcome.status, True):
        problems.append(f"no whole answer {outcome.status}")
    if not problems and got["streams"]["canary"]["status"] != 200:
        problems.append("the next stream was not served")
    return problems


def test_there_are_enough():
    assert len(h3_cases.CASES) >= CASES_MIN


@pytest.mark.parametrize("number", range(len(h3_cases.CASES)), ids=[name[:80] for name, _, _ in h3_cases.CASES])
def test_case(number, raw, pair, origin):
    name, steps, outcome = h3_cases.CASES[number]
    case = Case(name, "")
    if isinstance(outcome, Passed | Connection) and outcome.received:
        case.exchanges.append(Exchange(outcome.received, [http_case.REPLY]))
    case.partial = not case.exchanges  # a request that is cut may have begun
    run = origin.begin(case)
    got = raw(whole(steps, outcome, CANARY % number))
    origin.finish(run)
    problems = compare(outcome, got) + compare_requests(case, run)
    assert not problems, f"{name}:\n" + "\n".join([*problems, describe(got)])
    assert pair.request("GET", CANARY % number).status == 200


FLOOD = 3000 if SANITIZED else 6000
AT_ONCE = 50
FLOOD_BYTES_MAX = 64e6 * SLOW
STREAMS_MAX = 1024  # transport.max_concurrent_http_streams


def in_flight(pair):
    host, port = pair.server.configuration["admin"]["bind_address"].split(":")
    metrics = http1.request((host, int(port)), "GET", "/metrics").body.decode()
    return int(re.search(r"^ptproxy_http_requests_in_flight (\d+)$", metrics, re.M)[1])


def gives_up(name):
    return [["reset", name, REQUEST_CANCELLED]]


def wants_no_answer(name):
    return [["stop", name, REQUEST_CANCELLED]]


def breaks_off(name):
    """So that it is we who reset the stream."""
    return [send(name, data("x"), True)]


@pytest.mark.parametrize("provoke", [gives_up, wants_no_answer, breaks_off])
def test_a_flood_of_streams_that_end_at_once(raw, pair, origin, provoke):
    """Thousands of requests, each of which is given up, or gives reason to be reset, as soon as it was sent: that peer
    is served afterwards, the others all the time, and nothing is left of it."""
    number = len(h3_cases.CASES) + [gives_up, wants_no_answer, breaks_off].index(provoke)
    head = request(*([("content-length", "5")] if provoke is breaks_off else []), path=CANARY % number)
    resident = pair.server.resident()
    for at in range(0, FLOOD, FLOOD // 2):  # more than STREAMS_MAX on a connection: room must be given for others
        steps = []
        for first in range(at, at + FLOOD // 2, AT_ONCE):
            names = [f"flood {one}" for one in range(first, first + AT_ONCE)]
            steps += [send(name, head, provoke is not breaks_off) for name in names] + [["pause", 0]]
            steps += [step for name in names for step in provoke(name)] + [["wait", name, PATIENCE] for name in names]
        got = raw(whole(steps + [send("r", request(path=CANARY % number), True)], Passed(), CANARY % number))
        assert compare(Passed(), got) == [], describe({**got, "streams": {"r": got["streams"]["r"]}})
        floods = [stream for name, stream in got["streams"].items() if name.startswith("flood")]
        assert len(floods) == FLOOD // 2 and all(stream["end"] or stream["reset"] is not None for stream in floods)
        assert pair.request("GET", CANARY % number).status == 200
    assert pair.server.resident() - resident < FLOOD_BYTES_MAX
    assert len(origin.open) <= STREAMS_MAX
    wait_for(lambda: in_flight(pair) == 0, what="the end of all requests")


def test_nothing_was_left_behind(pair):
    """The session of the ptproxy in client mode is the one it began with."""
    assert len(pair.client.connections()) == 1
    pair.stop()
