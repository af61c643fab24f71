# cython: language_level=3, wraparound=False, initializedcheck=False
"""Whole header blocks known by their octets.

What lives here: which part of a block means the same on every connection, and a bounded memory of what such parts
mean. What this must not know: what a section is.

A part is memorised when it is met the second time, so that blocks that never repeat don't push out those that do;
each set keeps two, and drops the less recently used. At most 1 MiB in all.
"""

from __future__ import annotations

import cython

from mesh.wire.fields import Name

if not cython.compiled:
    from mesh.wire.fields import PER_CALL, seen_before
    from mesh.wire.octets import equal_at

MAX_MEMO: int = 1024  # octets of a block
MEMO_SETS: int = 512
MEMOS: list[Memo | None] = [None] * (2 * MEMO_SETS)
SEEN: bytearray = bytearray(4096)


@cython.cclass
class Memo:
    """The beginning of a block, and what it means."""

    octets: bytes
    hash: int
    head: object


def skim(buf: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the fields end that no dynamic table has to do with: at the first per-call field or at `end`; -1 for none
    such.

    Lengths of two octets are followed, longer ones are not.
    """
    first: cython.int
    n: cython.int
    part: cython.int
    begin: cython.Py_ssize_t
    name: Name | None
    while at < end:
        begin = at
        first = buf[at]
        at += 1
        if first & 0x80:
            if first > 0x80 + 61 or first == 0x80:
                return -1
            continue
        if first & 0x0F == 0x0F and first & 0x60 == 0:  # a static name from 15 on
            if at >= end or buf[at] > 61 - 15:
                return -1
            at += 1
            part = 1
        elif first & 0x0F and first & 0x60 == 0:
            part = 1
        elif first & 0x3F == 0 or first == 0x10:
            part = 0
        else:
            return -1
        while part < 2:
            if at >= end:
                return -1
            n = buf[at]
            if part == 0:
                name = cython.cast(Name, PER_CALL[n])
                if name is not None and equal_at(buf, at, name.raw):
                    return begin
                if first & 0x40:
                    return -1
            at += 1
            n &= 0x7F
            if n == 0x7F:
                if at >= end or buf[at] >= 0x80:
                    return -1
                n += buf[at]
                at += 1
            at += n
            part += 1
    return at if at == end else -1


def recall(buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t, h: cython.ulonglong) -> object:
    """The section memorised for the `n` octets at `start`, whose hash is `h`."""
    slot: cython.Py_ssize_t = 2 * (h & (MEMO_SETS - 1))
    memo: Memo | None = cython.cast(Memo, MEMOS[slot])
    if memo is not None and memo.hash == h and len(memo.octets) == n and equal_at(buf, start, memo.octets):
        return memo.head
    other: Memo | None = memo
    memo = cython.cast(Memo, MEMOS[slot + 1])
    if memo is not None and memo.hash == h and len(memo.octets) == n and equal_at(buf, start, memo.octets):
        MEMOS[slot] = memo
        MEMOS[slot + 1] = other
        return memo.head
    return None


def memorise(octets: bytes, h: cython.ulonglong, head: object) -> cython.int:
    """Keep what these octets mean, if they have been here before."""
    if not seen_before(SEEN, h):
        return 0
    memo: Memo = Memo.__new__(Memo)
    memo.octets = octets
    memo.hash = h
    memo.head = head
    slot: cython.Py_ssize_t = 2 * (h & (MEMO_SETS - 1))
    MEMOS[slot + 1] = MEMOS[slot]
    MEMOS[slot] = memo
    return 0
