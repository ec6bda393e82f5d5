"""The summary of a report for README.md: what a user chooses by, in some twenty lines."""

import json
import re
from statistics import median

import goals
from plan import clock
from processes import BenchError
from report import goal_cells, number, table
from stats import tabulate

BEGIN, END = "<!-- bench: begin, made by bench/run --readme -->", "<!-- bench: end -->"
PEERS = ["ptproxy", "haproxy", "nginx", "h2o", "caddy"]
LOADS = [
    ("get-1k-c64", "cpu_us_request", "CPU us / 1 KB request, 64 connections"),
    ("get-1m-c16", "cpu_ms_mb", "CPU ms / MB down, 1 MB bodies"),
    ("post-1m-c16", "cpu_ms_mb", "CPU ms / MB up, 1 MB bodies"),
    ("get-1k-c1", "p50_ms", "ms of a 1 KB request, one at a time, p50"),
    ("open-10000", "rss_mb", "resident MB, both ends, 10 000 open connections"),
]


def figure(table_of, place, scenario, system, name, best):
    """The median of a system; on links of whichever of its TCP congestion controls did better, which is named."""
    found = []
    for variant, mark in ((system, ""), (f"{system}-bbr", " BBR"), (f"{system}-cubic", " CUBIC")):
        rounds = goals.values(table_of, place, scenario, variant, name)
        if rounds:
            found.append((median(rounds.values()), mark))
    if not found:
        return ""
    value, mark = best(found)
    return number(value) + mark


def lines(results):
    table_of = tabulate(results["samples"])
    machine = results["machine"]
    there = [peer for peer in PEERS if any(sample["system"].split("-")[0] == peer for sample in results["samples"])]
    rounds = 1 + max((sample["round"] for sample in results["samples"]), default=-1)
    yield (f"Measured by `{results['command']}` on {results['date'][:10]} at commit {results['commit']}, in "
           f"{clock(results['seconds'])}: {machine['cpu']}, {machine['cores']} cores, {machine['system']}, Linux "
           f"{machine['kernel']}. Both ends of each pair are counted, one worker each; medians of {rounds} rounds in "
           "turns.")
    if results["partial"]:
        yield "The run was interrupted."
    yield ""
    loopback = [[words, *(figure(table_of, goals.LOOPBACK, scenario, peer, name, min) for peer in there)]
                for scenario, name, words in LOADS]
    yield from table(["loopback", *there], loopback)
    yield ""
    far = [[f"{goal.words} (goal {number(goal.limit)})",
            *(figure(table_of, place, scenario, peer, name, max if more else min) for peer in there)]
           for (goal, _), (place, scenario, name, _, _, more) in zip(goals.on_links(table_of, there), goals.LINKS)]
    yield from table(["on a link, the tunnel up and silent", *there], far)
    yield ""
    missed = []
    every = [goal for _, _, pair in goals.against_peers(table_of) for goal in pair]
    every += [goal for goal, _ in goals.on_links(table_of, there)]
    every += list(goals.further(table_of, results["links"]))
    measured = [goal for goal in every if goal.reached is not None]
    for goal in measured:
        if goal.verdict != "yes":
            limit, reached, _ = goal_cells(goal)
            missed.append(f"{goal.words} {reached} (goal {limit})")
    yield (f"Of {len(every)} goals {len(measured) - len(missed)} are reached, {len(every) - len(measured)} were not "
           f"measured. Missed: {'; '.join(missed) or 'none'}.")
    if results["missing"]:
        yield f"Not there to compare: {', '.join(results['missing'])}."


def replace_block(page, begin, end, block):
    """Puts `block` between two lines of a page, each of which must be there once."""
    text = page.read_text()
    if text.count(begin) != 1 or text.count(end) != 1:
        raise BenchError(f"{page} has not the two lines between which the summary goes:\n{begin}\n{end}")
    new = re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n{block}\n{end}", text, flags=re.DOTALL)
    page.write_text(new)


def into_readme(path, readme):
    """Replaces what is between the marks in `readme` by the summary of the results in `path`. 0 when done."""
    if not path.exists():
        raise BenchError(f"there is no {path}: bench/run makes it")
    replace_block(readme, BEGIN, END, "\n".join(lines(json.loads(path.read_text()))))
    return 0
