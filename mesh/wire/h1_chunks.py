# cython: language_level=3, wraparound=False, initializedcheck=False
"""The framing of chunked content (RFC 9112, section 7.1), one octet at a time.

What lives here: what stands between the data of chunks. What this must not know: the data, trailer fields,
connections.
"""

from __future__ import annotations

import cython

from mesh.wire.errors import Malformed

if not cython.compiled:
    from mesh.wire.h1_syntax import LOWER

# States: what is due next.
FIRST: int = 0  # the first digit of a size
SIZE: int = 1  # a further digit, or what follows a size
NAME_FIRST: int = 2  # extensions: RFC 9112, section 7.1.1, without the white space it calls bad
NAME: int = 3
VALUE_FIRST: int = 4
WORD: int = 5
QUOTED: int = 6
ESCAPED: int = 7
QUOTED_END: int = 8
SIZE_LF: int = 9
DATA: int = 10
DATA_CR: int = 11
DATA_LF: int = 12
LAST: int = 13

MAX_DIGITS: int = 16  # of a size, leading zeros included
MAX_SIZE: int = 1 << 58  # before the last digit
# Octets of extensions in one message: nobody uses them, and they are work for nothing (CVE-2023-39326).
MAX_EXTENSIONS: int = 8192
# By octet: its value as a hexadecimal digit, 255 if it is none.
DIGIT: bytearray = bytearray(b"0123456789abcdef".find(bytes((octet,)).lower()) & 0xFF for octet in range(256))


class Chunks:
    """Where in chunked content we are: `left` octets of the present chunk are still to come; `last`: it was the last.

    Whoever takes data tells by `took`.
    """

    def __init__(self) -> None:
        self.left: int = 0
        self.size: int = 0
        self.state: int = FIRST
        self.digits: int = 0
        self.extensions: int = 0

    def begin(self) -> cython.int:
        """A new message."""
        self.left = self.size = 0
        self.state = FIRST
        self.digits = self.extensions = 0
        return 0

    def took(self, n: cython.Py_ssize_t) -> cython.int:
        """`n` octets of data have been taken."""
        self.left -= n
        if self.left == 0:
            self.state = DATA_CR
        return 0

    def data_due(self) -> cython.bint:
        """True while data of the present chunk is due."""
        return self.state == DATA

    def last(self) -> cython.bint:
        """True once the last chunk was met: a trailer section follows."""
        return self.state == LAST

    def skip(self, buf: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Read framing from `at`; where data begins (`left` is above 0), the trailer section (`last`), or `end`.

        Malformed: it breaks the grammar, or a limit.
        """
        octet: cython.int
        state: cython.int = self.state
        while at < end and state != DATA and state != LAST:
            octet = buf[at]
            at += 1
            if state in (FIRST, SIZE):
                if DIGIT[octet] < 16:
                    self.digits += 1
                    if self.digits > MAX_DIGITS or self.size >= MAX_SIZE:
                        raise Malformed(413, "chunk size is too large")
                    self.size = self.size * 16 + DIGIT[octet]
                    state = SIZE
                elif state == FIRST:
                    raise Malformed(400, "chunk without a size")
                else:
                    state = self.after(octet)
            elif state == SIZE_LF:
                if octet != 0x0A:
                    raise Malformed(400, "bare CR in a chunk size")
                self.left = self.size
                self.size = 0
                self.digits = 0
                state = DATA if self.left else LAST
            elif state == DATA_CR:
                if octet != 0x0D:
                    raise Malformed(400, "chunk data without its CRLF")
                state = DATA_LF
            elif state == DATA_LF:
                if octet != 0x0A:
                    raise Malformed(400, "chunk data without its CRLF")
                state = FIRST
            else:
                state = self.extension(state, octet)
        self.state = state
        return at

    def after(self, octet: cython.int) -> cython.int:
        """The state after an octet that ends a size or an extension."""
        if octet == 0x0D:
            return SIZE_LF
        if octet != 0x3B:
            raise Malformed(400, "malformed chunk size or extension")
        return NAME_FIRST

    def extension(self, state: cython.int, octet: cython.int) -> cython.int:
        """The state after an octet of an extension."""
        self.extensions += 1
        if self.extensions > MAX_EXTENSIONS:
            raise Malformed(431, "too many octets in chunk extensions")
        if state == QUOTED:
            if octet == 0x22:
                return QUOTED_END
            if octet == 0x5C:
                return ESCAPED
        if state in (QUOTED, ESCAPED):
            if octet != 9 and (octet < 0x20 or octet == 0x7F):
                raise Malformed(400, "illegal octet in a chunk extension")
            return QUOTED
        if state == VALUE_FIRST and octet == 0x22:
            return QUOTED
        if state != QUOTED_END and LOWER[octet] != 0:
            return NAME if state <= NAME else WORD
        if state in (NAME_FIRST, VALUE_FIRST):
            raise Malformed(400, "malformed chunk extension")
        if state == NAME and octet == 0x3D:
            return VALUE_FIRST
        return self.after(octet)
