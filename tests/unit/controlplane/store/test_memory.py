from __future__ import annotations

import pytest

from controlplane.errors import Conflict
from controlplane.registry import Change, Registry
from controlplane.store.memory import MemoryStore
from mesh.model import Service


def test_a_commit_moves_the_state_and_one_from_another_revision_does_not():
    store = MemoryStore(7)
    registry = Registry(store.load(), 0.0)
    change, _ = registry.apply([Service("cart")], [], dry_run=False, now=0.0)
    store.commit(7, [change])
    assert store.load().services == registry.services
    with pytest.raises(Conflict, match="at revision 8, not 7"):
        store.commit(7, [Change(9)])
    assert store.load().revision == 8
    store.close()
