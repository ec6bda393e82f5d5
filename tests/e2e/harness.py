"""Both ends of ptproxy as a test runs them: real processes, certificates, ports and an origin, all on this machine.

PTPROXY in the environment names the binary (default: the released one). With a sanitized one, times are longer and the
gigabytes smaller. Whatever a test starts is ended by its own process id, and every orderly end is looked at: the exit
status, reports of sanitizers, and the pools, which must all be empty.
"""

import copy
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import http1
import peers
import pytest
from peers import TOP

BINARY = Path(os.environ.get("PTPROXY", TOP / "build/release/ptproxy")).resolve()
SANITIZED = BINARY.exists() and any(name in BINARY.read_bytes() for name in (b"__asan_init", b"__tsan_init"))
SLOW = 4 if SANITIZED else 1  # how much longer things may take
GIGABYTE = 1 << 30 if not SANITIZED else 64 << 20
STOP_SECONDS = 5 * SLOW
POOLS_MIN = 5  # fewer lines about pools than this: the daemon says nothing, which is no proof of anything

running = []  # every Daemon that was started and not yet looked at; conftest.py shows their logs


def merge(base, *overrides):
    """`base` with what is in `overrides`, level by level; a value of None removes the key."""
    merged = copy.deepcopy(base)
    for override in overrides:
        for key, value in (override or {}).items():
            if isinstance(value, dict):
                merged[key] = merge(merged.get(key, {}), value)
            elif value is None:
                merged.pop(key, None)
            else:
                merged[key] = value
    return merged


def wait_for(condition, timeout=10, what="it"):
    """The first true value of `condition()`."""
    end = time.monotonic() + timeout * SLOW
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} has not come within {timeout * SLOW} s"
        time.sleep(0.01)
    return value


