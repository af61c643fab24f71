"""Why a request would go where: a pick made for show, and every endpoint as it looks at that instant.

What lives here: Explanation, and how it is had without the balancer noticing. The pick is made by the balancer's own
code on a fork of it (Balancer.fork), so it is the one that the next request would get; what that does to the nodes they
have in common (slow start's weights, a first latency) is put back. What this must not know: requests, retries, clocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import NamedTuple

from mesh.balance.balancer import Balancer
from mesh.balance.levels import Eligibility, Level
from mesh.balance.node import Node
from mesh.balance.rng import Rng
from mesh.model.balance import HASHING, Algorithm, BalancePolicy
from mesh.model.values import Health

# Picks in a row that tell the shares: off by 1.6 points at most (one standard deviation) where chance has a say.
DRAWS = 1000
# The same where each costs as long as a policy of somebody's own takes.
FEW_DRAWS = 20
# Candidates that are described one by one: what a person can read, and what a message can hold.
LISTED = 200
# What `Candidate.score` is, by algorithm; the others compare nothing.
SCORES = {
    Algorithm.POWER_OF_TWO: "calls in flight per weight, of two drawn the lower",
    Algorithm.LEAST_REQUEST: "calls in flight per weight, of `choices` drawn the lowest",
    Algorithm.PEAK_EWMA: "seconds that a call would seem to take, of `choices` drawn the lowest",
    Algorithm.LEAST_TIME: "seconds that a call would seem to take, the lowest of all",
    Algorithm.LEAST_CONNECTIONS: "calls in flight per weight, the lowest of all",
    Algorithm.FIRST_AVAILABLE: "how full, 0 while there is room; the first with the lowest",
    Algorithm.SOURCE_IP_HASH: "of the key at this endpoint, the highest of all",
    Algorithm.RENDEZVOUS: "of the key at this endpoint, the highest of all",
}
# What changes at each pick, whatever the endpoints do.
_IN_TURN = (Algorithm.ROUND_ROBIN, Algorithm.WEIGHTED_ROUND_ROBIN)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint. `state`: "" where it can be picked, else why not. `weight`: 1 is the whole of `full_weight` but
    while it starts slowly. `latency`: seconds, None before it has been measured. `score`: see SCORES, None where the
    algorithm compares nothing. `share`: of picks like this one, 0..1."""

    node: Node
    level: str
    state: str
    note: str
    ramp: float
    latency: float | None
    score: float | None
    share: float


@dataclass(frozen=True, slots=True)
class LevelShare:
    """A level. `load`: its part of the calls, `up`: the ratio of its weight that is usable, both 0..1."""

    name: str
    load: float
    up: float
    candidates: int
    panic: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """`picked`: the node, None where none can be. `omitted`: endpoints that are not listed."""

    picked: Node | None
    why: str
    key: int
    levels: tuple[LevelShare, ...]
    candidates: tuple[Candidate, ...]
    omitted: int


class _Part(Enum):
    """Of a level: picked from, ejected, or outside of the subset that this sidecar uses."""

    ACTIVE = 1
    AWAY = 2
    OUTSIDE = 3


class Rehearsal:
    """A fork of a balancer for the time of a `with`, after which all is as it was before."""

    def __init__(self, balancer: Balancer) -> None:
        self._nodes = balancer.nodes
        self._before = [(node, node.weight, node.up_since, node.latency, node.latency_at, node.probe_until)
                        for node in balancer.nodes.nodes]
        self._generation = balancer.nodes.generation
        self._fork = balancer.fork()

    def __enter__(self) -> Balancer:
        return self._fork

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._fork.close()
        for node, weight, up_since, latency, latency_at, probe_until in self._before:
            node.weight, node.up_since, node.probe_until = weight, up_since, probe_until
            node.latency, node.latency_at = latency, latency_at
        self._nodes.generation = self._generation


def explain(balancer: Balancer, now: float, key_of: Callable[[Rng], int], cookies: bytes | None = None,
            tried: list[Node] | None = None, head: object = None, full: Sequence[Node] = ()) -> Explanation:
    """Return what `balancer` would do at `now` for a request.

    `key_of`: its key, with the generator where it has none; `cookies`: its Cookie field, where the policy has one;
    `tried`: whom it avoids while there is another; `full`: who takes no more now, see Cluster.place; `head`: what a
    policy of one's own is shown of it. O(n), and DRAWS picks.
    """
    call = _Call(cookies, tried, tuple(full), now)
    with Rehearsal(balancer) as fork:
        key = key_of(fork.rng)
        if fork.custom is not None:
            fork.custom.head = head
        picked = call.place(fork, key)
        why = fork.why
        policy = fork.policy
        measured = {node: node.latency for node in fork.nodes.nodes if node.samples}
        levels = Eligibility(policy, fork.caller).sort(fork.nodes.nodes, now)
        scores: dict[Node, float] = {}
        if policy.algorithm in SCORES:
            for level in levels:
                for node in level.active[:LISTED]:
                    scores[node] = fork.score(node, key)
        shares: Counter[Node | None] = Counter({picked: 1})
        if picked is not None and policy.algorithm not in HASHING and why != "sticky":
            draws = DRAWS if fork.custom is None else FEW_DRAWS
            shares = Counter(call.place(fork, key) for _ in range(draws))
        places = _places(levels)
        nodes = sorted(fork.nodes.nodes, key=lambda node: (node is not picked, node not in places, -shares[node]))
        drawn = shares.total()
        described = tuple(_describe(node, policy, places.get(node), call, measured.get(node), scores.get(node),
                                    shares[node] / drawn) for node in nodes[:LISTED])
    return Explanation(picked, why, key, tuple(_share(level) for level in levels), described,
                       max(0, len(nodes) - LISTED))


