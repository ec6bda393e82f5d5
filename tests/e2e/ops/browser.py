"""Headless Chromium, told what to do through a pipe (the DevTools protocol: JSON, each message ended by a NUL)."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

PROGRAMS = ["chromium-headless-shell", "chromium"]
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
           "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
           "--force-color-profile=srgb", "--remote-debugging-pipe", "about:blank"]


def program():
    """Its path, None: there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One process with one page. `requests` are the addresses that the page has asked for, `faults` what it threw or
    wrote to its console as an error."""

    def __init__(self, directory, width=1000, height=760):
        to_browser, self.out = os.pipe()
        self.incoming, from_browser = os.pipe()

        def pipes():  # to 3 and 4, by way of numbers that are neither
            far = [os.dup2(fd, 100 + i) for i, fd in enumerate((to_browser, from_browser))]
            for i, fd in enumerate(far):
                os.dup2(fd, 3 + i)
        with open(directory / "browser.log", "wb") as log:
            self.process = subprocess.Popen(
                [program(), f"--user-data-dir={directory}/profile", *OPTIONS], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, preexec_fn=pipes, close_fds=False, start_new_session=True,
                env={**os.environ, "HOME": str(directory)})
        for fd in to_browser, from_browser:
            os.close(fd)
        self.number = 0
        self.pending = b""
        self.requests, self.faults, self.loads = [], [], 0
        page = next(target for target in self.call("Target.getTargets")["targetInfos"] if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in "Page", "Network", "Runtime":
            self.tell(f"{domain}.enable")
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def close(self):
        for fd in self.out, self.incoming:
            os.close(fd)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own, as it has many processes
        self.process.wait()

    def receive(self):
        while b"\0" not in self.pending:
            piece = os.read(self.incoming, 1 << 16)
            assert piece, "the browser has ended"
            self.pending += piece
        message, _, self.pending = self.pending.partition(b"\0")
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            got = self.receive()
            if got.get("id") == self.number:
                assert "error" not in got, got
                return got["result"]
            self.event(got.get("method"), got.get("params", {}))

    def event(self, method, told):
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown" or method == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.faults.append(told)
        self.loads += method == "Page.loadEventFired"

    def tell(self, method, **parameters):
        return self.call(method, self.session, **parameters)

    def open(self, address):
        loads = self.loads
        assert "errorText" not in self.tell("Page.navigate", url=address)
        while self.loads == loads:
            told = self.receive()
            self.event(told["method"], told["params"])

    def value(self, expression):
        """What a JavaScript expression is in the page."""
        got = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def wait(self, expression, timeout=60):
        end = time.monotonic() + timeout
        while not self.value(expression):
            assert time.monotonic() < end, f"not within {timeout} s: {expression}"
            time.sleep(0.1)

    def appearance(self, scheme):
        """`scheme` is light or dark."""
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, file):
        file.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"]))
