"""An HTTP/1.1 server that costs next to nothing and fails as it is told to: the app of the fault table.

What lives here: answers. What this must not know: the mesh. `GET /mode/WHAT` says how it is from now on: `ok`, `503`,
`slow` (a second late), `reset` (each connection is reset when a request has come). Everything else gets the name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import struct

LATE = 1.0


class App(asyncio.Protocol):
    mode = "ok"
    body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while b"\r\n\r\n" in self.waiting:
            head, _, self.waiting = self.waiting.partition(b"\r\n\r\n")
            self.serve(head.split(b" ", 2)[1])

    def serve(self, target: bytes) -> None:
        if target.startswith(b"/mode/"):
            App.mode = target.removeprefix(b"/mode/").decode()
            self.answer(b"200 OK")
        elif App.mode == "reset":
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                               struct.pack("ii", 1, 0))
            self.transport.abort()
        elif App.mode == "slow":
            asyncio.get_running_loop().call_later(LATE, self.answer, b"200 OK")
        else:
            self.answer(b"503 Service Unavailable" if App.mode == "503" else b"200 OK")

    def answer(self, status: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(self.body), self.body))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="app")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-fd", type=int, required=True)
    args = parser.parse_args()
    App.body = args.name.encode()
    server = await asyncio.get_running_loop().create_server(App, "127.0.0.1", args.port)
    port = server.sockets[0].getsockname()[1]
    os.write(args.ready_fd, json.dumps({"event": "ready", "port": port}).encode() + b"\n")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
