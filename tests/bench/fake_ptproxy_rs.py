#!/usr/bin/python3
"""Stands in for the original ptproxy where a test wants the bench to run one: takes its command line and files, and
forwards bytes over TCP. Its UDP port is bound too, for that is what the bench waits for."""

import asyncio
import json
import socket
import sys


async def pump(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    config = json.load(open(sys.argv[sys.argv.index("-c") + 1]))
    general = config["general"]
    for key in ("ca", "cert", "key"):
        open(config["tls"][key]).close()
    if general["mode"] == "server":
        listen, to = ("0.0.0.0", general["quic_port"]), general["http_connect_address"].rsplit(":", 1)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(listen)
    else:
        listen, to = general["http_bind_address"].rsplit(":", 1), (general["peer_hostname"], general["quic_port"])

    async def serve(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(*to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(serve, *listen)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print("ptproxy 0.0.1 (fake)")
    else:
        asyncio.run(main())
