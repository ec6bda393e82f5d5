"""bench/systems.py: the configuration files, and that the programs which are here accept them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import certificates
import links
import pytest
import systems
from processes import TOP

SBIN = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
FILES = sorted(path.name for path in (TOP / "bench/peers").iterdir())


class Far:
    """A link without an emulator."""

    name = "far"
    client_address, client_wan_address, server_address, server_host = "127.0.0.1", "10.77.0.1", "10.77.0.2", "10.77.0.2"
    tuning = {"initial_window": 562500, "initial_rtt": 150}
    rtt, loses = 0.15, False
    files = {}


class NoOrigin:
    address = ("127.0.0.1", 21001)


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def files(tmp_path, certs):
    """Writes the files of a system; returns their paths by side."""
    def write(name, place):
        kind = systems.KINDS[name]
        system = systems.System(kind, tmp_path, place, NoOrigin, {}, systems.Ports(), None)
        system.prepare(certs, 21002, 21003)
        written = {}
        for side in ("client", "server"):
            written[side] = tmp_path / f"{side}.{kind.suffix}"
            written[side].write_text(systems.render(systems.template(f"{kind.program}-{side}.{kind.suffix}"),
                                                    system.values))
        return written
    return write


def test_render():
    assert systems.render("a @ONE@:@TWO_2@ b@c.d @ONE@", {"ONE": 1, "TWO_2": 2}) == "a 1:@TWO_2@ b@c.d 1"


def test_render_wants_every_value():
    with pytest.raises(KeyError, match="ONE"):
        systems.render("@ONE@", {})


@pytest.mark.parametrize("name", FILES)
def test_templates_begin_with_what_they_are_or_cannot(name):
    text = (TOP / "bench/peers" / name).read_text()
    assert "@NAMES@" not in systems.template(name)
    assert text.startswith(("# ", "// ")) or name.startswith("ptproxy-rs")  # the original takes no comments


@pytest.mark.parametrize("place", [systems.Loopback(), Far()], ids=["loopback", "far"])
@pytest.mark.parametrize("name", [kind.name for kind in systems.KINDS.values() if kind.suffix])
def test_files_are_complete(files, name, place):
    for side, path in files(name, place).items():
        text = path.read_text()
        assert not re.search(r"@[A-Z_]+@", text)
        assert place.server_address in text or side == "server" and name.startswith("ptproxy-rs") or name == "h2o"


@pytest.mark.parametrize("name", ["ptproxy", "ptproxy-rs"])
def test_ptproxy_is_told_the_link(files, name):
    text = files(name, Far())["client"].read_text()
    transport = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))["transport"]
    assert transport["initial_window"] == 562500 and transport["initial_rtt"] == 150
    assert ("receive_window" in transport) == (name == "ptproxy-rs")


CHECKS = {
    "nginx": lambda path: [shutil.which("nginx", path=SBIN), "-t", "-p", path.parent, "-c", path, "-e", "stderr"],
    "haproxy": lambda path: [shutil.which("haproxy", path=SBIN), "-c", "-f", path],
    "caddy": lambda path: [TOP / "build/peers/bin/caddy", "adapt", "--adapter", "caddyfile", "--config", path],
    "ptproxy": lambda path: [systems.KINDS["ptproxy"].found(), "--check", "-c", path],
}


@pytest.mark.parametrize("name", CHECKS)
def test_programs_accept_their_files(files, name):
    for path in files(name, systems.Loopback()).values():  # where nginx can bind the addresses, which it tries
        command = CHECKS[name](path)
        if not command[0] or not Path(command[0]).exists():
            pytest.skip(f"{name} is not here")
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_certificates_are_of_the_authority_and_have_the_names(certs):
    for end, name, use in (("SERVER", "server.test", "sslserver"), ("CLIENT", "client.test", "sslclient")):
        done = subprocess.run(["openssl", "verify", "-purpose", use, "-verify_hostname", name, "-CAfile", certs["CA"],
                               certs[f"{end}_CERT"]], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_cannot_be_had_says_why(monkeypatch):
    monkeypatch.delenv("H2O", raising=False)
    with pytest.raises(systems.Missing, match="H2O is not set; Debian 12's is too old"):
        systems.prepare(systems.KINDS["h2o"])
    monkeypatch.setenv("H2O", "/nonexistent")
    with pytest.raises(systems.Missing, match="no program"):
        systems.prepare(systems.KINDS["h2o"])


def test_two_workers(files):
    kinds = systems.doubled([systems.KINDS[name] for name in ("ptproxy", "nginx", "ptproxy-rs", "direct")])
    assert [(kind.name, kind.program, kind.threads) for kind in kinds] == [("ptproxy-t2", "ptproxy", 2),
                                                                           ("nginx-t2", "nginx", 2)]


@pytest.mark.parametrize("said, supported", [("x WARN ptproxy: s.json: system.threads: has no effect yet", False),
                                             ("x WARN ptproxy: something else", True), ("", True)])
def test_what_warns_of_its_threads_does_not_support_them(tmp_path, said, supported):
    class Service:
        @staticmethod
        def said():
            return said

    system = systems.System(systems.doubled([systems.KINDS["direct"], systems.KINDS["ptproxy"]])[0], tmp_path,
                            systems.Loopback(), NoOrigin, dict.fromkeys(("CA",), ""), systems.Ports(), None)
    system.services = {"client": Service}
    if supported:
        system.check_threads()
    else:
        with pytest.raises(systems.Missing, match="2 workers are not supported: .*no effect yet"):
            system.check_threads()


def test_ports_are_free_and_given_once():
    ports = systems.Ports()
    taken = [ports.take() for _ in range(5)]
    assert len(set(taken)) == 5 and all(systems.FIRST_PORT < port < 32768 for port in taken)


def test_variants_on_links():
    names = [kind.name for kind in links.variants(systems.KINDS.values())]
    assert names == ["ptproxy", "ptproxy-untuned", "nginx-bbr", "nginx-cubic", "haproxy-bbr", "haproxy-cubic", "caddy",
                     "ptproxy-rs", "h2o", "direct-bbr", "direct-cubic"]
    kinds = {kind.name: kind for kind in links.variants(systems.KINDS.values())}
    assert kinds["nginx-cubic"].program == "nginx" and kinds["nginx-cubic"].congestion == "cubic"
    assert systems.tuning(kinds["ptproxy-untuned"], Far()) == ""
    place = Far()
    place.loses = True
    assert "redundancy" not in systems.tuning(kinds["ptproxy"], Far())
    assert '"redundancy": true' in systems.tuning(kinds["ptproxy"], place)
    assert systems.tuning(kinds["ptproxy-untuned"], place) == ""
