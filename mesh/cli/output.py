"""What commands print: tables for people, plain columns where nobody watches, JSON for programs.

What lives here: layout and the words for times. What this must not know: what the columns mean.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

Cell = str | tuple[str, str]  # text, or text and its colour
# Columns of a terminal that the last column of a table gets at least; a narrower terminal wraps the lines itself.
_LAST_COLUMN = 24


def print_json(value: Any) -> None:
    """Print `value` as indented JSON, keys in the order given."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], empty: str = "") -> None:
    """Print rows under their columns; `empty` instead when there are none. Colours only on a terminal."""
    if not rows:
        click.echo(empty)
    elif sys.stdout is not None and sys.stdout.isatty():
        _print_rich(columns, rows)
    else:
        for line in plain_table(columns, rows):
            click.echo(line)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Return the lines of a table aligned by spaces, two between columns."""
    lines = [list(columns), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    # Only the last column, the one with free text, is folded: half an address or trace id is of no use to anybody.
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    console = Console(highlight=False)
    fixed = sum(max(len(_text(row[index])) for row in (columns, *rows)) + 2 for index in range(len(columns) - 1))
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else Text(cell[0], style=cell[1]) for cell in row))
    console.width = max(console.width, fixed + _LAST_COLUMN)
    console.print(table)


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def format_seconds(seconds: float) -> str:
    """A duration for people, three digits: `850us`, `3.21ms`, `41.2ms`, `1.5s`, `3m 20s`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.3g}us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g}ms" if seconds < 0.9995 else "1s"
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if minutes else f"{hours}h"


def format_ago(seconds: float) -> str:
    """How long ago, to the second."""
    return "now" if seconds < 1 else f"{format_seconds(int(seconds))} ago"
