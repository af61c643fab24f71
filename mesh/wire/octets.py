# cython: language_level=3, wraparound=False, initializedcheck=False
# ruff: noqa: F821 (what only the compiled branches use is declared in octets.pxd)
# mypy: disable-error-code="name-defined, no-any-return"
"""Reading and writing runs of octets inside buffers, without a temporary object where the C level allows it.

What lives here: the only functions of the codecs that use pointers; each checks its bounds. What this must not know:
any protocol. The plain-Python branch of each function does the same by slices.
"""

from __future__ import annotations

import sys

import cython

# The multiplier is 2^64 divided by the golden ratio (Knuth, TAOCP vol. 3, 6.4); collisions only cost a cache miss.
MIX: int = 0x9E3779B97F4A7C15
MASK: int = 0xFFFFFFFFFFFFFFFF
SEED: int = 0x2545F4914F6CDD1D  # any odd number
# The same octet eight times
ONES: int = 0x0101010101010101
SPACES: int = 0x20 * ONES
DELETES: int = 0x7F * ONES
HIGH_BITS: int = 0x80 * ONES


def unfilled(size: cython.Py_ssize_t) -> bytearray:
    """A buffer of `size` octets that nothing has been written to, so that its pages are not resident yet."""
    if cython.compiled:
        return PyByteArray_FromStringAndSize(cython.NULL, size)
    else:
        return bytearray(size)


def octets_of(buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> bytes:
    """`bytes(buf[start:start + n])` with one copy. IndexError outside the buffer."""
    if start < 0 or n < 0 or n > len(buf) - start:
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        return PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buf) + start, n)
    else:
        return bytes(memoryview(buf)[start : start + n])


def equal_at(buf: bytearray, start: cython.Py_ssize_t, octets: bytes) -> cython.bint:
    """True if `octets` stand at `start`; False where they would reach outside the buffer."""
    n: cython.Py_ssize_t = len(octets)
    if start < 0 or n > len(buf) - start:
        return False
    if cython.compiled:
        return memcmp(PyByteArray_AS_STRING(buf) + start, PyBytes_AS_STRING(octets), n) == 0
    else:
        return bytes(memoryview(buf)[start : start + n]) == octets


def find_octet(buf: bytearray, octet: cython.int, start: cython.Py_ssize_t,
               end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where `octet` stands first in `buf[start:end]`, or -1. IndexError outside the buffer."""
    if start < 0 or start > end or end > len(buf):
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        base: cython.p_char = PyByteArray_AS_STRING(buf)
        found: cython.p_char = cython.cast(cython.p_char, memchr(base + start, octet, end - start))
        return -1 if found == cython.NULL else found - base
    else:
        return buf.find(octet, start, end)


def hash_at(buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t, seed: cython.ulonglong) -> cython.ulonglong:
    """A 64-bit hash of `n` octets for bounded caches. A plain run has another one; it never leaves the process."""
    if start < 0 or n < 0 or n > len(buf) - start:
        raise IndexError("octets outside the buffer")
    h: cython.ulonglong = seed
    word: cython.ulonglong = 0
    i: cython.Py_ssize_t = 0
    while i + 8 <= n:
        if cython.compiled:
            memcpy(cython.address(word), PyByteArray_AS_STRING(buf) + start + i, 8)
        else:
            word = int.from_bytes(memoryview(buf)[start + i : start + i + 8], "little")
        h = ((h ^ word) * MIX) & MASK
        h ^= h >> 29
        i += 8
    if i < n and n > 8:  # the last word overlaps the one before: that takes less time than single octets
        if cython.compiled:
            memcpy(cython.address(word), PyByteArray_AS_STRING(buf) + start + n - 8, 8)
        else:
            word = int.from_bytes(memoryview(buf)[start + n - 8 : start + n], "little")
        h = ((h ^ word) * MIX) & MASK
        h ^= h >> 29
        i = n
    word = n
    while i < n:
        word = ((word << 8) | buf[start + i]) & MASK
        i += 1
    h = ((h ^ word) * MIX) & MASK
    return h ^ (h >> 32)


def is_text(octets: bytes) -> cython.bint:
    """True if each octet may stand in a field value (RFC 9110, section 5.5): HTAB, but no other control character."""
    i: cython.Py_ssize_t = 0
    octet: cython.int
    if cython.compiled:
        # Eight octets at a time; the formulas flag every octet below 0x20 and every 0x7F, and then some behind those
        # ("Bit Twiddling Hacks", S. E. Anderson: hasless, haszero).
        base: cython.p_char = PyBytes_AS_STRING(octets)
        word: cython.ulonglong = 0
        other: cython.ulonglong
        while i + 8 <= len(octets):
            memcpy(cython.address(word), base + i, 8)
            other = word ^ DELETES
            if ((word - SPACES) & ~word | (other - ONES) & ~other) & HIGH_BITS:
                break
            i += 8
    while i < len(octets):
        octet = octets[i]
        if (octet < 0x20 and octet != 9) or octet == 0x7F:
            return False
        i += 1
    return True


def load(octets: bytes, start: cython.Py_ssize_t) -> cython.ulonglong:
    """The 8 octets at `start` as a word in the machine's order. IndexError where they are not all there."""
    if start < 0 or start > len(octets) - 8:
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        word: cython.ulonglong = 0
        memcpy(cython.address(word), PyBytes_AS_STRING(octets) + start, 8)
        return word
    else:
        return int.from_bytes(octets[start : start + 8], sys.byteorder)


def store(buf: bytearray, start: cython.Py_ssize_t, word: cython.ulonglong) -> cython.int:
    """Overwrite the 8 octets at `start` with a word in the machine's order. IndexError where there are not so many."""
    if start < 0 or start > len(buf) - 8:
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        memcpy(PyByteArray_AS_STRING(buf) + start, cython.address(word), 8)
    else:
        buf[start : start + 8] = word.to_bytes(8, sys.byteorder)
    return 0


def put_octets(buf: bytearray, start: cython.Py_ssize_t, octets: bytes) -> cython.int:
    """Overwrite `buf` from `start` with `octets`; IndexError if they don't fit."""
    n: cython.Py_ssize_t = len(octets)
    if start < 0 or n > len(buf) - start:
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        memcpy(PyByteArray_AS_STRING(buf) + start, PyBytes_AS_STRING(octets), n)
    else:
        buf[start : start + n] = octets
    return 0


def copy_octets(target: bytearray, at: cython.Py_ssize_t, source: object, start: cython.Py_ssize_t,
                n: cython.Py_ssize_t) -> cython.int:
    """Copy `n` octets from a bytes or another bytearray; IndexError if they stand or fall outside."""
    if start < 0 or at < 0 or n < 0 or target is source or n > len(target) - at:
        raise IndexError("octets outside the buffer")
    if isinstance(source, bytes):
        whole: bytes = source
        if n > len(whole) - start:
            raise IndexError("octets outside the buffer")
        if cython.compiled:
            memcpy(PyByteArray_AS_STRING(target) + at, PyBytes_AS_STRING(whole) + start, n)
        else:
            target[at : at + n] = memoryview(whole)[start : start + n]
    else:
        other: bytearray = source  # type: ignore[assignment]
        if n > len(other) - start:
            raise IndexError("octets outside the buffer")
        if cython.compiled:
            memcpy(PyByteArray_AS_STRING(target) + at, PyByteArray_AS_STRING(other) + start, n)
        else:
            target[at : at + n] = memoryview(other)[start : start + n]
    return 0
