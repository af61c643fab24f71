from __future__ import annotations

import json

import pytest

from mesh.cli import output
from mesh.cli.output import format_ago, format_seconds, plain_table, print_json, print_table


@pytest.mark.parametrize(("seconds", "shown"), [
    (0, "0us"), (0.00085, "850us"), (0.0032123, "3.21ms"), (0.0412, "41.2ms"), (0.9996, "1s"), (1.5, "1.5s"),
    (59.4, "59.4s"), (60, "1m"), (200, "3m 20s"), (3600, "1h"), (3660.4, "1h 1m"), (90_000, "25h"),
])
def test_durations(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


def test_ago() -> None:
    assert format_ago(-0.5) == format_ago(0.9) == "now"
    assert format_ago(61.7) == "1m 1s ago"


def test_plain_tables_are_aligned_and_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[list[output.Cell]] = [["cart", ("healthy", "green")], ["payment", ("down", "red")]]
    assert plain_table(["NAME", "HEALTH"], rows) == ["NAME     HEALTH", "cart     healthy", "payment  down"]
    print_table(["NAME", "HEALTH"], rows)
    assert capsys.readouterr().out.splitlines() == plain_table(["NAME", "HEALTH"], rows)
    print_table(["NAME"], [], "no services")
    assert capsys.readouterr().out == "no services\n"


def test_a_terminal_is_shown_the_same_words(capsys: pytest.CaptureFixture[str],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(["NAME", "HEALTH"], [["cart", ("healthy", "green")]])
    shown = capsys.readouterr().out
    assert "cart" in shown
    assert "healthy" in shown


def test_a_narrow_terminal_folds_only_the_last_column(capsys: pytest.CaptureFixture[str],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    print_table(["ENDPOINT", "ADDRESS", "REASON"], [["cart-0", "127.0.0.1:37325", "one word after the other " * 3]])
    lines = capsys.readouterr().out.splitlines()
    assert "cart-0    127.0.0.1:37325  one word after the other" in lines[1]
    assert len(lines) == 4
    assert max(map(len, lines[1:])) <= 27 + 24


def test_no_standard_output_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    print_table(["NAME"], [["cart"]])


def test_json_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"b": "ü", "a": [1]})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"b": "ü", "a": [1]}
    assert shown.index('"b"') < shown.index('"a"')
    assert "ü" in shown
