"""The control plane dies, comes back, is away, or says nonsense: the traffic goes on with what is known."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import grpc
import pytest
from e2e_calls import Client, Load
from e2e_mesh import OPTIONS, Mesh, Replica, service
from e2e_processes import Sidecar, eventually

from mesh.v1 import service_pb2
from mesh.xds.v3 import discovery_pb2

pytestmark = pytest.mark.e2e
SERVICE_TYPE = "type.googleapis.com/mesh.v1.Service"


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar
    carts: list[Replica]


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    mesh.apply(service("cart"))
    carts = mesh.replicas("cart", 2)
    web = mesh.sidecar("web", "web-0", outbound=["cart"])
    mesh.wait_seen(web, "cart")
    return Shop(mesh, web, carts)


def test_control_plane_killed_and_restarted_under_load(shop: Shop, load: type[Load]) -> None:
    """SIGKILL, calls go on; it comes back with what it knew, the sidecars reconnect, and a change arrives."""
    mesh = shop.mesh
    revision = mesh.apply(service("marker"))
    with load(shop.web.outbound("cart"), lambda n: ("Whoami", b"", ())) as traffic:
        traffic.wait_more(100)
        mesh.control_plane.kill()
        traffic.wait_more(300)
        mesh.control_plane.start()
        traffic.wait_more(100)
        assert mesh.apply(service("marker"), service("marker-2")) > revision, "revisions never go back"
        mesh.wait_registered("cart", {"cart-0", "cart-1"})
        eventually(lambda: _connected(mesh, "web/web-0"), "the caller's sidecar is back", 15)
        mesh.set_weights("cart", cart_0=0)
        mesh.wait_seen(shop.web, "cart", 15)
        traffic.wait_more(50)
        assert {name: endpoint.weight for name, endpoint in mesh.registered("cart").items()}["cart-0"] == 0
    assert traffic.failures == []
    with Client(shop.web.outbound("cart")) as client:
        assert client.shares(20) == {"cart-1": 20}
    mesh.set_weights("cart", cart_0=1)
    mesh.wait_seen(shop.web, "cart")


def _connected(mesh: Mesh, sidecar_id: str) -> bool:
    status = mesh.sidecar_status(sidecar_id)
    return status is not None and status.connected


def test_leases_outlive_a_restart_of_the_control_plane(shop: Shop) -> None:
    """Down for longer than nothing, back before the leases end: no endpoint was ever missing from its answers."""
    mesh = shop.mesh
    mesh.control_plane.kill()
    mesh.control_plane.start()
    for _ in range(20):
        assert set(mesh.registered("cart")) == {"cart-0", "cart-1"}
    # ... and after the heartbeats are back they stay.
    eventually(lambda: all(_connected(mesh, f"cart/cart-{n}") or _connected(mesh, "web/web-0") for n in range(2)),
               "the sidecars are back", 15)
    assert set(mesh.registered("cart")) == {"cart-0", "cart-1"}


def test_starts_and_serves_from_disk_while_the_control_plane_is_away(shop: Shop) -> None:
    mesh = shop.mesh
    web = mesh.sidecar("shelf", "shelf-0", outbound=["cart"])
    mesh.wait_seen(web, "cart")
    with Client(web.outbound("cart")) as client:
        assert client.call("Whoami").startswith(b"cart-")
    eventually(lambda: all(any(name in path.read_bytes() for path in web.state_dir.glob("*.state"))
                           for name in (b"cart-0", b"cart-1")), "what it knows is on disk", 5)
    mesh.control_plane.kill()
    try:
        web.kill()
        web.start()
        with Client(web.outbound("cart")) as client:
            assert set(client.shares(40)) == {"cart-0", "cart-1"}
    finally:
        mesh.control_plane.start()
    mesh.wait_registered("cart", {"cart-0", "cart-1"})
    mesh.set_weights("cart", cart_0=3)
    mesh.wait_seen(web, "cart", 15)
    mesh.set_weights("cart", cart_0=1)


def test_starts_without_control_plane_and_without_state(shop: Shop, connect: Callable[..., Client]) -> None:
    """It listens and says that it knows nothing, with a status of its own; later it learns."""
    mesh = shop.mesh
    mesh.control_plane.kill()
    try:
        web = mesh.sidecar("fresh", "fresh-0", outbound=["cart"])
        error = connect(web.outbound("cart")).code("Whoami", timeout=6)
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED), error
        assert "mesh-reason" in dict(error.trailing_metadata() or ()) or "mesh-reason" in dict(
            error.initial_metadata() or ())
    finally:
        mesh.control_plane.start()
    mesh.wait_seen(web, "cart", 15)
    assert connect(web.outbound("cart")).call("Whoami").startswith(b"cart-")


def test_stale_endpoints_go_when_the_control_plane_is_back(shop: Shop) -> None:
    """A replica that leaves while a sidecar can't hear of it is gone after the reconnect, not kept for ever."""
    mesh = shop.mesh
    [extra] = mesh.replicas("extra", 1)
    web = mesh.sidecar("late", "late-0", outbound=["extra"])
    mesh.wait_seen(web, "extra")
    mesh.control_plane.kill()
    extra.kill()
    assert set(web.endpoints("extra")) == {"extra-0"}
    mesh.control_plane.start()
    mesh.wait_registered("extra", set(), 25)
    eventually(lambda: web.endpoints("extra") == {}, "the endpoint is gone here too", 10)


