"""The report: results.json with every sample, report.md for people, and plots."""

import json
import re

import curves
import goals
from links import BLACKOUT_SECONDS
from plan import clock
from processes import say
from stats import summarise, tabulate
from systems import KINDS, REFERENCES
from tables import cell, number, share, table

UNITS = {
    "cpu_us_request": "CPU us/request", "cpu_us_request_client": "client", "cpu_us_request_server": "server",
    "cpu_ms_mb": "CPU ms/MB", "requests_s": "requests/s", "mb_s": "MB/s", "p50_ms": "p50 ms", "p90_ms": "p90 ms",
    "p99_ms": "p99 ms", "p999_ms": "p99.9 ms", "switches_request": "switches/request", "rss_mb": "RSS MB",
    "rss_mb_client": "client MB", "rss_mb_server": "server MB", "errors": "errors", "mbit_s": "Mbit/s",
    "recovery_ms": "first response ms", "answers_after": "responses",
}
OURS = ("ptproxy", "ptproxy-t2")
# What a reader wants to know first: scenario, figure, words. The first ones are of loopback, the others of every link.
LOOPBACK_HEADLINES = [
    ("get-1k-c64", "cpu_us_request", "CPU us per 1 KB request, 64 connections"),
    ("get-1m-c16", "cpu_ms_mb", "CPU ms per MB down, 1 MB, 16 connections"),
    ("post-1m-c16", "cpu_ms_mb", "CPU ms per MB up, 1 MB, 16 connections"),
    ("get-1k-c1", "p50_ms", "median ms of 1 KB, 1 connection"),
    ("get-1k-c64", "requests_s", "requests/s of 1 KB, 64 connections"),
    ("get-1m-c16", "mb_s", "MB/s down, 1 MB, 16 connections"),
    ("open-1000", "rss_mb", "resident MB with 1000 open connections"),
    ("open-10000", "rss_mb", "resident MB with 10 000 open connections"),
    ("open-10000", "cpu_us_request", "CPU us per 1 KB request beside them"),
]
LINK_HEADLINES = [
    ("response-100k", "cold_total_ms", "first 100 KB after the start, ms"),
    ("opened-100k", "opened_total_ms", "first 100 KB in an open tunnel, ms"),
    ("response-100k", "warm_total_ms", "100 KB later, ms"),
    ("many-10k", "many_total_p50_ms", "10 KB, 50 at once, p50 ms"),
    ("many-10k", "many_total_p99_ms", "10 KB, 50 at once, p99 ms"),
    ("down-1", "mbit_s", "one download, Mbit/s"),
    ("up-1", "mbit_s", "one upload, Mbit/s"),
    ("beside", "small_total_p99_ms", "p99 of 1 KB beside a download, ms"),
    ("blackout", "recovery_ms", "first response after 3 s of blackout, ms"),
]


def unit(figure):
    if figure.endswith(("_late", "_errors")):
        return figure.replace("_late", " given up").replace("_", " ")
    return UNITS.get(figure, figure.removesuffix("_ms").replace("_", " ") + (" ms" if figure.endswith("_ms") else ""))


def unique(values):
    return list(dict.fromkeys(values))


def base(system):
    """The name without what tells its variants apart."""
    return re.sub("-(untuned|bbr|cubic|t2)$", "", system)


def in_order(systems):
    """As KINDS has them; lanes end in any order."""
    known = list(KINDS)
    return sorted(set(systems), key=lambda name: (known.index(base(name)) if base(name) in known else len(known), name))


class Rows:
    """The summary, by place, scenario, system and figure."""

    def __init__(self, rows):
        self.rows = {(row["place"], row["scenario"], row["system"], row["figure"]): row for row in rows}

    def places(self):
        return unique(key[0] for key in self.rows)

    def scenarios(self, place):
        return unique(key[1] for key in self.rows if key[0] == place)

    def systems(self, place, scenario=None):
        return in_order(key[2] for key in self.rows if key[0] == place and scenario in (None, key[1]))

    def get(self, *key):
        return self.rows.get(key)


