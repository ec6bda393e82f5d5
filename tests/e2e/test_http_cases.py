"""Conformance, case by case: http_cases/*.cases through one pair; http_case.py says how to read and write them.

The pair is kept from case to case, as a case must leave nothing behind: not a byte on a connection, not a buffer in a
pool, and above all not a lost session.
"""

import json

import http_case
import pytest
from http_case_run import CaseOrigin, run_case

CASES = http_case.load_all()
CASES_MIN = 250


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


def test_nothing_was_left_behind(pairs, origin):
    """One session for all, empty pools at the end, and no canary that came late."""
    for pair in pairs.made.values():
        for daemon in (pair.client, pair.server):
            assert len(daemon.connections()) == 1, f"{daemon.name} has lost its session"
        pair.stop()
    must_come = {number for number, case in enumerate(CASES) if case.canary and case.end == "open"}
    came = {number for number, times in origin.canaries.items() if times == 1}
    assert came == must_come & set(origin.canaries) and set(origin.canaries) <= must_come
