"""How long a server takes for a call: the distributions a scenario can name, drawn from the run's own generator.

What lives here: service times (constant, exponential, lognormal, those of a list), and their text form. What this must
not know: queues, files. Times are seconds, results of `draw` are 0 and more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, exp, isfinite, log, pi, sqrt

from mesh.balance import Rng
from mesh.errors import InvalidResource
from mesh.resource.documents import parse_duration

Draw = Callable[[Rng], float]
# The quantile of the standard normal distribution at 0.99.
_Z99 = 2.3263478740408408
_LONGEST = 3600.0


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """A distribution: `text` is how a scenario writes it, `mean` its mean in seconds."""

    text: str
    mean: float
    draw: Draw

    def __call__(self, rng: Rng) -> float:
        return self.draw(rng)


def constant(seconds: float) -> ServiceTime:
    """Every call takes as long."""
    return ServiceTime(f"constant:{seconds:g}s", seconds, lambda rng: seconds)


def exponential(mean: float) -> ServiceTime:
    """Memoryless times of `mean` seconds, as queueing theory likes them."""
    return ServiceTime(f"exponential:{mean:g}s", mean, lambda rng: -mean * log(1.0 - rng.uniform()))


def lognormal(median: float, p99: float) -> ServiceTime:
    """Times whose logarithm is normal, as those of real services nearly are: most near the median, and a long tail.

    Box-Muller's transformation (1958) makes the normal number; of its two only one is used, so that a draw depends on
    nothing that was drawn for another server.
    """
    sigma = log(p99 / median) / _Z99

    def draw(rng: Rng) -> float:
        normal = sqrt(-2.0 * log(1.0 - rng.uniform())) * cos(2.0 * pi * rng.uniform())
        return median * exp(sigma * normal)

    return ServiceTime(f"lognormal:{median:g}s:{p99:g}s", median * exp(sigma * sigma / 2), draw)


def listed(times: Sequence[float]) -> ServiceTime:
    """Each of `times` (at least one) as often as any other: what was measured elsewhere."""
    kept = tuple(times)
    return ServiceTime(f"{len(kept)} times", sum(kept) / len(kept), lambda rng: kept[rng.below(len(kept))])


def parse_service_time(value: object, path: str) -> ServiceTime:
    """Return what `10ms`, `constant:10ms`, `exponential:10ms`, `lognormal:10ms:80ms` (median and 99th percentile) or a
    list of durations means; InvalidResource names `path`."""
    if isinstance(value, list):
        if not value:
            raise InvalidResource(path, "a list without a time")
        return listed([_duration(each, f"{path}[{index}]") for index, each in enumerate(value)])
    kind, *words = value.split(":") if isinstance(value, str) else ("constant", value)
    if not words:
        kind, words = "constant", [value]
    if kind in ("constant", "exponential") and len(words) == 1:
        return (constant if kind == "constant" else exponential)(_duration(words[0], path))
    if kind == "lognormal" and len(words) == 2:
        median, p99 = (_duration(word, path) for word in words)
        if p99 < median:
            raise InvalidResource(path, f"{value!r}: the 99th percentile is below the median")
        return lognormal(median, p99)
    raise InvalidResource(path, f"{value!r} is no service time: 10ms, exponential:10ms, lognormal:10ms:80ms (median "
                                "and 99th percentile), or a list of durations")


def _duration(value: object, path: str) -> float:
    seconds = parse_duration(value, path)
    if not isfinite(seconds) or not 0.000_001 <= seconds <= _LONGEST:
        raise InvalidResource(path, f"{value!r} is outside 1us..1h")
    return seconds
