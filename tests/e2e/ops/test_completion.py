"""What bash and zsh offer: the same as the program has. bash's function is called, zsh is asked at a terminal."""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import debian
import pytest
from harness import wait_for
from peers import TOP
from test_package import help_options

COMPLETION = TOP / "tools/completion"
SETUP = Path(__file__).resolve().parent / "complete.zsh"


def bash(*words):
    """What bash offers for the last of the words."""
    script = f"""
source {COMPLETION}/ptproxy.bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_ptproxy ptproxy "${{@: -1}}" "${{@: -2:1}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script, "bash", "ptproxy", *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


class Zsh:
    """zsh at a terminal, for one line."""

    def __init__(self, directory):
        self.offered = directory / "offered"
        self.offered.write_text("")
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "TERM": "vt100", "HOME": str(directory),
                                                   "OFFERED": str(self.offered), "COMPLETIONS": str(COMPLETION)})
        threading.Thread(target=self.drain, daemon=True).start()

    def drain(self):
        """What it draws is not looked at, but would block it."""
        with contextlib.suppress(OSError):
            while os.read(self.terminal, 4096):
                pass

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)

    def complete(self, line):
        os.write(self.terminal, f"source {SETUP}\n".encode())
        wait_for(lambda: "ready\n" in self.offered.read_text(), 60, "zsh")
        os.write(self.terminal, line.encode() + b"\t")
        wait_for(lambda: "end of list\n" in self.offered.read_text(), 60, f"what zsh offers for '{line}'")
        return set(self.offered.read_text().splitlines()) - {"ready", "end of list"}


@pytest.fixture
def zsh(tmp_path):
    """A function: what zsh offers at the end of a line."""
    if not shutil.which("zsh"):
        debian.not_tested("zsh is not installed")

    def complete(line):
        shell = Zsh(tmp_path)
        try:
            return shell.complete(line)
        finally:
            shell.end()
    return complete


def test_bash(tmp_path):
    assert bash("") == help_options() | {"certs", "status"}
    assert bash("--d") == {"--dump"}
    assert bash("certs", "--") == help_options("certs")
    assert bash("status", "--") == help_options("status")
    (tmp_path / "one.json").touch()
    (tmp_path / "one.pem").touch()
    assert bash("-c", f"{tmp_path}/o") == {f"{tmp_path}/one.json"}


def test_zsh_options(zsh):
    assert zsh("ptproxy --") == help_options()
    assert zsh("ptproxy --d") == {"--dump"}
    assert zsh("ptproxy --check --") == {"--config"}  # and nothing that would contradict it


def test_zsh_commands(zsh):
    assert zsh("ptproxy ") == {"certs", "status"}
    assert zsh("ptproxy certs --") == help_options("certs")
    assert zsh("ptproxy certs --client a --") == help_options("certs") - {"--client"}
    assert zsh("ptproxy status --") == help_options("status")
    assert zsh("ptproxy status -c x --") == {"--help"}


def test_zsh_files(zsh, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/one.json").touch()
    (tmp_path / "files/one.pem").touch()
    assert zsh("ptproxy -c files/o") == {"one.json"}
    assert zsh("ptproxy certs -o fil") == {"files"}


def test_zsh_takes_the_file(zsh):
    done = subprocess.run(["zsh", "-n", COMPLETION / "_ptproxy"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
