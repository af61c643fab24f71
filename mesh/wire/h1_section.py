# cython: language_level=3, wraparound=False, initializedcheck=False
"""The fields of one HTTP/1.1 message while they are read (RFC 9112, section 5): lines in, judged `Field`s out.

What lives here: field lines, what each field that concerns the connection says, and which fields go no further than
this connection. What this must not know: start lines, how messages are framed, connections.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.errors import Malformed
from mesh.wire.fields import Field, Name

if not cython.compiled:
    from mesh.wire.fieldrules import (
        CONNECTION,
        CONTENT_LENGTH,
        EXPECT,
        HOST,
        HTTP2_SETTINGS,
        KEEP_ALIVE,
        OTHER,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        WEBSOCKET_KEY,
        digits,
    )
    from mesh.wire.fields import intern_field, intern_literal, intern_name, new_field, new_name, seen_before
    from mesh.wire.h1_syntax import LOWER, is_token, lower_token, members
    from mesh.wire.octets import MIX, copy_octets, equal_at, find_octet, hash_at, is_text, octets_of, put_octets

# A field's name and value as HPACK's literals, which is what the interned fields are known by.
SCRATCH: bytearray = bytearray(320)
MAX_LITERAL: int = 240  # octets of name and value; longer ones are not interned
# Lines met before, by their octets: two to a set, the one used last first; at most 1 MiB.
LINE_SETS: int = 512
LINES: list[Field | None] = [None] * (2 * LINE_SETS)
SEEN: bytearray = bytearray(4096)
# RFC 9110, section 6.5.1: what says how to frame, route, authenticate or process a message has no place behind it.
FORBIDDEN_TRAILERS: frozenset[bytes] = frozenset(
    b"age allow authorization cache-control connection content-encoding content-language content-length "
    b"content-location content-range content-type cookie date expect expires from host http2-settings if-match "
    b"if-modified-since if-none-match if-range if-unmodified-since keep-alive location max-forwards pragma "
    b"proxy-authenticate proxy-authorization proxy-connection range retry-after set-cookie te trailer "
    b"transfer-encoding upgrade vary warning www-authenticate".split()
)
# The per-call fields, which are read apart from the section; bits of `Section.forgets`.
PER_CALL_NAMES: tuple[bytes, bytes, bytes] = (b"traceparent", b"tracestate", b"grpc-timeout")


@cython.freelist(4)
@cython.cclass
class Section:
    """What the fields of one section say. `fields` are those that stay; None, -1, 0: not there.

    `expects`: 100-continue, `expects_other`: something else. `options`: the members of Connection; `coding`:
    Transfer-Encoding in lower case; `protocols`: the members of Upgrade; `keep_alive`: seconds, the `timeout` of
    Keep-Alive.
    """

    trailers: bool
    fields: list[Field]
    host: bytes | None
    length: int
    options: set[bytes] | None
    coding: bytes | None
    protocols: list[bytes] | None
    te_trailers: bool
    expects: bool
    expects_other: bool
    key: bytes | None
    keep_alive: int
    forgets: int

    def read(self, buf: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        """Take the lines `buf[at:end]`, each of which ends with CRLF. Malformed: one of them can't be taken."""
        feed: cython.Py_ssize_t
        while at < end:
            feed = find_octet(buf, 0x0A, at, end)
            self.take(field_at(buf, at, feed - 1))
            at = feed + 1
        if self.options is not None:
            self.drop_nominated(self.options)
        if self.te_trailers:
            self.fields.append(TE_TRAILERS)
        return 0

    def take(self, field: Field) -> cython.int:
        """One field."""
        if self.trailers:
            return self.trailer(field)
        kind: cython.int = field.ref.kind
        if kind == OTHER or (kind != HOST and kind < TE):
            if field.problem is not None:
                if kind == CONTENT_LENGTH and field.value.isdigit():
                    raise Malformed(413, "content-length is too large")
                raise Malformed(400, field.problem)
            if kind == CONTENT_LENGTH:
                return self.content_length(field)
            if field.ref.look_alike:
                raise Malformed(400, "field name that some servers take for one that frames")
            self.fields.append(field)
            return 0
        return self.special(kind, field)

    def special(self, kind: cython.int, field: Field) -> cython.int:
        """A field that says something about the message or the connection."""
        value: bytes = field.value
        problem: str | None = value_problem_of(value)
        if problem is not None:
            raise Malformed(400, problem)
        if kind == HOST:
            if self.host is not None:
                raise Malformed(400, "host twice")
            self.host = value
        elif kind == CONNECTION:
            if self.options is None:
                self.options = set()
            self.options.update(members(value))
        elif kind == TRANSFER_ENCODING:
            if self.coding is not None:
                raise Malformed(400, "transfer-encoding twice")
            self.coding = value.lower()
        elif kind == UPGRADE:
            if self.protocols is None:
                self.protocols = []
            self.protocols.extend(members(value))
        elif kind == KEEP_ALIVE:
            self.keep_alive = timeout_of(value)
        elif kind == TE:
            if b"trailers" in members(value):
                self.te_trailers = True
        elif kind in (HTTP2_SETTINGS, PROXY_CONNECTION):
            pass  # RFC 9113 has done away with the first; the second never was one
        else:
            if kind == EXPECT:
                if members(value) == [b"100-continue"]:
                    self.expects = True
                else:
                    self.expects_other = True
            elif kind == WEBSOCKET_KEY:
                if self.key is not None:
                    raise Malformed(400, "sec-websocket-key twice")
                self.key = value
            self.fields.append(field)
        return 0

    def content_length(self, field: Field) -> cython.int:
        """RFC 9110, section 8.6. Equal ones are refused as well: whoever sends two is not to be trusted with one."""
        if self.length >= 0:
            raise Malformed(400, "content-length twice")
        self.length = digits(field.value, 18)
        if field.value[0] == 0x30 and len(field.value) > 1:  # nobody behind us shall take it for octal
            field = new_field(field.ref, b"%d" % self.length, b"", False)
        self.fields.append(field)
        return 0

    def trailer(self, field: Field) -> cython.int:
        """A field behind chunked content: one that would frame or route is an attack, one that can't be is dropped."""
        kind: cython.int = field.ref.kind
        if kind in (CONTENT_LENGTH, TRANSFER_ENCODING, HOST):
            raise Malformed(400, "field that frames or routes in a trailer section")
        problem: str | None = value_problem_of(field.value)
        if problem is not None:
            raise Malformed(400, problem)
        if field.name not in FORBIDDEN_TRAILERS:
            self.fields.append(field)
        return 0

    def drop_nominated(self, options: set[Any]) -> cython.int:
        """Leave out what Connection names (RFC 9110, section 7.6.1)."""
        option: bytes
        for option in options:
            if not is_token(bytearray(option), 0, len(option)):
                raise Malformed(400, "connection option is not a token")
            if option == b"host" or option == b"content-length":
                raise Malformed(400, "connection names a field that is not for it")
        if options <= HARMLESS:
            return 0
        name: bytes
        place: cython.int
        for place, name in enumerate(PER_CALL_NAMES):
            if name in options:
                self.forgets |= 1 << place
        if b"sec-websocket-key" in options:
            self.key = None
        field: Field
        kept: list[Any] = []
        for field in self.fields:
            if field.name not in options:
                kept.append(field)
        self.fields = kept
        return 0


