"""The shop as it runs: a control plane and eight instances, each an app with its sidecar under `mesh run`.

What lives here: who is in the shop, how each is started, and the operator's access (commands and API). What this must
not know: the story.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from opentelemetry.sdk.trace import ReadableSpan

from mesh.demo.process import Process, ProcessFailed, free_ports
from mesh.demo.tracing import GrpcSpanExporter
from mesh.v1 import registry_pb2, registry_pb2_grpc, trace_pb2, trace_pb2_grpc

MESH = (sys.executable, "-m", "mesh.cli")
RESOURCES = Path(__file__).with_name("shop.yaml")
READY_TIMEOUT = 30.0  # seconds; on an idle machine a sidecar takes under one
STOP_GRACE = 5.0  # seconds
WIDTH = 120  # columns of what a command prints, where no terminal says otherwise
SAMPLED_RATIO = "0.02"  # of the orders; the one that the story shows is always recorded
# Quick to notice that the control plane is back.
CHANNEL_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of the shop; `outbound` are the services that its app calls."""

    service: str
    number: int = 0
    weight: int = 1
    protocol: str = "grpc"
    outbound: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"


MEMBERS = (
    Member("storefront", outbound=("cart", "payment", "stock/tcp")),
    *(Member("cart", number, weight) for number, weight in enumerate((1, 3, 2))),
    *(Member("payment", number) for number in range(3)),
    Member("stock", protocol="tcp"),
)

