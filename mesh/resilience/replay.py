# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""With what bytes to try again: the request's body so far, up to a bound.

What lives here: ReplayBuffer. What this must not know: framing, flow control, whether a retry is wise.
"""

from __future__ import annotations

_JOINED = 1024  # bytes


class ReplayBuffer:
    """Keeps the body of a request for another attempt, at most `limit` bytes (RetryPolicy.replay_bytes).

    `chunks`: what came, in order, small ones joined. `size`: bytes in them. `overflowed`: the body was larger; it is
    given up for good and its memory released, and the request can't be repeated any more.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.overflowed = False
        self.chunks: list[bytes] = []

    def append(self, chunk: bytes) -> bool:
        """Keep `chunk`; return False where the buffer has overflowed, now or before. Empty chunks are not kept."""
        if self.overflowed:
            return False
        if len(chunk) > self.limit - self.size:
            self.overflowed = True
            self.size = 0
            self.chunks = []
            return False
        if chunk:
            # Small ones are joined: each costs its list entry and some fifty bytes beside its own.
            last = len(self.chunks) - 1
            if last >= 0 and len(self.chunks[last]) + len(chunk) <= _JOINED:
                self.chunks[last] += chunk
            else:
                self.chunks.append(chunk)
            self.size += len(chunk)
        return True
