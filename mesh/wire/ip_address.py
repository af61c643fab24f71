# cython: language_level=3, wraparound=False, initializedcheck=False
"""IP addresses between text and octets, as strictly as `inet_pton` and in the form of `inet_ntop`.

What lives here: IPv4 and IPv6 addresses. What this must not know: ports, names, zones (`%eth0`), prefixes. The
`ipaddress` module would cost every sidecar its memory, and spells IPv4-mapped addresses differently from release to
release.
"""

from __future__ import annotations

import cython

_DOT = cython.declare(cython.int, 0x2E)
_COLON = cython.declare(cython.int, 0x3A)


def parse_ipv4(text: bytes) -> bytes | None:
    """The 4 octets of a dotted quad, decimal without leading zeros; None if `text` is none."""
    out: bytearray = bytearray()
    value: cython.int
    start: cython.Py_ssize_t = 0
    end: cython.Py_ssize_t
    for end in range(len(text) + 1):
        if end == len(text) or text[end] == _DOT:
            value = number(text, start, end, 10, 3)
            if value < 0 or value > 255 or (end - start > 1 and text[start] == 0x30):
                return None
            out.append(value)
            start = end + 1
    return bytes(out) if len(out) == 4 else None


def parse_ipv6(text: bytes) -> bytes | None:
    """The 16 octets of an IPv6 address (RFC 4291, section 2.2, all three forms); None if `text` is none."""
    out: bytearray = bytearray()
    n: cython.Py_ssize_t = len(text)
    gap: cython.Py_ssize_t = -1  # where "::" stands for zeros, in octets
    value: cython.int
    start: cython.Py_ssize_t = 0
    end: cython.Py_ssize_t
    quad: bytes | None
    if n < 2 or n > 45:  # the longest has four decimals at the end
        return None
    if text[0] == _COLON:
        if text[1] != _COLON:
            return None
        start = 1
    while start < n:
        if text[start] == _COLON:  # the second of two
            if gap >= 0:
                return None
            gap = len(out)
            start += 1
            continue
        end = start
        while end < n and text[end] != _COLON:
            end += 1
        value = number(text, start, end, 16, 4)
        if value >= 0:
            out.append(value >> 8)
            out.append(value & 0xFF)
        else:
            quad = parse_ipv4(text[start:end])
            if quad is None or end < n:
                return None
            out += quad
        if end == n - 1:  # a single colon at the end
            return None
        start = end + 1
    if gap < 0:
        return bytes(out) if len(out) == 16 else None
    if len(out) > 14:
        return None
    return bytes(out[:gap]) + bytes(16 - len(out)) + bytes(out[gap:])


def format_ip(octets: bytes) -> str:
    """The text of 4 or 16 octets (RFC 5952; IPv4-mapped and -compatible ones end in a dotted quad, as everywhere).

    ValueError: another number of octets.
    """
    n: cython.Py_ssize_t = len(octets)
    if n == 4:
        return format_ipv4(octets, 0)
    if n != 16:
        raise ValueError(f"{n} octets are no IP address")
    best: cython.int = -1  # the first of the longest runs of zero groups, in groups
    longest: cython.int = 1  # one group alone is not shortened
    run: cython.int = 0
    group: cython.int
    for group in range(8):
        if octets[2 * group] == 0 and octets[2 * group + 1] == 0:
            run += 1
            if run > longest:
                longest = run
                best = group + 1 - run
        else:
            run = 0
    if best == 0 and (longest == 6 or (longest == 5 and octets[10] == 0xFF and octets[11] == 0xFF)):
        return ("::" if longest == 6 else "::ffff:") + format_ipv4(octets, 12)
    left: str = ""
    right: str = ""
    for group in range(8):
        if best < 0 or group < best:
            left += ("" if group == 0 else ":") + f"{(octets[2 * group] << 8) | octets[2 * group + 1]:x}"
        elif group >= best + longest:
            right += ("" if right == "" else ":") + f"{(octets[2 * group] << 8) | octets[2 * group + 1]:x}"
    return left if best < 0 else left + "::" + right


def format_ipv4(octets: bytes, start: cython.Py_ssize_t) -> str:
    return f"{octets[start]}.{octets[start + 1]}.{octets[start + 2]}.{octets[start + 3]}"


def number(text: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, base: cython.int,
           most: cython.Py_ssize_t) -> cython.int:
    """The number that 1 to `most` digits write; -1 if they are none or too many."""
    value: cython.int = 0
    digit: cython.int
    i: cython.Py_ssize_t
    if end - start < 1 or end - start > most:
        return -1
    for i in range(start, end):
        digit = text[i]
        if 0x30 <= digit <= 0x39:
            digit -= 0x30
        elif base == 16 and 0x41 <= (digit & 0xDF) <= 0x46:
            digit = (digit & 0xDF) - 0x37
        else:
            return -1
        value = value * base + digit
    return value
