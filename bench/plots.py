"""Plots of a report as SVG, with Debian's matplotlib."""

import re
from collections import defaultdict
from statistics import median

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402: only after the choice of what draws

COLOURS = {"ptproxy": "#0b5cad", "nginx": "#2a9d3a", "haproxy": "#d98200", "caddy": "#b03060", "direct": "#777777",
           "h2o": "#6a4fb3", "ptproxy-rs": "#00a3a3", "ptproxy-untuned": "#7fb2e5"}
# Text stays text: smaller, and found by search. Nothing of the time of drawing, so that equal results are equal files.
plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9, "axes.grid": True,
                     "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False})


def style(system):
    base = re.sub("-(bbr|cubic|t2)$", "", system)
    return {"color": COLOURS.get(base, "black"), "linestyle": "--" if system.endswith("-cubic") else "-"}


def save(figure, directory, name):
    figure.tight_layout()
    figure.savefig(directory / name, metadata={"Date": None})
    plt.close(figure)
    return name


def curves(results, scenario):
    """system -> [(per cent, ms)], medians over the rounds."""
    found = defaultdict(lambda: defaultdict(list))
    for sample in results["samples"]:
        if sample["scenario"] == scenario and sample["place"] == "loopback":
            for percent, ms in sample["figures"].get("curve", []):
                found[sample["system"]][percent].append(ms)
    return {system: sorted((percent, median(values)) for percent, values in points.items())
            for system, points in found.items()}


def latency(results, _rows, directory):
    for scenario in ("get-1k-c64", "get-1k-c16", "get-1k-c1"):
        found = curves(results, scenario)
        if not found:
            continue
        figure, axes = plt.subplots(figsize=(7, 4))
        for system, points in found.items():
            points = [(1 / (1 - percent / 100), ms) for percent, ms in points if 5 <= percent < 100]
            axes.plot(*zip(*points), label=system, marker=".", **style(system))
        axes.set(xscale="log", yscale="log", xlabel="per cent of the requests", ylabel="ms",
                 title=f"latency, {results['scenarios'][scenario]['title']}")
        ticks = [50, 90, 99, 99.9, 99.99]
        axes.set_xticks([1 / (1 - percent / 100) for percent in ticks], [f"{percent:g}" for percent in ticks])
        axes.minorticks_off()
        axes.legend()
        yield save(figure, directory, f"latency-{scenario}.svg")


def cpu(_results, rows, directory):
    """What both ends take for a request, one bar on the other."""
    scenarios = [name for name in ("get-0-c64", "get-1k-c64", "get-10k-c64", "get-100k-c64", "close-1k-c16",
                                   "post-1k-c16") if name in rows.scenarios("loopback")]
    for scenario in scenarios:
        systems = [name for name in rows.systems("loopback", scenario)
                   if rows.get("loopback", scenario, name, "cpu_us_request")]
        if not systems:
            continue
        figure, axes = plt.subplots(figsize=(7, 0.6 + 0.4 * len(systems)))
        left = [0.0] * len(systems)
        for end, alpha in (("client", 1.0), ("server", 0.6)):
            values = [rows.get("loopback", scenario, name, f"cpu_us_request_{end}")["median"] for name in systems]
            axes.barh(systems, values, left=left, alpha=alpha, color=[style(name)["color"] for name in systems])
            left = [base + value for base, value in zip(left, values)]
        for place, value in enumerate(left):
            axes.text(value, place, f" {value:.1f}", va="center")
        axes.invert_yaxis()
        axes.set(title=f"CPU us per request, client and server end ({scenario})", xlim=(0, 1.12 * max(left)))
        axes.grid(axis="y", visible=False)
        yield save(figure, directory, f"cpu-{scenario}.svg")


def lines(rows, place, prefix, figure_name, systems):
    """system -> [(number in the scenario's name, value)]."""
    found = {}
    for system in systems:
        points = []
        for scenario in rows.scenarios(place):
            row = rows.get(place, scenario, system, figure_name)
            if row and re.fullmatch(prefix + r"[\d.]+", scenario):
                points.append((float(scenario.removeprefix(prefix)), row["median"]))
        if points:
            found[system] = sorted(points)
    return found


def with_own_loss(results, rows, found):
    """The link's own loss was measured as a download among others."""
    own = results["links"].get("lossy", {}).get("loss")
    for system in rows.systems("lossy", "down-1") if own is not None else ():
        row = rows.get("lossy", "down-1", system, "mbit_s")
        if row and system in found:
            found[system] = sorted([*found[system], (own, row["median"])])
    return found


def goodput(results, rows, directory):
    found = with_own_loss(results, rows, lines(rows, "lossy", "loss-", "mbit_s", rows.systems("lossy")))
    if found:
        figure, axes = plt.subplots(figsize=(7, 4))
        for system, points in found.items():
            axes.plot(*zip(*points), label=system, marker=".", **style(system))
        axes.set(xlabel="loss, per cent", ylabel="Mbit/s", title="one download, 50 Mbit/s, 100 ms", ylim=(0, None))
        axes.legend(fontsize=7)
        yield save(figure, directory, "goodput-by-loss.svg")


def by_connections(rows, directory, prefix, figure_name, name, **words):
    """Lines over the number of connections, both axes logarithmic."""
    found = lines(rows, "loopback", prefix, figure_name, rows.systems("loopback"))
    if found:
        figure, axes = plt.subplots(figsize=(7, 4))
        for system, points in found.items():
            axes.plot(*zip(*points), label=system, marker=".", **style(system))
        axes.set(xscale="log", yscale="log", **words)
        axes.legend()
        yield save(figure, directory, name)


def memory(_results, rows, directory):
    yield from by_connections(rows, directory, "open-", "rss_mb", "memory.svg", xlabel="open connections",
                              ylabel="resident MB, both ends", title="memory")
    yield from by_connections(rows, directory, "open-", "cpu_us_request", "cpu-open.svg", xlabel="open connections",
                              ylabel="CPU us", title="CPU per 1 KB request beside open connections")
    yield from by_connections(rows, directory, "get-1k-c", "cpu_us_request", "cpu-concurrency.svg",
                              xlabel="requests at once", ylabel="CPU us", title="CPU per 1 KB request")


def draw(results, rows, directory):
    """The names of the files."""
    return [name for plot in (latency, cpu, goodput, memory) for name in plot(results, rows, directory)]
