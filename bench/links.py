"""What is measured on links: a place between two namespaces (bench/link), and what users wait for there."""

import contextlib
import dataclasses
import threading
import time
import zlib

import cpu
from link.netns import ADDRESSES, DEVICE, Link, enter
from scenarios import TITLES, Scenario
from stats import percentile
from systems import SIZES

PROFILES = ["lan", "metro", "transatlantic", "far", "lossy", "bad", "satellite", "blackout"]
QUICK_PROFILES = ["lossy"]
CONGESTION = ["bbr", "cubic"]
LOSSES = [0, 0.5, 2, 5, 10]  # per cent; on the link "lossy" with its own loss replaced
BLACKOUT_SECONDS = 3.0
AFTER_BLACKOUT_SECONDS = 5.0
# Of a transfer with a blackout in it: left out, then counted before and after it.
CUT_SKIP_SECONDS, BEFORE_CUT_SECONDS, AFTER_CUT_SECONDS = 1.0, 1.0, 4.0
# (up to so many Mbit/s, transfers last this part of what a load on loopback does, or of TRANSFER_LOAD_MIN)
TRANSFER_SHARES = [(50, 2.5), (100, 1.5), (200, 0.8), (float("inf"), 0.3)]
TRANSFER_LOAD_MIN = 0.6
# Seconds of a transfer that a goal is about, whatever the budget. A download's bytes come in heaps, each behind a lost
# packet that takes a round trip to repair: what is missing at the begin of the time and at its end makes 0.75 s on the
# link "lossy" to anything between 9 and 49 Mbit/s by chance.
JUDGED_SECONDS = 6.0
LOSS_THAT_SHOWS, OPENED_OFTEN = 0.5, 5  # per cent: half of the responses of 100 KB lose a packet then
JUDGED = ("lossy", "far")  # the links that goals are about
# A hundred responses at once are waited for as long as the link may need for them, when that is not more than so much
# for each second of a load (and for one at least). Else it is soon given up: only the first bytes can be compared.
WAIT_SECONDS, GIVE_UP_SECONDS = 16.0, 5.0
CPU_SHARE_MAX = 0.9  # of a core, for the emulator
# 1 % of its deliveries may be later than this, or than this part of a round trip: what it may do to a figure.
LATE_US_MAX, LATE_SHARE_MAX = 300, 0.01
PUNCTUAL_RTT = 0.002  # below it the emulator waits awake: 50 us more would be seen
SETTLE_SECONDS = 0.3
RESTART_SECONDS = 0.6  # and what System.restart() waits for


def unwanted(stats):
    """Packets lost by the emulator's fault."""
    return sum(stats[way][why] for way in ("ab", "ba") for why in ("no_buffer", "device_dropped"))


@dataclasses.dataclass(frozen=True)
class Line:
    """A link's name, round-trip time in seconds, rate, loss in per cent, and loss in bursts."""

    name: str
    rtt: float
    mbit: float
    loss: float
    burst: float = 0

    @classmethod
    def of(cls, profile):
        with Link(profile) as link:
            settings = link.stats()["ab"]["settings"]
        return cls(profile, 2 * settings["delay"] / 1000, settings["rate"], settings["loss"],
                   settings["burst_loss"])

    @property
    def cut(self):
        """Whether blackouts are its nature."""
        return self.name == "blackout"

    @property
    def bdp(self):
        """Bytes that fill it for a round trip."""
        return int(self.mbit * 1e6 / 8 * self.rtt)

    def about(self):
        return {"rtt_ms": 1000 * self.rtt, "mbit": self.mbit, "loss": self.loss, "burst": self.burst, "bdp": self.bdp}

    @property
    def files(self):
        return {f"bdp-{self.name}": self.bdp}

    def ideal(self, size):
        """Seconds that so many bytes take at the link's rate."""
        return size * 8 / self.mbit / 1e6