def references(systems):
    """nginx and HAProxy, and each of their variants on links and with two workers."""
    return [name for name in unique(systems) if base(name) in REFERENCES]


def summary_table(rows, place, headlines):
    """A line for each headline, a column for each system, and ours as a ratio of the references'."""
    systems = rows.systems(place)
    mine = next((name for name in systems if name in OURS), None)
    to = references(systems) if mine else []
    body = []
    for scenario, figure, words in headlines:
        found = {system: rows.get(place, scenario, system, figure) for system in systems}
        if not any(found.values()):
            continue
        ours = found.get(mine)
        ratios = [ours["to"].get(name) if ours else None for name in to]
        body.append([words, *(cell(row) if row else "" for row in found.values()),
                     *(share(ratio) for ratio in ratios)])
    return table([place, *systems, *(f"ptproxy / {name}" for name in to)], body) if body else []


def scenario_table(rows, place, scenario, shows):
    systems = rows.systems(place, scenario)
    shown = [figure for figure in shows if any(rows.get(place, scenario, system, figure) for system in systems)]
    if not shown:
        return []
    to = references(systems)
    body = []
    for system in systems:
        found = [rows.get(place, scenario, system, figure) for figure in shown]
        ratios = [found[0]["to"].get(name) if found[0] else None for name in to]
        body.append([system, *(cell(row) if row else "" for row in found),
                     *(f"{ratio['median']:.2f}" if ratio else "" for ratio in ratios)])
    return table(["", *map(unit, shown), *(f"/ {name}" for name in to)], body)


def head(results):
    machine = results["machine"]
    rounds = 1 + max((sample["round"] for sample in results["samples"]), default=-1)
    yield "# ptproxy and its peers"
    yield ""
    if results["partial"]:
        yield "**Partial: the run was interrupted.**"
        yield ""
    yield (f"`{results['command']}` on {results['date']}, commit {results['commit']}: {machine['cpu']}, "
           f"{machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}, Linux {machine['kernel']}; load "
           f"average {results['load_average']['start']:.1f} before, {results['load_average']['end']:.1f} after; it "
           f"took {clock(results['seconds'])}.")
    yield ""
    yield (f"Medians of {rounds} rounds in turns; ±: half the distance of the quartiles. CPU, memory and switches are "
           "of both proxies together. Ratios are medians of the ratios of each round; below 1, ptproxy needs less. "
           "Every pair: TLS 1.3, both ends authenticated, one worker each, two where a name ends in `-t2`. On links, "
           "`-bbr` and `-cubic` are TCP's congestion control; `ptproxy` knows bandwidth and delay (`initial_window`), "
           "`ptproxy-untuned` does not. Systems lose the same packets of a round; several links run at the same time.")
    yield ""
    yield from table(["system", "version", "between the ends"],
                     [[name, kind["version"], kind["wire"]] for name, kind in results["systems"].items()] +
                     [[name, "**missing**", why.replace("\n", " ")] for name, why in results["missing"].items()])
    yield ""


def value(what):
    return "" if what is None else number(what)


def goal_cells(goal):
    return [value(goal.limit), value(goal.reached) + (f" {goal.note}" if goal.note else ""), goal.verdict]


def goal_tables(results, table_of):
    """What was to be reached, beside what was: the tables of the design."""
    yield "## Figures to reach"
    yield ""
    rows = []
    for peer, costs, (request, megabyte) in goals.against_peers(table_of):
        rows.append([peer, *(value(cost) for cost in costs), *goal_cells(request), *goal_cells(megabyte)])
    yield from table(["CPU on loopback, one worker each", "us / 1 KB request", "ms / MB", "goal", "ptproxy /",
                      "reached", "goal per MB", "ptproxy /", "reached"], rows)
    yield ""
    systems = in_order(sample["system"] for sample in results["samples"] if sample["place"] in ("lossy", "far"))
    others = [name for name in systems if name != "ptproxy" and base(name) != "direct"]
    if systems:
        rows = [[goal.words, *goal_cells(goal), *(value(found[name]) for name in others)]
                for goal, found in goals.on_links(table_of, systems)]
        yield from table(["on a link, tunnel up, nothing sent before", "goal", "ptproxy", "reached", *others], rows)
        yield ""
    rows = [[goal.words, *goal_cells(goal)] for goal in goals.further(table_of, results["links"])]
    yield from table(["further", "goal", "ptproxy", "reached"], rows)
    yield ""


