"""Node sets for the tests of mesh.balance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mesh.balance.node import NodeSet
from mesh.model import Endpoint, Health


def endpoints(weights: Sequence[int], first_port: int = 5000, health: Health = Health.HEALTHY) -> list[Endpoint]:
    """One endpoint per weight, named in the order of the weights."""
    return [Endpoint("cart", f"cart-{i:05}", "127.0.0.1", first_port + i, weight=weight, health=health)
            for i, weight in enumerate(weights)]


@pytest.fixture(name="endpoints")
def endpoints_fixture() -> Callable[..., list[Endpoint]]:
    return endpoints


@pytest.fixture
def node_set() -> Callable[..., NodeSet]:
    def make(weights: Sequence[int]) -> NodeSet:
        nodes = NodeSet()
        nodes.reconcile(endpoints(weights))
        return nodes

    return make
