"""Who gets a session and who does not: real certificates of every kind, on both ends.

Where one is refused, nothing is forwarded and both logs say why; the end that refuses names the fault, the other one at
least the TLS alert.
"""

import subprocess

import harness
import pytest
from harness import wait_for
from identities import FUTURE, PAST, Authority
from payload import payload
from peers import Identity


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"), "other-ca")


@pytest.fixture
def meet(start_pair, authority):
    """A pair that trusts `authority`, with these identities; `names`: what the client and the server expect."""
    def start(client=None, server=None, names=("server.test", "client.test"), **options):
        identities = {
            "ca": authority.identity.cert,
            "client": client or authority.issue("client", "client.test", "clientAuth"),
            "server": server or authority.issue("server", "server.test", "serverAuth"),
        }
        return start_pair(identities=identities, client={"general": {"peer_hostname": names[0]}},
                          server={"general": {"peer_hostname": names[1]}}, **options)
    return start


def chain(leaf, *issuers):
    """An identity whose file has the certificates above it, too."""
    whole = Identity(leaf.cert.parent, f"{leaf.cert.stem}-chain")
    whole.cert.write_text("".join(identity.cert.read_text() for identity in (leaf, *issuers)))
    whole.key.write_text(leaf.key.read_text())
    return whole


# Accepted

RSA = ("-newkey", "rsa:2048")
P384 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1")


def works(pair):
    assert pair.request("GET", "/n/1000").body == payload(1000)
    return True


@pytest.mark.parametrize("key", [RSA, P384], ids=["RSA", "P-384"])
def test_kinds_of_keys(meet, authority, key):
    assert works(meet(authority.issue("client", "client.test", "clientAuth", key=key),
                      authority.issue("server", "server.test", "serverAuth", key=key)))


@pytest.mark.parametrize("form, options", [("SEC1", ["ec"]), ("PKCS#1", ["rsa", "-traditional"])])
def test_forms_of_keys(meet, authority, form, options):
    client = authority.issue("client", "client.test", "clientAuth", **({"key": RSA} if form == "PKCS#1" else {}))
    done = subprocess.run(["openssl", *options, "-in", client.key], capture_output=True, text=True, check=True)
    assert "BEGIN PRIVATE KEY" not in done.stdout
    client.key.write_text(done.stdout)
    assert works(meet(client))


def test_intermediate_authority(meet, authority):
    middle = authority.issue("middle", "middle", ca=True, issuer=authority.identity)
    client = chain(authority.issue("client", "client.test", "clientAuth", issuer=middle), middle)
    server = chain(authority.issue("server", "server.test", "serverAuth", issuer=middle), middle)
    assert works(meet(client, server))


@pytest.mark.parametrize("name, san", [("127.0.0.1", "IP:127.0.0.1"), ("::1", "IP:::1"), ("link", "DNS:link"),
                                       ("a.b.test", "DNS:other.test,DNS:a.b.test"), ("SERVER.test", "DNS:server.TEST"),
                                       ("a.test", "DNS:*.test")])
def test_names(meet, authority, name, san):
    """IP literals, names of one label, several names, letters of either case, wildcards."""
    server = authority.issue("server", "server", "serverAuth", names=san)
    assert works(meet(server=server, names=(name, "client.test")))


def test_any_of_several_names(meet):
    assert works(meet(names=(["other.test", "server.test"], ["other.test", "client.test"])))


# Refused


def refused(pair, script, end, why):
    """`end` says `why`; both say that it failed."""
    before = len(script.requests)
    ends = {"client": pair.client, "server": pair.server}
    ends[end].wait_log(f"(WARN|ERROR).*failed.*({why})", timeout=10)
    for other_end in ends.values():
        other_end.wait_log(r"(WARN|ERROR).*failed.*((?i:alert|certificate|name|signed))", timeout=10)
    assert pair.request("GET", "/n/1").status in (502, 503)
    assert not any("/n/1" == request.target for request in script.requests[before:])
    assert not pair.server.connections() and not pair.client.connections()
    return True


