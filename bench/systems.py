"""The systems that are compared: each a proxy beside the callers and one beside the origin, on files of bench/peers."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from cpu import family
from processes import BENCH, PYTHON, SINK, TOP, BenchError, Service

SIZES = {"0": 0, "100": 100, "1k": 1000, "10k": 10_000, "100k": 100_000, "1m": 1_000_000, "100m": 100_000_000}
PIECE = 1_000_000  # of a file; what comes again after so much, no compressor sees
FIRST_PORT = 21000  # below the ports that the kernel gives to connections


class Missing(Exception):
    """A peer that cannot be had, and why."""


# What is compared


@dataclass(frozen=True)
class Kind:
    name: str
    wire: str  # between the ends
    suffix: str = ""  # of its files in bench/peers; none: there are no proxies
    base: str = ""  # the first part of their names, when that is not `name`
    binary: str = ""  # path; else found() looks
    variable: str = ""  # in the environment: path of a peer that is only there when given
    why_not: str = ""  # said where it is not given
    threads: int = 1  # workers of each end
    tuned: bool = True  # ptproxy: is told the link's delay and bandwidth, as its manual advises
    congestion: str = ""  # TCP's, on links

    @property
    def program(self):
        return self.base or self.name

    @property
    def tcp(self):
        return "TCP" in self.wire

    def found(self):
        if self.binary:
            return Path(self.binary)
        if self.variable:
            return Path(os.environ[self.variable])
        if self.program == "ptproxy":
            return Path(os.environ.get("PTPROXY", TOP / "build/release/ptproxy"))
        if self.program == "caddy":
            return TOP / "build/peers/bin/caddy"
        return Path(shutil.which(self.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"))


KINDS = {kind.name: kind for kind in (
    Kind("ptproxy", "HTTP/3 (QUIC)", "json"),
    Kind("nginx", "HTTPS (TCP)", "conf"),
    Kind("haproxy", "h2 (TCP)", "cfg"),
    Kind("caddy", "HTTP/3 (QUIC)", "caddyfile"),
    Kind("ptproxy-rs", "HTTP/3 (QUIC)", "json", variable="PTPROXY_RS", why_not="it is no package of Debian's"),
    Kind("h2o", "HTTP/3 (QUIC)", "yaml", variable="H2O",
         why_not="Debian 12's is too old for HTTP/3, later ones have none"),
    Kind("direct", "plain HTTP/1.1 (TCP)"),
)}
REFERENCES = ["nginx", "haproxy"]
PAIR_THREADS = 2


def doubled(kinds):
    """The same with two workers for each end; the original's number cannot be set."""
    return [replace(kind, name=f"{kind.name}-t{PAIR_THREADS}", base=kind.program, threads=PAIR_THREADS)
            for kind in kinds if kind.suffix and kind.name != "ptproxy-rs"]


def prepare(kind):
    """Builds or installs it; Missing if that cannot be."""
    if kind.variable:
        path = os.environ.get(kind.variable)
        if not path:
            raise Missing(f"{kind.variable} is not set; {kind.why_not}")
        if not os.access(path, os.X_OK):
            raise Missing(f"{kind.variable}={path} is no program")
        return
    steps = {"ptproxy": ["tools/build", "release"], "caddy": ["tools/peers", "caddy"],
             "haproxy": ["tools/setup", "haproxy"]}  # nginx, the origin too, is in the group bench
    step = steps.get(kind.program)
    if kind.program == "ptproxy" and "PTPROXY" in os.environ:
        return
    if step and not kind.binary:
        done = subprocess.run([TOP / step[0], *step[1:]], cwd=TOP, capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"{' '.join(step)}: {(done.stderr or done.stdout).strip()[-300:]}")


def version(kind):
    """The first number in what it says about itself."""
    if not kind.suffix:
        return ""
    option = {"nginx": "-v", "haproxy": "-v", "caddy": "version"}.get(kind.program, "--version")
    said = subprocess.run([kind.found(), option], capture_output=True, text=True)
    number = re.search(r"\d+(\.\d+)+[\w.+~-]*", said.stdout + said.stderr)
    return number[0] if number else "unknown"


