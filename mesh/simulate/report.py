"""What came of a run, as figures: latencies, how even the load was, retries, what was dropped.

What lives here: Summary, and how it is made of a Result. What this must not know: tables, plots, files.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mesh.simulate.engine import UNFINISHED, Outcome, Result, mean, percentile
from mesh.simulate.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Summary:
    """One policy's figures. Latencies in seconds; they are of requests that were answered or were waiting still at the
    end (a lower bound, then), for a failure at once is no good latency. None where there was no such request.

    `failed` by reason code. `amplification`: attempts per request. `attempts`: per endpoint. `imbalance`: the share of
    the endpoint that had the largest one, over what weights give it; 1.0 is even. `longest`: the most calls an endpoint
    had at a time. `latencies` in order; `timeline`: see `_timeline`.
    """

    requests: int
    answered: int
    failed: dict[str, int]
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    mean: float | None
    highest: float | None
    amplification: float
    attempts: dict[str, int]
    retries: dict[str, int]
    ejections: int
    imbalance: float
    longest: dict[str, int]
    answered_by: dict[str, int]
    latencies: list[float] = field(default_factory=list, repr=False)
    timeline: list[tuple[float, float | None, int]] = field(default_factory=list, repr=False)

    def to_json(self) -> dict[str, object]:
        """Return what `-o json` shows: figures, no lists of requests."""
        return {
            "requests": self.requests, "answered": self.answered, "failed": self.failed,
            "latency_seconds": {"p50": self.p50, "p90": self.p90, "p99": self.p99, "p99.9": self.p999,
                                "mean": self.mean, "max": self.highest},
            "attempts_per_request": self.amplification, "retries": self.retries, "ejections": self.ejections,
            "imbalance": self.imbalance, "attempts": self.attempts, "answered_by": self.answered_by,
            "longest_queue": self.longest,
        }


def summarise(scenario: Scenario, result: Result, longest: dict[str, int], slices: int = 100) -> Summary:
    """Return the figures of the requests that came after the warm-up. `longest`: queue by endpoint. `slices`: of the
    timeline, each with its p99 and its failures."""
    counted = result.between(scenario.warmup, float("inf"))
    timed = [outcome for outcome in counted if outcome.ok or outcome.reason == UNFINISHED]
    failed = Counter(outcome.reason for outcome in counted if not outcome.ok)
    latencies = sorted(outcome.latency for outcome in timed)
    attempts = {backend.endpoint.name: result.attempts[backend.endpoint.name] for backend in scenario.backends}
    tried = sum(outcome.attempts for outcome in counted)
    answered_by = Counter(outcome.endpoint for outcome in counted if outcome.ok)

    def at(ratio: float) -> float | None:
        return percentile(timed, ratio) if timed else None

    return Summary(
        len(counted), sum(outcome.ok for outcome in counted), dict(failed.most_common()), at(0.5), at(0.9), at(0.99),
        at(0.999), mean(timed) if timed else None, latencies[-1] if latencies else None,
        tried / len(counted) if counted else 0.0, attempts,
        dict(result.retries.most_common()), sum(result.ejections.values()), imbalance(scenario, attempts), longest,
        {name: answered_by[name] for name in attempts}, latencies, _timeline(scenario, counted, slices))


def imbalance(scenario: Scenario, attempts: dict[str, int]) -> float:
    """The largest ratio of an endpoint's share of the attempts to its share of the weights; 0 without attempts."""
    weights = {backend.endpoint.name: backend.endpoint.weight for backend in scenario.backends}
    total, whole = sum(attempts.values()), sum(weights.values())
    if not total or not whole:
        return 0.0
    return max((attempts[name] / total) / (weight / whole) for name, weight in weights.items() if weight)


def _timeline(scenario: Scenario, counted: list[Outcome], slices: int) -> list[tuple[float, float | None, int]]:
    """(instant, p99 of what came in its slice, failures of it), for a plot."""
    width = (scenario.duration - scenario.warmup) / slices
    if width <= 0:
        return []
    sorted_into: list[list[Outcome]] = [[] for _ in range(slices)]
    for outcome in counted:
        sorted_into[min(slices - 1, int((outcome.at - scenario.warmup) / width))].append(outcome)
    return [(scenario.warmup + (index + 0.5) * width, percentile(found, 0.99) if found else None,
             sum(not outcome.ok for outcome in found)) for index, found in enumerate(sorted_into)]
