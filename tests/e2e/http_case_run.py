"""Runs the cases of http_cases/ (http_case.py says what they are) through a pair: an origin that does what the current
case wants, a client that does its part, and the comparison of what both have seen."""

import difflib
import re
import socket
import threading
import time

from harness import SLOW
from http_case import CUT, Incomplete, Malformed, Own, normal, take_message

PATIENCE = 5 * SLOW
PIECE_SECONDS = 0.0005  # between segments, so that they are not received as one
CANARY = b"GET /canary/%d HTTP/1.1\r\nHost: canary\r\n\r\n"
REASONS = {400: "Bad Request", 405: "Method Not Allowed", 408: "Request Timeout", 413: "Content Too Large",
           414: "URI Too Long", 417: "Expectation Failed", 431: "Request Header Fields Too Large",
           501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
           505: "HTTP Version Not Supported"}


def act(connected, steps):
    """Does what a client's or an origin's steps say; False when the connection is over then."""
    size = None
    for step in steps:
        if isinstance(step, bytes):
            for at in range(0, len(step), size or len(step)):
                connected.sendall(step[at:at + (size or len(step))])
                if size:
                    time.sleep(PIECE_SECONDS)
        elif step[0] == "pause":
            time.sleep(step[1] / 1000)
        elif step[0] == "pieces":
            size = step[1]
        elif step[0] == "shutdown":
            connected.shutdown(socket.SHUT_WR)
        elif step[0] == "reset":
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        elif step[0] == "close":
            return False
        else:
            raise AssertionError(f"no such act: {step}")
    return True


class Run:
    """What the origin is to do, and has seen, during one case."""

    def __init__(self, exchanges=(), partial=False):
        self.exchanges = list(exchanges)
        self.partial = partial
        self.received = []
        self.surprises = []
        self.under_way = 0


class CaseOrigin:
    """Listens on 127.0.0.1. Every request belongs to the case that runs, or is the canary of one. `marked`: it has come
    through a ptproxy in client mode."""

    def __init__(self, marked=True):
        self.marked = marked
        self.changed = threading.Condition()
        self.run = Run()
        self.canaries = {}  # number of a case: how often its canary came
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connected, _ = self.listener.accept()
            except OSError:
                return
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.add(connected)
            threading.Thread(target=self.serve, args=(connected,), daemon=True).start()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connected in list(self.open):
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(self, connected):
        data = b""
        try:
            while data is not None:
                piece = connected.recv(1 << 16)
                if not piece:
                    break
                data = self.take(connected, data + piece)
        except OSError:
            pass  # the proxy has gone, which is no surprise where requests are cut
        finally:
            self.open.discard(connected)
            connected.close()

    def take(self, connected, data):
        """Serves what is complete in `data`; returns the rest, or None when the connection is over."""
        while data:
            head, separator, _ = data.partition(b"\r\n\r\n")
            if not separator:
                return data
            canary = re.match(rb"GET /canary/(\d+) ", data)
            if canary:
                data = data[len(head) + 4:]
                self.serve_canary(connected, int(canary[1]))
                continue
            with self.changed:
                run = self.run
                exchange = run.exchanges[0] if run.exchanges else None
            try:
                message, rest = take_message(data, proxied=self.marked)
            except Malformed as malformed:
                return self.surprise(run, f"{malformed}: {data!r}")
            except Incomplete as incomplete:
                if exchange is None and not run.partial:
                    return self.surprise(run, repr(data))
                if exchange is None or not exchange.early:
                    return data
                message, rest = incomplete.text, None
            if exchange is None:
                return self.surprise(run, repr(message))
            if not self.serve_exchange(connected, run, message):
                return None
            data = rest if rest is not None else self.read_rest(connected, data)
        return data

    def read_rest(self, connected, data):
        """Reads the body of a request that was answered early; returns what is behind it, None at the end."""
        while piece := connected.recv(1 << 16):
            data += piece
            try:
                return take_message(data, proxied=self.marked)[1]
            except Incomplete:
                pass
        return None

    def surprise(self, run, text):
        with self.changed:
            run.surprises.append(text)

    def serve_canary(self, connected, number):
        with self.changed:
            self.canaries[number] = self.canaries.get(number, 0) + 1
        body = b"canary %d" % number
        connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def serve_exchange(self, connected, run, message):
        with self.changed:
            exchange = run.exchanges.pop(0)
            run.received.append(message)
            run.under_way += 1
        try:
            steps = exchange.steps
            dropped = ("dropped", 0) in steps
            goes_on = act(connected, [step for step in steps if step != ("dropped", 0)])
            if dropped and not self.ended(connected):
                self.surprise(run, "the connection to the origin was not closed")
            return goes_on and not dropped
        finally:
            with self.changed:
                run.under_way -= 1
                self.changed.notify_all()

    @staticmethod
    def ended(connected):
        """Waits until the proxy has closed; what still came of the request does not matter."""
        connected.settimeout(PATIENCE)
        try:
            while connected.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def begin(self, case):
        with self.changed:
            self.run = Run(case.exchanges, case.partial)
        return self.run

    def finish(self, run):
        with self.changed:
            self.changed.wait_for(lambda: not run.exchanges and run.under_way == 0, PATIENCE)
            self.run = Run()


