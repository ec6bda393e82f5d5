"""What a run is to measure, in which order, and about how long that takes."""

import math
from dataclasses import dataclass
from typing import Callable

import links
import scenarios
import systems

START_SECONDS = 1.2  # to start a system
WARM_UP_SECONDS = 1.2
LOADS_MAX = 200.0  # Mbit/s of links at the same time for each core: both proxies, emulator and callers need some 60 %
INFLATION = 1.25  # of links that run at the same time: they wait for one another
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

    @staticmethod
    def times(scenario, rounds):
        return min(rounds, scenario.rounds or rounds)

    def each(self, rounds):
        """Seconds for one system."""
        warm = rounds * (WARM_UP_SECONDS + scenarios.OVERHEAD_SECONDS) if self.warm_up else 0
        return START_SECONDS + warm + sum(self.times(one, rounds) * (one.prepare_seconds + one.seconds)
                                          for one in self.scenarios)

    def seconds(self, rounds):
        return len(self.kinds) * self.each(rounds)

    def megabits(self, rounds, capacity):
        """What its scenarios may take of links, for one system."""
        return sum(self.times(one, rounds) * one.seconds * min(one.mbit, capacity) for one in self.scenarios)

    def lanes(self, count):
        """Parts of the same name with a share of the systems each, which can run at the same time. Neighbours, which
        are compared, come into different ones."""
        return [Part(f"{self.name}-{number}", self.title, self.place, self.kinds[number::count], self.scenarios)
                for number in range(min(count, len(self.kinds)))]


class Plan:
    """`loopback` runs part after part and alone; `lanes` all run at the same time, on links of their own. `files`: what
    origins serve beside the usual, name -> size."""

    def __init__(self, loopback, far, lines, rounds, seconds, cores):
        self.loopback, self.far, self.lines = loopback, far, lines
        self.files = {name: size for line in lines for name, size in line.files.items()}
        self.rounds, self.load_seconds = rounds, seconds
        self.capacity = LOADS_MAX * cores
        self.lanes = [lane for part in far for lane in part.lanes(math.ceil(part.seconds(rounds) / self.shortest()))]

    def shortest(self):
        """The seconds that the links take when what needs waiting only is done at the same time."""
        longest = max((part.each(self.rounds) for part in self.far), default=0)
        carried = sum(len(part.kinds) * part.megabits(self.rounds, self.capacity) for part in self.far) / self.capacity
        return max(longest, carried)

    def link_seconds(self):
        return INFLATION * self.shortest()

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
                f"{clock(alone)}, on links about {clock(self.link_seconds())} ({len(self.lanes)} at a time); together "
                f"{clock(self.seconds())}")


def clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


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
