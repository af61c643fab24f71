"""Requests that say where they belong: by what is hashed of them, or by the cookie of their endpoint.

What lives here: Affinity, which reads both from a request's head and puts the cookie on the answer. What this must not
know: how a hash finds an endpoint, what a cookie says (both are mesh.balance's), how a request is carried.
"""

from __future__ import annotations

from mesh.balance.balancer import Balancer
from mesh.balance.node import Node
from mesh.balance.request_key import RequestKey
from mesh.balance.rng import Rng
from mesh.wire.hpack import Head, make_head


class Affinity:
    """For one service whose policy hashes something of the request, or has a cookie. Costs some microseconds a
    request."""

    def __init__(self, balancer: Balancer, rng: Rng) -> None:
        self._balancer = balancer
        self._rng = rng
        self._key = RequestKey(balancer.policy.hash)

    @staticmethod
    def needed(balancer: Balancer) -> bool:
        """Whether the policy asks for anything of a request but where it comes from."""
        return (balancer.sticky is not None or balancer.custom is not None
                or RequestKey(balancer.policy.hash).field is not None)

    def key(self, head: Head, source: int) -> int:
        """Return what hashing algorithms go by for this request from `source`."""
        if self._key.field is None:
            return source
        return self._key.of(value_of(head, self._key.field), source, self._rng)

    def pick(self, head: Head, key: int, now: float, tried: list[Node] | None) -> Node | None:
        """Return the node for the next attempt: that of the request's cookie while it can be picked."""
        custom = self._balancer.custom
        if custom is not None:
            custom.head = head
            try:
                return self._pick(head, key, now, tried)
            finally:
                custom.head = None
        return self._pick(head, key, now, tried)

    def _pick(self, head: Head, key: int, now: float, tried: list[Node] | None) -> Node | None:
        if self._balancer.sticky is None:
            return self._balancer.pick(key, now, tried)
        return self._balancer.pick_again(value_of(head, b"cookie"), key, now, tried)

    def mark(self, request: Head, answer: Head, node: Node) -> Head:
        """Return the answer's head with the cookie of `node`, unless the request has brought it."""
        sticky = self._balancer.sticky
        if sticky is None:
            return answer
        cookies = value_of(request, b"cookie")
        if cookies is not None and sticky.node_of(cookies) is node:
            return answer
        fields = [(field.name, field.value) for field in answer.fields]
        return make_head([*fields, (b"set-cookie", sticky.set_cookie(node))])


def value_of(head: Head, name: bytes) -> bytes | None:
    """Return the value of the first field `name`; of all of them, joined, for `cookie` (RFC 9113 8.2.3)."""
    if name == b":path":
        return head.path
    values: list[bytes] = [field.value for field in head.fields if field.name == name]
    if not values:
        return None
    return b"; ".join(values) if name == b"cookie" else values[0]
