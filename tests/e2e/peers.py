"""HTTP/3 software that is not ours (see tools/peers) as the tests use it: clients to call, servers to start.

Everything is on 127.0.0.1. A start function returns a Server; every identity an Identity of make_certificates().
"""

import json
import os
import random
import re
import socket
import subprocess
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from origin import Origin
from payload import payload

TOP = Path(__file__).resolve().parents[2]
BIN = TOP / "build/peers/bin"
HERE = Path(__file__).resolve().parent

MEGABYTE = 1 << 20
SERVERS = ["nginx", "nginx-retry", "caddy", "aioquic", "aioquic-retry"]  # for start_server()


def require(*names):
    """Has tools/peers make these peers. Skips the test when the mirror lacks one, and only then: any fault fails it."""
    made = subprocess.run([TOP / "tools/peers", *names], stderr=subprocess.PIPE, text=True)
    if made.returncode == 0:
        return
    missing = re.findall(r"^peers: (\w+): not to be had from this mirror$", made.stderr, re.MULTILINE)
    faults = re.findall(r"^peers: (\w+): does not work here$", made.stderr, re.MULTILINE)
    if missing and not faults:
        reason = f"NOT TESTED: Debian's mirror lacks {', '.join(missing)}:\n{made.stderr}"
        warnings.warn(reason, stacklevel=2)  # pytest ends with the warnings, but with reasons to skip only when asked
        pytest.skip(reason)
    pytest.fail(f"tools/peers {' '.join(names)}:\n{made.stderr}")


# Certificates


class Identity:
    """Paths of a certificate and its key."""

    def __init__(self, directory, name):
        self.cert = directory / f"{name}.pem"
        self.key = directory / f"{name}.key"


def make_certificates(directory):
    """ca, server (server.test), client (client.test) and what must be refused: stranger (client of another name),
    foreign and foreign_server (right names, another CA)."""
    def certificate(name, subject, issuer, *extensions):
        made = Identity(directory, name)
        signer = ["-CA", issuer.cert, "-CAkey", issuer.key] if issuer else []
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={subject}", "-config", "/dev/stdin", "-keyout", made.key, "-out", made.cert,
             *signer, *(argument for extension in extensions for argument in ("-addext", extension))],
            input="[req]\ndistinguished_name=dn\n[dn]\n", text=True, check=True, stderr=subprocess.PIPE)
        return made

    def leaf(name, subject, issuer, usage):
        return certificate(name, subject, issuer, "basicConstraints=critical,CA:false", f"extendedKeyUsage={usage}",
                           "keyUsage=critical,digitalSignature", f"subjectAltName=DNS:{subject}")

    authority = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign")
    ca = certificate("ca", "test CA", None, *authority)
    other_ca = certificate("other-ca", "another CA", None, *authority)
    return SimpleNamespace(
        ca=ca.cert,
        server=leaf("server", "server.test", ca, "serverAuth"),
        client=leaf("client", "client.test", ca, "clientAuth"),
        stranger=leaf("stranger", "stranger.test", ca, "clientAuth"),
        foreign=leaf("foreign", "client.test", other_ca, "clientAuth"),
        foreign_server=leaf("foreign-server", "server.test", other_ca, "serverAuth"),
    )


# Servers


def free_port():
    """A port that nobody has for TCP or UDP, below those that the kernel gives to connections."""
    while True:
        port = random.randrange(10000, 32768)
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(type=socket.SOCK_STREAM) as tcp:
            try:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def udp_port_bound(port):
    suffix = f":{port:04X}"
    return any(line.split()[1].endswith(suffix)
               for table in ("/proc/net/udp", "/proc/net/udp6") if os.path.exists(table)
               for line in Path(table).read_text().splitlines()[1:])


class Server:
    """A process that serves HTTP/3 on `port` and writes to the file `log`."""

    def __init__(self, arguments, directory, port, environment=None):
        self.port = port
        self.log = directory / "log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(arguments, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(environment or {})})
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, timeout=10):
        end = time.monotonic() + timeout
        while not self.ready():
            if self.process.poll() is not None:
                pytest.fail(f"{self.process.args[0]} ended with {self.process.returncode}:\n{self.log.read_text()}")
            if time.monotonic() > end:
                pytest.fail(f"{self.process.args[0]} is not ready after {timeout} s:\n{self.log.read_text()}")
            time.sleep(0.01)

    def ready(self):
        return udp_port_bound(self.port)

    def stop(self):
        """Ends this process and no other. Returns its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start_nginx_h3(directory, port, identity, ca, upstream, retry=False):
    """nginx that requires a client certificate (400 without, which is its way) and passes requests to `upstream`."""
    require("nginx")
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "nginx.conf"
    configuration.write_text(f"""
