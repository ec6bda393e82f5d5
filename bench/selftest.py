"""The bench measures what is known beforehand: a system against itself, and a daemon that wastes CPU on purpose."""

import dataclasses
import math
import os
import subprocess

import certificates
import plan
import runner
import scenarios
import stats
import systems
from processes import TOP, BenchError, say

ROUNDS, ROUNDS_MAX = 8, 48  # so many more until the figures are certain
SECONDS = 1
CERTAIN = 0.01  # a standard error of this part of what is measured
BUSY_US = 20  # each end, each request
BUSY_LOAD = 3  # for each core; the bench itself keeps four processes busy
TOLERANCE_RATIO = 0.05
TOLERANCE_US = 2.0
SCENARIO = "get-1k-c64"


def build_busy():
    directory = TOP / "build/bench-busy"
    subprocess.run([TOP / "tools/build", "release"], cwd=TOP, check=True, capture_output=True)
    for command in (["cmake", "-S", ".", "-B", directory, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                     f"-DPTPROXY_BUSY_LOOP_US={BUSY_US}"], ["cmake", "--build", directory, "--target", "ptproxy"]):
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(map(str, command))}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return directory / "ptproxy"


def measure(kinds):
    """Rounds until all is certain or the patience ends; on a busy machine, that takes more of them."""
    results = runner.Results("bench/run --self-test", kinds, {})
    scenario = next(one for one in scenarios.on_loopback(SECONDS) if one.name == SCENARIO)
    place, part = systems.Loopback(), plan.Part("loopback", "loopback", systems.Loopback, kinds, [scenario])
    progress = runner.Progress(part.seconds(ROUNDS_MAX))
    with runner.workplace() as directory:
        certs = certificates.make(directory / "certificates")
        with runner.running(part, place, directory, certs, results) as (started, _):
            for first in range(0, ROUNDS_MAX, ROUNDS):
                runner.rounds(part, place, started, range(first, first + ROUNDS), results, progress)
                if results.failures:
                    raise BenchError(f"{len(results.failures)} measurements have failed")
                table = stats.tabulate(results.samples)["loopback", SCENARIO]
                if all(error(values) < CERTAIN * expected for values, expected, _, _ in checks(table)):
                    break
    return table


def error(values):
    """The standard error of their median, as far as the quartiles tell: 1.253 times that of a mean."""
    middle = stats.summary(values)
    return 1.253 * abs(middle["median"]) * middle["spread"] / 100 / 0.6745 / math.sqrt(middle["n"])


def checks(table):
    """(values, what their median must be, how far it may be off, words)"""
    figure = "cpu_us_request"
    for name in ("ptproxy", "nginx"):
        yield (stats.ratios(table[f"{name}-again"][figure], table[name][figure]), 1, TOLERANCE_RATIO,
               f"CPU per request, {name} again / {name}")
    for end in ("client", "server"):
        busy, plain = table["ptproxy-busy"][f"{figure}_{end}"], table["ptproxy"][f"{figure}_{end}"]
        yield ([busy[number] - plain[number] for number in sorted(busy.keys() & plain.keys())], BUSY_US, TOLERANCE_US,
               f"us of CPU per request, {BUSY_US} of them wasted, at the {end} end")


def verdict(values, expected, tolerance, words):
    found = stats.summary(values)
    good = abs(found["median"] - expected) <= tolerance
    say(f"{'ok   ' if good else 'WRONG'} {words}: {found['median']:.3f} ±{error(values):.3f} (standard error; spread "
        f"±{found['spread']:.1f} %, {found['low']:.3f} to {found['high']:.3f}, {found['n']} rounds)")
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
