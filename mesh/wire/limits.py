# cython: language_level=3, wraparound=False, initializedcheck=False
"""What one HTTP/2 peer may ask of us without doing work in return.

What lives here: the bounds of a connection, the reason codes of what goes past them, and the leaky bucket that counts
the frames an attacker sends for nothing. What this must not know: frames, clocks (time is handed in).

Sources: the 2019 floods (CVE-2019-9511 to 9518), CONTINUATION floods (2024), Rapid Reset (CVE-2023-44487), MadeYouReset
(CVE-2025-8671); the numbers are those of Envoy and Sozu where they agree with traffic that gRPC peers really send.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cython

# Streams we reset ourselves are remembered so that what the peer sent before it knew is ignored; the oldest is
# forgotten.
MAX_RESETS_REMEMBERED = 1024

# Reason codes: `ConnectionError_.cause`, and the keys of `Codec.counts`. docs/reason-codes.md says what each means.
FLOOD_PING = "flood_ping"
FLOOD_SETTINGS = "flood_settings"
FLOOD_GOAWAY = "flood_goaway"
FLOOD_EMPTY_DATA = "flood_empty_data"
FLOOD_WINDOW_UPDATE = "flood_window_update"
FLOOD_PRIORITY = "flood_priority"
FLOOD_USELESS_FRAMES = "flood_useless_frames"
FLOOD_CONTINUATION = "flood_continuation"
RAPID_RESET = "rapid_reset"
MADE_YOU_RESET = "made_you_reset"
REFUSED_STREAMS = "refused_streams"
CONTROL_BACKLOG = "control_backlog"
HEADER_BLOCK = "header_block_too_large"
HEADER_LIST = "header_list_too_large"
SLOW_HEADERS = "slow_headers"
REASONS: dict[str, str] = {
    FLOOD_PING: "more PING frames than a peer that works needs",
    FLOOD_SETTINGS: "more SETTINGS frames, acknowledgements included, than a peer that works needs",
    FLOOD_GOAWAY: "more GOAWAY frames than a peer that leaves needs",
    FLOOD_EMPTY_DATA: "DATA frames without data that don't end their stream",
    FLOOD_WINDOW_UPDATE: "more WINDOW_UPDATE frames than were earned by the data we sent",
    FLOOD_PRIORITY: "more PRIORITY frames than streams to prioritise",
    FLOOD_USELESS_FRAMES: "frames of unknown types, frames on streams that ended, answers to no PING",
    FLOOD_CONTINUATION: "a header block in too many CONTINUATION frames",
    RAPID_RESET: "requests cancelled as fast as they are made (CVE-2023-44487)",
    MADE_YOU_RESET: "frames that make us reset streams, over and over (CVE-2025-8671)",
    REFUSED_STREAMS: "requests over SETTINGS_MAX_CONCURRENT_STREAMS, over and over",
    CONTROL_BACKLOG: "a peer that makes us answer and does not read the answers",
    HEADER_BLOCK: "a header block of too many octets on the wire",
    HEADER_LIST: "a header list of too many octets or fields once it is decoded; costs the stream only",
    SLOW_HEADERS: "a header section that does not get finished",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a peer may go. Rates are per second, with a burst of the same number unless another is said.

    A bound on frames costs the connection (GOAWAY, ENHANCE_YOUR_CALM), one on a header list its stream.
    ValueError: a bound is not positive.
    """

    pings: int = 100  # and one for each DATA frame of ours: gRPC measures the round trip
    settings: int = 50
    empty_data: int = 100
    window_updates: int = 100  # burst 1,000, and 20 for each DATA frame of ours
    priorities: int = 100  # burst 1,000
    useless_frames: int = 100  # burst 1,000
    # Cancelled before the answer began. `early_resets`: of streams younger than `early_reset_age_s`, at once, a fifth
    # of that per second. `resets`: of those younger than 0.1 s, per second, in a burst of as many as may be open. A
    # stream that ends well earns one of each.
    early_resets: int = 50
    early_reset_age_s: float = 0.01
    resets: int = 100
    forced_resets: int = 200  # resets that we are made to send; 10 more per second
    refused_streams: int = 100  # burst as many as may be open
    continuations: int = 16
    # Octets of a header block on the wire: twice the default header list, as in Go's net/http2, so that a list that is
    # merely too large costs its stream and not the connection with everybody else's.
    header_block: int = 131_072
    # Envoy has 100, Sozu 128, HAProxy 101; gRPC metadata goes beyond that.
    header_fields: int = 256
    requests_per_pass: int = 32  # new streams that one read may start; the rest waits for the others' turn
    control_backlog: int = 1000  # answers queued that the peer has not read

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} must be positive, got {getattr(self, field.name)}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What we announce, and the bounds that go with it. Octets; each field of a header list counts 32 beyond its own
    (RFC 9113, section 6.5.2).

    Receive windows start at `initial_window` (a stream) and `connection_window`, and grow with bandwidth x delay up to
    `max_window` and `max_connection_window`. `max_held`: octets received and not consumed that one connection may hold.
    ValueError: a value that the RFC does not allow, or a bound below what it bounds.
    """

    max_concurrent_streams: int = 1000
    initial_window: int = 262_144
    connection_window: int = 1_048_576
    max_window: int = 4_194_304
    max_connection_window: int = 16_777_216
    max_held: int = 134_217_728
    max_header_list: int = 65_536
    header_table: int = 4096  # SETTINGS_HEADER_TABLE_SIZE
    max_frame: int = 16_384  # SETTINGS_MAX_FRAME_SIZE; what a shell reads at once must hold it
    connect_protocol: bool = False  # RFC 8441
    list_tolerance: int = 0  # a header list may be this much larger than announced
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_concurrent_streams", 1, 0x7FFFFFFF),
            ("initial_window", 1, 0x7FFFFFFF),
            ("connection_window", 65_535, 0x7FFFFFFF),
            ("max_held", 65_535, 0x7FFFFFFF),
            ("max_header_list", 1, 0x7FFFFFFF),
            ("header_table", 0, 1 << 20),
            ("max_frame", 16_384, 65_536),
            ("list_tolerance", 0, 1 << 20),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be {least} to {most}, got {getattr(self, name)}")


class Allowance:
    """A leaky bucket: `most` frames at once, `rate` more per second, and what is earned by work.

    A shell without a clock (`now` is always 0) gets one more per read instead (`reads` counts calls of `receive`):
    a peer that sends its PINGs one by one, hours apart, is never cut off, one that sends them by the hundred is.
    """

    def __init__(self, most: cython.double, rate: cython.double) -> None:
        self.left: float = most
        self.most: float = most
        self.rate: float = rate
        self.last: float = 0.0
        self.reads: int = 0
        self.earned: int = 0

    def take(self, now: cython.double, reads: cython.longlong, earned: cython.longlong = 0) -> cython.bint:
        """Count one frame; False when it is one too many. `now`: monotonic seconds, or always 0.

        `earned`: how many the peer has earned since the beginning.
        """
        if earned > self.earned:
            self.give(earned - self.earned)
            self.earned = earned
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
        """Let the peer have `n` more."""
        self.left += n
        if self.left > self.most:
            self.left = self.most
        return 0
