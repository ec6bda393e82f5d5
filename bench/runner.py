"""Runs a plan: places, scenarios, systems in turns; shows how far it is and keeps what was measured."""

import collections
import contextlib
import datetime
import math
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import threading
import time
from pathlib import Path

import certificates
import load
import scenarios
import systems
from plan import START_SECONDS, WARM_UP_SECONDS, clock
from processes import TOP, BenchError, Caller, say

SHOW_SECONDS = 5  # between two lines of progress
JUDGED_TRIES = 3  # what a goal is about is measured again when the emulator did not keep up
LANE_GAP_SECONDS = 0.3  # between the starts of two lanes, some hundred processes in all
LINK_LIGHTEST = 5.0  # Mbit/s that a measurement on a link counts as, at least
LINK_RESERVE = 1.3  # the next time a system does not take more of the link than this part of the last


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


class Progress:
    """How long the rest takes: as the plan says, corrected by how the plan has done so far."""

    def __init__(self, total):
        self.total, self.planned, self.began = total, 0.0, time.monotonic()
        self.shown, self.lock = 0.0, threading.Lock()

    def done(self, seconds):
        with self.lock:
            self.planned += seconds

    def left(self):
        elapsed = time.monotonic() - self.began
        pace = elapsed / self.planned if self.planned > self.total / 50 else 1.0
        return max(0.0, self.total - self.planned) * pace

    def show(self, text, always=False):
        """A line now and then; links would write one every moment."""
        with self.lock:
            if not always and time.monotonic() - self.shown < SHOW_SECONDS:
                return
            self.shown = time.monotonic()
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


class Stopped(Exception):
    """The run is to end."""


class Results:
    """What has been measured. Lanes add to it at the same time."""

    def __init__(self, command, kinds, missing, lines=()):
        self.head = {"links": {line.name: line.about() for line in lines},
                     "command": command, "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                     "machine": machine(), "commit": commit(), "missing": missing,
                     "systems": {kind.name: {"version": systems.version(kind), "wire": kind.wire} for kind in kinds}}
        self.partial, self.stopping, self.began = False, False, time.monotonic()
        self.load = {"start": os.getloadavg()[0]}
        self.samples, self.failures, self.titles, self.link_cpu_shares = [], [], {}, []

    def add(self, place, scenario, system, number, found):
        """`found`: figures, or those of each of the scenario's parts. What the place adds is in `found` already."""
        for name, title in scenario.titles().items():
            self.titles[name] = {"title": title, "shows": scenario.shows}
            self.samples.append({"place": place, "scenario": name, "system": system, "round": number,
                                 "figures": found[name] if scenario.parts else found})

    def failed(self, place, scenario, system, number, why):
        if self.stopping:  # what is ended by force has not failed
            raise Stopped
        say(f"FAILED {place} {scenario} {system}: {why}")
        self.failures.append({"place": place, "scenario": scenario, "system": system, "round": number,
                              "why": str(why)[:2000]})

    def lacks(self, system, why):
        say(f"MISSING {system}: {why}")
        self.head["missing"][system] = str(why)

    def as_json(self):
        return {**self.head, "seconds": round(time.monotonic() - self.began), "partial": self.partial,
                "load_average": {**self.load, "end": os.getloadavg()[0]}, "scenarios": dict(self.titles),
                "link_cpu_shares": self.link_cpu_shares,
                "failures": list(self.failures), "samples": list(self.samples)}


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
def running(part, place, directory, certs, results):
    """The systems of a part, started in its place; all are stopped in the end, whatever happens. One that does not
    start is a failure of its own; one that cannot do what is asked is missing. On a link, which may lose what is sent
    to see whether it answers, the measurements tell."""
    ports, started, origin, caller = systems.Ports(), [], None, Caller(lambda words: place.command("client", words))
    try:
        origin = systems.Origin(directory / f"origin-{part.name}", place, ports)
        for kind in part.kinds:
            system = systems.System(kind, directory / f"{part.name}-{kind.name}", place, origin, certs, ports, caller)
            started.append(system)
            try:
                system.start()
                if not place.rtt:
                    system.check()
                system.check_threads()
            except (BenchError, systems.Missing) as why:
                if isinstance(why, systems.Missing):
                    results.lacks(kind.name, why)
                else:
                    results.failed(part.name, "start", kind.name, 0, why)
                system.stop()
                started.remove(system)
        yield started, caller
    finally:
        caller.stop()
        for system in started:
            system.stop()
        if origin:
            origin.stop()


class Capacity:
    """So much may go over links at the same time; what does not fit waits, the first first. `stop` ends the waiting."""

    def __init__(self, mbit):
        self.total = self.free = mbit
        self.queue, self.condition, self.stopped = collections.deque(), threading.Condition(), False

    @contextlib.contextmanager
    def take(self, mbit):
        # Whole numbers: what is left of fractions would keep back for ever who needs everything.
        mbit, ticket = min(math.ceil(max(mbit, LINK_LIGHTEST)), self.total), object()
        with self.condition:
            self.queue.append(ticket)
            self.condition.wait_for(lambda: self.stopped or self.queue[0] is ticket and self.free >= mbit)
            self.queue.remove(ticket)
            self.free -= mbit
            self.condition.notify_all()
        try:
            if self.stopped:
                raise Stopped
            yield
        finally:
            with self.condition:
                self.free += mbit
                self.condition.notify_all()

    def stop(self):
        with self.condition:
            self.stopped = True
            self.condition.notify_all()


