# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Maglev hashing: a table that each node fills by its own permutation.

What lives here: Maglev. What this must not know: where a key comes from; see mesh.balance.picker.
"""

from __future__ import annotations

import cython

from mesh.balance.hashing import HashPicker, hash64
from mesh.balance.node import Node
from mesh.balance.rng import Rng, mix64

if not cython.compiled:
    from mesh.balance.rng import GAMMA


class Filler:
    """A node on its way through its permutation of the table: place, place + skip, place + 2 skip ..., modulo the
    size."""

    def __init__(self, node: Node, size: int) -> None:
        name = hash64(node.resource.encode())
        self.node = node
        self.place = name % size
        self.skip = mix64(name ^ GAMMA) % (size - 1) + 1


class Turns:
    """The nodes of one weight: they take their turns in the same rounds. `next`: the round of their next turn."""

    def __init__(self, weight: int) -> None:
        self.weight = weight
        self.taken = 0
        self.next = 1
        self.fillers: list[Filler] = []


class Maglev(HashPicker):
    """The node that stands at key modulo `size` (a prime number) in the table.

    Eisenbud et al.: Maglev: A Fast and Reliable Software Network Load Balancer, 2016, section 3.4; 65,537 entries as
    there; weights as in Envoy (a node has a turn in each round that its weight over the largest adds up to). In each
    turn a node takes the next free entry of its own permutation. Shares are exact to an entry: off by less than n /
    size.

    A change of the set moves little more than it must: with 65,537 entries and 1,000 nodes some percent more; from
    there on a larger table is better. A pick is O(1), 8 bytes an entry; a change of the set costs O(size log size), 2
    to 7 ms at 65,537, an ejection nothing.
    """

    def __init__(self, rng: Rng, bounded_load: float, size: int) -> None:
        super().__init__(rng, bounded_load)
        self.size = size
        self.table: list[Node | None] = []
        self.taken = bytearray()

    def build(self) -> None:
        self.table = []
        if not self.members:
            return
        self.table = [None] * self.size
        self.taken = bytearray(self.size)
        by_weight: dict[int, Turns] = {}
        heaviest = 0
        for node in self.members:
            turns = by_weight.get(node.weight)
            if turns is None:
                turns = by_weight[node.weight] = Turns(node.weight)
            turns.fillers.append(Filler(node, self.size))
            heaviest = max(heaviest, node.weight)
        groups = [by_weight[weight] for weight in sorted(by_weight, reverse=True)]
        left = self.size
        round_ = 1
        while left > 0:
            for turns in groups:
                if turns.next == round_:
                    left = self.take_turns(turns, left)
                    turns.taken += 1
                    turns.next = (turns.taken * heaviest) // turns.weight + 1
            round_ += 1
        self.taken = bytearray()

    def take_turns(self, turns: Turns, left: int) -> int:
        """Let each node of a weight take one entry; return how many are left."""
        taken = self.taken
        size = self.size
        for filler in turns.fillers:
            if left == 0:
                break
            place = filler.place
            while taken[place]:
                place += filler.skip
                if place >= size:
                    place -= size
            taken[place] = 1
            self.table[place] = filler.node
            filler.place = place
            left -= 1
        return left

    def lookup(self, key: int) -> Node:
        size = self.size
        node = self.table[mix64(key) % size]
        assert node is not None
        return node
