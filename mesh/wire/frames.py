# cython: language_level=3, wraparound=False, initializedcheck=False
"""HTTP/2 frames on their way out (RFC 9113, sections 4.1 and 6).

What lives here: the layout of the frames we send. What this must not know:
stream states, windows; whoever calls has checked them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cython

from mesh.wire.codec import Codec, Handler

if not cython.compiled:
    from mesh.wire.octets import copy_octets

# Frame types and flags.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class FrameWriter(Codec):
    """Writes frames to the connection's output."""

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None) -> None:
        Codec.__init__(self, client, handler, dirty, False)
        self.peer_max_frame: int = 16384

    def frame(self, length: cython.Py_ssize_t, kind: cython.int, flags: cython.int,
              stream_id: cython.uint) -> cython.int:
        """A frame header; place for the payload is made too."""
        self.room(9 + length)
        out: bytearray = self.out
        at: cython.Py_ssize_t = self.out_len
        out[at] = (length >> 16) & 0xFF
        out[at + 1] = (length >> 8) & 0xFF
        out[at + 2] = length & 0xFF
        out[at + 3] = kind
        out[at + 4] = flags
        self.out_len = at + 5
        return self.put_word(stream_id)

    def put_word(self, value: cython.uint) -> cython.int:
        """Four octets of a frame that has its place."""
        out: bytearray = self.out
        at: cython.Py_ssize_t = self.out_len
        out[at] = (value >> 24) & 0xFF
        out[at + 1] = (value >> 16) & 0xFF
        out[at + 2] = (value >> 8) & 0xFF
        out[at + 3] = value & 0xFF
        self.out_len = at + 4
        return 0

    def word_frame(self, kind: cython.int, stream_id: cython.uint, value: cython.uint) -> cython.int:
        """RST_STREAM or WINDOW_UPDATE."""
        self.frame(4, kind, 0, stream_id)
        return self.put_word(value)

    def headers_frames(self, stream_id: cython.uint, block: bytes, end: cython.bint) -> cython.int:
        """HEADERS, and as many CONTINUATION as the peer's frame size asks for."""
        n: cython.Py_ssize_t = len(block)
        most: cython.Py_ssize_t = self.peer_max_frame
        if n <= most:
            self.frame(n, 1, 5 if end else 4, stream_id)
            return self.put(block)
        self.frame(most, 1, 1 if end else 0, stream_id)
        self.put(block[:most])
        at: cython.Py_ssize_t = most
        while at < n:
            part: bytes = block[at : at + most]
            at += most
            self.frame(len(part), 9, 4 if at >= n else 0, stream_id)
            self.put(part)
        return 0

    def data_frames(self, stream_id: cython.uint, buf: Any, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                    end: cython.bint) -> cython.int:
        """DATA; one empty frame when `n` is 0."""
        most: cython.Py_ssize_t = self.peer_max_frame
        part: cython.Py_ssize_t
        whole: cython.Py_ssize_t = len(buf)
        if start < 0 or n < 0 or n > whole - start:
            raise IndexError("octets outside the buffer")
        while True:
            part = n if n <= most else most
            n -= part
            self.frame(part, 0, 1 if end and n == 0 else 0, stream_id)
            copy_octets(self.out, self.out_len, buf, start, part)
            self.out_len += part
            start += part
            if n == 0:
                return 0

    def settings_frame(self, pairs: Sequence[tuple[int, int]]) -> cython.int:
        """SETTINGS with these (identifier, value)."""
        self.frame(6 * len(pairs), 4, 0, 0)
        for identifier, value in pairs:
            self.put(identifier.to_bytes(2, "big") + value.to_bytes(4, "big"))
        return 0

    def goaway_frame(self, last_id: cython.uint, code: cython.uint, debug: bytes) -> cython.int:
        """GOAWAY; `debug` is for a person."""
        self.frame(8 + len(debug), 7, 0, 0)
        self.put_word(last_id)
        self.put_word(code)
        return self.put(debug)