def warm_up(started):
    """Not measured. What was just started has connections to make between the ends, for some a handshake for each
    request at a time."""
    for system in started:
        with contextlib.suppress(BenchError):
            load.wrk(system.place, system.address, scenarios.CONCURRENCY[-1], WARM_UP_SECONDS, "get", "/1k")


def once(place, scenario, system, number, capacity, mbit):
    """What prepares it takes no capacity."""
    for _ in range(JUDGED_TRIES if scenario.judged else 1):
        place.prepare(system, scenario, number)
        scenario.prepare(system)
        with capacity.take(mbit) if capacity else contextlib.nullcontext():
            begun = place.begin()
            figures = scenario.measure(system)
            figures = {**figures, **place.end(begun)}
        if not figures.get("link_saturated"):
            break
    return figures


def measure(place, scenario, system, number, capacity, mbit=0.0):
    """One measurement, of about `mbit`; the medians, when it is repeated."""
    found = [once(place, scenario, system, number + 1000 * again, capacity, mbit) for again in range(scenario.repeats)]
    return found[0] if len(found) == 1 else {name: statistics.median(one[name] for one in found if name in one)
                                             for name in found[0]}


def rounds(part, place, started, numbers, results, progress, capacity=None, name=None, pace=1.0):
    """Every scenario once in each round, so that an early end leaves something of each; systems in turns, and another
    one first each time. After a failure the system starts anew. The results are kept under `name`. Not every system
    fills a link: it takes the link's rate of the capacity in the first round, later little more than it carried."""
    name, carried = name or part.name, {}
    for number in numbers:
        turn = started[number % len(started):] + started[:number % len(started)]
        if part.warm_up:
            warm_up(turn)
        for scenario in part.scenarios:
            for system in turn:
                progress.show(f"{name}, round {number + 1} of {numbers[-1] + 1}: {scenario.name}")
                try:
                    if not system.alive():
                        results.failed(name, scenario.name, system.name, number,
                                       f"a proxy had ended before; began anew{system.ended()}")
                        system.restart()
                    mbit = min(scenario.mbit, carried.get((scenario.name, system.name), scenario.mbit))
                    found = measure(place, scenario, system, number, capacity, mbit)
                    if found.get("requests", 1) == found.get("bytes", 1) == 0:  # no figure; what hangs would stay so
                        raise BenchError("nothing was answered; began anew")
                    carried[scenario.name, system.name] = LINK_RESERVE * found.get("link_mbit", scenario.mbit)
                    results.add(name, scenario, system.name, number, found)
                except BenchError as why:
                    results.failed(name, scenario.name, system.name, number, f"{why}{system.ended()}")
                    with contextlib.suppress(BenchError):
                        system.restart()
                progress.done(pace * scenario.repeats * (scenario.prepare_seconds + scenario.seconds))


class Lane(threading.Thread):
    """Some systems on a link of their own, while other lanes do the same."""

    def __init__(self, part, phase, directory, certs, results, progress, capacity):
        super().__init__(name=part.name)
        self.part, self.phase, self.results, self.progress, self.capacity = part, phase, results, progress, capacity
        self.directory, self.certs, self.caller, self.pace = directory, certs, None, phase.pace()

    def run(self):
        try:
            self.go()
        except Stopped:
            pass
        except Exception as why:  # one link that cannot be made, or a fault of the bench: the others go on
            with contextlib.suppress(Stopped):
                self.results.failed(self.part.title, "lane", self.part.name, 0, repr(why))

    def go(self):
        place = self.part.place()
        try:
            with running(self.part, place, self.directory, self.certs, self.results) as (started, self.caller):
                self.progress.done(self.pace * START_SECONDS * len(self.part.kinds))
                if started:
                    rounds(self.part, place, started, range(self.phase.rounds), self.results, self.progress,
                           self.capacity, self.part.title, self.pace)
        finally:
            place.close()

    def abort(self):
        if self.caller:
            self.caller.abort()


def used_seconds():
    """CPU time of all that we have started and that has ended, and of ourselves."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def on_links(phase, directory, certs, results, progress):
    """All lanes at once. An interruption ends each of them, and it is waited for that they have cleaned up."""
    capacity = Capacity(phase.capacity)
    lanes = [Lane(part, phase, directory, certs, results, progress, capacity) for part in phase.lanes]
    try:
        for lane in lanes:
            lane.start()
            time.sleep(LANE_GAP_SECONDS)
        for lane in lanes:
            while lane.is_alive():
                lane.join(0.5)
    except BaseException:
        results.stopping = True
        raise
    finally:
        capacity.stop()
        while any(lane.is_alive() for lane in lanes if lane.ident):
            for lane in lanes:
                lane.abort()
            time.sleep(0.1)


def execute(plan, results, keep):
    """`keep` is called after each part on loopback, as the next takes a while."""
    progress = Progress(plan.seconds())
    with workplace() as directory:
        certs = certificates.make(directory / "certificates")
        systems.make_files(directory, plan.files)  # now, as lanes would all make them
        for part in plan.loopback:
            progress.show(f"{part.name}: starting {' '.join(kind.name for kind in part.kinds)}", True)
            place = part.place()
            with running(part, place, directory, certs, results) as (started, _):
                progress.done(START_SECONDS * len(part.kinds))
                if started:
                    rounds(part, place, started, range(plan.rounds), results, progress)
            keep()
        for phase in plan.phases:
            names = " ".join(part.name for part in phase.parts)
            progress.show(f"links {names}: {len(phase.lanes)} at a time", True)
            used, began = used_seconds(), time.monotonic()
            on_links(phase, directory, certs, results, progress)
            share = (used_seconds() - used) / (time.monotonic() - began) / len(os.sched_getaffinity(0))
            results.link_cpu_shares.append(round(share, 3))
