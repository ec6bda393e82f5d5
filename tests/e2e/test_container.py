"""The container: what the image has in it, run without an engine; the profile; and what is said without it."""

import ctypes
import json
import os
import platform
import shutil
import stat
import struct
import subprocess

import pytest
from harness import BINARY, SANITIZED
from peers import TOP

TOOLS = TOP / "tools/container"
CALLS = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
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


def refuse_io_uring():
    """As an engine's default profile does (seccomp(2)): EPERM for io_uring_setup."""
    load, jump, give = 0x20, 0x15, 0x06
    program = struct.pack("HBBI", load, 0, 0, 0) + struct.pack("HBBI", jump, 0, 1, 425) + \
        struct.pack("HBBI", give, 0, 0, 0x00050001) + struct.pack("HBBI", give, 0, 0, 0x7FFF0000)
    instructions = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, filter_, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def test_what_is_said_without_the_profile(start_pair):
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("NOT TESTED: the number of io_uring_setup is known for others")
    pair = start_pair(session=None)
    pair.directory.mkdir()
    file = pair.directory / "config.json"
    file.write_text(json.dumps(pair.server_configuration))
    ran = subprocess.run([BINARY, "-c", file], preexec_fn=refuse_io_uring, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 1
    said = [line for line in ran.stderr.splitlines() if "io_uring" in line]
    assert len(said) == 1 and "seccomp" in said[0], ran.stderr


def test_an_engine_builds_and_runs_it():
    engine = shutil.which("podman") or shutil.which("buildah")
    if not engine:
        pytest.skip("NOT TESTED: neither podman nor buildah is installed")
    built = subprocess.run([engine, "build", "-f", TOOLS / "Containerfile", "-t", "ptproxy-test", TOP],
                           capture_output=True, text=True, timeout=1200)
    if built.returncode != 0 and "debian:bookworm" in built.stderr:
        pytest.skip(f"NOT TESTED: the base image is not to be had: {built.stderr[-300:]}")
    assert built.returncode == 0, built.stderr
