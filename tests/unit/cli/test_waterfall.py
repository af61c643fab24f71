from __future__ import annotations

import itertools
import random

import pytest

from mesh.cli.waterfall import Event, Span, Style, render, tree

MS = 1_000_000


def span(span_id: str, parent: str = "", start: float = 0, duration: float = 1, **more: object) -> Span:
    values = {"name": span_id, "kind": "client", "service": "web", **more}
    return Span(span_id=span_id, parent_id=parent, start_ns=int(start * MS), duration_ns=int(duration * MS),
                **values)  # type: ignore[arg-type]


SHOP = [
    span("a", start=0, duration=40, service="storefront", name="shop.Store/Buy", kind="server"),
    span("b", "a", 1, 10, service="storefront", name="shop.Cart/Get", attributes={"mesh.endpoint": "cart/cart-1"}),
    span("c", "b", 2, 8, service="cart", name="shop.Cart/Get", kind="server"),
    span("d", "a", 12, 25, service="storefront", name="shop.Payment/Pay", error=True, status_message="UNAVAILABLE",
         attributes={"mesh.endpoint": "payment/payment-2", "mesh.attempts": "2", "mesh.reason": "upstream_reset",
                     "rpc.grpc.status_code": "14"}),
    span("e", "d", 30, 7, service="storefront", name="shop.Payment/Pay",
         attributes={"http.request.resend_count": "1", "mesh.retry_reason": "upstream_connect_failed",
                     "mesh.endpoint": "payment/payment-0"}),
]


def test_the_tree() -> None:
    assert [(row.branch, row.span.span_id) for row in tree(reversed(SHOP))] == [
        ("", "a"), ("├ ", "b"), ("│ └ ", "c"), ("└ ", "d"), ("  └ ", "e")]


def test_a_trace() -> None:
    lines = render("4bf92f35", SHOP, Style(100))
    assert lines == [
        "Trace 4bf92f35: 5 spans, 2 services, 40ms, 1 error, 1 retried attempt",
        "",
        "storefront shop.Store/Buy       ████████████████████     40ms",
        "├ storefront shop.Cart/Get      █████                    10ms → cart/cart-1",
        "│ └ cart shop.Cart/Get           ████                     8ms",
        "└ storefront shop.Payment/Pay         ▒▒▒▒▒▒▒▒▒▒▒▒       25ms ✗ upstream_reset → payment/payment-2 …",
        "  └ storefront shop.Payment/Pay                ████       7ms → payment/payment-0 retry 1 after ups…",
        "",
        "Errors:",
        "  storefront shop.Payment/Pay: payment/payment-2, upstream_reset, UNAVAILABLE, grpc-status 14",
    ]


@pytest.mark.parametrize("width", [1, 60, 80, 100, 200, 1000])
@pytest.mark.parametrize("unicode", [True, False])
def test_it_fits_the_terminal(width: int, unicode: bool) -> None:
    lines = render("4bf92f35", SHOP, Style(width, unicode=unicode))
    waterfall = lines[2:2 + len(SHOP)]
    assert all(len(line) <= max(width, 60) for line in waterfall)
    if not unicode:
        assert all(line.isascii() for line in lines)


def test_bars_are_to_scale() -> None:
    lines = render("x", [span("a", duration=100), span("b", "a", 50, 50), span("c", "a", 99.9, 0.1)], Style(200))
    first = lines[2].index("█")
    bars = [line[first:first + 48] for line in lines[2:]]
    assert bars[0] == "█" * 48
    assert bars[1] == " " * 24 + "█" * 24
    assert bars[2] == " " * 47 + "█"


def test_wide_terminals_show_everything() -> None:
    text = "\n".join(render("x", SHOP, Style(200)))
    assert "→ cart/cart-1" in text
    assert "✗ upstream_reset → payment/payment-2 (2 attempts)" in text
    assert "→ payment/payment-0 retry 1 after upstream_connect_failed" in text


def test_colours_only_where_they_are_wanted() -> None:
    assert "\033" not in "".join(render("x", SHOP, Style(100)))
    coloured = render("x", SHOP, Style(100, colour=True))
    assert "\033[31m" in "".join(coloured)
    assert sum(line.count("\033[0m") for line in coloured) == sum(line.count("\033[") for line in coloured) / 2


def test_events_stand_below_their_span() -> None:
    why = {"mesh.reason": "upstream_connect_failed", "mesh.endpoint": "stock/stock-0"}
    failed = Event(3 * MS, "connect_failed", why)
    lines = render("x", [span("a", start=1, duration=9, events=(failed,))], Style(100))
    assert lines[3] == "  · +2ms connect_failed stock/stock-0 upstream_connect_failed"


def test_a_missing_parent_is_said() -> None:
    assert "(its parent is not in the trace)" in "\n".join(render("x", [span("a", "gone")], Style(120)))


def test_nothing_moves_the_cursor() -> None:
    lines = render("x", [span("a", name="evil\033[2J\r\n", error=True, status_message="\x07bell")], Style(120))
    assert all(line.isprintable() for line in lines)


def test_no_spans() -> None:
    assert render("x", [], Style()) == ["Trace x: 0 spans, 0 services, 0.001us", ""]


def test_spans_without_length_or_with_clocks_apart() -> None:
    lines = render("x", [span("a", start=5, duration=0), span("b", "a", 1, 0)], Style(100))
    assert len(lines) == 4


def test_every_span_once_whatever_the_parents() -> None:
    rng = random.Random(7)
    for count in range(1, 30):
        ids = [f"{number:x}" for number in range(count)]
        spans = [span(each, rng.choice([*ids, "", "gone"]), rng.random(), rng.random()) for each in ids]
        rows = tree(spans)
        assert sorted(row.span.span_id for row in rows) == sorted(ids)
        render("x", spans, Style(80))


def test_deep_and_wide_traces() -> None:
    deep = [span("0"), *(span(str(number), str(number - 1), number) for number in range(1, 3000))]
    wide = [span("r"), *(span(f"w{number}", "r", number) for number in range(3000))]
    for spans in (deep, wide):
        lines = render("x", spans, Style(100))
        assert len(lines) == len(spans) + 2
    assert [row.span.span_id for row in itertools.islice(tree(deep), 3)] == ["0", "1", "2"]
