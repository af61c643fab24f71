# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Which endpoints may be picked, in levels: who goes first, and who takes over as much as is left.

What lives here: Level and Eligibility, which sorts a node set into levels. What this must not know: algorithms, the
request, the clock.

A node takes part when it is `serving` and in the subset; it is *up* when it is healthy, not ejected, and not down by
its checks, *away* when the registry has nothing against it but this sidecar has. While none is up, those that have no
verdict of their checks yet count as up; otherwise those are as if they weren't there (Envoy:
ignore_new_hosts_until_first_hc). Levels follow one another by priority, and within one by distance from the caller
(same zone, same region, the failover regions in their order, the rest). A level of which the ratio r of its weight is
up takes min(1, r * overprovisioning) of the load, the next one what is left of it, and so on; where all together can't
take it all, each takes its part of what they can. Envoy, docs "priority levels" and "overprovisioning factor", and
Istio's locality failover, which maps to the same.

Panic: where the levels can't take it all and less than `panic_threshold` of one is up, those that are away are used as
if they weren't: few survivors must not be given everything, and so many verdicts say more about the callers' side, or
the whole service, than about endpoints. Where nothing at all is up that holds whatever the threshold: neither an
ejection nor a check must ever make a service unreachable. What the registry says (unhealthy, draining, weight 0) is
never overridden: such an endpoint has said itself that it can't.
"""

from __future__ import annotations

import cython

from mesh.balance.node import Node
from mesh.balance.subset import Caller, window
from mesh.model.balance import BalancePolicy, Prefer

if not cython.compiled:
    from mesh.balance.node import INFINITY

# Distances within one priority: same zone, same region, failover regions from there on.
SAME_ZONE = 0
SAME_REGION = 1
FAILOVER = 2
# More than there are distances (64 failover regions and what is beyond them).
DISTANCES = 100


class Level:
    """The nodes of one priority and distance. `load`: its part of the load; `active`: who is picked from, in the order
    of the set; `away`: who is not in it by this sidecar's own verdict. `panic`: `active` has such ones in it. `chosen`:
    who is in the subset, whatever this sidecar thinks of it; `probes`: who is away and to be asked once; `held`:
    somebody is, or will be."""

    def __init__(self, key: int, name: str) -> None:
        self.key = key
        self.name = name
        self.members: list[Node] = []
        self.clear()

    def clear(self) -> None:
        self.total = 0
        self.known = 0
        self.healthy: list[Node] = []
        self.chosen: list[Node] = []
        self.active: list[Node] = []
        self.away: list[Node] = []
        self.probes: list[Node] = []
        self.held = False
        self.unproven: list[Node] = []
        self.ratio = 0.0
        self.load = 0.0
        self.panic = False

    def settle(self, now: float, size: int, place: float) -> float:
        """Choose the subset of `size` (0: all) and split it into active and away; return when the first is back."""
        back = INFINITY
        members = self.healthy
        if size > 0 and len(members) > size:
            members = window(members, size, place)
        self.chosen = members
        weight = 0
        up = 0
        for node in members:
            if node.unproven:
                self.unproven.append(node)
                continue
            weight += node.full_weight
            if node.eligible(now):
                self.active.append(node)
                up += node.full_weight
                continue
            self.away.append(node)
            if node.failing:
                continue
            self.held = self.held or node.held
            if now < node.ejected_until:
                back = min(back, node.ejected_until)
            elif now < node.probe_until:
                back = min(back, node.probe_until)
            else:
                self.probes.append(node)
        if self.unproven:
            if self.active:
                members = [node for node in members if not node.unproven]
            else:  # none is up: go by those that nobody has a word against
                self.active = self.unproven
                for node in self.unproven:
                    up += node.full_weight
                weight += up
        self.members = members
        if weight > 0:
            # What the registry leaves of the level, and of that what this sidecar's own verdicts leave of its part.
            self.ratio = (self.known / self.total) * (up / weight)
        return back

    def believe_no_ejection(self) -> None:
        self.probes = []
        if self.away:
            self.active = list(self.members)
            self.away = []
            self.panic = True


class Eligibility:
    """Sorts nodes into levels by one policy, for one caller. O(n); with a subset of a fixed size O(n log n)."""

    def __init__(self, policy: BalancePolicy, caller: Caller) -> None:
        self.match = frozenset(policy.subset.match)
        self.or_any = policy.subset.or_any
        self.size = policy.subset.size
        self.place = caller.place()
        self.region = caller.locality.region
        self.zone = caller.locality.zone
        self.by_place = policy.locality.prefer is not Prefer.ANY
        self.by_zone = policy.locality.prefer is Prefer.ZONE
        self.failover = {region: FAILOVER + i for i, region in enumerate(policy.locality.failover)}
        self.overprovisioning = policy.overprovisioning
        self.panic_threshold = policy.panic_threshold
        self.levels: dict[int, Level] = {}
        self.back = INFINITY

    def sort(self, nodes: list[Node], now: float) -> list[Level]:
        """Return the levels that have healthy nodes, the first first; `back` is then when the next ejection ends."""
        self.collect(nodes, self.match)
        if self.match and self.or_any and not self.any_up(now):
            self.collect(nodes, frozenset())
        self.back = INFINITY
        levels: list[Level] = []
        for key in sorted(self.levels):
            level = self.levels[key]
            if level.healthy:
                self.back = min(self.back, level.settle(now, self.size, self.place))
                levels.append(level)
            elif level.total == 0:
                del self.levels[key]
        self.spread(levels)
        return levels

    def collect(self, nodes: list[Node], match: frozenset[tuple[str, str]]) -> None:
        for level in self.levels.values():
            level.clear()
        last: Level | None = None
        for node in nodes:
            if not node.serving or (match and not match.issubset(node.endpoint.metadata)):
                continue
            key = node.priority * DISTANCES
            if self.by_place:
                key += self.distance(node)
            if last is None or last.key != key:
                last = self.level(key)
            last.total += node.full_weight
            if node.healthy:
                last.known += node.full_weight
                last.healthy.append(node)

    def any_up(self, now: float) -> bool:
        for level in self.levels.values():
            for node in level.healthy:
                if node.eligible(now) or node.unproven:
                    return True
        return False

    def level(self, key: int) -> Level:
        level = self.levels.get(key)
        if level is None:
            level = self.levels[key] = Level(key, self.name(key))
        return level

    def distance(self, node: Node) -> int:
        locality = node.endpoint.locality
        if locality.region == self.region:
            if self.by_zone and locality.zone == self.zone:
                return SAME_ZONE
            return SAME_REGION
        return self.failover.get(locality.region, FAILOVER + len(self.failover))

    def name(self, key: int) -> str:
        """What `why` says of a level; "" for the only one of most services."""
        priority, distance = divmod(key, DISTANCES)
        parts = [f"priority {priority}"] if priority else []
        if self.by_place:
            near = ["same zone", "same region", *self.failover]
            parts.append(near[distance] if distance < len(near) else "far")
        return ", ".join(parts)

    def spread(self, levels: list[Level]) -> None:
        """Set the load of each level, and its panic."""
        left = 1.0
        for level in levels:
            level.load = min(left, level.ratio * self.overprovisioning)
            left -= level.load
        if left <= 1e-9:  # 0.1 * 10 is a little less than 1
            return
        taken = 1.0 - left
        for level in levels:
            if taken <= 1e-9 or level.ratio < self.panic_threshold:
                level.believe_no_ejection()
            level.load = level.load / taken if taken > 1e-9 else 0.0
        if taken <= 1e-9 and levels:
            level = levels[0]
            level.load = 1.0
