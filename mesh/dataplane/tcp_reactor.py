# cython: language_level=3, wraparound=False, initializedcheck=False
"""The reactor of the TCP relay: an edge-triggered epoll set that the event loop watches through its one descriptor.

What lives here: dispatch, the read buffer that all relays share, closing descriptors safely. What this must not know:
what is relayed, endpoints, records.

Why not the loop's own transports: they copy every read, cannot tell a reset while reading is paused, and cost a Python
call per event. Registering IN|OUT|RDHUP once, edge-triggered, needs no system call to pause and resume a direction: who
doesn't read is not asked again.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import select
import socket
from collections.abc import Callable

import cython

_log = logging.getLogger(__name__)

EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
# One read moves at most this much; larger did not become faster in measurements, 64 KiB was the slowest size of all.
MAX_READ = 1_048_576
_BATCH = 256


class Watch:
    """A socket in the set. Subclasses override what happens; `on_again` runs in the next turn after `Reactor.defer`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()

    def on_event(self, mask: cython.uint) -> cython.int:
        """epoll reported `mask`."""
        return 0

    def on_again(self) -> cython.int:
        """The turn that `Reactor.defer` asked for."""
        return 0

    def on_error(self) -> cython.int:
        """One of the other two raised; it has been logged. Must leave no descriptor behind."""
        return 0


class Reactor:
    """One per event loop. `now` is the loop's time, in seconds, as of this batch of events."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now = loop.time()
        self.carried = 0
        self.view = memoryview(mmap.mmap(-1, MAX_READ))  # its pages are not resident before they are used
        self._epoll = select.epoll()
        self._watches: dict[int, Watch] = {}
        self._doomed: list[socket.socket] = []
        self._again: list[Watch] = []
        self._scheduled = False
        self._busy = False
        self._closed = False
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def add(self, watch: Watch, mask: cython.uint) -> cython.int:
        """Report events of `watch` from now on."""
        self._epoll.register(watch.fd, mask)
        self._watches[watch.fd] = watch
        return 0

    def remove(self, watch: Watch) -> cython.int:
        """Report no more events and close the socket at the end of this batch.

        Not at once: the kernel would give the number to the next connection, and events of this batch that still wait
        would go to the wrong one.
        """
        if self._watches.pop(watch.fd, None) is not None:
            self._epoll.unregister(watch.fd)
        self._doomed.append(watch.sock)
        if not self._busy:
            self._schedule()
        return 0

    def mute(self, watch: Watch, muted: bool, mask: int) -> None:
        """Report nothing of `watch` but keep it, or `mask` again."""
        if self._watches.get(watch.fd) is watch:
            self._epoll.modify(watch.fd, 0 if muted else mask)

    def defer(self, watch: Watch) -> cython.int:
        """Call `watch.on_again()` after the others have had their turn."""
        self._again.append(watch)
        self._schedule()
        return 0

    def _schedule(self) -> cython.int:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._on_turn)
        return 0

    def _on_ready(self) -> None:
        """The loop saw the epoll descriptor readable."""
        watch: Watch | None
        fd: cython.int
        mask: cython.uint
        self.now = self.loop.time()
        self._busy = True
        for fd, mask in self._epoll.poll(0, _BATCH):
            watch = self._watches.get(fd)
            if watch is not None:
                try:
                    watch.on_event(mask)
                except Exception:
                    self._failed(watch)
        self._busy = False
        if self._doomed:
            self._bury()

    def _on_turn(self) -> None:
        watch: Watch
        self._scheduled = False
        self.now = self.loop.time()
        deferred: list[Watch] = self._again
        self._again = []
        for watch in deferred:
            if self._watches.get(watch.fd) is watch:
                try:
                    watch.on_again()
                except Exception:
                    self._failed(watch)
        self._bury()

    def _failed(self, watch: Watch) -> cython.int:
        _log.exception("a relayed connection failed")
        watch.on_error()
        return 0

    def _bury(self) -> cython.int:
        doomed: list[socket.socket] = self._doomed
        self._doomed = []
        for sock in doomed:
            sock.close()
        return 0

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """As `loop.call_at`, and `now` is right in the callback."""
        def tick() -> None:
            self.now = self.loop.time()
            callback()

        return self.loop.call_at(when, tick)

    def close(self) -> None:
        """Let the loop go. Everything must have been removed before; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._bury()
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    @property
    def watched(self) -> int:
        """Descriptors in the set."""
        return len(self._watches)
