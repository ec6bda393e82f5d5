"""Goodput of one download by random loss, of ptproxy with each congestion_algorithm and of nginx over TCP."""

import datetime
import json
import statistics
import sys
import zlib
from dataclasses import replace

import certificates
import summary
from links import Line, LinkPlace
from plan import clock
from processes import BenchError, Caller
from runner import commit, machine
from systems import KINDS, Origin, Ports, System

LOSSES = (0, 1, 5, 10, 20)
ALGORITHMS = ("bbr", "cubic", "newreno", "none")
SKIP_SECONDS, START_SECONDS = 2, 2.5
TRIES = 2  # measured again when the emulator was late
BEGIN, END = "<!-- goodput: begin, made by bench/goodput --tuning -->", "<!-- goodput: end -->"
ROWS = {
    **{f"nginx-{name}": f"nginx, TCP {name.upper()}" for name in ("cubic", "bbr")},
    **{f"ptproxy-{name}": f"ptproxy `{name}`" for name in ALGORITHMS},
    "ptproxy-defaults": "ptproxy, defaults",
}


def kinds():
    for name in ROWS:
        base, _, what = name.partition("-")
        yield replace(KINDS[base], name=name, base=base, congestion=what if base == "nginx" else "",
                      tuned=what != "defaults")


def pair(kind, directory, place, origin, names, ports, caller):
    told, name = dict(place.tuning), kind.name.rpartition("-")[2]
    if kind.program == "ptproxy" and name in ALGORITHMS:
        place.tuning["congestion_algorithm"] = name
    try:
        return System(kind, directory / kind.name, place, origin, names, ports, caller)
    finally:
        place.tuning = told


class Table:
    """What has been measured. `path` has it after each measurement, so that one may stop at any time."""

    def __init__(self, path, seconds, rounds):
        self.path = path
        self.found = {"seconds": seconds, "rounds": rounds, "date": f"{datetime.date.today()}", "commit": commit(),
                      "machine": machine(), "samples": []}

    def add(self, system, loss, mbit_s, late):
        self.found["samples"].append({"system": system, "loss": loss, "mbit_s": round(mbit_s, 2), "late": late})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=1))


def cell(samples):
    """The median of those in which the emulator kept up; of all, and it is said, when there is none."""
    punctual = [sample["mbit_s"] for sample in samples if not sample["late"]]
    if not samples:
        return "-"
    median = statistics.median(punctual or [sample["mbit_s"] for sample in samples])
    return f"{median:.1f}{'' if punctual else ' (late)'}"


def lines(found):
    about, samples = found["machine"], found["samples"]
    of = {(name, loss): [one for one in samples if (one["system"], one["loss"]) == (name, loss)]
          for name in ROWS for loss in LOSSES}
    least, late = min(map(len, of.values())), sum(one["late"] for one in samples)
    yield (f"`bench/goodput {found['seconds']} {found['rounds']}` on {found['date']}, commit {found['commit']}: "
           f"{about['cpu']}, {about['cores']} cores, {about['system']}, Linux {about['kernel']}; medians of rounds: "
           f"{found['rounds']}.")
    if least < found["rounds"]:
        yield f"The run was ended early: of some figures there are {least} rounds."
    if late:
        yield f"The link emulator was late in {late} of {len(samples)} measurements, which do not count."
    yield ""
    yield "| Mbit/s at a loss of | " + " | ".join(f"{loss} %" for loss in LOSSES) + " |"
    yield "| --- |" + " ---: |" * len(LOSSES)
    for name, words in ROWS.items():
        yield f"| {words} | " + " | ".join(cell(of[name, loss]) for loss in LOSSES) + " |"


def into_tuning(path, page):
    """Replaces the table in `page` by the one of the results in `path`."""
    if not path.exists():
        raise BenchError(f"there is no {path}: bench/goodput makes it")
    summary.replace_block(page, BEGIN, END, "\n".join(lines(json.loads(path.read_text()))))


def once(system, loss, seconds, number):
    """Mbit/s, and whether the emulator was late. In a round every system meets the same losses."""
    place = system.place
    for _ in range(TRIES):
        try:
            place.use_congestion(system.congestion)
            system.restart()  # TCP keeps its algorithm as long as its connection lasts
            system.check()
            place.settle()
            place.link.command(f"reset {zlib.crc32(f'{loss} {number}'.encode())}")
            place.link.command(f"set loss={loss}")
            begun = place.begin()
            got = system.probe("download", SKIP_SECONDS + seconds + 30, path="/100m", count=1, skip=SKIP_SECONDS,
                               seconds=seconds)
            late = bool(place.end(begun)["link_saturated"])
        finally:
            place.link.command("set loss=0")
            system.stop()
        if not late:
            break
    return got["bytes"] * 8 / got["seconds"] / 1e6, late


def say(text):
    print(f"goodput: {text}", file=sys.stderr, flush=True)


def measure(table, directory):
    """Every figure once in each round."""
    rounds, seconds = table.found["rounds"], table.found["seconds"]
    ports, place, origin, caller = Ports(), LinkPlace(Line.of("lossy")), None, None
    place.link.command("set loss=0")
    try:
        caller = Caller(lambda words: place.command("client", words))
        names = certificates.make(directory / "certificates")
        origin = Origin(directory / "origin", place, ports)
        systems = [pair(kind, directory, place, origin, names, ports, caller) for kind in kinds()]
        left = rounds * len(LOSSES) * len(systems)
        for number in range(rounds):
            for loss in LOSSES:
                for system in systems:
                    try:
                        mbit_s, late = once(system, loss, seconds, number)
                        table.add(system.name, loss, mbit_s, late)
                        said = f"{mbit_s:.1f} Mbit/s{' (late)' if late else ''}"
                    except BenchError as why:  # the others go on
                        said = f"FAILED: {why}"
                    left -= 1
                    say(f"round {number + 1}: {system.name}, {loss} %: {said}; "
                        f"{clock(left * (seconds + SKIP_SECONDS + START_SECONDS))} left")
    finally:
        if caller:
            caller.stop()
        if origin:
            origin.stop()
        place.close()
