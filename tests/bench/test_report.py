"""bench/report.py and bench/plots.py on made-up results; bench/runner.py's plan and progress."""

import json
import subprocess

import goals
import links
import plan
import pytest
import report
import runner
import scenarios
import stats
import summary
import systems
from processes import TOP, BenchError

FAR = {"rtt_ms": 150, "mbit": 30, "loss": 0, "bdp": 562500}
COST = {"ptproxy": 15.0, "nginx": 45.0, "haproxy": 30.0}
ENDS = ("", "_client", "_server")


def results(partial=False):
    samples = [
        {"place": "loopback", "scenario": "get-1k-c64", "system": system, "round": number,
         "figures": {**{f"cpu_us_request{end}": cost * (1 + number / 10) / (2 if end else 1) for end in ENDS},
                     "requests_s": 1e6 / cost, "curve": [[50, 1.0], [99, 2.0], [99.9, 3.0]]}}
        for number in range(5) for system, cost in COST.items()]
    samples += [{"place": "loopback", "scenario": f"open-{count}", "system": system, "round": 0,
                 "figures": {"rss_mb": 10 + count / 200, "rss_mb_client": 5 + count / 500, "rss_mb_server": 5,
                             "cpu_us_request": 10 + count / 10_000}}
                for count in (1, 10, 10_000) for system in COST]
    samples += [{"place": "lossy", "scenario": f"loss-{loss}", "system": "ptproxy", "round": 0,
                 "figures": {"mbit_s": 50 - loss, "link_saturated": 0, "machine_busy": 0.5}} for loss in (0, 0.5, 5)]
    samples += [{"place": "lossy", "scenario": "down-1", "system": system, "round": number,
                 "figures": {"mbit_s": mbit + number}}
                for number in range(5) for system, mbit in (("ptproxy", 40), ("nginx-bbr", 35), ("nginx-cubic", 1))]
    samples += [{"place": place, "scenario": "opened-100k", "system": "ptproxy", "round": 0,
                 "figures": {"opened_total_ms": ms}} for place, ms in (("lossy", 129), ("far", 186))]
    return {
        "command": "bench/run --made-up", "date": "2026-01-01", "commit": "abc", "partial": partial,
        "machine": {"cpu": "some", "cores": 2, "memory_gb": 8, "kernel": "6", "system": "Debian"},
        "load_average": {"start": 0, "end": 1}, "seconds": 61,
        "link_cpu_shares": [0.3, 0.6], "links": {"far": FAR, "lossy": {**FAR, "loss": 1}},
        "missing": {"caddy": "not to be had"},
        "systems": {system: {"version": "1", "wire": "x"} for system in COST}, "samples": samples,
        "failures": [{"place": "loopback", "scenario": name, "system": "nginx", "round": number, "why": "it\nbroke"}
                     for name, number in (("x", 1), ("y", 1), ("x", 2))],
        "scenarios": {name: {"title": name, "shows": ["cpu_us_request", "requests_s", "rss_mb", "mbit_s"]}
                      for name in {sample["scenario"] for sample in samples}}}