MACHINE_BUSY = 0.95  # beyond it, what waits for a core is measured too


def faults(results):
    if results["failures"]:
        yield "## Failed"
        yield ""
        alike = {}
        for failure in results["failures"]:
            why = failure["why"].replace("\n", " ")[:300]
            alike.setdefault((failure["system"], failure["place"], why), []).append(failure)
        for (system, place, why), failures in alike.items():
            where = unique(failure["scenario"] for failure in failures)
            rounds = ", ".join(str(1 + number) for number in unique(failure["round"] for failure in failures))
            yield f"- {system}, {place}, {', '.join(where)}, round {rounds}: {why}"
        yield ""
    late = [sample for sample in results["samples"] if sample["figures"].get("link_saturated")]
    if late:
        yield (f"**The link emulator was late or had not enough CPU in {len(late)} measurements: they say less than "
               "they seem to.**")
        yield ""
    far = [sample["figures"]["machine_busy"] for sample in results["samples"] if "machine_busy" in sample["figures"]]
    if far:
        over = sum(busy > MACHINE_BUSY for busy in far)
        own = " and ".join(f"{100 * share:.0f} %" for share in results["link_cpu_shares"])
        yield (f"On links, the machine was busy to {100 * sum(far) / len(far):.0f} % (mean of {len(far)} measurements; "
               f"the bench itself took {own or 'an unknown part'}); in {over} of them to more than "
               f"{100 * MACHINE_BUSY:.0f} %, which lengthens times by some ms.")
        yield ""


def about_link(name, link):
    """What is known of a link before anything is measured."""
    words = [f"{link['rtt_ms']:g} ms round trip", f"{link['mbit']:g} Mbit/s"]
    words += [f"{link['loss']:g} % lost"] if link["loss"] else []
    words += [f"{link['burst']:g} % lost in bursts"] if link.get("burst") else []
    words += [f"{BLACKOUT_SECONDS:g} s of blackout in each transfer, none in responses"] if name == "blackout" else []
    return f"{', '.join(words)}."


def markdown(results, rows, plots):
    yield from head(results)
    yield from goal_tables(results, tabulate(results["samples"]))
    for place in rows.places():
        lines = summary_table(rows, place, LOOPBACK_HEADLINES if place == "loopback" else LINK_HEADLINES)
        yield from [*lines, ""] if lines else []
    for title, lines in curves.measured(rows):
        yield from [f"## {title}", "", *lines, ""]
    yield from faults(results)
    for plot in plots:
        yield f"![{plot}]({plot})"
    yield ""
    for place in rows.places():
        yield f"## {place}"
        yield ""
        yield from [about_link(place, results["links"][place]), ""] if place in results["links"] else []
        for scenario in rows.scenarios(place):
            about = results["scenarios"][scenario]
            lines = scenario_table(rows, place, scenario, about["shows"])
            yield from [f"### {about['title']} (`{scenario}`)", "", *lines, ""] if lines else []


def write(results, directory):
    directory.mkdir(parents=True, exist_ok=True)
    for old in [*directory.glob("*.svg"), directory / "report.md"]:
        old.unlink(missing_ok=True)
    rows = summarise(results["samples"], references(sample["system"] for sample in results["samples"]))
    (directory / "results.json").write_text(json.dumps({**results, "summary": rows}, indent=1) + "\n")
    try:
        import plots
        names = plots.draw(results, Rows(rows), directory)
    except ImportError as why:
        say(f"no plots: {why}")
        names = []
    (directory / "report.md").write_text("\n".join(markdown(results, Rows(rows), names)) + "\n")
    say(f"{directory}/report.md")
