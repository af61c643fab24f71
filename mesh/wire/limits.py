# cython: language_level=3, wraparound=False, initializedcheck=False
"""What one HTTP/2 peer may ask of us without doing work in return.

What lives here: the bounds of a connection, and the leaky bucket that counts the frames an attacker sends for
nothing. What this must not know: frames, clocks (time is handed in).

Sources: the 2019 floods (CVE-2019-9511 to 9518), CONTINUATION floods (2024), Rapid Reset (CVE-2023-44487), MadeYouReset
(CVE-2025-8671); the numbers are those of Envoy and Sozu where they agree with traffic that gRPC peers really send.
"""

from __future__ import annotations

from dataclasses import dataclass

import cython

# A stream that lived this long (seconds) was no rapid reset: 1000 streams of 0.1 s each are 10,000 a second, ordinary
# load.
RAPID_RESET_AGE = 0.1
# Frames of CONTINUATION in one header block, whatever their size; 64 KiB in frames of 16 KiB need 4.
MAX_CONTINUATIONS = 16
# Streams we reset ourselves are remembered so that what the peer sent before it knew is ignored; the oldest is
# forgotten.
MAX_RESETS_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What we announce. Octets; each field of a header list counts 32 beyond its own (RFC 9113, section 6.5.2)."""

    max_concurrent_streams: int = 1000
    initial_window: int = 262_144
    connection_window: int = 4_194_304
    max_header_list: int = 65_536
    connect_protocol: bool = False  # RFC 8441
    list_tolerance: int = 0  # a header list may be this much larger than announced


class Allowance:
    """A leaky bucket: `most` frames at once, `rate` more per second, and what `give` adds for work done.

    A shell without a clock (`now` is always 0) gets one more per read instead (`reads` counts calls of `receive`):
    a peer that sends its PINGs one by one, hours apart, is never cut off, one that sends them by the hundred is.
    """

    def __init__(self, most: cython.double, rate: cython.double) -> None:
        self.left: float = most
        self.most: float = most
        self.rate: float = rate
        self.last: float = 0.0
        self.reads: int = 0

    def take(self, now: cython.double, reads: cython.longlong) -> cython.bint:
        """Count one frame; False when it is one too many. `now`: monotonic seconds, or always 0."""
        if now > 0.0:
            if now > self.last:
                self.give((now - self.last) * self.rate)
                self.last = now
        elif reads > self.reads:
            self.give(reads - self.reads)
            self.reads = reads
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True

    def give(self, n: cython.double) -> cython.int:
        """The peer has earned `n` more."""
        self.left += n
        if self.left > self.most:
            self.left = self.most
        return 0
