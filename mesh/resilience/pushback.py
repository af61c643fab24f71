"""What a server says about when to try again, and whom to leave alone meanwhile.

What lives here: the two header fields that say so (`retry-after`, RFC 9110, section 10.2.3; `grpc-retry-pushback-ms`,
gRPC proposal A6) as seconds, and Resting, the endpoints that have said that they have enough. What this must not know:
whether to try again, budgets, header sections, the clock (the caller hands the Unix time in for dates).
"""

from __future__ import annotations

import re

from mesh.balance.node import Node

# What a server that does not want to be asked again says.
NEVER = float("inf")
# gRPC: RESOURCE_EXHAUSTED and UNAVAILABLE; HTTP: Too Many Requests (RFC 6585) and Service Unavailable.
OVERLOAD_CODES = frozenset((8, 14))
OVERLOAD_STATUSES = frozenset((429, 503))
# An endpoint is left alone for a minute at most, however long it said; and so many at a time: with more of them it is
# the service that has enough, and going elsewhere does not help.
LONGEST_REST = 60.0
RECONNECT = 1.0
RECONNECT_GROWTH = 1.6
LONGEST_RECONNECT = 5.0
MOST_RESTING = 16

_MONTHS = {name: number for number, name in enumerate(
    (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1)}
# RFC 9110, section 5.6.7: IMF-fixdate, and the two obsolete forms that a recipient has to take.
_DATE = re.compile(rb"[A-Z][a-z]{2,8}, (\d\d)[ -]([A-Z][a-z]{2})[ -](\d{4}|\d\d) (\d\d):(\d\d):(\d\d) GMT")
_ASCTIME = re.compile(rb"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})")


def asked_to_wait(pushback_ms: bytes | None, retry_after: bytes | None, unix_now: float) -> float:
    """Return the seconds that a server asked to wait by these header fields (None: not there); 0.0: it did not ask.

    NEVER: it does not want the request again, which gRPC has it say by a negative or malformed pushback. A
    `retry-after` that is neither a number nor a date says nothing. gRPC's own field goes first.
    """
    if pushback_ms is not None:
        # A6: a value as protobuf's int32 would have it; longer ones are no milliseconds that anybody means.
        return int(pushback_ms) / 1000 if pushback_ms.isdigit() and len(pushback_ms) <= 10 else NEVER
    if retry_after is None:
        return 0.0
    if retry_after.isdigit():
        return float(retry_after) if len(retry_after) <= 10 else NEVER
    at = unix_time(retry_after, unix_now)
    return 0.0 if at is None else max(0.0, at - unix_now)


def unix_time(date: bytes, unix_now: float) -> float | None:
    """Return the Unix time of an HTTP date, or None where it is none; `unix_now` tells the century of two digits."""
    if match := _DATE.fullmatch(date):
        day, month, year, *clock = match.groups()
    elif match := _ASCTIME.fullmatch(date):
        month, day, *clock, year = match.groups()
    else:
        return None
    hour, minute, second = map(int, clock)
    if month not in _MONTHS or not 1 <= int(day) <= 31 or hour > 23 or minute > 59 or second > 60:
        return None
    when = int(year)
    if len(year) == 2:  # more than 50 years ahead means the century before
        this_year = 1970 + int(unix_now // 31_556_952)
        when += 100 * (this_year // 100)
        if when > this_year + 50:
            when -= 100
    return 86_400.0 * _days(when, _MONTHS[month], int(day)) + 3600 * hour + 60 * minute + second


def _days(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 (Hinnant: chrono-Compatible Low-Level Date Algorithms, days_from_civil)."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def reconnect_rest(failures: int) -> float:
    """Seconds for which others go before an endpoint that nothing could be delivered to, the `failures`-th time in a
    row that this matters (1 is the first).

    gRPC's connection back-off (doc/connection-backoff.md: 1 s, 1.6 times more each time), but at most 5 s: whether an
    endpoint is back is found out by a request, which goes elsewhere if it isn't.
    """
    return min(RECONNECT * RECONNECT_GROWTH ** min(max(failures, 1) - 1, 16), LONGEST_RECONNECT)


class Resting:
    """Endpoints that asked to be left alone (a rate limit's answer), or that can't be reached, each until when."""

    def __init__(self) -> None:
        self._until: dict[Node, float] = {}

    def add(self, node: Node, seconds: float, now: float) -> None:
        """Leave `node` alone for so long, at most LONGEST_REST."""
        if len(self._until) < MOST_RESTING or node in self._until:
            self._until[node] = now + min(seconds, LONGEST_REST)

    def beside(self, tried: list[Node] | None, now: float, endpoints: int) -> list[Node] | None:
        """Return `tried` and those that rest at `now`: whom a pick of `endpoints` is to avoid while there is another.

        Where more than half of them rest, they are not avoided: a limit may be about some callers only, and must not
        drive all of them to the few endpoints that have not said so yet.
        """
        for node, until in list(self._until.items()):
            if until <= now or node.removed:
                del self._until[node]
        if not self._until or 2 * len(self._until) > endpoints:
            return tried
        return [*self._until, *(tried or ())]

    def __bool__(self) -> bool:
        return bool(self._until)
