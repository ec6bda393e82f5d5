"""Runs a plan: places, scenarios, systems in turns; shows how far it is and keeps what was measured."""

import contextlib
import datetime
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

import certificates
import links
import scenarios
import systems
from processes import TOP, BenchError, say

MEASURE_OVERHEAD_SECONDS = 0.4  # beyond what a scenario says: programs start, connections are made
START_SECONDS = 2  # to start a system


def available(names):
    """The kinds that can be had, and why the others cannot."""
    done = subprocess.run([TOP / "tools/setup", "bench"], cwd=TOP)
    if done.returncode != 0:
        raise BenchError("tools/setup bench has failed: without wrk, ab and the origin there is nothing to measure")
    kinds, missing = [], {}
    for name in names:
        kind = systems.KINDS[name]
        try:
            systems.prepare(kind)
            kinds.append(kind)
        except systems.Missing as why:
            missing[name] = str(why)
            say(f"MISSING {name}: {why}")
    return kinds, missing


class Plan:
    """`parts`: (name of a place, what makes it, kinds, [(scenario, seconds)])."""

    def __init__(self, kinds, profiles, loopback, rounds, wanted, quick=False):
        self.rounds, self.parts = rounds, []
        if loopback:
            self.add("loopback", systems.Loopback, kinds, scenarios.on_loopback(), wanted)
        if profiles:
            done = subprocess.run([TOP / "tools/build", "release", "link-emulator"], cwd=TOP, capture_output=True)
            if done.returncode != 0:
                raise BenchError(f"tools/build: {done.stdout.decode()[-500:]}")
        for profile in profiles:
            place = links.LinkPlace(profile)
            try:
                found = list(links.on_links(place))
            finally:
                place.close()
            self.add(profile, lambda profile=profile: links.LinkPlace(profile), list(links.variants(kinds, quick)),
                     found, wanted)

    def add(self, name, make, kinds, found, wanted):
        chosen = [(scenario, wanted(scenario)) for scenario in found]
        chosen = [(scenario, seconds) for scenario, seconds in chosen if seconds]
        if chosen and kinds:
            self.parts.append((name, make, kinds, chosen))

    def seconds(self):
        return sum(self.part_seconds(part) for part in self.parts)

    def part_seconds(self, part):
        _, _, kinds, chosen = part
        one = sum(seconds + MEASURE_OVERHEAD_SECONDS for _, seconds in chosen)
        return len(kinds) * (START_SECONDS + self.rounds * one)

    def __str__(self):
        lines = []
        for part in self.parts:
            name, _, kinds, chosen = part
            lines += [f"{name}: {' '.join(kind.name for kind in kinds)}; about {clock(self.part_seconds(part))}"]
            lines += [f"  {scenario.name:16} {scenario.title}" for scenario, _ in chosen]
        return "\n".join([*lines, f"{self.rounds} rounds, about {clock(self.seconds())}"])


def clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


class Progress:
    """How long the rest takes: as the plan says, corrected by how the plan has done so far."""

    def __init__(self, total):
        self.total, self.planned, self.began = total, 0.0, time.monotonic()

    def done(self, seconds):
        self.planned += seconds

    def left(self):
        elapsed = time.monotonic() - self.began
        pace = elapsed / self.planned if self.planned > self.total / 50 else 1.0
        return max(0.0, self.total - self.planned) * pace

    def show(self, text):
        share = min(1.0, self.planned / self.total) if self.total else 1.0
        say(f"{share:4.0%}  {clock(self.left())} left  {text}")


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 1e6
    release = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    return {"cpu": cpu[1] if cpu else platform.machine(), "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(memory, 1), "kernel": platform.release(), "system": release[1] if release else ""}


def commit():
    said = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=TOP, capture_output=True, text=True)
    return said.stdout.strip()


class Results:
    def __init__(self, command, kinds, missing):
        self.head = {"command": command, "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                     "machine": machine(), "commit": commit(), "missing": missing,
                     "systems": {kind.name: {"version": systems.version(kind), "wire": kind.wire} for kind in kinds}}
        self.partial = False
        self.load = {"start": os.getloadavg()[0]}
        self.samples, self.failures, self.titles = [], [], {}

    def add(self, place, scenario, system, number, figures):
        self.titles[scenario.name] = {"title": scenario.title, "shows": scenario.shows}
        self.samples.append({"place": place, "scenario": scenario.name, "system": system, "round": number,
                             "figures": figures})

    def failed(self, place, scenario, system, number, why):
        say(f"FAILED {place} {scenario} {system}: {why}")
        self.failures.append({"place": place, "scenario": scenario, "system": system, "round": number,
                              "why": str(why)[:2000]})

    def as_json(self):
        return {**self.head, "partial": self.partial, "load_average": {**self.load, "end": os.getloadavg()[0]},
                "scenarios": self.titles, "failures": self.failures, "samples": self.samples}


@contextlib.contextmanager
def workplace():
    """A directory for what runs; removed at the end."""
    directory = TOP / "build/bench" / str(os.getpid())
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running(name, place, kinds, directory, certs, failed=None):
    """The systems of a place, started; all are stopped in the end, whatever happens."""
    ports, started, origin = systems.Ports(), [], None
    try:
        origin = systems.Origin(directory / f"origin-{name}", place, ports)
        for kind in kinds:
            system = systems.System(kind, directory / f"{name}-{kind.name}", place, origin, certs, ports)
            started.append(system)
            try:
                system.start()
                system.check()
            except BenchError as why:
                if failed is None:
                    raise
                failed(kind.name, why)
                system.stop()
                started.remove(system)
        yield started
    finally:
        for system in started:
            system.stop()
        if origin:
            origin.stop()


def rounds(place, started, chosen, numbers, results, progress):
    """Every scenario once in each round, so that an early end leaves something of each; systems in turns, and another
    one first each time."""
    for number in numbers:
        turn = started[number % len(started):] + started[:number % len(started)]
        for scenario, seconds in chosen:
            progress.show(f"{place}, round {number + 1} of {numbers[-1] + 1}: {scenario.name}")
            for system in turn:
                try:
                    figures = scenario.measure(system, seconds)
                    results.add(place, scenario, system.name, number, figures)
                except BenchError as why:
                    results.failed(place, scenario.name, system.name, number, why)
                    with contextlib.suppress(BenchError):
                        system.restart()
                progress.done(seconds + MEASURE_OVERHEAD_SECONDS)


def execute(plan, results, keep):
    """`keep` is called after each place, as the next may take an hour."""
    progress = Progress(plan.seconds())
    with workplace() as directory:
        certs = certificates.make(directory / "certificates")
        for name, make, kinds, chosen in plan.parts:
            progress.show(f"{name}: starting {' '.join(kind.name for kind in kinds)}")
            with contextlib.ExitStack() as stack:
                place = make()
                if hasattr(place, "close"):
                    stack.callback(place.close)
                started = stack.enter_context(running(
                    name, place, kinds, directory, certs,
                    lambda system, why, name=name: results.failed(name, "start", system, 0, why)))
                progress.done(START_SECONDS * len(kinds))
                if started:
                    rounds(name, started, chosen, range(plan.rounds), results, progress)
            keep()
