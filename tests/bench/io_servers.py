"""One server of io_layers.py, by hand or by the benchmark: `io_servers.py reactor|uvloop tcp|http1|http2|tls`.

What lives here: how each layer is set up for each kind of work, with what it is made of and nothing above it: no
routes, no policies, no records. What this must not know: load, how CPU is measured, how io_protocols is compiled
(io_layers does that). HTTP is answered here, by the same
codec and handler on both layers; TCP is relayed to `--backend`, and TLS is ended and then relayed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILT = ROOT / "build" / "bench"
sys.path.insert(0, str(ROOT))

LAYERS = ("reactor", "uvloop")
KINDS = ("tcp", "http1", "http2", "tls")
LOCAL = "127.0.0.1"
TIMEOUT = 60.0  # seconds, of idle connections and connects; none is to reach it


@dataclass(frozen=True)
class Place:
    host: str
    port: int
    endpoint: str = "backend"
    why: str = "fixed"


class Fixed:
    """The upstream of a TcpProxy that knows one endpoint."""

    connect_timeout = TIMEOUT
    idle_timeout = TIMEOUT

    def __init__(self, port: int) -> None:
        self.place = Place(LOCAL, port)

    def pick(self, source: str, tried: list[Any]) -> Place | None:
        return None if tried else self.place

    def released(self, target: Any, ok: bool, reason: Any) -> None:
        return None


def listening() -> socket.socket:
    sock = socket.create_server((LOCAL, 0), backlog=4096)
    sock.setblocking(False)
    return sock


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """As the sidecar makes it (mesh.sidecar.certificates): TLS 1.3 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    return context


def codec(kind: str, handler: Any, dirty: list[Any] | None) -> Any:
    from mesh.wire import h1, h2

    return (h1 if kind == "http1" else h2).Connection(False, handler, dirty)


async def serve_reactor(args: argparse.Namespace, sock: socket.socket) -> Any:
    """The sidecar's layer; returns what has to be kept alive."""
    from io_protocols import Responder

    from mesh.balance.rng import Rng
    from mesh.dataplane.hub import Hub
    from mesh.dataplane.inspector import Inspector, Tls
    from mesh.dataplane.listener import Port
    from mesh.dataplane.record import CLIENT, Recorder
    from mesh.dataplane.tcp import TcpProxy
    from mesh.dataplane.transport import Transport
    from mesh.model import Protocol

    hub = Hub(asyncio.get_running_loop(), Rng(1), Recorder(1))
    proxy = TcpProxy(hub, Fixed(args.backend), CLIENT, "backend")

    def respond(fd: int, host: str, port: int) -> None:
        handler = Responder(args.kind == "http2")
        Transport(codec(args.kind, handler, hub.dirty), handler, hub).adopt(fd, host, port)

    accept: Any = respond
    if args.kind == "tcp":
        accept = proxy.accept
    elif args.kind == "tls":
        context = server_context(args.certificate, args.key)
        accept = Inspector(hub, lambda: Protocol.TCP, None, proxy.adopt, None, None, TIMEOUT,
                           tls=Tls(lambda: context, required=True)).accept
    port = Port(hub, sock, accept)
    port.start()
    return hub, port, proxy


async def serve_uvloop(args: argparse.Namespace, sock: socket.socket) -> Any:
    """The same on uvloop's transports; returns what has to be kept alive."""
    from io_protocols import BufferedDownstream, Carrier, Downstream, Responder, Upstream

    loop = asyncio.get_running_loop()

    def respond() -> Any:
        handler = Responder(args.kind == "http2")
        handler.conn = codec(args.kind, handler, None)
        return Carrier(loop, handler.conn)

    async def connect(down: Any) -> Any:
        return await loop.create_connection(lambda: Upstream(down), LOCAL, args.backend)

    def relay() -> Any:
        return (Downstream if args.kind == "tcp" else BufferedDownstream)(loop, connect)

    context = server_context(args.certificate, args.key) if args.kind == "tls" else None
    return await loop.create_server(relay if args.kind in ("tcp", "tls") else respond, sock=sock, ssl=context)


async def serve(args: argparse.Namespace) -> None:
    """Tell the port as one line of JSON, and serve until the process is ended."""
    sock = listening()
    ready = json.dumps({"layer": args.layer, "kind": args.kind, "port": sock.getsockname()[1]}) + "\n"
    kept = await (serve_reactor if args.layer == "reactor" else serve_uvloop)(args, sock)
    os.write(args.ready_fd, ready.encode())
    await asyncio.get_running_loop().create_future()
    del kept


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("layer", choices=LAYERS)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--backend", type=int, default=0, metavar="PORT", help="where tcp and tls are relayed to")
    parser.add_argument("--certificate", metavar="FILE", help="for tls, with --key (PEM)")
    parser.add_argument("--key", metavar="FILE")
    parser.add_argument("--ready-fd", type=int, default=1, metavar="FD", help="where the ready line goes (default: 1)")
    args = parser.parse_args()
    if args.kind in ("tcp", "tls") and not args.backend:
        parser.error(f"{args.kind} is relayed: to which --backend PORT?")
    if args.kind == "tls" and not (args.certificate and args.key):
        parser.error("tls needs --certificate and --key")
    return args


def main() -> None:
    args = parse()
    sys.path.insert(0, str(BUILT))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.layer == "reactor":
        from mesh.dataplane import loop

        loop.run(serve(args))
    else:
        import uvloop

        uvloop.run(serve(args))


if __name__ == "__main__":
    main()
