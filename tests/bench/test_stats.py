"""bench/stats.py."""

import pytest
import stats


def sample(system, number, place="loopback", scenario="get-1k-c64", **figures):
    return {"place": place, "scenario": scenario, "system": system, "round": number, "figures": figures}


@pytest.mark.parametrize("percent, value", [(1, 1), (50, 5), (51, 6), (90, 9), (99, 10), (100, 10)])
def test_percentile_is_the_nearest_rank(percent, value):
    assert stats.percentile([10, 3, 1, 2, 9, 4, 8, 5, 7, 6], percent) == value


def test_percentile_of_one_value():
    assert stats.percentile([7], 99.9) == 7


def test_summary():
    found = stats.summary([10, 12, 11, 30, 9])
    assert found == {"median": 11, "low": 9, "high": 30, "n": 5, "spread": pytest.approx(100 / 11)}


def test_summary_of_nothing_but_zeros():
    assert stats.summary([0, 0])["spread"] == 0


def test_ratios_pair_rounds_and_leave_out_what_has_no_partner():
    assert stats.ratios({0: 10, 1: 20, 3: 5}, {0: 20, 1: 10, 2: 4}) == [0.5, 2]


def test_ratios_do_not_divide_by_zero():
    assert stats.ratios({0: 1, 1: 1}, {0: 0, 1: 2}) == [0.5]


def test_a_machine_that_slows_down_changes_no_ratio():
    samples = [sample(system, number, cpu=cost * (1 + number))
               for number in range(5) for system, cost in (("ptproxy", 15), ("nginx", 30))]
    rows = {row["system"]: row for row in stats.summarise(samples, ["nginx"])}
    assert rows["ptproxy"]["spread"] > 0
    assert rows["ptproxy"]["to"]["nginx"]["median"] == 0.5
    assert rows["ptproxy"]["to"]["nginx"]["spread"] == 0
    assert rows["nginx"]["to"] == {}


def test_places_and_scenarios_are_kept_apart_and_what_is_no_number_is_left_out():
    samples = [sample("ptproxy", 0, cpu=1, curve=[[50, 1]], good=True), sample("ptproxy", 0, place="far", cpu=2),
               sample("nginx", 0, scenario="other", cpu=3)]
    rows = stats.summarise(samples, ["nginx"])
    assert [(row["place"], row["scenario"], row["figure"], row["median"], row["to"]) for row in rows] == [
        ("loopback", "get-1k-c64", "cpu", 1, {}), ("far", "get-1k-c64", "cpu", 2, {}),
        ("loopback", "other", "cpu", 3, {})]
