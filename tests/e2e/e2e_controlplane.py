"""A control plane as a process, and clients and simulated sidecars that speak to it over real grpc.aio channels."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from mesh.v1 import endpoint_pb2, registry_pb2, registry_pb2_grpc, service_pb2, trace_pb2_grpc
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "type.googleapis.com/mesh.v1.Service"
ENDPOINT = "type.googleapis.com/mesh.v1.Endpoint"
DISCOVERY = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
PUT, REMOVED, SYNCED = (registry_pb2.WatchResponse.KIND_PUT, registry_pb2.WatchResponse.KIND_REMOVED,
                        registry_pb2.WatchResponse.KIND_SYNCED)
PATIENCE = 15.0



class Process:
    """One control plane over a data directory."""

    def __init__(self, data: Path, *flags: str) -> None:
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controlplane.command", "--listen", "127.0.0.1:0", "--data-dir", str(data),
             "--ready-fd", str(write), *flags],
            pass_fds=[write], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        os.close(write)
        with open(read) as lines:
            line = lines.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        ready = json.loads(line)
        assert (ready["event"], ready["pid"]) == ("ready", self.process.pid)
        self.address: str = ready["listen"]

    def kill(self) -> None:
        """SIGKILL and gather."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> tuple[int, str]:
        """SIGTERM; return the exit code and what stood on stderr."""
        if self.process.poll() is None:
            self.process.terminate()
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err


@contextmanager
def control_planes(data: Path) -> Iterator[Callable[..., Process]]:
    """Give a function that starts control planes over one data directory; those still running at the end are killed."""
    started: list[Process] = []

    def starter(*flags: str) -> Process:
        started.append(Process(data, *flags))
        return started[-1]

    yield starter
    for process in started:
        if process.process.poll() is None:
            process.kill()


class Client:
    """Stubs of everything on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.registry = registry_pb2_grpc.RegistryServiceStub(channel)
        self.traces = trace_pb2_grpc.TraceQueryServiceStub(channel)
        self.otlp = trace_service_pb2_grpc.TraceServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    async def register(self, name: str, service: str = "cart", ttl: float = 10, port: int = 8080, **fields):
        endpoint = endpoint_pb2.Endpoint(service=service, name=name, host="127.0.0.1", port=port, **fields)
        duration = Duration()
        duration.FromMilliseconds(round(ttl * 1000))
        return await self.registry.Register(registry_pb2.RegisterRequest(
            endpoint=endpoint, sidecar=f"{service}/{name}", time_to_live=duration))

    async def apply(self, *resources: Message, dry_run: bool = False):
        services = [one for one in resources if isinstance(one, service_pb2.Service)]
        endpoints = [one for one in resources if isinstance(one, endpoint_pb2.Endpoint)]
        return await self.registry.Apply(
            registry_pb2.ApplyRequest(services=services, endpoints=endpoints, dry_run=dry_run))

    async def weights(self, service: str = "cart", **weights: int) -> int:
        request = registry_pb2.SetWeightsRequest(
            service=service, weights={name.replace("_", "-"): weight for name, weight in weights.items()})
        return (await self.registry.SetWeights(request)).revision

    async def endpoints(self, service: str = "cart") -> dict[str, registry_pb2.EndpointStatus]:
        response = await self.registry.ListEndpoints(registry_pb2.ListEndpointsRequest(service=service))
        return {status.endpoint.name: status for status in response.endpoints}

    async def sidecars(self) -> dict[str, registry_pb2.SidecarStatus]:
        response = await self.registry.ListSidecars(registry_pb2.ListSidecarsRequest())
        return {status.id: status for status in response.sidecars}

    def discover(self, node: str = "web/web-0") -> Stream:
        return Stream(self.channel, node)


class Stream:
    """A simulated sidecar's discovery stream, which keeps what it is sent as a sidecar would."""

    def __init__(self, channel: grpc.aio.Channel, node: str) -> None:
        self.call = channel.stream_stream(DISCOVERY, request_serializer=DeltaDiscoveryRequest.SerializeToString,
                                          response_deserializer=DeltaDiscoveryResponse.FromString)()
        self._node: Node | None = Node(id=node, user_agent_version="9.9")

    async def send(self, url: str, **fields) -> None:
        await self.call.write(DeltaDiscoveryRequest(type_url=url, node=self._node, **fields))
        self._node = None

    async def subscribe(self, url: str, *names: str, have: dict[str, str] | None = None) -> None:
        await self.send(url, resource_names_subscribe=names, initial_resource_versions=have or {})

    async def next(self) -> DeltaDiscoveryResponse:
        response = await asyncio.wait_for(self.call.read(), PATIENCE)
        assert isinstance(response, DeltaDiscoveryResponse)
        return response

    async def ack(self, response: DeltaDiscoveryResponse) -> None:
        await self.send(response.type_url, response_nonce=response.nonce)

    async def taken(self) -> dict[str, object]:
        """Take the next response in; return name -> resource, or None for what was removed."""
        response = await self.next()
        await self.ack(response)
        return contents(response)


def contents(response: DeltaDiscoveryResponse) -> dict[str, object]:
    kind = service_pb2.Service if response.type_url == SERVICE else endpoint_pb2.Endpoint
    found: dict[str, object] = dict.fromkeys(response.removed_resources)
    found.update((one.name, kind.FromString(one.resource.value)) for one in response.resources)
    return found


@asynccontextmanager
async def connect(process: Process) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(process.address) as channel:
        yield Client(channel)


def run(process: Process, scenario: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with connect(process) as client:
            await scenario(client)

    asyncio.run(main())


async def until(condition: Callable[[], Awaitable[object]]) -> object:
    """Ask until the answer is true, and return it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await condition()
            if answer:
                return answer
            await asyncio.sleep(0.02)


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details = caught.value.details() or ""
    assert "\n" not in details
    return caught.value.code(), details
