"""What a run is to measure, in which order, and about how long that takes."""

from dataclasses import dataclass, replace
from typing import Callable

import links
import scenarios
import systems

START_SECONDS = 1.2  # to start a system
WARM_UP_SECONDS = 1.2
LOADS_MAX = 200.0  # Mbit/s of links at the same time for each core: all that is needed for it keeps most of it busy
JUDGED_MAX = 50.0  # the same, where goals are about single ms
LINK_SHARE_MAX = 0.25  # of that; a link that takes more of it runs by itself, as all others would wait until it is free
FILLED = 0.75  # of what the link could is kept free for a system; known from the second round on
MEASURE_SECONDS = 0.15  # of a measurement on a link beyond its length
INFLATION = 1.15  # of links that run at the same time: they wait for one another
SECONDS_MIN, SECONDS_MAX = 0.3, 10.0


@dataclass
class Part:
    """Scenarios that systems go through in turns, in one place."""

    name: str
    title: str
    place: Callable  # makes it
    kinds: list
    scenarios: list
    warm_up: bool = False

    def each(self, rounds):
        """Seconds for one system."""
        warm = rounds * (WARM_UP_SECONDS + scenarios.OVERHEAD_SECONDS) if self.warm_up else 0
        return START_SECONDS + warm + rounds * sum(one.repeats * (one.prepare_seconds + one.seconds)
                                                   for one in self.scenarios)

    def seconds(self, rounds):
        return len(self.kinds) * self.each(rounds)

    def megabits(self, rounds, capacity):
        """What its scenarios take of links, for one system."""
        def taken(one, part):
            return one.repeats * (one.seconds + MEASURE_SECONDS) * min(part * one.mbit, capacity)

        return sum(taken(one, 1) + (rounds - 1) * taken(one, FILLED) for one in self.scenarios)

    def lanes(self):
        """A part for each system, which can run at the same time: what only waits is done meanwhile."""
        return [replace(self, name=f"{self.name}-{number}", kinds=[kind]) for number, kind in enumerate(self.kinds)]


class Phase:
    """Links that run at the same time, in lanes, with `capacity` Mbit/s between them."""

    def __init__(self, parts, rounds, capacity):
        self.parts, self.rounds, self.capacity = parts, rounds, capacity
        self.lanes = [lane for part in parts for lane in part.lanes()]

    def seconds(self):
        longest = max(part.each(self.rounds) for part in self.parts)
        carried = sum(len(part.kinds) * part.megabits(self.rounds, self.capacity) for part in self.parts)
        return INFLATION * max(longest, carried / self.capacity)

    def pace(self):
        """A lane's second is this part of one of the phase, for all together."""
        return self.seconds() / sum(lane.seconds(self.rounds) for lane in self.lanes)


def phases(parts, rounds, cores):
    """What goals are about first, with little beside it; then the rest, fast links each by itself."""
    found, most = [], LINK_SHARE_MAX * LOADS_MAX * cores
    for judged, capacity in ((True, JUDGED_MAX), (False, LOADS_MAX)):
        chosen = [replace(part, name=part.name + "-judged" * judged,
                          scenarios=[one for one in part.scenarios if one.judged == judged]) for part in parts]
        chosen = [part for part in chosen if part.scenarios]
        fast = [] if judged else [part for part in chosen if max(one.mbit for one in part.scenarios) > most]
        groups = [[part] for part in fast] + [[part for part in chosen if part not in fast]]
        found += [Phase(group, rounds, capacity * cores) for group in groups if group]
    return found


class Plan:
    """`loopback` runs part after part and alone, then the phases on links; these together are `far`. `lines`: the
    links.Line of each."""

    def __init__(self, loopback, far, lines, rounds, seconds, cores):
        self.loopback, self.far, self.lines = loopback, far, lines
        self.files = {name: size for line in lines for name, size in line.files.items()}
        self.rounds, self.load_seconds = rounds, seconds
        self.phases = phases(far, rounds, cores)

    def link_seconds(self):
        return sum(phase.seconds() for phase in self.phases)

    def seconds(self):
        return sum(part.seconds(self.rounds) for part in self.loopback) + self.link_seconds()

    def __str__(self):
        lines = []
        for part in [*self.loopback, *self.far]:
            lines += [f"{part.name}: {' '.join(kind.name for kind in part.kinds)}"]
            for scenario in part.scenarios:
                lines += [f"  {name:18} {title}" for name, title in scenario.titles().items()]
        return "\n".join([*lines, self.summary()])

    def summary(self):
        alone = sum(part.seconds(self.rounds) for part in self.loopback)
        cells = sum(len(part.kinds) * len(part.scenarios) for part in [*self.loopback, *self.far])
        return (f"{cells} cells, {self.rounds} rounds, {self.load_seconds:.2g} s of load each; on loopback about "
                f"{clock(alone)}, on links about {clock(self.link_seconds())}"
                f"{''.join(f', {len(phase.lanes)} at a time' for phase in self.phases)}; "
                f"together {clock(self.seconds())}")


def clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def scenario_names():
    """Of all that can be measured, and of their parts."""
    lines = [links.Line(name, 0.1, 10, 0) for name in links.PROFILES]
    found = [*scenarios.on_loopback(1), *(one for line in lines for one in links.on_links(line, 1))]
    return list(dict.fromkeys(name for one in found for name in (one.name, *one.parts)))


def make(kinds, lines, loopback, rounds, seconds, chosen, quick, cores):
    """`lines`: links.Line of each link. `chosen(scenario)`: whether it is wanted."""
    def part(name, title, place, kinds, found, warm_up=False):
        return Part(name, title, place, list(kinds), [one for one in found if chosen(one)], warm_up)

    alone, far = [], []
    if loopback:
        alone.append(part("loopback", "loopback", systems.Loopback, kinds, scenarios.on_loopback(seconds), True))
        if not quick:
            alone.append(part("loopback-t2", "loopback, two workers for each end", systems.Loopback,
                              systems.doubled(kinds), scenarios.on_two_workers(seconds), True))
    for line in lines:
        far.append(part(line.name, line.name, lambda line=line: links.LinkPlace(line), links.variants(kinds, quick),
                        links.on_links(line, seconds)))
    alone, far = ([one for one in parts if one.kinds and one.scenarios] for parts in (alone, far))
    return Plan(alone, far, lines, rounds, seconds, cores)


def within(budget, plan_of):
    """The plan with the longest loads that ends within so many seconds; the shortest one if none does."""
    low, high = SECONDS_MIN, SECONDS_MAX
    if plan_of(high).seconds() <= budget:
        return plan_of(high)
    while high - low > 0.02:
        middle = (low + high) / 2
        low, high = (middle, high) if plan_of(middle).seconds() <= budget else (low, middle)
    return plan_of(low)