CA_FAULT = "not signed by a certificate authority|unknown CA|self-signed"
FAULTS = {
    "expired": (dict(PAST), "expired"),
    "not yet valid": (dict(FUTURE), "not valid yet"),
    "other usage": ({"usage": "codeSigning"}, "extended key usage"),
    "no usage": ({"usage": None}, "extended key usage"),
    "other name": ({"names": "DNS:stranger.test"}, "host name.*stranger.test"),
    "parent's name": ({"names": "DNS:test"}, "host name"),
    "sub-domain's name": ({"names": "DNS:a.client.test,DNS:a.server.test"}, "host name"),
    "wildcard above": ({"names": "DNS:*.client.test,DNS:*.server.test"}, "host name"),
    "name within a name": ({"names": "DNS:client.test.example,DNS:server.test.example"}, "host name"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("bad, good", [("client", "server"), ("server", "client")])
def test_refused(meet, authority, script, bad, good, fault):
    what, why = FAULTS[fault]
    identity = authority.issue(f"bad-{bad}", f"{bad}.test", **{"usage": f"{bad}Auth", **what})
    pair = meet(**{bad: identity}, session=False)
    assert refused(pair, script, good, why)


@pytest.mark.parametrize("bad, good", [("client", "server"), ("server", "client")])
def test_the_other_end_s_usage_is_refused(meet, authority, script, bad, good):
    identity = authority.issue(f"bad-{bad}", f"{bad}.test", f"{good}Auth")
    assert refused(meet(**{bad: identity}, session=False), script, good, "extended key usage")


@pytest.mark.parametrize("bad, good", [("client", "server"), ("server", "client")])
def test_another_authority_is_refused(meet, other, script, bad, good):
    identity = other.issue(bad, f"{bad}.test", f"{bad}Auth")
    assert refused(meet(**{bad: identity}, session=False), script, good, CA_FAULT)


@pytest.mark.parametrize("bad, good", [("client", "server"), ("server", "client")])
def test_self_signed_is_refused(meet, other, script, bad, good):
    assert refused(meet(**{bad: other.identity}, session=False), script, good, CA_FAULT)


@pytest.mark.parametrize("bad, good", [("client", "server"), ("server", "client")])
def test_missing_intermediate_is_refused(meet, authority, script, bad, good):
    middle = authority.issue("middle", "middle", ca=True, issuer=authority.identity)
    identity = authority.issue(f"short-{bad}", f"{bad}.test", f"{bad}Auth", issuer=middle)
    assert refused(meet(**{bad: identity}, session=False), script, good, CA_FAULT)


@pytest.mark.parametrize("bad, good", [("client", "server"), ("server", "client")])
def test_a_leaf_is_no_authority(meet, authority, script, bad, good):
    leaf = authority.issue("leaf", "leaf.test", "serverAuth,clientAuth")
    identity = chain(authority.issue(f"false-{bad}", f"{bad}.test", f"{bad}Auth", issuer=leaf), leaf)
    assert refused(meet(**{bad: identity}, session=False), script, good, "certificate|CA")


def test_skip_verify(meet, other):
    """Accepts anybody on both ends, and warns."""
    pair = meet(other.issue("client", "a", "clientAuth"), other.issue("server", "b", "serverAuth"),
                both={"tls": {"skip_verify": True}})
    assert works(pair)
    for end in (pair.client, pair.server):
        end.wait_log("WARN.*skip_verify")


# Renewal while it runs


def test_renewed_certificate(meet, authority):
    """SIGHUP: what is in flight goes on, new sessions use the new files; a broken file changes nothing."""
    client = authority.issue("renewed", "client.test", "clientAuth")
    pair = meet(client)
    client.cert.write_text("nonsense\n")
    pair.client.signal(harness.signal.SIGHUP)
    pair.client.wait_log("stay as they were")
    assert works(pair)
    authority.issue("renewed", "client.test", "clientAuth")
    pair.client.signal(harness.signal.SIGHUP)
    pair.client.wait_log("were read again")
    assert works(pair)
    assert len(pair.client.connections()) == 1
    pair.server.stop()
    pair.start_server()
    wait_for(lambda: len(pair.client.connections()) == 2, what="the second session")
    assert works(pair)
