"""What the person sees: plain lines, and on a terminal a table that stays below them and moves.

What lives here: words and layout. What this must not know: processes, the load's workings, how promises are checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mesh.demo.load import Tally, percentile
from mesh.demo.promises import Promise

PLAIN_INTERVAL = 2.0  # seconds between two lines of figures where there is no terminal
BAR = 30  # columns of a full bar


@dataclass(slots=True)
class Figures:
    """The present state: one window's tally beside the weights in force. `retries` -1: not known."""

    tally: Tally
    weights: dict[str, int] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    retries: int = -1
    seconds: float = 0.0  # since the window was opened


def milliseconds(seconds: float) -> str:
    """`12.3 ms`."""
    return f"{seconds * 1000:.1f} ms"


def summary(figures: Figures) -> str:
    """One line: rate, latency, retries, failures."""
    tally = figures.tally
    rate = tally.requests / figures.seconds if figures.seconds else 0.0
    retries = f"  retries {figures.retries}" if figures.retries >= 0 else ""
    return (f"{tally.requests:5} orders  {rate:4.0f}/s  p50 {milliseconds(percentile(tally.latencies, 0.5))}  "
            f"p99 {milliseconds(percentile(tally.latencies, 0.99))}{retries}  failed {tally.failures}")


def shares(figures: Figures) -> list[tuple[str, float, float | None, str]]:
    """(replica, its share, the share its weight asks for, state) of every replica of cart and payment, ratios 0..1."""
    rows: list[tuple[str, float, float | None, str]] = []
    total = sum(figures.weights.values())
    for service, counts in figures.tally.served.items():
        present = figures.tally.shares(service)
        down = {name for name in figures.down if name.startswith(f"{service}-")}
        wanted = figures.weights if service == "cart" else {}
        for name in sorted({*present, *wanted, *down}):
            goal = wanted[name] / total if name in wanted and total else None
            state = "killed" if name in down else f"{counts[name]}"
            rows.append((name, present.get(name, 0.0), goal, state))
    return rows


class View:
    """Prints the story; `live` on a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._printed = self._began
        self._live: Live | None = None

    @property
    def width(self) -> int:
        """Columns that a line may take."""
        return self._console.width if self._console.is_terminal else 120

    def act(self, title: str) -> None:
        """A new part of the story begins."""
        self._console.print()
        self._console.print(Text(title, style="bold"))

    def say(self, text: str, style: str = "") -> None:
        """One line with the time since the start."""
        self._console.print(Text(f"  {self._clock() - self._began:5.1f} s  {text}", style=style), soft_wrap=True)

    def show(self, text: str) -> None:
        """What a command printed, as it is."""
        self._console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)

    def watch(self) -> None:
        """Begin to show figures."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=5, transient=True)
            self._live.start()

    def unwatch(self) -> None:
        """Take the moving table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def figures(self, figures: Figures) -> None:
        """Show the present figures: at once on a terminal, now and then elsewhere."""
        if self._live is not None:
            self._live.update(self._table(figures))
        elif self._clock() - self._printed >= PLAIN_INTERVAL:
            self.result(figures)

    def result(self, figures: Figures) -> None:
        """Print the figures as lines that stay."""
        self._printed = self._clock()
        self.say(summary(figures))
        line = "  ".join(f"{name} {share:.1%}" for name, share, _, _ in shares(figures))
        if line:
            self.say(f"  {line}")

    def verdict(self, promises: Sequence[Promise]) -> bool:
        """Print every promise with what was seen; return whether all were kept."""
        self.act("Verdict")
        for promise in promises:
            mark, style = ("kept  ", "green") if promise.kept else ("BROKEN", "bold red")
            self._console.print(Text(f"  {mark}  {promise.text}: {promise.seen}", style=style), soft_wrap=True)
        broken = [promise.text for promise in promises if not promise.kept]
        if broken:
            self._console.print(Text(f"  Broken: {'; '.join(broken)}", style="bold red"), soft_wrap=True)
        else:
            self._console.print(Text(f"  All {len(promises)} promises were kept.", style="bold green"))
        return not broken

    def _table(self, figures: Figures) -> Group:
        table = Table(box=None, padding=(0, 1))
        for title in ("replica", "share", "", "weight", "orders"):
            table.add_column(title, justify="right" if title in ("share", "weight", "orders") else "left")
        for name, share, goal, state in shares(figures):
            bar = Text("█" * round(share * BAR), style="red" if state == "killed" else "cyan")
            table.add_row(name, f"{share:.1%}", bar, "" if goal is None else f"{goal:.1%}", state)
        return Group(Text(), table, Text(f" {summary(figures)}"))
