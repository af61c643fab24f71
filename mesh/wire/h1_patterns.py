# cython: language_level=3, wraparound=False, initializedcheck=False
"""Heads that are like one before them, read by comparing (HTTP/1.1).

What lives here: patterns of heads, and which of them are kept. What this must not know: connections, what happens to a
message.

Whoever sends many messages sends the same lines each time, but for the target and a few values: ids, dates. A `Pattern`
is made of a head that `h1_parse` has read. A head that has its lines, in their octets, says what that one said; only a
target in origin form, the per-call fields and values of fields that mean nothing to us may differ, and these are judged
as they are there. Everything else is no match, and is read as if there were no patterns: nothing is taken or refused
because of them. A line that differs where a field that means nothing stood is from then on one whose value may differ.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.fields import Field, Name
from mesh.wire.h1_parse import Message
from mesh.wire.h1_section import Section
from mesh.wire.h1_write import Segments
from mesh.wire.hpack import Block, Head

if not cython.compiled:
    from mesh.wire.fieldrules import OTHER
    from mesh.wire.fields import new_field, sound_field
    from mesh.wire.h1_parse import MAX_MEMO, PATH_NAME, REQUEST, message_like, per_call_kind
    from mesh.wire.h1_section import HARMLESS, field_at, new_section
    from mesh.wire.h1_syntax import MAX_SECTION, is_target
    from mesh.wire.h1_write import segments_of
    from mesh.wire.hpack import new_head
    from mesh.wire.octets import equal_at, find_octet, is_text, octets_of

# Slot.kind, beside the kinds of the per-call fields
SAME: int = 0
VARIES: int = -1
# How many are kept for each role: those that were met last. All connections share them.
MAX_PATTERNS: int = 4
MAX_WAIT: int = 64
VERSION: bytes = b" HTTP/1.1\r"


@cython.no_gc
@cython.cclass
class Slot:
    """One line. `octets`: the whole of it with its CRLF if it is to be the same, else up to its colon.

    `place`: where its field stands in the section, -1 for none; `ref`: the field's name.
    """

    kind: int
    octets: bytes
    ref: Name | None
    place: int


@cython.cclass
class Pattern:
    """What a head must be like, and what it says then.

    `start`: how it begins: the method and a space, or the whole status line. `fields`: the section it was made of;
    `base`: the same without those that vary, `places` where these stand, `path_place` where :path does.
    """

    role: int
    start: bytes
    slots: list[Slot]
    message: Message
    fields: list[Field]
    base: Head
    places: list[int]
    path: bytes
    path_place: int
    segments: Segments | None
    end: int

    def match(self, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t, block: Block) -> Message | None:
        """The message whose head begins at `at` and ends before `end`, which is before `n` or at it; None if it is
        another kind of head, or not all there."""
        block.traceparent = block.tracestate = block.grpc_timeout = None
        if not stands_at(buf, at, n, self.start):
            return None
        target: cython.Py_ssize_t = at + len(self.start)
        behind: cython.Py_ssize_t = target
        line: cython.Py_ssize_t = target
        feed: cython.Py_ssize_t
        if self.role == REQUEST:
            feed = find_octet(buf, 0x0A, target, n)
            behind = feed - len(VERSION)
            if (behind <= target or not equal_at(buf, behind, VERSION) or buf[target] != 0x2F
                    or not is_target(buf, target, behind)):
                return None
            line = feed + 1
        slot: Slot
        values: Any = None
        field: Field
        value: bytes
        for slot in self.slots:
            if slot.kind == SAME:
                if stands_at(buf, line, n, slot.octets):
                    line += len(slot.octets)
                    continue
                if not self.loosen(slot, buf, line, n):
                    return None
            elif not stands_at(buf, line, n, slot.octets):
                return None
            feed = find_octet(buf, 0x0A, line, n)
            if feed < 0 or buf[feed - 1] != 0x0D:
                return None
            value = value_at(buf, line + len(slot.octets), feed - 1)
            if slot.kind == VARIES:
                field = new_field(cython.cast(Name, slot.ref), value, b"", False)
                if field.problem is not None:
                    return None
                if values is None:
                    values = []
                values.append(field)
            elif is_text(value):
                block.set_per_call(slot.kind, value)
            else:
                return None
            line = feed + 1
        if line + 2 > n or buf[line] != 0x0D or buf[line + 1] != 0x0A or line - at > MAX_MEMO:
            return None
        self.end = line + 2
        if values is None and (self.role != REQUEST or (len(self.path) == behind - target
                                                        and equal_at(buf, target, self.path))):
            return self.message
        return self.compose(octets_of(buf, target, behind - target), values)

    def compose(self, path: bytes, values: Any) -> Message | None:
        """The message with this target (of a request) and these values; None if it is too large."""
        base: Head = self.base
        fields: list[Any] = self.fields[:]
        size: cython.Py_ssize_t = base.size
        field: Field
        place: cython.Py_ssize_t
        i: cython.Py_ssize_t = 0
        if self.role == REQUEST:
            size += len(path) - len(self.path)
            fields[self.path_place] = sound_field(PATH_NAME, path)
        if values is not None:
            for field in values:
                place = self.places[i]
                fields[place] = field
                size += field.size
                i += 1
        if size > MAX_SECTION:
            return None
        if self.segments is None:
            self.segments = segments_of(base, self.fields, self.places)
        return message_like(self.message, head_like(base, fields, path if self.role == REQUEST else None, size,
                                                    self.segments))

    def loosen(self, slot: Slot, buf: bytearray, line: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.bint:
        """Let the value of a line differ from now on; False if it may not, or another line stands there."""
        name: Name | None = slot.ref
        if slot.place < 0 or name is None or name.kind != OTHER or name.look_alike:
            return False
        head: bytes = slot.octets[: slot.octets.index(b":") + 1]
        if not stands_at(buf, line, n, head):
            return False
        field: Field
        same: cython.int = 0
        for field in self.fields:
            if field.name == name.octets:
                same += 1
        if same != 1:
            return False
        slot.kind = VARIES
        slot.octets = head
        places: list[Any] = []
        for slot in self.slots:
            if slot.kind == VARIES:
                places.append(slot.place)
        kept: list[Any] = []
        place: cython.Py_ssize_t
        for place, field in enumerate(self.fields):
            if place not in places:
                kept.append(field)
        self.places = places
        self.base = new_head(kept)
        self.segments = None
        return True


def stands_at(buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t, octets: bytes) -> cython.bint:
    """True if `octets` stand at `at` and end before `n`."""
    return len(octets) <= n - at and equal_at(buf, at, octets)


def value_at(buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    """What is behind the colon of a line, without its CRLF and without white space around it."""
    while start < end and (buf[start] == 0x20 or buf[start] == 9):
        start += 1
    while end > start and (buf[end - 1] == 0x20 or buf[end - 1] == 9):
        end -= 1
    return octets_of(buf, start, end - start)


def pattern_of(role: cython.int, buf: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t,
               message: Message) -> Pattern | None:
    """The pattern of the head `buf[at:end]`, without its empty line, that was read as `message`; None if it has
    something to it that only reading can tell."""
    head: Head = message.head
    pattern: Pattern = Pattern.__new__(Pattern)
    line: cython.Py_ssize_t = find_octet(buf, 0x0A, at, end) + 1
    if end - at > MAX_MEMO or message.tunnel or message.expects or message.http10 or message.forgets:
        return None
    if role == REQUEST:
        pattern.start = octets_of(buf, at, find_octet(buf, 0x20, at, end) + 1 - at)
        if buf[at + len(pattern.start)] != 0x2F:
            return None
    else:
        if message.switched is not None:
            return None
        pattern.start = octets_of(buf, at, line - at)
    section: Section = new_section(False)
    section.read(buf, line, end)
    if section.protocols is not None or (section.options is not None and not section.options <= HARMLESS):
        return None
    pattern.role = role
    pattern.message = message
    pattern.fields = head.fields[:]
    pattern.base = head
    pattern.places = []
    pattern.path_place = -1
    pattern.path = head.path or b""
    pattern.segments = None
    pattern.slots = []
    field: Field
    place: cython.Py_ssize_t
    for place, field in enumerate(head.fields):
        if field.ref is PATH_NAME:
            pattern.path_place = place
    if role == REQUEST and pattern.path_place < 0:
        return None
    place = 0
    while line < end:
        place = add_slot(pattern, buf, line, find_octet(buf, 0x0A, line, end) + 1, place)
        line = find_octet(buf, 0x0A, line, end) + 1
    return pattern


def add_slot(pattern: Pattern, buf: bytearray, line: cython.Py_ssize_t, behind: cython.Py_ssize_t,
             place: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Add the line `buf[line:behind]`, whose field is at `place` of the section or later; returns where the next one's
    may be."""
    slot: Slot = Slot.__new__(Slot)
    slot.kind = per_call_kind(buf, line, behind)
    slot.octets = octets_of(buf, line, behind - line)
    slot.place = -1
    slot.ref = None
    pattern.slots.append(slot)
    if slot.kind:
        slot.octets = slot.octets[: slot.octets.index(b":") + 1]
        return place
    field: Field = field_at(buf, line, behind - 2)
    other: Field
    i: cython.Py_ssize_t
    for i in range(place, len(pattern.fields)):
        other = cython.cast(Field, pattern.fields[i])
        if other.name == field.name and other.value == field.value:
            slot.place = i
            slot.ref = field.ref
            return i + 1
    return place


