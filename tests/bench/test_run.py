"""bench/run itself, as short as it can be: that it measures, says what is missing, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

import links
import plan
import pytest
import runner
import scenarios
from processes import TOP, BenchError

FAKE = Path(__file__).with_name("fake_ptproxy_rs.py")
EMULATOR = TOP / "build/release/link-emulator"
can_run = pytest.mark.skipif(os.geteuid() != 0 and not all(map(shutil.which, ("wrk", "ab", "nginx", "openssl"))),
                             reason="bench/run would install packages, which needs root")
links_can_be = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/net/tun"),
                                  reason="needs root and /dev/net/tun")


def environment(**more):
    """Without what may be set here for a real run; the mark finds all that a run has started."""
    usual = {name: value for name, value in os.environ.items() if name not in ("H2O", "PTPROXY_RS")}
    emulator = {"LINK_EMULATOR": str(EMULATOR)} if EMULATOR.exists() else {}
    return {**usual, **emulator, "BENCH_TEST_MARK": uuid.uuid4().hex, **more}


def start(tmp_path, environment, *arguments):
    command = [TOP / "bench/run", "--output", tmp_path, "--rounds", "1", "--seconds", "0.3", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def results(tmp_path):
    return json.loads((tmp_path / "results.json").read_text())


def measured(found, scenario):
    return {sample["system"]: sample["figures"] for sample in found["samples"] if sample["scenario"] == scenario}


def marked(environment):
    """Processes that this run has started, and that are still there."""
    mark, found = f"BENCH_TEST_MARK={environment['BENCH_TEST_MARK']}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            pass
    return found


@can_run
def test_the_original_is_measured_when_it_is_given(tmp_path):
    found = environment(PTPROXY_RS=str(FAKE))
    run = start(tmp_path, found, "--systems", "ptproxy-rs,h2o,direct", "--links", "none", "--only", "get-1k-c16")
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 0, said
    got = results(tmp_path)
    figures = measured(got, "get-1k-c16")
    assert set(figures) == {"ptproxy-rs", "direct"}
    assert figures["ptproxy-rs"]["requests"] > 0 and figures["ptproxy-rs"]["errors"] == 0
    assert figures["ptproxy-rs"]["cpu_us_request"] > 0 and figures["ptproxy-rs"]["rss_mb_server"] > 1
    assert got["systems"]["ptproxy-rs"]["version"] == "0.0.1" and not got["partial"] and not got["failures"]
    assert list(got["missing"]) == ["h2o"]
    report = (tmp_path / "report.md").read_text()
    assert "| h2o | **missing** | H2O is not set" in report and re.search(r"^\| ptproxy-rs \| \d", report, re.MULTILINE)
    assert marked(found) == []


@can_run
def test_a_peer_that_does_not_start_is_in_the_report(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 1.0 && exit\necho it is broken\nexit 1\n")
    broken.chmod(0o755)
    found = environment(PTPROXY_RS=str(broken))
    run = start(tmp_path, found, "--systems", "ptproxy-rs,direct", "--links", "none", "--only", "get-1k-c1")
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 0, said
    assert [failure["system"] for failure in results(tmp_path)["failures"]] == ["ptproxy-rs"]
    assert "it is broken" in (tmp_path / "report.md").read_text()


@links_can_be
def test_links_run_at_the_same_time(tmp_path):
    found = environment(PTPROXY_RS=str(FAKE))
    run = start(tmp_path, found, "--systems", "ptproxy-rs,direct", "--links", "metro,far", "--no-loopback",
                "--only", "opened-100k", "--only", "down-1", "--only", "up-1")
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 0, said
    got = results(tmp_path)
    assert not got["failures"], got["failures"]
    assert {(sample["place"], sample["system"]) for sample in got["samples"]} == {
        (place, system) for place in ("metro", "far") for system in ("ptproxy-rs", "direct-bbr", "direct-cubic")}
    for sample in got["samples"]:
        trip = got["links"][sample["place"]]["rtt_ms"]
        if sample["scenario"] == "opened-100k":
            assert sample["figures"]["opened_total_ms"] >= trip and sample["figures"]["opened_errors"] == 0
        else:
            # In a time this short, what waited before it counts.
            assert 0 < sample["figures"]["mbit_s"] <= 1.5 * got["links"][sample["place"]]["mbit"]
    assert marked(found) == []


@links_can_be
@pytest.mark.parametrize("arguments", [["--links", "none"], ["--no-loopback", "--links", "far,satellite"]],
                         ids=["loopback", "links"])
def test_interrupted_it_leaves_a_partial_report_and_nothing_else(tmp_path, arguments):
    found = environment(PTPROXY_RS=str(FAKE))
    run = start(tmp_path, found, "--systems", "ptproxy-rs,direct", *arguments)
    lines = []
    for line in run.stdout:
        lines.append(line)
        if "round 1 of 1" in line:
            break
    time.sleep(2)
    assert len(marked(found)) > 5, lines
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 130 and "FAILED" not in said and "Traceback" not in said, said
    assert results(tmp_path)["partial"] and "**Partial" in (tmp_path / "report.md").read_text()
    assert marked(found) == []
    assert not (TOP / "build/bench" / str(run.pid)).exists()


class Place:
    """A link on which a system carries 10 Mbit/s, whatever it may."""

    def prepare(self, *_):
        pass

    def begin(self):
        return None

    def end(self, _begun):
        return {"link_mbit": 10.0}


class System:
    name = "slow"

    def alive(self):
        return True


def test_a_system_takes_of_the_links_what_it_has_carried_before():
    taken = []

    class Capacity(runner.Capacity):
        def take(self, mbit):
            taken.append(mbit)
            return super().take(mbit)

    scenario = scenarios.Scenario("down-1", "", lambda system: {"mbit_s": 9}, 1, mbit=50)
    part = plan.Part("far", "far", Place, [], [scenario])
    runner.rounds(part, Place(), [System()], range(3), runner.Results("x", [], {}), runner.Progress(3), Capacity(100))
    assert taken == [50, 13, 13]


def test_what_answers_nothing_or_has_ended_begins_anew_and_the_report_says_why():
    class Ended(System):
        there, begun = True, 0

        def alive(self):
            return self.there

        def restart(self):
            self.there, self.begun = True, self.begun + 1

        def ended(self):
            return "" if self.there else "; client end: status -11: its last words"

    turns = iter([{"requests": 0, "bytes": 0}, {"requests": 0, "bytes": 7}, {"requests": 3, "bytes": 0}, None])

    def load(system):
        found = next(turns)
        if found is None:
            system.there = False
            raise BenchError("a proxy has ended")
        return found

    part, results, system = plan.Part("x", "x", Place, [], []), runner.Results("x", [], {}), Ended()
    part.scenarios = [scenarios.Scenario("get", "", load, 1)]
    runner.rounds(part, Place(), [system], range(4), results, runner.Progress(4))
    assert [sample["round"] for sample in results.samples] == [1, 2] and system.begun == 2
    assert [failure["why"] for failure in results.failures] == [
        "nothing was answered; began anew", "a proxy has ended; client end: status -11: its last words"]


def test_a_blackout_falls_into_a_transfer_and_is_over_after_it(monkeypatch):
    monkeypatch.setattr(links, "CUT_SKIP_SECONDS", 0.05)
    monkeypatch.setattr(links, "BEFORE_CUT_SECONDS", 0.05)
    said = []

    class Link:
        def command(self, text):
            said.append(text)

    class OnLink:
        class place:
            link = Link()

    def transfer(_system):
        end = time.monotonic() + 20
        while not said and time.monotonic() < end:
            time.sleep(0.01)
        assert said == ["down 3000"]
        return {"mbit_s": 1}

    assert links.cut(transfer)(OnLink) == {"mbit_s": 1} and said == ["down 3000", "down 0"]
    said.clear()
    monkeypatch.setattr(links, "BEFORE_CUT_SECONDS", 1000)
    with pytest.raises(BenchError):
        links.cut(broken)(OnLink)
    assert said == ["down 0"]  # what ended early waits for none


def broken(_system):
    raise BenchError("broken")


# What many links share


def test_capacity_is_not_exceeded_and_nobody_is_passed_over():
    capacity, order, now, most = runner.Capacity(100), [], [0], [0]
    lock = threading.Lock()

    def use(name, mbit):
        with capacity.take(mbit):
            with lock:
                order.append(name)
                now[0] += mbit
                most[0] = max(most[0], now[0])
            time.sleep(0.05)
            with lock:
                now[0] -= mbit

    threads = []
    for number, mbit in enumerate([60, 60, 30, 100, 10, 50, 50]):
        threads.append(threading.Thread(target=use, args=(number, mbit)))
        threads[-1].start()
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    assert most[0] <= 100 and capacity.free == 100
    assert order.index(3) < order.index(4) < order.index(6)  # the large one was not overtaken for ever


def test_capacity_has_no_remainders():
    capacity = runner.Capacity(100)
    for mbit in (100 / 3, 6.1, 7.7, 9.13, 12.000001):
        first, second = capacity.take(mbit), capacity.take(mbit / 2 + 5)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
    assert capacity.free == 100


def test_capacity_takes_what_is_too_large_alone():
    capacity = runner.Capacity(100)
    with capacity.take(1000):
        assert capacity.free == 0
    assert capacity.free == 100


def test_capacity_lets_go_of_those_that_wait():
    capacity, ended = runner.Capacity(100), []

    def wait():
        with pytest.raises(runner.Stopped):
            with capacity.take(100):
                pass
        ended.append(True)

    with capacity.take(100):
        thread = threading.Thread(target=wait)
        thread.start()
        capacity.stop()
        thread.join(5)
    assert ended == [True]


def test_what_is_ended_by_force_has_not_failed():
    results = runner.Results("x", [], {})
    results.failed("far", "down-1", "nginx", 0, BenchError("x"))
    results.stopping = True
    with pytest.raises(runner.Stopped):
        results.failed("far", "down-1", "nginx", 0, BenchError("x"))
    assert len(results.failures) == 1
