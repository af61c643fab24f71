"""`--workers N`: the parent of N equal workers, which share the listening addresses and nothing else.

What lives here: starting and restarting workers, signals, who accepts for one that has died, and the order of start,
takeover and end. What this must not know: traffic. It has no event loop, so that workers can be forked from it at any
time: they share its memory (imports, code) until they write to it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from mesh.sidecar.config import SidecarConfig
from mesh.sidecar.link import Link
from mesh.sidecar.sockets import Named, Sockets
from mesh.sidecar.statistics import total
from mesh.sidecar.takeover import Handover, Predecessor

_log = logging.getLogger("mesh.sidecar")
_BACKOFF_FIRST, _BACKOFF_LONGEST = 0.1, 5.0
_STEADY = 30.0  # up for so long, a worker's earlier failures are forgotten
_STATISTICS_WITHIN = 2.0
_LEAVE_WITHIN = 5.0  # more than a worker takes for it at most
_SLACK = 10.0  # beyond its drain timeout, what a worker gets to come to its end
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
# Supervisors and terminals signal a process and its group: what comes within this many seconds is the same wish.
ONE_REQUEST = 1.0


class Poll:
    """The least of an event loop: callbacks for readable and writable descriptors, and deadlines."""

    def __init__(self) -> None:
        self._selector = selectors.PollSelector()  # nothing in the kernel that a fork would share
        self._deadlines: dict[str, tuple[float, Callable[[], object]]] = {}

    def add_reader(self, fd: int, callback: Callable[..., object], /, *args: Any) -> None:
        self._set(fd, selectors.EVENT_READ, lambda: callback(*args))

    def remove_reader(self, fd: int, /) -> None:
        self._set(fd, selectors.EVENT_READ, None)

    def add_writer(self, fd: int, callback: Callable[..., object], /, *args: Any) -> None:
        self._set(fd, selectors.EVENT_WRITE, lambda: callback(*args))

    def remove_writer(self, fd: int, /) -> None:
        self._set(fd, selectors.EVENT_WRITE, None)

    def _set(self, fd: int, event: int, callback: Callable[[], object] | None) -> None:
        registered = self._selector.get_map().get(fd)
        callbacks: dict[int, Callable[[], object]] = dict(registered.data) if registered else {}
        callbacks.pop(event, None)
        if callback is not None:
            callbacks[event] = callback
        if registered:
            self._selector.unregister(fd)
        if callbacks:
            self._selector.register(fd, sum(callbacks), callbacks)

    def at(self, name: str, when: float, callback: Callable[[], object]) -> None:
        """Call at the time `when` (monotonic seconds), once; one deadline per name."""
        self._deadlines[name] = (when, callback)

    def never(self, name: str) -> None:
        self._deadlines.pop(name, None)

    def pending(self, name: str) -> bool:
        return name in self._deadlines

    def turn(self) -> None:
        """Sleep until something happens, and call what it concerns."""
        nearest = min((when for when, _ in self._deadlines.values()), default=None)
        for key, events in self._selector.select(None if nearest is None else max(0.0, nearest - time.monotonic())):
            for event, callback in list(key.data.items()):
                # An earlier callback of this turn may have ended what this one is for.
                registered = self._selector.get_map().get(key.fd)
                if events & event and registered is not None and registered.data.get(event) is callback:
                    callback()
        now = time.monotonic()
        for name, (when, callback) in list(self._deadlines.items()):
            if when <= now and self._deadlines.pop(name, None) is not None:
                callback()


class Member:
    """A worker as its parent sees it."""

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.link: Link | None = None
        self.since = time.monotonic()
        self.prepared = False
        self.ready: dict[str, Any] | None = None
        self.statistics: dict[str, Any] | None = None
        self.borrowed: set[int] = set()

    def tell(self, do: str, sockets: list[Named] | None = None, **more: Any) -> None:
        if self.link is not None:
            self.link.send({"do": do, **more}, sockets or ())


# `work(number, sockets, sock, held, succeeding)` is the life of a worker: see `Worker`; it returns the exit code.
Work = Callable[[int, Sockets, socket.socket, bool, bool], int]


class Group:
    """The parent. `run()` once, in the main thread."""

    def __init__(self, config: SidecarConfig, sockets: Sockets, predecessor: Predecessor | None, work: Work) -> None:
        self._config = config
        self._sockets = sockets
        self._predecessor = predecessor
        self._work = work
        self._poll = Poll()
        self._members: dict[int, Member] = {}
        self._failures = [0] * config.workers
        self._signals: list[int] = []
        self._wake_fds = (-1, -1)
        self._handover = Handover(self._poll, config, lambda: self._sockets, self._on_contest, self._on_settle,
                                  lambda: self._stop(deregister=False))
        self._serving = False  # all workers accept, or did once
        self._contested = False  # a successor is about to take over
        self._leaving = False  # no worker is started again
        self._stopping = False
        self._asked: set[int] = set()  # workers that owe statistics
        self._askers: list[Member | None] = []  # who wants them: a worker, or None for the operator (SIGUSR2)
        self._after_leaving: list[Callable[[], object]] = []
        self._inbound_open: set[int] | None = None  # workers whose inbound is not drained yet
        self._told_ready = False
        self._told_at = 0.0
        self._code = 0

    def run(self) -> int:
        """Return the exit code: 0 drained, 1 when the workers could not be started or did not end in order."""
        with self._handling_signals():
            # A collection would write to every object, and so to memory that workers share.
            gc.collect()
            gc.freeze()
            gc.disable()
            succeeding = self._predecessor is not None
            for number in range(self._config.workers):
                self._start(number, succeeding, succeeding)
            try:
                while self._members or not self._stopping:
                    self._poll.turn()
            finally:
                for member in self._members.values():
                    os.kill(member.pid, signal.SIGKILL)
                    os.waitpid(member.pid, 0)
        if not self._code:
            self._report({"event": "drained"})
        return self._code

    # -- workers

    def _start(self, number: int, held: bool, succeeding: bool) -> None:
        ours, theirs = socket.socketpair()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ours.close()
                self._forget()
                self._sockets.keep(number, self._config.workers)
                code = self._work(number, self._sockets, theirs, held, succeeding)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        theirs.close()
        member = self._members[number] = Member(number, pid)
        member.link = Link(self._poll, ours, lambda message, _: self._on_event(member, message), lambda: None)

    def _forget(self) -> None:
        """In a new worker: let go of what is the parent's."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        for fd in (*self._wake_fds, *(() if self._config.ready_fd is None else (self._config.ready_fd,))):
            os.close(fd)
        for member in self._members.values():
            if member.link is not None:
                member.link.close()
        self._handover.forget()
        if self._predecessor is not None:
            self._predecessor.close()

    def _slots(self, member: Member) -> list[int]:
        """The slots that are its own, and those that it has from a neighbour."""
        return [*range(member.number, self._sockets.width, self._config.workers), *member.borrowed]

    def _on_death(self, member: Member, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        del self._members[member.number]
        self._poll.never(f"kill {member.number}")
        if member.link is not None:
            member.link.close()
        if self._stopping:
            if code:
                _log.error("worker %d ended with exit code %d", member.number, code)
                self._code = 1
        elif not self._serving:
            _log.error("worker %d ended with exit code %d before it was ready", member.number, code)
            self._code = 1
            self._stopping = True
            for other in self._members.values():
                os.kill(other.pid, signal.SIGKILL)
        else:
            self._replace(member, code)
        self._asked.discard(member.number)
        self._tell_statistics()
        if member.number == 0:
            self._on_left()
        self._on_inbound_drained(member)

    def _replace(self, member: Member, code: int) -> None:
        """Lend its sockets to a neighbour, so that no connection waits, and start it anew."""
        neighbour = next((each for each in self._members.values() if each.ready is not None), None)
        if neighbour is not None:
            for slot in self._slots(member):
                neighbour.borrowed.add(slot)
                neighbour.tell("lend", self._sockets.slot(slot), slot=slot)
        number = member.number
        if time.monotonic() - member.since > _STEADY:
            self._failures[number] = 0
        pause = min(_BACKOFF_FIRST * 2 ** min(self._failures[number], 10), _BACKOFF_LONGEST)
        self._failures[number] += 1
        again = "" if self._leaving else f"; starting it again in {pause:g} s"
        _log.error("worker %d (process %d) ended with exit code %d%s", number, member.pid, code, again)
        self._poll.at(f"start {number}", time.monotonic() + pause, lambda: self._restart(number))

    def _restart(self, number: int) -> None:
        if self._contested:  # it would register, and replace the one that takes over
            self._poll.at(f"start {number}", time.monotonic() + _BACKOFF_FIRST, lambda: self._restart(number))
        elif not self._leaving:
            self._start(number, held=True, succeeding=False)

    def _on_event(self, member: Member, message: dict[str, Any]) -> None:
        match message["event"]:
            case "prepared":
                member.prepared = True
                if self._serving:
                    self._let_in(member)
                elif len(self._members) == self._config.workers and all(m.prepared for m in self._members.values()):
                    self._begin()
            case "ready":
                member.ready = message
                if len(self._members) == self._config.workers and all(m.ready for m in self._members.values()):
                    self._on_ready()
            case "statistics":
                member.statistics = message["statistics"]
                self._asked.discard(member.number)
                self._tell_statistics()
            case "gather":
                self._ask_statistics(member)
            case "left":
                self._on_left()
            case "inbound drained":
                self._on_inbound_drained(member)

    def _let_in(self, member: Member) -> None:
        """A worker that was started anew takes its place, and its sockets from the neighbour that had them."""
        member.tell("accept")
        own = set(self._slots(member))
        for other in self._members.values():
            for slot in other.borrowed & own:
                other.borrowed.discard(slot)
                other.tell("take back", slot=slot)

    def _begin(self) -> None:
        """All are prepared: accept, and only now send a predecessor away."""
        self._serving = True
        if self._stopping:
            return
        for member in self._members.values():
            member.tell("accept")
        if self._predecessor is not None:
            self._predecessor.dismiss()
            self._members[0].tell("settle")
            _log.info("took %d listening sockets over from process %d", len(self._predecessor.sockets),
                      self._predecessor.pid)
        self._handover.open()

    def _on_ready(self) -> None:
        if not self._told_ready:
            self._told_ready = True
            pids = [member.pid for member in self._members.values()]
            self._report({**(self._members[0].ready or {}), "pid": os.getpid(), "workers": pids})
            _log.info("%s is ready: %d workers", self._config.id, len(pids))

    # -- successors

    def _on_contest(self) -> None:
        self._contested = True
        if 0 in self._members:
            self._members[0].tell("contest")

    def _on_settle(self) -> None:
        self._contested = False
        if 0 in self._members:
            self._members[0].tell("settle")

    # -- the end

    def _leave_then(self, deregister: bool, action: Callable[[], object]) -> None:
        """Have worker 0 leave the registry before anybody closes a port."""
        self._leaving = True
        self._after_leaving.append(action)
        if not deregister:
            for member in self._members.values():
                member.tell("leave datagrams")
        if 0 in self._members:
            self._members[0].tell("leave", deregister=deregister)
            self._poll.at("leave", time.monotonic() + _LEAVE_WITHIN, self._on_left)
        else:
            self._on_left()

    def _on_left(self) -> None:
        self._poll.never("leave")
        actions, self._after_leaving = self._after_leaving, []
        for action in actions:
            action()

    def _drain_inbound(self) -> None:
        self._inbound_open = set(self._members)
        self._sockets.forget("inbound")
        for member in self._members.values():
            member.tell("drain inbound")

    def _on_inbound_drained(self, member: Member) -> None:
        if self._inbound_open is not None:
            self._inbound_open.discard(member.number)
            if not self._inbound_open:
                self._inbound_open = None
                self._report({"event": "drained"})

    def _stop(self, deregister: bool = True) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._handover.close()
        if not self._serving and self._predecessor is not None:  # the other one goes on
            self._predecessor.close()
            deregister = False
        self._leave_then(deregister, self._drain)

    def _drain(self) -> None:
        self._sockets.close()
        limit = time.monotonic() + self._config.drain_timeout + _SLACK
        for member in self._members.values():
            member.tell("drain")
            self._poll.at(f"kill {member.number}", limit, functools.partial(os.kill, member.pid, signal.SIGKILL))

    # -- signals

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        reading, writing = self._wake_fds = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        before = {number: signal.signal(number, self._note_signal) for number in _SIGNALS}
        wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._poll.add_reader(reading, self._on_signals)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._poll.remove_reader(reading)
            os.close(reading)
            os.close(writing)

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _on_signals(self) -> None:
        os.read(self._wake_fds[0], 4096)
        signals, self._signals = self._signals, []
        for number in signals:
            if number == signal.SIGUSR1:
                self._leave_then(True, self._drain_inbound)
            elif number == signal.SIGUSR2:
                self._ask_statistics(None)
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._on_stop()
        for member in list(self._members.values()):
            pid, status = os.waitpid(member.pid, os.WNOHANG)
            if pid:
                self._on_death(member, status)

    def _on_stop(self) -> None:
        now = time.monotonic()
        if not self._told_at:
            self._told_at = now
            self._stop()
        elif now - self._told_at > ONE_REQUEST:
            _log.warning("told twice to stop: not waiting for open requests")
            for member in self._members.values():
                os.kill(member.pid, signal.SIGKILL)
            self._code = 1

    # -- what is told

    def _report(self, event: dict[str, Any]) -> None:
        """One JSON line to whoever started us; that it has gone is no reason to stop."""
        if self._config.ready_fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._config.ready_fd, (json.dumps(event) + "\n").encode())

    def _ask_statistics(self, asker: Member | None) -> None:
        self._askers.append(asker)
        if self._poll.pending("statistics"):  # the answers that are under way are for it, too
            return
        self._asked = {number for number, member in self._members.items() if member.ready is not None}
        for number in self._asked:
            self._members[number].statistics = None
            self._members[number].tell("statistics")
        self._poll.at("statistics", time.monotonic() + _STATISTICS_WITHIN, lambda: self._tell_statistics(late=True))
        self._tell_statistics()

    def _tell_statistics(self, late: bool = False) -> None:
        if not late and (self._asked or not self._poll.pending("statistics")):
            return
        self._poll.never("statistics")
        each = [member.statistics for member in self._members.values() if member.statistics is not None]
        askers, self._askers = self._askers, []
        for asker in askers:
            if asker is not None:
                asker.tell("gathered", statistics=each)
        if None in askers:
            said = {**(total(each) or {}), "id": self._config.id, "pid": os.getpid(), "workers": each}
            print(json.dumps(said), file=sys.stderr, flush=True)
