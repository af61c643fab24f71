"""RequestKey: what is hashed of which field, and what happens where it isn't there."""

from __future__ import annotations

import pytest

from mesh.balance import Rng
from mesh.balance.hashing import hash64
from mesh.balance.request_key import RequestKey, cookie_value, query_value
from mesh.model import HashKey, HashPolicy

CASES = [
    (HashPolicy(HashKey.HEADER, "x-user"), b"x-user", b"ann", b"ann"),
    (HashPolicy(HashKey.COOKIE, "sid"), b"cookie", b"a=1; sid=42; b=2", b"42"),
    (HashPolicy(HashKey.PATH), b":path", b"/cart/7?user=1", b"/cart/7"),
    (HashPolicy(HashKey.QUERY, "user"), b":path", b"/cart?x=1&user=7&user=8", b"7"),
]


@pytest.mark.parametrize(("policy", "field", "value", "hashed"), CASES, ids=[row[0].key.value for row in CASES])
def test_what_is_hashed(policy: HashPolicy, field: bytes, value: bytes, hashed: bytes):
    key = RequestKey(policy)
    assert key.field == field
    assert key.of(value, 1, Rng(1)) == hash64(hashed)


@pytest.mark.parametrize(("policy", "value"), [
    (HashPolicy(HashKey.HEADER, "x-user"), None), (HashPolicy(HashKey.HEADER, "x-user"), b""),
    (HashPolicy(HashKey.COOKIE, "sid"), None), (HashPolicy(HashKey.COOKIE, "sid"), b"asid=1; sid"),
    (HashPolicy(HashKey.COOKIE, "sid"), b"sid="), (HashPolicy(HashKey.QUERY, "user"), b"/cart"),
    (HashPolicy(HashKey.QUERY, "user"), b"/user=3?users=1&user")])
def test_nothing_to_go_by_is_a_random_key(policy: HashPolicy, value: bytes | None):
    rng = Rng(1)
    keys = {RequestKey(policy).of(value, 1, rng) for _ in range(20)}
    assert len(keys) == 20


def test_the_source_is_the_source():
    key = RequestKey(HashPolicy())
    assert key.field is None
    assert key.of(None, 77, Rng(1)) == 77


@pytest.mark.parametrize(("cookies", "value"), [
    (b"a=1", b"1"), (b"b=2;a=1", b"1"), (b" b=2 ; a=1 ", b"1"), (b'a="1"', b"1"), (b'a="', b'"'), (b"a=", b""),
    (b"a", None), (b"", None), (b"aa=1", None), (b"a=1; a=2", b"1"), (b"x=a=1; a=b=c", b"b=c")])
def test_cookies(cookies: bytes, value: bytes | None):
    assert cookie_value(cookies, b"a") == value


@pytest.mark.parametrize(("path", "value"), [
    (b"/?a=1", b"1"), (b"/?b=2&a=%20", b"%20"), (b"/?a=", b""), (b"/?a", None), (b"/a=1", None), (b"*", None),
    (b"/?x#?a=1", None), (b"/?a=1?b", b"1?b")])
def test_queries(path: bytes, value: bytes | None):
    assert query_value(path, b"a") == value
