"""The storefront, `python -m mesh.demo.storefront --port 50051`: reads a cart, charges it, takes one piece from stock.

Where the others are it learns from `MESH_OUTBOUND_CART`, `MESH_OUTBOUND_PAYMENT` and `MESH_OUTBOUND_STOCK`, which
`mesh run` sets to its sidecar's listeners. It passes the caller's deadline and trace context on, as an app should.
"""

from __future__ import annotations

import os
import uuid

import grpc.aio
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mesh.demo import server, tracing
from mesh.demo.stock import StockClient, StockError
from mesh.demo.v1 import shop_pb2, shop_pb2_grpc

PIECES = "1000000"  # of everything, at first
DEFAULT_TIMEOUT = 5.0  # seconds, where the caller sets none

_context = TraceContextTextMapPropagator()
Context = grpc.aio.ServicerContext[shop_pb2.PlaceOrderRequest, shop_pb2.PlaceOrderResponse]


class Storefront(shop_pb2_grpc.StorefrontServiceServicer):
    """Takes orders."""

    def __init__(self, cart: shop_pb2_grpc.CartServiceStub, payment: shop_pb2_grpc.PaymentServiceStub,
                 stock: StockClient, tracer: trace.Tracer) -> None:
        self._cart = cart
        self._payment = payment
        self._stock = stock
        self._tracer = tracer
        self._stocked: set[str] = set()

    async def PlaceOrder(self, request: shop_pb2.PlaceOrderRequest, context: Context) -> shop_pb2.PlaceOrderResponse:
        carrier = {name: str(value) for name, value in context.invocation_metadata() or ()}
        parent = _context.extract(carrier)
        with self._tracer.start_as_current_span("place order", parent, attributes={"customer": request.customer}):
            onward: dict[str, str] = {}
            _context.inject(onward)
            return await self._place(request, context, tuple(onward.items()))

    async def _place(self, request: shop_pb2.PlaceOrderRequest, context: Context,
                     metadata: tuple[tuple[str, str], ...]) -> shop_pb2.PlaceOrderResponse:
        left = context.time_remaining()
        timeout = DEFAULT_TIMEOUT if left is None else left
        try:
            cart = await self._cart.GetCart(shop_pb2.GetCartRequest(customer=request.customer),
                                            timeout=timeout, metadata=metadata)
            charge = await self._payment.Charge(
                shop_pb2.ChargeRequest(customer=request.customer, amount=cart.total), timeout=timeout,
                metadata=(*metadata, ("idempotency-key", uuid.uuid4().hex)))
            pieces = await self._take(cart.item)
        except grpc.aio.AioRpcError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error.code().name}: {error.details()}")
        except (OSError, StockError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"stock: {error}")
        return shop_pb2.PlaceOrderResponse(receipt=charge.receipt, stock_left=pieces,
                                           cart_replica=cart.replica, payment_replica=charge.replica)

    async def _take(self, item: str) -> int:
        # Raw TCP has no header to carry the trace context, so the app says itself what it did there.
        with self._tracer.start_as_current_span("DECR stock", kind=trace.SpanKind.CLIENT,
                                                attributes={"peer.service": "stock", "db.system.name": "redis"}):
            key = f"stock:{item}"
            if item not in self._stocked:
                await self._stock.call("SETNX", key, PIECES)
                self._stocked.add(item)
            left = await self._stock.call("DECR", key)
        if not isinstance(left, int):
            raise StockError(f"DECR gave {left!r}")
        return left


def add(to: grpc.aio.Server, replica: str) -> None:
    """Put the service into a server, with its connections to the sidecar."""
    host, port = os.environ["MESH_OUTBOUND_STOCK"].rsplit(":", 1)
    service = Storefront(
        shop_pb2_grpc.CartServiceStub(grpc.aio.insecure_channel(os.environ["MESH_OUTBOUND_CART"])),  # type: ignore[no-untyped-call]
        shop_pb2_grpc.PaymentServiceStub(grpc.aio.insecure_channel(os.environ["MESH_OUTBOUND_PAYMENT"])),  # type: ignore[no-untyped-call]
        StockClient(host, int(port)), tracing.provider("storefront").get_tracer("mesh.demo"))
    shop_pb2_grpc.add_StorefrontServiceServicer_to_server(service, to)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    server.run("storefront", add)
