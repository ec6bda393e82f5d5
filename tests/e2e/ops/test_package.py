"""What is installed: the Debian package and the manual pages."""

import gzip
import os
import re
import shutil
import socket
import stat
import subprocess

import debian
import http1
import newcomer
import peers
import pytest
from harness import BINARY, SANITIZED, wait_for
from payload import payload
from peers import TOP

PAGES = [TOP / "tools/man/ptproxy.1", TOP / "config/ptproxy.json.5"]


def run(*arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, **options)


def help_options(*command):
    """The long options of the daemon, or of a command, as --help shows them."""
    told = run(BINARY, *command, "--help")
    assert (told.returncode, told.stderr) == (0, "")
    return set(re.findall(r"^ +(?:-\w, )?(--\w+) ", told.stdout, re.MULTILINE))


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
        "usr/share/man/man1/ptproxy.1.gz", "usr/share/man/man5/ptproxy.json.5.gz",
        "usr/share/bash-completion/completions/ptproxy", "usr/share/zsh/vendor-completions/_ptproxy",
        *(f"usr/share/doc/ptproxy/{name}" for name in (
            "copyright", "changelog.gz", "schema.json", "reference.md", "examples/client.json", "examples/server.json",
            "examples/full.json", "examples/ptproxy.rules.yml", "examples/grafana-dashboard.json"))}
    for name, (mode, owner) in found.items():
        executable = name.endswith("/") or name == "usr/bin/ptproxy"
        assert (mode[1:], owner) == ("rwxr-xr-x" if executable else "rw-r--r--", "root/root"), name
    assert "etc/ptproxy/" in found


def test_changelog_is_of_this_version(package, tmp_path):
    run("dpkg-deb", "-x", package, tmp_path)
    text = gzip.decompress((tmp_path / "usr/share/doc/ptproxy/changelog.gz").read_bytes()).decode()
    version = run("dpkg-deb", "-f", package, "Version").stdout.strip()
    assert text.startswith(f"ptproxy ({version}) ") and run(BINARY, "--version").stdout.startswith(f"ptproxy {version}")


def test_lintian(package):
    if not shutil.which("lintian"):
        debian.not_tested("lintian is not installed")
    found = run("lintian", "--allow-root", "--fail-on", "error,warning", package)
    assert (found.returncode, found.stdout) == (0, ""), found.stderr


# Where apt and dpkg keep what they do; what they know of the package is asked of them.
OF_THE_INSTALLER = re.compile(r"(var/(lib/(dpkg|apt|systemd)|cache|log)|tmp|run|etc/ld\.so\.cache)(/|$)")


def contents(root):
    """Every path below `root` with what is there."""
    found = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if OF_THE_INSTALLER.match(name):
            continue
        state = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[name] = (stat.S_IFMT(state.st_mode), stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid, hash(what))
    return found


@pytest.fixture(scope="module")
def clean():
    """A Debian in which nothing was ever installed, and what it had in it."""
    with debian.unpacked() as root:
        (root / "etc/systemd/system/multi-user.target.wants").mkdir(parents=True, exist_ok=True)
        yield root, contents(root)


