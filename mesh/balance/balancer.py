# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""The pick: a level that has load to give, and one of its nodes.

What lives here: Balancer, which joins a node set, who may be picked of it, and an algorithm. What this must not know:
how levels are made (mesh.balance.levels), any one algorithm, connections, the clock.

The order of preference is the same for all algorithms:
1. the node that the client's cookie names, where the policy has one;
1a. for a first attempt, a node whose ejection is over and that has to prove itself by one request (half-open);
2. nodes of the level drawn (in proportion to load) that have not been tried for this request;
3. nodes of the other levels, the first first, that have not been tried: backups, too, for a second attempt;
4. nodes of the level drawn, tried or not: a second chance is better than none;
5. None, where no node is healthy.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import cython

from mesh.balance.custom_picker import CustomPicker
from mesh.balance.factory import make_picker
from mesh.balance.levels import Eligibility
from mesh.balance.node import Node, NodeSet
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng, mix64
from mesh.balance.slow_start import SlowStart
from mesh.balance.sticky import Sticky
from mesh.balance.subset import Caller
from mesh.model.balance import HASHING, BalancePolicy

if not cython.compiled:
    from mesh.balance.node import INFINITY

# A node in half-open waits this long for a request that may be repeated elsewhere, then takes any. Seconds.
SAFE_WAIT = 1.0
# ... and its probe has this long to have an outcome before another is sent: it may be a stream that lives for hours.
PROBE_PATIENCE = 5.0
# Keeps the draw of a level apart from the hash of a node.
LEVEL_SALT = 0xD6E8FEB86659FD93


class Tier:
    """A level as the pick sees it, and the picker that keeps its state while the level is there. `until`: with the
    loads of those before it; `stale`: the picker has not taken `active` yet."""

    def __init__(self, picker: Picker) -> None:
        self.picker = picker
        self.active: list[Node] = []
        self.away: list[Node] = []
        self.until = 0.0
        self.why = ""
        self.stale = True

    def take(self, now: float) -> None:
        if self.stale:
            self.stale = False
            self.picker.now = now
            self.picker.take(self.active, self.away)


