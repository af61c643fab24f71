"""The whole story over a shop made of paper: promises are kept when the mesh does its part, broken when not."""

from __future__ import annotations

import asyncio
import io
from typing import Any, cast

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from rich.console import Console

from mesh.demo import story
from mesh.demo.load import Load
from mesh.demo.promises import Promise
from mesh.demo.story import VICTIM, Story
from mesh.demo.v1 import shop_pb2
from mesh.demo.view import View


class PaperProcess:
    def __init__(self, shop: PaperShop, name: str) -> None:
        self._shop = shop
        self._name = name

    async def kill(self) -> int:
        self._shop.down.add(self._name)
        return 3



class PaperShop:
    """Answers orders by the weights in force, like a mesh that works; `fault` is what it does wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.down: set[str] = set()
        self.current = {"cart-0": 1, "cart-1": 3, "cart-2": 2}
        self.instances = {name: PaperProcess(self, name) for name in ("cart-0", "payment-0", VICTIM)}
        self.controller = PaperProcess(self, "control plane")
        self.traced = ""
        self._turn = 0

    async def PlaceOrder(self, request: shop_pb2.PlaceOrderRequest, metadata: Any = (),
                         **options: Any) -> shop_pb2.PlaceOrderResponse:
        await asyncio.sleep(0)
        if metadata:
            self.traced = dict(metadata)["traceparent"].split("-")[1]
        if self.fault == "fails without control plane" and "control plane" in self.down:
            empty = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, empty, empty, details="no control plane")
        self._turn += 1
        names = [name for name, weight in self.current.items() for _ in range(weight)]
        cart = "cart-0" if self.fault == "ignores weights" else names[self._turn % len(names)]
        payment = VICTIM if VICTIM not in self.down or self.fault == "calls the dead" else "payment-0"
        return shop_pb2.PlaceOrderResponse(cart_replica=cart, payment_replica=payment)

    async def start_controller(self) -> None:
        self.down.discard("control plane")

    async def retries(self) -> int:
        return 0

    async def command(self, *words: str, columns: int = 120) -> str:
        if words[0] == "weight":
            self.current = {name: int(weight) for name, _, weight in (word.partition("=") for word in words[2:])}
        return "waterfall of " + words[-1]

    async def weights(self, service: str = "") -> dict[str, int]:
        return {} if self.fault == "forgets" else dict(self.current)

    async def heard(self, since: float) -> set[str]:
        return set() if self.fault == "stays away" else set(self.instances) - self.down

    async def export(self, span: ReadableSpan) -> None:
        assert f"{span.context.trace_id:032x}" == self.traced

    async def trace(self, trace_id: str) -> list[tuple[str, str, str]]:
        if self.fault == "loses spans" or trace_id != self.traced:
            return []
        return [("customer", "0", ""), ("storefront", "1", "0"), ("cart", "2", "1"), ("payment", "3", "1")]


def told(monkeypatch: pytest.MonkeyPatch, fault: str) -> tuple[list[Promise], str]:
    monkeypatch.setattr(story, "SETTLE", 0.0)
    monkeypatch.setattr(story, "BACK", 0.01)
    monkeypatch.setattr(story, "TRACED", 0.01 if fault == "loses spans" else 5.0)
    out = io.StringIO()

    async def tell() -> list[Promise]:
        shop = PaperShop(fault)
        load = Load("127.0.0.1:1", workers=4, rate=1e6)
        load._storefront = cast(Any, shop)
        load.start()
        try:
            return await Story(cast(Any, shop), load, View(Console(file=out, width=200))).tell()
        finally:
            await load.close()

    return asyncio.run(tell()), out.getvalue()


@pytest.mark.slow
def test_a_mesh_that_works_keeps_every_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, printed = told(monkeypatch, "")
    assert [promise for promise in kept if not promise.kept] == []
    assert len(kept) == 12
    for act in ("1. Traffic settles", "2. Weights change", f"3. {VICTIM} is killed", "4. The control", "5. The trace"):
        assert act in printed
    assert "waterfall of " in printed


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "broken"), [
    ("ignores weights", ["shares within 3 points of the weights 1:3:2", "shares within 3 points of the weights 1:0:9",
                         "shares within 3 points of the weights 2:1:1"]),
    ("calls the dead", [f"the other payment replicas take over from {VICTIM}"]),
    ("fails without control plane", ["no failed request in the whole story",
                                     "no failed request without a control plane",
                                     "no failed request until the control plane is back in charge"]),
    ("forgets", ["weights outlive the control plane's death"]),
    ("stays away", ["every sidecar comes back to the control plane"]),
    ("loses spans", ["one trace shows the whole order"]),
])
def test_what_the_mesh_does_wrong_is_named(monkeypatch: pytest.MonkeyPatch, fault: str, broken: list[str]) -> None:
    kept, _ = told(monkeypatch, fault)
    assert [promise.text for promise in kept if not promise.kept] == broken
