"""Which sources have flooded, and for how long they are held back for it.

What lives here: Offenders, a bounded memory of addresses. What this must not know: what a flood is, what being held
back means, the clock.

Each offence doubles the time: whoever reconnects to go on is held back for longer than it takes to be caught, and who
was once taken for an attacker by mistake is soon forgotten.
"""

from __future__ import annotations

from collections import OrderedDict

# Seconds for the first offence, and at most.
FIRST = 10.0
LONGEST = 300.0
# Addresses remembered: some 150 bytes each.
MOST = 4096


class Offenders:
    """`note` an offence, ask `held_until`. Beyond `most` sources the one whose last offence is oldest is forgotten."""

    def __init__(self, first: float = FIRST, longest: float = LONGEST, most: int = MOST) -> None:
        self._first = first
        self._longest = longest
        self._most = most
        # source -> (time, since when it is that long, until), in the order of the last offences
        self._known: OrderedDict[str, tuple[float, float, float]] = OrderedDict()

    def note(self, source: str, now: float) -> float:
        """Count an offence of `source` and return until when it is held back: a full time from now.

        The time doubles with an offence after half of it: connections that were open together are one offence. A source
        that has kept quiet for once more as long as it was held back begins anew.
        """
        time, since, until = self._known.pop(source, (0.0, now, 0.0))
        if time == 0.0 or now > until + time:
            time, since = self._first, now
        elif now - since > 0.5 * time:
            time, since = min(2.0 * time, self._longest), now
        self._known[source] = (time, since, now + time)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return now + time

    def held_until(self, source: str) -> float:
        """Return until when `source` is held back; 0 where nothing is known of it."""
        known = self._known.get(source)
        return known[2] if known is not None else 0.0

    def __len__(self) -> int:
        return len(self._known)
