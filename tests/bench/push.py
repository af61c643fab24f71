"""How long a weight change takes from the SetWeights call to every connected sidecar.

    python tests/bench/push.py [--streams 100] [--rounds 20] [--json FILE]

Starts a control plane of its own on a free port and, in this process, `--streams` simulated sidecars: discovery streams
that subscribe to one service and its endpoints and acknowledge what they get, spread over a few connections. Each round
changes one weight and notes when each stream has it. Prints a table; never passes or fails. Client and control plane
share the machine, so at thousands of streams the figures hold the cost of both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import grpc
import uvloop

from mesh.v1 import endpoint_pb2, registry_pb2, registry_pb2_grpc, service_pb2
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SERVICE_URL = "type.googleapis.com/mesh.v1.Service"
ENDPOINT_URL = "type.googleapis.com/mesh.v1.Endpoint"
ROOT = Path(__file__).resolve().parents[2]


class Sidecars:
    """The simulated sidecars, and the arrivals of the present round."""

    def __init__(self) -> None:
        self.arrivals: list[float] = []
        self.wanted = 0
        self.all_here = asyncio.Event()
        self.subscribed = 0

    async def run(self, channel: grpc.aio.Channel, number: int) -> None:
        call = channel.stream_stream(METHOD)()
        await call.write(DeltaDiscoveryRequest(
            node=Node(id=f"web/web-{number}"), type_url=SERVICE_URL,
            resource_names_subscribe=["cart"]).SerializeToString())
        await call.write(DeltaDiscoveryRequest(
            type_url=ENDPOINT_URL, resource_names_subscribe=["cart/*"]).SerializeToString())
        for _ in range(2):
            await self._answer(call, await call.read())
        self.subscribed += 1
        while True:
            raw = await call.read()
            self.arrivals.append(perf_counter())
            if len(self.arrivals) == self.wanted:
                self.all_here.set()
            await self._answer(call, raw)

    @staticmethod
    async def _answer(call: grpc.aio.StreamStreamCall, raw: bytes) -> None:
        response = DeltaDiscoveryResponse.FromString(raw)
        await call.write(DeltaDiscoveryRequest(type_url=response.type_url,
                                               response_nonce=response.nonce).SerializeToString())


def cpu_seconds(pid: int) -> float:
    """Return the run time of all threads of a process (Linux schedstat)."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def measure(address: str, pid: int, streams: int, connections: int, rounds: int) -> dict[str, object]:
    stub = registry_pb2_grpc.RegistryServiceStub(grpc.aio.insecure_channel(address))
    endpoints = [endpoint_pb2.Endpoint(service="cart", name=f"cart-{i}", host="127.0.0.1", port=9000 + i)
                 for i in range(10)]
    await stub.Apply(registry_pb2.ApplyRequest(services=[service_pb2.Service(name="cart")], endpoints=endpoints))
    idle = resident_mib(pid)
    channels = [grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
                for _ in range(connections)]
    sidecars = Sidecars()
    began = perf_counter()
    tasks = [asyncio.create_task(sidecars.run(channels[i % connections], i)) for i in range(streams)]
    while sidecars.subscribed < streams:
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)
    connected = perf_counter() - began
    latencies: list[float] = []
    accepted: list[float] = []
    slowest: list[float] = []
    cpu = cpu_seconds(pid)
    for number in range(rounds):
        await asyncio.sleep(0.2 + streams / 10_000)
        sidecars.arrivals, sidecars.wanted = [], streams
        sidecars.all_here.clear()
        called = perf_counter()
        await stub.SetWeights(registry_pb2.SetWeightsRequest(service="cart", weights={"cart-0": number + 2}))
        accepted.append(perf_counter() - called)
        await sidecars.all_here.wait()
        latencies += (at - called for at in sidecars.arrivals)
        slowest.append(max(sidecars.arrivals) - called)
    await asyncio.sleep(0.5 + streams / 10_000)
    cpu = cpu_seconds(pid) - cpu
    status = await stub.ListSidecars(registry_pb2.ListSidecarsRequest())
    behind = sum(sidecar.acked_revision < status.revision for sidecar in status.sidecars)
    result = {
        "streams": streams, "connections": connections, "rounds": rounds, "connect_all_s": connected,
        "set_weights_p50_ms": statistics.median(accepted) * 1000,
        "p50_ms": quantile(latencies, 0.5) * 1000, "p99_ms": quantile(latencies, 0.99) * 1000,
        "max_ms": max(latencies) * 1000, "all_received_median_ms": statistics.median(slowest) * 1000,
        "control_plane_cpu_us_per_push": cpu / (rounds * streams) * 1e6,
        "control_plane_kib_per_stream": (resident_mib(pid) - idle) * 1024 / streams, "behind_at_the_end": behind}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return result


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--connections", type=int, default=0, help="default: one per 100 streams")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    flags = parser.parse_args()
    gc.disable()  # of this process: ten thousand streams are a lot to walk while the clock runs
    connections = flags.connections or max(1, flags.streams // 100)
    with tempfile.TemporaryDirectory() as data:
        read, write = os.pipe()
        command = [sys.executable, "-m", "controlplane.command", "--listen", "127.0.0.1:0", "--data-dir", data,
                   "--ready-fd", str(write)]
        process = subprocess.Popen(command, pass_fds=[write], stdout=subprocess.DEVNULL, cwd=ROOT)
        try:
            os.close(write)
            with open(read) as ready:
                address = json.loads(ready.readline())["listen"]
            result = uvloop.run(measure(address, process.pid, flags.streams, connections, flags.rounds))
        finally:
            process.terminate()
            process.wait()
    for name, value in result.items():
        print(f"{name:32} {value:.2f}" if isinstance(value, float) else f"{name:32} {value}")
    if flags.json:
        Path(flags.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
