"""A Debian with nothing but apt, of this machine's release: a tar archive of its root (tools/fresh), or unpacked."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import pytest
from peers import TOP

# Mounts of its own, that are gone with the command; the machine's network and processes.
INSIDE = """
mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && root=$1 && shift && exec chroot "$root" "$@"
"""


def not_tested(reason):
    warnings.warn(f"NOT TESTED: {reason}", stacklevel=2)  # pytest ends with them, but with reasons only when asked
    pytest.skip(f"NOT TESTED: {reason}")


@functools.cache
def made():
    suite = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    return subprocess.run([TOP / "tools/fresh", "--tar", suite[1] if suite else "bookworm"],
                          capture_output=True, text=True, timeout=600)


def tar():
    """The archive's path."""
    if os.geteuid() != 0:
        not_tested("a Debian is made by root")
    if made().returncode != 0:
        not_tested(f"a clean Debian is not to be had here: {made().stderr[-300:]}")
    return Path(made().stdout.strip())


@contextlib.contextmanager
def unpacked():
    """Its root as a directory, which is gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="ptproxy-debian-"))
    try:
        subprocess.run(["tar", "-x", "-f", tar(), "-C", root, "--exclude=./dev/*"], check=True, timeout=120)
        yield root
    finally:
        shutil.rmtree(root)


def command(root, *arguments):
    """The arguments as what runs in `root`; the process is the command itself."""
    return ["unshare", "--mount", "sh", "-c", INSIDE, "sh", str(root), *map(str, arguments)]


def run(root, *arguments):
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    return subprocess.run(command(root, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, env=environment)
