"""Publishes committed changes and wakes the readers that they concern.

What lives here: the published view, who follows what, and the timer that merges wake-ups. What this must not know:
grpc, stores, the registry's rules. Readers are woken at once after a quiet time and at most every INTERVAL seconds
under load; they then pull the latest state, so a burst of changes costs each reader one wake-up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Protocol

from controlplane.registry import Change, Interest, Stored, View

INTERVAL = 0.010  # seconds between two rounds of wake-ups
SLICE = 100  # readers woken in one turn of the loop


class Reader(Protocol):
    """Somebody who follows the view."""

    def wake(self, serial: int, revision: int) -> None:
        """Something followed was published after `serial`; until then all was as at `revision`."""


class Publisher:
    """The view and its readers. Runs on one event loop."""

    def __init__(self, stored: Stored) -> None:
        self.view = View(stored)
        self.services: Interest[Reader] = Interest()
        self.endpoints: Interest[Reader] = Interest()
        self._changed_services: list[tuple[str, str]] = []
        self._changed_endpoints: list[tuple[str, str]] = []
        # Serial and revision before the first change nobody was told of yet, and before those being told of now.
        self._before: tuple[int, int] | None = None
        self._waking_from = (0, 0)
        self._waking: deque[Reader] = deque()
        self._woken = -INTERVAL

    @property
    def told_revision(self) -> int:
        """The revision up to which every reader has been woken."""
        if self._waking:
            return self._waking_from[1]
        return self.view.revision if self._before is None else self._before[1]

    def publish(self, change: Change) -> None:
        """Show a committed change."""
        before = (self.view.serial, self.view.revision)
        self._moved(before, self.view.publish(change))

    def replace(self, stored: Stored) -> None:
        """Show a whole state in place of the present one."""
        before = (self.view.serial, self.view.revision)
        self._moved(before, self.view.replace(stored))

    def _moved(self, before: tuple[int, int], moved: tuple[list[tuple[str, str]], list[tuple[str, str]]]) -> None:
        services, endpoints = moved
        if not services and not endpoints:
            return
        self._changed_services += services
        self._changed_endpoints += endpoints
        if self._before is None:
            self._before = before
            if not self._waking:
                self._schedule()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        wait = self._woken + INTERVAL - monotonic()
        if wait > 0:
            loop.call_later(wait, self._wake)
        else:
            loop.call_soon(self._wake)

    def _wake(self) -> None:
        if self._before is None or self._waking:
            return
        self._waking_from, self._before = self._before, None
        concerned = self.services.in_any(self._changed_services)
        concerned |= self.endpoints.in_any(self._changed_endpoints)
        self._waking.extend(concerned)
        self._changed_services, self._changed_endpoints = [], []
        self._wake_some()

    def _wake_some(self) -> None:
        """Wake a slice of the readers and let the loop turn: answers and heartbeats are not to wait for all of them."""
        serial, revision = self._waking_from
        for _ in range(min(SLICE, len(self._waking))):
            self._waking.popleft().wake(serial, revision)
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)
            return
        self._woken = monotonic()
        if self._before is not None:
            self._schedule()
