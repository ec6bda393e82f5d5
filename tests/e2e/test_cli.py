"""The command line: options, exit status, and what --check, --dump and a start say about a configuration."""

import json
import os
import re
import shutil
import socket
import subprocess

import harness
import peers
import pytest
from harness import BINARY, SLOW, merge
from identities import FUTURE, PAST, Authority


@pytest.fixture(autouse=True)
def daemon():
    harness.needs_daemon()


@pytest.fixture
def good(tmp_path, identities):
    """A configuration of the server mode without a fault, its files beside it."""
    for name, path in (("ca.pem", identities.ca), ("server.pem", identities.server.cert),
                       ("server.key", identities.server.key)):
        shutil.copy(path, tmp_path / name)
    return {"general": {"mode": "server", "peer_hostname": "client.test", "http_connect_address": "127.0.0.1:8080"},
            "tls": {"ca": "ca.pem", "cert": "server.pem", "key": "server.key"}}


def run(*arguments, timeout=10, **options):
    return subprocess.run([BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout * SLOW, env={**os.environ, **harness.environment()}, **options)


def start(directory, configuration, *options):
    file = directory / "config.json"
    file.write_text(configuration if isinstance(configuration, str) else json.dumps(configuration))
    return run(*options, "-c", file)


def check(directory, configuration):
    return start(directory, configuration, "--check")


# Usage


def test_help():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("-c", "--config", "--check", "--dump", "--version", "--help"):
        assert len(re.findall(rf"^ +(-c, )?{option}\b", done.stdout, re.M)) == 1, f"{option} has a line"
    assert re.search(r"\bman\b", done.stdout) and "/etc/ptproxy/config.json" in done.stdout


def test_version():
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("ptproxy", "ngtcp2", "nghttp3", "wolfSSL", "llhttp", "liburing", "cJSON"):
        assert re.search(rf"^{name} \d+\.\d+", done.stdout, re.M), name
    in_use = re.search(r"^AES-GCM on this CPU: (wolfCrypt|intel-ipsec-mb \(VAES, AVX-?\d+\))$", done.stdout, re.M)
    assert in_use, done.stdout
    with open("/proc/cpuinfo", encoding="utf-8") as cpu:
        words = set(re.search(r"^flags\s*:(.*)$|\Z", cpu.read(), re.M).group().split())
    fast = {"avx2", "vaes", "vpclmulqdq"} <= words and "\nintel-ipsec-mb " in done.stdout
    assert fast == in_use[1].startswith("intel-ipsec-mb"), "as the CPU says"
    if fast:
        avx512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= words
        assert ("AVX-512" in in_use[1]) == avx512, "as the CPU says"


@pytest.mark.parametrize("arguments", [["--nonsense"], ["-x"], ["extra"], ["-c"], ["--check", "--dump"],
                                       ["--help", "--version"], ["--check=1"]])
def test_wrong_usage(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2 and "--help" in done.stderr, "what is wrong, and where to look"


@pytest.mark.parametrize("option", ["--help", "--version", "--dump"])
def test_output_that_cannot_be_written(tmp_path, good, option):
    (tmp_path / "config.json").write_text(json.dumps(good))
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([BINARY, option, "-c", tmp_path / "config.json"], stdout=full, check=False)
    assert done.returncode == 1


# --check


def test_check_of_a_good_file(tmp_path, good):
    done = check(tmp_path, good)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_resolves_and_opens_nothing(tmp_path, good):
    """Names that do not exist and ports that are taken are no fault of the file."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        done = check(tmp_path, merge(good, {"general": {
            "http_connect_address": "no.such.host.invalid:80", "bind_address": "127.0.0.1",
            "quic_port": taken.getsockname()[1]}}))
    assert (done.returncode, done.stdout) == (0, "")


def test_check_finds_every_problem(tmp_path, good):
    done = check(tmp_path, merge(good, {
        "general": {"mode": "both", "quic_port": 70000, "peer_hostnam": "x"},
        "tls": {"key": "missing.key"},
        "transport": {"max_idle_timeout": "5 parsecs", "congestion_algorithm": "reno", "mtu": 100},
        "limits": {"head_size": -1},
        "lags": {},
    }))
    assert done.returncode == 78
    lines = done.stdout.splitlines()
    for key, said in [("general.mode", "client.*server.*both"), ("general.quic_port", "1-65535, got 70000"),
                      ("general.peer_hostnam", "did you mean.*peer_hostname"), ("tls.key", "missing.key"),
                      ("transport.max_idle_timeout", "5 parsecs"), ("transport.congestion_algorithm", "bbr.*cubic"),
                      ("transport.mtu", "1200"), ("limits.head_size", "1024"), ("lags", "did you mean")]:
        assert any(re.match(rf"{re.escape(str(tmp_path))}/config.json: {key}: .*{said}", line) for line in lines), key
    assert len(lines) == 9, "a line each, and nothing else"


@pytest.mark.parametrize("text, said", [("", "empty|end"), ("{", "end|expected|\\d"), ("[]", "object"),
                                        ("{]", "line 1"),
                                        ('{"general": {\n "mode": "client",,\n}}', "line 2"),
                                        ("{} trailing", "after|line 1"), ("\0", "."), ("{/* no end", "comment")])
def test_check_of_what_is_not_json(tmp_path, text, said):
    done = check(tmp_path, text)
    assert done.returncode == 78
    assert re.search(rf"config\.json: .*({said})", done.stdout), done.stdout


def test_files_that_cannot_be_read(tmp_path, good):
    for path in (tmp_path / "missing.json", tmp_path):
        done = run("--check", "-c", path)
        assert done.returncode == 78 and str(path) in done.stdout
        assert run("--dump", "-c", path).returncode == 78
        assert run("-c", path).returncode == 78
    for key, path in (("ca", "missing.pem"), ("cert", "."), ("key", "missing.key")):
        done = check(tmp_path, merge(good, {"tls": {key: path}}))
        assert done.returncode == 78 and f"tls.{key}:" in done.stdout


def test_certificates_and_keys_are_checked(tmp_path, good, identities):
    shutil.copy(identities.client.key, tmp_path / "other.key")
    (tmp_path / "text.pem").write_text("nothing of the kind\n")
    for tls, said in (({"key": "other.key"}, "match"), ({"cert": "text.pem"}, "tls.cert"),
                      ({"ca": "text.pem"}, "tls.ca"), ({"key": "text.pem"}, "tls.key")):
        done = check(tmp_path, merge(good, {"tls": tls}))
        assert done.returncode == 78 and re.search(said, done.stdout), (tls, done.stdout)


@pytest.mark.parametrize("what, said", [(PAST, "expired"), (FUTURE, "not valid yet"),
                                        ({"usage": "clientAuth"}, "usage")])
def test_own_certificates_that_no_peer_will_accept(tmp_path, good, what, said):
    """A warning: the peer decides, and a clock may be wrong."""
    made = Authority(tmp_path).issue("bad", "server.test", **{"usage": "serverAuth", **what})
    done = check(tmp_path, merge(good, {"tls": {"cert": made.cert.name, "key": made.key.name}}))
    assert done.returncode == 0 and re.search(f"warning.*{said}", done.stdout)


def test_weak_key(tmp_path, good):
    weak = Authority(tmp_path).issue("weak", "server.test", "serverAuth", key=("-newkey", "rsa:1024"))
    assert check(tmp_path, merge(good, {"tls": {"cert": weak.cert.name, "key": weak.key.name}})).returncode == 78


def test_warnings_are_no_problems(tmp_path, good):
    done = check(tmp_path, merge(good, {"tls": {"ca": None}, "log": {"access": True}}))
    assert done.returncode == 0
    assert all(line.startswith("warning: ") for line in done.stdout.splitlines()) and "tls.ca" in done.stdout


@pytest.mark.parametrize("name", ["client.json", "server.json", "full.json"])
def test_examples(tmp_path, identities, name):
    """What is in config/ is right as it is, given the files it names."""
    shutil.copy(peers.TOP / "config" / name, tmp_path)
    mode = "server" if name == "server.json" else "client"
    identity = getattr(identities, mode)
    for file, path in (("ca.pem", identities.ca), (f"{mode}.pem", identity.cert), (f"{mode}.key", identity.key)):
        shutil.copy(path, tmp_path / file)
    done = run("--check", "-c", tmp_path / name)
    assert (done.returncode, done.stdout) == (0, "")


def test_configurations_of_the_readme(tmp_path, identities):
    text = (peers.TOP / "README.md").read_text()
    blocks = re.findall(r"```json\n(.*?)```", text, re.S)
    assert len(blocks) == 2
    for block, identity in zip(blocks, (identities.client, identities.server), strict=True):
        for file, path in zip(re.findall(r"\w+\.(?:pem|key)", block), (identities.ca, identity.cert, identity.key)):
            shutil.copy(path, tmp_path / file)
        done = check(tmp_path, block)
        assert (done.returncode, done.stdout) == (0, "")


# --dump


def test_dump_round_trip(tmp_path, good):
    """What is dumped is a configuration, and its dump is the same."""
    changed = merge(good, {"general": {"peer_hostname": ["a.test", "b.test"], "mode": "SERVER"},
                           "transport": {"max_idle_timeout": "1.5s", "initial_window": "1MiB"},
                           "system": {"watchdog_factor": 2.5}, "log": {"level": "Warn"}})
    first = start(tmp_path, changed, "--dump")
    assert first.returncode == 0
    dumped = json.loads(first.stdout)
    assert dumped["general"]["peer_hostname"] == ["a.test", "b.test"]
    assert (dumped["general"]["mode"], dumped["log"]["level"]) == ("server", "warn")
    assert dumped["transport"]["max_idle_timeout"] == 1500
    assert dumped["transport"]["initial_window"] == 1 << 20
    assert dumped["transport"]["receive_window"] == 16 << 20, "defaults are filled in"
    second = start(tmp_path, first.stdout, "--dump")
    assert (second.returncode, second.stdout) == (0, first.stdout)


def test_dump_of_a_bad_file(tmp_path, good):
    done = start(tmp_path, merge(good, {"general": {"quic_port": 0}}), "--dump")
    assert (done.returncode, done.stdout) == (78, "") and "general.quic_port" in done.stderr


# Starts that fail


def test_start_with_a_bad_file(tmp_path, good):
    done = start(tmp_path, merge(good, {"general": {"quic_port": 0}, "tls": {"cert": "no.pem"}}))
    assert (done.returncode, done.stdout) == (78, "")
    assert "general.quic_port" in done.stderr and "tls.cert" in done.stderr, "every problem is in the log"


def test_start_in_json(tmp_path, good):
    """Also what is wrong with the file is logged in the format that the file asks for, where that can be known."""
    done = start(tmp_path, merge(good, {"log": {"format": "json"}, "tls": {"key": "ca.pem"}}))
    assert done.returncode == 78
    for line in done.stderr.splitlines():
        assert {"ts", "level", "msg"} <= set(json.loads(line))


def test_udp_port_in_use(tmp_path, good):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = start(tmp_path, merge(good, {"general": {"bind_address": "127.0.0.1", "quic_port": port}}))
    assert done.returncode == 1
    assert re.search(rf"ERROR.*{port}.*in use", done.stderr), done.stderr


def test_tcp_port_in_use(tmp_path, identities):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(tmp_path, {
            "general": {"mode": "client", "peer_hostname": "server.test", "http_bind_address": f"127.0.0.1:{port}"},
            "tls": {"ca": str(identities.ca), "cert": str(identities.client.cert), "key": str(identities.client.key)}})
    assert done.returncode == 1
    assert re.search(rf"ERROR.*{port}.*in use", done.stderr), done.stderr


def test_closed_standard_streams(start_pair):
    """A socket that got the number of a closed stream would have the log written into it."""
    pair = start_pair(session=None)
    pair.start_server()
    pair.wrapper = ["sh", "-c", 'exec "$@" <&- >&-', "sh"]
    pair.start_client()
    pair.wait_session()
    assert pair.request("GET", "/n/100").status == 200
