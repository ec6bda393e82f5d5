#!/usr/bin/python3
"""tests/e2e/attacks.py: how many cases and tests there are for each attack of RELIABILITY.md; see attacks.table."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import h3_cases
import h3_server_cases
import http_case

HERE = Path(__file__).resolve().parent


@dataclass
class Attack:
    name: str
    what: str
    places: list = field(default_factory=list)


def load():
    """The attacks, in the order of the table."""
    attacks = []
    for line in (HERE / "attacks.table").read_text().splitlines():
        if line.startswith("  "):
            attacks[-1].places.append(line.removeprefix("  "))
        elif line and not line.startswith("#"):
            attacks.append(Attack(*line.split(" ", 1)))
    return attacks


def case_names():
    """All cases, as the table calls them."""
    names = [f"{case.place.split('.')[0]}: {case.name}" for case in http_case.load_all()]
    names += [f"h3: {row[0]}" for row in h3_cases.CASES]
    return names + [f"h3-server: {row[0]}" for row in h3_server_cases.CASES]


def count(place, names):
    """How many cases or tests a line of the table stands for."""
    file, separator, test = place.partition("::")
    if separator and (HERE / file).exists():
        definition = rf"^(def|static void) {re.escape(test)}\("
        return len(re.findall(definition, (HERE / file).read_text(), re.MULTILINE))
    return sum(stands_for(place, name) for name in names)


def stands_for(place, name):
    """A place that ends with "$" is a whole name."""
    return f"{name}$".startswith(place)


def main():
    names, total = case_names(), set()
    for attack in load():
        counts = [count(place, names) for place in attack.places]
        total |= {name for name in names if any(stands_for(place, name) for place in attack.places)}
        print(f"{attack.name:6} {sum(counts):4}  {attack.what}")
    print(f"{len(total)} of {len(names)} cases are for an attack, the others for what must work")


if __name__ == "__main__":
    main()
