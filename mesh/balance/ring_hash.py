# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
# mypy: disable-error-code="attr-defined, no-any-return, no-untyped-def"
"""Ring hashing: each node has many points on a circle, a key belongs to the next point.

What lives here: RingHash, Ring (the sorted points) and the bound on their memory. What this must not know: where a key
comes from; see mesh.balance.picker.
"""

from __future__ import annotations

from array import array
from math import ceil, log2

import cython

from mesh.balance.hashing import HashPicker, hash64
from mesh.balance.node import Node
from mesh.balance.rng import Rng, mix64
from mesh.errors import InvalidResource
from mesh.model.balance import HashPolicy

if not cython.compiled:
    from mesh.balance.rng import GAMMA, MASK

# Bytes that one ring may take, and what a point takes: itself, and up to one entry of the index.
RING_MEMORY = 64 * 1024 * 1024
POINT_BYTES = 12
# The low bits of a point say whose it is: 16 million nodes, and 2^40 places on the circle.
OWNER = 0xFFFFFF
PLACE = MASK ^ OWNER
# Endpoints up to which each has all the points; and how few a larger set may leave it.
MANY = 64
FEWEST = 64


def check_ring(policy: HashPolicy, memory: int = RING_MEMORY) -> None:
    """Refuse a ring that can't be had in `memory` bytes (InvalidResource at `min_ring_size`)."""
    most = memory // POINT_BYTES
    if policy.min_ring_size > most:
        raise InvalidResource("min_ring_size", f"{policy.min_ring_size:,} points take "
                                               f"{policy.min_ring_size * POINT_BYTES / 1048576:,.0f} MiB, and a ring "
                                               f"may take {memory / 1048576:,.0f} MiB: at most {most:,} points")


def get64(numbers: array[int], i: int) -> int:
    if cython.compiled:
        return numbers.data.as_ulonglongs[i]
    else:
        return numbers[i]


def put64(numbers: array[int], i: int, value: int) -> None:
    if cython.compiled:
        numbers.data.as_ulonglongs[i] = value
    else:
        numbers[i] = value


def get32(numbers: array[int], i: int) -> int:
    if cython.compiled:
        return numbers.data.as_uints[i]
    else:
        return numbers[i]


def put32(numbers: array[int], i: int, value: int) -> None:
    if cython.compiled:
        numbers.data.as_uints[i] = value
    else:
        numbers[i] = value


class Ring:
    """Points in order, and an index by their first bits, so that finding one takes O(1) on average instead of log n.

    The circle is cut in a power of two of equal arcs, with two to four points in each on average; `ends` says where
    those of each arc end. All indices are bounded by construction: `ends` has an entry for every value of the first
    bits, and no entry exceeds `total`.
    """

    def __init__(self, hashes: list[int], counts: list[int]) -> None:
        """`counts[i]` (1 and more) points for the node whose name has `hashes[i]`. O(points)."""
        self.total = sum(counts)
        bits = 1
        while (4 << bits) <= self.total:
            bits += 1
        self.shift = 64 - bits
        self.points = array("Q", bytes(8 * self.total))
        self.ends = array("I", bytes(4 << bits))
        self.fill(hashes, counts)

    def fill(self, hashes: list[int], counts: list[int]) -> None:
        for owner in range(len(hashes)):
            name = hashes[owner]
            count = counts[owner]
            for j in range(count):
                arc = mix64((name + j * GAMMA) & MASK) >> self.shift
                put32(self.ends, arc, get32(self.ends, arc) + 1)
        begin = 0
        for arc in range(len(self.ends)):
            in_arc = get32(self.ends, arc)
            put32(self.ends, arc, begin)
            begin += in_arc
        for owner in range(len(hashes)):
            name = hashes[owner]
            count = counts[owner]
            for j in range(count):
                self.insert((mix64((name + j * GAMMA) & MASK) & PLACE) | owner)

    def insert(self, point: int) -> None:
        """Put a point at the end of its arc, then to its place; what stands before the arc is less, or not yet
        filled."""
        arc = point >> self.shift
        i = get32(self.ends, arc)
        put32(self.ends, arc, i + 1)
        while i > 0 and get64(self.points, i - 1) > point:
            put64(self.points, i, get64(self.points, i - 1))
            i -= 1
        put64(self.points, i, point)

    def owner(self, place: int) -> int:
        """Return whose the first point at or behind `place` (0..2^64-1) is."""
        arc = place >> self.shift
        i = get32(self.ends, arc - 1) if arc > 0 else 0
        place &= PLACE
        while i < self.total and get64(self.points, i) < place:
            i += 1
        if i == self.total:
            i = 0
        return get64(self.points, i) & OWNER


class RingHash(HashPicker):
    """The owner of the first point at or behind the key, on a circle where each node has points by its weight.

    Karger et al.: Consistent Hashing and Random Trees, 1997; many points per node as in libketama (2007). A node that
    leaves moves only its own keys, one that comes takes only what it is due. That takes points that stay when the set
    changes: Envoy and gRPC (A42) divide a ring of one size among the nodes there are, so that all of them lose points
    when one comes. Here a node of mean weight has `min_size` points in sets of up to 64, half as many with each
    doubling beyond, at least 64; and points per unit of weight are a power of two. Only where the set outgrows such a
    step, or the ring its bounds (`max_size`, and what memory a ring may take), all nodes' points change.

    Shares are even only as far as points are many: with k points a node's share is off by 1/sqrt(k) (one standard
    deviation; 3 % for 1,024, 12 % for 64). A pick is O(1) on average; 12 bytes a point at most, 50 to 100 ns a point to
    build.
    """

    def __init__(self, rng: Rng, bounded_load: float, min_size: int, max_size: int) -> None:
        super().__init__(rng, bounded_load)
        self.min_size = min_size
        self.max_size = min(max_size, RING_MEMORY // POINT_BYTES)
        self.ring = Ring([0], [1])

    def build(self) -> None:
        if self.members:
            hashes = [hash64(node.resource.encode()) for node in self.members]
            self.ring = Ring(hashes, self.counts())

    def counts(self) -> list[int]:
        """Points of each node, at least one."""
        weights = self.built
        total = sum(weights)
        n = len(weights)
        points = self.min_size
        steps = 0
        while points > FEWEST and n > MANY << steps:
            points = max(FEWEST, points // 2)
            steps += 1
        per_weight = min(2.0 ** ceil(log2(points * n / total)), self.max_size / total)
        return [max(1, int(weight * per_weight)) for weight in weights]

    def lookup(self, key: int) -> Node:
        node: Node = self.members[self.ring.owner(mix64(key))]
        return node