def head_like(base: Head, fields: list[Any], path: bytes | None, size: cython.Py_ssize_t, form: object) -> Head:
    """A section of `fields`: those of `base`, but for the value of :path, and others that mean nothing to us, all of
    them sound. `form`: what it can be written from in HTTP/1.1."""
    head: Head = Head.__new__(Head)
    head.fields = fields
    head.size = size
    head.method = base.method
    head.scheme = base.scheme
    head.authority = base.authority
    head.path = path
    head.protocol = base.protocol
    head.status = base.status
    head.is_grpc = base.is_grpc
    head.grpc_status = base.grpc_status
    head.grpc_message = base.grpc_message
    head.content_length = base.content_length
    head.idempotency_key = base.idempotency_key
    head.not_delivered = base.not_delivered
    head.reason = base.reason
    head.request_problem = base.request_problem
    head.response_problem = base.response_problem
    head.trailers_problem = base.trailers_problem
    head.form = form
    head.encoded = b""
    head.hash = 0
    head.dropped_names = head.dropped = None
    return head


class Patterns:
    """Those of one role, the one met last first.

    A new one is made of the second head that matches none, then of each other, fourth, up to each 64th until one
    matches: heads that are never alike shall not cost more than without patterns.
    """

    def __init__(self, role: cython.int) -> None:
        self.role = role
        self.known: list[Pattern] = []
        self.wait = 1
        self.next_wait = 2
        self.matched: Any = None

    def match(self, last: Pattern | None, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t,
              block: Block) -> Message | None:
        """The message whose head begins at `at` (see `Pattern.match`); `matched` is its pattern. `last`: to be tried
        first."""
        message: Message | None
        pattern: Pattern
        if last is not None:
            message = last.match(buf, at, n, block)
            if message is not None:
                self.matched = last
                return message
        for pattern in self.known:
            if pattern is not last:
                message = pattern.match(buf, at, n, block)
                if message is not None:
                    self.matched = pattern
                    self.next_wait = 1
                    if pattern is not self.known[0]:
                        self.known.remove(pattern)
                        self.known.insert(0, pattern)
                    return message
        return None

    def learn(self, buf: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t, message: Message) -> cython.int:
        """A head that matched none was read as `message`; see `pattern_of`."""
        if self.wait > 0:
            self.wait -= 1
            return 0
        self.wait = self.next_wait
        if self.next_wait < MAX_WAIT:
            self.next_wait *= 2
        pattern: Pattern | None = pattern_of(self.role, buf, at, end, message)
        if pattern is not None:
            self.known.insert(0, pattern)
            del self.known[MAX_PATTERNS:]
        return 0

    def forget(self) -> None:
        """Begin anew."""
        self.known = []
        self.matched = None
        self.wait = 1
        self.next_wait = 2


BY_ROLE: tuple[Patterns, Patterns] = (Patterns(0), Patterns(1))
