"""HTTP/1.1 of the soak: an app on the standard library's server, and a caller on its client.

What lives here: `python soak_http.py --name N --ready-fd FD [--port P]` serves: GET /SIZE gives SIZE bytes,
/chunked/SIZE the same in chunks, POST gives back the SHA-256 of what it got (Content-Length or chunked). What this must
not know: the mesh.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import http.server
import json
import os
import random
import socket
import socketserver
import struct
from typing import Any

CHUNK = 8192


def pattern(size: int) -> bytes:
    block = bytes(range(251)) * 64
    return (block * (size // len(block) + 1))[:size]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        chunked = self.path.startswith("/chunked/")
        body = pattern(int(self.path.rpartition("/")[2]))
        self.send_response(200)
        if not chunked:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), CHUNK):
            part = body[at:at + CHUNK]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        digest = hashlib.sha256()
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                digest.update(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            digest.update(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        body = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is the caller's business."""


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Caller:
    """A keep-alive connection, opened anew after an end. Each method returns "" or what was wrong with the answer."""

    def __init__(self, target: str, timeout: float) -> None:
        self.target = target
        self.timeout = timeout
        self.connection = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.target, timeout=self.timeout)

    def close(self) -> None:
        self.connection.close()

    def finish(self, body: bytes | None = None, size: int = -1) -> str:
        response = self.connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise ConnectionError(f"{response.status} {response.getheader('mesh-reason') or data[:60]!r}")
        if size >= 0:
            return "" if data == pattern(size) else f"{len(data)} bytes instead of {size}, or other ones"
        return "" if body is None or data == hashlib.sha256(body).hexdigest().encode() else "the digest differs"

    def get(self, rng: random.Random) -> str:
        size = rng.choice((0, 100, 3000, 70_000))
        self.connection.request("GET", f"/{rng.choice(('', 'chunked/'))}{size}")
        return self.finish(size=size)

    def head(self, rng: random.Random) -> str:
        self.connection.request("HEAD", "/1000")
        return self.finish()

    def post(self, rng: random.Random) -> str:
        body = rng.randbytes(rng.choice((0, 200, 5000, 200_000)))
        if rng.random() < 0.5:
            self.connection.request("POST", "/", body)
        else:
            parts = iter([body[at:at + CHUNK] for at in range(0, len(body), CHUNK)])
            self.connection.request("POST", "/", parts, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        return self.finish(body)

    def give_up(self, rng: random.Random) -> None:
        """Ask for much, take little, reset."""
        self.connection.request("GET", "/1000000")
        response = self.connection.getresponse()
        response.read(rng.randrange(1, 100_000))
        sock = self.connection.sock
        if sock is not None:
            reset(sock)
        response.close()
        self.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="web")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-fd", type=int, required=True)
    args = parser.parse_args()
    server = Server(("127.0.0.1", args.port), Handler)
    with os.fdopen(args.ready_fd, "w") as ready:
        ready.write(json.dumps({"port": server.server_address[1]}) + "\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
