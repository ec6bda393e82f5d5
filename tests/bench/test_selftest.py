"""bench/selftest.py: what it makes of figures that are known; the measuring itself is `bench/run --self-test`."""

import pytest
import selftest

REQUESTS = 100 * selftest.CONNECTIONS  # answered in a turn; what is on its way at its end is 1 % more
NAMES = ("ptproxy", "ptproxy-again", "ptproxy-busy", "nginx", "nginx-again")


def figures(base):
    ends = {f"cpu_us_request_{end}": base / 2 for end in ("client", "server")}
    return {"cpu_us_request": base, **ends}


def table(busy=20, again=1.0, lives=5):
    """Every other life, and every round, is dearer than the one before."""
    found = {name: {figure: {} for figure in selftest.FIGURES} for name in NAMES}
    for number in range(lives * selftest.ROUNDS):
        noise = 1 + (number % selftest.ROUNDS) / 10 + (number // selftest.ROUNDS % 2) / 5
        for name in NAMES:
            cost = 30 * noise * (again if name == "nginx-again" else 1) + (2 * busy if name == "ptproxy-busy" else 0)
            for figure, value in figures(cost).items():
                found[name][figure][number] = value
    return found


def verdicts(found):
    return [selftest.verdict(*check) for check in selftest.checks(found)]


def test_a_good_bench_passes():
    assert verdicts(table()) == [True] * 4


@pytest.mark.parametrize("again", [0.94, 1.06])
def test_a_system_that_differs_from_itself_is_seen(again):
    assert verdicts(table(again=again)) == [True, False, True, True]


@pytest.mark.parametrize("busy", [17.5, 22.5])
def test_a_loop_that_does_not_show_as_it_is_is_seen(busy):
    assert verdicts(table(busy=busy)) == [True, True, False, False]


def test_a_round_that_one_has_missed_counts_for_nobody():
    found = table()
    for figure in selftest.FIGURES:
        del found["nginx"][figure][3]
    found["nginx-again"]["cpu_us_request"][3] = 1e9
    assert verdicts(found) == [True] * 4


def test_the_error_is_that_of_lives():
    assert selftest.error([1.0] * 4) == 0
    unsteady = {number: 1.0 + (number // selftest.ROUNDS) / 10 for number in range(4 * selftest.ROUNDS)}
    lives = selftest.by_life(unsteady, max)
    assert lives == pytest.approx([1.0, 1.1, 1.2, 1.3])
    assert 0.02 < selftest.error(lives) < 0.2


def test_what_comes_between_in_some_rounds_does_not_show():
    found = table()
    for number in range(4, 5 * selftest.ROUNDS, selftest.ROUNDS):
        for figure in selftest.FIGURES:
            found["ptproxy-busy"][figure][number] *= 1.5
    assert verdicts(found) == [True] * 4


class Turn:
    def __init__(self, name, costs):
        self.name, self.costs = name, iter(costs)


class Scenario:
    order = []

    def measure(self, system):
        self.order.append(system.name)
        cost = next(system.costs)
        return {"requests": REQUESTS, **figures(cost * 1.01)} if cost else {"requests": 0}


def test_turns_go_there_and_back_what_is_on_its_way_counts_and_one_without_an_answer_is_left_out():
    scenario = Scenario()
    found = selftest.there_and_back([Turn("a", [10, 20]), Turn("b", [10, None]), Turn("c", [7, 7])], scenario)
    assert scenario.order == ["a", "b", "c", "c", "b", "a"]
    assert found == {"a": pytest.approx(figures(15)), "c": pytest.approx(figures(7))}
