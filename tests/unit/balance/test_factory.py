"""make_picker and check_policy: one picker for each algorithm of the model; what can't be carried out is refused."""

from __future__ import annotations

import pytest
from balance_world import policy_of

from mesh.balance import Rng, check_policy, make_picker
from mesh.errors import InvalidResource
from mesh.model import Algorithm, HashPolicy


@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_algorithm_has_a_picker(algorithm: Algorithm):
    policy, rng = policy_of(algorithm), Rng(1)
    check_policy(policy)
    picker = make_picker(policy, rng)
    assert picker.rng is rng
    assert picker.active == []
    kinds = {type(make_picker(policy_of(other), rng)) for other in Algorithm if other is not algorithm}
    same = {Algorithm.SOURCE_IP_HASH, Algorithm.RENDEZVOUS}  # apart only in where the key comes from
    assert (type(picker) in kinds) == (algorithm in same)


def test_a_ring_that_memory_does_not_allow_is_refused_with_the_path():
    with pytest.raises(InvalidResource) as caught:
        check_policy(policy_of(Algorithm.RING_HASH, hash=HashPolicy(min_ring_size=8_388_608)))
    assert str(caught.value) == ("hash.min_ring_size: 8,388,608 points take 96 MiB, and a ring may take 64 MiB: "
                                 "at most 5,592,405 points")
    check_policy(policy_of(Algorithm.RING_HASH, hash=HashPolicy(min_ring_size=5_592_405)))
