# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""nginx's smooth weighted round robin, in time that depends on how many different weights there are.

What lives here: WeightedRoundRobin. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from copy import copy
from math import gcd

from mesh.balance.node import Node
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng

# Steps (times different weights) that a rebuild may spend to start at a random place: about 0.1 ms.
HEAD_START = 65_536


class Group:
    """The nodes of one weight, in the order of the set. `next` is the first of those that have `current`;
    those before it have had their turn and are `total` lower."""

    def __init__(self, weight: int) -> None:
        self.weight = weight
        self.current = 0
        self.next = 0
        self.members: list[Node] = []

    def place(self) -> int:
        """Where in the set the next of the group stands: what decides between equals."""
        node = self.members[self.next]
        return node.position


class WeightedRoundRobin(Picker):
    """In every window of sum(weights) picks each node gets exactly its weight, spread as evenly as can be.

    The algorithm (nginx, src/http/ngx_http_upstream_round_robin.c, since 2012): at each pick every
    node's `current` grows by its weight; the largest (the first of equals) is picked and falls by the sum of all
    weights. 1:3:2 gives b c a b c b.

    Nodes of equal weight grow together and fall by the same amount, so they take turns in order, and only the head of
    each such group can be the largest. That gives the same sequence with one step per different weight instead
    of one per node: a pick is O(distinct weights), O(1) where all are equal.

    When the set or a weight changes, all start again from 0. What is owed from before is owed in the old weights: kept,
    it would make the shares after 1:3:2 -> 1:0:9 wrong for up to as long a window as it took to build up, and
    nodes would be paid for turns they never could have had. From 0, every window is exact at once. The
    start is then moved to a random place in the cycle (each place keeps the windows exact), because sidecars that
    learn of a change in the same instant must not all call the heaviest endpoint first.
    """

    def __init__(self, rng: Rng) -> None:
        super().__init__(rng)
        self.groups: list[Group] = []
        self.total = 0

    def separate(self) -> None:
        self.groups = [copy(group) for group in self.groups]

    def rebuild(self) -> None:
        by_weight: dict[int, Group] = {}
        self.total = 0
        for node in self.active:
            group = by_weight.get(node.weight)
            if group is None:
                group = by_weight[node.weight] = Group(node.weight)
            group.members.append(node)
            self.total += node.weight
        self.groups = list(by_weight.values())
        if self.groups:
            cycle = self.total // gcd(*by_weight)
            steps = self.rng.below(min(cycle, max(1, HEAD_START // len(self.groups))))
            for _ in range(steps):
                self.draw(0)

    def draw(self, key: int) -> Node:
        best = self.groups[0]
        best.current += best.weight
        for i in range(1, len(self.groups)):
            group = self.groups[i]
            group.current += group.weight
            if group.current > best.current or (group.current == best.current and group.place() < best.place()):
                best = group
        node = best.members[best.next]
        best.next += 1
        if best.next == len(best.members):
            best.next = 0
            best.current -= self.total
        return node