class LinkPlace:
    """Callers and one proxy in namespace a, the other proxy and the origin in b. Members as Loopback's."""

    client_address = "127.0.0.1"
    client_wan_address, server_address = ADDRESSES["a"], ADDRESSES["b"]
    server_host = ADDRESSES["b"]

    def __init__(self, line):
        self.line, self.name, self.rtt = line, line.name, line.rtt
        # The profile's own blackouts come at times that no measurement knows; they are ordered instead.
        still = "blackout_ms=0 blackout_every_ms=0" if line.cut else ""
        self.link = Link(line.name, still, options=() if line.rtt < PUNCTUAL_RTT else ("--spin-us", "0"))
        self.files, self.loses = line.files, line.loss > 0 or line.burst > 0
        self.tuning = {"initial_window": max(14720, line.bdp), "initial_rtt": max(1, round(self.rtt * 1000))}
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

    def prepare(self, system, scenario, number):
        """Before a measurement: the system's congestion control, a quiet link, and the losses of this round: the same
        for all systems, others in each round."""
        self.use_congestion(system.congestion)
        self.settle()
        self.link.command(f"reset {zlib.crc32(f'{self.name} {scenario.name} {number}'.encode())}")

    def begin(self):
        return self.link.stats(), cpu.machine_ticks()

    def end(self, begun):
        """How the emulator and the machine did in the measurement."""
        before, ticks = begun
        now = self.link.stats()
        carried = sum(now[way]["delivered_bytes"] - before[way]["delivered_bytes"] for way in ("ab", "ba"))
        busy, seconds = (use(now) - use(before) for use in (lambda stats: stats["cpu_seconds"] - stats["spin_seconds"],
                                                            lambda stats: stats["seconds"]))
        late_us, allowed_us = now["late_us"]["p99"], max(LATE_US_MAX, LATE_SHARE_MAX * 1e6 * self.rtt)
        return {"link_late_p99_us": late_us, "link_cpu_share": busy / seconds,
                "link_mbit": 8 * carried / seconds / 1e6,
                "machine_busy": cpu.machine_busy(ticks, cpu.machine_ticks()),
                "link_saturated": int(busy / seconds > CPU_SHARE_MAX or unwanted(now) > unwanted(before)
                                      or late_us > allowed_us)}

    def close(self):
        self.link.close()


