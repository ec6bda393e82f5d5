"""The container: what the image has in it, without an engine; the image that one builds, and the pair in two of them;
the profile, and what is said without it."""

import ctypes
import errno
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import stat
import struct
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import debian
import http1
import newcomer
import pytest
from harness import BINARY, SANITIZED, wait_for
from payload import payload
from peers import TOP

TOOLS = TOP / "tools/container"
CALLS = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
BASE, TAG = "localhost/debian-for-test", "localhost/ptproxy-test"
IMAGE_BYTES = 20_000_000
NOBODY = 65534


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    if SANITIZED:
        pytest.skip("images are made of the released build")
    root = tmp_path_factory.mktemp("image")
    subprocess.run([TOOLS / "root", BINARY, root], check=True, capture_output=True, timeout=60)
    return root


def test_size(image):
    files = [file for file in image.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < IMAGE_BYTES
    assert not any(file.stat().st_mode & (stat.S_ISUID | stat.S_ISGID) for file in files)


def test_it_runs_with_nothing_else(image):
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: chroot wants to be root")
    ran = subprocess.run(["chroot", f"--userspec={NOBODY}:{NOBODY}", image, "/usr/bin/ptproxy", "--version"],
                         capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0 and ran.stdout.startswith("ptproxy "), ran.stderr


def test_profile():
    profile = json.loads((TOOLS / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    rules = [rule for rule in profile["syscalls"] if CALLS & set(rule["names"])]
    assert len(rules) == 1 and set(rules[0]["names"]) == CALLS and rules[0]["action"] == "SCMP_ACT_ALLOW"
    assert not any(rules[0][key] for key in ("args", "includes", "excludes"))
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" and not rule["includes"]
               for name in rule["names"]}
    assert {"socket", "sendmsg", "recvmsg", "eventfd2", "signalfd4", "getrandom", "clone3", "mmap"} <= allowed


def test_containerfile_copies_what_is_tested_here():
    text = (TOOLS / "Containerfile").read_text()
    assert "tools/container/root build/release/ptproxy /root-of-image" in text
    assert "FROM scratch\nCOPY --from=build /root-of-image /\nUSER 65534:65534\n" in text


def refuse_io_uring(error):
    """As an engine's default profile does (seccomp(2)): `error` for io_uring_setup."""
    load, jump, give = 0x20, 0x15, 0x06
    program = struct.pack("HBBI", load, 0, 0, 0) + struct.pack("HBBI", jump, 0, 1, 425) + \
        struct.pack("HBBI", give, 0, 0, 0x00050000 | error) + struct.pack("HBBI", give, 0, 0, 0x7FFF0000)
    instructions = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, filter_, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def check_refusal(ran):
    """One sentence, with the remedy."""
    assert ran.returncode == 1
    line, = ran.stderr.splitlines()
    assert "seccomp profile" in line and CALLS <= set(re.findall(r"\w+", line.partition("allow")[2])), line


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])  # engines differ
def test_what_is_said_without_the_profile(start_pair, error):
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("NOT TESTED: the number of io_uring_setup is known for others")
    pair = start_pair(session=None)
    pair.directory.mkdir()
    file = pair.directory / "config.json"
    file.write_text(json.dumps(pair.server_configuration))
    check_refusal(subprocess.run([BINARY, "-c", file], preexec_fn=lambda: refuse_io_uring(error), capture_output=True,
                                 text=True, timeout=30))


def limit(name, which, most):
    """An option for a limit that needs no privilege, as what the engine would set may: no more than there is here."""
    hard = resource.getrlimit(which)[1]
    return f"--ulimit={name}={min(1024, most)}:{most if hard == resource.RLIM_INFINITY else min(most, hard)}"


RUN = ["--network=host", limit("nofile", resource.RLIMIT_NOFILE, 16384), limit("nproc", resource.RLIMIT_NPROC, 1024)]


class Engine:
    """podman and buildah with a store of their own, as little as possible asked of the machine."""

    def __init__(self, directory):
        self.directory = directory
        self.store = ["--storage-driver=vfs", f"--root={directory}/store", f"--runroot={directory}/run"]

    def buildah(self, *arguments):
        return subprocess.run(["buildah", *self.store, *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=600)

    def podman(self, *arguments):
        return subprocess.run(["podman", *self.store, "--cgroup-manager=cgroupfs", "--runtime=runc",
                               *map(str, arguments)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    def ok(self, done):
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()

    def options(self, etc, profile=True):
        """As the Containerfile says it is run."""
        return [*RUN, "--read-only", "--cap-drop=all", f"--volume={etc}:/etc/ptproxy:ro",
                *([f"--security-opt=seccomp={TOOLS}/seccomp.json"] if profile else [])]

    def start(self, name, etc, *arguments):
        self.ok(self.podman("run", "--detach", f"--name={name}", *self.options(etc), TAG, *arguments))
        return int(self.ok(self.podman("inspect", "--format={{.State.Pid}}", name)))

    def stop(self, name):
        """The exit status after SIGTERM."""
        self.ok(self.podman("stop", "--time=10", name))
        return int(self.ok(self.podman("inspect", "--format={{.State.ExitCode}}", name)))

    def remove_all(self):
        self.podman("rm", "--all", "--force", "--time=0")
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def engine():
    """With the image in its store, both stages of it built. The libraries are those that are built here already."""
    if SANITIZED:
        pytest.skip("images are made of the released build")
    missing = [name for name in ("buildah", "podman", "runc") if not shutil.which(name)]
    if missing:
        debian.not_tested(f"{', '.join(missing)} is not installed")
    archive = debian.tar()
    engine = Engine(Path(tempfile.mkdtemp(prefix="ptproxy-containers-")))
    try:
        imported = engine.podman("import", archive, BASE)
        if imported.returncode != 0:
            debian.not_tested(f"podman does not work here: {imported.stderr[-300:]}")
        shutil.copytree(TOP / "build/deps", engine.directory / "deps", ignore=shutil.ignore_patterns("work", "stage"))
        engine.ok(engine.buildah("bud", "--isolation=chroot", f"--build-arg=BASE={BASE}", f"--tag={TAG}",
                                 f"--volume={engine.directory}/deps:/source/build/deps",
                                 f"--file={TOOLS}/Containerfile", TOP))
        yield engine
    finally:
        engine.remove_all()


@pytest.fixture(scope="module")
def runs(engine):
    """Skips where no container runs at all: its program's version is the least of it."""
    ran = engine.podman("run", "--rm", *RUN, TAG, "--version")
    if ran.returncode != 0:
        debian.not_tested(f"no container runs here: {ran.stderr[-300:]}")
    assert ran.stdout == subprocess.run([BINARY, "--version"], capture_output=True, text=True).stdout


@pytest.fixture
def etc(engine, script):
    """What is /etc/ptproxy in both containers: made by `ptproxy certs`, with ports that are free."""
    directory = engine.directory / "etc"
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([BINARY, "certs", "--client=client.test", "--server=server.test", "--output", directory],
                   check=True, capture_output=True, timeout=30)
    ports = newcomer.adapt(directory, script.address)
    os.chmod(directory, 0o755)
    for file in directory.iterdir():
        os.chown(file, NOBODY, NOBODY)
    return SimpleNamespace(path=directory, http=("127.0.0.1", ports.http))


def test_the_image_that_an_engine_builds(engine):
    built = json.loads(engine.ok(engine.podman("image", "inspect", TAG)))[0]
    print(f"{built['Size']} bytes")
    assert 1_000_000 < built["Size"] < IMAGE_BYTES
    assert built["Config"]["User"] == f"{NOBODY}:{NOBODY}"
    assert (built["Config"]["Entrypoint"], built["Config"]["Cmd"]) == \
        (["/usr/bin/ptproxy"], ["-c", "/etc/ptproxy/config.json"])


def process_status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def test_the_pair_in_two_containers(engine, runs, etc):
    names = [f"ptproxy-test-{end}-{os.getpid()}" for end in ("server", "client")]
    pids = [engine.start(name, etc.path, "-c", f"/etc/ptproxy/{name.split('-')[2]}.json") for name in names]

    def answer():
        try:
            return http1.request(etc.http, "GET", "/n/100000")
        except OSError:
            return None
    try:
        got = wait_for(lambda: (one := answer()) and one.status == 200 and one, 20, "the session")
        assert got.body == payload(100000)
        sent = http1.request(etc.http, "POST", "/sink", payload(100000))
        assert json.loads(sent.body)["sha256"] == hashlib.sha256(payload(100000)).hexdigest()
        for pid in pids:
            told = process_status(pid)
            assert set(told["Uid"] + told["Gid"]) == {str(NOBODY)}
            assert int(told["CapEff"][0], 16) == int(told["CapBnd"][0], 16) == 0
            assert told["Seccomp"] == ["2"]
        assert [engine.stop(name) for name in reversed(names)] == [0, 0]
    except AssertionError:
        for name in names:
            print(engine.podman("logs", name))
        raise


def test_a_container_without_the_profile(engine, runs, etc):
    ran = engine.podman("run", "--rm", *engine.options(etc.path, profile=False), TAG, "-c", "/etc/ptproxy/server.json")
    check_refusal(ran)
