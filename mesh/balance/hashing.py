# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Hashes that are the same in every sidecar, and what the hashing algorithms have in common.

What lives here: hash64, source_key and HashPicker, which bounds loads and finds second choices. What this must not
know: how one algorithm maps keys to nodes, where a key comes from.
"""

from __future__ import annotations

import cython

from mesh.balance.node import Node
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng, mix64

if not cython.compiled:
    from mesh.balance.rng import GAMMA, MASK

FNV_BASIS = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
# Further keys tried for a request before all nodes are looked at. At factor 1.25 at least a fifth of the capacity is
# free, so that 1 in 1,200 picks of an overloaded node gets to that.
REHASHES = 32


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


def position_of(node: Node) -> int:
    return node.position


class HashPicker(Picker):
    """Picks by the key alone, unless loads are bounded. A subclass gives `lookup` and `build`.

    Its table is of `members`, those included that are ejected for a while (`away`): their keys, and no others, are
    looked up further until they are back, and nothing is built anew.

    Second choices (a retry, a node at its bound) are the lookups of further keys made from the first: the same sequence
    in each sidecar, and another one for each key, so that what one node can't take is spread over all others instead of
    falling on its neighbour.

    `bounded_load` c > 1 (0: no bound) is Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, 2016:
    no node has more than ceil(c * its share by weight of all calls in flight, the new one included). Some node is
    always below that, since the bounds sum up to more than the calls. HAProxy's hash-balance-factor, Envoy's
    hash_balance_factor. It is of what this sidecar sends; a lookup more for each node on the way that is at its bound.
    """

    def __init__(self, rng: Rng, bounded_load: float) -> None:
        super().__init__(rng)
        self.bounded_load = bounded_load
        self.watching = bounded_load > 0
        self.in_flight = 0
        self.weights = 0
        self.members: list[Node] = []
        self.away: dict[Node, bool] = {}
        self.built: list[int] = []

    def lookup(self, key: int) -> Node:
        """Return the node of a key among `members`; `active` is not empty."""
        raise NotImplementedError

    def build(self) -> None:
        """Prepare for other `members`, or other weights of them."""

    def take(self, active: list[Node], away: list[Node]) -> None:
        Picker.take(self, active, away)
        self.away = dict.fromkeys(away, True)
        members = sorted(active + away, key=position_of) if away else active
        weights = [node.weight for node in members]
        if members != self.members or weights != self.built:
            self.members = members
            self.built = weights
            self.build()

    def rebuild(self) -> None:
        self.in_flight = 0
        self.weights = 0
        for node in self.active:
            self.in_flight += node.in_flight
            self.weights += node.weight

    def on_begin(self, node: Node) -> None:
        self.in_flight += 1

    def on_end(self, node: Node) -> None:
        self.in_flight -= 1

    def draw(self, key: int) -> Node:
        node = self.lookup(key)
        if (self.bounded_load == 0 or self.has_room(node)) and (not self.away or node not in self.away):
            return node
        return self.elsewhere(key, None)

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        return self.elsewhere(key, tried)

    def has_room(self, node: Node) -> bool:
        """Whether one more call leaves `node` within its bound, ceil(bound): below it before is within it after."""
        return node.in_flight < self.bounded_load * (self.in_flight + 1) * node.weight / self.weights

    def elsewhere(self, key: int, tried: list[Node] | None) -> Node:
        """Return the best choice that has not been tried and has room; without room where none has both."""
        for i in range(REHASHES):
            node = self.lookup(mix64((key + i * GAMMA) & MASK) if i else key)
            if self.away and node in self.away:
                continue
            if (tried is None or not node.among(tried)) and (self.bounded_load == 0 or self.has_room(node)):
                return node
        # Seldom: rendezvous over what is left, so that it is as consistent as the rest.
        best: Node | None = None
        best_rank = 0
        best_score = 0
        for node in self.active:
            rank = 0
            if tried is None or not node.among(tried):
                rank = 2 if self.bounded_load == 0 or self.has_room(node) else 1
            score = mix64(key ^ hash64(node.resource.encode()))
            if best is None or rank > best_rank or (rank == best_rank and score > best_score):
                best, best_rank, best_score = node, rank, score
        assert best is not None
        return best
