"""What the demo promises, each checked against what the load saw.

What lives here: pure checks that say what was seen, kept or not. What this must not know: processes, clocks, terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mesh.demo.load import Tally, drift

TOLERANCE = 3.0  # percentage points that a share may be off its weight
ORDERS = 2000  # orders over which shares are taken
STORY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise with what was seen; `seen` reads on after the promise in the verdict."""

    text: str
    kept: bool
    seen: str


def no_failures(during: str, tally: Tally) -> Promise:
    """No order failed, and there were orders at all."""
    seen = f"{tally.failures} of {tally.requests} failed"
    if tally.messages:
        seen += f", first: {tally.messages[0]}"
    return Promise(f"no failed request {during}", tally.failures == 0 and tally.requests > 0, seen)


def shares_follow(weights: Mapping[str, int], tally: Tally, orders: int = ORDERS) -> Promise:
    """Over at least `orders` good orders each cart replica's share is within TOLERANCE points of its weight."""
    shares = tally.shares("cart")
    good = tally.served["cart"].total()
    off = drift(shares, weights)
    listed = ", ".join(f"{name} {shares.get(name, 0.0):.1%}" for name in weights)
    text = f"shares within {TOLERANCE:g} points of the weights {ratio(weights)}"
    return Promise(text, off <= TOLERANCE and good >= orders, f"{listed} over {good} orders, off by {off:.1f}")


def went_elsewhere(replica: str, service: str, after: Tally) -> Promise:
    """Orders that began after the replica died were served by the others."""
    served = after.served[service]
    others = sum(count for name, count in served.items() if name != replica)
    return Promise(f"the other {service} replicas take over from {replica}", served[replica] == 0 and others > 0,
                   f"{others} orders by the others, {served[replica]} by {replica}")


def kept_weights(wanted: Mapping[str, int], stored: Mapping[str, int]) -> Promise:
    """The control plane still knows the weights that were set before it was killed."""
    return Promise("weights outlive the control plane's death", dict(wanted) == dict(stored),
                   f"{ratio(wanted)} set, {ratio(stored)} stored")


def reconnected(expected: Iterable[str], connected: Iterable[str]) -> Promise:
    """Every sidecar found back to the control plane."""
    missing = sorted(set(expected) - set(connected))
    return Promise("every sidecar comes back to the control plane", not missing,
                   f"missing: {', '.join(missing)}" if missing else "all are connected")


def trace_complete(services: Iterable[str], spans: Sequence[tuple[str, str, str]]) -> Promise:
    """One trace holds spans of all `services` under a single root. A span is (service, id, id of its parent)."""
    missing = sorted(set(services) - {service for service, _, _ in spans})
    known = {span for _, span, _ in spans}
    roots = [span for _, span, parent in spans if parent not in known]
    seen = f"{len(spans)} spans"
    if missing:
        seen += f", none of {', '.join(missing)}"
    if len(roots) != 1:
        seen += f", {len(roots)} roots"
    return Promise("one trace shows the whole order", not missing and len(roots) == 1, seen)


def in_time(seconds: float) -> Promise:
    """The story took less than a minute."""
    return Promise(f"the story takes less than {STORY_SECONDS:g} s", seconds < STORY_SECONDS, f"{seconds:.1f} s")


def ratio(weights: Mapping[str, int]) -> str:
    """`1:3:2`."""
    return ":".join(str(weight) for weight in weights.values())
