# cython: language_level=3, wraparound=False, initializedcheck=False
"""The shell of an HTTP connection: bytes in, bytes out, one write per peer for all that one read caused.

What lives here: the socket side of a `Codec` and the hub, which is what connections of one loop share. What this
must not know: routes, services, policies. The hub reads the clocks, once per wake-up; everything below is handed
`now`.
"""

from __future__ import annotations

import time
from typing import Any

import cython

from mesh.balance.rng import Rng
from mesh.dataplane.record import Recorder
from mesh.dataplane.timers import TimerWheel
from mesh.wire.codec import Codec, Handler
from mesh.wire.errors import ConnectionError_

if not cython.compiled:
    MSG_DONTWAIT = MSG_NOSIGNAL = 0
    c_send: Any = None  # uncompiled, uvloop or asyncio does all the sending
    PyByteArray_AS_STRING: Any = None

# One read takes at most this much; it is shared by all connections of the loop (nothing stays in it between callbacks).
INBOX_BYTES = cython.declare(cython.int, 131_072)
# While the kernel takes no more, a connection may hold this much output beside the flow-controlled data (SETTINGS and
# PING acknowledgements, window updates, resets): a peer that floods without reading is cut off there.
MAX_UNREAD_CONTROL = cython.declare(cython.int, 4 << 20)


class Hub:
    """What all connections of one event loop share: clock, rng, timers, read buffer, records, who has output to write.

    `clock` gives monotonic seconds, `wall_clock` unix nanoseconds.
    """

    def __init__(self, loop: Any, rng: Rng, recorder: Recorder, clock: Any = time.monotonic,
                 wall_clock: Any = time.time_ns) -> None:
        self.loop = loop
        self.rng = rng
        self.recorder = recorder
        self.clock = clock
        self.wall_clock = wall_clock
        self.dirty: list[Any] = []
        self.now = clock()
        self.wall_base = wall_clock()
        self.wall_mono = self.now
        self.wall_checked = self.now
        self.timers = TimerWheel(self.now)
        self.inbox = bytearray(INBOX_BYTES)
        self.ticking = False
        self.flushing = False
        self.transports = 0

    def touch(self) -> cython.double:
        """Read the clock; every entry from the event loop starts with this."""
        self.now = self.clock()
        if self.now - self.wall_checked > 1.0:  # follow NTP's corrections, at most once a second
            self.wall_checked = self.now
            self.wall_base = self.wall_clock()
            self.wall_mono = self.now
        return self.now

    def wall_ns(self) -> cython.longlong:
        """Unix time of `now`, in nanoseconds."""
        return self.wall_base + cython.cast(cython.longlong, (self.now - self.wall_mono) * 1e9)

    def flush(self) -> cython.int:
        """Write the output of every connection that has some; every entry from the event loop ends with this."""
        if self.flushing:
            return 0
        self.flushing = True
        dirty: list[Any] = self.dirty
        conn: Codec
        shell: Transport
        i: cython.Py_ssize_t = 0
        try:
            while i < len(dirty):  # writing can fail and make others dirty
                conn = dirty[i]
                i += 1
                shell = conn.owner
                if shell is not None:
                    shell.write_out()
        finally:
            dirty.clear()
            self.flushing = False
        if self.timers.armed and not self.ticking:
            self.start_ticking()
        return 0

    def start_ticking(self) -> cython.int:
        self.ticking = True
        self.loop.call_later(0.005, self.tick)
        return 0

    def tick(self) -> None:
        """Fire due timers; runs every 5 ms while any is armed."""
        self.ticking = False
        self.timers.advance(self.touch())
        self.flush()


class TransportHandler(Handler):
    """A codec handler that also hears of its transport."""

    def on_connected(self, transport: Transport) -> cython.int:
        return 0

    def on_lost(self, exc: object) -> cython.int:
        """The connection is gone, whoever ended it. Called exactly once, also if `on_connected` failed."""
        return 0

    def on_received(self) -> cython.int:
        """All frames of one read have been handled."""
        return 0

    def on_write_resume(self) -> cython.int:
        """The kernel takes bytes again: `paused` has become false."""
        return 0