class Daemon(peers.Server):
    """ptproxy on `configuration`, its log at level debug. `wrapper` is a command to run it under."""

    def __init__(self, directory, configuration, wrapper=(), patience=10):
        directory.mkdir(parents=True, exist_ok=True)
        self.name = directory.name
        self.configuration = merge({"log": {"level": "debug"}}, configuration)
        self.patience = patience
        self.file = directory / "config.json"
        self.file.write_text(json.dumps(self.configuration, indent=2))
        self.started = self.ended = False
        super().__init__([*wrapper, str(BINARY), "-c", str(self.file)], directory,
                         self.configuration["general"].get("quic_port"), environment())

    def wait_ready(self, timeout=None):
        running.append(self)
        super().wait_ready(timeout or self.patience * SLOW)
        self.started = True

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_log(self, pattern, timeout=5, count=1, start=0):
        """Waits for `count` matches of `pattern` in the log, from character `start` on; returns the last."""
        def look():
            found = list(re.finditer(pattern, self.text()[start:], re.MULTILINE))
            return found[count - 1] if len(found) >= count else None
        return wait_for(look, timeout, f"'{pattern}' in the log of {self.name}")

    def connections(self):
        """The ids of the connections that were established, in order."""
        return re.findall(r"connection ([0-9a-f]+) established", self.text())

    def resident(self):
        """Bytes of VmRSS."""
        return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())[1]) * 1024

    def cpu_seconds(self):
        """Of all its threads, in steps of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """As by kill -9."""
        self.process.kill()
        self.ended = True
        self.process.wait()

    def wait_exit(self, timeout=STOP_SECONDS):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} has not ended after {timeout} s") from None

    def stop(self, timeout=STOP_SECONDS):
        """SIGTERM, and all that must hold after a graceful end. Harmless when it was ended before."""
        if self.ended:
            return
        if not self.started:  # the fault that is the reason for this is about to be shown
            self.kill()
            return
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        status = self.wait_exit(timeout)
        self.ended = True
        assert status == 0, f"{self.name} ended with status {status}"
        self.check_log()

    def check_log(self):
        text = self.text()
        assert not re.search(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:", text), self.name
        pools = re.findall(r"pool (\S+) live (\d+) high-water (\d+) of (\d+)", text)
        assert len(pools) >= POOLS_MIN, f"{self.name} has said nothing about its pools: {pools}"
        assert [pool for pool in pools if pool[1] != "0"] == [], f"{self.name}: pools are not empty"


def environment():
    """What the daemon must not take over from the one who tests, and what its sanitizers are to do."""
    return {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=1"), "NOTIFY_SOCKET": ""}


class ClientDaemon(Daemon):
    """Ready when it accepts HTTP/1.1 connections; the session may come later."""

    def __init__(self, directory, configuration, wrapper=(), patience=10):
        addresses = configuration["general"]["http_bind_address"]
        first = addresses if isinstance(addresses, str) else addresses[0]
        host, _, port = first.rpartition(":")
        self.http = first.removeprefix("unix:") if first.startswith("unix:") else (host, int(port))
        super().__init__(directory, configuration, wrapper, patience)

    def ready(self):
        try:
            http1.Client(self.http, timeout=1).close()
            return True
        except OSError:
            return False


class Pair:
    """An origin's address and the two ends before it: `server` next to the origin, `client` next to the caller.

    `both`, `client` and `server` are merged into the configurations; `identities` replaces the certificates.
    """

    def __init__(self, directory, certificates, origin, both=None, client=None, server=None, identities=None,
                 wrapper=(), patience=10):
        self.directory, self.wrapper, self.patience = directory, wrapper, patience
        self.quic_port = peers.free_port()
        who = {"client": certificates.client, "server": certificates.server, "ca": certificates.ca,
               **(identities or {})}

        def tls(end):
            return {"ca": str(who.get(f"{end}_ca", who["ca"])), "cert": str(who[end].cert), "key": str(who[end].key)}

        self.server_configuration = merge({
            "general": {"mode": "server", "peer_hostname": "client.test", "quic_port": self.quic_port,
                        "bind_address": "127.0.0.1", "http_connect_address": origin},
            "tls": tls("server")}, both, server)
        self.client_configuration = merge({
            "general": {"mode": "client", "peer_hostname": "server.test", "quic_port": self.quic_port,
                        "bind_address": "127.0.0.1", "connect_address": "127.0.0.1",
                        "http_bind_address": f"127.0.0.1:{peers.free_port()}"},
            "system": {"connect_interval": "200ms"},
            "tls": tls("client")}, both, client)
        self.server = self.client = None

    def start(self, session=True):
        self.start_server()
        self.start_client()
        if session:
            self.wait_session()
        return self

    def start_server(self):
        self.server = Daemon(self.directory / "server", self.server_configuration, self.wrapper, self.patience)

    def start_client(self):
        self.client = ClientDaemon(self.directory / "client", self.client_configuration, self.wrapper, self.patience)

    @property
    def http(self):
        return self.client.http

    def has_session(self):
        """False, too, when the connection is reset: the kernel ends the listeners of a killed process some ms later."""
        try:
            response = self.request("GET", "/n/0")
        except (http1.Cut, ConnectionError):
            return False
        return response.status != 503 or b"tunnel not established" not in response.body

    def wait_session(self, timeout=None):
        wait_for(self.has_session, timeout or self.patience, "the session")

    def open(self, timeout=30, **options):
        return http1.Client(self.http, timeout * SLOW, **options)

    def open_admitted(self):
        """A connection on which a request was served, tried until there is room for it: the end of an earlier one may
        still be on its way."""
        def admitted():
            client = self.open()
            if client.request("GET", "/n/1").status == 200:
                return client
            client.close()
            return None

        return wait_for(admitted, what="room for a connection")

    def request(self, method, target, body=b"", fields=(), timeout=30, **options):
        return http1.request(self.http, method, target, body, fields, timeout * SLOW, **options)

    def stop(self):
        """Both ends, whatever the first one's end was like."""
        try:
            if self.client:
                self.client.stop()
        finally:
            if self.server:
                self.server.stop()


class Nginx(peers.Server):
    """Debian's nginx as an origin: files of the directory `root` (also PUT and DELETE), and /through/... to `upstream`,
    request bodies as they come. `listen` is what its directive takes."""

    def __init__(self, directory, upstream, listen=None):
        peers.require("nginx")
        self.root = directory / "root"
        self.root.mkdir(parents=True)
        self.socket = listen
        port = None if listen else peers.free_port()
        self.address = listen or f"127.0.0.1:{port}"
        (directory / "nginx.conf").write_text(f"""
daemon off;
master_process off;
pid nginx.pid;
error_log stderr info;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 1000000;
    client_max_body_size 0;
    upstream script {{ server {upstream}; keepalive 128; }}
    server {{
        listen {self.address};
        root {self.root};
        dav_methods PUT DELETE;
        location /through/ {{
            proxy_pass http://script/;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Connection "";
        }}
    }}
}}
""")
        super().__init__([peers.BIN / "nginx-h3", "-p", directory, "-c", directory / "nginx.conf", "-e", "stderr"],
                         directory, port)

    def ready(self):
        if self.socket:
            return os.path.exists(self.socket.removeprefix("unix:"))
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def curl(pair, path, *options, timeout=60):
    """curl through the pair; returns the finished process, its output as bytes."""
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--http1.1", "--noproxy", "*", "--max-time", str(timeout * SLOW), *options,
         "http://%s:%d%s" % (*pair.http, path)],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout * SLOW + 5)


def needs_daemon():
    if not BINARY.exists():
        pytest.fail(f"{BINARY} does not exist: tools/build makes it")
