"""Runs one of the shop's gRPC services until SIGTERM.

What lives here: flags, the grpcio server and its end. What this must not know: what the service does.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable

import grpc.aio


def run(name: str, add: Callable[[grpc.aio.Server, str], None]) -> None:
    """Parse `--port` and `--replica`, let `add(server, replica)` fill the server, serve on 127.0.0.1 until SIGTERM."""
    parser = argparse.ArgumentParser(prog=f"mesh.demo.{name}")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--replica", default=name)
    flags = parser.parse_args()
    asyncio.run(_serve(flags.port, flags.replica, add))


async def _serve(port: int, replica: str, add: Callable[[grpc.aio.Server, str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add(server, replica)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stop.wait()
    await server.stop(grace=2.0)