def variants(kinds, quick=False):
    """What goes over TCP once with each algorithm; ptproxy also as it is without a hint about the link. A quick run has
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


def times(results, what):
    """Of a list of responses: median and 99th percentile of first byte and of all, in ms. One that was given up counts
    as if it had come then: the figure is at least so much, and `late` says of how many that is so."""
    done = [result for result in results if result.get("status") == 200]
    late = [result for result in results if "late" in result]
    found = {f"{what}_errors": len(results) - len(done) - len(late), f"{what}_late": len(late)}
    for name in ("first", "total") if done or late else ():
        values = [1000 * result.get(name, result.get("late", 0)) for result in done + late]
        suffixes = {"": 50} if len(results) == 1 else {"_p50": 50, "_p99": 99}
        found |= {f"{what}_{name}{suffix}_ms": percentile(values, percent) for suffix, percent in suffixes.items()}
    return found


def responses(size, timeout):
    """cold: the first since both ends were started. warm: the fourth."""
    def measure(system):
        row = system.probe("fetch", 5 * timeout, paths=[f"/{size}"] * 4, count=1, timeout=timeout)[0]
        return {**times(row[:1], "cold"), **times(row[3:], "warm")}
    return measure


def responses_at_once(size, count, timeout):
    """cold: as above, to `count` callers at once. warm: a second one to each."""
    def measure(system):
        rows = system.probe("fetch", 3 * timeout, paths=[f"/{size}"] * 2, count=count, timeout=timeout)
        return {**times([row[0] for row in rows], "cold"), **times([row[1] for row in rows], "warm")}
    return measure


def opened(size, timeout):
    """Only an empty response has passed since the start: the tunnel is up, and silent."""
    def measure(system):
        row = system.probe("fetch", 2 * timeout, paths=[f"/{size}"], count=1, timeout=timeout)[0]
        return times(row, "opened")
    return measure


def fresh(system):
    system.restart()


def fresh_and_open(system):
    system.restart()
    system.check()


def awake(system):
    system.check()


def many(size, count, seconds, timeout):
    def measure(system):
        return times(system.probe("many", seconds + 2 * timeout, path=f"/{size}", count=count, seconds=seconds,
                                  timeout=timeout), "many")
    return measure


def goodput_down(count, skip, seconds, loss=None):
    def measure(system):
        link = system.place.link
        if loss is not None:
            link.command(f"set loss={loss}")
        try:
            got = system.probe("download", skip + seconds + 30, path="/100m", count=count, skip=skip, seconds=seconds)
        finally:
            if loss is not None:
                link.command(f"set loss={system.place.line.loss}")
        return {"mbit_s": 8 * got["bytes"] / got["seconds"] / 1e6}
    return measure


def goodput_up(count, skip, seconds):
    """Counted where it arrives: buffers on the way take megabytes at once."""
    def measure(system):
        host, port = system.address
        system.caller.begin("upload", host=host, port=port, path="/sink", count=count, seconds=skip + seconds)
        time.sleep(skip)
        before, began = system.origin.sunk(), time.monotonic()
        system.caller.answer(seconds + 30)
        arrived, took = system.origin.sunk() - before, time.monotonic() - began
        return {"mbit_s": 8 * arrived / took / 1e6}
    return measure


def small_beside_bulk(seconds):
    def measure(system):
        got = system.probe("beside", seconds + 30, path="/1k", bulk="/100m", seconds=seconds)
        return {**times(got["requests"], "small"), "mbit_s": 8 * got["bytes"] / seconds / 1e6}
    return measure


def after_blackout(system):
    """Requests every 100 ms before, in and after a blackout: from its end to the first response that comes then."""
    seconds = 1 + BLACKOUT_SECONDS + AFTER_BLACKOUT_SECONDS
    host, port = system.address
    system.caller.begin("paced", host=host, port=port, path="/1k", interval=0.1, seconds=seconds, timeout=30)
    time.sleep(1)
    system.place.link.command(f"down {BLACKOUT_SECONDS * 1000:.0f}")
    end = time.monotonic() + BLACKOUT_SECONDS
    answers = system.caller.answer(seconds + 20)
    done = [answer["start"] + answer["total"] for answer in answers if answer.get("status") == 200]
    later = [when - end for when in done if when > end]
    # What has not come by then takes at least so long.
    return {"recovery_ms": 1000 * min(later, default=AFTER_BLACKOUT_SECONDS), "answers_after": len(later),
            "errors": len(answers) - len(done)}


@contextlib.contextmanager
def blackout(link, after):
    """One that begins in so many seconds; it is over when this ends."""
    timer = threading.Timer(after, link.command, [f"down {BLACKOUT_SECONDS * 1000:.0f}"])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        link.command("down 0")


def cut(measure):
    """The same transfer with a blackout in it, after what is left out and a second more."""
    def measure_it(system):
        with blackout(system.place.link, CUT_SKIP_SECONDS + BEFORE_CUT_SECONDS):
            return measure(system)
    return measure_it


# All of them


def shown(*what):
    return [f"{state}_{name}_ms" for state in what for name in ("total", "first")] + [f"{what[-1]}_errors"]


def shown_many(*what):
    return [f"{state}_{name}" for state in what
            for name in ("total_p50_ms", "total_p99_ms", "first_p50_ms", "first_p99_ms", "late", "errors")]


def waited_for(line, seconds):
    """Scenarios of responses, each from a fresh start of both proxies. What takes several times as long as the link
    needs is given up."""
    start, trip = SETTLE_SECONDS + RESTART_SECONDS + 3 * line.rtt, line.rtt
    often, judged = OPENED_OFTEN if line.loss >= LOSS_THAT_SHOWS else 1, line.name in JUDGED
    for size in ("1k", "100k", "1m"):
        title, ideal, ideal_100 = TITLES[size], line.ideal(SIZES[size]), line.ideal(100 * SIZES[size])
        yield Scenario(f"response-{size}", f"{title}, the first since the start and the fourth",
                       responses(size, 8 + 10 * trip + 5 * ideal), 13 * trip + 4 * ideal, shown("cold", "warm"),
                       prepare=fresh, prepare_seconds=start)
        patience = 3 + 10 * trip + 1.5 * ideal_100
        if patience > WAIT_SECONDS * max(1, seconds):
            patience = GIVE_UP_SECONDS
        yield Scenario(f"response-{size}-c100", f"{title}, 100 at once, the first since the start and the second",
                       responses_at_once(size, 100, patience), min(8 * trip + 2.5 * ideal_100, 2 * patience),
                       shown_many("cold", "warm"), prepare=fresh, prepare_seconds=start,
                       mbit=line.mbit if size != "1k" else 5)
    yield Scenario("opened-100k", "100 KB, the first in a tunnel that is up and silent",
                   opened("100k", 8 + 10 * trip), 4 * trip, shown("opened"), prepare=fresh_and_open,
                   prepare_seconds=start + 3 * trip, quick=True, repeats=often, judged=judged)
    yield Scenario("opened-bdp", "bandwidth x round trip of bytes, the first in such a tunnel",
                   opened(f"bdp-{line.name}", 8 + 10 * trip), 6 * trip, shown("opened"), prepare=fresh_and_open,
                   prepare_seconds=start + 3 * trip, judged=judged)


def transfers(line, seconds):
    """The first part of a transfer is left out; the rest lasts 5 round trips at least. What fast links carry in that
    time is much, and little to wait for. On the link that has blackouts, one falls into each."""
    share = next(share for mbit, share in TRANSFER_SHARES if line.mbit <= mbit)
    long = max(share * max(seconds, TRANSFER_LOAD_MIN), 5 * line.rtt)
    skip, patience, wrap = long / 3, 4 + 8 * line.rtt, lambda measure: measure
    if line.cut:
        long = BEFORE_CUT_SECONDS + BLACKOUT_SECONDS + AFTER_CUT_SECONDS
        skip, patience, wrap = CUT_SKIP_SECONDS, patience + BLACKOUT_SECONDS, cut
    filled = 1 - line.cut * BLACKOUT_SECONDS / (skip + long)
    usual = {"prepare": awake, "prepare_seconds": SETTLE_SECONDS + line.rtt, "mbit": filled * line.mbit}
    for count in (1, 10):
        judged = count == 1 and line.name == "lossy"
        part = max(long, JUDGED_SECONDS) if judged else long
        begin = part / 3 if judged else skip
        yield Scenario(f"down-{count}", f"goodput, downloads: {count}", wrap(goodput_down(count, begin, part)),
                       begin + part, ["mbit_s"], judged=judged, **usual)
        yield Scenario(f"up-{count}", f"goodput, uploads: {count}", wrap(goodput_up(count, skip, long)),
                       skip + long, ["mbit_s"], **usual)
    yield Scenario("beside", "1 KB beside a download", wrap(small_beside_bulk(skip + long)),
                   skip + long, ["small_total_p50_ms", "small_total_p99_ms", "small_errors", "mbit_s"], **usual)
    yield Scenario("many-10k", "10 KB, 50 at once", wrap(many("10k", 50, long, patience)), long + 2 * line.rtt,
                   shown_many("many"), judged=line.name == "lossy", **usual)
    if line.name == "lossy":
        for loss in LOSSES:
            yield Scenario(f"loss-{loss:g}", f"goodput of one download at {loss:g} % loss",
                           goodput_down(1, skip, long, loss), skip + long, ["mbit_s"], **usual)


def on_links(line, seconds):
    """The scenarios of one link. `seconds`: what a load on loopback would take."""
    if line.cut:
        yield Scenario("blackout", f"{BLACKOUT_SECONDS:.0f} s without the link", after_blackout,
                       1 + BLACKOUT_SECONDS + AFTER_BLACKOUT_SECONDS, ["recovery_ms", "answers_after", "errors"],
                       prepare=awake, prepare_seconds=SETTLE_SECONDS + line.rtt)
    yield from waited_for(line, seconds)
    yield from transfers(line, seconds)
