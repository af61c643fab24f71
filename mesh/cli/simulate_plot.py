"""The plot of `mesh simulate`: latencies, how they went over time, and who was called how often.

What lives here: the drawing. Importing this imports matplotlib, which is large and optional (the extra `simulate`):
only the command does, when it is asked for a plot. What this must not know: how a simulation works.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from mesh.errors import InvalidConfig
from mesh.simulate.report import Summary
from mesh.simulate.scenario import Scenario

_SIZE = (11.0, 8.0)
# Ratios whose latency the first picture has: the tail is what differs.
_RATIOS = [index / 100 for index in range(1, 99)] + [1 - 10 ** -(2 + index / 20) for index in range(41)]
_NAMED = 24  # endpoints whose names fit under their bars


def plot(path: str, scenario: Scenario, labels: Sequence[str], summaries: Sequence[Summary]) -> None:
    """Write the picture to `path`, whose suffix says what it is; InvalidConfig where it can't be written."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    upper, middle, lower = figure.subplots(3, 1)
    _latencies(upper, labels, summaries)
    _over_time(middle, scenario, labels, summaries)
    _calls(lower, labels, summaries)
    try:
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mesh"}):  # text stays text
            figure.savefig(path)
    except OSError as error:
        raise InvalidConfig(f"--plot {path}: {error.strerror or error}") from None


def _latencies(axes: Any, labels: Sequence[str], summaries: Sequence[Summary]) -> None:
    for label, summary in zip(labels, summaries, strict=True):
        if summary.latencies:
            last = len(summary.latencies) - 1
            ratios = [ratio for ratio in _RATIOS if (1 - ratio) * (last + 1) >= 1]
            axes.plot([1 / (1 - ratio) for ratio in ratios],
                      [1000 * summary.latencies[int(ratio * last)] for ratio in ratios], label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks([2, 10, 100, 1000, 10_000], ["p50", "p90", "p99", "p99.9", "p99.99"])
    axes.set_ylabel("latency, ms")
    axes.grid(True, alpha=0.3)
    if axes.lines:
        axes.legend()


def _over_time(axes: Any, scenario: Scenario, labels: Sequence[str], summaries: Sequence[Summary]) -> None:
    failing = None
    for index, (label, summary) in enumerate(zip(labels, summaries, strict=True)):
        times = [at for at, _, _ in summary.timeline]
        axes.plot(times, [None if p99 is None else 1000 * p99 for _, p99, _ in summary.timeline], f"C{index}",
                  label=label)
        if any(failures for _, _, failures in summary.timeline):
            failing = failing or axes.twinx()
            failing.plot(times, [failures for _, _, failures in summary.timeline], f"C{index}:")
    for event in scenario.events:
        axes.axvline(event.at, color="grey", linewidth=0.8, linestyle="--")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("p99, ms")
    axes.set_xlabel("seconds (dashed: events; dotted lines: failures)" if failing else "seconds (dashed: events)")
    axes.grid(True, alpha=0.3)


def _calls(axes: Any, labels: Sequence[str], summaries: Sequence[Summary]) -> None:
    names = list(summaries[0].attempts)
    width = 0.8 / len(summaries)
    for index, (label, summary) in enumerate(zip(labels, summaries, strict=True)):
        axes.bar([place - 0.4 + width * (index + 0.5) for place in range(len(names))],
                 [summary.attempts[name] for name in names], width, label=label)
    axes.set_ylabel("calls")
    if len(names) <= _NAMED:
        axes.set_xticks(range(len(names)), names)
    else:
        axes.set_xlabel(f"{len(names)} endpoints")
