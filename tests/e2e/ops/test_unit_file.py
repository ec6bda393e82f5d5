"""The unit for systemd and the sysctl file, as far as they can be looked at without systemd as PID 1."""

import json
import re
import shutil
import subprocess

import pytest
from harness import BINARY
from peers import TOP

UNIT = TOP / "tools/systemd/ptproxy@.service"
SCORE = 2.0  # of systemd-analyze security: 0 is best


@pytest.fixture
def unit(tmp_path):
    """An instance that starts this build's program."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("NOT TESTED: systemd-analyze is not installed (package systemd)")
    file = tmp_path / "ptproxy@test.service"
    file.write_text(UNIT.read_text().replace("/usr/bin/ptproxy", str(BINARY)))
    return file


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def test_verify(unit):
    found = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_score(unit):
    found = analyze("security", "--offline=true", f"--threshold={int(SCORE * 10)}", unit)
    score = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", found.stdout)[1])
    assert found.returncode == 0 and score <= SCORE, found.stdout
    assert f"gives it {score} of 10" in (TOP / "README.md").read_text()


def test_it_has_time_for_what_the_daemon_does():
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"\w+=", line))
    schema = json.loads((TOP / "config/schema.json").read_text())
    assert settings["Type"] == "notify" and int(settings["WatchdogSec"].rstrip("s")) >= 5
    assert settings["RestartPreventExitStatus"] == "2 78"  # as ptproxy --help says
    connections = schema["properties"]["limits"]["properties"]["connections"]["anyOf"][0]["maximum"]
    assert int(settings["LimitNOFILE"]) > connections


def test_buffers_of_the_sysctl_file():
    text = (TOP / "tools/systemd/60-ptproxy.conf").read_text()
    granted = {name: int(value) for name, value in re.findall(r"^net\.core\.(\w+) = (\d+)$", text, re.MULTILINE)}
    schema = json.loads((TOP / "config/schema.json").read_text())["properties"]["transport"]["properties"]
    assert granted == {"rmem_max": schema["socket_receive_buffer_size"]["default"],
                       "wmem_max": schema["socket_send_buffer_size"]["default"]}
