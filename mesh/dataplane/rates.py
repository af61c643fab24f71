# cython: language_level=3, wraparound=False, initializedcheck=False
"""How fast requests may come to one service: its rate limits, asked for each request.

What lives here: which bucket a request draws from. What this must not know: how buckets count, how a refusal is
answered.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.dataplane.affinity import value_of
from mesh.model.limits import SOURCE_IP, RateLimit
from mesh.resilience.token_bucket import TokenBuckets
from mesh.wire.hpack import Head

# A key is kept up to this length; longer ones are cut, and may share a bucket.
KEY_OCTETS = 256


class Rates:
    """All rate limits of one service; a request draws from each, or from none."""

    def __init__(self, limits: tuple[RateLimit, ...], workers: int) -> None:
        self.limits = limits
        self.headers = tuple(each.header.encode() for each in limits)
        self.buckets: list[TokenBuckets] = [
            TokenBuckets(each.rate / workers, max(1.0, each.burst / workers), each.max_keys) for each in limits]

    def take(self, head: Head, source: str, now: cython.double) -> cython.double:
        """Let a request of `source` through and return 0, or return in how many seconds it may come again."""
        buckets: TokenBuckets
        longest: cython.double = 0.0
        wait: cython.double
        keys: list[Any] = []
        index: cython.Py_ssize_t
        for index in range(len(self.buckets)):
            buckets = self.buckets[index]
            keys.append(self.key(index, head, source))
            wait = buckets.wait(keys[index], now)
            if wait > longest:
                longest = wait
        if longest == 0.0:
            for index in range(len(self.buckets)):
                buckets = self.buckets[index]
                buckets.take(keys[index], now)
        return longest

    def key(self, index: cython.Py_ssize_t, head: Head, source: str) -> object:
        """What stands for the request's bucket of one limit."""
        name: bytes = self.headers[index]
        if name:
            value: bytes | None = value_of(head, name)
            return None if value is None else value[:KEY_OCTETS]
        return source if self.limits[index].key == SOURCE_IP else None
