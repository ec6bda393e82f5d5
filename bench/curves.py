"""Tables of how figures change: with the size of bodies, requests at once, open connections, workers."""

import scenarios
from systems import PAIR_THREADS, REFERENCES, SIZES
from tables import number, share, table

SYSTEMS = ["ptproxy", *REFERENCES]
CPU, MEGABYTE, MEMORY, RATE = "cpu_us_request", "cpu_ms_mb", "rss_mb", "requests_s"
HEADS = {CPU: "CPU us", MEGABYTE: "CPU ms/MB", MEMORY: "RSS MB", RATE: "requests/s"}


def sizes():
    """The largest bodies are not measured 64 at once."""
    at = [(size, 64) for size in SIZES if size != "100m"] + [("1m", 16), ("100m", 16), ("100m", 1)]
    return [(f"{scenarios.TITLES[size]}, {count} at once", f"get-{size}-c{count}") for size, count in at]


def curve(rows, place, points, figures, suffix=""):
    """A line for each of `points`, pairs of words and a scenario; columns for each of `figures` and system, and ours as
    a part of the others', by the first figure that there is."""
    systems = [name + suffix for name in SYSTEMS]
    lines = []
    for words, scenario in points:
        found = [rows.get(place, scenario, system, figure) for figure in figures for system in systems]
        if not any(found):
            continue
        ours = next((row for row in found[::len(systems)] if row), None)
        to = [ours["to"].get(system) if ours else None for system in systems[1:]]
        lines.append([words, *(number(row["median"]) if row else "" for row in found), *map(share, to)])
    heads = [f"{HEADS[figure]} {system}" for figure in figures for system in systems]
    return table(["", *heads, *(f"ptproxy / {name}" for name in systems[1:])], lines) if lines else []


def measured(rows):
    """(title, lines) of each; only those of which something was measured."""
    at_once = [(str(count), f"get-1k-c{count}") for count in scenarios.CONCURRENCY]
    still = [(str(count), f"open-{count}") for count in scenarios.OPEN_CONNECTIONS]
    pairs = [(one.title, one.name) for one in scenarios.on_two_workers(1)]
    doubled = f"-t{PAIR_THREADS}"
    found = [
        ("CPU per request, by the size of its body", curve(rows, "loopback", sizes(), [CPU, MEGABYTE])),
        ("CPU per 1 KB request, by requests at once", curve(rows, "loopback", at_once, [CPU, RATE])),
        ("CPU per 1 KB request and memory, by open connections", curve(rows, "loopback", still, [CPU, MEMORY])),
        (f"{PAIR_THREADS} workers for each end",
         curve(rows, f"loopback{doubled}", pairs, [CPU, MEGABYTE, RATE], doubled)),
    ]
    return [(title, lines) for title, lines in found if lines]
