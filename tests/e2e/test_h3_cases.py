"""HTTP/3 as no library would send it, to a ptproxy in server mode: h3_cases.py row by row.

Every row is a connection of its own, beside the session of a ptproxy in client mode, which must not be touched by it.
"""

import json
import subprocess

import h3_cases
import http_case
import peers
import pytest
from h3_cases import Answer, Connection, Passed, Stream, on, send
from h3_wire import CONTROL_STREAM, DECODER_STREAM, ENCODER_STREAM, request, settings
from harness import SLOW
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
    return start_shared_pair(origin.address)


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


def test_nothing_was_left_behind(pair):
    """The session of the ptproxy in client mode is the one it began with."""
    assert len(pair.client.connections()) == 1
    pair.stop()
