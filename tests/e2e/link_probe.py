"""What test_link.py runs at the ends of a link: measures it, and says what it saw as JSON.

  ping ADDRESS COUNT INTERVAL_MS               round trips in milliseconds, null for those without an answer
  receive PORT                                 numbers of the datagrams as they came, until the one that says end
  send ADDRESS PORT SIZE COUNT PER_SECOND      numbered datagrams of SIZE bytes; then the end, again and again
  echo PORT                                    sends datagrams back; ends with its input
  ask ADDRESS PORT COMMAND...                  see ask()
  tcp_receive PORT                             goodput of one connection in Mbit/s, its first third left out
  tcp_send ADDRESS PORT SECONDS
"""

import errno
import json
import select
import socket
import struct
import sys
import time

END = 0xFFFFFFFF
BUFFER = 64 << 20
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
IPV6_MTU_DISCOVER = 23
UDP_SEGMENT = 103
ANSWER_SECONDS = 0.6


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def ping(address, count, interval_ms):
    four = family(address) == socket.AF_INET
    link = socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_ICMP if four else socket.IPPROTO_ICMPV6)
    link.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # the kernel's time: we may have to wait for a core
    sent, took, next_at = {}, [None] * count, time.monotonic()
    while None in took and (len(sent) < count or time.monotonic() < next_at + ANSWER_SECONDS):
        if len(sent) < count and time.monotonic() >= next_at:
            body = struct.pack("!BBHHH", 8 if four else 128, 0, 0, 77, len(sent))
            if four:
                body = body[:2] + struct.pack("!H", ~sum(struct.unpack("!4H", body)) & 0xFFFF) + body[4:]
            sent[len(sent)] = time.time()
            link.sendto(body, (address, 0))
            next_at += interval_ms / 1000
        wait = next_at - time.monotonic() if len(sent) < count else 0.05
        if select.select([link], [], [], max(wait, 0))[0]:
            answer, [(_, _, stamp)], *_ = link.recvmsg(2000, 64)
            seconds, nanoseconds = struct.unpack("qq", stamp)
            kind, _, _, ident, number = struct.unpack("!BBHHH", answer[20:28] if four else answer[:8])
            if kind == (0 if four else 129) and ident == 77 and number in sent:
                took[number] = (seconds + nanoseconds / 1e9 - sent[number]) * 1000
    return took


def udp_socket(port):
    link = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    link.bind(("::", port))
    print("up", flush=True)
    return link


def receive(port):
    link, numbers = udp_socket(port), []
    while True:
        number = struct.unpack("!I", link.recv(2000)[:4])[0]
        if number == END:
            return numbers
        numbers.append(number)


def send(address, port, size, count, per_second):
    link = socket.socket(family(address), socket.SOCK_DGRAM)
    link.connect((address, port))
    rest, start, number = bytes(size - 4), time.monotonic(), 0
    while number < count:
        due = min(count, int((time.monotonic() - start) * per_second) + 1)
        for number in range(number, due):
            link.send(struct.pack("!I", number) + rest)
        number = due
        time.sleep(0.0005)
    for _ in range(20):  # the link may lose some; all others have arrived by then
        time.sleep(0.05)
        try:
            link.send(struct.pack("!I", END))
        except ConnectionRefusedError:  # the receiver has it
            break
    return number


def echo(port):
    link = udp_socket(port)
    while True:
        ready = select.select([link, sys.stdin], [], [])[0]
        if sys.stdin in ready:
            return None
        body, (address, source, *_) = link.recvfrom(2000)
        link.sendto(b"%d " % source + body, (address, source))


def ask(address, port, commands):
    """One socket; for each command one result.

    SIZE: the answer to a datagram of so many bytes of value 0, as [source port seen, [bytes that are not 0]], or null
    if none comes, or "EMSGSIZE"; count:SIZE: how many answers come; gso:SIZE: a send of ten such segments, and the
    number of answers; rebind: waits for a line of input.
    """
    link = socket.socket(family(address), socket.SOCK_DGRAM)
    level, option = (41, IPV6_MTU_DISCOVER) if family(address) == socket.AF_INET6 else (0, IP_MTU_DISCOVER)
    link.setsockopt(level, option, IP_PMTUDISC_DO)
    link.connect((address, port))
    return [one(link, command) for command in commands]


def one(link, command):
    kind, _, size = command.rpartition(":")
    if command == "rebind":
        print("rebind", flush=True)
        sys.stdin.readline()
        return None
    try:
        if kind == "gso":
            link.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, int(size))
            link.send(bytes(10 * int(size)))
            link.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        else:
            link.send(bytes(int(size)))
    except OSError as error:
        return errno.errorcode[error.errno]
    answers = []
    while select.select([link], [], [], 0.3)[0]:
        try:
            port, _, body = link.recv(2000).partition(b" ")
        except OSError as error:
            return errno.errorcode[error.errno]
        answers.append([int(port), [byte for byte in body if byte]])
        if not kind:
            break
    return len(answers) if kind else answers[0] if answers else None


def tcp_receive(port):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    print("up", flush=True)
    link, marks, received, block = server.accept()[0], [], 0, bytearray(1 << 20)
    while got := link.recv_into(block):
        received += got
        marks.append((time.monotonic(), received))
    begin = marks[0][0] + (marks[-1][0] - marks[0][0]) / 3
    first = next(mark for mark in marks if mark[0] >= begin)
    return (received - first[1]) * 8 / (marks[-1][0] - first[0]) / 1e6


def tcp_send(address, port, seconds):
    link, block, end = socket.create_connection((address, port)), bytes(1 << 16), time.monotonic() + seconds
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    while time.monotonic() < end:
        link.sendall(block)
    link.close()


def main():
    action, *rest = sys.argv[1:]
    if action == "ask":
        return ask(rest[0], int(rest[1]), rest[2:])
    values = [float(text) if text.replace(".", "", 1).isdigit() and text.count(".") == 1 else
              int(text) if text.isdigit() else text for text in rest]
    return {"ping": ping, "receive": receive, "send": send, "echo": echo, "tcp_receive": tcp_receive,
            "tcp_send": tcp_send}[action](*values)


if __name__ == "__main__":
    print(json.dumps(main()), flush=True)
