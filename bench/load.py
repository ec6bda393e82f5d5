"""wrk and ab: what they are called with and what they say."""

import json
import math
import re
import tempfile
from pathlib import Path

from processes import BENCH, BenchError, run

TIMEOUT_SECONDS = 30  # beyond what the load is to last


def wrk_command(address, connections, seconds, *request):
    """wrk takes whole seconds only: it is told a longer time and is interrupted, upon which it says what it has."""
    return ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{math.ceil(seconds) + 1}s",
            "--timeout", "30s", "--script", str(BENCH / "wrk.lua"), f"http://{address[0]}:{address[1]}", "--", *request]


def parse_wrk(text):
    """Figures from the line that wrk.lua writes. The latency curve is in milliseconds by per cent."""
    found = re.search(r"^RESULT (\{.*\})$", text, re.MULTILINE)
    if not found:
        raise BenchError(f"wrk has given no result: {text[-300:]}")
    said = json.loads(found[1])
    curve = [[percent, us / 1000] for percent, us in said["curve"]]
    at = dict(map(tuple, curve))
    seconds = said["us"] / 1e6
    return {"requests": said["requests"], "bytes": said["bytes"], "seconds": seconds,
            "requests_s": said["requests"] / seconds, "mb_s": said["bytes"] / 1e6 / seconds,
            "p50_ms": at[50], "p90_ms": at[90], "p99_ms": at[99], "p999_ms": at[99.9], "curve": curve,
            "errors": sum(said[kind] for kind in ("connect", "read", "write", "status", "timeout"))}


def wrk(place, address, connections, seconds, *request):
    command = wrk_command(address, connections, seconds, *map(str, request))
    return parse_wrk(run(place.command("client", command), seconds + TIMEOUT_SECONDS, enough=seconds))


def ab_command(address, path, connections, seconds, percentiles, keep_alive=False):
    """Without keep_alive every request has a connection of its own."""
    return ["ab", *(["-k"] if keep_alive else []), "-q", "-d", "-S", "-r", "-s", "30", "-c", str(connections), "-t",
            str(max(1, round(seconds))), "-n", "1000000", "-e", str(percentiles),
            f"http://{address[0]}:{address[1]}{path}"]


def parse_ab(text, percentiles):
    """Figures from ab's report and from its file of percentiles (-e), which has microseconds where the report has
    milliseconds. There is no 99.9 in it."""
    def number(pattern):
        found = re.search(rf"^{pattern}:\s+([\d.]+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    requests, seconds = number("Complete requests"), number("Time taken for tests")
    if not requests or not seconds:
        raise BenchError(f"ab has given no result: {text[-300:]}")
    curve = [[float(percent), float(ms)] for percent, ms in re.findall(r"^(\d+),([\d.]+)$", percentiles, re.MULTILINE)]
    at = dict(map(tuple, curve))
    received = number("HTML transferred")
    return {"requests": int(requests), "bytes": int(received), "seconds": seconds, "requests_s": requests / seconds,
            "mb_s": received / 1e6 / seconds, "p50_ms": at[50], "p90_ms": at[90], "p99_ms": at[99], "curve": curve,
            "errors": int(number("Failed requests") + number("Non-2xx responses"))}


def ab(place, address, path, connections, seconds, keep_alive=False):
    with tempfile.TemporaryDirectory() as directory:
        percentiles = Path(directory, "percentiles")
        command = ab_command(address, path, connections, seconds, percentiles, keep_alive)
        text = run(place.command("client", command), seconds + TIMEOUT_SECONDS)
        return parse_ab(text, percentiles.read_text())