def new_section(trailers: cython.bint) -> Section:
    """The section of a head, or of trailers, before its first line."""
    section: Section = Section.__new__(Section)
    section.trailers = trailers
    section.fields = []
    section.host = section.options = section.coding = section.protocols = section.key = None
    section.length = -1
    section.te_trailers = section.expects = section.expects_other = False
    section.keep_alive = section.forgets = 0
    return section


def value_problem_of(value: bytes) -> str | None:
    """Why this can't be the value of any field, or None."""
    return None if is_text(value) else "illegal octet in a field value"


def timeout_of(value: bytes) -> cython.int:
    """The `timeout` of a Keep-Alive field, in seconds; 0 if it says none that could be used."""
    member: bytes
    seconds: cython.longlong
    for member in members(value):
        if member[:8] == b"timeout=":
            seconds = digits(member[8:].strip(b'"'), 6)
            if seconds > 0:
                return seconds
    return 0


def field_at(buf: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> Field:
    """The field of a line without its CRLF. Malformed: it is none."""
    n: cython.Py_ssize_t = end - at
    if n > MAX_LITERAL:
        return read_line(buf, at, end)
    h: cython.ulonglong = hash_at(buf, at, n, MIX)
    slot: cython.Py_ssize_t = 2 * (h & (LINE_SETS - 1))
    field: Field | None = cython.cast(Field, LINES[slot])
    if field is not None and len(field.line) == n and equal_at(buf, at, field.line):
        return field
    other: Field | None = field
    field = cython.cast(Field, LINES[slot + 1])
    if field is None or len(field.line) != n or not equal_at(buf, at, field.line):
        field = read_line(buf, at, end)
        if not seen_before(SEEN, h):
            return field
        field.line = octets_of(buf, at, n)
        field.text = field.name + b": " + field.value + b"\r\n"
    LINES[slot] = field
    LINES[slot + 1] = other
    return field


def read_line(buf: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> Field:
    """The same, read octet by octet."""
    if buf[at] == 0x20 or buf[at] == 9:
        raise Malformed(400, "white space before a field name, or a folded line")
    colon: cython.Py_ssize_t = find_octet(buf, 0x3A, at, end)
    if colon < 0:
        raise Malformed(400, "field line without a colon")
    if not is_token(buf, at, colon):
        raise Malformed(400, "empty field name" if colon == at else "illegal octet in a field name")
    start: cython.Py_ssize_t = colon + 1
    while start < end and (buf[start] == 0x20 or buf[start] == 9):
        start += 1
    while end > start and (buf[end - 1] == 0x20 or buf[end - 1] == 9):
        end -= 1
    return field_of(buf, at, colon - at, start, end - start)


def put_length(out: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The length `n` (up to 254) of an HPACK string literal at `at`; where it ends (RFC 7541, section 5.2)."""
    if n < 127:
        out[at] = n
        return at + 1
    out[at] = 127
    out[at + 1] = n - 127
    return at + 2


def field_of(buf: bytearray, at: cython.Py_ssize_t, n_name: cython.Py_ssize_t, start: cython.Py_ssize_t,
             n_value: cython.Py_ssize_t) -> Field:
    """The field of a name (a token in any case, `n_name` octets at `at`) and a value; the same one for the same
    octets, if they are few."""
    out: bytearray = SCRATCH
    if n_name > 63 or n_name + n_value > MAX_LITERAL:
        name: bytes = lower_token(buf, at, at + n_name)
        ref: Name
        if n_name > 63:
            ref = new_name(name, b"")
        else:
            out[0] = n_name
            put_octets(out, 1, name)
            ref = intern_name(out, 0, 1 + n_name)
        return new_field(ref, octets_of(buf, start, n_value), b"", False)
    out[0] = n_name
    i: cython.Py_ssize_t
    for i in range(n_name):
        out[1 + i] = LOWER[buf[at + i]]
    end: cython.Py_ssize_t = put_length(out, 1 + n_name, n_value)
    copy_octets(out, end, buf, start, n_value)
    return intern_literal(out, 0, 1 + n_name, end + n_value, False)


def field_named(ref: Name, value: bytes) -> Field:
    """The field of a name and a value; the same one for the same value, if it is short."""
    n: cython.Py_ssize_t = len(value)
    if n > MAX_LITERAL:
        return new_field(ref, value, b"", False)
    end: cython.Py_ssize_t = put_length(SCRATCH, 0, n)
    put_octets(SCRATCH, end, value)
    return intern_field(ref, SCRATCH, 0, end + n, False)


HARMLESS: frozenset[bytes] = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b"transfer-encoding"))
TE_TRAILERS: Field = new_field(new_name(b"te", b""), b"trailers", b"", False)
