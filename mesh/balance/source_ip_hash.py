# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Source-IP hash: the same caller reaches the same endpoint, by weighted rendezvous hashing.

What lives here: SourceIpHash and source_key, which makes the key. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from cython.cimports.libc.math import log

from mesh.balance.node import Node, NodeSet
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng, mix64

FNV_BASIS = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
MASK = 0xFFFFFFFFFFFFFFFF
# Callers whose node is remembered until the set changes.
REMEMBERED = 1024


def hash64(data: bytes) -> int:
    """Return FNV-1a (draft-eastlake-fnv) of `data`, mixed once more: stable across processes and versions."""
    value = FNV_BASIS
    for byte in data:
        value = ((value ^ byte) * FNV_PRIME) & MASK
    return mix64(value)


def source_key(peer_host: str) -> int:
    """Return the 64-bit key of a caller's IP address; an IPv4 address mapped into IPv6 has the key of the IPv4 one."""
    if peer_host.startswith("::ffff:") and "." in peer_host:
        peer_host = peer_host[7:]
    return hash64(peer_host.encode())


class Candidate:
    """A node and the hash of its resource name."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.hash = hash64(node.endpoint.resource.encode())


class SourceIpHash(Picker):
    """The node with the highest score for the key, where score = weight / -ln(u) and u = hash(key, node) in (0, 1).

    Thaler, Ravishankar: Using Name-Based Mappings to Increase Hit Rates, 1998; weights after Schindelhauer, Schomaker:
    Weighted Distributed Hash Tables, 2005. A node that leaves moves only its own keys; one that comes, or gains
    weight, takes only what it is due, in proportion from all others. A node is known by its name, so
    it keeps its callers over a restart under another address. A key seen before costs a lookup; a new one O(n).
    """

    def __init__(self, nodes: NodeSet, rng: Rng) -> None:
        super().__init__(nodes, rng)
        self.candidates: list[Candidate] = []
        self.even = True
        self.memo: dict[int, Node] = {}

    def describe(self) -> str:
        return "source_ip_hash"

    def rebuild(self) -> None:
        self.memo.clear()
        self.candidates = []
        self.even = True
        for node in self.active:
            self.candidates.append(Candidate(node))
            self.even = self.even and node.weight == self.active[0].weight

    def draw(self, key: int) -> Node:
        node = self.memo.get(key)
        if node is None:
            node = self.highest(key, None)
            assert node is not None
            if len(self.memo) >= REMEMBERED:
                self.memo.clear()
            self.memo[key] = node
        return node

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        return self.highest(key, tried) or self.draw(key)

    def highest(self, key: int, tried: list[Node] | None) -> Node | None:
        best: Node | None = None
        best_score = 0.0
        best_bits = 0
        for candidate in self.candidates:
            if tried is not None and candidate.node.among(tried):
                continue
            bits = mix64(key ^ candidate.hash)
            if self.even:  # the order of the scores is the order of the hashes: no logarithm
                if best is None or bits > best_bits:
                    best = candidate.node
                    best_bits = bits
            else:
                score = candidate.node.weight / -log(((bits >> 11) + 0.5) * (1.0 / 9007199254740992.0))
                if best is None or score > best_score:
                    best = candidate.node
                    best_score = score
        return best
