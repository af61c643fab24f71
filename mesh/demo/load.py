"""The load: many customers at once who place orders at the storefront, and what they saw.

What lives here: the driver (a grpcio client), the windows in which outcomes are counted. What this must not know: what
the story does meanwhile. The tallies come from the answers alone: each names the replicas that took part.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc.aio

from mesh.dataplane.tasks import spawn
from mesh.demo.v1 import shop_pb2, shop_pb2_grpc

TIMEOUT = 5.0  # seconds per order
KEPT_FAILURES = 5  # texts per window
REPORT_INTERVAL = 5.0  # seconds between the lines of a load that runs by itself


@dataclass(eq=False)
class Tally:
    """What came of the orders that began while the window was open. Latencies in seconds."""

    opened: float
    goal: int = 0
    requests: int = 0
    failures: int = 0
    messages: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    served: dict[str, Counter[str]] = field(default_factory=lambda: {"cart": Counter(), "payment": Counter()})
    last: dict[str, float] = field(default_factory=dict)  # replica -> when its newest order began
    reached: asyncio.Event = field(default_factory=asyncio.Event)  # `goal` orders are through

    def succeeded(self, began: float, took: float, replicas: Mapping[str, str]) -> None:
        """Count one good order."""
        self._counted()
        self.latencies.append(took)
        for service, replica in replicas.items():
            self.served[service][replica] += 1
            self.last[replica] = max(began, self.last.get(replica, began))

    def failed(self, message: str) -> None:
        """Count one failed order."""
        self._counted()
        self.failures += 1
        if len(self.messages) < KEPT_FAILURES:
            self.messages.append(message)

    def _counted(self) -> None:
        self.requests += 1
        if self.requests >= self.goal:
            self.reached.set()

    def shares(self, service: str) -> dict[str, float]:
        """Share of the good orders per replica, ratios that add up to 1 (none without orders)."""
        counts = self.served[service]
        total = counts.total()
        return {replica: count / total for replica, count in sorted(counts.items())}


def percentile(values: Sequence[float], ratio: float) -> float:
    """Return the nearest-rank percentile (`ratio` 0..1); 0.0 for no values."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(ratio * len(values)) - 1)]


def drift(shares: Mapping[str, float], weights: Mapping[str, int]) -> float:
    """Return the largest distance of a share from its weight's, in percentage points (0..100)."""
    total = sum(weights.values())
    return max(abs(shares.get(name, 0.0) - weights.get(name, 0) / total) for name in {*shares, *weights}) * 100


class Load:
    """Places orders at `target` with `workers` at once, at most `rate` a second, until closed."""

    def __init__(self, target: str, workers: int, rate: float) -> None:
        self._workers = workers
        self._interval = 1 / rate
        self._next = 0.0
        self._customers = itertools.count()
        self._windows: list[Tally] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._channel = grpc.aio.insecure_channel(target)
        self._storefront = shop_pb2_grpc.StorefrontServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self.total = self.open_window()

    def open_window(self, goal: int = 0) -> Tally:
        """Count what begins from now on in a tally of its own, until `close_window`."""
        tally = Tally(time.monotonic(), goal)
        self._windows.append(tally)
        return tally

    def close_window(self, tally: Tally) -> None:
        """Stop counting into `tally`; doing so twice is fine."""
        if tally in self._windows:
            self._windows.remove(tally)

    def start(self) -> None:
        """Begin."""
        self._tasks = [spawn(f"customer {number}", self._order_for_ever()) for number in range(self._workers)]

    async def close(self) -> None:
        """Finish the orders under way, then stop."""
        self._interval = math.inf
        for task in self._tasks:
            await task
        await self._channel.close()

    async def order(self, metadata: Sequence[tuple[str, str]] = ()) -> shop_pb2.PlaceOrderResponse:
        """Place one order, not counted; raises grpc.aio.AioRpcError."""
        response: shop_pb2.PlaceOrderResponse = await self._storefront.PlaceOrder(
            shop_pb2.PlaceOrderRequest(customer=f"customer-{next(self._customers)}"), timeout=TIMEOUT,
            metadata=tuple(metadata), wait_for_ready=False)
        return response

    async def _order_for_ever(self) -> None:
        while await self._turn():
            began = time.monotonic()
            try:
                response = await self.order()
            except grpc.aio.AioRpcError as error:
                self._count(began, None, f"{error.code().name}: {error.details()}")
            else:
                self._count(began, response, "")

    async def _turn(self) -> bool:
        # Orders are due at even distances; one that comes late is not made up for by a burst.
        if math.isinf(self._interval):
            return False
        now = time.monotonic()
        self._next = max(self._next + self._interval, now)
        await asyncio.sleep(self._next - now)
        return not math.isinf(self._interval)

    def _count(self, began: float, response: shop_pb2.PlaceOrderResponse | None, message: str) -> None:
        took = time.monotonic() - began
        for tally in self._windows:
            if began < tally.opened:
                continue
            if response is None:
                tally.failed(message)
            else:
                tally.succeeded(began, took, {"cart": response.cart_replica, "payment": response.payment_replica})


async def _report(target: str, rate: float) -> None:
    """Place orders for ever and print figures every few seconds: the customers of docker/compose.yaml."""
    load = Load(target, 16, rate)
    load.close_window(load.total)
    load.start()
    while True:
        window = load.open_window()
        await asyncio.sleep(REPORT_INTERVAL)
        load.close_window(window)
        served = ", ".join(f"{name} {share:.0%}" for service in window.served
                           for name, share in window.shares(service).items())
        p50, p99 = (percentile(window.latencies, ratio) * 1000 for ratio in (0.5, 0.99))
        print(f"{window.requests} orders, {window.failures} failed, p50 {p50:.1f} ms, p99 {p99:.1f} ms; {served}",
              *window.messages[:1], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="mesh.demo.load")
    parser.add_argument("--target", required=True, help="host:port of the storefront or its sidecar")
    parser.add_argument("--rate", type=float, default=10.0, help="orders a second")
    flags = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_report(flags.target, flags.rate))
