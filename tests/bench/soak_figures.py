"""What a soak found: slopes of memory, and which errors an injected event explains.

What lives here: pure functions and values. What this must not know: processes, sockets, clocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# How long after an event a call may still fail of it, in seconds: what had been sent is lost at once; a TCP connection
# may be handed to a dead app until the app's sidecar has noticed.
GRACE = {"tcp": 3.0}
GRACE_OTHERS = 1.0
BEFORE = 0.2  # clocks are read by different threads


@dataclass(frozen=True)
class Event:
    """Something done to an instance of `service` at `at` (seconds). `excuses`: whether calls may fail of it."""

    at: float
    what: str
    service: str
    excuses: bool


@dataclass(frozen=True)
class Failure:
    """A call that failed; times in seconds."""

    kind: str
    service: str
    protocol: str
    started: float
    ended: float
    reason: str
    corrupt: bool = False  # wrong bytes: nothing excuses that


def explanation(failure: Failure, events: Iterable[Event]) -> str:
    """What explains a failure: the event, or the empty string."""
    if failure.corrupt:
        return ""
    grace = GRACE.get(failure.protocol, GRACE_OTHERS)
    for event in events:
        if (event.excuses and event.service == failure.service and failure.ended >= event.at - BEFORE
                and failure.started <= event.at + grace):
            return event.what
    return ""


def sort_failures(failures: Sequence[Failure], events: Sequence[Event]) -> Counter[tuple[str, str, str]]:
    """Counts by (kind, reason, explanation)."""
    return Counter((failure.kind, failure.reason, explanation(failure, events)) for failure in failures)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares: change of the second number per unit of the first; 0 for fewer than three points."""
    if len(points) < 3:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


@dataclass(frozen=True)
class Life:
    """Resident memory of one process, from its start to its end: KiB at the warm-up's end and last, KiB a minute.

    `later`: KiB a minute in the second half of that; where it is much less, the process was still filling its pools.
    """

    name: str
    minutes: float
    first_kib: float
    last_kib: float
    kib_per_minute: float
    later: float


Points = Sequence[tuple[float, float]]


def lives(samples: Mapping[tuple[str, int], Points], warm_s: float, least_s: float) -> list[Life]:
    """Of samples (seconds, KiB) by (name, pid): those that lived at least `least_s` after their warm-up."""
    found = []
    for (name, _), points in samples.items():
        if not points:
            continue
        kept = [point for point in points if point[0] >= points[0][0] + warm_s]
        if len(kept) >= 3 and kept[-1][0] - kept[0][0] >= least_s:
            found.append(Life(name, (kept[-1][0] - kept[0][0]) / 60, kept[0][1], kept[-1][1], slope(kept) * 60,
                              slope(kept[len(kept) // 2 :]) * 60))
    return found


def left_over(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Counts that are higher after than before."""
    return {key: (before.get(key, 0), count) for key, count in after.items() if count > before.get(key, 0)}
