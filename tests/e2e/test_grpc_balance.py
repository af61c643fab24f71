"""Who gets the calls: shares by weight, live changes, drain, ejection, as a caller sees them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grpc
import pytest
from e2e_calls import Client, Load, trailers
from e2e_mesh import Mesh, Replica, service
from e2e_processes import Sidecar, eventually

from mesh.v1 import registry_pb2

pytestmark = pytest.mark.e2e


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar
    carts: list[Replica]

    def apply(self, algorithm: str, **policies: dict[str, object]) -> None:
        """Put a policy in force at the caller's sidecar."""
        self.mesh.apply(service("cart", balance={"algorithm": f"ALGORITHM_{algorithm.upper()}"}, **policies))
        eventually(lambda: str(self.web.cluster("cart").get("algorithm")).split(",")[0] == algorithm,
                   f"cart is balanced by {algorithm}")

    def weigh(self, *weights: int) -> None:
        self.mesh.set_weights("cart", **{f"cart_{n}": weight for n, weight in enumerate(weights)})
        self.mesh.wait_seen(self.web, "cart")


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    mesh.apply(service("cart"))
    carts = mesh.replicas("cart", 3, weights=(1, 3, 2))
    web = mesh.sidecar("web", "web-0", outbound=["cart"])
    mesh.wait_seen(web, "cart")
    return Shop(mesh, web, carts)


@pytest.fixture
def client(shop: Shop, connect: Callable[..., Client]) -> Client:
    return connect(shop.web.outbound("cart"))


def near(shares: Counter[str], weights: tuple[int, ...], points: float) -> None:
    total = sum(shares.values())
    got = [100 * shares[f"cart-{n}"] / total for n in range(len(weights))]
    want = [100 * weight / sum(weights) for weight in weights]
    assert all(abs(a - b) <= points for a, b in zip(got, want, strict=True)), f"{got} instead of {want}"


def test_flag_weights_are_the_shares(shop: Shop, client: Client) -> None:
    """--weight 1, 3, 2 and the default algorithm: within 3 points over 2,000 calls."""
    near(client.shares(2000), (1, 3, 2), 3)


def test_smooth_weighted_round_robin_is_exact(shop: Shop, client: Client) -> None:
    shop.apply("weighted_round_robin")
    shop.weigh(1, 3, 2)
    assert client.shares(600) == {"cart-0": 100, "cart-1": 300, "cart-2": 200}


def test_weights_change_live(shop: Shop, client: Client) -> None:
    shop.apply("weighted_round_robin")
    shop.weigh(1, 0, 9)
    assert client.shares(500) == {"cart-0": 50, "cart-2": 450}
    shop.weigh(1, 1, 1)
    assert client.shares(300) == {"cart-0": 100, "cart-1": 100, "cart-2": 100}


def test_weight_change_under_load_fails_nothing(shop: Shop, load: type[Load]) -> None:
    shop.apply("power_of_two")
    shop.weigh(1, 3, 2)
    with load(shop.web.outbound("cart"), lambda n: ("Whoami", b"", ())) as traffic:
        for weights in ((1, 0, 9), (0, 0, 1), (5, 5, 0), (1, 3, 2)):
            traffic.wait_more(100)
            shop.weigh(*weights)
        traffic.wait_more(100)
    assert traffic.failures == []


@pytest.mark.parametrize("algorithm", ["random", "least_connections", "power_of_two"])
def test_algorithms_that_draw_follow_the_weights(shop: Shop, client: Client, algorithm: str) -> None:
    shop.apply(algorithm)
    shop.weigh(1, 3, 2)
    near(client.shares(1500), (1, 3, 2), 5)


def test_round_robin_takes_each_in_turn_but_weight_0(shop: Shop, client: Client) -> None:
    shop.apply("round_robin")
    shop.weigh(1, 3, 2)
    assert client.shares(90) == {"cart-0": 30, "cart-1": 30, "cart-2": 30}
    shop.weigh(1, 0, 2)
    assert client.shares(90) == {"cart-0": 45, "cart-2": 45}


def test_source_ip_hash_stays_with_one(shop: Shop, client: Client, connect: Callable[..., Client]) -> None:
    shop.apply("source_ip_hash")
    shop.weigh(1, 1, 1)
    first, second = client.shares(20), connect(shop.web.outbound("cart")).shares(20)
    assert len(first) == 1
    assert first == second