def command(kind, file, directory):
    program = kind.found()
    return {
        "nginx": [program, "-p", directory, "-c", file, "-e", "stderr"],
        "haproxy": [program, "-db", "-f", file],
        "caddy": [program, "run", "--adapter", "caddyfile", "--config", file],
    }.get(kind.program, [program, "-c", file])


# Configuration files


def render(template, values):
    """The text with every @NAME@ replaced. A name without a value is an error."""
    return re.sub(r"@([A-Z][A-Z_]*)@", lambda found: str(values[found[1]]), template)


def template(name):
    """A file of bench/peers. Its first comment explains it to readers and names what is filled in; it is dropped."""
    text = (BENCH / "peers" / name).read_text()
    return re.sub(r"\A(?:[ \t]*(?:#|//)[^\n]*\n)+", "", text)


def tuning(kind, place):
    """The members of ptproxy's "transport"."""
    settings = dict(place.tuning) if kind.tuned else {}
    if kind.name == "ptproxy" and place.loses:
        settings["redundancy"] = True
    if kind.program == "ptproxy-rs":  # whose defaults for these throttle every link
        settings |= {"receive_window": 16 << 20, "send_window": 16 << 20, "max_concurrent_http_streams": 1024}
    return json.dumps(settings)[1:-1]


# Where they run


class Loopback:
    """Both ends on 127.0.0.1. A link (links.py) has the same members."""

    name = "loopback"
    client_address = client_wan_address = server_address = "127.0.0.1"
    server_host = "localhost"
    tuning = files = {}
    rtt, loses = 0.0, False

    def command(self, side, arguments):
        return arguments

    def use_congestion(self, name):
        """On loopback, TCP's algorithm makes no difference, and it is the whole machine's."""

    def prepare(self, system, scenario, number):
        """Nothing to do here, and nothing to say at the end()."""

    def begin(self):
        return None

    def end(self, begun):
        return {}

    def close(self):
        pass


