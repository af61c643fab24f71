"""From the name of an algorithm to its picker.

What lives here: the one table. What this must not know: how any of them works.
"""

from __future__ import annotations

from mesh.balance.least_connections import LeastConnections
from mesh.balance.node import NodeSet
from mesh.balance.picker import Picker
from mesh.balance.power_of_two import PowerOfTwo
from mesh.balance.rng import Rng
from mesh.balance.round_robin import RoundRobin
from mesh.balance.source_ip_hash import SourceIpHash
from mesh.balance.weighted_random import WeightedRandom
from mesh.balance.weighted_round_robin import WeightedRoundRobin
from mesh.model.values import Algorithm

PICKERS: dict[Algorithm, type[Picker]] = {
    Algorithm.ROUND_ROBIN: RoundRobin,
    Algorithm.WEIGHTED_ROUND_ROBIN: WeightedRoundRobin,
    Algorithm.RANDOM: WeightedRandom,
    Algorithm.SOURCE_IP_HASH: SourceIpHash,
    Algorithm.LEAST_CONNECTIONS: LeastConnections,
    Algorithm.POWER_OF_TWO: PowerOfTwo,
}


def make_picker(algorithm: Algorithm, nodes: NodeSet, rng: Rng) -> Picker:
    """Return a new picker over `nodes`. After each reconcile or ejection its owner calls `changed()`."""
    return PICKERS[algorithm](nodes, rng)
