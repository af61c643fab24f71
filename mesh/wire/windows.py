# cython: language_level=3, wraparound=False, initializedcheck=False
"""How much a peer may send us: receive windows that grow with bandwidth x delay (RFC 9113, sections 5.2 and 6.9).

What lives here: the connection's window and those of its streams, when they are topped up, the round trip that is
measured for it, and the memory that all of it may take. What this must not know: what data means, send windows.

A stream's window is given back when its user has consumed, so that a slow reader holds no more than its own window. The
connection's is topped up as soon as data is here, whoever holds it: one slow reader does not stall the others. It
shrinks only when `max_held` octets wait in the connection, or `Memory.limit` in the process.

Growth is quic-go's rule: who consumes a part of a window within four times that part of a round trip is held up by the
window, and gets twice of it. The round trip is measured by a PING that rides with a WINDOW_UPDATE, hence only where
there is bulk, and at most every `PROBE_PERIOD` seconds.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.codec import Handler
from mesh.wire.frames import FrameWriter
from mesh.wire.limits import Settings
from mesh.wire.streams import StreamState

PROBE: bytes = b"mesh-rtt"
PROBE_PERIOD: float = 10.0
# So much a connection may always hold, however much the others do: nobody starves.
LEAST_WINDOW: int = 65_535


class Memory:
    """Octets received and not consumed, of all connections that share this; at most about `limit`."""

    def __init__(self, limit: cython.longlong = 268_435_456) -> None:
        self.limit: int = limit
        self.held: int = 0


class Windows(FrameWriter):
    """The receiving half of flow control.

    `recv_window`: what the peer may still send on the connection; `window`: what that is topped up to; `held`: octets
    told by `on_data` and not released. `rtt`: seconds, 0 until it is known. `memory` may be set by the shell, before
    anything is received.
    """

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None, settings: Settings) -> None:
        FrameWriter.__init__(self, client, handler, dirty)
        self.memory: Memory = Memory()
        self.window: int = max(65_535, settings.connection_window)
        self.max_connection_window: int = max(self.window, settings.max_connection_window)
        self.max_window: int = settings.max_window
        self.max_held: int = settings.max_held
        self.recv_window: int = self.window
        self.low_water: int = self.window // 2
        self.held: int = 0
        self.epoch: float = 0.0  # when the connection's window was topped up last
        self.rtt: float = 0.0
        self.probed: float = 0.0
        self.probing: bool = False
        self.pings_due: int = 0  # PINGs of ours that are not answered

    def ping(self, data: bytes) -> cython.int:
        """Send PING with eight octets of `data`."""
        if len(data) != 8:
            raise ValueError("PING takes 8 octets")
        if not self.closed:
            self.pings_due += 1
            self.frame(8, 6, 0, 0)
            self.put(data)
        return 0

    def release(self, stream: StreamState | None, credit: cython.int) -> cython.int:
        """`credit` octets told by `on_data` have been consumed. The stream may be dead."""
        if self.closed:
            return 0
        self.held -= credit
        self.memory.held -= credit
        if self.recv_window < self.low_water:
            self.top_up()
        if stream is not None and not stream.remote_closed and not stream.closed:
            stream.unreleased += credit
            if 2 * stream.unreleased >= stream.window:
                self.renew(stream)
        return 0

    def end(self) -> cython.int:
        """The connection is gone: what it holds counts no more."""
        self.closed = True
        self.memory.held -= self.held
        self.held = 0
        return 0

    def top_up(self) -> cython.int:
        """Give the peer what the connection's window has lost, once that is half of it."""
        room: cython.longlong = self.max_held if self.memory.held < self.memory.limit else LEAST_WINDOW
        room -= self.held
        if room > self.window:
            room = self.window
        if room <= self.recv_window or 2 * self.recv_window > room:
            return 0
        if room == self.window and self.hurried(self.window - self.recv_window, self.window, self.epoch):
            self.widen(2 * self.window)
            room = self.window
        self.epoch = self.now
        self.word_frame(8, 0, room - self.recv_window)
        self.recv_window = room
        return self.probe()

    def renew(self, stream: StreamState) -> cython.int:
        """Give a stream's window back, and more if it is what holds the peer up."""
        before: cython.longlong = stream.window
        if (before < self.max_window and self.hurried(stream.unreleased, before, stream.epoch)
                and 2 * self.held < self.max_held and 2 * self.memory.held < self.memory.limit):
            stream.window = min(2 * before, self.max_window)
            self.widen(stream.window + stream.window // 2)
        stream.epoch = self.now
        grown: cython.longlong = stream.unreleased + stream.window - before
        self.word_frame(8, stream.id, grown)
        stream.recv_window += grown
        stream.unreleased = 0
        return self.probe()

    def widen(self, size: cython.longlong) -> cython.int:
        """The connection's window shall be no less than `size`, within its bound."""
        if size > self.max_connection_window:
            size = self.max_connection_window
        if size > self.window:
            self.window = size
            self.low_water = size // 2
        return 0

    def hurried(self, consumed: cython.longlong, window: cython.longlong, since: cython.double) -> cython.bint:
        """Whether so much of a window was used since then that the peer must have waited for more."""
        return self.rtt > 0.0 and (self.now - since) * window < 4.0 * self.rtt * consumed

    def probe(self) -> cython.int:
        """Measure the round trip, where there is a clock and it is time."""
        if self.now > 0.0 and not self.probing and (self.rtt == 0.0 or self.now - self.probed > PROBE_PERIOD):
            self.probing = True
            self.probed = self.now
            return self.ping(PROBE)
        return 0

    def on_probe(self) -> cython.int:
        """PROBE was answered. A clock that did not move means less than it can tell."""
        self.probing = False
        sample: cython.double = max(self.now - self.probed, 1e-6)
        self.rtt = sample if self.rtt == 0.0 else self.rtt + (sample - self.rtt) / 8
        return 0
