# cython: language_level=3, wraparound=False, initializedcheck=False
"""What all HTTP connections of one event loop share, in one object that is also their reactor.

What lives here: clocks, timers, random numbers, records, and the list of who has something to write. What this must
not know: protocols, sockets, routes. The hub reads the clocks, once per event; everything below is handed `now`.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import cython

from mesh.balance.rng import Rng
from mesh.dataplane.reactor import Reactor, Watch
from mesh.dataplane.record import Recorder
from mesh.wire.output import Output
from mesh.wire.windows import Memory

_log = logging.getLogger(__name__)


class Shell(Watch):
    """Who owns an `Output`: what the hub calls when there is something to do for it."""

    def attended(self) -> cython.int:
        """There is output, or another thing that `Output.attend` was called for."""
        return 0


class Hub(Reactor):
    """What all connections of one event loop share: its reactor, and wall clock, rng, records, who has output to write.

    `clock` gives monotonic seconds, `wall_clock` unix nanoseconds; they are for tests. `transports`: open connections;
    `lingering`: those that are over and only wait for the peer's end. `memory`: what all connections have received and
    nobody has taken yet; no new request is taken while it holds more than `shed_above`. `workers`: processes that the
    limits of a service are divided by. `counts`: what endpoints did that they must not, by reason code.
    """

    def __init__(self, loop: Any, rng: Rng, recorder: Recorder, clock: Any = None,
                 wall_clock: Any = time.time_ns) -> None:
        Reactor.__init__(self, loop, clock)
        self.rng = rng
        self.recorder = recorder
        self.wall_clock = wall_clock
        self.dirty: list[Any] = []
        self.wall_base = wall_clock()
        self.wall_mono = self.now
        self.wall_checked = self.now
        self.flushing = False
        self.transports = 0
        self.lingering = 0
        self.memory = Memory()
        self.shed_above = self.memory.limit
        self.shed = 0
        self.workers = 1
        self.counts: dict[str, int] = {}

    def touch(self) -> cython.double:
        """Read the clock; every entry from the event loop starts with this."""
        Reactor.touch(self)
        if self.now - self.wall_checked > 1.0:  # follow NTP's corrections, at most once a second
            self.wall_checked = self.now
            self.wall_base = self.wall_clock()
            self.wall_mono = self.now
        return self.now

    def wall_ns(self) -> cython.longlong:
        """Unix time of `now`, in nanoseconds."""
        return self.wall_base + cython.cast(cython.longlong, (self.now - self.wall_mono) * 1e9)

    def after_batch(self) -> cython.int:
        """Write the output of every connection that has some."""
        if self.flushing:
            return 0
        self.flushing = True
        dirty: list[Any] = self.dirty
        output: Output
        shell: Shell
        i: cython.Py_ssize_t = 0
        try:
            while i < len(dirty):  # writing can fail and make others dirty
                output = dirty[i]
                i += 1
                shell = output.owner
                if shell is not None:
                    try:
                        shell.attended()
                    except Exception:
                        _log.exception("a connection failed")
                        shell.on_error()
        finally:
            dirty.clear()
            self.flushing = False
        return 0