def test_report_says_it_all(tmp_path):
    report.write(results(), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| caddy | **missing** | not to be had |" in text
    assert "| CPU us per 1 KB request, 64 connections | 18.0 ±8% | 54.0 ±8% | 36.0 ±8% | 0.33 ±0% | 0.50 ±0% |" in text
    assert "- nginx, loopback, x, y, round 2, 3: it broke\n" in text
    assert "Partial" not in text and "not enough CPU" not in text
    assert len(json.loads((tmp_path / "results.json").read_text())["samples"]) == len(results()["samples"])


def test_report_of_a_run_that_was_interrupted_before_anything(tmp_path):
    report.write({**results(True), "samples": [], "scenarios": {}, "failures": []}, tmp_path)
    assert "**Partial" in (tmp_path / "report.md").read_text()


def test_report_has_the_curves(tmp_path):
    report.write(results(), tmp_path)
    text = (tmp_path / "report.md").read_text()
    sizes, at_once, still = (text.partition(f"## {title}")[2].partition("## ")[0] for title in (
        "CPU per request, by the size of its body", "CPU per 1 KB request, by requests at once",
        "CPU per 1 KB request and memory, by open connections"))
    assert "| 1 KB, 64 at once | 18.0 | 54.0 | 36.0 |  |  |  | 0.33 ±0% | 0.50 ±0% |" in sizes
    assert "| 64 | 18.0 | 54.0 | 36.0 | 66667 | 22222 | 33333 | 0.33 ±0% | 0.50 ±0% |" in at_once
    assert "| 10000 | 11.0 | 11.0 | 11.0 | 60.0 | 60.0 | 60.0 | 1.00 ±0% | 1.00 ±0% |" in still
    assert "2 workers for each end" not in text


@pytest.mark.parametrize("name, more, words", [
    ("far", {}, "150 ms round trip, 30 Mbit/s."),
    ("lossy", {"loss": 1}, "150 ms round trip, 30 Mbit/s, 1 % lost."),
    ("bad", {"burst": 5}, "150 ms round trip, 30 Mbit/s, 5 % lost in bursts."),
    ("blackout", {}, "150 ms round trip, 30 Mbit/s, 3 s of blackout in each transfer, none in responses.")])
def test_report_says_what_a_link_is(name, more, words):
    assert report.about_link(name, {**FAR, **more}) == words


def test_report_warns_of_a_late_link(tmp_path):
    late = results()
    late["samples"][-1]["figures"]["link_saturated"] = 1
    report.write(late, tmp_path)
    assert "had not enough CPU in 1 measurement" in (tmp_path / "report.md").read_text()


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    report.write(results(), tmp_path)
    names = {path.name for path in tmp_path.glob("*.svg")}
    assert names == {"latency-get-1k-c64.svg", "cpu-get-1k-c64.svg", "cpu-concurrency.svg", "cpu-open.svg",
                     "memory.svg", "goodput-by-loss.svg"}
    assert all("<svg" in (tmp_path / name).read_text() for name in names)
    assert all(f"]({name})" in (tmp_path / "report.md").read_text() for name in names)


def test_an_old_report_leaves_no_plots_behind(tmp_path):
    (tmp_path / "old.svg").write_text("")
    (tmp_path / "README.md").write_text("")
    report.write({**results(), "samples": []}, tmp_path)
    assert not (tmp_path / "old.svg").exists() and (tmp_path / "README.md").exists()


@pytest.mark.parametrize("value, text", [(0, "0"), (0.034, "0.03"), (3.456, "3.46"), (34.56, "34.6"), (1234.5, "1234")])
def test_numbers(value, text):
    assert report.number(value) == text


def test_figures_are_per_request_and_per_megabyte():
    used = {f"{what}{end}": value / (2 if end else 1) for end in ENDS
            for what, value in (("cpu_ns", 4e6), ("switches", 200), ("rss", 8e6))}
    found = scenarios.figures({"requests": 100, "errors": 0, "seconds": 2}, used, 2e6)
    assert found["cpu_us_request"] == 40 and found["cpu_us_request_client"] == 20
    assert found["cpu_ms_mb"] == 2 and found["mb_s"] == 1
    assert found["switches_request"] == 2 and found["rss_mb"] == 8


def test_progress_learns_how_long_the_plan_takes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])
    progress = runner.Progress(100)
    assert progress.left() == 100
    progress.done(50)
    now[0] += 75
    assert progress.left() == 75


@pytest.fixture
def table():
    return stats.tabulate(results()["samples"])


def test_goals_against_peers(table):
    found = {peer: goal for peer, _, (goal, _) in goals.against_peers(table)}
    assert found["haproxy"].reached == 0.5 and found["haproxy"].verdict == "yes"
    assert found["nginx"].reached == pytest.approx(1 / 3) and found["nginx"].verdict == "yes"
    assert found["caddy"].reached is None and found["caddy"].verdict == "not measured"


def test_goals_on_links(table):
    found = {goal.words: goal.verdict for goal, _ in goals.on_links(table, ["ptproxy", "nginx-bbr"])}
    assert list(found.values()) == ["yes", "not measured", "not measured", "**no**", "**no**"]


