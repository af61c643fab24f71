"""service_of over the forms that an authority may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidResource
from mesh.model import check_name
from mesh.route.authority import service_of


@pytest.mark.parametrize(("authority", "service"), [
    (b"cart", "cart"),
    (b"cart:50051", "cart"),
    (b"cart.mesh", "cart"),
    (b"cart.mesh:80", "cart"),
    (b"Cart.MESH:80", "cart"),
    (b"a", "a"),
    (b"7", "7"),
    (b"shop-cart-2:1", "shop-cart-2"),
    (b"mesh", "mesh"),
    (b"mesh.mesh", "mesh"),
    (b"localhost:15001", "localhost"),
    (b"a" * 63, "a" * 63),
    (b"cart:65535", "cart"),
])
def test_well_formed(authority: bytes, service: str):
    assert service_of(authority) == service


@pytest.mark.parametrize("authority", [
    b"", b":80", b"cart:", b"cart:65536", b"cart:999999", b"cart:8o", b"cart:-1", b"cart:80:80", b"cart.",
    b"cart.mesh.", b".mesh", b"cart.mesh.mesh", b"cart.local", b"-cart", b"cart-", b"ca_rt", b"ca rt", b" cart",
    b"cart\n", b"cart\x00", b"user@cart", b"[::1]", b"[::1]:80", b"::1", b"127.0.0.1", b"127.0.0.1:80", b"a" * 64,
    b"\xff", "cärt".encode(), b"cart/x", b"http://cart",
])
def test_malformed(authority: bytes):
    assert service_of(authority) is None


@given(st.binary(max_size=80))
def test_whatever_comes_out_is_a_name(authority: bytes):
    service = service_of(authority)
    if service is not None:
        check_name(service)


@given(st.from_regex(r"[a-z0-9-]{1,70}", fullmatch=True), st.integers(0, 65_535))
def test_every_name_is_reachable(name: str, port: int):
    try:
        check_name(name)
    except InvalidResource:
        assert service_of(name.encode()) is None
    else:
        for form in (name, f"{name}:{port}", f"{name}.mesh", f"{name}.mesh:{port}"):
            assert service_of(form.encode()) == name
