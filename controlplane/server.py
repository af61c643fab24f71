"""The control plane put together: what is built, in which order, and how it ends.

What lives here: composition, the listening socket, the signals. What this must not know: how any part does its work.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from time import time
from typing import TextIO

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection,
    reflection_pb2,
    reflection_pb2_grpc,
)

from controlplane.api.health import SERVICE_NAME as HEALTH_NAME
from controlplane.api.health import HealthService
from controlplane.api.registry import SERVICE_NAME as REGISTRY_NAME
from controlplane.api.registry import RegistryService
from controlplane.api.watch import Watches
from controlplane.config import Config, format_address
from controlplane.discovery.service import SERVICE_NAME as DISCOVERY_NAME
from controlplane.discovery.service import DiscoveryService
from controlplane.errors import StoreError
from controlplane.garbage import collect_in_pauses
from controlplane.introspection.service import SERVICE_NAME as INTROSPECTION_NAME
from controlplane.introspection.service import IntrospectionService
from controlplane.ledger import Ledger
from controlplane.publisher import Publisher
from controlplane.reflection import pool
from controlplane.status import Sidecars, Verdicts
from controlplane.store.directory import DataDirectory
from controlplane.store.sqlite import SqliteStore
from controlplane.tasks import spawn
from controlplane.traces.service import EXPORT_NAME, QUERY_NAME, TraceIntake, TraceQueries
from controlplane.traces.store import TraceStore
from mesh.errors import InvalidConfig

GRACE = 1.0  # seconds that calls under way have to finish at shutdown
TICK = 0.25  # seconds between two looks for leases that have run out
LINKED = (REGISTRY_NAME, HEALTH_NAME, INTROSPECTION_NAME, EXPORT_NAME, QUERY_NAME, health.SERVICE_NAME,
          reflection.SERVICE_NAME)
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # else two control planes would share the port without a word
    ("grpc.max_receive_message_length", 4 << 20),
    # A whole fleet may come back at once; above the first figure grpc cancels new calls at random, above the second
    # all.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.max_send_message_length", -1),  # a list of everything may be large; the caller limits what it takes
    # A sidecar that is gone without a word is noticed after 20 s to 30 s; the PINGs of sidecars (every 10 s) are
    # welcome.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.http2.ping_timeout_ms", 8_000),  # this one is what ends the connection; its default is 60 s
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
]
_log = logging.getLogger(__name__)


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. Raises InvalidConfig for a wrong setting, StoreError for a damaged store."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        ready = None if config.ready_fd is None else _ready_file(config.ready_fd)
        directory = DataDirectory(config.data_dir)
        stack.callback(directory.release)
        # A new registry begins at the time in milliseconds, so that no revision of an earlier one comes up again.
        store = SqliteStore(config.data_dir / "registry.sqlite", round(time() * 1000))
        stored = store.load()
        publisher = Publisher(stored)
        ledger = Ledger(store, stored, publisher)
        stack.push_async_callback(ledger.close)
        traces = _trace_store(config.data_dir / "traces.sqlite", config)
        intake = TraceIntake(traces)
        stack.push_async_callback(intake.close)
        queries = TraceQueries(traces)
        stack.push_async_callback(queries.close)

        sidecars = Sidecars()
        discovery = DiscoveryService(publisher, sidecars)
        watches = Watches(publisher)
        introspection = IntrospectionService(sidecars)
        registry = RegistryService(ledger, publisher, sidecars, watches)
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(
            (registry.handler(), HealthService(Verdicts()).handler(), discovery.handler(), introspection.handler(),
             intake.handler(), queries.handler()))
        checks = health.aio.HealthServicer()
        _add_standard_services(server, checks)
        port = _listen(server, config)
        await server.start()
        stack.push_async_callback(server.stop, GRACE)
        stack.callback(watches.close)
        stack.callback(discovery.close)
        stack.callback(introspection.close)
        for name in (*LINKED, DISCOVERY_NAME):
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        stack.push_async_callback(checks.enter_graceful_shutdown)
        ticker = spawn("lease-ticker", _tick(ledger))
        stack.callback(ticker.cancel)
        stack.callback(spawn("garbage", collect_in_pauses()).cancel)

        address = format_address(config.host, port)
        print(f"control plane listens on {address}; data in {config.data_dir}, revision {stored.revision}, "
              f"{_counted(len(stored.services), 'service')}, {_counted(len(stored.endpoints), 'endpoint')}", flush=True)
        if ready is not None:
            line = json.dumps({"event": "ready", "listen": address, "pid": os.getpid()})
            with suppress(BrokenPipeError), ready:  # whoever wanted to know may be gone
                ready.write(line + "\n")
        await stop.wait()
        _log.info("shutting down")


async def _tick(ledger: Ledger) -> None:
    while True:
        await asyncio.sleep(TICK)
        try:
            await ledger.expire()
        except StoreError as error:
            _log.error("the registry can't be read: %s", error)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ready_file(descriptor: int) -> TextIO:
    try:
        return open(descriptor, "w", encoding="utf-8")
    except OSError as error:
        raise InvalidConfig(f"--ready-fd {descriptor}: {error.strerror}") from None


def _trace_store(path: Path, config: Config) -> TraceStore:
    """Open the trace store. Traces are expendable: a file that can't be read is set aside, and a new one begun."""
    try:
        return TraceStore(path, config.trace_max_size, config.trace_max_age)
    except StoreError as error:
        aside = path.with_suffix(".set-aside")
        _log.error("%s; it is set aside as %s", error, aside.name)
        path.replace(aside)
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
        return TraceStore(path, config.trace_max_size, config.trace_max_age)


def _add_standard_services(server: grpc.aio.Server, checks: health.aio.HealthServicer) -> None:
    mirror = reflection.aio.ReflectionServicer([*LINKED, DISCOVERY_NAME], pool=pool(LINKED))
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(mirror, server)
    # v1 is v1alpha under another name; newer tools ask for it first.
    v1 = grpc.stream_stream_rpc_method_handler(
        mirror.ServerReflectionInfo, reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
        "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": v1}),))


def _listen(server: grpc.aio.Server, config: Config) -> int:
    """Bind the server and return its port. The address is tried first, as grpc doesn't say why it can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        return server.add_insecure_port(config.address)
    except OSError as error:
        reason = "the address is in use" if error.errno == errno.EADDRINUSE else error.strerror
    except RuntimeError as error:
        reason = str(error)
    raise InvalidConfig(f"--listen {config.address}: {reason}")
