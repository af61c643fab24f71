"""Records: what an operator's overlay makes of an endpoint, and which endpoints count as the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.registry.records import NO_OVERLAY, EndpointRecord, Overlay, canonical
from mesh.model import Endpoint, Health

BASE = Endpoint("cart", "cart-0", "127.0.0.1", 7000, weight=3)


@pytest.mark.parametrize(("overlay", "shown"), [
    (NO_OVERLAY, BASE),
    (Overlay(weight=3), BASE),
    (Overlay(weight=0), replace(BASE, weight=0)),
    (Overlay(drained=True), replace(BASE, health=Health.DRAINING)),
    (Overlay(9, True), replace(BASE, weight=9, health=Health.DRAINING)),
])
def test_an_overlay_changes_only_what_it_says(overlay: Overlay, shown: Endpoint) -> None:
    assert overlay.over(BASE) == shown
    assert EndpointRecord(BASE, overlay, None, 7).effective == shown


def test_an_undrained_endpoint_keeps_its_own_health() -> None:
    unwell = replace(BASE, health=Health.UNHEALTHY)
    assert Overlay(weight=1).over(unwell).health is Health.UNHEALTHY


def test_the_order_of_metadata_means_nothing() -> None:
    one, other = (replace(BASE, metadata=pairs) for pairs in ((("a", "1"), ("b", "2")), (("b", "2"), ("a", "1"))))
    assert canonical(one) == canonical(other)
    assert canonical(one) is one
