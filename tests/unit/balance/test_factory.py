"""make_picker: one picker for each algorithm of the model, which names itself as the Service does."""

from __future__ import annotations

import pytest

from mesh.balance import make_picker
from mesh.balance.node import NodeSet
from mesh.balance.rng import Rng
from mesh.model import Algorithm


@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_algorithm_has_a_picker(algorithm: Algorithm):
    nodes, rng = NodeSet(), Rng(1)
    picker = make_picker(algorithm, nodes, rng)
    assert picker.describe() == algorithm.value
    assert picker.nodes is nodes
    assert picker.rng is rng
