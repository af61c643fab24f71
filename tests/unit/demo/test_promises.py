"""Each promise: kept just inside its bound, broken just outside, and what is said of it."""

from __future__ import annotations

import pytest

from mesh.demo import promises
from mesh.demo.load import Tally


def tally(cart: dict[str, int] | None = None, payment: dict[str, int] | None = None, failures: int = 0) -> Tally:
    made = Tally(0.0)
    for service, counts in (("cart", cart or {}), ("payment", payment or {})):
        made.served[service].update(counts)
    made.requests = sum((cart or payment or {}).values()) + failures
    made.failures = failures
    if failures:
        made.messages.append("UNAVAILABLE: gone")
    return made


WEIGHTS = {"cart-0": 1, "cart-1": 0, "cart-2": 9}


@pytest.mark.parametrize(("counts", "kept"), [
    ({"cart-0": 200, "cart-2": 1800}, True),
    ({"cart-0": 259, "cart-2": 1741}, True),  # just under 3 points off
    ({"cart-0": 262, "cart-2": 1738}, False),
    ({"cart-0": 199, "cart-2": 1800}, False),  # too few orders
    ({"cart-0": 200, "cart-1": 80, "cart-2": 1800}, False),
    ({}, False),
])
def test_shares(counts: dict[str, int], kept: bool) -> None:
    promise = promises.shares_follow(WEIGHTS, tally(counts))
    assert promise.kept is kept
    assert "1:0:9" in promise.text


def test_shares_say_what_was_seen() -> None:
    assert promises.shares_follow(WEIGHTS, tally({"cart-0": 300, "cart-2": 1700})).seen == (
        "cart-0 15.0%, cart-1 0.0%, cart-2 85.0% over 2000 orders, off by 5.0")


def test_failures() -> None:
    assert promises.no_failures("at all", tally({"cart-0": 5})).kept
    assert not promises.no_failures("at all", tally()).kept, "no order is no proof"
    broken = promises.no_failures("at all", tally({"cart-0": 5}, failures=1))
    assert not broken.kept
    assert broken.seen == "1 of 6 failed, first: UNAVAILABLE: gone"


@pytest.mark.parametrize(("payment", "kept"), [({"payment-0": 3, "payment-2": 4}, True), ({"payment-1": 3}, False),
                                               ({"payment-0": 3, "payment-1": 1}, False), ({}, False)])
def test_others_take_over(payment: dict[str, int], kept: bool) -> None:
    assert promises.went_elsewhere("payment-1", "payment", tally(payment=payment)).kept is kept


def test_weights_and_sidecars_after_a_restart() -> None:
    assert promises.kept_weights(WEIGHTS, dict(WEIGHTS)).kept
    broken = promises.kept_weights(WEIGHTS, {**WEIGHTS, "cart-1": 3})
    assert not broken.kept
    assert broken.seen == "1:0:9 set, 1:3:9 stored"
    assert promises.reconnected(["a", "b"], ["b", "a", "c"]).kept
    assert promises.reconnected(["a", "b"], ["b"]).seen == "missing: a"


@pytest.mark.parametrize(("spans", "kept", "seen"), [
    ([("a", "1", "outside"), ("b", "2", "1")], True, "2 spans"),
    ([("a", "1", "outside")], False, "1 spans, none of b"),
    ([("a", "1", ""), ("b", "2", "")], False, "2 spans, 2 roots"),
    ([], False, "0 spans, none of a, b, 0 roots"),
])
def test_a_trace_is_whole(spans: list[tuple[str, str, str]], kept: bool, seen: str) -> None:
    promise = promises.trace_complete(("a", "b"), spans)
    assert (promise.kept, promise.seen) == (kept, seen)


def test_time() -> None:
    assert promises.in_time(59.9).kept
    assert not promises.in_time(60.0).kept
