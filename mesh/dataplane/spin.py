# cython: language_level=3, wraparound=False, initializedcheck=False
"""When it pays to ask for more instead of going to sleep.

What lives here: the rule, and what it has learned. What this must not know: epoll, the loop, what is waited for.
"""

from __future__ import annotations

import cython

_MOST_MISSES = cython.declare(cython.int, 6)


class Spin:
    """`window`: seconds to go on asking after the last event; 0: never.

    Asking in vain is paid for with turns that go to sleep at once: 1, 3, 7, up to 63, twice as many and one each time;
    the first event that is found ends that. So a service that nobody calls back at once costs a 64th of the window.
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self.misses = 0
        self.skip = 0

    def wanted(self) -> cython.bint:
        """Whether this turn should ask on; counts the turn."""
        if self.window <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        return True

    def ended(self, found: cython.bint) -> cython.int:
        """A turn has asked on; `found`: and something came."""
        if found:
            self.misses = 0
        elif self.misses < _MOST_MISSES:
            self.misses += 1
        self.skip = (1 << self.misses) - 1
        return 0
