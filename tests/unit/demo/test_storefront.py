"""The storefront: one order is a cart, a charge with a key, and a piece of stock; deadline and trace context go on."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from opentelemetry import trace

from mesh.demo.stock import StockError
from mesh.demo.storefront import DEFAULT_TIMEOUT, Storefront
from mesh.demo.v1 import shop_pb2

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Aborted(Exception):
    pass


class Call:
    """The part of a ServicerContext that the service uses."""

    def __init__(self, left: float | None) -> None:
        self._left = left

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("traceparent", PARENT),)

    def time_remaining(self) -> float | None:
        return self._left

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(f"{code.name} {details}")


class Others:
    """Cart and payment, recording how they were called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float, dict[str, str]]] = []

    async def GetCart(self, request: Any, timeout: float, metadata: Any) -> shop_pb2.GetCartResponse:
        self.calls.append(("cart", timeout, dict(metadata)))
        return shop_pb2.GetCartResponse(item="kite", total=700, replica="cart-2")

    async def Charge(self, request: shop_pb2.ChargeRequest, timeout: float, metadata: Any) -> shop_pb2.ChargeResponse:
        assert request.amount == 700
        self.calls.append(("payment", timeout, dict(metadata)))
        return shop_pb2.ChargeResponse(receipt="r", replica="payment-1")


class Stock:
    def __init__(self, reply: object = 41) -> None:
        self._reply = reply
        self.commands: list[tuple[str, ...]] = []

    async def call(self, *words: str) -> object:
        self.commands.append(words)
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply


def order(others: Others, stock: Stock, left: float | None = 2.0) -> shop_pb2.PlaceOrderResponse:
    service = Storefront(cast(Any, others), cast(Any, others), cast(Any, stock), trace.NoOpTracer())
    return asyncio.run(service.PlaceOrder(shop_pb2.PlaceOrderRequest(customer="ada"), cast(Any, Call(left))))


def test_an_order_calls_all_three_and_names_the_replicas() -> None:
    others, stock = Others(), Stock()
    answer = order(others, stock)
    assert (answer.cart_replica, answer.payment_replica, answer.stock_left) == ("cart-2", "payment-1", 41)
    assert [name for name, _, _ in others.calls] == ["cart", "payment"]
    assert [words[0] for words in stock.commands] == ["SETNX", "DECR"]
    assert all(words[1] == "stock:kite" for words in stock.commands)


def test_deadline_trace_context_and_key_go_on() -> None:
    others = Others()
    order(others, Stock(), left=1.5)
    for _, timeout, metadata in others.calls:
        assert timeout == 1.5
        assert metadata["traceparent"].split("-")[1] == PARENT.split("-")[1]
    keys = [metadata.get("idempotency-key") for _, _, metadata in others.calls]
    assert keys[0] is None
    assert keys[1]


def test_a_caller_without_deadline_gets_the_default() -> None:
    others = Others()
    order(others, Stock(), left=None)
    assert others.calls[0][1] == DEFAULT_TIMEOUT


@pytest.mark.parametrize("reply", [StockError("no"), ConnectionError("gone"), b"words", None])
def test_trouble_with_stock_is_unavailable(reply: object) -> None:
    with pytest.raises(Aborted, match="UNAVAILABLE stock"):
        order(Others(), Stock(reply))


def test_trouble_with_a_service_names_its_status() -> None:
    class Down(Others):
        async def Charge(self, request: shop_pb2.ChargeRequest, timeout: float, metadata: Any) -> Any:
            empty = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, empty, empty, details="full")

    with pytest.raises(Aborted, match="UNAVAILABLE RESOURCE_EXHAUSTED: full"):
        order(Down(), Stock())
