"""What a ptproxy in client mode makes of a server that breaks HTTP/3: h3_server_cases.py row by row."""

import json
import queue
import subprocess
import threading

import h3_server_cases
import http1
import peers
import pytest
from h3_server_cases import Bad, Cut, Lost
from harness import SLOW, wait_for
from http_case import CUT, normal
from http_case_run import read_all

CASES_MIN = 40
PATIENCE = 5 * SLOW
SESSION_SECONDS = 20 * SLOW


@pytest.fixture(scope="module")
def said(pair, identities):
    """A queue of what the client end does to the server."""
    peers.require("aioquic")
    process = subprocess.Popen(
        [peers.BIN / "python-aioquic", peers.HERE / "h3_raw_server.py", "--port", str(pair.quic_port),
         "--cert", identities.server.cert, "--key", identities.server.key], stdout=subprocess.PIPE, text=True)
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(json.loads(line)) for line in process.stdout], daemon=True).start()
    try:
        pair.start_client()
        pair.wait_session(SESSION_SECONDS)
        yield lines
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def pair(start_shared_pair):
    return start_shared_pair("127.0.0.1:1", session=None)


def code_of(what, said):
    """The code of the next `what` that the client does; None when there is none in time."""
    try:
        while (line := said.get(timeout=PATIENCE))[0] != what:
            pass
        return line[1]
    except queue.Empty:
        return None


def exchange(pair, steps, outcome):
    """What the caller gets, as messages, and how its connection ends. A GET, which is repeated when a session
    died in silence: not when the answer to it was the reason."""
    with http1.Client(pair.http, PATIENCE) as client:
        client.send_request("GET", "/steps/" + json.dumps(steps).encode().hex())
        if isinstance(outcome, Cut):
            data, end = read_all(client.socket, None)
            return normal(data, proxied=True), end
        response = client.response()
        return [*(text_of(interim) for interim in response.interim), text_of(response)], "open"


def text_of(message):
    """A message as normal() has it."""
    head = "".join(f"{name}: {value}\r\n" for name, value in message.fields)
    body = message.body
    if message.framing == "chunked":
        trailers = "".join(f"{name}: {value}\r\n" for name, value in message.trailers)
        body = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers.encode("latin-1"))
    return normal(f"{message.start}\r\n{head}\r\n".encode("latin-1") + body, proxied=True)[0]


def problems_of(outcome, got, end):
    if isinstance(outcome, Cut):
        whole = normal(outcome.content)[0]
        cut = end != "open" and got[-1].endswith(CUT) and whole.startswith(got[-1][:-len(CUT)])
        return [] if cut else ["not cut"]
    if content := getattr(outcome, "content", None):
        wanted = normal(content)
        return [] if got == wanted else [f"wanted {wanted}"]
    bad = got[-1].startswith(b"HTTP/1.1 502 Bad Gateway\r\n") and b"\r\nServer: ptproxy client\r\n" in got[-1]
    return [] if bad else ["no answer 502"]


def code_problems(outcome, said):
    wanted = getattr(outcome, "code", 0)
    what = "stop" if isinstance(outcome, Bad) else "closed"
    if wanted and (code := code_of(what, said)) != wanted:
        return [f"{what} with {code} instead of {wanted}"]
    return []


def test_there_are_enough():
    assert len(h3_server_cases.CASES) >= CASES_MIN


@pytest.mark.parametrize("name, steps, outcome", h3_server_cases.CASES, ids=[row[0] for row in h3_server_cases.CASES])
def test_case(name, steps, outcome, pair, said):
    while not said.empty():
        said.get()
    sessions = len(pair.client.connections())
    got, end = exchange(pair, steps, outcome)
    problems = problems_of(outcome, got, end) + code_problems(outcome, said)
    assert not problems, f"{name}: {problems}, got {got}, {end}"
    wait_for(pair.has_session, SESSION_SECONDS, "the session")
    assert pair.request("GET", "/next").body == b"ok"
    made = len(pair.client.connections()) - sessions
    assert made == (isinstance(outcome, Lost | Cut) and outcome.code != 0), f"{made} sessions were made"
