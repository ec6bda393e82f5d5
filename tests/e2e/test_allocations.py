"""Memory is taken at the start: once both ends have seen a kind of request, the next ones call malloc no more, neither
in our code nor in the libraries."""

import os
import subprocess
from pathlib import Path

import pytest
from harness import SANITIZED
from payload import payload

ROUNDS = 60


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """The library that counts, made for this machine."""
    library = tmp_path_factory.mktemp("counter") / "count_malloc.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", library,
                    Path(__file__).with_name("count_malloc.c")], check=True)
    return library


def count(daemon):
    return int.from_bytes((daemon.file.parent / "malloc").read_bytes(), "little")


def some(pair, rounds):
    body = payload(20000)
    for _ in range(rounds):
        assert pair.request("GET", "/n/1000").body == payload(1000)
        assert pair.request("GET", "/n/300000").body == payload(300000)
        assert pair.request("POST", "/sink", body).status == 200


@pytest.mark.skipif(SANITIZED, reason="the sanitizer has a malloc of its own")
def test_no_allocation_for_a_request(start_pair, counter):
    # Each end in its own directory: the path is relative to it.
    pair = start_pair(wrapper=["env", f"LD_PRELOAD={counter}", "MALLOC_COUNT_FILE=malloc"])
    some(pair, ROUNDS)
    before = [count(pair.client), count(pair.server)]
    assert min(before) > 100  # it does count: configuration, certificates, the handshake
    some(pair, ROUNDS)
    more = [count(pair.client) - before[0], count(pair.server) - before[1]]
    assert max(more) <= 3, more  # a slab for the libraries may be due at any time, but not for each request