# -- a resource that the sidecar can't accept


class Tamperer:
    """Passes every call through to the control plane, byte for byte, except that Services can be spoiled."""

    def __init__(self, upstream: str) -> None:
        self.spoil = False
        self._channel = grpc.insecure_channel(upstream, OPTIONS)
        self._server = grpc.server(futures.ThreadPoolExecutor(32), options=OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Every method as a stream both ways: on the wire a unary call is one with one message."""
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._pass(
            details.method, requests, context))

    def _pass(self, method: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        call = self._channel.stream_stream(method)(requests)
        context.add_callback(call.cancel)
        try:
            for response in call:
                yield self._tamper(response) if method.endswith("DeltaAggregatedResources") else response
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def _tamper(self, response: bytes) -> bytes:
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(response)
        if not self.spoil or message.type_url != SERVICE_TYPE:
            return response
        for resource in message.resources:
            spoilt = service_pb2.Service()
            resource.resource.Unpack(spoilt)
            spoilt.retry.max_attempts = 99
            resource.resource.Pack(spoilt)
        return message.SerializeToString()

    def stop(self) -> None:
        self._server.stop(0).wait()
        self._channel.close()


@pytest.fixture
def tamperer(shop: Shop) -> Iterator[Tamperer]:
    made = Tamperer(shop.mesh.address)
    yield made
    made.stop()


def test_refused_resource_leaves_the_old_one_in_force_and_shows(shop: Shop, tamperer: Tamperer) -> None:
    mesh = shop.mesh
    mesh.apply(service("cart", balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}))
    web = mesh.sidecar("picky", "picky-0", outbound=["cart"], control_plane=tamperer.address)
    mesh.wait_seen(web, "cart")
    assert web.cluster("cart")["algorithm"] == "round_robin"
    tamperer.spoil = True
    mesh.apply(service("cart", balance={"algorithm": "ALGORITHM_RANDOM"}))
    status = eventually(lambda: _refusing(mesh, "picky/picky-0"), "the refusal shows", 10)
    [refusal] = status.refusals
    assert refusal.resource == "service/cart"
    assert "retry.max_attempts" in refusal.reason
    assert "99" in refusal.reason
    assert web.cluster("cart")["algorithm"] == "round_robin", "the old one stays in force"
    with Client(web.outbound("cart")) as client:
        assert client.shares(20) == {"cart-0": 10, "cart-1": 10}
    # Endpoints of the same service still arrive, and so does the next good version.
    mesh.set_weights("cart", cart_0=0)
    mesh.wait_seen(web, "cart")
    tamperer.spoil = False
    mesh.apply(service("cart", balance={"algorithm": "ALGORITHM_LEAST_CONNECTIONS"}))
    eventually(lambda: web.cluster("cart")["algorithm"] == "least_connections", "the next good version is accepted")
    eventually(lambda: not _refusing(mesh, "picky/picky-0"), "the refusal is over")
    mesh.set_weights("cart", cart_0=1)
    web.stop()


def _refusing(mesh: Mesh, sidecar_id: str) -> Any:
    status = mesh.sidecar_status(sidecar_id)
    return status if status is not None and status.refusals else None


def test_many_changes_in_a_burst_all_arrive(shop: Shop) -> None:
    mesh = shop.mesh
    threads = [threading.Thread(target=lambda n=n: [mesh.set_weights("cart", **{f"cart_{n}": weight})  # type: ignore[misc]
                                                    for weight in range(1, 60)]) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    mesh.wait_seen(shop.web, "cart")
    assert {node["weight"] for node in shop.web.endpoints("cart").values()} == {59}
