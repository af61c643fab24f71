"""Node sets for the tests of mesh.balance."""

from __future__ import annotations

import balance_world
import pytest


@pytest.fixture
def endpoints():
    return balance_world.endpoints


@pytest.fixture
def node_set():
    return balance_world.node_set
