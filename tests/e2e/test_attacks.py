"""No attack of RELIABILITY.md 3.1, 3.2 and 3.7 is without a case, and no line of attacks.table is about nothing."""

import attacks

NUMBERS = {"H1": [*range(1, 29), *range(30, 41)], "H3": range(1, 18), "HA": range(1, 21)}


def test_each_attack_is_listed():
    assert [attack.name for attack in attacks.load()] == [
        f"{kind}-{number}" for kind, numbers in NUMBERS.items() for number in numbers]


def test_each_attack_has_cases():
    names = attacks.case_names()
    assert [attack.name for attack in attacks.load() if not attack.places] == []
    assert [(attack.name, place) for attack in attacks.load() for place in attack.places
            if attacks.count(place, names) == 0] == []
