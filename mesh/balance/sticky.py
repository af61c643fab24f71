"""Stickiness by a cookie: which endpoint a client was sent to before.

What lives here: Sticky, from a cookie to a node and back. What this must not know: HTTP headers beyond the two values,
who may be picked.
"""

from __future__ import annotations

from mesh.balance.hashing import hash64
from mesh.balance.node import Node, NodeSet
from mesh.balance.request_key import cookie_value
from mesh.model.balance import StickyPolicy


class Sticky:
    """A cookie holds a hash of the endpoint's name, as Traefik's and HAProxy's dynamic cookies do: any sidecar can read
    what another one has issued, it outlives their restarts and the endpoint's, and it names neither host nor port.

    It is a preference and not a permission: a value that no endpoint has (made up, or its endpoint is gone) means
    nothing. Reading and issuing take O(1); the table of hashes is made anew, O(n), after the set has changed.
    """

    def __init__(self, policy: StickyPolicy, nodes: NodeSet) -> None:
        self.nodes = nodes
        self.name = policy.cookie.encode()
        self.attributes = f"; Path={policy.path}; HttpOnly; SameSite=Lax".encode()
        if policy.ttl:
            self.attributes = f"; Max-Age={policy.ttl:.0f}".encode() + self.attributes
        self._made_of: dict[str, Node] | None = None
        self._by_value: dict[bytes, Node] = {}

    def node_of(self, cookies: bytes) -> Node | None:
        """Return the node that a Cookie field names, None where it names none of the set."""
        value = cookie_value(cookies, self.name)
        if value is None:
            return None
        if self._made_of is not self.nodes.by_name:
            self._made_of = self.nodes.by_name
            self._by_value = {_value_of(node): node for node in self.nodes.nodes}
        return self._by_value.get(value)

    def set_cookie(self, node: Node) -> bytes:
        """Return the value of a Set-Cookie field that sends the client back to `node`."""
        return self.name + b"=" + _value_of(node) + self.attributes


def _value_of(node: Node) -> bytes:
    return b"%016x" % hash64(b"sticky " + node.resource.encode())