def app_command(member: Member, port: int, redis: str | None) -> list[str]:
    """Return the argv of the instance's app; stock is a real Redis where `redis` names one."""
    if member.service != "stock":
        return [sys.executable, "-m", f"mesh.demo.{member.service}", "--port", str(port), "--replica", member.name]
    if redis is not None:
        return [redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return [sys.executable, "-m", "mesh.demo.stock", "--port", str(port)]


def run_command(member: Member, port: int, inbound: int, control_plane: str, state: Path, app: list[str]) -> list[str]:
    """Return the argv of `mesh run` for an instance whose app listens on `port`, its sidecar on `inbound` (0: any)."""
    argv = [*MESH, "run", "--service", member.service, "--instance", member.name, "--protocol", member.protocol,
            "--port", str(port), "--inbound", str(inbound), "--weight", str(member.weight),
            "--control-plane", control_plane, "--state-dir", str(state), "--drain-timeout", "2s"]
    for outbound in member.outbound:
        name, _, protocol = outbound.partition("/")
        argv += ["--outbound", f"{name}=0" + (f"/{protocol}" if protocol else "")]
    return [*argv, "--", *app]


def environment(base: Mapping[str, str], control_plane: str) -> dict[str, str]:
    """Return the processes' environment; the person's own settings for the mesh and OpenTelemetry stay out of it."""
    kept = {name: value for name, value in base.items() if not name.startswith(("MESH_", "OTEL_"))}
    return kept | {
        "MESH_CONTROL_PLANE": control_plane,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{control_plane}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": SAMPLED_RATIO,
        "PYTHONUNBUFFERED": "1",
    }


async def wait_until(what: str, condition: Callable[[], Awaitable[bool]], timeout: float) -> None:
    """Return once `condition()` holds, asked every 50 ms; ProcessFailed names `what` after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while not await condition():  # noqa: ASYNC110 - the truth lies in other processes
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise ProcessFailed(f"waited {timeout:g} s in vain until {what}") from None


class Shop:
    """All processes of the demo. `directory` takes data and logs."""

    def __init__(self, directory: Path) -> None:
        control_plane, storefront, *ports = free_ports(2 + len(MEMBERS))
        self.control_plane = f"127.0.0.1:{control_plane}"
        self.storefront = f"127.0.0.1:{storefront}"  # where the storefront's sidecar accepts calls
        self.redis = shutil.which("redis-server")
        self._env = environment(os.environ, self.control_plane)
        (directory / "control-plane").mkdir()
        self.controller = Process(
            "control plane", [*MESH, "controlplane", "--listen", self.control_plane, "--data-dir",
                              str(directory / "control-plane")],
            self._env, directory / "control-plane.log")
        self.instances: dict[str, Process] = {}
        for member, port in zip(MEMBERS, ports, strict=True):
            inbound = storefront if member.service == "storefront" else 0
            app = app_command(member, port, self.redis)
            argv = run_command(member, port, inbound, self.control_plane, directory / member.name, app)
            self.instances[member.name] = Process(member.name, argv, self._env, directory / f"{member.name}.log")
        self._channel = grpc.aio.insecure_channel(self.control_plane, options=CHANNEL_OPTIONS)
        self.registry = registry_pb2_grpc.RegistryServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self.traces = trace_pb2_grpc.TraceQueryServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def open(self) -> None:
        """Start everything and return once every instance is registered. Raises ProcessFailed."""
        await self.start_controller()
        await self.command("apply", "-f", str(RESOURCES))
        await asyncio.gather(*(process.start() for process in self.instances.values()))

        async def registered() -> bool:
            for process in self.instances.values():
                process.check()
            return len(await self.weights()) == len(self.instances)

        await wait_until("every instance is registered", registered, READY_TIMEOUT)

    async def start_controller(self) -> None:
        """Start the control plane, for the first time or again, and return once it answers. Raises ProcessFailed."""
        await self.controller.start()

        async def answers() -> bool:
            self.controller.check()
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self.registry.ListServices(registry_pb2.ListServicesRequest(), timeout=1.0)
                return True
            return False

        await wait_until("the control plane answers", answers, READY_TIMEOUT)

    async def close(self) -> None:
        """Stop everything: the instances first, so that they can take their leave."""
        await self._channel.close()
        await asyncio.gather(*(process.stop(STOP_GRACE) for process in self.instances.values()))
        await self.controller.stop(STOP_GRACE)

    async def command(self, *words: str, columns: int = WIDTH) -> str:
        """Run `mesh WORDS...` as an operator would and return what it prints. Raises ProcessFailed."""
        env = self._env | {"COLUMNS": str(columns)}
        process = await asyncio.create_subprocess_exec(
            *MESH, *words, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE)
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise ProcessFailed(f"`mesh {' '.join(words)}` ended with {process.returncode}: {errors.decode().strip()}")
        return output.decode()

    async def weights(self, service: str = "") -> dict[str, int]:
        """Return the registered endpoints (of one service) with their weights, by name."""
        listed = await self.registry.ListEndpoints(registry_pb2.ListEndpointsRequest(service=service), timeout=5.0,
                                                   wait_for_ready=True)
        endpoints = sorted((status.endpoint for status in listed.endpoints), key=lambda endpoint: str(endpoint.name))
        return {endpoint.name: endpoint.weight if endpoint.HasField("weight") else 1 for endpoint in endpoints}

    async def heard(self, since: float) -> set[str]:
        """Return the instances whose sidecar has a stream open and has sent a heartbeat after `since` (monotonic)."""
        asked = time.monotonic()
        listed = await self.registry.ListEndpoints(registry_pb2.ListEndpointsRequest(), timeout=5.0,
                                                   wait_for_ready=True)
        ages = {status.endpoint.name: status.last_heartbeat.ToTimedelta().total_seconds()
                for status in listed.endpoints if status.HasField("last_heartbeat")}
        streams = await self.registry.ListSidecars(registry_pb2.ListSidecarsRequest(), timeout=5.0)
        connected = {sidecar.id.partition("/")[2] for sidecar in streams.sidecars if sidecar.connected}
        return {name for name, age in ages.items() if age < asked - since and name in connected}

    async def retries(self) -> int:
        """Return how many attempts the storefront's sidecar has repeated so far."""
        process = self.instances["storefront-0"]
        seen = process.log.stat().st_size
        os.kill(process.part("sidecar"), signal.SIGUSR2)
        found: list[int] = []

        async def told() -> bool:
            with process.log.open() as log:
                log.seek(seen)
                for line in log:
                    if line.startswith("{") and line.endswith("}\n"):
                        found.append(sum(port["http"]["retries"] for port in json.loads(line)["outbound"]))
            return bool(found)

        await wait_until("the storefront's sidecar has told its statistics", told, 5.0)
        return found[-1]

    async def export(self, span: ReadableSpan) -> None:
        """Send a span of our own to the control plane's collector; one that can't be sent is lost."""
        exporter = GrpcSpanExporter(self.control_plane)
        await asyncio.to_thread(exporter.export, [span])
        exporter.shutdown()

    async def trace(self, trace_id: str) -> list[tuple[str, str, str]]:
        """Return (service, span id, parent's span id) of each span that the control plane has of a trace."""
        try:
            found = await self.traces.GetTrace(trace_pb2.GetTraceRequest(trace_id=trace_id), timeout=5.0)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return []
            raise
        return [(span.service, span.span_id, span.parent_span_id) for span in found.spans]
