"""Processes that a run starts: each in a directory of its own with a log, and none outlives the run."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
TOP = BENCH.parent
PROBE = BENCH / "probe.py"
SINK = BENCH / "sink.py"
PYTHON = "/usr/bin/python3"
STOP_SECONDS = 5
# Ended by the kernel when we are, even by kill -9. A session of their own: Ctrl-C is for the bench alone, which then
# ends them in order.
WITH_US = ["setpriv", "--pdeathsig", "TERM", "--"]


class BenchError(Exception):
    pass


def start(command, stdin=subprocess.DEVNULL, **options):
    return subprocess.Popen([*WITH_US, *map(str, command)], stdin=stdin, start_new_session=True, **options)


def run(command, timeout, enough=None, **options):
    """The output of a command that must succeed; it is ended if we are interrupted. `enough` seconds after it has begun
    to listen for SIGINT, that tells it to come to its end."""
    process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        if enough is not None:
            try:
                wait_listens_for(process, signal.SIGINT, timeout)
                process.wait(enough)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as late:
        raise BenchError(f"{command[0]}: not done after {timeout:.0f} s") from late
    finally:
        stop(process)
    if process.returncode != 0:
        raise BenchError(f"{' '.join(map(str, command))}: status {process.returncode}: {err.strip()[-500:]}")
    return out


def wait_listens_for(process, number, timeout):
    end = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        caught = re.search(r"^SigCgt:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        if caught and int(caught[1], 16) >> (number - 1) & 1:
            return
        time.sleep(0.005)


def stop(process, timeout=STOP_SECONDS):
    """Ends this process, which is to end those it has started; if it does not, its session is killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def port_listens(pid, port, protocol):
    """Whether anything in the network namespace of `pid` is bound to this port."""
    for name in (protocol, protocol + "6"):
        table = Path(f"/proc/{pid}/net/{name}")
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            if fields[1].endswith(f":{port:04X}") and (protocol == "udp" or fields[3] == "0A"):
                return True
    return False


class Caller:
    """bench/probe.py as a process that stays: a new one for each question would cost more CPU than what it measures.
    `command` makes a command run where the callers are."""

    def __init__(self, command):
        self.command, self.process = command, None

    def begin(self, what, **options):
        if self.process is None:
            self.process = start(self.command([PYTHON, PROBE]), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.process.stdin.write(json.dumps({"what": what, **options}).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError) as gone:
            raise BenchError("the caller has ended") from gone

    def answer(self, within):
        """What the question that was begun last has found; after a failure the caller starts anew."""
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(self.process.stdout, select.POLLIN)
        ready = poll.poll(1000 * within)
        line = self.process.stdout.readline() if ready else b""
        answer = json.loads(line) if line else {"failed": "nothing was said" if ready else f"not in {within:.0f} s"}
        if isinstance(answer, dict) and "failed" in answer:
            self.stop()
            raise BenchError(f"probe: {answer['failed']}")
        return answer

    def ask(self, what, within, **options):
        self.begin(what, **options)
        return self.answer(within)

    def stop(self):
        if self.process is not None:
            process, self.process = self.process, None
            stop(process)
            process.stdin.close()
            process.stdout.close()

    def abort(self):
        """From another thread: the answer that somebody waits for does not come any more."""
        process = self.process
        if process is not None:
            process.kill()


class Service:
    """A process that listens on `ports`, pairs of port and protocol."""

    def __init__(self, command, directory, ports, environment=None, patience=90):
        directory.mkdir(parents=True, exist_ok=True)
        self.name, self.ports, self.log = directory.name, ports, directory / "log"
        with open(self.log, "ab") as log:
            self.process = start(command, cwd=directory, stdout=log, stderr=log,
                                 env={**os.environ, **(environment or {})})
        try:
            self.wait_ready(patience)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        return self.log.read_text(errors="replace")[-2000:]

    def wait_ready(self, patience):
        end = time.monotonic() + patience
        while not all(port_listens(self.pid, port, protocol) for port, protocol in self.ports):
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} has ended with {self.process.returncode}: {self.said()}")
            if time.monotonic() > end:
                raise BenchError(f"{self.name} is not ready after {patience} s: {self.said()}")
            time.sleep(0.02)

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        stop(self.process)


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)
