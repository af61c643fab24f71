# cython: language_level=3, wraparound=False, initializedcheck=False

# mypy: disable-error-code="name-defined, no-any-return"
"""The reactor of all data-plane sockets: an edge-triggered epoll set, in which the process waits.

What lives here: waiting and dispatch, the clock of a batch, the read buffer that all connections share, descriptors
that can be closed at any moment, and waiting awake (`spin`). What this must not know: what is read or written, by whom.

Why not the loop's own transports: they cannot tell a reset while reading is paused, cost a Python call and a socket
object per event, and know no batch, so that each event ends in a write of its own. Registering IN|OUT|RDHUP once,
edge-triggered, needs no system call to pause and resume a direction: who doesn't read is not asked again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
from collections.abc import Callable
from typing import Any

import cython

from mesh.dataplane.spin import Spin
from mesh.dataplane.timers import TimerWheel

if not cython.compiled:
    from mesh.dataplane.syscalls import (
        close_fd,
        epoll_add,
        epoll_close,
        epoll_delete,
        epoll_modify,
        epoll_open,
        epoll_wait,
        event_key,
        event_mask,
        monotonic,
        reset_fd,
    )
    from mesh.wire.octets import unfilled

_log = logging.getLogger(__name__)

_INTERRUPTED = cython.declare(cython.int, -errno.EINTR)

# For sockets that carry bytes; `on_event` is then called once per change. PRI tells of urgent data, which ends a read
# early: after it a short read does not mean that nothing is left.
INCOMING: int = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
# The same, and when the kernel takes octets again. Asked for this from the start, a socket says at once that it does.
EDGES: int = INCOMING | select.EPOLLOUT
# The largest read; larger ones did not become faster in measurements, 64 KiB was the slowest size of all.
MAX_READ = 1_048_576
_BATCH = 256
_LOW = cython.declare(cython.ulonglong, 0xFFFF_FFFF)
_TICK = 0.005  # seconds; that of the wheel
# Seconds after which the loop's other work goes first, whatever still comes.
_LONGEST_SPIN = cython.declare(cython.double, 0.001)
_EVENT_BYTES = 16
_FOREVER = cython.declare(cython.double, float("inf"))
# The key of the loop's own epoll set; that of a watch ends in the number of its descriptor.
_LOOP = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)


class Watch:
    """A descriptor in the set; -1 while there is none. Subclasses override what happens.

    `on_again` runs in the next turn after `Reactor.defer`, also if the descriptor has gone meanwhile.
    """

    def __init__(self) -> None:
        self.fd = -1
        self.serial = 0

    def on_event(self, mask: cython.uint) -> cython.int:
        """epoll reported `mask`."""
        return 0

    def on_again(self) -> cython.int:
        """The turn that `Reactor.defer` asked for."""
        return 0

    def on_error(self) -> cython.int:
        """One of the other two raised; it has been logged. Must leave no descriptor behind."""
        return 0


class Probe(Watch):
    """A watch that calls a Python function with the mask of each event: for tests and rare events."""

    def __init__(self, action: Callable[[int], object]) -> None:
        Watch.__init__(self)
        self.action = action

    def on_event(self, mask: cython.uint) -> cython.int:
        self.action(mask)
        return 0


class Reactor:
    """One per event loop, which leaves the waiting to it (`drive`) if it is a `loop.ReactorLoop`; any other loop, and
    that one for a second reactor, watches its descriptor as long as something is watched. `now`: monotonic seconds, of
    this event.

    `inbox` is free for use by every `on_event`, until it returns. `carried`: octets that relays hold because the kernel
    did not take them. `active_at`: when the last event was. Timers fire as long as something enters and flushes.
    `clock` is for tests.
    """

    def __init__(self, loop: Any, clock: Any = None) -> None:
        self.loop: Any = loop  # an asyncio.AbstractEventLoop
        self.inbox = bytearray(0)
        self.watched = 0
        self.carried = 0
        self.busy = False
        self._clock = clock
        self._epfd = -1
        self._events = bytearray(_BATCH * _EVENT_BYTES)
        self._table: list[Any] = []
        self._serial = 0
        self._again: list[Watch] = []
        self._scheduled = False
        self._ticking = False
        self.spin = Spin(0.0)
        self.now = monotonic() if clock is None else clock()
        self.timers = TimerWheel(self.now)
        self.active_at = self.now
        self._tick_at = 0.0
        self._until = _FOREVER
        self._called = False
        self._ready: Any = None
        adopt = getattr(loop, "adopt", None)
        if adopt is not None:
            self._ready = adopt(self)
            if self._ready is not None:
                self._enter()

    def touch(self) -> cython.double:
        """Read the clock; whatever enters not through an event starts with this."""
        self.now = monotonic() if self._clock is None else self._clock()
        return self.now

    def flush(self) -> cython.int:
        """Finish what an entry from the loop has begun; whatever enters not through an event ends with this.

        Within a batch of events it does nothing: all of them are finished together.
        """
        if not self.busy:
            self._settle()
        return 0

    def after_batch(self) -> cython.int:
        """All events of one batch have been handled."""
        return 0

    def _settle(self) -> cython.int:
        self.after_batch()
        if self.timers.armed and not self._ticking and self._ready is None:
            self._ticking = True
            self.loop.call_later(_TICK, self._on_tick)
        return 0

    # -- descriptors

    def add(self, watch: Watch, fd: cython.int, mask: cython.uint) -> cython.int:
        """Report events of `fd` to `watch` from now on; the descriptor is the watch's. OSError: it was not to be had,
        and is closed."""
        if self._epfd < 0:
            self._enter()
        if not len(self.inbox):
            self.inbox = unfilled(MAX_READ)
        # What a batch still holds for an earlier owner of the number carries that one's serial number.
        self._serial = cython.cast(cython.uint, (self._serial + 1) & _LOW)
        status: cython.int = epoll_add(self._epfd, fd, mask, _key(self._serial, fd))
        if status < 0:
            close_fd(fd)
            self._leave()
            raise OSError(-status, os.strerror(-status))
        table: list[Any] = self._table
        while len(table) <= fd:
            table.append(None)
        table[fd] = watch
        watch.fd = fd
        watch.serial = self._serial
        self.watched += 1
        return 0

    def change(self, watch: Watch, mask: cython.uint) -> cython.int:
        """Report events of `mask` instead; what is the case already is reported anew."""
        if watch.fd >= 0:
            epoll_modify(self._epfd, watch.fd, mask, _key(watch.serial, watch.fd))
        return 0

    def remove(self, watch: Watch) -> cython.int:
        """Close the descriptor, which leaves the set by that; nothing happens if there is none.

        Only for descriptors that nobody else holds (a listening socket may be shared: `release`).
        """
        fd: cython.int = watch.fd
        if fd >= 0:
            self._forget(watch)
            close_fd(fd)
        return 0

    def remove_by_reset(self, watch: Watch) -> cython.int:
        """As `remove`, by RST."""
        fd: cython.int = watch.fd
        if fd >= 0:
            self._forget(watch)
            reset_fd(fd)
        return 0

    def release(self, watch: Watch) -> cython.int:
        """Watch the descriptor no more and hand it out, open; -1 if there is none."""
        fd: cython.int = watch.fd
        if fd >= 0:
            epoll_delete(self._epfd, fd)
            self._forget(watch)
        return fd

    def watches(self, fd: cython.int) -> cython.bint:
        """Whether the descriptor is in the set."""
        return 0 <= fd < len(self._table) and self._table[fd] is not None

    def _forget(self, watch: Watch) -> cython.int:
        self._table[watch.fd] = None
        watch.fd = -1
        self.watched -= 1
        if self.watched == 0 and not self.busy:
            self._schedule()
        return 0

    # -- turns

    def defer(self, watch: Watch) -> cython.int:
        """Call `watch.on_again()` after the others have had their turn."""
        self._again.append(watch)
        if not self.busy:
            self._schedule()
        return 0

    def _schedule(self) -> cython.int:
        if not self._scheduled and self._ready is None:
            self._scheduled = True
            self.loop.call_soon(self._on_turn)
        return 0

    def _on_turn(self) -> None:
        self._scheduled = False
        self._on_ready()

    def _on_ready(self) -> None:
        """The loop saw the epoll descriptor readable, or somebody asked for a turn."""
        count: cython.int = 0
        self.touch()
        if self._epfd >= 0:
            count = epoll_wait(self._epfd, self._events, 0)
        self._handle(count)

    def drive(self, timeout: cython.double) -> cython.bint:
        """Wait and handle events until the loop that has adopted this has something to do itself.

        That is a callback, `timeout` seconds gone by (negative: any time), or an event of its own descriptors: then
        this returns True. OSError: there is no waiting.
        """
        count: cython.int
        wait: cython.int
        at: cython.double
        ready: Any = self._ready
        now: cython.double = monotonic()
        self._until = now + timeout if timeout >= 0 else _FOREVER
        while True:
            if self.timers.armed and self._tick_at == 0:  # also where there is no time to wait
                self._tick_at = self.now + _TICK
            if self._again or timeout == 0 or len(ready) > 0:
                wait = 0
            else:
                at = self._until
                if self.timers.armed:
                    at = min(at, now + (self._tick_at - self.now))
                wait = -1 if at == _FOREVER else _milliseconds(at - now)
            count = epoll_wait(self._epfd, self._events, wait)
            self.touch()
            now = self.now if self._clock is None else monotonic()
            if count < 0:
                if count != _INTERRUPTED:
                    raise OSError(-count, os.strerror(-count))
                return False  # a signal: the interpreter runs its handler between here and the next call
            try:
                if 0 < self._tick_at <= self.now:
                    self._tick_at = 0.0
                    self._on_tick()
                if count > 0 or self._again:
                    self._handle(count)
            except Exception:
                _log.exception("a batch of events was not handled")
            if self._called:
                self._called = False
                return True
            if now >= self._until or len(ready) > 0:
                return False

    def hasten(self, when: cython.double) -> cython.int:
        """The loop has something to do at `when` (monotonic seconds), maybe sooner than it said when it came here."""
        if when < self._until:
            self._until = when
        return 0

    def _handle(self, count: cython.int) -> cython.int:
        """So many events are there; and somebody may have asked for a turn."""
        watch: Watch
        self.busy = True
        if count > 0:
            self.active_at = self.now
        try:
            self._dispatch(count)
            if self._again:
                deferred: list[Watch] = self._again
                self._again = []
                for watch in deferred:
                    try:
                        watch.on_again()
                    except Exception:
                        self._failed(watch)
        finally:
            self._end_batch()
        if count > 0 and self.spin.wanted():
            self._ask_on()
        return 0

    def _ask_on(self) -> cython.int:
        """Ask again and again before the loop goes to sleep: waking up costs more than an answer takes to come.

        Its end is `spin.window` seconds without an event, or _LONGEST_SPIN.
        """
        began: cython.double = monotonic()
        now: cython.double = began
        until: cython.double = began + self.spin.window
        count: cython.int
        found: cython.bint = False
        while (now < until and now - began < _LONGEST_SPIN and self._epfd >= 0 and not self._scheduled
               and not self._again and not self._called and (self._ready is None or len(self._ready) == 0)):
            count = epoll_wait(self._epfd, self._events, 0)
            now = monotonic()
            if count > 0:
                found = True
                self.touch()
                self.busy = True
                try:
                    self._dispatch(count)
                finally:
                    self._end_batch()
                now = monotonic()
                until = now + self.spin.window
        return self.spin.ended(found)

    def _on_tick(self) -> None:
        """Timers may be due; runs every 5 ms while any is armed."""
        self._ticking = False
        self.touch()
        self.busy = True
        try:
            self.timers.advance(self.now)
        finally:
            self._end_batch()

    def _end_batch(self) -> cython.int:
        try:
            self._settle()
        finally:
            self.busy = False
            if self._again:
                self._schedule()
            if self.watched == 0:
                self._leave()
        return 0

    def _dispatch(self, count: cython.int) -> cython.int:
        watch: Watch
        key: cython.ulonglong
        serial: cython.uint
        i: cython.int
        table: list[Any] = self._table
        for i in range(count):
            key = event_key(self._events, i)
            if key == _LOOP:
                self._called = True
                continue
            serial = cython.cast(cython.uint, key >> 32)
            watch = table[cython.cast(cython.uint, key & _LOW)]
            if watch is None or watch.serial != serial:
                continue
            try:
                watch.on_event(event_mask(self._events, i))
            except Exception:
                self._failed(watch)
        return 0

    def _failed(self, watch: Watch) -> None:
        _log.exception("a connection failed")
        try:
            watch.on_error()
        except Exception:
            _log.exception("a failed connection could not be ended")

    def _enter(self) -> None:
        status: cython.int = epoll_open()
        if status < 0:
            raise OSError(-status, os.strerror(-status))
        self._epfd = status
        if self._ready is None:
            self.loop.add_reader(self._epfd, self._on_ready)
        else:
            status = epoll_add(self._epfd, self.loop.own_set(), select.EPOLLIN, _LOOP)
            if status < 0:
                raise OSError(-status, os.strerror(-status))

    def _leave(self) -> cython.int:
        if self.watched == 0 and self._epfd >= 0 and self._ready is None:
            self.loop.remove_reader(self._epfd)
            epoll_close(self._epfd)
            self._epfd = -1
        return 0

    def part(self) -> cython.int:
        """The loop that has adopted this is closed: wait no more."""
        if self._epfd >= 0:
            epoll_close(self._epfd)
            self._epfd = -1
        return 0

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call at `when`, in terms of `now`, which is right in the callback."""
        def tick() -> None:
            self.touch()
            callback()

        return self.loop.call_later(max(when - self.now, 0.0), tick)


def _milliseconds(seconds: cython.double) -> cython.int:
    """How long to wait at least, not less than 0; rounded up, as nothing is to be done before."""
    if seconds <= 0:
        return 0
    return cython.cast(cython.int, min(seconds * 1000.0 + 0.999, 3_600_000.0))


def _key(serial: cython.uint, fd: cython.int) -> cython.ulonglong:
    return cython.cast(cython.ulonglong, serial) << 32 | cython.cast(cython.uint, fd)