# The client


def send(connected, case, canary):
    """The case's bytes and the canary in one; returns False when the client has ended the connection."""
    steps = list(case.sends)
    if canary and isinstance(steps[-1], bytes):
        steps[-1] += canary
    elif canary:
        steps.append(canary)
    try:
        return act(connected, steps)
    except (BrokenPipeError, ConnectionResetError):
        return True  # refused before all was sent; the answer is to be read


def read_all(connected, last):
    """What comes until `last` has come or the connection ends; and how it ended: open, closed or reset."""
    data = b""
    while not (last and data.endswith(last)):
        try:
            piece = connected.recv(1 << 16)
        except ConnectionResetError:
            return data, "reset"
        except TimeoutError:
            return data, "open" if not last else "open, without an answer to the canary"
        if not piece:
            return data, "closed"
        data += piece
    return data, "open"


def still_open(connected):
    connected.settimeout(0)
    try:
        connected.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def converse(case, address, canary, last):
    with socket.create_connection(address, PATIENCE) as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A socket that somebody still reads from is not closed by close().
        leaves = any(step[0] in ("close", "reset") for step in case.sends)
        receiver = None if leaves else Receiver(connected, last)
        if not send(connected, case, canary):
            return b"", "left"
        data, end = receiver.result()
        if end == "open" and not still_open(connected):
            end = "closed behind the last answer"
        return data, end


class Receiver(threading.Thread):
    """Reads while the client still sends: it may be answered before it is done."""

    def __init__(self, connected, last):
        super().__init__(daemon=True)
        self.connected, self.last = connected, last
        self.got = b"", "not read"
        self.start()

    def run(self):
        try:
            self.got = read_all(self.connected, self.last)
        except OSError as error:
            self.got = b"", str(error)

    def result(self):
        self.join(2 * PATIENCE)
        return self.got


# The comparison


def methods_of(case):
    """Of the requests that are answered, in order; one that the origin leaves without a byte comes once more."""
    requests = [case.sent()] + [exchange.received for before, exchange in zip(case.exchanges, case.exchanges[1:])
                                if any(isinstance(step, bytes) for step in before.steps)]
    return [request.split(b" ", 1)[0].decode("latin-1") for request in requests]


