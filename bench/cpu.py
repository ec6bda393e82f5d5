"""What processes have used: CPU time, memory, context switches; from /proc and the kernel's CPU clocks."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from processes import BenchError

PROC = Path("/proc")


def cpu_clock(pid):
    """The clock id of a process's CPU time, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2


def cpu_ns(pid):
    """User and system time of all threads, those that have ended too. utime and stime in /proc/PID/stat are the same
    but come in ticks of 10 ms."""
    return time.clock_gettime_ns(cpu_clock(pid))


def family(pid, proc=PROC):
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in (proc / str(parent) / "task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def status_fields(text):
    return dict(re.findall(r"^(\w+):\s+(\d+)", text, re.MULTILINE))


def context_switches(pid, proc=PROC):
    total = 0
    for status in (proc / str(pid) / "task").glob("*/status"):
        fields = status_fields(status.read_text())
        total += int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
    return total


def resident_bytes(pid, proc=PROC):
    return int(status_fields((proc / str(pid) / "status").read_text())["VmRSS"]) * 1024


@dataclass(frozen=True)
class Usage:
    """Of one end: CPU and switches since its processes began, memory now."""

    cpu_ns: int
    switches: int
    resident: int

    @classmethod
    def of(cls, pids):
        try:
            return cls(sum(map(cpu_ns, pids)), sum(map(context_switches, pids)), sum(map(resident_bytes, pids)))
        except (OSError, KeyError) as gone:
            raise BenchError("a proxy has ended") from gone


def usage_of(ends):
    """`ends` maps client and server to the pids of its processes."""
    return {end: Usage.of(pids) for end, pids in ends.items()}


def spent(before, after):
    """What each end and both together have used between two usage_of(): name -> figure."""
    figures = {}
    for end, then in after.items():
        figures[f"cpu_ns_{end}"] = then.cpu_ns - before[end].cpu_ns
        figures[f"switches_{end}"] = then.switches - before[end].switches
        figures[f"rss_{end}"] = then.resident
    for what in ("cpu_ns", "switches", "rss"):
        figures[what] = sum(figures[f"{what}_{end}"] for end in after)
    return figures


def machine_ticks(proc=PROC):
    """What all cores have done since they began: (ticks in all, idle ones)."""
    ticks = list(map(int, (proc / "stat").read_text().splitlines()[0].split()[1:9]))
    return sum(ticks), ticks[3] + ticks[4]


def machine_busy(before, after):
    """The share of the machine that was in use between two machine_ticks()."""
    everything = after[0] - before[0]
    return 1 - (after[1] - before[1]) / everything if everything else 0.0
