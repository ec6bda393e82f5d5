"""The certificates of a run: an authority, and one for each end that it signed."""

import subprocess

SERVER_NAME, CLIENT_NAME = "server.test", "client.test"
# Some peers connect to the very name that they verify; what that may be here is in the certificate too.
SERVER_NAMES = f"DNS:{SERVER_NAME},DNS:localhost,IP:127.0.0.1,IP:10.77.0.2"


def make(directory):
    """Writes ca, server and client, each .cert, .key and (both in one file, as HAProxy wants it) .pem. Returns what
    the templates call them."""
    directory.mkdir(parents=True, exist_ok=True)

    def certificate(name, *options):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "30", "-subj", f"/CN={name}", "-config", "/dev/stdin", "-keyout",
                        directory / f"{name}.key", "-out", directory / f"{name}.cert", *options],
                       input="[req]\ndistinguished_name=dn\n[dn]\n", text=True, check=True, capture_output=True)

    def leaf(name, names, usage):
        certificate(name, "-CA", directory / "ca.cert", "-CAkey", directory / "ca.key", "-addext",
                    "basicConstraints=critical,CA:false", "-addext", "keyUsage=critical,digitalSignature", "-addext",
                    f"extendedKeyUsage={usage}", "-addext", f"subjectAltName={names}")
        both = [(directory / f"{name}.{part}").read_text() for part in ("cert", "key")]
        (directory / f"{name}.pem").write_text("".join(both))

    certificate("ca", "-addext", "basicConstraints=critical,CA:true", "-addext",
                "keyUsage=critical,keyCertSign,cRLSign")
    leaf("server", SERVER_NAMES, "serverAuth")
    leaf("client", f"DNS:{CLIENT_NAME}", "clientAuth")
    paths = {f"{end}_{part}".upper(): str(directory / f"{end}.{part}")
             for end in ("server", "client") for part in ("cert", "key", "pem")}
    return {"CA": str(directory / "ca.cert"), "SERVER_NAME": SERVER_NAME, "CLIENT_NAME": CLIENT_NAME, **paths}
