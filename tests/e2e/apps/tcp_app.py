"""A TCP server that checks what it gets: the app behind a sidecar in the end-to-end tests of opaque bytes.

What lives here: one line of JSON says what a connection wants, the rest is payload until the half-close. What this must
not know: the mesh.

    {"do": "swap", "reply": N}   reads to the end, then answers one JSON line (bytes, sha256, name) and `pattern(N)`
    {"do": "duplex", "reply": N} sends `pattern(N)` while it reads, then, at the end of input, the JSON line
    {"do": "echo"}               sends back what it gets
    {"do": "hold"}               reads and says nothing until the caller goes; `{"do": "stats"}` counts those present
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os

held = 0
_CHUNK = 65_536


def pattern(size: int) -> bytes:
    """`size` bytes that don't repeat at any power of two."""
    block = bytes(range(251)) * 261
    return (block * (size // len(block) + 1))[:size]


async def serve(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global held
    try:
        want = json.loads(await reader.readline() or b"{}")
        match want.get("do"):
            case "stats":
                writer.write(json.dumps({"held": held}).encode() + b"\n")
            case "echo":
                while data := await reader.read(_CHUNK):
                    writer.write(data)
                    await writer.drain()
            case "hold":
                held += 1
                try:
                    writer.write(b"holding\n")
                    while await reader.read(_CHUNK):
                        pass
                finally:
                    held -= 1
            case "swap":
                report = await read_all(name, reader)
                writer.write(report + pattern(want["reply"]))
            case "duplex":
                reading = asyncio.ensure_future(read_all(name, reader))
                data = pattern(want["reply"])
                for start in range(0, len(data), _CHUNK):
                    writer.write(data[start:start + _CHUNK])
                    await writer.drain()
                writer.write(await reading)
        await writer.drain()
    except (OSError, ValueError):
        pass
    finally:
        writer.close()


async def read_all(name: str, reader: asyncio.StreamReader) -> bytes:
    digest, size = hashlib.sha256(), 0
    while data := await reader.read(_CHUNK):
        digest.update(data)
        size += len(data)
    return json.dumps({"bytes": size, "sha256": digest.hexdigest(), "name": name}).encode() + b"\n"


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="app")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-fd", type=int, required=True)
    args = parser.parse_args()
    server = await asyncio.start_server(lambda reader, writer: serve(args.name, reader, writer), "127.0.0.1", args.port)
    with os.fdopen(args.ready_fd, "w") as ready:
        ready.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
