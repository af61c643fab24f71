"""A time limit for Python that somebody else wrote and that runs on the loop's own thread.

What lives here: Watchdog, which interrupts a call that does not come back. What this must not know: what is called.

How. A timer of the kernel's (ITIMER_REAL, SIGALRM) ticks while such calls are made. Its handler runs between two
bytecodes of whatever the main thread executes; when that is the same guarded call as at the tick before, and it has
computed since, it raises Interrupted there: `while True: pass` ends after two ticks to three. One that has not
computed may only have lost the processor to somebody else; it is interrupted after PATIENCE, as it then waits (sleeps,
locks, sockets). The timer is not set and cleared for each call: a handler that finds none lets it rest until the next
call. So a call costs nearly nothing.

What it can't interrupt: code that catches everything (`except:` in a loop) and C functions that compute without
looking at signals (`10 ** 10 ** 9`). For those there is a second timer (ITIMER_VIRTUAL, which counts the process's CPU
time, so that a machine that was asleep does no harm): STUCK seconds after the handler last had a say, or found the
same call still there, SIGVTALRM ends the process. A sidecar that hangs for ever is worse than one that its supervisor
starts anew.
"""

from __future__ import annotations

import atexit
import os
import signal
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
TICK = 0.0125  # seconds; a pick is late long before, but an interruption leaves whatever it was doing half done
COMPUTED = 0.6 * TICK  # seconds of CPU time from one tick to another that are no accident
PATIENCE = 10 * TICK
STUCK = 2.0  # seconds
MANY = 8  # ticks


class Interrupted(BaseException):
    """The guarded call was stopped. No Exception: what catches those must not catch this."""


class Watchdog:
    """One for the process, on its main thread. `install` before the first `call`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic,
                 cpu: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._cpu = cpu
        self._armed = False
        self._running = False
        self._calls = 0
        self._interruptions = 0
        # Of the call that the last tick found: which, since when, and the CPU time then.
        self._found = 0
        self._since = 0.0
        self._spent = 0.0

    def install(self) -> None:
        """Take SIGALRM and SIGVTALRM, which nothing else in a sidecar uses.

        System calls are interrupted (no SA_RESTART), or a wait for a lock could not be ended.
        """
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        atexit.register(self.uninstall)  # the interpreter gives handlers up at its end, and a tick would kill it

    def uninstall(self) -> None:
        """Give both back."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        atexit.unregister(self.uninstall)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what `function` returns; raises what it raises, and Interrupted where it took too long."""
        self._calls += 1
        self._interruptions = 0
        if not self._armed:
            self._armed = True
            signal.setitimer(signal.ITIMER_VIRTUAL, STUCK)
            signal.setitimer(signal.ITIMER_REAL, TICK)
        try:
            self._running = True
            try:
                return function(*arguments)
            finally:
                self._running = False
        except Interrupted:  # also where it came after the return, before the line above
            self._running = False
            raise

    def _on_alarm(self, number: int, frame: Any) -> None:
        if not self._running:
            self._armed = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            return
        signal.setitimer(signal.ITIMER_REAL, TICK)
        if self._found != self._calls:
            self._found = self._calls
            self._since, self._spent = self._clock(), self._cpu()
            signal.setitimer(signal.ITIMER_VIRTUAL, STUCK)  # another call than the one it was set for
            return
        lasted = self._clock() - self._since
        computed = self._cpu() - self._spent >= COMPUTED
        if self._interruptions:
            # It may be on its way out still, and only have lost the processor: an exception in `call` itself would
            # leave it for ever. Who goes on has computed, or is here at many ticks.
            self._interruptions += 1
            if lasted > STUCK and self._interruptions > MANY:
                os.kill(os.getpid(), signal.SIGVTALRM)
            if not computed:
                return
        if computed or lasted >= PATIENCE:
            self._interruptions = max(self._interruptions, 1)
            self._spent = self._cpu()
            raise Interrupted
