"""What is measured on loopback: loads of wrk and ab, and what open connections cost."""

from dataclasses import dataclass, field
from typing import Callable

import cpu
import load
from processes import BenchError
from systems import SIZES

TITLES = {"0": "0 B", "100": "100 B", "1k": "1 KB", "10k": "10 KB", "100k": "100 KB", "1m": "1 MB", "100m": "100 MB"}
CONCURRENCY = (1, 16, 64, 512, 1000)
OPEN_CONNECTIONS = (1, 10, 1000, 10_000)
BESIDE_OPEN = 16  # connections with requests, beside those that are open
OVERHEAD_SECONDS = 0.1  # of a load beyond its length: programs start, connections are made
LOAD_SHARE_MIN = 0.001  # seconds of a load for each connection: to open them is much of a shorter one
OPENED_A_SECOND = 3000  # connections, about
RESTART_SECONDS = 1.0


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    measure: Callable  # (system) -> figures, or {part: figures}
    seconds: float  # a measurement takes about this long, everything counted
    shows: list = field(default_factory=list)  # figures in the report, in order
    parts: dict = field(default_factory=dict)  # what has figures of its own: name -> title; {}: it is one
    quick: bool = False  # part of a quick run
    pair: bool = False  # part of the run with two workers
    prepare: Callable = lambda system: None  # before it: takes little of a link
    prepare_seconds: float = 0  # not in `seconds`
    mbit: float = 5  # of a link it takes that much
    repeats: int = 1  # in a round, each with its preparation; the round's figures are their medians
    judged: bool = False  # a goal is about it: few others run at the same time

    def titles(self):
        return self.parts or {self.name: self.title}


LOAD_FIGURES = ["cpu_us_request", "cpu_us_request_client", "cpu_us_request_server", "cpu_ms_mb", "requests_s", "mb_s",
                "p50_ms", "p90_ms", "p99_ms", "p999_ms", "switches_request", "rss_mb", "errors"]
OPEN_FIGURES = ["rss_mb", "rss_mb_client", "rss_mb_server", "cpu_us_request", "requests_s", "p50_ms", "p99_ms",
                "connections", "errors"]


def figures(result, used, body_bytes):
    """What the load says and what the proxies have used for it, by request and by MB of bodies."""
    requests, megabytes = result["requests"], body_bytes / 1e6
    found = {**result, "mb_s": megabytes / result["seconds"]}
    for end in ("", "_client", "_server") if used else ():
        if requests:
            found["cpu_us_request" + end] = used["cpu_ns" + end] / 1000 / requests
        if megabytes >= 1:
            found["cpu_ms_mb" + end] = used["cpu_ns" + end] / 1e6 / megabytes
        found["rss_mb" + end] = used["rss" + end] / 1e6
    if used and requests:
        found["switches_request"] = used["switches"] / requests
    return found


def under_load(system, run, body_bytes=None):
    """Runs a load and looks at what the proxies have used before and after it. `body_bytes`: of one request, when they
    are not what the load has received."""
    pids = system.pids()
    before = cpu.usage_of(pids)
    result = run()
    used = cpu.spent(before, cpu.usage_of(pids)) if pids else {}
    if not system.alive():
        raise BenchError(f"{system.name}: a proxy has ended")
    return figures(result, used, result["bytes"] if body_bytes is None else body_bytes * result["requests"])


# Loads


def download(size, connections, seconds):
    def measure(system):
        return under_load(system, lambda: load.wrk(system.place, system.address, connections, seconds, "get",
                                                   f"/{size}"))
    return measure


def upload(size, connections, seconds):
    def measure(system):
        return under_load(system, lambda: load.wrk(system.place, system.address, connections, seconds, "post",
                                                   SIZES[size]), SIZES[size])
    return measure


def mixed(connections, seconds):
    def measure(system):
        return under_load(system, lambda: load.wrk(system.place, system.address, connections, seconds, "mixed"))
    return measure


