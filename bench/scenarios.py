"""What is measured on loopback: loads of wrk and ab, and memory by open connections."""

import json
import subprocess
import time
from dataclasses import dataclass, field
from typing import Callable

import cpu
import load
from processes import PROBE, PYTHON, BenchError, start, stop
from systems import SIZES

TITLES = {"0": "0 B", "1k": "1 KB", "10k": "10 KB", "100k": "100 KB", "1m": "1 MB", "100m": "100 MB"}
CONCURRENCY = (1, 16, 64, 512)
OPEN_CONNECTIONS = (0, 100, 1000, 5000)


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    measure: Callable  # (system, seconds) -> figures
    seconds: float  # a measurement takes about this long
    quick: float = 0  # so long in a quick run; 0: not part of it
    shows: list = field(default_factory=list)  # figures in the report, in order


LOAD_FIGURES = ["cpu_us_request", "cpu_us_request_client", "cpu_us_request_server", "cpu_ms_mb", "requests_s", "mb_s",
                "p50_ms", "p90_ms", "p99_ms", "p999_ms", "switches_request", "rss_mb", "errors"]


def figures(result, used, body_bytes):
    """What the load says and what the proxies have used for it, by request and by MB of bodies."""
    requests, megabytes = result["requests"], body_bytes / 1e6
    found = {**result, "mb_s": megabytes / result["seconds"]}
    if not requests or not used:
        return found
    for end in ("", "_client", "_server"):
        found["cpu_us_request" + end] = used["cpu_ns" + end] / 1000 / requests
        if megabytes >= 1:
            found["cpu_ms_mb" + end] = used["cpu_ns" + end] / 1e6 / megabytes
        found["rss_mb" + end] = used["rss" + end] / 1e6
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


def download(size, connections):
    def measure(system, seconds):
        return under_load(system, lambda: load.wrk(system.place, system.address, connections, seconds, "get",
                                                   f"/{size}"))
    return measure


def upload(size, connections):
    def measure(system, seconds):
        return under_load(system, lambda: load.wrk(system.place, system.address, connections, seconds, "post",
                                                   SIZES[size]), SIZES[size])
    return measure


def mixed(connections):
    def measure(system, seconds):
        return under_load(system, lambda: load.wrk(system.place, system.address, connections, seconds, "mixed"))
    return measure


def closing(size, connections):
    def measure(system, seconds):
        return under_load(system, lambda: load.ab(system.place, system.address, f"/{size}", connections, seconds))
    return measure


# Memory


def memory(count):
    """Resident memory with `count` open connections, each idle after one request. A fresh start for each, as no
    allocator gives back all that it has had."""
    def measure(system, _seconds):
        system.restart()
        system.check()
        if not system.services:
            return {}
        request = {"what": "hold", "host": system.address[0], "port": system.address[1], "path": "/1k",
                   "count": count, "seconds": 60}
        holder = start(system.place.command("client", [PYTHON, PROBE, json.dumps(request)]), stdout=subprocess.PIPE,
                       text=True)
        try:
            opened = json.loads(holder.stdout.readline() or "{}").get("open", 0)
            time.sleep(0.2)
            used = cpu.usage_of(system.pids())
        finally:
            stop(holder)
            holder.stdout.close()
        return {"connections": opened, "errors": count - opened,
                **{f"rss_mb_{end}": usage.resident / 1e6 for end, usage in used.items()},
                "rss_mb": sum(usage.resident for usage in used.values()) / 1e6}
    return measure


# All of them


def at_once(connections):
    return f"{connections} connection{'s' if connections > 1 else ''}"


def loads():
    quick = {("1k", 1): 1, ("1k", 64): 2, ("1m", 16): 1}
    for size in SIZES:
        for connections in CONCURRENCY if size != "100m" else (1, 16):
            yield Scenario(f"get-{size}-c{connections}", f"{TITLES[size]}, {at_once(connections)}",
                           download(size, connections), 3 if size != "100m" else 5, quick.get((size, connections), 0),
                           LOAD_FIGURES)
    for connections in CONCURRENCY:
        yield Scenario(f"close-1k-c{connections}", f"1 KB, {connections} at once, without keep-alive",
                       closing("1k", connections), 3, 0, LOAD_FIGURES)
    for size in ("1k", "100k", "1m"):
        for connections in (1, 16, 64):
            yield Scenario(f"post-{size}-c{connections}", f"uploads of {TITLES[size]}, {at_once(connections)}",
                           upload(size, connections), 3, 0, LOAD_FIGURES)
    yield Scenario("mixed-c64", "mixed load, 64 connections", mixed(64), 3, 0, LOAD_FIGURES)


def on_loopback():
    yield from loads()
    for count in OPEN_CONNECTIONS:
        yield Scenario(f"memory-{count}", f"memory with {count} open connections", memory(count), 3 + count / 1500, 0,
                       ["rss_mb", "rss_mb_client", "rss_mb_server", "errors"])
