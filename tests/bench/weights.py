"""How long a weight change takes to reach the picks of many connected sidecars. Prints; passes or fails nothing.

Each simulated sidecar is the real discovery client with a connection of its own and the real cluster; all of them share
one process, which therefore is slower than a hundred machines would be. The clock starts before the SetWeights call and
stops, per sidecar, when its picker gives the endpoint that has the weight now. The control plane is a process of its
own.

    python tests/bench/weights.py --sidecars 100 --rounds 20 [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.dataplane.rpc import Channel
from mesh.discovery.client import DiscoveryClient
from mesh.model import Endpoint, Service
from mesh.v1 import registry_pb2 as api
from mesh.v1.endpoint_pb2 import Endpoint as EndpointMessage
from mesh.v1.service_pb2 import Service as ServiceMessage

REGISTRY = "/mesh.v1.RegistryService"
ENDPOINTS = ("a", "b")


class Sidecar:
    """One discovery client with its cluster; `latency` is filled when its picks have followed."""

    def __init__(self, hub: Hub, host: str, port: int, number: int) -> None:
        self.latency: float | None = None
        self.expected = ""
        self.started = 0.0
        self.clusters = Clusters(hub, lambda name: self.client.subscribe(name), lambda name: None)
        self.client = DiscoveryClient(Channel(hub, [(host, port)]), f"bench/sidecar-{number}", self, hub.rng)
        self.cluster = self.clusters.get("cart")

    def check(self, resource: Service | Endpoint) -> None:
        self.clusters.check(resource)

    def on_service(self, name: str, service: Service | None) -> None:
        self.clusters.on_service(name, service)

    def in_force(self, name: str, version: str) -> None:
        self.clusters.in_force(name, version)

    def on_endpoints(self, name: str, endpoints: Mapping[str, Endpoint]) -> None:
        self.clusters.on_endpoints(name, endpoints)
        self.look()

    def look(self) -> None:
        """Has the next pick followed? Changes may wait for more of them (the merge window), so it is asked anew."""
        node = self.cluster.pick(0, None)
        if self.latency is None and node is not None and node.endpoint.name == self.expected:
            self.latency = time.monotonic() - self.started


async def measure(count: int, rounds: int, port: int) -> list[float]:
    """Latencies in seconds, one per sidecar and round."""
    hub = Hub(asyncio.get_running_loop(), Rng(1), Recorder())
    operator = Channel(hub, [("127.0.0.1", port)])
    apply = api.ApplyRequest(services=[ServiceMessage(name="cart")], endpoints=[
        EndpointMessage(service="cart", name=name, host="127.0.0.1", port=1, weight=1) for name in ENDPOINTS])
    await operator.unary(f"{REGISTRY}/Apply", apply.SerializeToString(), 5)
    sidecars = [Sidecar(hub, "127.0.0.1", port, number) for number in range(count)]
    for sidecar in sidecars:
        sidecar.client.start()
    for sidecar in sidecars:
        if not await sidecar.client.wait_known("cart", 30):
            raise SystemExit("a sidecar heard nothing within 30 s")
    latencies: list[float] = []
    for turn in range(rounds):
        chosen, other = ENDPOINTS if turn % 2 else ENDPOINTS[::-1]
        now = time.monotonic()
        for sidecar in sidecars:
            sidecar.latency, sidecar.expected, sidecar.started = None, chosen, now
        request = api.SetWeightsRequest(service="cart", weights={chosen: 1, other: 0})
        await operator.unary(f"{REGISTRY}/SetWeights", request.SerializeToString(), 5)
        async with asyncio.timeout(30):
            while any(sidecar.latency is None for sidecar in sidecars):
                await asyncio.sleep(0.001)
                for sidecar in sidecars:
                    if sidecar.latency is None:
                        sidecar.look()
        latencies += [sidecar.latency for sidecar in sidecars if sidecar.latency is not None]
    for sidecar in sidecars:
        await sidecar.client.close()
    return latencies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sidecars", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        read, write = os.pipe()
        plane = subprocess.Popen([sys.executable, "-m", "controlplane.command", "--listen", "127.0.0.1:0", "--data-dir",
                                  data, "--ready-fd", str(write)], pass_fds=[write], stdout=subprocess.DEVNULL)
        try:
            os.close(write)
            ready = json.loads(os.fdopen(read).readline())
            port = int(ready["listen"].rpartition(":")[2])
            taken = sorted(loop.run(measure(options.sidecars, options.rounds, port)))
        finally:
            plane.terminate()
            plane.wait(10)
    figures = {"sidecars": options.sidecars, "changes": options.rounds, "p50_ms": statistics.median(taken) * 1e3,
               "p99_ms": taken[int(len(taken) * 0.99)] * 1e3, "max_ms": taken[-1] * 1e3}
    if options.json:
        Path(options.json).write_text(json.dumps(figures) + "\n")
    print("weight change to the picks of {sidecars} sidecars, {changes} changes: "
          "p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms, max {max_ms:.1f} ms".format(**figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
