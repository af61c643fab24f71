"""How many attempts a request still has, told from sidecar to sidecar along a chain of calls.

What lives here: the count in the header `mesh-attempts` and in `tracestate` (`mesh=a:3`, for apps that pass on only
what their tracing library does). What this must not know: who owns the retries, budgets.

Both are taken from any caller: the smaller counts, and a caller that makes one up gets fewer attempts for its own
request, never more. What is no number in 1..10 says nothing.
"""

from __future__ import annotations

import re

from mesh.wire.hpack import literal
from mesh.wire.tracecontext import MAX_MEMBERS, MAX_STATE

HEADER = b"mesh-attempts"
NAMES = frozenset((HEADER,))
MOST = 10
_MEMBER = re.compile(rb"(?:^|,)[ \t]*mesh=([^,]*)")
# By the count: what a request carries, as HPACK literals and as lines of HTTP/1.1. The header stands before what
# differs in every call, so that it is part of the section that repeats.
LITERALS: list[bytes] = [literal(HEADER, b"%d" % n) for n in range(MOST + 1)]
LINES: list[bytes] = [HEADER + b": %d\r\n" % n for n in range(MOST + 1)]
MEMBERS: list[bytes] = [b"mesh=a:%d" % n for n in range(MOST + 1)]


def take_member(tracestate: bytes) -> tuple[int, bytes]:
    """Return the count that a `tracestate` carries (0: none that can be used), and the field without our member."""
    found = _MEMBER.search(tracestate)
    if found is None:
        return 0, tracestate
    rest = _MEMBER.sub(b"", tracestate).lstrip(b", \t")
    value = found[1].rstrip(b" \t")
    count = int(value[2:]) if value[:2] == b"a:" and value[2:].isdigit() and len(value) <= 4 else 0
    return (count if 1 <= count <= MOST else 0), rest


def put_member(tracestate: bytes, attempts: int) -> bytes:
    """Return a `tracestate` without our member with it, as the first (W3C Trace Context, section 3.5).

    Where it would get too long it stays as it is: the header says it too.
    """
    if not tracestate:
        return MEMBERS[attempts]
    if len(tracestate) + 12 > MAX_STATE or tracestate.count(b",") >= MAX_MEMBERS - 1:
        return tracestate
    return MEMBERS[attempts] + b"," + tracestate
