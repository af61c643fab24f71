"""The cart service: `python -m mesh.demo.cart --port 50051 --replica cart-0`. It only reads."""

from __future__ import annotations

import zlib

import grpc.aio

from mesh.demo import server
from mesh.demo.v1 import shop_pb2, shop_pb2_grpc

ITEMS = ("teapot", "lamp", "notebook", "kite")


class Cart(shop_pb2_grpc.CartServiceServicer):
    """Every customer has one thing in the cart, always the same."""

    def __init__(self, replica: str) -> None:
        self._replica = replica

    async def GetCart(self, request: shop_pb2.GetCartRequest,
                      context: grpc.aio.ServicerContext[shop_pb2.GetCartRequest, shop_pb2.GetCartResponse],
                      ) -> shop_pb2.GetCartResponse:
        number = zlib.crc32(request.customer.encode())
        return shop_pb2.GetCartResponse(item=ITEMS[number % len(ITEMS)], total=100 + number % 9900,
                                        replica=self._replica)


def add(to: grpc.aio.Server, replica: str) -> None:
    """Put the service into a server."""
    shop_pb2_grpc.add_CartServiceServicer_to_server(Cart(replica), to)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    server.run("cart", add)
