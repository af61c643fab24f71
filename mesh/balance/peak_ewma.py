# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Peak EWMA: two at random, the one that is likely to answer sooner.

What lives here: PeakEwma. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

import cython

from mesh.balance.alias import AliasTable
from mesh.balance.latency import LatencyAverage
from mesh.balance.node import Node
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng
from mesh.model.balance import LatencyPolicy

if not cython.compiled:
    from mesh.balance.power_of_two import REDRAWS


class PeakEwma(Picker):
    """`choices` nodes drawn in proportion to weight; the one with the lowest cost, latency * (1 + in_flight / share),
    where share is the node's weight over the mean.

    Finagle's PeakEwma, and Linkerd's (tower::load::PeakEwma; decay 10 s, initial latency 30 ms, two choices). The
    latency is a moving average that a slower answer replaces at once, and faster ones pull down over `decay`: peaks are
    believed, recoveries have to last. What is still under way is the penalty that also finds a node that has stopped
    answering. A pick is O(choices), with an exponential for each.

    With equal weights the choices are different nodes. With unequal ones they may be the same one, so that two choices
    leave a node of share p at least p^2 and at most p (2 - p): a canary of 1 beside 9 gets 1 to 19 % (10 % while both
    seem equally fast), where comparing the two each time would give it 0 or 100 %.
    """

    def __init__(self, rng: Rng, choices: int, latency: LatencyPolicy) -> None:
        super().__init__(rng)
        self.feedback = True
        self.choices = choices
        self.latency = LatencyAverage(latency.decay, latency.initial)
        self.table = AliasTable([])
        self.mean_weight = 1.0

    def rebuild(self) -> None:
        self.table = AliasTable(self.active)
        if self.active:
            self.mean_weight = self.table.total / len(self.active)

    def on_result(self, node: Node, latency: float, ok: bool, now: float) -> None:
        self.latency.add(node, latency, ok, now, True)

    def score(self, node: Node, key: int) -> float:
        return self.latency.cost(node, self.now, self.mean_weight)

    def draw(self, key: int) -> Node:
        best = self.table.draw(self.rng)
        if len(self.active) == 1:
            return best
        cost = self.latency.cost(best, self.now, self.mean_weight)
        for _ in range(self.choices - 1):
            node = self.table.draw(self.rng)
            if node is best and not self.table.slots:
                redraws = REDRAWS
                while node is best and redraws > 0:
                    node = self.table.draw(self.rng)
                    redraws -= 1
            if node is not best:
                other = self.latency.cost(node, self.now, self.mean_weight)
                if other < cost:
                    best = node
                    cost = other
        return best