def chance(policy: BalancePolicy) -> str:
    """Return how far the pick is the next request's: what else has a say beside what the explanation shows."""
    if policy.algorithm in HASHING or policy.algorithm is Algorithm.FIRST_AVAILABLE:
        return ""
    if policy.algorithm in _IN_TURN:
        return "the next in turn; each pick is another one's turn"
    return "chance has a say: the share says how much"


class _Call(NamedTuple):
    """What of a call has a say in its picks beside its key."""

    cookies: bytes | None
    tried: list[Node] | None
    full: tuple[Node, ...]
    now: float

    def place(self, fork: Balancer, key: int) -> Node | None:
        """Pick; one that is full only where all are."""
        node = self._pick(fork, key, self.tried)
        if node is None or node not in self.full:
            return node
        node = self._pick(fork, key, [*self.full, *(self.tried or ())])
        if self.tried is not None and node in self.full:
            node = self._pick(fork, key, list(self.full))
        return node

    def _pick(self, fork: Balancer, key: int, avoided: list[Node] | None) -> Node | None:
        if fork.sticky is not None:
            return fork.pick_again(self.cookies, key, self.now, avoided)
        return fork.pick(key, self.now, avoided)


def _places(levels: list[Level]) -> dict[Node, tuple[Level, _Part]]:
    """Where each node stands; one that the registry does not say to be healthy stands nowhere."""
    places: dict[Node, tuple[Level, _Part]] = {}
    for level in levels:
        for part, nodes in ((_Part.OUTSIDE, level.healthy), (_Part.AWAY, level.away), (_Part.ACTIVE, level.active)):
            places.update(dict.fromkeys(nodes, (level, part)))
    return places


def _describe(node: Node, policy: BalancePolicy, place: tuple[Level, _Part] | None, call: _Call,
              latency: float | None, score: float | None, share: float) -> Candidate:
    level, part = place or (None, _Part.OUTSIDE)
    ramp = 1.0 if policy.slow_start.window <= 0 or node.full_weight == 0 else node.weight / (100 * node.full_weight)
    return Candidate(node, level.name if level is not None else "", _state(node, policy, level, part, call),
                     _note(node, level, call.now), min(ramp, 1.0), latency, score, share)


def _state(node: Node, policy: BalancePolicy, level: Level | None, part: _Part, call: _Call) -> str:
    """Why a node can't be picked, "" where it can."""
    if level is None:
        if node.endpoint.health is Health.DRAINING:
            return "draining"
        if node.full_weight == 0:
            return "weight 0"
        if not set(policy.subset.match) <= set(node.endpoint.metadata):
            return "its metadata is not what subset.match asks for"
        return "unhealthy, the registry says"
    if part is _Part.AWAY or (part is _Part.OUTSIDE and node.unproven):
        return _away(node, call.now)
    if part is _Part.OUTSIDE:
        return f"not one of the {policy.subset.size} that this sidecar uses"
    if node in call.full:
        return f"full: {node.in_flight} calls in flight, as many as it may have"
    if call.tried and node in call.tried:
        return "avoided: it was tried, or asked to be left alone"
    return "" if level.load > 0 else "spare: the levels before it take everything"


def _away(node: Node, now: float) -> str:
    """What this sidecar itself has against a node."""
    if node.failing:
        return "its checks fail"
    if node.unproven:
        return "no check of it has ended yet"
    why = f", {node.ejected_why}" if node.ejected_why else ""
    if now < node.ejected_until:
        return f"ejected for {node.ejected_until - now:.3g} s more ({_row(node)}{why})"
    return f"ejected, waits for the success of a probe ({_row(node)}{why})"


def _note(node: Node, level: Level | None, now: float) -> str:
    if level is not None and level.panic and not node.eligible(now):
        return f"{_away(node, now)}; used all the same: panic"
    if node.consecutive_failures:
        return f"{node.consecutive_failures} failures in a row"
    return ""


def _row(node: Node) -> str:
    return "once" if node.ejections == 1 else f"{node.ejections} times in a row"


def _share(level: Level) -> LevelShare:
    return LevelShare(level.name, level.load, level.ratio, len(level.active), level.panic)
