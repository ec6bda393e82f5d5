"""The bench measures what is known beforehand: a system against itself, and a daemon that wastes CPU on purpose."""

import dataclasses
import subprocess

import certificates
import runner
import scenarios
import stats
import systems
from processes import TOP, BenchError, say

ROUNDS = 9
SECONDS = 2
BUSY_US = 20  # each end, each request
TOLERANCE_RATIO = 0.05
TOLERANCE_US = 2.0
SCENARIO = "get-1k-c64"


def build_busy():
    directory = TOP / "build/bench-busy"
    subprocess.run([TOP / "tools/build", "release"], cwd=TOP, check=True, capture_output=True)
    for command in (["cmake", "-S", ".", "-B", directory, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                     f"-DPTPROXY_BUSY_LOOP_US={BUSY_US}"], ["cmake", "--build", directory, "--target", "ptproxy"]):
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(map(str, command))}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return directory / "ptproxy"


def measure(kinds):
    results = runner.Results("bench/run --self-test", kinds, {})
    scenario = next(scenario for scenario in scenarios.on_loopback() if scenario.name == SCENARIO)
    chosen = [(scenario, SECONDS)]
    progress = runner.Progress(len(kinds) * ROUNDS * (SECONDS + runner.MEASURE_OVERHEAD_SECONDS))
    with runner.workplace() as directory:
        certs = certificates.make(directory / "certificates")
        with runner.running("loopback", systems.Loopback(), kinds, directory, certs) as started:
            runner.rounds("loopback", started, chosen, ROUNDS, results, progress)
    if results.failures:
        raise BenchError(f"{len(results.failures)} measurements have failed")
    return stats.tabulate(results.samples)["loopback", SCENARIO]


def verdict(good, text):
    say(f"{'ok    ' if good else 'WRONG '} {text}")
    return good


def same(table, one, other, figure):
    found = stats.summary(stats.ratios(table[other][figure], table[one][figure]))
    good = abs(found["median"] - 1) <= TOLERANCE_RATIO
    return verdict(good, f"{other} / {one}, {figure}: {found['median']:.3f} ±{found['spread']:.1f} % "
                         f"({found['low']:.3f} to {found['high']:.3f}, {found['n']} rounds)")


def wasted(table, end):
    figure = f"cpu_us_request_{end}"
    busy, plain = table["ptproxy-busy"][figure], table["ptproxy"][figure]
    found = stats.summary([busy[number] - plain[number] for number in sorted(busy.keys() & plain.keys())])
    good = abs(found["median"] - BUSY_US) <= TOLERANCE_US
    return verdict(good, f"{BUSY_US} us wasted by the {end}: {found['median']:.2f} us ±{found['spread']:.1f} % "
                         f"({found['low']:.2f} to {found['high']:.2f}, {found['n']} rounds)")


def run():
    """0 if all is as it must be."""
    known, _ = runner.available(["ptproxy", "nginx"])
    kinds = []
    for kind in known:
        kinds += [kind, dataclasses.replace(kind, name=f"{kind.name}-again", base=kind.program)]
    kinds.append(dataclasses.replace(systems.KINDS["ptproxy"], name="ptproxy-busy", base="ptproxy",
                                     binary=str(build_busy())))
    table = measure(kinds)
    checks = [same(table, kind.name, f"{kind.name}-again", "cpu_us_request") for kind in known]
    checks += [wasted(table, end) for end in ("client", "server")]
    return 0 if all(checks) else 1
