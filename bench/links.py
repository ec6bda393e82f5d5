"""What is measured on links: a place between two namespaces (bench/link), and what users wait for there."""

import dataclasses
import json
import subprocess
import time

from link.netns import ADDRESSES, DEVICE, Link, enter
from processes import PROBE, PYTHON, start, stop
from scenarios import TITLES, Scenario
from stats import percentile

PROFILES = ["lan", "metro", "transatlantic", "far", "lossy", "bad", "satellite", "blackout"]
QUICK_PROFILES = ["lossy"]
CONGESTION = ["bbr", "cubic"]
LOSSES = [0, 0.1, 0.5, 1, 2, 5]  # per cent; on the link "lossy" with its own loss replaced
BLACKOUT_SECONDS = 3.0
AFTER_BLACKOUT_SECONDS = 6.0
CPU_SHARE_MAX = 0.9  # of a core, for the emulator
MANY_SECONDS = 10  # a hundred responses at once that take longer than this are left out


def unwanted(stats):
    """Packets lost by the emulator's fault."""
    return sum(stats[way][why] for way in ("ab", "ba") for why in ("no_buffer", "device_dropped"))


class LinkPlace:
    """Callers and one proxy in namespace a, the other proxy and the origin in b. Members as Loopback's."""

    client_address = "127.0.0.1"
    client_wan_address, server_address = ADDRESSES["a"], ADDRESSES["b"]
    server_host = ADDRESSES["b"]

    def __init__(self, profile):
        self.name = profile
        # The profile's own blackouts come at times that no measurement knows; they are ordered instead.
        still = "blackout_ms=0 blackout_every_ms=0" if profile == "blackout" else ""
        self.link = Link(profile, still)
        settings = self.link.stats()["ab"]["settings"]
        self.loss = settings["loss"]
        self.rtt = 2 * settings["delay"] / 1000
        self.mbit = settings["rate"]
        self.tuning = {"initial_window": max(14720, int(self.mbit * 1e6 / 8 * self.rtt)),
                       "initial_rtt": max(1, round(self.rtt * 1000))}
        for side in "ab":
            # The kernel remembers how TCP fared with an address; one system would learn from another.
            self.run(side, ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save"])

    def command(self, side, arguments):
        return [*enter(self.link.pid, "a" if side == "client" else "b"), *arguments]

    def run(self, side, arguments):
        self.link.run(side, arguments, check=True, capture_output=True)

    def use_congestion(self, name):
        """For connections made from now on. Those that are there keep theirs, and each belongs to one system. A matter
        of the route: the setting of a namespace refuses what the machine has not allowed to everybody."""
        if name:
            for side in "ab":
                self.run(side, ["ip", "route", "replace", "10.77.0.0/24", "dev", DEVICE, "proto", "kernel", "scope",
                                "link", "src", ADDRESSES[side], "congctl", name])

    def settle(self, patience=10):
        """Until next to nothing passes: what an aborted transfer has left in queues would slow what comes next."""
        end = time.monotonic() + patience
        before = self.delivered()
        while time.monotonic() < end:
            time.sleep(0.1)
            now = self.delivered()
            if now - before < 5000:
                return
            before = now

    def delivered(self):
        stats = self.link.stats()
        return stats["ab"]["delivered_bytes"] + stats["ba"]["delivered_bytes"]

    def health(self, before):
        """Whether the emulator itself was in time since `before`, its earlier stats()."""
        now = self.link.stats()
        busy, seconds = (use(now) - use(before) for use in (lambda stats: stats["cpu_seconds"] - stats["spin_seconds"],
                                                            lambda stats: stats["seconds"]))
        return {"link_late_p99_us": now["late_us"]["p99"], "link_cpu_share": busy / seconds,
                "link_saturated": int(busy / seconds > CPU_SHARE_MAX or unwanted(now) > unwanted(before))}

    def close(self):
        self.link.close()


def variants(kinds, quick=False):
    """TCP's systems once with each algorithm; ptproxy also as it is without a hint about the link. A quick run has
    only what decides."""
    for kind in kinds:
        if quick and kind.name == "direct":
            continue
        if kind.tcp:
            for name in CONGESTION:
                yield dataclasses.replace(kind, name=f"{kind.name}-{name}", base=kind.program, congestion=name)
        else:
            yield kind
            if kind.name == "ptproxy" and not quick:
                yield dataclasses.replace(kind, name="ptproxy-untuned", base="ptproxy", tuned=False)


# Measurements


def on_link(measure):
    """Starts when the link is quiet, with the system's congestion control, and says how the emulator did. The link's
    random sequence goes on and on: were it reset, every round would lose the same packets and be no round."""
    def measured(system, seconds):
        place = system.place
        place.use_congestion(system.congestion)
        place.settle()
        before = place.link.stats()
        return {**measure(system, seconds), **place.health(before)}
    return measured


def times(results, what):
    """Of a list of responses: median and 99th percentile of first byte and of all, in ms, and failures."""
    good = [result for result in results if result.get("status") == 200]
    found = {f"{what}_errors": len(results) - len(good)}
    for name in ("first", "total") if good else ():
        values = [1000 * result[name] for result in good]
        suffixes = {"": 50} if len(results) == 1 else {"_p50": 50, "_p99": 99}
        found |= {f"{what}_{name}{suffix}_ms": percentile(values, percent) for suffix, percent in suffixes.items()}
    return found


def cold_responses(size, count):
    """Nothing has been requested since the start."""
    def measure(system, _seconds):
        system.restart()
        rows = system.probe("fetch", 100, paths=[f"/{size}"], count=count, timeout=40)
        return times([row[0] for row in rows], "cold")
    return on_link(measure)


def warm_response(size):
    """opened: only an empty response has passed since the start, so the tunnel is up. warm: three responses later."""
    path = f"/{size}"

    def measure(system, _seconds):
        system.restart()
        system.check()
        row = system.probe("fetch", 200, paths=[path] * 4, count=1, timeout=40)[0]
        return {**times(row[:1], "opened"), **times(row[3:], "warm")}
    return on_link(measure)


def warm_responses(size, count):
    """A second response to each of `count` callers."""
    def measure(system, _seconds):
        rows = system.probe("fetch", 200, paths=[f"/{size}"] * 2, count=count, timeout=40)
        return times([row[1] for row in rows], "warm")
    return on_link(measure)


def goodput_down(count, loss=None):
    def measure(system, seconds):
        link = system.place.link
        if loss is not None:
            link.command(f"set loss={loss}")
        try:
            system.check()
            got = system.probe("download", seconds + 30, path="/100m", count=count, seconds=seconds)
        finally:
            if loss is not None:
                link.command(f"set loss={system.place.loss}")
        return {"mbit_s": 8 * got["bytes"] / got["seconds"] / 1e6}
    return on_link(measure)


def goodput_up(count):
    """Counted where it arrives: buffers on the way take megabytes at once."""
    def measure(system, seconds):
        system.check()
        before, began = system.origin.sunk(), time.monotonic()
        system.probe("upload", seconds + 30, path="/sink", count=count, seconds=seconds)
        arrived, took = system.origin.sunk() - before, time.monotonic() - began
        return {"mbit_s": 8 * arrived / took / 1e6}
    return on_link(measure)


def small_beside_bulk(system, seconds):
    system.check()
    got = system.probe("beside", seconds + 30, path="/1k", bulk="/100m", seconds=seconds)
    return {**times(got["requests"], "small"), "mbit_s": 8 * got["bytes"] / seconds / 1e6}


def after_blackout(system, _seconds):
    """Requests every 100 ms before, in and after a blackout: from its end to the first response that comes then."""
    system.check()
    seconds = 1 + BLACKOUT_SECONDS + AFTER_BLACKOUT_SECONDS
    request = {"what": "paced", "host": system.address[0], "port": system.address[1], "path": "/1k",
               "interval": 0.1, "seconds": seconds, "timeout": 30}
    asker = start(system.place.command("client", [PYTHON, PROBE, json.dumps(request)]), stdout=subprocess.PIPE,
                  text=True)
    try:
        time.sleep(1)
        system.place.link.command(f"down {BLACKOUT_SECONDS * 1000:.0f}")
        end = time.monotonic() + BLACKOUT_SECONDS
        answers = json.loads(asker.communicate(timeout=seconds + 20)[0])
    finally:
        stop(asker)
    done = [answer["start"] + answer["total"] for answer in answers if answer.get("status") == 200]
    later = [when - end for when in done if when > end]
    # What has not come by then takes at least so long.
    return {"recovery_ms": 1000 * min(later, default=AFTER_BLACKOUT_SECONDS), "answers_after": len(later),
            "errors": len(answers) - len(done)}


# All of them


def shown(*what):
    return [f"{state}_{name}_ms" for state in what for name in ("total", "first")] + [f"{what[-1]}_errors"]


def shown_many(what):
    return [f"{what}_{name}_ms" for name in ("total_p50", "total_p99", "first_p50")] + [f"{what}_errors"]


def responses(place):
    pause, trips = 0.5 + 5 * place.rtt, 12 * place.rtt
    for size, bytes_each in (("1k", 1000), ("100k", 100_000), ("1m", 1_000_000)):
        title, quick = TITLES[size], size == "100k"
        yield Scenario(f"cold-{size}", f"{title}, the first since the start", cold_responses(size, 1), pause + trips, 0,
                       shown("cold"))
        yield Scenario(f"warm-{size}", f"{title} in a tunnel that is up, and later", warm_response(size), pause + trips,
                       pause + trips if quick else 0, shown("opened", "warm"))
        transfer = 100 * bytes_each * 8 / place.mbit / 1e6
        if transfer < MANY_SECONDS:
            yield Scenario(f"cold-{size}-c100", f"{title}, 100 at once, the first since the start",
                           cold_responses(size, 100), pause + trips + transfer, 0, shown_many("cold"))
            yield Scenario(f"warm-{size}-c100", f"{title}, 100 at once", warm_responses(size, 100),
                           trips + 2 * transfer, 0, shown_many("warm"))


def on_links(place):
    """The scenarios of one link. Transfers last 12 round trips at least."""
    if place.name == "blackout":
        yield Scenario("blackout", f"{BLACKOUT_SECONDS:.0f} s without the link", on_link(after_blackout), 12, 0,
                       ["recovery_ms", "answers_after", "errors"])
        return
    yield from responses(place)
    long = max(4, 12 * place.rtt)
    for count in (1, 10):
        yield Scenario(f"down-{count}", f"goodput, downloads: {count}", goodput_down(count), long + 0.5, 0, ["mbit_s"])
        yield Scenario(f"up-{count}", f"goodput, uploads: {count}", goodput_up(count), long + 0.5, 0, ["mbit_s"])
    yield Scenario("beside", "1 KB beside a download", on_link(small_beside_bulk), long + 0.5, 0,
                   ["small_total_p50_ms", "small_total_p99_ms", "small_errors", "mbit_s"])
    if place.name == "lossy":
        for loss in LOSSES:
            yield Scenario(f"loss-{loss:g}", f"goodput of one download at {loss:g} % loss", goodput_down(1, loss),
                           long + 0.5, 0, ["mbit_s"])