daemon off;
master_process off;
pid nginx.pid;
error_log stderr info;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream origin {{ server {upstream}; keepalive 128; }}
    server {{
        listen 127.0.0.1:{port} quic;
        server_name server.test;
        quic_retry {"on" if retry else "off"};
        http3_max_concurrent_streams 256;
        keepalive_requests 1000000;
        client_max_body_size 0;
        ssl_certificate {identity.cert};
        ssl_certificate_key {identity.key};
        ssl_client_certificate {ca};
        ssl_verify_client on;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
""")
    return Server([BIN / "nginx-h3", "-p", directory, "-c", configuration, "-e", "stderr"], directory, port)


def start_caddy_h3(directory, port, identity, ca, upstream):
    """Caddy (quic-go) that requires a client certificate in the handshake and passes requests to `upstream`."""
    require("caddy")
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "Caddyfile"
    configuration.write_text(f"""
{{
    admin off
    auto_https off
    skip_install_trust
    persist_config off
    grace_period 1s
}}
https://server.test:{port} {{
    bind 127.0.0.1
    tls {identity.cert} {identity.key} {{
        client_auth {{
            mode require_and_verify
            trust_pool file {ca}
        }}
    }}
    reverse_proxy {upstream}
}}
""")
    return Server([BIN / "caddy", "run", "--adapter", "caddyfile", "--config", configuration], directory, port,
                  {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)})


def start_aioquic_server(directory, port, identity, ca, client="client.test", retry=False):
    """An origin of its own on aioquic (h3_server.py): requires a client certificate of the name `client`."""
    require("aioquic")
    directory.mkdir(parents=True, exist_ok=True)
    return Server([BIN / "python-aioquic", HERE / "h3_server.py", "--port", str(port), "--cert", identity.cert,
                   "--key", identity.key, "--ca", ca, "--client", client, *(["--retry"] if retry else [])],
                  directory, port)


def start_gtlsserver(directory, port, identity, *options):
    """ngtcp2's example server on GnuTLS: serves the files in directory/htdocs. It asks for a client certificate but
    accepts any, and none."""
    require("gtls")
    (directory / "htdocs").mkdir(parents=True, exist_ok=True)
    return Server([BIN / "gtlsserver", "--quiet", "--verify-client", "--htdocs", directory / "htdocs", *options,
                   "127.0.0.1", str(port), identity.key, identity.cert], directory, port)


def start_server(kind, directory, certificates, origin, identity=None):
    """The one of SERVERS that is called `kind`; all answer as payload.py says, most by asking `origin`."""
    port, identity, retry = free_port(), identity or certificates.server, kind.endswith("-retry")
    if kind.startswith("nginx"):
        return start_nginx_h3(directory, port, identity, certificates.ca, origin.address, retry)
    if kind == "caddy":
        return start_caddy_h3(directory, port, identity, certificates.ca, origin.address)
    return start_aioquic_server(directory, port, identity, certificates.ca, retry=retry)


# Clients


def certificate_options(identity):
    return ["--cert", identity.cert, "--key", identity.key] if identity else []


def curl_h3(port, ca, identity, path, *options, timeout=30):
    """curl, HTTP/3 or nothing, of https://server.test:PORT`path`. Returns the process, output as bytes.

    `path` may have curl's ranges and --parallel be an option: then all share one connection.
    """
    require("curl")
    return subprocess.run(
        [BIN / "curl-h3", "--silent", "--show-error", "--http3-only", "--max-time", str(timeout), "--cacert", ca,
         *certificate_options(identity), "--resolve", f"server.test:{port}:127.0.0.1", *options,
         f"https://server.test:{port}{path}"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout + 5)


def h3_client(port, ca, identity, *paths, method="GET", data=None, headers=(), timeout=30):
    """aioquic (h3_client.py): requests `paths` at once, `data` (a file) being the body of each.

    Returns the process, with the responses as a list of objects in `responses`.
    """
    require("aioquic")
    done = subprocess.run(
        [BIN / "python-aioquic", HERE / "h3_client.py", "--port", str(port), "--name", "server.test", "--ca", ca,
         *certificate_options(identity), "--method", method, "--timeout", str(timeout),
         *(["--data", data] if data else []), *(part for field in headers for part in ("--header", field)), *paths],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout + 5)
    done.responses = [json.loads(line) for line in done.stdout.splitlines()]
    return done


def gtlsclient(port, identity, download, *paths, options=(), timeout=30):
    """ngtcp2's example client on GnuTLS: requests `paths` over one connection and writes the bodies, by their last path
    component, to the directory `download`.

    It does not verify the server's certificate, its exit status is 0 even when the server refuses it (look at the
    files), and the server name it sends is localhost whatever --sni says, for which Caddy refuses it.
    """
    require("gtls")
    download.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [BIN / "gtlsclient", "--quiet", "--no-quic-dump", "--no-http-dump", "--exit-on-all-streams-close",
         "--handshake-timeout=5s", "--timeout=5s", "--download", download,
         *certificate_options(identity), *options, "127.0.0.1", str(port),
         *(f"https://localhost:{port}{path}" for path in paths)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


# Fixtures: a test module has one by naming it, `origin = peers.origin`


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def origin():
    origin = Origin()
    yield origin
    origin.stop()


@pytest.fixture(scope="module")
def megabyte(tmp_path_factory):
    """A file that holds payload(MEGABYTE)."""
    file = tmp_path_factory.mktemp("body") / "megabyte"
    file.write_bytes(payload(MEGABYTE))
    return file
