# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Least request: the least loaded of N drawn at random.

What lives here: LeastRequest. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

import cython

from mesh.balance.node import Node
from mesh.balance.power_of_two import PowerOfTwo
from mesh.balance.rng import Rng

if not cython.compiled:
    from mesh.balance.power_of_two import REDRAWS


class LeastRequest(PowerOfTwo):
    """As power of two choices, with `choices` draws; 2 is the same algorithm.

    Envoy's LEAST_REQUEST with choice_count (there 2 by default, too). Mitzenmacher 2001: the second choice brings
    nearly all there is to gain, the longest queue falls as log log n / log choices from then on; more of them help
    small numbers of callers, and herd where many sidecars share few endpoints. A pick is O(choices).
    """

    def __init__(self, rng: Rng, choices: int) -> None:
        super().__init__(rng)
        self.choices = choices

    def draw(self, key: int) -> Node:
        best = self.table.draw(self.rng)
        if len(self.active) == 1:
            return best
        for _ in range(self.choices - 1):
            best = self.better(best)
        return best

    def better(self, best: Node) -> Node:
        """Draw another one, and return the less loaded of the two."""
        for _ in range(REDRAWS):
            node = self.table.draw(self.rng)
            if node is not best:
                return self.less_loaded(best, node)
        return best
