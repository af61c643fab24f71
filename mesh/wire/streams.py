# cython: language_level=3, wraparound=False, initializedcheck=False
"""The streams of one HTTP/2 connection: their state, and how the last ones ended (RFC 9113, section 5.1).

What lives here: what is known of a stream, the open streams by id, the short memory of closed ones. What this must
not know: frames, and when a state changes.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.limits import MAX_RESETS_REMEMBERED

# How a stream ended: both sides said END_STREAM, the peer reset it, we reset it.
ENDED: int = 1
PEER_RESET: int = 2
OWN_RESET: int = 3


@cython.freelist(512)
@cython.cclass
class StreamState:
    """What the codec knows of a stream; users see `codec.Stream`. Windows in octets, times as `Connection.now`."""

    id: int
    owner: Any
    send_window: int
    recv_window: int
    local_closed: bool  # we said END_STREAM
    remote_closed: bool  # the peer did
    closed: bool
    headers_sent: bool
    headers_received: bool  # the request, or a response that is not interim
    head_request: bool
    tunnel: int  # RFC 9113, section 8.5: 1 a CONNECT that was not answered yet, 2 one that stands
    waits: int  # 1 for its turn, 2 for its own window
    window: int  # what `recv_window` is given back up to
    unreleased: int
    expected: int  # DATA octets that content-length still promises, -1 for no promise
    opened: float
    epoch: float  # when the window was given back last

    def begin(self, stream_id: cython.uint, send_window: cython.longlong, recv_window: cython.longlong,
              opened: cython.double) -> cython.int:
        """Set what a new stream starts with."""
        self.id = stream_id
        self.owner = None
        self.send_window = send_window
        self.recv_window = self.window = recv_window
        self.local_closed = self.remote_closed = self.closed = False
        self.headers_sent = self.headers_received = self.head_request = False
        self.tunnel = self.waits = 0
        self.unreleased = 0
        self.expected = -1
        self.opened = self.epoch = opened
        return 0


class StreamTable:
    """The open streams of a connection by id, and how the last ones ended."""

    def __init__(self) -> None:
        # Ids in use lie close together, so that id / 2 modulo the size rarely meets another; those that do go to
        # `overflow`.
        self.slots: list[StreamState | None] = [None] * 8
        self.mask: int = 7
        self.overflow: dict[int, StreamState] = {}
        self.count: int = 0
        self.ghosts: bytearray = bytearray(4 * 32)  # 30 bits of id (all are odd) and 2 of how; by id / 2 modulo 32
        self.resets: dict[int, None] = {}

    def find(self, stream_id: cython.uint) -> StreamState | None:
        stream: StreamState | None = self.slots[(stream_id >> 1) & self.mask]
        if stream is not None and stream.id == stream_id:
            return stream
        if self.overflow:
            return self.overflow.get(stream_id)
        return None

    def add(self, stream: StreamState) -> cython.int:
        place: cython.Py_ssize_t = (stream.id >> 1) & self.mask
        self.count += 1
        if self.slots[place] is None:
            self.slots[place] = stream
            return 0
        self.overflow[stream.id] = stream
        if self.mask < 1023 and len(self.overflow) * 4 > self.mask:
            every: list[Any] = self.streams()
            each: StreamState
            self.mask = 2 * self.mask + 1
            self.slots = [None] * (self.mask + 1)
            self.overflow = {}
            self.count = 0
            for each in every:
                self.add(each)
        return 0

    def remove(self, stream: StreamState, how: cython.int) -> cython.int:
        place: cython.Py_ssize_t = (stream.id >> 1) & self.mask
        if self.slots[place] is stream:
            self.slots[place] = None
        else:
            del self.overflow[stream.id]
        self.count -= 1
        return self.remember(stream.id, how)

    def remember(self, stream_id: cython.uint, how: cython.int) -> cython.int:
        """Note how a stream ended; for our own resets longer, since the peer may have much on its way to it."""
        ghosts: bytearray = self.ghosts
        place: cython.Py_ssize_t = 4 * ((stream_id >> 1) & 31)
        ghosts[place] = (stream_id >> 23) & 0xFF
        ghosts[place + 1] = (stream_id >> 15) & 0xFF
        ghosts[place + 2] = (stream_id >> 7) & 0xFF
        ghosts[place + 3] = ((stream_id << 1) & 0xFC) | how
        if how == OWN_RESET:
            self.resets[stream_id] = None
            if len(self.resets) > MAX_RESETS_REMEMBERED:
                del self.resets[next(iter(self.resets))]
        return 0

    def fate(self, stream_id: cython.uint) -> cython.int:
        """How a stream ended, 0 if that is forgotten or it never was."""
        place: cython.Py_ssize_t = 4 * ((stream_id >> 1) & 31)
        word: cython.uint = word_at(self.ghosts, place)
        if word >> 2 == stream_id >> 1 and word:
            return word & 3
        return OWN_RESET if stream_id in self.resets else 0

    def streams(self) -> list[Any]:
        every: list[Any] = [stream for stream in self.slots if stream is not None]
        every.extend(self.overflow.values())
        return every


def word_at(buf: bytearray, at: cython.Py_ssize_t) -> cython.uint:
    """Four octets as a number."""
    return (
        (cython.cast(cython.uint, buf[at]) << 24)
        | (cython.cast(cython.uint, buf[at + 1]) << 16)
        | (cython.cast(cython.uint, buf[at + 2]) << 8)
        | buf[at + 3]
    )
