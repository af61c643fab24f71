# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""What all algorithms share: the nodes they pick from, and what happens when the one drawn has been tried already.

What lives here: Picker, the base class of the algorithms. What this must not know: any one algorithm, who may be picked
(see mesh.balance.balancer), connections, the clock.
"""

from __future__ import annotations

from copy import copy

from mesh.balance.node import LoadWatcher, Node
from mesh.balance.rng import Rng

# Redraws before all are looked at: with half of the endpoints tried, one pick in 256 gets to that.
REDRAWS = 8
# Of an algorithm that compares nothing.
NO_SCORE = float("nan")


class Picker(LoadWatcher):
    """Picks one of `active`. A subclass gives `draw`, and `rebuild` where it prepares anything.

    `active`: the nodes picked from, in the order of the set. `now`: the instant of the pick, for algorithms that age
    what they know. `watching`: wants `on_begin` and `on_end` of the active nodes; `feedback`: wants `on_result`.
    """

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.active: list[Node] = []
        self.now = 0.0
        self.watching = False
        self.feedback = False

    def take(self, active: list[Node], away: list[Node]) -> None:
        """Pick from `active` from now on: other nodes than before, or other weights. `away`: ejected, and soon back."""
        if self.watching and active != self.active:
            self.detach()
            for node in active:
                node.watch(self)
        self.active = active
        self.rebuild()

    def detach(self) -> None:
        """Let go of the nodes: they outlive this picker."""
        for node in self.active:
            node.unwatch(self)
        self.active = []

    def fork(self, rng: Rng) -> Picker:
        """Return a copy over the same nodes that draws from `rng`, of whose draws this one notices nothing.

        Nobody tells it of calls, so it is for picks at one instant. Whoever made it detaches it.
        """
        other: Picker = copy(self)
        other.rng = rng
        other.separate()
        return other

    def separate(self) -> None:
        """Being a copy: have of one's own what `draw` and `rebuild` change in place."""

    def score(self, node: Node, key: int) -> float:
        """Return by what `draw` compares `node` (see mesh.balance.explain.SCORES), NaN where it compares nothing."""
        return NO_SCORE

    def draw(self, key: int) -> Node:
        """Pick from `active`, which is not empty."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """Prepare for a new `active` or new weights in it."""

    def on_result(self, node: Node, latency: float, ok: bool, now: float) -> None:
        """An attempt has ended. `latency`: seconds from its start to its answer; `ok`: the endpoint did not fail it."""

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        """Pick one that is not in `tried` while there is one. A draw that is passed over counts as that node's turn."""
        if len(tried) < len(self.active):
            for _ in range(REDRAWS):
                node = self.draw(key)
                if not node.among(tried):
                    return node
        total = 0
        for node in self.active:
            if not node.among(tried):
                total += node.weight
        if total == 0:
            return self.draw(key)
        left = self.rng.below(total)
        for node in self.active:
            if not node.among(tried):
                if left < node.weight:
                    return node
                left -= node.weight
        raise AssertionError("the weights changed during a pick")
