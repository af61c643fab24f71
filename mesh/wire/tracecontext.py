# cython: language_level=3, wraparound=False, initializedcheck=False
"""W3C Trace Context (https://www.w3.org/TR/trace-context-2/): `traceparent` to numbers and back, limits of
`tracestate`.

What lives here: the two header fields. What this must not know: sampling, spans, where ids come from.
"""

from __future__ import annotations

import sys
from typing import Any

import cython

if not cython.compiled:
    from mesh.wire.octets import ONES, load, octets_of, store

# Value of each octet as a lower-case hexadecimal digit, 255 if it is none.
HEX: bytearray = bytearray(b"0123456789abcdef".find(octet) & 0xFF for octet in range(256))
FLAW: int = 0  # all digits read since it was set to 0, or-ed
DIGITS: bytearray = bytearray(b"0123456789abcdef")
# Octets of a word are counted from its low end; elsewhere digits are read and written one by one.
LITTLE: bool = sys.byteorder == "little"
SCRATCH: bytearray = bytearray(b"00-00000000000000000000000000000000-0000000000000000-00")
# The same in each octet of a word, or in every other one. By name: a literal of this size would be a Python object.
LOW_HALVES: int = 0x0F0F0F0F0F0F0F0F
HIGH_HALVES: int = 0xF0F0F0F0F0F0F0F0
ZEROS: int = 0x3030303030303030
SIXES: int = 0x0606060606060606
EVEN_OCTETS: int = 0x00FF00FF00FF00FF
EVEN_PAIRS: int = 0x0000FFFF0000FFFF
EVEN_HALVES: int = 0x000F000F000F000F
LOW_FOUR: int = 0xFFFFFFFF
MAX_STATE = 512  # octets; what section 3.3.1.5 asks to propagate at least
MAX_MEMBERS = 32  # section 3.3.1.1


@cython.freelist(64)
@cython.cclass
class TraceParent:
    """The caller's span: 128 bits of trace id, 64 of span id, 8 of flags (1: sampled, 2: the id is random)."""

    trace_hi: int
    trace_lo: int
    span_id: int
    flags: int

    @staticmethod
    def parse(value: bytes) -> TraceParent | None:
        """See `parse_traceparent`."""
        return parse_traceparent(value)


def parse_traceparent(value: bytes) -> TraceParent | None:
    """The parent that `value` names, or None if it is malformed: then a new trace begins (section 4.3).

    A version above 00 may go on after what version 00 has; of its flags only the known ones are taken.
    """
    global FLAW
    n: cython.Py_ssize_t = len(value)
    if n < 55 or value[2] != 0x2D or value[35] != 0x2D or value[52] != 0x2D:
        return None
    FLAW = 0
    version: cython.int = number_at(value, 0, 2)
    trace_hi: cython.ulonglong = number_at(value, 3, 16)
    trace_lo: cython.ulonglong = number_at(value, 19, 16)
    span_id: cython.ulonglong = number_at(value, 36, 16)
    flags: cython.int = number_at(value, 53, 2)
    if FLAW > 15 or version == 0xFF or (n > 55 and (version == 0 or value[55] != 0x2D)):
        return None
    if (trace_hi == 0 and trace_lo == 0) or span_id == 0:
        return None
    parent: TraceParent = TraceParent.__new__(TraceParent)
    parent.trace_hi = trace_hi
    parent.trace_lo = trace_lo
    parent.span_id = span_id
    parent.flags = flags if version == 0 else flags & 3
    return parent


def format_traceparent(trace_hi: cython.ulonglong, trace_lo: cython.ulonglong, span_id: cython.ulonglong,
                       flags: cython.int) -> bytes:
    """The 55 octets of version 00."""
    put_hex(3, 16, trace_hi)
    put_hex(19, 16, trace_lo)
    put_hex(36, 16, span_id)
    put_hex(53, 2, flags & 0xFF)
    return octets_of(SCRATCH, 0, 55)


def limit_tracestate(value: bytes) -> bytes:
    """The leading members of `value`, whole, as far as 512 octets and 32 members go; b"" if a member has no "="."""
    kept: list[Any] = []
    size: cython.Py_ssize_t = 0
    member: bytes
    for member in value.split(b","):
        member = member.strip(b" \t")
        if not member:
            continue
        if b"=" not in member[1:]:
            return b""
        size += len(member) + 1
        if size - 1 > MAX_STATE or len(kept) == MAX_MEMBERS:
            break
        kept.append(member)
    return b",".join(kept)


def number_at(text: bytes, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.ulonglong:
    """The number that `n` (at most 16) digits at `start` write; FLAW gets above 15 if one of them is none."""
    global FLAW
    if cython.compiled and LITTLE and n == 16:
        return eight_at(text, start) << 32 | eight_at(text, start + 8)
    table: bytearray = HEX
    number: cython.ulonglong = 0
    seen: cython.int = 0
    octet: cython.uchar
    digit: cython.int
    i: cython.Py_ssize_t
    for i in range(start, start + n):
        octet = text[i]
        digit = table[octet]
        seen |= digit
        number = (number << 4) | cython.cast(cython.ulonglong, digit)
    FLAW |= seen
    return number


def eight_at(text: bytes, start: cython.Py_ssize_t) -> cython.ulonglong:
    """The same of 8 digits, all at a time: each octet of a word is one."""
    global FLAW
    word: cython.ulonglong = load(text, start)
    letters: cython.ulonglong = (word >> 6) & ONES
    digits: cython.ulonglong = (word & LOW_HALVES) + 9 * letters
    if digits & HIGH_HALVES or written(digits) != word:
        FLAW |= 16
    digits = (digits << 4 | digits >> 8) & EVEN_OCTETS
    digits = (digits | digits >> 8) & EVEN_PAIRS
    return turned((digits | digits >> 16) & LOW_FOUR)


def written(digits: cython.ulonglong) -> cython.ulonglong:
    """Eight numbers up to 15, an octet each, as the octets of their digits."""
    return digits + ZEROS + 39 * (((digits + SIXES) >> 4) & ONES)  # a is 39 behind what would follow 9


def turned(number: cython.ulonglong) -> cython.ulonglong:
    """The four octets of a number the other way round."""
    return (number & 0xFF) << 24 | (number & 0xFF00) << 8 | (number >> 8 & 0xFF00) | number >> 24


def put_hex(start: cython.Py_ssize_t, n: cython.Py_ssize_t, number: cython.ulonglong) -> cython.int:
    """Write the low `n` digits of `number` into the scratch field."""
    scratch: bytearray = SCRATCH
    if cython.compiled and LITTLE and n == 16:
        put_eight(start, number >> 32)
        return put_eight(start + 8, number & LOW_FOUR)
    digits: bytearray = DIGITS
    i: cython.Py_ssize_t = start + n
    while i > start:
        i -= 1
        scratch[i] = digits[number & 15]
        number >>= 4
    return 0


def put_eight(start: cython.Py_ssize_t, number: cython.ulonglong) -> cython.int:
    """The same for 8 digits of a number below 2^32."""
    number = turned(number)
    number = (number | number << 16) & EVEN_PAIRS
    number = (number | number << 8) & EVEN_OCTETS
    number = ((number >> 4) & EVEN_HALVES) | (number & EVEN_HALVES) << 8
    return store(SCRATCH, start, written(number))
