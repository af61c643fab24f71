"""The payment service: `python -m mesh.demo.payment --port 50051 --replica payment-0`.

A call without the `idempotency-key` header is refused; a key that this replica has seen gets its first receipt again.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

import grpc.aio

from mesh.demo import server
from mesh.demo.v1 import shop_pb2, shop_pb2_grpc

REMEMBERED = 10_000  # keys, oldest forgotten first; a real service keeps them in its database


class Payment(shop_pb2_grpc.PaymentServiceServicer):
    """Takes the money once per idempotency key."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._receipts: OrderedDict[str, str] = OrderedDict()

    async def Charge(self, request: shop_pb2.ChargeRequest,
                     context: grpc.aio.ServicerContext[shop_pb2.ChargeRequest, shop_pb2.ChargeResponse],
                     ) -> shop_pb2.ChargeResponse:
        key = next((str(value) for name, value in context.invocation_metadata() or () if name == "idempotency-key"), "")
        if not key:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a charge needs an idempotency-key header")
        receipt = self._receipts.get(key)
        if receipt is None:
            receipt = self._receipts[key] = f"{request.amount}-{secrets.token_hex(4)}"
            if len(self._receipts) > REMEMBERED:
                self._receipts.popitem(last=False)
        return shop_pb2.ChargeResponse(receipt=receipt, replica=self._replica)


def add(to: grpc.aio.Server, replica: str) -> None:
    """Put the service into a server."""
    shop_pb2_grpc.add_PaymentServiceServicer_to_server(Payment(replica), to)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    server.run("payment", add)
