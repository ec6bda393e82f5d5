"""Certificates with one fault each, for the matrix of what is refused; peers.make_certificates makes the good ones.

Dates that are not now need `openssl ca`, which alone takes them in every release of OpenSSL 3.
"""

import subprocess

from peers import Identity

CONFIGURATION = """
[ca]
default_ca = this
[this]
dir = .
database = {name}.index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = none
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = any_name
[any_name]
[extensions]
basicConstraints = critical,CA:{ca}
keyUsage = critical,{key_usage}
{more}
"""


class Authority:
    """A CA made anew in `directory`, and what it issues."""

    def __init__(self, directory, name="faulty-ca"):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.identity = self.issue(name, name, ca=True)

    def run(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def issue(self, name, subject, usage=None, names=None, start="20200101000000Z", end="20400101000000Z", ca=False,
              issuer=None, key=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
        """An Identity of `subject`; `names` are its subject alternative names ("DNS:a,IP:::1")."""
        made = Identity(self.directory, name)
        more = [f"extendedKeyUsage = {usage}"] if usage else []
        if not ca:
            more.append(f"subjectAltName = {names or 'DNS:' + subject}")
        (self.directory / f"{name}.index").write_text("")
        (self.directory / f"{name}.conf").write_text(CONFIGURATION.format(
            name=name, ca=str(ca).upper(), key_usage="keyCertSign,cRLSign" if ca else "digitalSignature",
            more="\n".join(more)))
        self.run("req", "-new", "-nodes", *key, "-config", f"{name}.conf", "-subj", f"/CN={subject}", "-keyout",
                 f"{name}.key", "-out", f"{name}.csr")
        signer = issuer or getattr(self, "identity", None)
        by = ["-cert", signer.cert, "-keyfile", signer.key] if signer else ["-selfsign", "-keyfile", f"{name}.key"]
        self.run("ca", "-batch", "-notext", "-config", f"{name}.conf", "-extensions", "extensions", *by, "-startdate",
                 start, "-enddate", end, "-in", f"{name}.csr", "-out", f"{name}.pem")
        return made


PAST, FUTURE = {"end": "20210101000000Z"}, {"start": "20390101000000Z"}
