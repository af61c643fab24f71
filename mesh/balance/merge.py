"""Changes of a set of endpoints that follow one another closely, put in force together.

What lives here: MergeWindow. What this must not know: where endpoints come from, timers, the clock.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.model.values import Endpoint, Health

Endpoints = Mapping[str, Endpoint]


class MergeWindow:
    """Says what is to be put in force now, and when to ask again.

    The first change after a quiet `window` (seconds; 0: no merging) is put in force at once, so that a single one is
    never late; those after it wait until `window` has passed since then, and only the last state counts. A deploy of a
    thousand endpoints so costs some tables per second instead of a thousand. Envoy's update_merge_window (1 s) and
    Traefik's throttle (2 s) do the same, but delay the first change, too.

    Bad news never waits: endpoints that leave, drain, fail or lose their weight are taken out at once, with all else as
    it was. Nor does a first endpoint, when there is none to use, nor those that are to take over from all others.

    `due`: when `take` is to be called next, None while nothing is held back.
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self.due: float | None = None
        self._in_force: Endpoints = {}
        self._held: Endpoints = {}
        self._last = float("-inf")

    def offer(self, latest: Endpoints, now: float) -> Endpoints | None:
        """Discovery's latest state, all of it. Return what is to be in force now, None where nothing changes yet."""
        if now >= self._last + self.window or not any(_usable(endpoint) for endpoint in self._in_force.values()):
            return self._put(latest, now)
        without = self._without_bad_news(latest)
        if not any(_usable(endpoint) for endpoint in without.values()):
            return self._put(latest, now)  # what is to take over must not wait until all else is gone
        self._held = latest
        self.due = self._last + self.window
        if without == self._in_force:
            return None
        self._in_force = without
        return without

    def take(self, now: float) -> Endpoints | None:
        """Return what was held back, once it is due."""
        if self.due is None or now < self.due:
            return None
        return self._put(self._held, now)

    def _put(self, latest: Endpoints, now: float) -> Endpoints:
        self._in_force = dict(latest)
        self._held = {}
        self._last = now
        self.due = None
        return self._in_force

    def _without_bad_news(self, latest: Endpoints) -> Endpoints:
        """What is in force, less those that left; those that can't be used any more as they are now."""
        kept: dict[str, Endpoint] = {}
        for name, endpoint in self._in_force.items():
            new = latest.get(name)
            if new is not None:
                kept[name] = new if _usable(endpoint) and not _usable(new) else endpoint
        return kept


def _usable(endpoint: Endpoint) -> bool:
    return endpoint.weight > 0 and endpoint.health is Health.HEALTHY
