"""The figures that ptproxy is to reach: each goal with what was reached. Judged by medians over the rounds."""

from dataclasses import dataclass
from statistics import median

from stats import summary

LOOPBACK = "loopback"
REQUEST, MEGABYTE = ("get-1k-c64", "cpu_us_request"), ("get-1m-c16", "cpu_ms_mb")
# At most this part of what a peer takes: peer -> (for a request, for a MB).
PARTS = {"haproxy": (0.5, 0.5), "nginx": (0.36, 0.4), "h2o": (0.4, 0.27), "caddy": (0.05, 0.16)}
# On links: (place, scenario, figure, words, limit, whether more is better).
LINKS = [
    ("lossy", "opened-100k", "opened_total_ms", "100 ms, 50 Mbit/s, 1 %: first 100 KB, ms", 130, False),
    ("lossy", "many-10k", "many_total_p50_ms", "same: 10 KB, 50 at once, p50 ms", 106, False),
    ("lossy", "many-10k", "many_total_p99_ms", "same: 10 KB, 50 at once, p99 ms", 320, False),
    ("lossy", "down-1", "mbit_s", "same: one download, Mbit/s", 45, True),
    ("far", "opened-100k", "opened_total_ms", "150 ms, 30 Mbit/s: first 100 KB, ms", 185, False),
]
ADDED_US_MAX = 60
IDLE_KB_MAX = 3
RESIDENT_MB_MAX = 64
FLAT_MAX = 1.15
BDP_TRIPS = 2  # round trips, beside what the bytes take at the link's rate
IP_SHARE = 1.05  # bytes on the link for each of a body, about: headers, acknowledgements


@dataclass(frozen=True)
class Goal:
    words: str
    limit: float
    reached: float  # None: not measured
    more: bool = False  # is better
    note: str = ""

    @property
    def verdict(self):
        if self.reached is None:
            return "not measured"
        return "yes" if (self.reached >= self.limit if self.more else self.reached <= self.limit) else "**no**"


def values(table, place, scenario, system, figure):
    """round -> value"""
    return table.get((place, scenario), {}).get(system, {}).get(figure, {})


def middle(table, *key):
    found = values(table, *key)
    return median(found.values()) if found else None


def by_round(ours, theirs, combine):
    """The summary of what two figures of the same round give; None: no round has both."""
    found = [combine(ours[number], theirs[number]) for number in sorted(ours.keys() & theirs.keys()) if theirs[number]]
    return summary(found) if found else None


def spread(found):
    return f"±{found['spread']:.0f}%" if found and found["n"] > 1 else ""


def against_peers(table):
    """(peer, its CPU us per request, its CPU ms per MB, goal of each)"""
    for peer, limits in PARTS.items():
        goals, costs = [], []
        for (scenario, figure), limit in zip((REQUEST, MEGABYTE), limits):
            theirs = values(table, LOOPBACK, scenario, peer, figure)
            found = by_round(values(table, LOOPBACK, scenario, "ptproxy", figure), theirs, lambda a, b: a / b)
            costs.append(median(theirs.values()) if theirs else None)
            goals.append(Goal(f"{scenario} / {peer}", limit, found and found["median"], note=spread(found)))
        yield peer, costs, goals


def on_links(table, systems):
    """(goal, what each of `systems` has reached)"""
    for place, scenario, figure, words, limit, more in LINKS:
        found = {system: middle(table, place, scenario, system, figure) for system in systems}
        yield Goal(words, limit, found.get("ptproxy"), more), found


def difference(table, scenario, figure, system, other):
    found = by_round(*(values(table, LOOPBACK, scenario, one, figure) for one in (system, other)), lambda a, b: a - b)
    return found and found["median"]


def idle_kilobytes(table, system, end=""):
    """Of each open connection: what 10 000 of them take beyond ten."""
    most, few = (values(table, LOOPBACK, scenario, system, f"rss_mb{end}") for scenario in ("open-10000", "open-10"))
    found = by_round(most, few, lambda a, b: (a - b) * 1000 / (10_000 - 10))
    return found and found["median"]


def flat(table, system, base, others):
    """The largest of the CPU per request of `others` as a part of that of `base`; a note of whose it is."""
    found = []
    for scenario in others:
        ratio = by_round(*(values(table, LOOPBACK, one, system, "cpu_us_request") for one in (scenario, base)),
                         lambda a, b: a / b)
        if ratio:
            found.append((ratio["median"], f"({scenario})"))
    return max(found, default=(None, ""))


def further(table, lines):
    """The other goals. `lines`: Line.about() of each link."""
    added = difference(table, "get-1k-c1", "p50_ms", "ptproxy", "direct")
    yield Goal("added latency of an idle pair, loopback, p50 us", ADDED_US_MAX, added and 1000 * added)
    yield Goal("memory of an idle connection at the callers' end, KB", IDLE_KB_MAX,
               idle_kilobytes(table, "ptproxy", "_client"))
    ends = {end: middle(table, LOOPBACK, "open-10000", "ptproxy", f"rss_mb_{end}") for end in ("client", "server")}
    there = ", ".join(f"{end} {value:.0f}" for end, value in ends.items() if value)
    yield Goal("resident MB with 10 000 connections, both ends", RESIDENT_MB_MAX,
               middle(table, LOOPBACK, "open-10000", "ptproxy", "rss_mb"),
               note=f"({there})" if there else "")
    busy, most = flat(table, "ptproxy", "get-1k-c16", [f"get-1k-c{count}" for count in (64, 512, 1000)])
    yield Goal("CPU per request with 64, 512, 1000 at once / with 16", FLAT_MAX, busy, note=most)
    idle, most = flat(table, "ptproxy", "open-1", [f"open-{count}" for count in (10, 1000, 10_000)])
    yield Goal("CPU per request with 10, 1000, 10 000 open / with 1", FLAT_MAX, idle, note=most)
    if "far" in lines:
        far = lines["far"]
        limit = BDP_TRIPS * far["rtt_ms"] + IP_SHARE * far["bdp"] * 8 / far["mbit"] / 1000
        yield Goal(f"150 ms, 30 Mbit/s: {far['bdp'] / 1000:.0f} KB, one window, on a fresh session, ms", limit,
                   middle(table, "far", "opened-bdp", "ptproxy", "opened_total_ms"))
