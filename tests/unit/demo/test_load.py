"""Windows, percentiles and drift; the driver against a storefront that answers by the table."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest

from mesh.demo.load import Load, Tally, drift, percentile
from mesh.demo.v1 import shop_pb2


@pytest.mark.parametrize(("ratio", "value"), [(0.0, 1.0), (0.5, 5.0), (0.51, 6.0), (0.99, 10.0), (1.0, 10.0)])
def test_nearest_rank(ratio: float, value: float) -> None:
    assert percentile([float(number) for number in range(10, 0, -1)], ratio) == value
    assert percentile([], ratio) == 0.0


def test_drift_counts_strangers_and_absentees() -> None:
    assert drift({"a": 0.5, "b": 0.5}, {"a": 1, "b": 1}) == pytest.approx(0)
    assert drift({"a": 1.0}, {"a": 3, "b": 1}) == pytest.approx(25)
    assert drift({"a": 0.9, "x": 0.1}, {"a": 1}) == pytest.approx(10)


def test_a_tally_keeps_shares_and_the_last_order_of_each_replica() -> None:
    tally = Tally(0.0, goal=3)
    tally.succeeded(2.0, 0.1, {"cart": "cart-0", "payment": "payment-0"})
    tally.succeeded(1.0, 0.1, {"cart": "cart-0", "payment": "payment-1"})
    assert not tally.reached.is_set()
    tally.failed("UNAVAILABLE: x")
    assert tally.reached.is_set()
    assert tally.shares("cart") == {"cart-0": 1.0}
    assert tally.shares("payment") == {"payment-0": 0.5, "payment-1": 0.5}
    assert tally.last == {"cart-0": 2.0, "payment-0": 2.0, "payment-1": 1.0}
    assert (tally.requests, tally.failures) == (3, 1)


class Storefront:
    """Answers; every third order fails."""

    def __init__(self) -> None:
        self.orders = 0

    async def PlaceOrder(self, request: shop_pb2.PlaceOrderRequest, **options: Any) -> shop_pb2.PlaceOrderResponse:
        self.orders += 1
        if self.orders % 3 == 0:
            empty = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, empty, empty, details="no")
        return shop_pb2.PlaceOrderResponse(cart_replica="cart-0", payment_replica="payment-0")


def test_the_driver_counts_only_what_began_inside_a_window() -> None:
    async def check() -> None:
        load = Load("127.0.0.1:1", workers=2, rate=1e6)
        load._storefront = cast(Any, Storefront())
        window = load.open_window(goal=30)
        load.start()
        await window.reached.wait()
        load.close_window(window)
        seen = window.requests
        later = load.open_window(goal=3)
        await later.reached.wait()
        await load.close()
        assert window.requests == seen
        assert load.total.requests >= seen + later.requests
        assert load.total.failures == load.total.requests // 3
        assert window.messages[0] == "UNAVAILABLE: no"

    asyncio.run(check())