def apt(root, *arguments):
    done = debian.run(root, "apt-get", "--yes", *arguments)
    if "unshare: " in done.stderr:
        debian.not_tested(f"no mounts of its own here: {done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def installed(package, clean):
    """The package is installed during the test, and purged afterwards."""
    root, before = clean
    shutil.copy(package, root / "tmp/ptproxy.deb")
    apt(root, "install", "/tmp/ptproxy.deb")
    yield root
    purged = debian.run(root, "dpkg", "--purge", "ptproxy")  # quiet where it is purged already
    assert purged.returncode == 0, purged.stderr
    assert contents(root) == before
    known = debian.run(root, "dpkg-query", "--show", "ptproxy")
    assert known.returncode == 1 and "no packages found" in known.stderr
    assert not list((root / "var/lib/dpkg/info").glob("ptproxy*"))


class Installed(peers.Server):
    """`/usr/bin/ptproxy` of that Debian, with the configuration that the unit's instance would have."""

    def __init__(self, root, directory, end, port):
        directory.mkdir()
        program = debian.command(root, "/usr/bin/ptproxy", "-c", f"/etc/ptproxy/{end}.json")
        super().__init__(program, directory, port)


def test_installed_run_and_removed(installed, script, tmp_path):
    etc = installed / "etc/ptproxy"
    assert list(etc.iterdir()) == []
    version = debian.run(installed, "ptproxy", "--version")
    assert version.returncode == 0 and version.stdout == run(BINARY, "--version").stdout
    certificates = debian.run(installed, "ptproxy", "certs", "--client", "a.test", "--server", "b.test",
                              "--output", "/etc/ptproxy")
    assert certificates.returncode == 0, certificates.stderr
    ports = newcomer.adapt(etc, script.address)
    ends = []
    for end in "server", "client":
        checked = debian.run(installed, "ptproxy", "--check", "-c", f"/etc/ptproxy/{end}.json")
        assert checked.returncode == 0, checked.stderr
    try:
        ends.append(Installed(installed, tmp_path / "server", "server", ports.quic))
        ends.append(Client(installed, tmp_path / "client", "client", ports.http))
        wait_for(lambda: http1.request(("127.0.0.1", ports.http), "GET", "/n/0").status == 200, 10, "the session")
        assert http1.request(("127.0.0.1", ports.http), "GET", "/n/100000").body == payload(100000)
    finally:
        status = [end.stop() for end in reversed(ends)]
    assert status == [0, 0]
    for file in etc.iterdir():
        file.unlink()


class Client(Installed):
    """Ready when it accepts connections."""

    def ready(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def test_what_people_put_there_stays(installed):
    """But the instances that were enabled are no more."""
    wants = installed / "etc/systemd/system/multi-user.target.wants"
    for name in "ptproxy@a.service", "ptproxy@b.service":
        (wants / name).symlink_to("/usr/lib/systemd/system/ptproxy@.service")
    (wants / "other.service").symlink_to("/usr/lib/systemd/system/other.service")
    file = installed / "etc/ptproxy/a.key"
    file.write_text("secret")
    apt(installed, "remove", "ptproxy")
    assert not (installed / "usr/bin/ptproxy").exists() and len(list(wants.iterdir())) == 3
    apt(installed, "purge", "ptproxy")
    assert [entry.name for entry in wants.iterdir()] == ["other.service"]
    assert file.read_text() == "secret"
    shutil.rmtree(file.parent)
    (wants / "other.service").unlink()


def test_an_upgrade_keeps_what_is_configured(installed):
    file = installed / "etc/ptproxy/a.json"
    file.write_text("{}")
    apt(installed, "install", "--reinstall", "/tmp/ptproxy.deb")
    assert file.read_text() == "{}"
    file.unlink()


# What the service manager is told


class Manager:
    """systemd, as far as scripts see it: its directory in /run is there, and its programs say when they are called."""

    CALLS = "run/calls"
    PROGRAM = """#!/bin/sh
program=$([ -x /usr/bin/ptproxy ] && echo installed || echo gone)
echo "${0##*/} $* ($program)" >>/run/calls
case " $* " in
  *' is-active '*) [ -e /run/instances ] ;;
  *' is-enabled '*) echo disabled; exit 1 ;;
esac
"""

    def __init__(self, root):
        self.root = root
        self.added = [root / "usr/bin/systemctl", root / "usr/lib/systemd/systemd-sysctl"]
        for file in self.added:
            assert not file.exists()
            file.write_text(self.PROGRAM)
            file.chmod(0o755)
        (root / "run/systemd/system").mkdir(parents=True)

    def end(self):
        for file in self.added:
            file.unlink()
        shutil.rmtree(self.root / "run/systemd")
        for name in self.CALLS, "run/instances":
            (self.root / name).unlink(missing_ok=True)

    def told(self, *arguments):
        """What it is told in the course of a call of apt, questions of how things are apart."""
        calls = self.root / self.CALLS
        calls.write_text("")
        apt(self.root, *arguments)
        return [line for line in calls.read_text().splitlines() if " is-" not in line]


@pytest.fixture
def manager(clean):
    made = Manager(clean[0])
    yield made
    made.end()


RELOADED = "systemctl daemon-reload"
LIMITS = "systemd-sysctl /usr/lib/sysctl.d/60-ptproxy.conf (installed)"


def test_what_systemd_is_told(package, clean, manager):
    """Nothing is started that did not run; an upgrade starts instances anew once the new program is there; they are
    stopped before it goes."""
    root, _ = clean
    before = contents(root)
    shutil.copy(package, root / "tmp/ptproxy.deb")
    again = ["install", "--reinstall", "/tmp/ptproxy.deb"]
    assert manager.told("install", "/tmp/ptproxy.deb") == [f"{RELOADED} (installed)", LIMITS]
    assert manager.told(*again) == [f"{RELOADED} (installed)", f"{RELOADED} (installed)", LIMITS]
    (root / "run/instances").touch()
    assert manager.told(*again) == [f"{RELOADED} (installed)", f"{RELOADED} (installed)", LIMITS,
                                    "systemctl --quiet --system restart ptproxy@*.service (installed)"]
    assert manager.told("remove", "ptproxy") == ["systemctl stop ptproxy@*.service (installed)", f"{RELOADED} (gone)"]
    assert manager.told("purge", "ptproxy") == [f"{RELOADED} (gone)"]
    assert contents(root) == before


def test_an_instance_that_does_not_start_is_not_the_packages_fault(package, clean, manager):
    """Nor are limits that cannot be set, as in a container: the package is installed all the same."""
    root, _ = clean
    shutil.copy(package, root / "tmp/ptproxy.deb")
    (root / "run/instances").touch()
    manager.told("install", "/tmp/ptproxy.deb")
    manager.added[0].write_text(manager.PROGRAM.replace("case ", 'case " $* " in *" restart "*) exit 1 ;; esac\ncase '))
    manager.added[1].write_text(manager.PROGRAM + "exit 1\n")
    told = manager.told("install", "--reinstall", "/tmp/ptproxy.deb")
    assert told[-1].startswith("systemctl --quiet --system restart ") and LIMITS in told
    assert debian.run(root, "dpkg-query", "--show", "--showformat=${db:Status-Status}", "ptproxy").stdout == "installed"
    manager.told("purge", "ptproxy")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manual_pages_are_without_faults(page):
    if not shutil.which("man"):
        pytest.skip("NOT TESTED: man is not installed (package man-db)")
    shown = run("man", "--warnings", "-l", page, env={**os.environ, "LC_ALL": "C.UTF-8", "MANPAGER": "cat"})
    assert (shown.returncode, shown.stderr) == (0, "") and len(shown.stdout) > 1000


def test_the_manual_names_every_option_and_command():
    text = PAGES[0].read_text().replace("\\", "")
    assert help_options() == {"--config", "--check", "--dump", "--version", "--help"}
    for word in help_options() | help_options("certs") | help_options("status") | {"ptproxy certs", "ptproxy status"}:
        assert word in text
