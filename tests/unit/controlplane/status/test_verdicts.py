"""Who sees whom as down: reports, news, silence, bounds."""

from __future__ import annotations

import pytest

from controlplane.status.verdicts import MAX_SIDECARS, MAX_VERDICTS, TIME_TO_LIVE, Verdicts
from mesh.errors import InvalidResource
from mesh.model import Verdict, VerdictKind

OUT, ILL = VerdictKind.EJECTED, VerdictKind.CHECK_FAILED


def at(endpoint: str, kind: VerdictKind = OUT, reason: str = "") -> Verdict:
    return Verdict(endpoint, kind, reason, 1.0)


def test_news_change_what_a_complete_report_has_said():
    table = Verdicts()
    assert table.report("web/a", True, [at("cart/x"), at("cart/y", ILL)], [], 0.0)
    assert table.report("web/b", True, [at("cart/x")], [], 0.0)
    assert table.report("web/a", False, [at("cart/y", OUT), at("cart/x", OUT, "new")], [("cart/y", ILL)], 1.0)
    assert table.list("", 1.0) == [("web/a", at("cart/x", OUT, "new")), ("web/b", at("cart/x")),
                                   ("web/a", at("cart/y", OUT))]
    assert table.report("web/a", True, [at("stock/z")], [], 2.0)
    assert table.list("cart", 2.0) == [("web/b", at("cart/x"))]
    assert table.list("stock", 2.0) == [("web/a", at("stock/z"))]
    assert table.list("car", 2.0) == []


def test_news_of_a_stranger_are_not_taken():
    table = Verdicts()
    assert not table.report("web/a", False, [at("cart/x")], [], 0.0)
    assert table.list("", 0.0) == []
    assert table.report("web/a", True, [at("cart/x")], [], 0.0)
    assert table.report("web/a", False, [], [("cart/x", OUT)], 0.0)
    assert table.list("", 0.0) == []


def test_who_is_silent_is_forgotten_and_who_says_that_it_stands_is_not():
    table = Verdicts()
    table.report("web/a", True, [at("cart/x")], [], 0.0)
    table.report("web/b", True, [at("cart/x")], [], 0.0)
    assert table.report("web/a", False, [], [], TIME_TO_LIVE - 1)
    assert [sidecar for sidecar, _ in table.list("", TIME_TO_LIVE)] == ["web/a"]
    assert not table.report("web/b", False, [], [], TIME_TO_LIVE)
    assert table.list("", 2 * TIME_TO_LIVE) == []


def test_bounds():
    table = Verdicts()
    many = [at(f"cart/c{i}") for i in range(MAX_VERDICTS)]
    assert table.report("web/a", True, many, [], 0.0)
    with pytest.raises(InvalidResource, match=r"^down: 1,001 verdicts of one sidecar, at most 1,000"):
        table.report("web/a", False, [at("stock/x")], [], 1.0)
    assert len(table.list("", 1.0)) == MAX_VERDICTS
    assert table.report("web/a", False, [at("stock/x")], [("cart/c0", OUT)], 1.0)


@pytest.mark.slow
def test_of_too_many_sidecars_the_one_silent_longest_goes():
    table = Verdicts()
    for i in range(MAX_SIDECARS + 1):
        table.report(f"web/w{i}", True, [at("cart/x")], [], 0.0)
    seen = {sidecar for sidecar, _ in table.list("", 0.0)}
    assert len(seen) == MAX_SIDECARS
    assert "web/w0" not in seen
