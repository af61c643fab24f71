"""From a policy to its picker.

What lives here: the one table, and the check that a policy can be carried out here. What this must not know: how any of
the algorithms works. A sidecar loads the algorithms that its services use.
"""

from __future__ import annotations

from mesh.balance.picker import Picker
from mesh.balance.rng import Rng
from mesh.errors import InvalidResource
from mesh.model.balance import Algorithm, BalancePolicy


def check_policy(policy: BalancePolicy) -> None:
    """Refuse what the values allow but this process can't give (InvalidResource with the path under `balance`)."""
    if policy.algorithm is Algorithm.RING_HASH:
        from mesh.balance.ring_hash import check_ring

        try:
            check_ring(policy.hash)
        except InvalidResource as error:
            raise error.under("hash") from None


def make_picker(policy: BalancePolicy, rng: Rng) -> Picker:
    """Return a new picker that has no nodes yet."""
    match policy.algorithm:
        case Algorithm.POWER_OF_TWO:
            from mesh.balance.power_of_two import PowerOfTwo

            return PowerOfTwo(rng)
        case Algorithm.LEAST_REQUEST:
            from mesh.balance.least_request import LeastRequest

            return LeastRequest(rng, policy.choices)
        case Algorithm.PEAK_EWMA:
            from mesh.balance.peak_ewma import PeakEwma

            return PeakEwma(rng, policy.choices, policy.latency)
        case Algorithm.LEAST_TIME:
            from mesh.balance.least_time import LeastTime

            return LeastTime(rng, policy.latency)
        case Algorithm.LEAST_CONNECTIONS:
            from mesh.balance.least_connections import LeastConnections

            return LeastConnections(rng)
        case Algorithm.FIRST_AVAILABLE:
            from mesh.balance.first_available import FirstAvailable

            return FirstAvailable(rng, policy.capacity)
        case Algorithm.ROUND_ROBIN:
            from mesh.balance.round_robin import RoundRobin

            return RoundRobin(rng)
        case Algorithm.WEIGHTED_ROUND_ROBIN:
            from mesh.balance.weighted_round_robin import WeightedRoundRobin

            return WeightedRoundRobin(rng)
        case Algorithm.RANDOM:
            from mesh.balance.weighted_random import WeightedRandom

            return WeightedRandom(rng)
        case Algorithm.UNIFORM_RANDOM:
            from mesh.balance.weighted_random import UniformRandom

            return UniformRandom(rng)
        case _:
            return _make_hash_picker(policy, rng)


def _make_hash_picker(policy: BalancePolicy, rng: Rng) -> Picker:
    hashing = policy.hash
    match policy.algorithm:
        case Algorithm.RING_HASH:
            from mesh.balance.ring_hash import RingHash

            return RingHash(rng, hashing.bounded_load, hashing.min_ring_size, hashing.max_ring_size)
        case Algorithm.MAGLEV:
            from mesh.balance.maglev import Maglev

            return Maglev(rng, hashing.bounded_load, hashing.table_size)
        case _:  # SOURCE_IP_HASH is RENDEZVOUS with that key
            from mesh.balance.rendezvous import Rendezvous

            return Rendezvous(rng, hashing.bounded_load)
