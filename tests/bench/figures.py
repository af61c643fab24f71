"""From samples to figures: medians, ranges, what a proxy adds, and whether a goal was reached.

What lives here: pure functions. What this must not know: how samples are taken, how figures are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from cases import Case, Goal

Sample = dict[str, Any]
Samples = dict[str, list[Sample]]  # proxy -> one per round
UNITS = {"cpu_us": ("µs of CPU", 2), "cpu_ms": ("ms of CPU per GiB", 0), "gib_s": ("GiB/s", 2), "p50_us": ("µs p50", 0),
         "p99_us": ("µs p99", 0), "p999_us": ("µs p99.9", 0), "added_p50_us": ("µs added p50", 0),
         "added_p99_us": ("µs added p99", 0), "bytes_per_conn": ("bytes per connection", 0), "rss_mb": ("MB", 1),
         "held_mb": ("MB", 1), "left_mb": ("MB", 1),
         "p99_ms": ("ms p99", 1), "p50_ms": ("ms p50", 1), "per_s": ("per second", 0),
         "busy_pct": ("% of a core", 0)}
NAMES = {"mesh": "mesh", "envoy": "Envoy", "haproxy": "HAProxy", "nghttpx": "nghttpx", "nginx": "nginx"}


def derive(sample: Sample, work: str) -> Sample:
    """Add what follows from a sample's counts: CPU per request (or per GiB), requests (or GiB) per second."""
    if "problem" in sample or not sample.get("seconds"):
        return sample
    done, seconds = sample["done"], sample["seconds"]
    if work == "bulk":
        gib = done / (1 << 30)
        sample["gib_s"] = gib / seconds
        sample["cpu_ms"] = sample["cpu_ns"] / 1e6 / gib if gib else math.nan
    elif work in ("grpc", "http1", "tcp"):
        sample["per_s"] = done / seconds
        sample["cpu_us"] = sample["cpu_ns"] / 1e3 / done if done else math.nan
    sample["busy_pct"] = sample["cpu_ns"] / 1e7 / seconds
    return sample


def good(samples: Iterable[Sample]) -> list[Sample]:
    return [sample for sample in samples if "problem" not in sample]


def values(samples: Iterable[Sample], metric: str) -> list[float]:
    return sorted(sample[metric] for sample in good(samples)
                  if metric in sample and not math.isnan(sample[metric]))


def middle(samples: Iterable[Sample], metric: str) -> float:
    """The median, NaN where nothing was measured."""
    found = values(samples, metric)
    return median(found) if found else math.nan


def spread(samples: Iterable[Sample], metric: str) -> tuple[float, float]:
    """Least and largest."""
    found = values(samples, metric)
    return (found[0], found[-1]) if found else (math.nan, math.nan)


def figure(samples: Samples, name: str, metric: str) -> float:
    """The median of a row's metric; `added_...` is what the row has above the row `direct`."""
    if metric.startswith("added_"):
        plain = metric.removeprefix("added_")
        return middle(samples.get(name, []), plain) - middle(samples.get("direct", []), plain)
    return middle(samples.get(name, []), metric)


@dataclass(frozen=True)
class Verdict:
    """What became of a goal. `value` and `bound` in the metric's unit; `rival` is whom the bound comes from."""

    goal: Goal
    value: float
    bound: float
    met: bool
    rival: str = ""
    rival_value: float = math.nan
    problem: str = ""

    @property
    def off(self) -> float:
        """By which ratio the bound was missed; 1 is exactly reached, more is worse."""
        if self.goal.more:
            return self.bound / self.value if self.value > 0 else math.inf
        return self.value / self.bound if self.bound > 0 else math.inf


def judge(goal: Goal, samples: Samples) -> Verdict | None:
    """None where a side was not measured (then there is nothing to say), unless our own row says why."""
    value = figure(samples, goal.ours, goal.metric)
    if math.isnan(value):
        problems = [sample["problem"] for sample in samples.get(goal.ours, []) if "problem" in sample]
        return Verdict(goal, value, math.nan, False, problem=problems[0]) if problems else None
    if not goal.theirs:
        return Verdict(goal, value, goal.limit, value >= goal.limit if goal.more else value <= goal.limit)
    theirs = {name: found for name in goal.theirs if not math.isnan(found := figure(samples, name, goal.metric))}
    if not theirs:
        return None
    rival = (max if goal.more else min)(theirs, key=lambda name: theirs[name])
    bound = goal.ratio * theirs[rival]
    return Verdict(goal, value, bound, value >= bound if goal.more else value <= bound, rival, theirs[rival])


def number(value: float, metric: str) -> str:
    if math.isnan(value):
        return "–"
    digits = UNITS[metric][1]
    if metric == "cpu_us" and value >= 100:
        digits = 0
    elif metric == "cpu_us" and value >= 10:
        digits = 1
    return f"{value:,.{digits}f}"


def label(name: str, versions: dict[str, str]) -> str:
    """A row's or column's name with the version: `haproxy pypi` -> `HAProxy 2.8`."""
    base, comma, rest = name.partition(",")
    first, _, more = base.partition(" ")
    version = ".".join(versions.get(name, versions.get(base, versions.get(first, ""))).split(".")[:2])
    if first not in NAMES:
        return name
    shown = NAMES[first] if first == "mesh" or not version[:1].isdigit() else f"{NAMES[first]} {version}"
    extra = " pair" if "pair" in more else ""
    return f"{shown}{extra}{comma}{rest}"


def goal_text(goal: Goal, versions: dict[str, str]) -> str:
    """`mesh, tracing 1: CPU ≤ 0.9 × the best of HAProxy 2.6, nghttpx 1.52`."""
    sign = "≥" if goal.more else "≤"
    if not goal.theirs:
        return f"{sign} {goal.limit:,.0f} {UNITS[goal.metric][0]}"
    rivals = [label(name, versions) for name in goal.theirs if name in versions]
    of = f"the best of {', '.join(rivals)}" if len(rivals) > 1 else "".join(rivals) or "no peer"
    return f"{UNITS[goal.metric][0]} {sign} {goal.ratio:g} × {of}"


def verdict_text(verdict: Verdict, versions: dict[str, str]) -> str:
    if verdict.problem:
        return f"not measured: {verdict.problem.strip().splitlines()[-1]}"
    metric = verdict.goal.metric
    ours = number(verdict.value, metric)
    if verdict.rival:
        ratio = verdict.value / verdict.rival_value if verdict.rival_value > 0 else math.inf
        ours += f" against {number(verdict.rival_value, metric)} ({label(verdict.rival, versions)}), ratio {ratio:.2f}"
    else:
        ours += f" {UNITS[metric][0]}"
    return f"{ours}: {'reached' if verdict.met else f'missed by {(verdict.off - 1) * 100:.0f} %'}"


def verdicts(case: Case, samples: Samples) -> list[Verdict]:
    return [verdict for goal in case.goals if (verdict := judge(goal, samples)) is not None]