class Transport:
    """One connection; duck-types `asyncio.BufferedProtocol`, which uvloop accepts from an extension type.

    `paused`: the kernel takes no more; hold DATA back. `closing`: no new streams; `closed`: the socket is gone.
    `failed`: a protocol error ended it. `blocked`: some stream has data that waits for the connection's window or the
    kernel.
    """

    def __init__(self, conn: Codec, handler: TransportHandler, hub: Hub) -> None:
        self.hub = hub
        self.handler = handler
        self.conn = conn
        conn.owner = self
        self.transport: Any = None
        self.fd = -1
        self.rest = b""
        self.paused = False
        self.closed = False
        self.closing = False
        self.failed = False
        self.blocked = False
        self.peer_host = ""
        self.peer_port = 0

    # -- asyncio callbacks

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        sock: Any = transport.get_extra_info("socket")
        self.fd = sock.fileno()
        peer: Any = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer_host, self.peer_port = peer[0], peer[1]
        if cython.compiled:
            # We send by ourselves; uvloop only ever holds what the kernel refused, and says when that is gone.
            transport.set_write_buffer_limits(high=0)
        self.hub.transports += 1
        self.hub.touch()
        self.conn.start()
        self.handler.on_connected(self)
        self.hub.flush()

    def get_buffer(self, hint: int) -> Any:
        have: cython.Py_ssize_t = len(self.rest)
        if have == 0:
            return self.hub.inbox
        self.hub.inbox[:have] = self.rest
        return memoryview(self.hub.inbox)[have:]

    def buffer_updated(self, n: cython.Py_ssize_t) -> None:
        hub: Hub = self.hub
        hub.touch()
        total: cython.Py_ssize_t = n + len(self.rest)
        if self.conn.closed:
            return
        self.conn.now = hub.now
        try:
            used: cython.Py_ssize_t = self.conn.receive(hub.inbox, total)
            if used < total:
                self.rest = bytes(memoryview(hub.inbox)[used:total])
            elif self.rest:
                self.rest = b""
            self.handler.on_received()
        except ConnectionError_:
            self.failed = True
            self.rest = b""
            self.close()
        hub.flush()

    def eof_received(self) -> bool:
        return False  # HTTP/2 has no half-close: close

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.hub.touch()
        self.write_out()
        if not self.paused:
            self.handler.on_write_resume()
        self.hub.flush()

    def connection_lost(self, exc: object) -> None:
        if self.closed:
            return
        self.closed = True
        self.closing = True
        self.transport = None
        self.fd = -1
        self.conn.out_len = 0
        self.hub.transports -= 1
        self.hub.touch()
        self.handler.on_lost(exc)
        self.conn.owner = None
        self.hub.flush()

    # -- output

    def write_out(self) -> cython.int:
        """Hand pending output to the kernel; what it refuses goes to uvloop, which then pauses us."""
        conn: Codec = self.conn
        n: cython.Py_ssize_t = conn.out_len
        if n == 0:
            return 0
        if self.closed or self.transport is None:
            conn.out_len = 0
            return 0
        if self.paused:
            if n > MAX_UNREAD_CONTROL:
                self.abort()
            return 0
        sent: cython.Py_ssize_t = 0
        if cython.compiled:
            sent = c_send(self.fd, PyByteArray_AS_STRING(conn.out), n, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                sent = 0  # EAGAIN, or an error that uvloop will meet and report
        conn.out_len = 0
        if sent < n:
            self.transport.write(bytes(memoryview(conn.out)[sent:n]))
        if n > 65_536:
            conn.trim()
        return 0

    def close(self) -> cython.int:
        """Write what is pending, then close."""
        if not self.closing:
            self.closing = True
            self.write_out()
            if self.transport is not None:
                self.transport.close()
        return 0

    def abort(self) -> cython.int:
        """Close now; pending output is lost."""
        self.closing = True
        self.conn.out_len = 0
        if self.transport is not None:
            self.transport.abort()
        return 0
