# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Rendezvous hashing, weighted: the node with the highest score for the key.

What lives here: Rendezvous. What this must not know: where a key comes from; see mesh.balance.picker.
"""

from __future__ import annotations

from cython.cimports.libc.math import log

from mesh.balance.hashing import HashPicker, hash64
from mesh.balance.node import Node
from mesh.balance.rng import Rng, mix64

# Keys whose node is remembered until the set changes.
REMEMBERED = 4096


class Candidate:
    """A node and the hash of its resource name."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.hash = hash64(node.resource.encode())


class Rendezvous(HashPicker):
    """The node with the highest score for the key, where score = weight / -ln(u) and u = hash(key, node) in (0, 1).

    Thaler, Ravishankar: Using Name-Based Mappings to Increase Hit Rates, 1998; weights after Schindelhauer, Schomaker:
    Weighted Distributed Hash Tables, 2005. Of all consistent hashes it is the exact one: shares are the weights, a node
    that leaves moves only its own keys, one that comes, or gains weight, takes only what it is due, in proportion from
    all others. A node is known by its name, so it keeps its callers over a restart under another address.

    A key seen before (of the last 4,096) costs a lookup; a new one O(n), 4 ns a node, 11 where weights differ: ring
    hash and Maglev are for thousands of endpoints whose keys hardly ever come again.
    """

    def __init__(self, rng: Rng, bounded_load: float) -> None:
        super().__init__(rng, bounded_load)
        self.candidates: list[Candidate] = []
        self.even = True
        self.memo: dict[int, Node] = {}

    def separate(self) -> None:
        self.memo = dict(self.memo)

    def score(self, node: Node, key: int) -> float:
        return self.worth(node.weight, mix64(key ^ hash64(node.resource.encode())))

    def worth(self, weight: int, bits: int) -> float:
        worth: float = weight / -log(((bits >> 11) + 0.5) * (1.0 / 9007199254740992.0))
        return worth

    def rebuild(self) -> None:
        HashPicker.rebuild(self)
        self.memo.clear()
        self.candidates = []
        self.even = True
        for node in self.active:
            self.candidates.append(Candidate(node))
            self.even = self.even and node.weight == self.active[0].weight

    def build(self) -> None:
        """Nothing: `candidates` are those of `active`, and a node away is one that scores nothing."""

    def lookup(self, key: int) -> Node:
        node = self.memo.get(key)
        if node is None:
            node = self.highest(key, None, False)
            assert node is not None
            if len(self.memo) >= REMEMBERED:
                self.memo.clear()
            self.memo[key] = node
        return node

    def elsewhere(self, key: int, tried: list[Node] | None) -> Node:
        if self.bounded_load > 0:
            node = self.highest(key, tried, True)
            if node is not None:
                return node
        return self.highest(key, tried, False) or self.lookup(key)

    def highest(self, key: int, tried: list[Node] | None, with_room: bool) -> Node | None:
        best: Node | None = None
        best_score = 0.0
        best_bits = 0
        for candidate in self.candidates:
            if tried is not None and candidate.node.among(tried):
                continue
            if with_room and not self.has_room(candidate.node):
                continue
            bits = mix64(key ^ candidate.hash)
            if self.even:  # the order of the scores is the order of the hashes: no logarithm
                if best is None or bits > best_bits:
                    best = candidate.node
                    best_bits = bits
            else:
                score = self.worth(candidate.node.weight, bits)
                if best is None or score > best_score:
                    best = candidate.node
                    best_score = score
        return best
