"""bench/cpu.py, on processes that use what is known."""

import os
import subprocess
import sys
import time

import cpu
import pytest

# Uses half a second in its own thread, as much in one that has ended, and as much in a child; then waits.
WORKER = """
import os, sys, threading, time

def burn():
    end = time.thread_time() + 0.5
    while time.thread_time() < end:
        pass

thread = threading.Thread(target=burn)
thread.start()
thread.join()
burn()
if os.fork() == 0:
    burn()
    print("child", flush=True)
    time.sleep(60)
print("parent", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker():
    process = subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert {process.stdout.readline(), process.stdout.readline()} == {"child\n", "parent\n"}
    family = cpu.family(process.pid)
    yield process.pid, family
    for pid in reversed(family):
        os.kill(pid, 9)
    process.communicate()


def test_cpu_of_all_threads_and_of_the_family(worker):
    pid, family = worker
    assert family[0] == pid and len(family) == 2
    assert 1.0e9 <= cpu.cpu_ns(pid) < 1.25e9
    assert 1.5e9 <= cpu.Usage.of(family).cpu_ns < 1.8e9


def test_cpu_agrees_with_proc(worker):
    pid, _ = worker
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    assert cpu.cpu_ns(pid) / 1e9 == pytest.approx(ticks / os.sysconf("SC_CLK_TCK"), abs=0.05)


def test_a_process_that_waits_uses_nothing(worker):
    _, family = worker
    before = cpu.Usage.of(family)
    time.sleep(0.3)
    assert cpu.Usage.of(family).cpu_ns - before.cpu_ns < 5e6


def test_resident_memory_and_switches(worker):
    pid, _ = worker
    assert 4e6 < cpu.resident_bytes(pid) < 200e6
    assert cpu.context_switches(pid) > 0


def test_spent_is_the_difference_but_memory_is_what_there_is():
    before = {"client": cpu.Usage(100, 5, 1000), "server": cpu.Usage(200, 6, 2000)}
    after = {"client": cpu.Usage(150, 7, 1100), "server": cpu.Usage(260, 9, 2200)}
    assert cpu.spent(before, after) == {
        "cpu_ns_client": 50, "cpu_ns_server": 60, "cpu_ns": 110, "switches_client": 2, "switches_server": 3,
        "switches": 5, "rss_client": 1100, "rss_server": 2200, "rss": 3300}


def test_a_process_that_is_gone_is_an_error():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(OSError):
        cpu.cpu_ns(process.pid)


def test_how_busy_the_machine_is(tmp_path):
    (tmp_path / "stat").write_text("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    before = cpu.machine_ticks(tmp_path)
    (tmp_path / "stat").write_text("cpu  40 0 20 120 20 0 0 0 0 0\n")
    assert before == (100, 80)
    assert cpu.machine_busy(before, cpu.machine_ticks(tmp_path)) == 0.4
    assert cpu.machine_busy(before, before) == 0
