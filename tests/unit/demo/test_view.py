"""What is printed, on a terminal and elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from mesh.demo.load import Tally
from mesh.demo.promises import Promise
from mesh.demo.view import Figures, View, shares, summary


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def filled() -> Tally:
    tally = Tally(0.0)
    for number in range(6):
        tally.succeeded(1.0, 0.010 + number / 1000, {"cart": ("cart-0", "cart-1", "cart-1")[number % 3],
                                                     "payment": "payment-0"})
    return tally


def plain() -> tuple[View, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    return View(Console(file=out, width=120, highlight=False), clock), out, clock


def test_summary_names_rate_latency_retries_and_failures() -> None:
    assert summary(Figures(filled(), retries=2, seconds=2.0)) == (
        "    6 orders     3/s  p50 12.0 ms  p99 15.0 ms  retries 2  failed 0")
    assert "retries" not in summary(Figures(filled()))


def test_shares_stand_beside_their_weights() -> None:
    rows = shares(Figures(filled(), weights={"cart-0": 1, "cart-1": 3}, down={"payment-1"}))
    assert rows == [("cart-0", 2 / 6, 0.25, "2"), ("cart-1", 4 / 6, 0.75, "4"), ("payment-0", 1.0, None, "6"),
                    ("payment-1", 0.0, None, "killed")]


def test_without_a_terminal_figures_come_now_and_then() -> None:
    view, out, clock = plain()
    view.watch()
    view.figures(Figures(filled()))
    assert out.getvalue() == ""
    clock.now += 2.5
    view.figures(Figures(filled()))
    view.figures(Figures(filled()))
    view.unwatch()
    assert out.getvalue().count("orders") == 1
    assert out.getvalue().startswith("    2.5 s      6 orders")


def test_a_terminal_gets_a_table() -> None:
    out = io.StringIO()
    view = View(Console(file=out, width=100, force_terminal=True, color_system=None), Clock())
    view.watch()
    view.figures(Figures(filled(), weights={"cart-0": 1, "cart-1": 3}))
    view.unwatch()
    assert "weight" in out.getvalue()
    assert "75.0%" in out.getvalue()


def test_the_verdict_names_what_was_broken() -> None:
    view, out, _ = plain()
    assert view.verdict([Promise("sun", True, "shone")])
    assert "All 1 promises were kept." in out.getvalue()
    assert not view.verdict([Promise("sun", True, "shone"), Promise("no rain", False, "3 drops")])
    assert "BROKEN  no rain: 3 drops" in out.getvalue()
    assert out.getvalue().endswith("Broken: no rain\n")
