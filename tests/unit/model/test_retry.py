"""What the policies of retries, hedging and time refuse beyond the bounds of single numbers (those: test_values)."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.errors import InvalidResource
from mesh.model import (
    RETRYABLE_CODES,
    BalancePolicy,
    HedgePolicy,
    Protocol,
    RetryPolicy,
    Service,
    StickyPolicy,
    TimeoutPolicy,
)


def test_codes():
    assert RetryPolicy(codes=frozenset(RETRYABLE_CODES)).codes == set(RETRYABLE_CODES)
    for bad in ("OK", "CANCELLED", "unavailable", "14", ""):
        with pytest.raises(InvalidResource, match=r"^codes: .* can be retried"):
            RetryPolicy(codes=frozenset({"UNAVAILABLE", bad}))
    with pytest.raises(InvalidResource, match=r"^codes: .*max_attempts to 1"):
        RetryPolicy(codes=frozenset())


@pytest.mark.parametrize("method", ["/", "/*", "/shop.Cart/Get", "/shop.Cart/*", "/shop.Cart/Get*", "/a%20b~"])
def test_methods(method: str):
    assert RetryPolicy(idempotent_methods=(method,)).idempotent_methods == (method,)


@pytest.mark.parametrize("method", ["", "*", "shop.Cart/Get", "/shop.*/Get", "/**", "/a b", "/a\n", "/ä", "/a\x7f",
                                    None])
def test_no_methods(method: Any):
    with pytest.raises(InvalidResource, match=r"^idempotent_methods: "):
        RetryPolicy(idempotent_methods=("/a", method))


def test_statuses():
    assert RetryPolicy(statuses=frozenset({400, 429, 599})).statuses == {400, 429, 599}
    for bad in (0, 200, 399, 600, -503):
        with pytest.raises(InvalidResource, match=rf"^statuses: {bad} is outside 400\.\.599"):
            RetryPolicy(statuses=frozenset({503, bad}))
    for bad in ("503", 503.5, True, None):
        with pytest.raises(InvalidResource, match=r"^statuses: .* is not a whole number"):
            RetryPolicy(statuses=frozenset({bad}))  # type: ignore[arg-type]
    with pytest.raises(InvalidResource, match=r"^statuses: .*max_attempts to 1"):
        RetryPolicy(statuses=frozenset())


def test_the_longest_delay_is_not_less_than_the_first():
    with pytest.raises(InvalidResource, match=r"^backoff_max: 0\.1 is less than backoff_base 0\.2"):
        RetryPolicy(backoff_base=0.2, backoff_max=0.1)


def test_0_is_no_timeout():
    assert TimeoutPolicy(request=0).request == 0
    assert TimeoutPolicy(per_try=0).per_try == 0


def test_a_try_is_not_longer_than_all_of_them():
    assert TimeoutPolicy(request=1, per_try=1).per_try == 1
    assert TimeoutPolicy(per_try=1000).per_try == 1000
    with pytest.raises(InvalidResource, match=r"^per_try: 2\.5 is more than request 2"):
        TimeoutPolicy(request=2, per_try=2.5)


def test_a_hedge_needs_a_second_attempt_and_a_budget():
    hedge = HedgePolicy(0.95)
    assert RetryPolicy(hedge=hedge, budget_ratio=0).hedge.percentile == 0.95
    assert RetryPolicy(hedge=hedge, budget_min_per_second=0).hedge.min_delay == 0.01
    assert RetryPolicy(max_attempts=1, budget_ratio=0, budget_min_per_second=0, hedge=HedgePolicy(0)).max_attempts == 1
    with pytest.raises(InvalidResource, match=r"^hedge\.percentile: 0\.95 needs a second attempt, and .* is 1"):
        RetryPolicy(max_attempts=1, hedge=hedge)
    with pytest.raises(InvalidResource, match=r"^hedge\.percentile: 0\.95 needs a budget"):
        RetryPolicy(budget_ratio=0, budget_min_per_second=0, hedge=hedge)


def test_a_client_that_is_kept_at_its_endpoint_has_no_other():
    sticky = BalancePolicy(sticky=StickyPolicy("sid"))
    with pytest.raises(InvalidResource, match=r"^retry\.hedge\.percentile: 0\.95: balance\.sticky keeps"):
        Service("cart", Protocol.HTTP2, sticky, RetryPolicy(hedge=HedgePolicy(0.95)))
    assert Service("cart", Protocol.HTTP2, sticky).retry.hedge.percentile == 0


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
@pytest.mark.parametrize(("policy", "field"), [
    ({"retry": RetryPolicy(hedge=HedgePolicy(0.95))}, "retry.hedge.percentile"),
    ({"timeout": TimeoutPolicy(per_try=1)}, "timeout.per_try")])
def test_what_has_no_requests_has_no_attempts(protocol: Protocol, policy: Any, field: str):
    with pytest.raises(InvalidResource, match=rf"^{field}: .* protocol {protocol.value} has no requests"):
        Service("cart", protocol, **policy)
    assert Service("cart", Protocol.AUTO, **policy)
