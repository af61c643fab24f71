"""An HTTP/1.1 server of the standard library: the app behind a sidecar in the end-to-end tests of HTTP/1.1.

What lives here: what each path answers. What this must not know: the mesh.

    /whoami            the instance's name
    /echo              the request's body back; its method, target and fields as JSON in `x-request`
    /status/NNN        that status, and how often the path was asked for so far
    /chunks/N          N chunks of 1000 octets, then a trailer field `x-count`
    /until-close       a body that only the end of the connection ends
    /early             103 Early Hints before the answer
    /pause/SECONDS     the name, later
    /alone/SECONDS     as /pause, by a handler that does one thing at a time: 500 if it is called while it works
    /queue/SECONDS     as /pause, one after the other; how many were before it in `x-before`
    /drop              the connection closes without an answer
    /once              the answer says `Connection: close`
    /idle/SECONDS      the name; then the connection is closed after that many idle seconds, without a word
    /socket            WebSocket handshake, then every octet back
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

NAME = ""
asked: Counter[str] = Counter()
connections = 0
alone = threading.Lock()
inside = [0]
turn = threading.Lock()
before = [0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        global connections
        connections += 1
        super().setup()

    def log_message(self, *_: object) -> None:
        pass

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def answer(self, body: bytes, status: int = 200, **fields: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def serve(self) -> None:
        asked[self.path] += 1
        body = self.read_body()
        what, _, more = self.path.partition("?")[0].lstrip("/").partition("/")
        match what:
            case "whoami":
                self.answer(NAME.encode())
            case "connections":
                self.answer(str(connections).encode())
            case "echo":
                seen = {"method": self.command, "target": self.path, "fields": self.headers.items()}
                self.answer(body, x_request=json.dumps(seen))
            case "status":
                self.answer(str(asked[self.path]).encode(), int(more))
            case "chunks":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.send_header("Trailer", "x-count")
                self.end_headers()
                for _ in range(int(more)):
                    self.wfile.write(b"3e8\r\n" + b"c" * 1000 + b"\r\n")
                self.wfile.write(b"0\r\nx-count: " + more.encode() + b"\r\n\r\n")
            case "until-close":
                self.send_response(200)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(b"u" * 100_000)
            case "early":
                self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n")
                self.wfile.flush()
                self.answer(b"late")
            case "pause":
                time.sleep(float(more))
                self.answer(NAME.encode())
            case "alone":
                with alone:
                    inside[0] += 1
                    others = inside[0] - 1
                time.sleep(float(more))
                with alone:
                    inside[0] -= 1
                self.answer(NAME.encode(), 500 if others else 200)
            case "queue":
                with alone:
                    others = before[0]
                    before[0] += 1
                with turn:
                    time.sleep(float(more))
                with alone:
                    before[0] -= 1
                self.answer(NAME.encode(), x_before=str(others))
            case "drop":
                self.close_connection = True
            case "once":
                self.answer(b"once", Connection="close")
                self.close_connection = True
            case "idle":
                self.answer(NAME.encode())
                self.wfile.flush()
                self.connection.settimeout(float(more))
            case "socket":
                key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
                self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n")
                self.wfile.flush()
                while data := self.rfile.read1(65_536):
                    self.wfile.write(data)
                    self.wfile.flush()
                self.close_connection = True
            case _:
                self.answer(b"no such path", 404)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = serve


class Single(HTTPServer):
    """The standard library's simplest: a second connection waits until the first is closed."""


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


def main() -> None:
    global NAME
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--single", action="store_true", help="one connection at a time, in one thread")
    args = parser.parse_args()
    NAME = args.name
    server: HTTPServer = (Single if args.single else Server)(("127.0.0.1", args.port), Handler)
    with os.fdopen(args.ready_fd, "w") as ready:
        ready.write(json.dumps({"port": server.server_port}) + "\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
