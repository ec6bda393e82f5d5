"""Two network namespaces with a link between them: starts the link emulator, gives both ends addresses, runs commands
in them, and leaves nothing behind.

    with Link("far", seed=7) as link:
        server = link.popen("b", ["nginx", ...])
        link.run("a", ["curl", "http://10.77.0.2/"])
        link.command("down 3000")
        print(link.stats()["ab"]["dropped"])

The namespaces have no names: they belong to the emulator's process and end with it, and it ends with its input. So any
number of links can be up at once, and none survives its Link, not even if that is killed.
"""

import json
import os
import select
import subprocess
import threading
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DEVICE = "link0"
ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}
ADDRESSES_6 = {"a": "fd77::1", "b": "fd77::2"}
NAMESPACE_FDS = {"a": 100, "b": 101}  # of the emulator; see link_tun.h
ANSWER_SECONDS = 10
STOP_SECONDS = 3


class LinkError(Exception):
    pass


def emulator_path():
    """LINK_EMULATOR in the environment, or the released build."""
    return Path(os.environ.get("LINK_EMULATOR", TOP / "build/release/link-emulator"))


def enter(pid, side):
    """The beginning of a command that runs at an end of the link whose emulator has this pid."""
    return ["nsenter", f"--net=/proc/{pid}/fd/{NAMESPACE_FDS[side]}", "--"]


class Link:
    """`settings` are words as the emulator's `set` takes them, on top of the profile; `mtu` is that of the devices."""

    def __init__(self, profile="none", settings="", seed=1, mtu=1500, emulator=None, options=()):
        self.processes = []
        self.lock = threading.Lock()
        command = [emulator or emulator_path(), "--profile", profile, "--set", settings, "--seed", str(seed),
                   "--mtu", str(mtu), *options]
        # A session of its own: Ctrl-C is for us, and the emulator must be there while we clean up.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, bufsize=1, start_new_session=True)
        try:
            self.ready = json.loads(self.answer())
            self.pid = self.ready["pid"]
            for side in "ab":
                self.configure(side)
            # What the kernel sent when the devices came up is no packet of the user's.
            self.command("reset")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def configure(self, side):
        batch = [
            "link set dev lo up",
            f"link set dev {DEVICE} addrgenmode none",  # no link-local address, so no traffic of the kernel's own
            f"link set dev {DEVICE} up",
            f"addr add {ADDRESSES[side]}/24 dev {DEVICE}",
            f"-6 addr add {ADDRESSES_6[side]}/64 dev {DEVICE} nodad",
            f"route add default dev {DEVICE}",
            f"-6 route add default dev {DEVICE}",
        ]
        for line in batch:
            done = self.run(side, ["ip", *line.split()], capture_output=True, text=True)
            if done.returncode != 0:
                raise LinkError(f"ip {line}: {done.stderr.strip()}")

    def answer(self):
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(self.process.stdout, select.POLLIN)
        line = self.process.stdout.readline() if poll.poll(ANSWER_SECONDS * 1000) else ""
        if not line:
            self.process.kill()
            raise LinkError(self.process.stderr.read().strip() or "the emulator does not answer")
        return line.strip()

    def command(self, text):
        """Gives the emulator a command (link-emulator --help); its answer, a line."""
        try:
            with self.lock:
                self.process.stdin.write(text + "\n")
                answer = self.answer()
        except BrokenPipeError as broken:
            raise LinkError("the emulator has ended") from broken
        if answer.startswith("error: "):
            raise LinkError(answer[7:])
        return answer

    def stats(self):
        return json.loads(self.command("stats"))

    def popen(self, side, command, **options):
        process = subprocess.Popen([*enter(self.pid, side), *command], **options)
        self.processes.append(process)
        return process

    def run(self, side, command, **options):
        """As subprocess.run, and the process is ended with the link if we are interrupted."""
        return subprocess.run([*enter(self.pid, side), *command], **options)

    def close(self):
        """Ends what popen() started, kindly first; the emulator kills what is left in its namespaces."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            self.reap(process)
        self.processes = []
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.reap(self.process)
        self.process.stdout.close()
        self.process.stderr.close()

    @staticmethod
    def reap(process):
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
