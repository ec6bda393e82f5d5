"""What every test may name: certificates, origins, and pairs of ptproxy; and the logs of a test that fails."""

import harness
import peers
import pytest
from scripted import ScriptedOrigin


@pytest.fixture(scope="session")
def identities(tmp_path_factory):
    return peers.make_certificates(tmp_path_factory.mktemp("identities"))


@pytest.fixture(scope="module")
def script():
    """An origin for one test module."""
    origin = ScriptedOrigin()
    yield origin
    origin.stop()


@pytest.fixture
def start_pair(tmp_path, identities, script):
    """Makes pairs for one test, before `script` unless the test says otherwise. All are stopped and looked at."""
    yield from pairs(tmp_path, identities, script)


@pytest.fixture(scope="module")
def start_shared_pair(tmp_path_factory, identities, script):
    """The same for one test module."""
    yield from pairs(tmp_path_factory.mktemp("pair"), identities, script)


def pairs(directory, identities, script):
    harness.needs_daemon()
    made = []

    def start(origin=None, session=True, **options):
        pair = harness.Pair(directory / f"pair{len(made)}", identities, origin or script.address, **options)
        made.append(pair)
        return pair.start(session) if session is not None else pair

    yield start
    faults = []
    for pair in made:
        try:
            pair.stop()
        except AssertionError as fault:
            faults.append(str(fault))
    assert faults == []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for daemon in harness.running:
            report.sections.append((f"log of {daemon.name} (pid {daemon.pid})", tail(daemon.text())))
    if report.when == "teardown":
        harness.running[:] = [daemon for daemon in harness.running if not daemon.ended]


def tail(text, lines=120):
    all_lines = text.splitlines()
    return "\n".join((["..."] if len(all_lines) > lines else []) + all_lines[-lines:])
