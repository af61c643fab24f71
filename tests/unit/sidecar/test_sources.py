"""Whose PROXY headers are believed."""

from __future__ import annotations

import pytest

from mesh.sidecar.sources import check_network, trusted_sources


def test_networks_and_single_addresses() -> None:
    trusted = trusted_sources(("10.0.0.0/8", "192.0.2.7", "2001:db8::/32"))
    assert trusted is not None
    assert [trusted(host) for host in ("10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.0.0.1")] == [True] * 4
    assert [trusted(host) for host in ("11.0.0.1", "192.0.2.8", "2001:db9::1", "nonsense", "")] == [False] * 5


def test_nobody_is_believed_unless_named() -> None:
    assert trusted_sources(()) is None


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "cart", ""])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear to be|has host bits"):
        check_network(text)