@pytest.mark.parametrize("algorithm", ["least_connections", "power_of_two"])
def test_calls_in_flight_are_avoided(shop: Shop, client: Client, algorithm: str) -> None:
    """Slow calls pile up evenly where load counts. Power of two choices is only nearly even."""
    shop.apply(algorithm)
    shop.weigh(1, 1, 1)
    calls = [client.method("Pause").future(b"1", timeout=10) for _ in range(60)]
    shares = Counter(call.result().decode() for call in calls)
    if algorithm == "least_connections":
        assert shares == {"cart-0": 20, "cart-1": 20, "cart-2": 20}
    else:
        near(shares, (1, 1, 1), 15)


def test_operators_drain(shop: Shop, client: Client) -> None:
    shop.apply("round_robin")
    shop.weigh(1, 1, 1)
    shop.mesh.registry.Drain(registry_pb2.DrainRequest(service="cart", endpoint="cart-1"), timeout=5)
    eventually(lambda: not shop.web.endpoints("cart")["cart-1"]["eligible"], "the drain has arrived")
    assert client.shares(60) == {"cart-0": 30, "cart-2": 30}
    shop.mesh.registry.Drain(registry_pb2.DrainRequest(service="cart", endpoint="cart-1", undo=True), timeout=5)
    eventually(lambda: shop.web.endpoints("cart")["cart-1"]["eligible"], "the drain is undone")
    assert client.shares(60) == {"cart-0": 20, "cart-1": 20, "cart-2": 20}


def test_nobody_eligible_is_said_plainly(shop: Shop, client: Client) -> None:
    shop.apply("power_of_two")
    shop.weigh(0, 0, 0)
    error = client.code("Whoami", timeout=5)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert trailers(error)["mesh-reason"] == "no_healthy_upstream"
    shop.weigh(1, 1, 1)
    assert client.call("Whoami")


# -- ejection


@pytest.fixture
def sick(shop: Shop) -> Iterator[Client]:
    """cart-1 fails every call; the client talks to it past the mesh."""
    with Client(shop.carts[1].app.address) as direct:
        direct.call("SetSick", b"1")
        yield direct
        direct.call("SetSick", b"0")


def test_failures_in_a_row_eject(shop: Shop, client: Client, sick: Client) -> None:
    """5 failures, then none: the sixth call in a row goes elsewhere; back after the time is over and it is well."""
    shop.weigh(1, 1, 1)
    shop.apply("round_robin", retry={"max_attempts": 1},
               outlier={"consecutive_failures": 5, "base_ejection_time": "2s", "max_ejection_time": "2s"})
    answers: Counter[str] = Counter()
    for _ in range(90):
        try:
            answers[client.call("Whoami").decode()] += 1
        except grpc.RpcError as error:
            answers[error.details()] += 1
    assert answers["cart-1 is sick"] == 5, answers
    assert set(answers) == {"cart-0", "cart-2", "cart-1 is sick"}
    assert not shop.web.endpoints("cart")["cart-1"]["eligible"]
    sick.call("SetSick", b"0")
    # Back by one request that goes well, once its time is over.
    eventually(lambda: client.call("Whoami") and shop.web.endpoints("cart")["cart-1"]["eligible"], "it is back", 15)
    assert client.shares(60) == {"cart-0": 20, "cart-1": 20, "cart-2": 20}


def test_one_ejection_at_a_time_by_default(shop: Shop, client: Client, sick: Client) -> None:
    """max_ejection_ratio 0.1 of three endpoints is one: the second sick one stays."""
    shop.apply("power_of_two")  # a new policy object: nobody is out
    shop.apply("round_robin", retry={"max_attempts": 1}, outlier={
        "consecutive_failures": 3, "base_ejection_time": "1s", "max_ejection_time": "1s"})
    with Client(shop.carts[2].app.address) as other:
        other.call("SetSick", b"1")
        try:
            for _ in range(30):
                with contextlib.suppress(grpc.RpcError):
                    client.call("Whoami")
            eligible = [node["eligible"] for node in shop.web.endpoints("cart").values()]
            assert eligible.count(False) == 1
        finally:
            other.call("SetSick", b"0")
    sick.call("SetSick", b"0")
    eventually(lambda: client.call("Whoami") and all(node["eligible"] for node in shop.web.endpoints("cart").values()),
               "all are back", 15)


def test_a_sick_app_is_never_ejected_by_its_own_sidecar(shop: Shop, client: Client, sick: Client) -> None:
    shop.apply("round_robin", retry={"max_attempts": 1}, outlier={"consecutive_failures": 0})
    shop.weigh(0, 1, 0)
    for _ in range(20):
        error = client.code("Whoami")
        assert error.details() == "cart-1 is sick"
    sick.call("SetSick", b"0")
    assert client.call("Whoami") == b"cart-1"
    shop.weigh(1, 1, 1)
