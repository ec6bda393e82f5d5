#!/usr/bin/python3
"""sink.py PATH: takes request bodies on a UNIX socket, counts their bytes as they come, and tells at GET /count."""

import asyncio
import sys


class Sink:
    def __init__(self):
        self.bytes = 0

    async def body(self, reader, head):
        """Content-Length or, of a chunked body, all until its end; what frames the chunks counts too, as nothing."""
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        fields = {name.lower(): value for name, value in fields.items()}
        if fields.get(b"transfer-encoding") == b"chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await self.take(reader, size)
                await reader.readexactly(2)
        else:
            await self.take(reader, int(fields.get(b"content-length", 0)))

    async def take(self, reader, size):
        while size > 0:
            piece = await reader.read(min(size, 1 << 18))
            if not piece:
                raise EOFError
            self.bytes += len(piece)
            size -= len(piece)

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await self.body(reader, head)
            text = str(self.bytes).encode() if head.startswith(b"GET /count ") else b""
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            await writer.drain()
        except (EOFError, ConnectionError):  # a probe that has measured enough goes away
            pass
        finally:
            writer.close()


async def main():
    server = await asyncio.start_unix_server(Sink().serve, sys.argv[1], limit=1 << 20)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
