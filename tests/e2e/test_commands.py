"""ptproxy certs and ptproxy status, as a newcomer and an operator call them."""

import os
import re
import stat
import subprocess
from types import SimpleNamespace

import peers
import pytest
from harness import BINARY

MADE = {"ca.pem": 0o644, "ca.key": 0o600, "client.pem": 0o644, "client.key": 0o600, "server.pem": 0o644,
        "server.key": 0o600, "client.json": 0o644, "server.json": 0o644}


def ptproxy(*arguments, directory=None):
    return subprocess.run([BINARY, *arguments], cwd=directory, capture_output=True, text=True, timeout=60)


def certs(directory, client="client.test", server="server.test", *more):
    return ptproxy("certs", "--client", client, "--server", server, "-o", directory, *more)


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def test_what_is_made(tmp_path):
    made = certs(tmp_path / "new")
    assert (made.returncode, made.stderr) == (0, "")
    found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
    assert found == {name: mode & ~current_umask() for name, mode in MADE.items()}
    for end, usage, purpose in ("client", "TLS Web Client Authentication", "sslclient"), \
                               ("server", "TLS Web Server Authentication", "sslserver"):
        file = tmp_path / "new" / f"{end}.pem"
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", tmp_path / "new/ca.pem", file)
        text = openssl("x509", "-in", file, "-noout", "-text")
        assert "Signature Algorithm: ecdsa-with-SHA256" in text and "NIST CURVE: P-256" in text
        assert f"Extended Key Usage: \n                {usage}\n" in text and f"DNS:{end}.test\n" in text
        assert "Key Usage: critical\n                Digital Signature\n" in text and "CA:FALSE" in text
        key = tmp_path / "new" / f"{end}.key"
        assert openssl("pkey", "-in", key, "-pubout") == openssl("x509", "-in", file, "-noout", "-pubkey")
        checked = ptproxy("--check", "-c", tmp_path / "new" / f"{end}.json")
        assert (checked.returncode, checked.stdout) == (0, "")
        assert (tmp_path / "new" / f"{end}.json").read_text() in made.stdout
    serials = {openssl("x509", "-in", tmp_path / "new" / f"{name}.pem", "-noout", "-serial")
               for name in ("ca", "client", "server")}
    assert len(serials) == 3


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_tunnel_of_them(start_pair, tmp_path):
    assert certs(tmp_path).returncode == 0
    made = {end: SimpleNamespace(cert=tmp_path / f"{end}.pem", key=tmp_path / f"{end}.key")
            for end in ("client", "server")}
    pair = start_pair(identities={"ca": tmp_path / "ca.pem", **made})
    assert pair.request("GET", "/n/10").status == 200


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "a-b.example", "x" * 63 + "." + "y" * 63 + ".example"])
def test_names(tmp_path, name):
    assert certs(tmp_path, name, name, "--days", "36500").returncode == 0
    text = openssl("x509", "-in", tmp_path / "server.pem", "-noout", "-text")
    assert re.search(r"Not After : \w+ +\d+ [\d:]+ 21\d\d GMT", text)
    is_address = name in ("127.0.0.1", "::1")
    option = "-checkip" if is_address else "-checkhost"
    assert "does match" in openssl("x509", "-in", tmp_path / "server.pem", "-noout", option, name)
    openssl("verify", "-x509_strict", "-CAfile", tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "client.pem")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "server.key").write_text("mine")
    made = certs(tmp_path)
    assert made.returncode == 1 and made.stderr == f"ptproxy certs: {tmp_path}/server.key: File exists\n"
    assert [file.name for file in tmp_path.iterdir()] == ["server.key"]
    assert (tmp_path / "server.key").read_text() == "mine"


@pytest.mark.parametrize("arguments", [
    [], ["--client", "a"], ["--server", "a"], ["--client", "a", "--server", "b c"],
    ["--client", "a:1", "--server", "b"],
    ["--client", "a", "--server", '"'], ["--client", "", "--server", "b"], ["--client", "a", "--server", "b", "more"],
    ["--client", "a", "--server", "b", "--days", "0"], ["--client", "a", "--server", "b", "--days", "1x"], ["--what"],
    ["--client", "a" * 300, "--server", "b"],
])
def test_wrong_usage(tmp_path, arguments):
    made = ptproxy("certs", *arguments, directory=tmp_path)
    assert made.returncode == 2 and "usage: ptproxy certs" in made.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(tmp_path):
    made = certs(tmp_path / "a/b")
    assert (made.returncode, made.stderr) == (1, f"ptproxy certs: {tmp_path}/a/b: No such file or directory\n")


def test_status(start_pair, tmp_path):
    pair = start_pair(session=None, client={"admin": {"bind_address": f"127.0.0.1:{peers.free_port()}"}},
                      server={"admin": {"bind_address": f"unix:{tmp_path}/admin"}})
    pair.start_client()
    down = ptproxy("status", "-c", pair.client.file)
    assert down.returncode == 1 and "\nstate           connecting" in down.stdout
    pair.start_server()
    pair.wait_session()
    for daemon in pair.client, pair.server:
        told = ptproxy("status", "-c", daemon.file)
        assert (told.returncode, told.stderr) == (0, "")
        assert re.match(rf"ptproxy \S+, {daemon.name}, running for \d+ s, pid {daemon.pid}\n", told.stdout)
        for word in "\nstate           up\n", f"\nsession {daemon.connections()[0]}\n", "round trip", "certificate":
            assert word in told.stdout
    told = ptproxy("status", "-a", f"unix:{tmp_path}/admin")
    assert told.returncode == 0
    pair.client.stop()
    gone = ptproxy("status", "-c", pair.client.file)
    address = pair.client.configuration["admin"]["bind_address"]
    assert (gone.returncode, gone.stderr) == (1, f"ptproxy status: {address}: Connection refused\n")


def test_status_without_an_endpoint(start_pair, script):
    pair = start_pair(session=None)
    pair.start_server()
    told = ptproxy("status", "-c", pair.server.file)
    assert told.returncode == 78 and "admin.bind_address is not set" in told.stderr
    assert ptproxy("status", "-c", "/nonexistent").returncode == 78
    assert ptproxy("status", "-a", "nowhere").returncode == 2
    assert ptproxy("status", "more").returncode == 2
    stranger = ptproxy("status", "-a", script.address)
    assert stranger.returncode == 1 and "not ptproxy's admin endpoint" in stranger.stderr


def test_help_names_the_commands():
    told = ptproxy("--help")
    assert told.returncode == 0 and "ptproxy certs --client NAME" in told.stdout and "ptproxy status" in told.stdout
    assert all(len(line) <= 120 for line in told.stdout.splitlines())
