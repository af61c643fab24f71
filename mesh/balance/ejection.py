# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Passive health: endpoints that fail, or that do worse than the others, are taken out for a while.

What lives here: Outlier, which counts outcomes, ejects and brings back, and which answers count against an endpoint.
What this must not know: how a pick avoids an ejected node or finds the request that probes it (mesh.balance.balancer),
the clock.
"""

from __future__ import annotations

from typing import Any

from mesh.balance.node import Node, NodeSet
from mesh.balance.rng import Rng
from mesh.model.health import OutlierPolicy


def to_blame(http_status: int, grpc_status: int) -> bool:
    """Return whether an answer counts against the endpoint that gave it. `grpc_status` -1: it has none.

    UNKNOWN (what servers make of an exception nobody caught), DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS; the
    HTTP statuses from 500 on that say as much. NOT IMPLEMENTED (501, UNIMPLEMENTED) and 505 answer what was asked, and
    RESOURCE_EXHAUSTED, 429 and PERMISSION_DENIED are about the caller. Linkerd's list for gRPC has PERMISSION_DENIED
    too.
    """
    if grpc_status > 0:
        return (grpc_status == 2 or grpc_status == 4 or grpc_status == 13 or grpc_status == 14
                or grpc_status == 15)
    return http_status >= 500 and http_status != 501 and http_status != 505


class Outlier:
    """Ejects by an OutlierPolicy. All state is in the nodes, so a new policy is a new Outlier over the same set.

    Ejected is who fails `consecutive_failures` times in a row, and who does worse than the others over an `interval`,
    by Envoy's success rate and failure percentage, or by latency; those are looked at with the first result after each
    interval, the worst first.

    How many may be out: max_ejection_ratio of the healthy nodes, rounded down, but always one (Envoy's rule). That
    one may be the only one there is; the balancer then goes on with it (see mesh.balance.levels), so that an ejection
    never empties a service.

    How long: base_ejection_time times the number of ejections, which shrinks by one with each interval that the node
    is up (Envoy's rule), and up to `jitter` of that more, by `rng`; without one there is no jitter.

    How it comes back: with `half_open` (Linkerd's circuit breaker) by the first success after that time, a failure
    being the next ejection; otherwise the time is all. `news`: nodes in `changed` were ejected or brought back since
    `take_news`. `timing`: somebody must add up `Node.timed` and `Node.spent`.
    """

    def __init__(self, policy: OutlierPolicy, nodes: NodeSet, rng: Rng | None = None) -> None:
        self.nodes = nodes
        self.rng: Any = rng
        self.threshold = policy.consecutive_failures
        self.base = policy.base_ejection_time
        self.longest = policy.max_ejection_time
        self.ratio = policy.max_ejection_ratio
        self.jitter = policy.jitter
        self.half_open = policy.half_open
        self.interval = policy.interval
        self.policy = policy
        self.timing = policy.latency.factor > 0
        self.counting = self.timing or policy.success_rate.deviations > 0 or policy.failure_ratio.threshold > 0
        self.due = 0.0
        self.news = False
        self.changed: list[Node] = []

    def on_result(self, node: Node, ok: bool, now: float) -> bool:
        """Count one outcome; return True where it made the node ejected. O(1); O(n) for a failure at the threshold, and
        once an interval.

        A success ends the row of failures, and after the node's time its ejection. The row is not ended by the ejection
        itself: a node that fails its first call after its return is out again at once, and for longer. Failures of a
        node that is out (calls begun before, or picked in panic) are not counted.
        """
        if self.counting:
            if now >= self.due:
                self.compare(now)
            node.asked += 1
            if not ok:
                node.lapses += 1
        if ok:
            node.consecutive_failures = 0
            if node.ejected_until != 0.0 and now >= node.ejected_until:
                self.bring_back(node, now)
            return False
        if node.ejected_until > now:
            return False
        node.consecutive_failures += 1
        if node.held:
            self.eject(node, now, f"its probe failed, after: {plain(node.ejected_why)}")
            return True
        if self.threshold == 0 or node.consecutive_failures < self.threshold or not node.healthy:
            return False
        if not self.may_eject(now):
            return False
        last = f", the last: {node.last_failure}" if node.last_failure else ""
        self.eject(node, now, f"{node.consecutive_failures} failures in a row{last}")
        return True

    def bring_back(self, node: Node, now: float) -> None:
        """End the node's ejection, whatever its time; nothing happens where there is none."""
        if node.ejected_until == 0.0:
            return
        node.ejected_until = 0.0
        node.held = False
        node.probe_until = 0.0
        node.returned_at = now
        node.consecutive_failures = 0
        self.news = True
        self.changed.append(node)

    def take_news(self) -> list[Node]:
        """Return who was ejected or brought back since the last call."""
        changed = self.changed
        self.changed = []
        self.news = False
        return changed

    def eject(self, node: Node, now: float, why: str) -> None:
        if not node.held:
            if node.ejections > 0:
                returned = node.ejected_until if node.ejected_until > 0 else node.returned_at
                up = int((now - returned) / self.interval + 1e-9)
                node.ejections = node.ejections - up if up < node.ejections else 0
            node.ejected_at = now
        node.ejections += 1
        lasts = min(self.base * node.ejections, self.longest)
        if self.rng is not None and self.jitter > 0:
            lasts *= 1.0 + self.jitter * self.rng.uniform()
        node.ejected_until = now + lasts
        node.ejected_why = why
        node.held = self.half_open
        node.probe_until = 0.0
        self.news = True
        self.changed.append(node)

    def may_eject(self, now: float) -> bool:
        healthy = 0
        ejected = 0
        for node in self.nodes.nodes:
            if node.healthy:
                healthy += 1
                if node.out(now):
                    ejected += 1
        # 0.29 * 100 is a little less than 29.
        return ejected == 0 or ejected + 1 <= self.ratio * healthy + 1e-9

    def compare(self, now: float) -> None:
        """Judge what was counted since the last time, and begin anew. O(n log n)."""
        if self.due > 0:
            up = [node for node in self.nodes.nodes if node.healthy and not node.out(now)]
            policy = self.policy
            if policy.success_rate.deviations > 0:
                self.eject_worst(by_success(policy.success_rate, up), now)
            if policy.failure_ratio.threshold > 0:
                self.eject_worst(by_failures(policy.failure_ratio, up), now)
            if self.timing:
                self.eject_worst(by_latency(policy.latency, up), now)
        for node in self.nodes.nodes:
            node.asked = 0
            node.lapses = 0
            node.timed = 0
            node.spent = 0.0
        self.due = now + self.interval

    def eject_worst(self, found: list[tuple[float, Node, str]], now: float) -> None:
        for _, node, why in found:
            if not node.out(now) and self.may_eject(now):
                self.eject(node, now, why)


def plain(why: str) -> str:
    """The cause itself, of one that may name failed probes."""
    return why.removeprefix("its probe failed, after: ")


def by_success(policy: Any, nodes: list[Node]) -> list[tuple[float, Node, str]]:
    """Envoy's success-rate outliers (docs "outlier detection"): below mean - deviations * standard deviation; the worst
    first."""
    rated = [(1.0 - node.lapses / node.asked, node.position, node) for node in nodes
             if node.asked >= policy.min_requests]
    if len(rated) < policy.min_endpoints:
        return []
    mean = sum(rate for rate, _, _ in rated) / len(rated)
    deviation = (sum((rate - mean) ** 2 for rate, _, _ in rated) / len(rated)) ** 0.5
    bound = min(mean - policy.deviations * deviation, mean - policy.margin)
    return [(rate, node, f"success rate {rate:.1%}, and {mean:.1%} on average")
            for rate, _, node in sorted(rated) if rate < bound]


def by_failures(policy: Any, nodes: list[Node]) -> list[tuple[float, Node, str]]:
    """Envoy's failure percentage; the worst first."""
    rated = [(-node.lapses / node.asked, node.position, node) for node in nodes if node.asked >= policy.min_requests]
    if len(rated) < policy.min_endpoints:
        return []
    return [(ratio, node, f"{-ratio:.1%} of {node.asked} requests failed")
            for ratio, _, node in sorted(rated) if -ratio >= policy.threshold]


def by_latency(policy: Any, nodes: list[Node]) -> list[tuple[float, Node, str]]:
    """Whose mean is over `factor` times the median of the others' means; the slowest first. The median, as with few
    endpoints a single slow one would draw the mean along."""
    timed = sorted((node.spent / node.timed, node.position, node) for node in nodes
                   if node.timed >= policy.min_requests)
    if len(timed) < policy.min_endpoints:
        return []
    found: list[tuple[float, Node, str]] = []
    for place, (mean, _, node) in enumerate(timed):
        middle = median_without([each for each, _, _ in timed], place)
        if mean > policy.factor * middle and mean > policy.floor:
            found.append((-mean, node, f"mean latency {mean * 1000:.3g} ms, and {middle * 1000:.3g} ms the others'"))
    return found[::-1]


def median_without(values: list[float], place: int) -> float:
    """Return the median of sorted `values`, two or more, but the one at `place`."""
    rest = len(values) - 1
    high = rest // 2
    low = (rest - 1) // 2
    return (values[low if low < place else low + 1] + values[high if high < place else high + 1]) / 2.0
