"""Bodies that each end of a test can make and check for itself."""

import hashlib
import json


def payload(length):
    """The body of `length` bytes: pseudo-random, and another one for every length."""
    return hashlib.shake_256(b"%d" % length).digest(length)


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def receipt(method, body):
    """What an origin answers to a request with a body."""
    return json.dumps({"method": method, "length": len(body), "sha256": sha256(body)}).encode()


def response_to(method, path, body):
    """Status and body of any origin of these tests: /n/LENGTH is payload(LENGTH), /echo is the receipt."""
    if path.startswith("/n/") and method in ("GET", "HEAD"):
        return 200, payload(int(path[3:]))
    if path == "/echo":
        return 200, receipt(method, body)
    return 404, b"not here\n"
