"""Sets of nodes and balancers over them, for the tests of mesh.balance."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.balance import Balancer, Node, NodeSet, Rng
from mesh.model import Algorithm, BalancePolicy, Endpoint, Health

# What an algorithm can't do without. More calls than any test makes: first_available is then always at the first.
NEEDED = {Algorithm.FIRST_AVAILABLE: {"capacity": 3}}


def endpoints(weights: Sequence[int], first_port: int = 5000, health: Health = Health.HEALTHY) -> list[Endpoint]:
    """One endpoint per weight, named in the order of the weights."""
    return [Endpoint("cart", f"cart-{i:05}", "127.0.0.1", first_port + i, weight=weight, health=health)
            for i, weight in enumerate(weights)]


def node_set(weights: Sequence[int]) -> NodeSet:
    """The nodes of `endpoints(weights)`."""
    nodes = NodeSet()
    nodes.reconcile(endpoints(weights))
    return nodes


def policy_of(algorithm: Algorithm, **fields: object) -> BalancePolicy:
    """A policy with nothing but what the algorithm needs, and `fields`."""
    return BalancePolicy(algorithm, **{**NEEDED.get(algorithm, {}), **fields})


def balancer_of(algorithm: Algorithm, nodes: NodeSet, rng: Rng, **fields: object) -> Balancer:
    return Balancer(policy_of(algorithm, **fields), nodes, rng)


def load(node: Node, calls: int) -> Node:
    """Make `node` have `calls` in flight."""
    while node.in_flight < calls:
        node.begin()
    while node.in_flight > calls:
        node.end()
    return node