def own_problem(own, message, closes, head):
    """What is wrong with an answer that ptproxy is to have made; None: nothing."""
    top, _, body = message.partition(b"\r\n\r\n")
    start, *lines = top.decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    text = body.decode()
    wanted = {"Content-Type": "text/plain;charset=UTF-8", "Server": f"ptproxy {own.end}",
              "Content-Length": fields.get("Content-Length") if head else str(len(body))}
    if own.status == 503:
        wanted["Retry-After"] = "1"
    if own.status == 405:
        wanted["Allow"] = fields.get("Allow", "one")
    if closes:
        wanted["Connection"] = "close"
    if start != f"HTTP/1.1 {own.status} {REASONS[own.status]}":
        return f"{start!r} instead of an answer {own.status}"
    if fields != wanted:
        return f"fields of the answer: {fields}"
    if head:
        return "a body in the answer to HEAD" if body else None
    if not re.fullmatch(r"[^\n]+\n", text) or (own.text and text != own.text + "\n"):
        return f"text of the answer: {text!r}"
    return None


def difference(what, wanted, got):
    lines = difflib.unified_diff(wanted.decode("latin-1").replace("\r\n", "\\r\\n\n").split("\n"),
                                 got.decode("latin-1").replace("\r\n", "\\r\\n\n").split("\n"),
                                 "wanted", "got", lineterm="", n=50)
    return f"{what}:\n" + "\n".join(line[:300] for line in lines)


def expected_answers(case, canary_answer):
    methods = methods_of(case)
    until_close = case.end == "closed"
    wanted = []
    for answer in case.answers:
        if isinstance(answer, Own):
            wanted.append(answer)
            methods = methods[1:]
        else:
            messages = normal(answer, methods, until_close=until_close)
            methods = methods[sum(not message.startswith(b"HTTP/1.1 1") for message in messages):]
            wanted += messages
    return wanted + ([canary_answer] if case.canary and case.end == "open" else [])


def compare_answers(case, wanted, data, end):
    try:
        got = normal(data, methods_of(case), proxied=True, until_close=end == "closed")
    except (Malformed, Incomplete) as fault:
        return [f"what the client got cannot be read: {fault}: {data[:2000]!r}"]
    problems = []
    if case.informed:
        got = [message for message in got if not message.startswith(b"HTTP/1.1 1")]
    for index, (want, have) in enumerate(zip(wanted, got, strict=False)):
        if isinstance(want, Own):
            closes = case.end == "closed" and index == len(wanted) - 1
            problem = own_problem(want, have, closes, index == 0 and methods_of(case)[0] == "HEAD")
            problems += [problem] if problem else []
        elif want.endswith(CUT) and have.endswith(CUT):
            if not want.startswith(have[:-len(CUT)]):
                problems.append(difference(f"answer {index + 1}, cut", want, have))
        elif want != have:
            problems.append(difference(f"answer {index + 1}", want, have))
    if len(wanted) != len(got):
        problems.append(f"{len(got)} answers instead of {len(wanted)}: {data[-2000:]!r}")
    return problems


def compare_requests(case, run):
    problems = [f"unexpected at the origin: {text[:2000]}" for text in run.surprises]
    wanted = [exchange.received for exchange in case.exchanges]
    for index, (want, have) in enumerate(zip(wanted, run.received, strict=False)):
        early = case.exchanges[index].early
        want = b"".join(normal(want))
        if not (want.startswith(have) if early else want == have):
            problems.append(difference(f"request {index + 1} at the origin", want, have))
    if len(wanted) != len(run.received):
        problems.append(f"{len(run.received)} requests at the origin instead of {len(wanted)}: {run.received}")
    return problems


def run_case(case, number, pair, origin):
    """What is wrong, as a list of texts."""
    run = origin.begin(case)
    body = b"canary %d" % number
    canary_answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    data, end = converse(case, pair.http, CANARY % number if case.canary else None, body if case.canary else None)
    origin.finish(run)
    problems = compare_requests(case, run)
    if end == "left":
        return problems
    ends = {"open": ["open"], "closed": ["closed"], "cut": ["closed", "reset"]}[case.end]
    if end not in ends:
        problems.append(f"the client's connection is {end} instead of {ends[0]}")
    return problems + compare_answers(case, expected_answers(case, canary_answer), data, end)
