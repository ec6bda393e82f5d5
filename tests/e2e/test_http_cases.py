"""Conformance, case by case: http_cases/*.cases through one pair; http_case.py says how to read and write them.

The pair is kept from case to case, as a case must leave nothing behind: not a byte on a connection, not a buffer in a
pool, and above all not a lost session.
"""

import json

import http_case
import pytest
from http_case import Case, Exchange, Own
from http_case_run import CaseOrigin, run_case

CASES = http_case.load_all()
CASES_MIN = 250
GENERATED = len(CASES)  # the first number of a canary behind a case that is not from a file

BYTE_BY_BYTE_MAX = 90

CHUNKED_REQUEST = (b"POST /upload?x=y HTTP/1.1\r\nHost: a.example:8080\r\nTransfer-Encoding: chunked\r\n"
                   b"User-Agent: split\r\nX-Empty:\r\nTrailer: X-Sum\r\n\r\n"
                   b"5;name=value\r\nhello\r\n0c\r\n in 12 bytes\r\n1\r\n.\r\n0;last=\"yes\"\r\nX-Sum: 1\r\n\r\n")
CHUNKED_RESPONSE = (b"HTTP/1.1 200 OK\r\nServer: split\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"5;name=value\r\nhello\r\n0c\r\n in 12 bytes\r\n0\r\nX-Sum: 1\r\n\r\n")


@pytest.fixture(scope="module")
def origin():
    origin = CaseOrigin()
    yield origin
    origin.stop()


@pytest.fixture(scope="module")
def pairs(start_shared_pair, origin):
    """By configuration, made when the first case needs it."""
    made = {}

    def get(configuration):
        if configuration not in made:
            made[configuration] = start_shared_pair(origin.address, both=json.loads(configuration))
        return made[configuration]

    get.made = made
    return get


def test_there_are_enough():
    assert len(CASES) >= CASES_MIN


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.label() for case in CASES])
def test_case(number, pairs, origin):
    case = CASES[number]
    problems = run_case(case, number, pairs(case.pair), origin)
    assert not problems, f"{case.place}: {case.name}\n" + "\n".join(problems)


def reordered(message, name, before):
    """`message` as the proxy writes it: the framing behind the other fields, names in title case."""
    head, separator, body = message.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(name)]
    return b"\r\n".join([*lines, before]).replace(b"X-Empty:", b"X-Empty: ") + separator + body


def test_every_split(pairs, origin):
    """A request and a response in two segments, cut at every place."""
    request = reordered(CHUNKED_REQUEST, b"Transfer-Encoding", b"Transfer-Encoding: chunked")
    response = reordered(CHUNKED_RESPONSE, b"Transfer-Encoding", b"Transfer-Encoding: chunked")
    pair = pairs("{}")
    for at in range(1, max(len(CHUNKED_REQUEST), len(CHUNKED_RESPONSE))):
        in_two = [[message[:at], ("pause", 1), message[at:]] if at < len(message) else [message]
                  for message in (CHUNKED_REQUEST, CHUNKED_RESPONSE)]
        case = Case(f"split at {at}", "", in_two[0], [Exchange(request, in_two[1])], [response])
        problems = run_case(case, GENERATED + at, pair, origin)
        assert not problems, f"{case.name}\n" + "\n".join(problems)


def may_be_slow(case):
    """A request of a bearable length that is forwarded, and says nothing about when it is sent."""
    return (case.pair == "{}" and case.end == "open" and case.canary and case.exchanges and len(case.sends) == 1
            and isinstance(case.sends[0], bytes) and len(case.sends[0]) < BYTE_BY_BYTE_MAX
            and all(step[0] != "pause" for exchange in case.exchanges for step in exchange.steps
                    if not isinstance(step, bytes)))


def test_byte_by_byte(pairs, origin):
    """Every request that is legal, a byte in a segment: it is the same one."""
    pair, tried = pairs("{}"), {}
    for case in http_case.load_all():
        # Of those that differ in the response only, one will do.
        if may_be_slow(case) and case.sends[0] not in tried:
            case.sends.insert(0, ("pieces", 1))
            tried[case.sends[1]] = run_case(case, 2 * GENERATED + len(tried), pair, origin)
            assert not tried[case.sends[1]], f"{case.place}: {case.name}\n" + "\n".join(tried[case.sends[1]])
    assert len(tried) > 100


def test_a_hundred_in_one_segment(pairs, origin):
    """Of which one is malformed: those before it are answered, nothing after it is seen."""
    good, count = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 60
    case = Case("a hundred", "", [good * count + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + good * (99 - count)],
                [Exchange(good, [http_case.REPLY]) for _ in range(count)],
                [http_case.REPLY * count, Own(400, "client", "")], "closed")
    problems = run_case(case, GENERATED, pairs("{}"), origin)
    assert not problems, "\n".join(problems)


def test_nothing_was_left_behind(pairs, origin):
    """One session for all, empty pools at the end, and no canary that came late."""
    for pair in pairs.made.values():
        for daemon in (pair.client, pair.server):
            assert len(daemon.connections()) == 1, f"{daemon.name} has lost its session"
        pair.stop()
    came = {number: times for number, times in origin.canaries.items() if number < GENERATED}
    assert set(came.values()) <= {1}
    assert {number for number in came if not CASES[number].canary or CASES[number].end != "open"} == set()
