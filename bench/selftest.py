"""The bench measures what is known beforehand: a system against itself, and a daemon that wastes CPU on purpose."""

import dataclasses
import math
import os
import statistics
import subprocess
import time

import certificates
import plan
import runner
import scenarios
import stats
import systems
from plan import clock
from processes import TOP, BenchError, say

LIVES_MIN, PATIENCE_SECONDS = 5, 450  # from a fresh start: at least so many; none begins later
ROUNDS = 5  # in a life; as many as systems, so that each is in each place
SECONDS = 0.4  # of a turn: what else the machine does changes more slowly than turns
CERTAIN = 0.01  # a standard error of this part of what is measured
BUSY_US = 20  # each end, each request
BUSY_LOAD = 3  # for each core; the bench itself keeps four processes busy
TOLERANCE_RATIO = 0.05
TOLERANCE_US = 2.0
SCENARIO, CONNECTIONS = "get-1k-c64", 64
FIGURES = ("cpu_us_request", "cpu_us_request_client", "cpu_us_request_server")


def build_busy():
    directory = TOP / "build/bench-busy"
    subprocess.run([TOP / "tools/build", "release"], cwd=TOP, check=True, capture_output=True)
    for command in (["cmake", "-S", ".", "-B", directory, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                     f"-DPTPROXY_BUSY_LOOP_US={BUSY_US}"], ["cmake", "--build", directory, "--target", "ptproxy"]):
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(map(str, command))}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return directory / "ptproxy"


def whole(figures):
    """Of what was worked on: the load counts what it was answered, and at its end each connection has a request on its
    way. That is 0.7 % of a turn with the loop and half of it without, or 0.3 us of the loop's 20."""
    part = figures["requests"] / (figures["requests"] + CONNECTIONS)
    return {figure: part * figures[figure] for figure in FIGURES}


def there_and_back(started, scenario):
    """system -> figures, of two turns each with the same middle: what gets steadily worse or better hits all alike. One
    that got no answer in a turn, on a machine that is too busy, has none."""
    found = {}
    for system in [*started, *reversed(started)]:
        found.setdefault(system.name, []).append(scenario.measure(system))
    return {name: {figure: statistics.mean(one[figure] for one in map(whole, both)) for figure in FIGURES}
            for name, both in found.items() if all(figure in one for one in both for figure in FIGURES)}


def measure(kinds):
    """Lives until all is certain or the patience ends; on a busy machine, that takes more of them. A system is the same
    in each life, but where its memory lies is not, and that alone is worth some per cent from its start to its end."""
    results = runner.Results("bench/run --self-test", kinds, {})
    scenario = next(one for one in scenarios.on_loopback(SECONDS) if one.name == SCENARIO)
    place = systems.Loopback()
    began, lives, table = time.monotonic(), 0, {}
    with runner.workplace() as directory:
        certs = certificates.make(directory / "certificates")
        while time.monotonic() - began < PATIENCE_SECONDS:
            part = plan.Part(f"life-{lives}", "loopback", systems.Loopback, kinds, [scenario])
            with runner.running(part, place, directory, certs, results) as (started, _):
                if results.failures:
                    raise BenchError(f"{results.failures[0]['system']}: {results.failures[0]['why']}")
                runner.warm_up(started)
                for number in range(ROUNDS):
                    turn = started[number % len(started):] + started[:number % len(started)]
                    for name, figures in there_and_back(turn, scenario).items():
                        results.add(place.name, scenario, name, lives * ROUNDS + number, figures)
            lives += 1
            table = stats.tabulate(results.samples)[place.name, SCENARIO]
            found = [(values, expected) for values, expected, *_ in checks(table)]
            say(f"life {lives}, {clock(time.monotonic() - began)}: " + ", ".join(
                f"{statistics.median(values):.3f} ±{error(values):.3f}" for values, _ in found))
            if lives >= LIVES_MIN and all(error(values) < CERTAIN * expected for values, expected in found):
                break
    return table


def by_life(rounds, of):
    """What `of` makes of the values of each life. `rounds`: round -> value."""
    lives = {}
    for number, value in rounds.items():
        lives.setdefault(number // ROUNDS, []).append(value)
    return [of(life) for life in lives.values()]


def cheap(values):
    """What a round costs when little comes between: all else that a machine does only makes it dearer."""
    return stats.percentile(values, 25)


def error(lives):
    """The standard error of their median, as far as the quartiles tell: 1.253 times that of a mean."""
    middle = stats.summary(lives)
    return 1.253 * abs(middle["median"]) * middle["spread"] / 100 / 0.6745 / math.sqrt(middle["n"])


def checks(table):
    """(values of the lives, what their median must be, how far it may be off, words)"""
    figure = "cpu_us_request"
    for name in ("ptproxy", "nginx"):
        again, first = table[f"{name}-again"][figure], table[name][figure]
        ratios = {number: again[number] / first[number] for number in sorted(again.keys() & first.keys())}
        yield (by_life(ratios, statistics.median), 1, TOLERANCE_RATIO, f"CPU per request, {name} again / {name}")
    for end in ("client", "server"):
        busy, plain, again = (by_life(table[f"ptproxy{which}"][f"{figure}_{end}"], cheap)
                              for which in ("-busy", "", "-again"))
        yield ([most - (one + other) / 2 for most, one, other in zip(busy, plain, again)], BUSY_US, TOLERANCE_US,
               f"us of CPU per request, {BUSY_US} of them wasted, at the {end} end")


def verdict(lives, expected, tolerance, words):
    found = stats.summary(lives)
    good = abs(found["median"] - expected) <= tolerance
    say(f"{'ok   ' if good else 'WRONG'} {words}: {found['median']:.3f} ±{error(lives):.3f} (median and standard error "
        f"of {found['n']} lives of {2 * ROUNDS} turns; spread ±{found['spread']:.1f} %, {found['low']:.3f} to "
        f"{found['high']:.3f})")
    return good


def run():
    """0 if all is as it must be."""
    known, missing = runner.available(["ptproxy", "nginx"])
    if missing:
        raise BenchError("the test of the bench needs ptproxy and nginx")
    kinds = []
    for kind in known:
        kinds += [kind, dataclasses.replace(kind, name=f"{kind.name}-again", base=kind.program)]
    kinds.append(dataclasses.replace(systems.KINDS["ptproxy"], name="ptproxy-busy", base="ptproxy",
                                     binary=str(build_busy())))
    good = all([verdict(*check) for check in checks(measure(kinds))])
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > BUSY_LOAD * cores:
        say(f"load average {load:.1f} on {cores} cores: others computed too, and what is interrupted often costs more")
    return 0 if good else 1
