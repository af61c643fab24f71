"""Deterministic subsetting: each sidecar uses some of the endpoints, and each endpoint gets as many sidecars.

What lives here: Caller (who picks), and the choice of a window. What this must not know: health, load, algorithms.

Which and why. Choosing k of n at random (or by rendezvous hashing, gRPC's A68) gives endpoints a binomial number of
sidecars: with 1,000 of them and 20 of 300 endpoints 67 on average, but 42 for one and 92 for another. The deterministic
subsetting of Beyer et al.: Site Reliability Engineering, 2016, chapter 20, is even, but numbers the callers in rounds
of n / k, so that nearly all subsets change whenever n does. Here sidecars and endpoints lie on one circle: endpoints in
the order of their names' hashes, the same everywhere, sidecars at their position, and each uses the k endpoints from
there on. That is Finagle's deterministic aperture (Twitter 2019) with whole endpoints. Where positions are spread
evenly (rank / number of callers), the number of sidecars at two endpoints differs by one at most; an endpoint that
comes or goes changes two members of a subset at most. A sidecar that does not know its rank stands at the hash of its
name: then it is as even as random, and still keeps its subset.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.balance.hashing import hash64
from mesh.balance.node import Node
from mesh.model.values import Locality

_NOWHERE = Locality()


@dataclass(frozen=True, slots=True)
class Caller:
    """The sidecar that picks. `name`: `<service>/<instance>`; `position`: 0..1 on the circle, None for the hash of the
    name."""

    name: str = ""
    locality: Locality = _NOWHERE
    position: float | None = None

    def place(self) -> float:
        """Return the position, 0 <= p < 1."""
        if self.position is not None:
            return self.position % 1.0
        return (hash64(self.name.encode()) >> 11) / 9007199254740992.0


def window(nodes: list[Node], size: int, place: float) -> list[Node]:
    """Return the `size` nodes that the caller at `place` uses, in the order of `nodes`; all where there are no more.
    O(n log n)."""
    n = len(nodes)
    if n <= size:
        return nodes
    circle = sorted(nodes, key=_hash_of)
    start = int(place * n)
    used = {circle[(start + i) % n] for i in range(size)}
    return [node for node in nodes if node in used]


def _hash_of(node: Node) -> int:
    return hash64(node.resource.encode())
