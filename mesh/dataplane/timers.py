# cython: language_level=3, wraparound=False, initializedcheck=False
"""Deadlines by the thousand: a hashed timing wheel with O(1) arming and cancelling.

What lives here: the wheel (Varghese and Lauck 1987, scheme 6) and its intrusive timers. What this must not know: the
clock (the hub hands `now` in, in monotonic seconds) and what a timer is for. A timer fires at most one tick late,
never early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython


class Timer:
    """One deadline; subclasses override `fire`. It is in at most one wheel, at most once."""

    def __init__(self) -> None:
        self.previous: Any = None
        self.next: Any = None
        self.deadline = 0.0
        self.armed = False

    def fire(self) -> cython.int:
        """Called once when the deadline has passed, unless cancelled."""
        return 0


class Probe(Timer):
    """A timer that calls a Python function: for tests and rare events."""

    def __init__(self, action: Callable[[], object]) -> None:
        Timer.__init__(self)
        self.action = action

    def fire(self) -> cython.int:
        self.action()
        return 0


class TimerWheel:
    """`size` slots of `tick` seconds. A deadline further away than one turn waits in its slot for the right turn."""

    def __init__(self, now: cython.double, tick: cython.double = 0.005, size: cython.int = 2048) -> None:
        self.tick = tick
        self.size = size
        self.position = cython.cast(cython.longlong, now / tick)
        self.armed = 0
        self.slots: list[Timer] = []
        _slot: cython.int
        for _slot in range(size):
            head: Timer = Timer()
            head.previous = head
            head.next = head
            self.slots.append(head)

    def add(self, timer: Timer, deadline: cython.double, now: cython.double) -> cython.int:
        """Arm `timer` to fire at `deadline`; arming an armed timer moves it."""
        if timer.armed:
            self.cancel(timer)
        if self.armed == 0:
            self.position = cython.cast(cython.longlong, now / self.tick)
        turn: cython.longlong = cython.cast(cython.longlong, deadline / self.tick) + 1
        if turn <= self.position:
            turn = self.position + 1
        head: Timer = self.slots[turn % self.size]
        last: Timer = head.previous
        timer.deadline = deadline
        timer.previous = last
        timer.next = head
        last.next = timer
        head.previous = timer
        timer.armed = True
        self.armed += 1
        return 0

    def cancel(self, timer: Timer) -> cython.int:
        """Disarm; a timer that isn't armed is left alone."""
        if not timer.armed:
            return 0
        before: Timer = timer.previous
        after: Timer = timer.next
        before.next = after
        after.previous = before
        timer.previous = None
        timer.next = None
        timer.armed = False
        self.armed -= 1
        return 0

    def arm(self, timer: Timer, deadline: cython.double, now: cython.double) -> None:
        """`add` for callers outside the compiled modules."""
        self.add(timer, deadline, now)

    def disarm(self, timer: Timer) -> None:
        """`cancel` for callers outside the compiled modules."""
        self.cancel(timer)

    def advance(self, now: cython.double) -> cython.int:
        """Fire what is due at `now`; return how many fired. Timers may be added and cancelled while firing."""
        goal: cython.longlong = cython.cast(cython.longlong, now / self.tick)
        if goal - self.position > self.size:
            self.position = goal - self.size
        fired: cython.int = 0
        head: Timer
        timer: Timer
        due: list[Timer]
        while self.position < goal:
            self.position += 1
            head = self.slots[self.position % self.size]
            if head.next is head:
                continue
            due = []
            timer = head.next
            while timer is not head:
                if timer.deadline <= now:
                    due.append(timer)
                timer = timer.next
            for timer in due:
                if timer.armed:
                    self.cancel(timer)
                    timer.fire()
                    fired += 1
        return fired
