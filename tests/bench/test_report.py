"""bench/report.py and bench/plots.py on made-up results; bench/runner.py's plan and progress."""

import json
import subprocess

import pytest
import report
import runner
import scenarios
import systems
from processes import TOP

COST = {"ptproxy": 15.0, "nginx": 45.0, "haproxy": 30.0}
ENDS = ("", "_client", "_server")


def results(partial=False):
    samples = [
        {"place": "loopback", "scenario": "get-1k-c64", "system": system, "round": number,
         "figures": {**{f"cpu_us_request{end}": cost * (1 + number / 10) / (2 if end else 1) for end in ENDS},
                     "requests_s": 1e6 / cost, "curve": [[50, 1.0], [99, 2.0], [99.9, 3.0]]}}
        for number in range(5) for system, cost in COST.items()]
    samples += [{"place": "loopback", "scenario": f"memory-{count}", "system": system, "round": 0,
                 "figures": {"rss_mb": 10 + count / 100}} for count in (0, 100) for system in COST]
    samples += [{"place": "lossy", "scenario": f"loss-{loss}", "system": "ptproxy", "round": 0,
                 "figures": {"mbit_s": 50 - loss, "link_saturated": 0}} for loss in (0, 0.5, 5)]
    return {
        "command": "bench/run --made-up", "date": "2026-01-01", "commit": "abc", "partial": partial,
        "machine": {"cpu": "some", "cores": 2, "memory_gb": 8, "kernel": "6", "system": "Debian"},
        "load_average": {"start": 0, "end": 1}, "missing": {"caddy": "not to be had"},
        "systems": {system: {"version": "1", "wire": "x"} for system in COST}, "samples": samples,
        "failures": [{"place": "loopback", "scenario": "x", "system": "nginx", "round": 1, "why": "it\nbroke"}],
        "scenarios": {name: {"title": name, "shows": ["cpu_us_request", "requests_s", "rss_mb", "mbit_s"]}
                      for name in {sample["scenario"] for sample in samples}}}


def test_report_says_it_all(tmp_path):
    report.write(results(), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| caddy | **missing** | not to be had |" in text
    assert "| CPU us per 1 KB request, 64 connections | 18.0 ±8% | 54.0 ±8% | 36.0 ±8% | 0.33 ±0% | 0.50 ±0% |" in text
    assert "round 1: it broke" in text
    assert "Partial" not in text and "had not enough CPU" not in text
    assert len(json.loads((tmp_path / "results.json").read_text())["samples"]) == len(results()["samples"])


def test_report_of_a_run_that_was_interrupted_before_anything(tmp_path):
    report.write({**results(True), "samples": [], "scenarios": {}, "failures": []}, tmp_path)
    assert "**Partial" in (tmp_path / "report.md").read_text()


def test_report_warns_of_a_late_link(tmp_path):
    late = results()
    late["samples"][-1]["figures"]["link_saturated"] = 1
    report.write(late, tmp_path)
    assert "had not enough CPU in 1 measurement" in (tmp_path / "report.md").read_text()


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    report.write(results(), tmp_path)
    names = {path.name for path in tmp_path.glob("*.svg")}
    assert names == {"latency-get-1k-c64.svg", "cpu-get-1k-c64.svg", "memory.svg", "goodput-by-loss.svg"}
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


def test_plan_of_a_quick_run_keeps_its_promise():
    plan = runner.Plan([systems.KINDS[name] for name in ("ptproxy", "nginx", "haproxy", "caddy", "direct")], [], True,
                       5, lambda scenario: scenario.quick)
    assert 60 < plan.seconds() < 180  # the link takes 90 s more
    assert "get-1k-c64" in str(plan)


def test_names_are_unique():
    names = [scenario.name for scenario in scenarios.on_loopback()]
    assert len(names) == len(set(names)) > 30


@pytest.mark.parametrize("arguments", [["--systems", "apache"], ["--links", "moon"]])
def test_run_knows_what_there_is(arguments):
    done = subprocess.run([TOP / "bench/run", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and "there are: " in done.stderr
