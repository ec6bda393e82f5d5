"""What the daemon may still do once it serves: who it is, what it can open, and that a reload works all the same.

Nothing here is about the rights of files alone: what is refused can be read by everybody, and what is renewed belongs
to the user that the daemon has become. tests/unit/reach_test.c tries the rest from within.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import conftest
import harness
import http1
import pytest
from harness import BINARY, wait_for
from identities import Authority
from payload import payload
from peers import Identity

NOBODY = 65534
AS_NOBODY = {"system": {"user": "nobody"}}
CREATE_RULESET = 444  # landlock_create_ruleset(2): the same number on every machine
NET_BIND_SERVICE = 1 << 10

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can become another user")


def landlock():
    """The version of the kernel's; 0: none."""
    return max(0, ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, 1))


@pytest.fixture
def stage():
    """A directory that everybody may enter, unlike those of pytest."""
    directory = Path(tempfile.mkdtemp(prefix="ptproxy-privileges-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def publish(identity, directory, owner=NOBODY):
    """Puts a copy of a certificate and its key into `directory`, in one step each, as those do that renew them."""
    directory.mkdir(parents=True, exist_ok=True)
    copy = Identity(directory, identity.cert.stem)
    for source, target in ((identity.cert, copy.cert), (identity.key, copy.key)):
        if source.exists():
            new = target.with_suffix(".new")
            shutil.copyfile(source, new)
            new.chmod(0o400 if source == identity.key else 0o444)
            os.chown(new, owner, owner)
            new.rename(target)
    return copy


@pytest.fixture
def start(stage, authority, script):
    """Makes pairs whose files are all in `stage`; `owner` has the keys."""
    makers = []

    def make(owner=NOBODY, **options):
        who = {"ca": publish(Identity(authority.identity.cert.parent, authority.identity.cert.stem), stage / "ca").cert}
        for end, usage in (("client", "clientAuth"), ("server", "serverAuth")):
            who[end] = publish(authority.issue(end, f"{end}.test", usage), stage / end, owner)
        makers.append(conftest.pairs(stage / "pairs", SimpleIdentities(who), script))
        return next(makers[-1])(identities=who, **options)

    yield make
    for maker in makers:
        next(maker, None)


class SimpleIdentities:
    """What harness.Pair takes its defaults from."""

    def __init__(self, who):
        self.ca, self.client, self.server = who["ca"], who["client"], who["server"]


def works(pair):
    assert pair.request("GET", "/n/100000").body == payload(100000)
    assert b"100000" in pair.request("POST", "/sink", payload(100000)).body
    return True


def threads(daemon):
    """What /proc has of each thread, by its name: a dictionary of the lines of its status file."""
    found = {}
    for task in Path(f"/proc/{daemon.pid}/task").iterdir():
        lines = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        found[lines["Name"], int(task.name)] = lines
    return found


def capabilities(lines):
    return {name: int(lines[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}


def said(daemon):
    """The line about it."""
    return daemon.wait_log(r"INFO ptproxy: sandbox: (.*)$")[1]


def sandbox(who):
    """A pattern for the line."""
    limits = f"Landlock ABI {landlock()}" if landlock() else r"no Landlock \(.+\)"
    return f"{re.escape(who)}, no new privileges, no capabilities, {limits}"


NONE = {"Inh": 0, "Prm": 0, "Eff": 0, "Bnd": 0, "Amb": 0}


@pytest.mark.parametrize("user, uid", [("nobody", NOBODY), (str(NOBODY), NOBODY), (None, 0)])
def test_every_thread_has_nothing_left(start, user, uid):
    """Two workers, and the thread that resolves names, as the client's peer has one."""
    pair = start(both={"system": {"threads": 2, **({"user": user} if user else {})}},
                 client={"general": {"connect_address": "localhost"}})
    assert works(pair)
    for daemon in (pair.client, pair.server):
        found = threads(daemon)
        assert len(found) == (4 if daemon is pair.client else 3), found.keys()
        for lines in found.values():
            assert capabilities(lines) == NONE
            assert lines["NoNewPrivs"] == "1"
            assert lines["Uid"].split() == lines["Gid"].split() == [str(uid)] * 4
            assert uid == 0 or set(lines["Groups"].split()) <= {str(NOBODY)}
        who = f"user {user} ({uid})" if user else "user 0"
        assert re.fullmatch(sandbox(who), said(daemon))
        assert re.search(r"INFO ptproxy: io_uring: .* restricted to \d+ operations", daemon.text())


def test_reload_of_renewed_files(start, stage, authority):
    """The certificate, the key and the authority are replaced by other files of the same names."""
    pair = start(both=AS_NOBODY)
    assert works(pair)
    publish(authority.issue("client", "client.test", "clientAuth"), stage / "client")
    publish(Identity(authority.identity.cert.parent, authority.identity.cert.stem), stage / "ca")
    pair.client.signal(signal.SIGHUP)
    pair.client.wait_log("certificates, key and log settings were read again")
    pair.server.stop()
    pair.start_server()
    wait_for(lambda: len(pair.client.connections()) == 2, what="a session with the new certificate")
    assert works(pair)
    assert "WARN" not in pair.server.text()


def test_reload_through_links(start, stage, authority):
    """As Kubernetes does it: the files are links into a directory that is itself a link, which is replaced."""
    pair = start(session=None, both=AS_NOBODY)
    mount = stage / "client"
    for number in (1, 2):
        publish(authority.issue("client", "client.test", "clientAuth"), mount / f"..{number}")
    (mount / "..data").symlink_to("..1")
    for name in ("client.pem", "client.key"):
        (mount / name).unlink()
        (mount / name).symlink_to(f"..data/{name}")
    pair.start()
    (mount / "..new").symlink_to("..2")
    (mount / "..new").rename(mount / "..data")
    shutil.rmtree(mount / "..1")
    pair.client.signal(signal.SIGHUP)
    pair.client.wait_log("certificates, key and log settings were read again")
    assert works(pair)


def reload_fails(daemon, why, count=1):
    daemon.signal(signal.SIGHUP)
    told = r"stays? as (it was|they were)\n.*INFO ptproxy: files are read as user nobody \(65534\)$"
    daemon.wait_log(told, count=count)
    assert re.search(f"ERROR ptproxy: .*{why}", daemon.text()), daemon.text()
    return True


@pytest.mark.skipif(not landlock(), reason="NOT TESTED: this kernel has no Landlock")
def test_a_file_outside_cannot_be_opened(start, stage, authority):
    """A link in the certificate's place leads out, to a certificate that everybody may read; then the configuration."""
    pair = start(both=AS_NOBODY)
    outside = publish(authority.issue("client", "client.test", "clientAuth"), stage / "outside")
    link = stage / "client/client.pem"
    renewed = publish(outside, stage / "client")
    link.unlink()
    link.symlink_to(outside.cert)
    assert reload_fails(pair.client, f"cannot read {re.escape(str(link))}: Permission denied")
    assert works(pair)
    publish(outside, stage / "client")
    configuration = json.loads(pair.client.file.read_text())
    configuration["tls"]["cert"] = str(outside.cert)
    pair.client.file.write_text(json.dumps(configuration))
    assert reload_fails(pair.client, f"cannot read {re.escape(str(outside.cert))}: Permission denied", count=2)
    assert works(pair)
    assert renewed.cert.read_text() == outside.cert.read_text()  # the same bytes are good where they may be read:
    configuration["tls"]["cert"] = str(renewed.cert)
    pair.client.file.write_text(json.dumps(configuration))
    pair.client.signal(signal.SIGHUP)
    pair.client.wait_log("certificates, key and log settings were read again")
    subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "cat", outside.cert],
                   check=True, stdout=subprocess.DEVNULL)  # and without Landlock, this user may read it


def test_a_key_that_only_root_can_read(start):
    """It is read before there is no root any more; that a reload cannot read it again is said at the start."""
    pair = start(owner=0, both=AS_NOBODY)
    assert works(pair)
    pair.server.wait_log(r"WARN ptproxy: tls\.key: user nobody \(65534\) can no longer read .*: Permission denied; "
                         r"a reload \(SIGHUP\) will fail")
    assert reload_fails(pair.server, r"tls\.key: cannot read .*: Permission denied")
    assert works(pair)


def test_root_without_capabilities_reads_its_own_files_only(start):
    """Without system.user: a key of another user, mode 0400, cannot be read again, as its warning says."""
    pair = start(session=None)
    pair.start_server()
    pair.server.wait_log(r"WARN ptproxy: tls\.key: user 0 can no longer read ")
    os.chown(pair.server.configuration["tls"]["key"], 0, 0)
    pair.server.signal(signal.SIGHUP)
    pair.server.wait_log("certificates, key and log settings were read again")


def low_port(kind):
    """A port below 1024 that nobody has."""
    for port in range(1023, 600, -1):
        with socket.socket(type=kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    pytest.skip("NOT TESTED: every port below 1024 is taken")


def test_ports_below_1024(start):
    """Listeners are bound before; a client's own port is bound anew for each attempt."""
    quic = low_port(socket.SOCK_DGRAM)
    both = {"general": {"quic_port": quic}, **AS_NOBODY}
    client = {"general": {"http_bind_address": f"127.0.0.1:{low_port(socket.SOCK_STREAM)}",
                          "bind_address": f"127.0.0.1:{quic - 1}"}}
    pair = start(both=both, client=client)
    assert works(pair)
    assert said(pair.client).startswith("user nobody (65534), no new privileges, no capability but CAP_NET_BIND_SERV")
    for lines in threads(pair.client).values():
        assert capabilities(lines) == {**NONE, "Prm": NET_BIND_SERVICE, "Eff": NET_BIND_SERVICE}
    pair.server.kill()
    pair.start_server()
    wait_for(lambda: len(pair.client.connections()) == 2, what="a second session")
    assert works(pair)


def test_unix_sockets_belong_to_the_user(start, stage):
    sockets = stage / "sockets"
    sockets.mkdir()
    os.chown(sockets, NOBODY, NOBODY)
    http, admin = sockets / "http.sock", sockets / "admin.sock"
    pair = start(both=AS_NOBODY, client={"general": {"http_bind_address": f"unix:{http}"},
                                         "admin": {"bind_address": f"unix:{admin}"}})
    assert works(pair)
    assert (http.stat().st_uid, admin.stat().st_uid) == (NOBODY, NOBODY)
    assert http1.request(str(admin), "GET", "/ready").status == 200
    pair.client.stop()
    assert not http.exists() and not admin.exists()


def test_buffers_beyond_what_the_kernel_grants_to_everybody(start):
    """The server's are made by root; a client makes a socket for each attempt, and says once what it got."""
    most = int(Path("/proc/sys/net/core/rmem_max").read_text())
    asked = min(2 * most, (1 << 30) - 1)
    pair = start(both={"transport": {"socket_receive_buffer_size": asked, "socket_send_buffer_size": 4096}})
    pair.server.kill()
    pair.start_server()
    wait_for(lambda: len(pair.client.connections()) == 2, what="a second session")
    warnings = re.findall(r"WARN ptproxy: (transport\.socket.*)", pair.client.text())
    assert warnings == [f"transport.socket_receive_buffer_size: asked for {asked} bytes and got {most}: "
                        "raise the sysctl net.core.rmem_max"]
    assert "transport.socket" not in pair.server.text() and f"receive buffer {asked}" in pair.server.text()


def run(configuration, stage, **options):
    file = stage / "config.json"
    file.write_text(json.dumps(configuration))
    arguments = [BINARY, *options.pop("arguments", ()), "-c", file]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=30, **options)


def test_unknown_user(start, stage):
    configuration = harness.merge(start(session=None).server_configuration, {"system": {"user": "no-such-user"}})
    problem = f'{stage}/config.json: system.user: there is no user "no-such-user"'
    checked = run(configuration, stage, arguments=["--check"])
    assert (checked.returncode, checked.stdout) == (78, f"{problem}\n")
    started = run(configuration, stage)
    assert started.returncode == 78 and f"ERROR ptproxy: {problem}" in started.stderr


def test_who_is_not_root_cannot_become_another(start, stage):
    configuration = harness.merge(start(session=None).server_configuration, {"system": {"user": "daemon"}})
    started = run(configuration, stage, user=NOBODY, group=NOBODY, extra_groups=[])
    assert started.returncode == 1
    assert "ERROR ptproxy: system.user: cannot become daemon: Operation not permitted" in started.stderr


def test_started_by_nobody(start):
    """As service managers and containers do it. What is refused to who has nothing is no reason not to serve."""
    pair = start(session=None, wrapper=["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                                        "--bounding-set=-all", "--no-new-privs"])
    pair.start()
    assert works(pair)
    assert re.fullmatch(sandbox(f"user {NOBODY}"), said(pair.client))
    pair.client.signal(signal.SIGHUP)
    pair.client.wait_log("certificates, key and log settings were read again")