class Balancer:
    """Picks one node of a set by a policy, for one caller.

    `why`: how the last pick was made, `among`: of how many. `custom`: a policy of one's own, see CustomPicker.
    `half_open`: an ejected node waits for a request that probes it, or will; then
    `safe` has to be said before each pick: whether it is for a request that may be repeated. `panic`:
    ejections are not believed, in a level that is picked from. `feedback`: the algorithm learns from `on_result`. Who
    can be picked is looked at again at the next pick after `changed()`, when an ejection runs out, and while an
    endpoint starts slowly, so that a pick itself need not look at every node.
    """

    def __init__(self, policy: BalancePolicy, nodes: NodeSet, rng: Rng, caller: Caller | None = None,
                 custom: Any = None) -> None:
        self.policy = policy
        self.nodes = nodes
        self.rng = rng
        self.custom = custom
        self.name: str = f"custom {policy.custom.class_name}" if custom is not None and custom.live \
            else policy.algorithm.value
        self.why = self.name
        self.among = 0
        self.hashing = policy.algorithm in HASHING
        self.sticky: Any = Sticky(policy.sticky, nodes) if policy.sticky.cookie else None
        self.slow_start: Any = SlowStart(policy.slow_start) if policy.slow_start.window > 0 else None
        self.caller = caller or Caller()
        self.eligibility = Eligibility(policy, self.caller)
        self.picker: Picker = self.make_picker()
        self.feedback = self.picker.feedback
        self.by_key: dict[int, Tier] = {}
        self.tiers: list[Tier] = []
        self.only: Any = None
        self.panic = False
        self.half_open = False
        self.probes: Any = None
        self.safe = True
        self.safe_by = 0.0
        self.generation = -1
        self.refresh_at = -INFINITY
        for node in nodes.nodes:
            if node.weight != node.full_weight:  # a balancer before this one let it start slowly
                node.weight = node.full_weight
                nodes.generation += 1

    def pick(self, key: int, now: float, tried: list[Node] | None) -> Node | None:
        """Return the node for the next request, or None where none is healthy.

        `key`: what hashing algorithms go by, 0..2^64-1. `tried`: where this request has been already.
        Costs what the algorithm's `draw` says; with `tried`, up to 8 times that and seldom O(n).
        """
        if now >= self.refresh_at:
            self.refresh(now)
        if self.probes is not None and not tried:
            node = self.probe(now)
            if node is not None:
                return node
        tier: Tier | None = self.only
        if tier is None:
            if not self.tiers:
                return None
            tier = self.draw(key)
        picker = tier.picker
        picker.now = now
        self.why = tier.why
        self.among = len(tier.active)
        if self.custom is not None:
            return self.pick_by_policy(tier, key, now, tried)
        if not tried:
            return picker.draw(key)
        return self.pick_other(tier, key, now, tried)

    def probe(self, now: float) -> Node | None:
        """Return the node that this request probes, None where it waits for a safer one."""
        safe = self.safe
        self.safe = True
        if not safe and now < self.safe_by:
            return None
        node: Node = self.probes.pop(0)
        if not self.probes:
            self.probes = None
        node.probe_until = now + PROBE_PATIENCE
        self.refresh_at = min(self.refresh_at, node.probe_until)
        self.why = f"{self.name}, probe"
        self.among = 1
        return node

    def pick_again(self, cookies: bytes | None, key: int, now: float, tried: list[Node] | None) -> Node | None:
        """As `pick`, but the node that the client's cookie names goes before all others while it can be picked.

        `cookies`: the value of the request's Cookie field. Only where the policy has a cookie. `why` says which it was.
        """
        if cookies:
            node: Node | None = self.sticky.node_of(cookies)
            if node is not None and node.eligible(now) and (not tried or not node.among(tried)):
                self.why = "sticky"
                self.among = 1
                return node
        return self.pick(key, now, tried)

    def pick_other(self, tier: Tier, key: int, now: float, tried: list[Node]) -> Node:
        """Pick one that is not in `tried`, of `tier` or else of the first level that has one."""
        if has_other(tier.active, tried):
            return tier.picker.draw_other(key, tried)
        for other in self.tiers:
            if has_other(other.active, tried):
                other.take(now)
                other.picker.now = now
                self.why = other.why
                self.among = len(other.active)
                return other.picker.draw_other(key, tried)
        return tier.picker.draw_other(key, tried)

    def pick_by_policy(self, tier: Tier, key: int, now: float, tried: list[Node] | None) -> Node:
        """Pick where a policy of one's own has a say, or has been asked in vain."""
        self.custom.fell_back = False
        node = self.pick_other(tier, key, now, tried) if tried else tier.picker.draw(key)
        if self.custom.fell_back:
            self.why = self.why.replace(self.name, f"{self.policy.algorithm.value} for {self.name}", 1)
        return node

    def make_picker(self) -> Picker:
        picker = make_picker(self.policy, self.rng)
        return picker if self.custom is None else CustomPicker(self.rng, picker, self.custom)

    def draw(self, key: int) -> Tier:
        """Draw one of several levels by their loads; a key always has the same while these stay."""
        bits = mix64(key ^ LEVEL_SALT) if self.hashing else self.rng.next64()
        place = (bits >> 11) * (1.0 / 9007199254740992.0)
        last: Tier | None = None
        before = 0.0
        for tier in self.tiers:
            if tier.until > before:
                last = tier
                if place < tier.until:
                    break
            before = tier.until
        assert last is not None
        return last

    def on_result(self, node: Node, latency: float, ok: bool, now: float) -> int:
        """Tell the algorithm how an attempt ended; see Picker.on_result."""
        if not self.feedback:
            return 0
        picker = self.picker
        if len(self.tiers) > 1:
            for tier in self.tiers:
                if node.among(tier.active):
                    picker = tier.picker
                    break
        picker.on_result(node, latency, ok, now)
        return 0

    def move(self, caller: Caller) -> None:
        """Pick for `caller` from now on: the same sidecar at another position."""
        self.caller = caller
        self.eligibility = Eligibility(self.policy, caller)
        self.changed()

    def fork(self) -> Balancer:
        """Return a copy that picks what this one would pick next, of whose picks this one notices nothing.

        It has the nodes in common with this one: for picks at one instant, with what they may change in nodes put back
        afterwards (mesh.balance.explain does). Close it after use. O(n).
        """
        other: Balancer = copy(self)
        other.rng = copy(self.rng)
        other.slow_start = copy(self.slow_start)
        other.eligibility = Eligibility(self.policy, self.caller)
        other.picker = self.picker.fork(other.rng)
        if self.custom is not None:
            other.custom = self.custom.fork()
        other.by_key = {}
        other.only = None
        for number, tier in self.by_key.items():
            own = copy(tier)
            own.picker = tier.picker.fork(other.rng)
            if self.custom is not None:
                asked: Any = own.picker
                asked.policy = other.custom
            other.by_key[number] = own
            if tier is self.only:
                other.only = own
        other.tiers = list(other.by_key.values())  # in the same order: see `refresh`
        if self.probes is not None:
            other.probes = list(self.probes)
        return other

    def score(self, node: Node, key: int) -> float:
        """Return by what the algorithm would compare `node` at the instant of the last pick; see Picker.score."""
        for tier in self.tiers:
            if node.among(tier.active):
                return tier.picker.score(node, key)
        return self.picker.score(node, key)

    def concerned(self, now: float) -> list[Node]:
        """Return the nodes that picks may come to as the set is now, whatever this sidecar thinks of them. O(n)."""
        subset = self.policy.subset
        if not subset.size and not subset.match:
            return self.nodes.nodes
        found: list[Node] = []
        for level in self.eligibility.sort(self.nodes.nodes, now):
            found += level.chosen
        self.changed()
        return found

    def changed(self) -> None:
        """Say that the set was reconciled or a node ejected: the next pick looks at all of them again."""
        self.refresh_at = -INFINITY

    def describe(self) -> str:
        """Return the name of the algorithm, as in the Service."""
        return self.name

    def close(self) -> None:
        """Let go of the nodes, for another balancer over the same set."""
        for tier in self.by_key.values():
            tier.picker.detach()
        self.by_key = {}
        self.tiers = []
        self.only = None
        self.probes = None
        self.refresh_at = INFINITY

    def refresh(self, now: float) -> None:
        """Look at all nodes. Where nothing has changed, neither does the algorithm's own state."""
        self.refresh_at = self.slow_start.advance(self.nodes, now) if self.slow_start is not None else INFINITY
        levels = self.eligibility.sort(self.nodes.nodes, now)
        self.refresh_at = min(self.refresh_at, self.eligibility.back)
        before = self.by_key
        self.by_key = {}
        self.tiers = []
        self.only = None
        self.panic = False
        weights_changed = self.generation != self.nodes.generation
        self.generation = self.nodes.generation
        until = 0.0
        waiting: list[Node] = []
        probes: list[Node] = []
        self.half_open = False
        for level in levels:
            self.half_open = self.half_open or level.held
            waiting += level.probes
            if level.load > 0:  # what nobody is sent to is not probed either
                probes += waiting
                waiting = []
            if not level.active:
                continue
            tier = before.pop(level.key, None)
            if tier is None:
                tier = Tier(self.make_picker())
            self.tiers.append(tier)
            self.by_key[level.key] = tier
            if weights_changed or level.active != tier.active or level.away != tier.away:
                tier.stale = True
                tier.active = level.active
                tier.away = level.away
            tier.why = self.name
            if level.name:
                tier.why += f", {level.name}"
            if level.panic:
                tier.why += f", panic: {level.ratio:.0%} up"
            until += level.load
            tier.until = until
            if level.load > 0:
                self.panic = self.panic or level.panic
                tier.take(now)
                if level.load > 0.999999:
                    self.only = tier
        if probes and self.probes is None:
            self.safe_by = now + SAFE_WAIT
        self.probes = probes or None
        for gone in before.values():
            gone.picker.detach()
        if self.tiers:
            tier = self.tiers[0]
            self.picker = tier.picker


def has_other(nodes: list[Node], tried: list[Node]) -> bool:
    """Whether there is one of `nodes` that is not in `tried`, which are few."""
    if len(nodes) > len(tried):
        return True
    for node in nodes:  # noqa: SIM110  any() would make a generator for each call
        if not node.among(tried):
            return True
    return False