class Ports:
    """Ports that are free for TCP and UDP now, each given once."""

    def __init__(self):
        self.next = FIRST_PORT

    def take(self):
        while True:
            self.next += 1
            if all(self.free(kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
                return self.next

    def free(self, kind):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("0.0.0.0", self.next))
                return True
            except OSError:
                return False


def make_files(directory, more):
    """What origins serve, in bytes that nothing can compress, and where it is. `more`: name -> size beside SIZES."""
    www = directory / "www"
    www.mkdir(parents=True, exist_ok=True)
    for name, size in {**SIZES, **more}.items():
        if not (www / name).exists():
            piece = os.urandom(min(size, PIECE))
            (www / name).write_bytes((piece * (size // PIECE + 1))[:size])
    return www


class Origin:
    """nginx that serves www/SIZE and takes uploads; beside it what counts the bytes sent to /sink."""

    def __init__(self, directory, place, ports):
        self.directory, self.place = directory, place
        self.www = make_files(directory.parent, place.files)
        directory.mkdir(parents=True)
        port = ports.take()
        addresses = dict.fromkeys(["127.0.0.1", place.server_address])
        self.address = (place.server_address, port)
        self.sink = directory / "sink.sock"
        values = {"LISTENS": " ".join(f"listen {address}:{port} backlog=4096;" for address in addresses),
                  "WWW": self.www, "SINK": self.sink}
        (directory / "origin.conf").write_text(render(template("origin.conf"), values))
        self.services = []
        try:
            self.services.append(Service([PYTHON, SINK, self.sink], directory, []))
            self.services.append(Service(
                place.command("server", command(KINDS["nginx"], directory / "origin.conf", directory)), directory,
                [(port, "tcp")]))
        except BaseException:
            self.stop()
            raise

    def sunk(self):
        """Bytes of request bodies that have arrived at /sink."""
        with socket.socket(socket.AF_UNIX) as ask:
            ask.connect(str(self.sink))
            ask.sendall(b"GET /count HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: ask.recv(4096), b""))
        return int(answer.rpartition(b"\r\n\r\n")[2])

    def stop(self):
        for service in self.services:
            service.stop()


# Running


class System:
    """A pair, or the origin itself when its kind has no proxies. `address` is where callers go; `caller` asks there."""

    def __init__(self, kind, directory, place, origin, certificates, ports, caller):
        self.kind, self.name, self.place, self.origin, self.caller = kind, kind.name, place, origin, caller
        self.directory = directory
        self.services, self.ports = {}, {}
        self.address = origin.address
        self.congestion = kind.congestion
        if kind.suffix:
            self.prepare(certificates, ports.take(), ports.take())

    def prepare(self, certificates, client_port, server_port):
        place, origin_port = self.place, self.origin.address[1]
        self.address = (place.client_address, client_port)
        # In the order in which they are started.
        self.ports = {"server": [(server_port, "tcp" if self.kind.tcp else "udp")], "client": [(client_port, "tcp")]}
        self.values = {
            **certificates,
            "CLIENT": f"{place.client_address}:{client_port}", "CLIENT_ADDRESS": place.client_address,
            "CLIENT_PORT": client_port, "CLIENT_WAN_ADDRESS": place.client_wan_address,
            "SERVER": f"{place.server_address}:{server_port}", "SERVER_ADDRESS": place.server_address,
            "SERVER_PORT": server_port, "SERVER_HOST": place.server_host, "ORIGIN": f"127.0.0.1:{origin_port}",
            "TUNING": tuning(self.kind, place), "THREADS": self.kind.threads}

    def start(self):
        self.place.use_congestion(self.congestion)
        for side in self.ports:
            self.start_side(side)

    def start_side(self, side):
        directory = self.directory / side
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{side}.{self.kind.suffix}"
        file.write_text(render(template(f"{self.kind.program}-{side}.{self.kind.suffix}"), self.values))
        home = {"HOME": directory, "XDG_DATA_HOME": directory, "XDG_CONFIG_HOME": directory,
                "GOMAXPROCS": self.kind.threads}
        self.services[side] = Service(self.place.command(side, command(self.kind, file, directory)), directory,
                                      self.ports[side], {name: str(value) for name, value in home.items()})

    def restart(self):
        """Both ends anew, with no request since; those that connect by themselves have done so."""
        if self.kind.suffix:
            self.stop()
            self.start()
            time.sleep(0.1 + 3 * self.place.rtt)

    def pids(self):
        return {side: family(service.pid) for side, service in self.services.items()}

    def probe(self, what, within, **options):
        """Has bench/probe.py, beside the callers, do something to this system; its answer."""
        return self.caller.ask(what, within, host=self.address[0], port=self.address[1], **options)

    def check(self, patience=15):
        """Until a request succeeds."""
        end = time.monotonic() + patience
        while True:
            try:
                answer = self.probe("fetch", 20, paths=["/0"], count=1, timeout=5)[0][0]
            except BenchError as failed:
                answer = {"error": str(failed)}
            if answer.get("status") == 200:
                return
            if time.monotonic() > end:
                logs = "".join(f"\n{side}: {service.said()}" for side, service in self.services.items())
                raise BenchError(f"{self.name} does not answer: {answer}{logs}")
            time.sleep(0.1)

    def check_threads(self):
        """Missing if an end has said that it does not do what it was told about them."""
        for service in self.services.values() if self.kind.threads > 1 else ():
            found = re.search(r"^.*system\.threads.*$", service.said(), re.MULTILINE)
            if found:
                raise Missing(f"{self.kind.threads} workers are not supported: {found[0][-200:]}")

    def alive(self):
        return all(service.alive() for service in self.services.values())

    def ended(self):
        """How those that have ended did, and their last words; "" if all are there."""
        return "".join(f"; {side} end: status {service.process.returncode}: {service.said()[-500:].strip()}"
                       for side, service in self.services.items() if not service.alive())

    def stop(self):
        for service in self.services.values():
            service.stop()
        self.services = {}
