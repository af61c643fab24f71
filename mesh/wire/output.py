# cython: language_level=3, wraparound=False, initializedcheck=False
"""What a connection has to say and the kernel has not taken yet.

What lives here: the output buffer of a connection, and the word to its shell that it is no longer empty. What this
must not know: what the octets mean.
"""

from __future__ import annotations

from typing import Any

import cython

if not cython.compiled:
    from mesh.wire.octets import copy_octets, put_octets, unfilled

# Octets from which a buffer is made for what there is, not for twice of it: touching its pages costs more than a copy.
LARGE = cython.declare(cython.Py_ssize_t, 32_768)


class Output:
    """Pending output is `out[:out_len]`: whoever writes it to the peer sets `out_len` to 0.

    Whenever output appears where there was none, `self` is appended to `dirty`, a list that connections share, and
    `batch` counts it.
    `owner` is the shell's.
    """

    def __init__(self, dirty: list[Any] | None) -> None:
        self.out: bytearray = bytearray(256)
        self.out_len: int = 0
        self.batch: int = 0
        self.owner: Any = None
        self.dirty: list[Any] | None = dirty

    def room(self, n: cython.Py_ssize_t) -> cython.int:
        """Make place for `n` more octets."""
        need: cython.Py_ssize_t = self.out_len + n
        if need > len(self.out):
            size: cython.Py_ssize_t = 2 * len(self.out)
            while size < need and size < LARGE:
                size *= 2
            if size < need:
                size = need + need // 4
            # A new buffer, not a longer one: somebody may hold a view of the old.
            out: bytearray = unfilled(size)
            copy_octets(out, 0, self.out, 0, self.out_len)
            self.out = out
        if self.out_len == 0:
            self.batch += 1
            if self.dirty is not None:
                self.dirty.append(self)
        return 0

    def put(self, octets: bytes) -> cython.int:
        """Append octets."""
        self.room(len(octets))
        put_octets(self.out, self.out_len, octets)
        self.out_len += len(octets)
        return 0

    def attend(self) -> cython.int:
        """Have the shell look at this connection though it may have no output: there is something else to do."""
        if self.dirty is not None:
            self.dirty.append(self)
        return 0

    def take_output(self) -> bytes:
        """All pending output, which counts as written."""
        octets: bytes = bytes(memoryview(self.out)[: self.out_len])
        self.out_len = 0
        return octets

    def trim(self) -> cython.int:
        """Give a large output buffer back, when nothing is pending; for the shell, when a connection goes idle."""
        if self.out_len == 0 and len(self.out) > 4096:
            self.out = bytearray(256)
        return 0
