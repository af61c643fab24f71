"""The asyncio loop of a sidecar: it waits in the reactor, which handles its own events without coming back for each.

What lives here: a selector that is a reactor's guest, and `run`. What this must not know: what is read or written.

Watched by a loop, the reactor's epoll set costs a second wait and a callback for every wake-up, which is most of what a
lone request is charged for. Here it is the other way round: the loop's own descriptors (signals, the admin port,
subprocesses) are one member of the reactor's set, and its callbacks, timers and tasks run when there are any.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Driver(Protocol):
    """What the loop sees of the reactor."""

    def drive(self, timeout: float) -> bool: ...

    def hasten(self, when: float) -> int: ...

    def part(self) -> int: ...


class _Waiting(selectors.EpollSelector):
    """The loop's own descriptors; what is waited in is the driver's set, once there is one."""

    driver: Driver | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.driver is None:
            return super().select(timeout)
        if self.driver.drive(-1.0 if timeout is None else max(timeout, 0.0)):
            return super().select(0)
        return []

    def close(self) -> None:
        if self.driver is not None:
            self.driver.part()
            self.driver = None
        super().close()


class ReactorLoop(asyncio.SelectorEventLoop):
    """The first reactor that is made for it does its waiting."""

    _ready: deque[Any]  # BaseEventLoop's callbacks that are due

    def __init__(self) -> None:
        self._waiting = _Waiting()
        super().__init__(self._waiting)

    def adopt(self, driver: Driver) -> deque[Any] | None:
        """Let `driver` wait from now on; returns the callbacks whose presence ends that. None: another one does it."""
        if self._waiting.driver is not None:
            return None
        self._waiting.driver = driver
        return self._ready

    def call_at(self, when: float, callback: Callable[[*Ts], object], *args: *Ts,
                context: Context | None = None) -> asyncio.TimerHandle:
        """As any loop's. While the driver waits, it has to know: it was told how long it may before this was asked."""
        handle = super().call_at(when, callback, *args, context=context)
        if self._waiting.driver is not None:
            self._waiting.driver.hasten(when)
        return handle

    def own_set(self) -> int:
        """The epoll descriptor of the loop's own descriptors."""
        return self._waiting.fileno()


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`."""
    with asyncio.Runner(loop_factory=ReactorLoop) as runner:
        return runner.run(main)
