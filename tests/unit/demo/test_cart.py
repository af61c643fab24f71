"""The cart: the same customer always has the same thing, and the answer names the replica."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from mesh.demo.cart import ITEMS, Cart
from mesh.demo.v1 import shop_pb2


def test_a_cart_is_always_the_same_and_names_its_replica() -> None:
    async def get(replica: str, customer: str) -> shop_pb2.GetCartResponse:
        return await Cart(replica).GetCart(shop_pb2.GetCartRequest(customer=customer), cast(Any, None))

    first = asyncio.run(get("cart-0", "ada"))
    again = asyncio.run(get("cart-1", "ada"))
    assert (first.item, first.total) == (again.item, again.total)
    assert (first.replica, again.replica) == ("cart-0", "cart-1")
    assert first.item in ITEMS
    assert 100 <= first.total < 10_000
