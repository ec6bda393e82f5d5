"""Medians, spreads and ratios of samples. A sample is a dictionary: place, scenario, system, round and figures."""

import math
from collections import defaultdict
from statistics import median


def percentile(values, percent):
    """The smallest value that `percent` per cent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, math.ceil(len(ordered) * percent / 100))
    return ordered[rank - 1]


def summary(values):
    """Median and spread: the half of the distance between the quartiles, in per cent of the median."""
    middle = median(values)
    half = (percentile(values, 75) - percentile(values, 25)) / 2
    return {"median": middle, "low": min(values), "high": max(values), "n": len(values),
            "spread": 100 * half / abs(middle) if middle else 0.0}


def tabulate(samples):
    """(place, scenario) -> system -> figure -> round -> value, of what is a number."""
    table = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for sample in samples:
        systems = table[sample["place"], sample["scenario"]]
        for figure, value in sample["figures"].items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                systems[sample["system"]][figure][sample["round"]] = value
    return table


def ratios(ours, theirs):
    """ours / theirs of every round that has both: what changes between rounds (the machine) falls out."""
    return [ours[number] / theirs[number] for number in sorted(ours.keys() & theirs.keys()) if theirs[number]]


def summarise(samples, references):
    """A list of rows: place, scenario, system, figure, summary() of its values, and the summary of the ratios to every
    reference system as `to`."""
    rows = []
    for (place, scenario), systems in tabulate(samples).items():
        for system, figures in systems.items():
            for figure, rounds in figures.items():
                to = {}
                for reference in references:
                    theirs = systems.get(reference, {}).get(figure, {})
                    found = ratios(rounds, theirs) if reference != system else []
                    if found:
                        to[reference] = summary(found)
                rows.append({"place": place, "scenario": scenario, "system": system, "figure": figure,
                             **summary(list(rounds.values())), "to": to})
    return rows
