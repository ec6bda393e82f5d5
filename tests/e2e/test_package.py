"""What is installed: the Debian package, the manual pages, the completions."""

import os
import re
import shutil
import subprocess

import pytest
from harness import BINARY, SANITIZED
from peers import TOP

PAGES = [TOP / "tools/man/ptproxy.8", TOP / "config/ptproxy.json.5"]


def run(*arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, **options)


def help_options():
    """The long options of the daemon, as --help shows them."""
    return set(re.findall(r"^ +(?:-\w, )?(--\w+) ", run(BINARY, "--help").stdout, re.MULTILINE))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    if not shutil.which("cpack") or not shutil.which("dpkg-deb"):
        pytest.skip("NOT TESTED: this is not Debian, or cmake is not installed")
    if SANITIZED:
        pytest.skip("packages are made of the released build")
    directory = tmp_path_factory.mktemp("package")
    made = run("cpack", "--config", BINARY.parent / "CPackConfig.cmake", "-B", directory)
    assert made.returncode == 0, made.stdout + made.stderr
    file, = directory.glob("*.deb")
    return file


def test_contents(package):
    fields = run("dpkg-deb", "-f", package).stdout
    assert re.search(r"^Depends: libc6 \(>= [\d.]+\)$", fields, re.MULTILINE), fields
    listed = run("dpkg-deb", "-c", package).stdout
    found = {line.split()[5].removeprefix("./"): line.split()[:2] for line in listed.splitlines()}
    files = {name for name in found if not name.endswith("/")}
    assert files == {
        "usr/bin/ptproxy", "usr/lib/systemd/system/ptproxy@.service", "usr/lib/sysctl.d/60-ptproxy.conf",
        "usr/share/man/man8/ptproxy.8", "usr/share/man/man5/ptproxy.json.5",
        "usr/share/bash-completion/completions/ptproxy", "usr/share/zsh/vendor-completions/_ptproxy",
        *(f"usr/share/doc/ptproxy/{name}" for name in (
            "copyright", "schema.json", "reference.md", "examples/client.json", "examples/server.json",
            "examples/full.json"))}
    for name, (mode, owner) in found.items():
        executable = name.endswith("/") or name == "usr/bin/ptproxy"
        assert (mode[1:], owner) == ("rwxr-xr-x" if executable else "rw-r--r--", "root/root"), name


def test_installed_run_and_removed(package, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: dpkg wants to be root")
    root = tmp_path / "root"
    for directory in "info", "updates", "triggers":
        (root / "var/lib/dpkg" / directory).mkdir(parents=True)
    for name in "status", "available":
        (root / "var/lib/dpkg" / name).touch()
    dpkg = ["dpkg", f"--root={root}", "--force-depends", "--force-script-chrootless", f"--log={tmp_path}/log"]
    before = {file for file in root.rglob("*") if "var/lib/dpkg" not in str(file)}
    installed = run(*dpkg, "--install", package)
    assert installed.returncode == 0, installed.stderr
    version = run(root / "usr/bin/ptproxy", "--version")
    assert version.returncode == 0 and version.stdout == run(BINARY, "--version").stdout
    removed = run(*dpkg, "--purge", "ptproxy")
    assert removed.returncode == 0, removed.stderr
    assert {file for file in root.rglob("*") if "var/lib/dpkg" not in str(file)} == before


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manual_pages_are_without_faults(page):
    if not shutil.which("man"):
        pytest.skip("NOT TESTED: man is not installed (package man-db)")
    shown = run("man", "--warnings", "-l", page, env={**os.environ, "LC_ALL": "C.UTF-8", "MANPAGER": "cat"})
    assert (shown.returncode, shown.stderr) == (0, "") and len(shown.stdout) > 1000


def test_the_manual_names_every_option_and_command():
    text = PAGES[0].read_text().replace("\\", "")
    options = help_options()
    assert options >= {"--config", "--check", "--dump", "--version", "--help"}
    for word in options | {"--client", "--server", "--days", "--output", "--address", "certs", "status"}:
        assert word in text


def complete(*words):
    """What bash offers for the last of the words."""
    script = f"""
source {TOP}/tools/completion/ptproxy.bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_ptproxy ptproxy "${{@: -1}}" "${{@: -2:1}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = run("bash", "-c", script, "bash", "ptproxy", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def test_bash_completion(tmp_path):
    assert complete("") == help_options() | {"certs", "status"}
    assert complete("--d") == {"--dump"}
    assert complete("certs", "--") == {"--client", "--server", "--output", "--days"}
    assert complete("status", "--") == {"--config", "--address"}
    (tmp_path / "one.json").touch()
    (tmp_path / "one.pem").touch()
    assert complete("-c", f"{tmp_path}/o") == {f"{tmp_path}/one.json"}


def test_zsh_completion_names_the_same():
    text = (TOP / "tools/completion/_ptproxy").read_text()
    for word in help_options() | {"--client", "--server", "--days", "--output", "--address", "certs", "status"}:
        assert word in text
    if shutil.which("zsh"):
        assert run("zsh", "-n", TOP / "tools/completion/_ptproxy").returncode == 0