def by_ab(size, connections, seconds, keep_alive=False):
    def measure(system):
        return under_load(system, lambda: load.ab(system.place, system.address, f"/{size}", connections, seconds,
                                                  keep_alive))
    return measure


# Open connections


def open_connections(seconds):
    """With more and more connections open, each idle after one request: resident memory, then a load beside them. From
    a fresh start, as no allocator gives back all that it has had."""
    def measure(system):
        host, port = system.address
        system.restart()
        system.check()
        found = {}
        try:
            for count in OPEN_CONNECTIONS:
                got = system.caller.ask("hold", 30 + count / 200, host=host, port=port, path="/1k", count=count)
                memory = {f"rss_mb_{end}": usage.resident / 1e6 for end, usage in cpu.usage_of(system.pids()).items()}
                memory |= {"rss_mb": sum(memory.values())} if memory else {}
                used = download("1k", BESIDE_OPEN, seconds)(system)
                errors = {"connections": got["open"], "errors": used["errors"] + got["refused"]}
                found[f"open-{count}"] = {**used, **memory, **errors}
        finally:
            system.caller.ask("release", 30, port=port)
        return found
    return measure


# All of them


def at_once(connections):
    return f"{connections} connection{'s' if connections > 1 else ''}"


def loads(seconds):
    """Every size with 64 connections, every number of connections with 1 KB, and the corners of large bodies."""
    quick = {("1k", 1), ("1k", 64), ("1m", 16)}
    pair = {("1k", 64), ("1k", 512), ("100k", 64), ("1m", 16)}
    chosen = [(size, 64) for size in SIZES if size != "100m"] + [("1k", count) for count in CONCURRENCY]
    chosen += [("100k", 1), ("100k", 512), ("1m", 1), ("1m", 16), ("100m", 1), ("100m", 16)]
    for size, count in dict.fromkeys(sorted(chosen, key=lambda one: (SIZES[one[0]], one[1]))):
        long = max(seconds, LOAD_SHARE_MIN * count)
        yield Scenario(f"get-{size}-c{count}", f"{TITLES[size]}, {at_once(count)}", download(size, count, long),
                       long + OVERHEAD_SECONDS, LOAD_FIGURES, quick=(size, count) in quick,
                       pair=(size, count) in pair)
    whole = max(1, round(seconds))  # ab's times are whole seconds
    for count in CONCURRENCY[:4]:
        yield Scenario(f"close-1k-c{count}", f"1 KB, {count} at once, without keep-alive (ab)",
                       by_ab("1k", count, whole), whole + OVERHEAD_SECONDS, LOAD_FIGURES, pair=count == 64)
    yield Scenario("keep-1k-c64", "1 KB, 64 at once, with keep-alive (ab)", by_ab("1k", 64, whole, True),
                   whole + OVERHEAD_SECONDS, LOAD_FIGURES)
    for size, count in (("1k", 64), ("100k", 16), ("1m", 1), ("1m", 16)):
        yield Scenario(f"post-{size}-c{count}", f"uploads of {TITLES[size]}, {at_once(count)}",
                       upload(size, count, seconds), seconds + OVERHEAD_SECONDS, LOAD_FIGURES,
                       pair=(size, count) == ("1m", 16))
    yield Scenario("mixed-c64", "mixed load, 64 connections", mixed(64, seconds), seconds + OVERHEAD_SECONDS,
                   LOAD_FIGURES, pair=True)


def on_loopback(seconds):
    """`seconds`: of each load."""
    yield from loads(seconds)
    took = len(OPEN_CONNECTIONS) * (seconds + OVERHEAD_SECONDS) + sum(OPEN_CONNECTIONS) / OPENED_A_SECOND
    yield Scenario("open", "more and more open connections", open_connections(seconds), took + RESTART_SECONDS,
                   OPEN_FIGURES, {f"open-{count}": f"{at_once(count)} open; 1 KB on {BESIDE_OPEN} others"
                                  for count in OPEN_CONNECTIONS})


def on_two_workers(seconds):
    return (scenario for scenario in loads(seconds) if scenario.pair)
