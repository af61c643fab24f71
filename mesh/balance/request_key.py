"""What of a request the hashing algorithms go by.

What lives here: RequestKey, from a header field's value to a 64-bit key, and the reading of cookies and queries that
this takes. What this must not know: how headers are stored, which algorithm hashes.
"""

from __future__ import annotations

from mesh.balance.hashing import hash64
from mesh.balance.rng import Rng
from mesh.model.balance import HashKey, HashPolicy

_FIELDS = {HashKey.COOKIE: b"cookie", HashKey.PATH: b":path", HashKey.QUERY: b":path"}


class RequestKey:
    """`field`: name of the header field whose value `of` wants, None where the source address is all that counts."""

    def __init__(self, policy: HashPolicy) -> None:
        self.key = policy.key
        self.name = policy.name.encode()
        self.field = self.name if policy.key is HashKey.HEADER else _FIELDS.get(policy.key)

    def of(self, value: bytes | None, source: int, rng: Rng) -> int:
        """Return the key of a request from `source` (see source_key) with this value of `field` (None: it has none).

        A request that has nothing to go by, or only an empty value, gets a random key: one key for all
        of them would send them all to one endpoint.
        """
        if self.field is None:
            return source
        found = self._find(value) if value else None
        return hash64(found) if found else rng.next64()

    def _find(self, value: bytes) -> bytes | None:
        match self.key:
            case HashKey.COOKIE:
                return cookie_value(value, self.name)
            case HashKey.PATH:
                return value.partition(b"?")[0]
            case HashKey.QUERY:
                return query_value(value, self.name)
            case _:
                return value


def cookie_value(cookies: bytes, name: bytes) -> bytes | None:
    """Return the value of the first cookie `name` in a Cookie field (RFC 6265 4.2.1), without quotes around it; None
    where there is none."""
    for pair in cookies.split(b";"):
        key, equals, value = pair.strip(b" \t").partition(b"=")
        if equals and key == name:
            return value[1:-1] if len(value) >= 2 and value[:1] == value[-1:] == b'"' else value
    return None


def query_value(path: bytes, name: bytes) -> bytes | None:
    """Return the first value of the parameter `name` in a path's query, as it stands; None where there is none."""
    query = path.partition(b"#")[0].partition(b"?")[2]
    for pair in query.split(b"&"):
        key, equals, value = pair.partition(b"=")
        if equals and key == name:
            return value
    return None