def test_further_goals(table):
    found = {goal.words.split(",")[0]: goal for goal in goals.further(table, {"far": FAR})}
    idle = found["memory of an idle connection at the callers' end"]
    assert idle.reached == pytest.approx(2) and idle.verdict == "yes"
    assert found["resident MB with 10 000 connections"].reached == 60
    flat = next(goal for words, goal in found.items() if words.startswith("CPU per request with 10"))
    assert flat.reached == pytest.approx(11 / 10.0001, rel=1e-3) and flat.verdict == "yes"
    window = next(goal for words, goal in found.items() if words.startswith("150 ms"))
    assert window.limit == pytest.approx(300 + 157.5) and window.verdict == "not measured"


def test_report_says_which_goals_are_missed(tmp_path):
    report.write(results(), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| same: one download, Mbit/s | 45.0 | 42.0 | **no** | 37.0 | 3.00 |" in text
    assert "| 150 ms, 30 Mbit/s: first 100 KB, ms | 185 | 186 | **no** |" in text
    assert "the machine was busy to 50 %" in text and "the bench itself took 30 % and 60 %" in text


def test_summary_goes_between_the_marks(tmp_path):
    readme, path = tmp_path / "README.md", tmp_path / "results.json"
    path.write_text(json.dumps(results()))
    readme.write_text(f"before\n{summary.BEGIN}\nold\n{summary.END}\nafter\n")
    for _ in range(2):
        assert summary.into_readme(path, readme) == 0
        text = readme.read_text()
        assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
        assert "| CPU us / 1 KB request, 64 connections | 18.0 | 36.0 | 54.0 |" in text
        assert "| same: one download, Mbit/s (goal 45.0) | 42.0 |  | 37.0 BBR |" in text
        assert "at commit abc, in 0:01:01" in text and "same: one download, Mbit/s 42.0 (goal 45.0)" in text
        assert len(text.splitlines()) < 30


def test_summary_wants_its_marks(tmp_path):
    readme, path = tmp_path / "README.md", tmp_path / "results.json"
    with pytest.raises(BenchError, match="there is no"):
        summary.into_readme(path, readme)
    path.write_text(json.dumps(results()))
    readme.write_text("nothing")
    with pytest.raises(BenchError, match="has not the two lines"):
        summary.into_readme(path, readme)
    assert readme.read_text() == "nothing"


def test_the_readme_has_the_marks():
    text = (TOP / "README.md").read_text()
    assert text.count(summary.BEGIN) == text.count(summary.END) == 1


# The plan

KINDS = [systems.KINDS[name] for name in ("ptproxy", "nginx", "haproxy", "caddy", "direct")]
LINES = [links.Line(name, rtt, mbit, loss) for name, rtt, mbit, loss in (
    ("lan", 0.0002, 1000, 0), ("metro", 0.01, 200, 0), ("transatlantic", 0.08, 100, 0.1), ("far", 0.15, 30, 0),
    ("lossy", 0.1, 50, 1), ("bad", 0.2, 20, 0), ("satellite", 0.6, 50, 0), ("blackout", 0.05, 50, 0))]


def made(seconds=1.0, lines=LINES, quick=False):
    return plan.make(KINDS, lines, True, 5, seconds, lambda scenario: scenario.quick or not quick, quick, 2)


def test_plan_of_a_quick_run_keeps_its_promise():
    found = made(quick=True, lines=[LINES[4]])
    assert 60 < found.seconds() < 240
    assert "get-1k-c64" in str(found) and "loopback-t2" not in str(found)


def test_plan_has_all_that_is_to_be_measured():
    found = made()
    alone = {scenario.name for part in found.loopback for scenario in part.scenarios}
    assert {f"get-1k-c{count}" for count in (1, 16, 64, 512, 1000)} < alone
    assert {f"get-{size}-c64" for size in ("0", "100", "1k", "10k", "100k", "1m")} | {"get-100m-c1"} < alone
    assert {"close-1k-c64", "keep-1k-c64", "post-1m-c16", "mixed-c64", "open"} < alone
    assert [part.name for part in found.far] == [line.name for line in LINES]
    for part in found.far:
        names = {scenario.name for scenario in part.scenarios}
        assert {f"response-{size}{count}" for size in ("1k", "100k", "1m") for count in ("", "-c100")} < names
        assert {"opened-100k", "many-10k", "beside", "down-1", "down-10", "up-1", "up-10"} < names
        assert ("blackout" in names) == (part.name == "blackout")
        assert {"direct-bbr", "direct-cubic", "nginx-bbr", "haproxy-cubic"} < {kind.name for kind in part.kinds}


def test_every_system_is_on_one_lane_of_each_link():
    found = made()
    for phase in found.phases:
        for part in phase.parts:
            kinds = [kind.name for lane in phase.lanes if lane.title == part.title for kind in lane.kinds]
            assert sorted(kinds) == sorted(kind.name for kind in part.kinds)
            assert all(len(lane.kinds) == 1 for lane in phase.lanes)
    judged, *fast, rest = found.phases
    assert judged.capacity < rest.capacity and len(rest.lanes) > len(LINES)
    assert [[part.name for part in phase.parts] for phase in fast] == [["lan"], ["metro"]]
    assert max(one.mbit for part in rest.parts for one in part.scenarios) <= rest.capacity / 4  # nobody waits for all
    assert {part.title: [one.name for one in part.scenarios] for part in judged.parts} == {
        "far": ["opened-100k", "opened-bdp"], "lossy": ["opened-100k", "opened-bdp", "down-1", "many-10k"]}
    scenarios_of = [sorted(one.name for phase in found.phases for part in phase.parts if part.title == whole.name
                           for one in part.scenarios) for whole in found.far]
    assert scenarios_of == [sorted(one.name for one in whole.scenarios) for whole in found.far]


def test_a_goal_is_not_judged_by_a_short_time():
    """However short the loads are: 0.75 s of a download at 1 % loss is between 9 and 49 Mbit/s by chance."""
    judged = [one for phase in made(seconds=0.3).phases for part in phase.parts for one in part.scenarios
              if one.name == "down-1" and one.judged]
    assert [one.seconds for one in judged] == [pytest.approx(links.JUDGED_SECONDS * 4 / 3)]


@pytest.mark.parametrize("judged, lates, kept", [(True, [1, 1, 0, 0], 2), (True, [1, 1, 1, 1], 2), (True, [0, 1], 0),
                                                 (False, [1, 0], 0)])
def test_what_a_goal_is_about_is_measured_again_when_the_emulator_was_late(judged, lates, kept):
    class Place:
        def prepare(self, *_):
            pass

        begin = prepare

        def end(self, _):
            return {"link_saturated": lates.pop(0)}

    turns = iter(range(len(lates)))
    scenario = scenarios.Scenario("x", "x", lambda system: {"turn": next(turns)}, 1, judged=judged)
    assert runner.measure(Place(), scenario, None, 0, None)["turn"] == kept


@pytest.mark.parametrize("minutes", [48, 120])
def test_plan_within_a_budget(minutes):
    found = plan.within(60 * minutes, made)
    assert 0.9 * minutes < found.seconds() / 60 <= minutes


def test_a_budget_that_is_too_short_gives_the_shortest_plan():
    assert plan.within(60, made).load_seconds == plan.SECONDS_MIN


def test_every_name_is_known():
    found = made()
    measured = [one for part in (*found.loopback, *found.far) for one in part.scenarios]
    there = {name for one in measured for name in (one.name, *one.parts)}
    assert there == set(plan.scenario_names()) and {"open", "open-10000", "blackout", "loss-0.5"} < there


def test_names_are_unique():
    names = [name for scenario in scenarios.on_loopback(1) for name in scenario.titles()]
    assert len(names) == len(set(names)) >= 30


@pytest.mark.parametrize("arguments", [["--systems", "apache"], ["--links", "moon"],
                                       ["--only", "get-1k-c64", "--only", "nonsense*"]])
def test_run_knows_what_there_is(arguments):
    done = subprocess.run([TOP / "bench/run", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and "there are: " in done.stderr
