# cython: language_level=3, wraparound=False, initializedcheck=False
"""HPACK (RFC 7541) for a proxy: header sections that repeat cost a few comparisons, and are judged once.

What lives here: header sections (`Head`) shared between all calls that repeat them, decoder and encoder. What this
must not know: streams, connections, routes.

A call differs from the one before in `traceparent`, `tracestate` and `grpc-timeout`; everything else mostly repeats.
So these three are cut out of the section while it is decoded (`Block`), and the rest is looked up: the octets up to
the first of the three, if no dynamic table is involved; else each literal by the octets that came in (no Huffman
decoding, no new object), and the section by the sequence of its fields. Equal sections are then one `Head` object,
with its validation, its own encoding and its `form` (what `h1_write` makes of it) hanging on it, whatever happened to
the dynamic table. The caches are shared by the process, two-way associative (the less recently used of two makes room)
and bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import cython

from mesh.wire.errors import HeaderListTooLarge, HpackError
from mesh.wire.fields import Field, Name

if not cython.compiled:
    from mesh.wire.blockmemo import MAX_MEMO, memorise, recall, skim
    from mesh.wire.fieldrules import (
        ATTEMPTS,
        AUTHORITY,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        GRPC_MESSAGE,
        GRPC_STATUS,
        GRPC_TIMEOUT,
        HOST,
        IDEMPOTENCY_KEY,
        METHOD,
        NOT_DELIVERED,
        OTHER,
        PATH,
        PROTOCOL,
        REASON,
        SCHEME,
        STATUS,
        TRACEPARENT,
        digits,
        value_problem,
    )
    from mesh.wire.fields import (
        PER_CALL,
        STATIC_FIELDS,
        intern_field,
        intern_literal,
        literal_octets,
        name_prefix,
        new_field,
        new_name,
        seen_before,
        string_of,
    )
    from mesh.wire.octets import MASK, MIX, SEED, equal_at, hash_at, octets_of, put_octets
    from mesh.wire.sectionrules import request_problem, response_problem

HEAD_SETS: int = 512
HEADS: list[Head | None] = [None] * (2 * HEAD_SETS)
SEEN: bytearray = bytearray(4096)
SCRATCH: list[Field | None] = [None] * 128
OUT: bytearray = bytearray(1024)
PREFIXES: dict[bytes, bytes] = {}

@cython.freelist(64)
@cython.cclass
class Head:
    """A header section without its per-call fields; immutable and shared, so that what was derived from it can hang
    on it.

    The three `…_problem` say why the section is malformed as a request, a response (interim ones too) or a trailer
    section. `size` is the header list's (RFC 9113, section 6.5.2). `status` and `attempts` 0, `grpc_status` and
    `content_length` -1, None: not there.
    """

    fields: list[Field]
    size: int
    method: bytes | None
    scheme: bytes | None
    authority: bytes | None
    path: bytes | None
    protocol: bytes | None
    status: int
    is_grpc: bool
    grpc_status: int
    grpc_message: bytes | None
    content_length: int
    idempotency_key: bool
    not_delivered: bool
    attempts: int
    reason: bytes | None
    request_problem: str | None
    response_problem: str | None
    trailers_problem: str | None
    form: Any
    encoded: bytes
    hash: int
    dropped_names: AbstractSet[bytes] | None
    dropped: Head | None

    def examine(self) -> cython.int:
        """Pull out what is asked of every section, and judge it."""
        problem: str | None = None
        seen: cython.int = 0  # bit per pseudo-header field
        regular: cython.bint = False
        host: bytes | None = None
        field: Field
        value: bytes
        kind: cython.int
        for field in self.fields:
            self.size += field.size
            if problem is None and field.problem is not None:
                problem = field.problem
            kind = field.ref.kind
            value = field.value
            if METHOD <= kind <= STATUS:
                if regular and problem is None:
                    problem = "pseudo-header field after a regular one"
                if seen & (1 << kind) and problem is None:
                    problem = "pseudo-header field twice"
                seen |= 1 << kind
                if kind == METHOD:
                    self.method = value
                elif kind == SCHEME:
                    self.scheme = value
                elif kind == AUTHORITY:
                    self.authority = value
                elif kind == PATH:
                    self.path = value
                elif kind == PROTOCOL:
                    self.protocol = value
                elif field.problem is None:
                    self.status = digits(value, 3)
                continue
            regular = True
            if kind == OTHER:
                continue
            if kind == CONTENT_TYPE:
                self.is_grpc = value[:16] == b"application/grpc" and (len(value) == 16 or value[16] in (0x2B, 0x3B))
            elif kind == GRPC_STATUS:
                self.grpc_status = digits(value, 2)
                if self.grpc_status < 0 or self.grpc_status > 16:
                    self.grpc_status = 2
            elif kind == GRPC_MESSAGE:
                self.grpc_message = value
            elif kind == CONTENT_LENGTH:
                if self.content_length >= 0 and problem is None:
                    problem = "content-length twice"
                self.content_length = digits(value, 18)
            elif kind == IDEMPOTENCY_KEY:
                self.idempotency_key = True
            elif kind == NOT_DELIVERED:
                self.not_delivered = True
            elif kind == REASON:
                self.reason = value
            elif kind == ATTEMPTS:
                self.attempts = fewer(self.attempts, digits(value, 2))
            elif kind == HOST:
                if host is not None and problem is None:
                    problem = "host twice"
                host = value
        return self.judge(problem, seen, host)

    def judge(self, problem: str | None, seen: cython.int, host: bytes | None) -> cython.int:
        """Set the three problems: those of fields count in every role, then the rules of RFC 9113, section 8.3."""
        if problem is not None:
            self.request_problem = self.response_problem = self.trailers_problem = problem
            return 0
        if seen:
            self.trailers_problem = "pseudo-header field in trailers"
        self.request_problem = request_problem(seen, self.method, self.scheme, self.authority, self.path,
                                               self.protocol, host, self.content_length)
        self.response_problem = response_problem(seen, self.status, self.content_length)
        return 0

    def without(self, names: AbstractSet[bytes]) -> Head:
        """This section less the fields of these names (the last answer is kept)."""
        if self.dropped_names is names:
            return self if self.dropped is None else self.dropped
        field: Field
        kept: list[Any] = []
        for field in self.fields:
            if field.name not in names:
                kept.append(field)
        self.dropped = None if len(kept) == len(self.fields) else new_head(kept)  # not self: that would be a cycle
        self.dropped_names = names
        return self if self.dropped is None else self.dropped

    def __repr__(self) -> str:
        return f"Head({[(field.name, field.value) for field in self.fields]!r})"


@cython.no_gc  # a section never refers to a block
@cython.freelist(256)
@cython.cclass
class Block:
    """One decoded header block: the section, and the fields that differ from call to call (None: not there)."""

    head: Head
    traceparent: bytes | None
    tracestate: bytes | None
    grpc_timeout: bytes | None

    def set_per_call(self, kind: cython.int, value: bytes) -> cython.int:
        """Take a field that is no part of the section."""
        if kind == GRPC_TIMEOUT:
            self.grpc_timeout = value
        elif kind == TRACEPARENT:
            self.traceparent = value if self.traceparent is None else b""  # two are as good as a malformed one
        elif self.tracestate is None:
            self.tracestate = value
        else:
            self.tracestate = self.tracestate + b"," + value
        return 0

    def __repr__(self) -> str:
        return f"Block({self.head!r}, {self.traceparent!r}, {self.tracestate!r}, {self.grpc_timeout!r})"


class Decoder:
    """The decoding side of one connection.

    `max_table`: what we announced as SETTINGS_HEADER_TABLE_SIZE; `max_list`: as SETTINGS_MAX_HEADER_LIST_SIZE. Octets.
    `max_fields`: a list of more is too large, however small.
    """

    def __init__(self, max_table: cython.int = 4096, max_list: cython.int = 65536,
                 max_fields: cython.int = 1 << 20) -> None:
        self.ring: list[Field | None] = [None] * 8  # entry i (the oldest was 0) is at i & mask
        self.mask: int = 7
        self.inserted: int = 0
        self.entries: int = 0
        self.size: int = 0
        self.limit: int = max_table
        self.max_size: int = max_table
        self.max_list: int = max_list
        self.max_fields: int = max_fields
        self.shrunk: bool = False
        self.buf: bytearray = bytearray()
        self.position: int = 0
        self.end: int = 0

    def decode(self, buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> Block:
        """Decode the header block `buf[start:end]`.

        HpackError: the block can't be decoded, the connection is lost. HeaderListTooLarge: it is over `max_list` or
        `max_fields`, the table is in step.
        """
        if start < 0 or end > len(buf) or start > end:
            raise IndexError("block outside the buffer")
        block: Block = Block.__new__(Block)
        block.traceparent = block.tracestate = block.grpc_timeout = None
        head: Head | None = None
        fields: list[Any] = SCRATCH
        n: cython.Py_ssize_t = 0
        h: cython.ulonglong = SEED
        room: cython.Py_ssize_t = self.max_list
        most: cython.Py_ssize_t = self.max_fields
        problem: str | None = None
        kind: cython.int
        index: cython.Py_ssize_t
        n_name: cython.Py_ssize_t
        name: Name | None
        field: Field
        opening: cython.bint = True
        called: cython.bint = False  # a per-call field was there, which is a regular one
        self.buf = buf
        self.position = start
        self.end = end
        if self.shrunk:
            self.expect_update()
        stable: cython.Py_ssize_t = skim(buf, start, end)
        stable_hash: cython.ulonglong = 0
        last: cython.Py_ssize_t = start  # where the last field of the section begins
        at: cython.Py_ssize_t = start
        if start < stable <= start + MAX_MEMO:
            stable_hash = hash_at(buf, start, stable - start, SEED)
            head = cython.cast(Head, recall(buf, start, stable - start, stable_hash))
            if head is not None:
                self.position = stable
                room -= head.size
                most -= len(head.fields)
        while self.position < end:
            at = self.position
            first: cython.int = buf[at]
            if first & 0x80:
                if first == 0xFF:
                    index = self.integer(0x7F)
                else:
                    index = first & 0x7F
                    self.position = at + 1
                field = self.at(index)
                name = field.ref
            elif first & 0xE0 == 0x20:
                if not opening:
                    raise HpackError("table size update after a field")
                self.resize(self.integer(0x1F))
                continue
            else:
                index = first & (0x3F if first & 0x40 else 0x0F)
                if index == (0x3F if first & 0x40 else 0x0F):
                    index = self.integer(index)
                else:
                    self.position = at + 1
                begin: cython.Py_ssize_t = self.position
                if index:
                    name = self.at(index).ref
                    n_name = 0
                else:
                    n_name = self.skip_string()
                    name = cython.cast(Name, PER_CALL[buf[begin]])
                    if name is not None and not equal_at(buf, begin, name.raw):
                        name = None
                n_value: cython.Py_ssize_t = self.skip_string()
                if name is None:
                    field = intern_literal(buf, begin, n_name, n_name + n_value, first & 0xF0 == 0x10)
                    name = field.ref
                elif name.kind < TRACEPARENT or name.kind > GRPC_TIMEOUT:
                    field = intern_field(name, buf, begin, n_value, first & 0xF0 == 0x10)
                elif first & 0x40:
                    field = new_field(name, string_of(buf, begin + n_name, n_value), b"", False)
                else:
                    value: bytes = string_of(buf, begin + n_name, n_value)
                    opening = False
                    most -= 1
                    room -= 32 + len(name.octets) + len(value)
                    if room >= 0 and most >= 0:
                        problem = problem or value_problem(OTHER, value)
                        block.set_per_call(name.kind, value)
                        called = True
                    continue
                if first & 0x40:
                    self.insert(field)
            opening = False
            most -= 1
            room -= field.size
            if room < 0 or most < 0:
                continue  # no more is kept, but the table has to stay in step
            kind = name.kind
            if TRACEPARENT <= kind <= GRPC_TIMEOUT:
                if field.problem is not None:
                    problem = field.problem
                block.set_per_call(kind, field.value)
                called = True
                continue
            if called and METHOD <= kind <= STATUS and problem is None:
                problem = "pseudo-header field after a regular one"
            if head is not None:  # the section goes on behind a per-call field
                n = len(head.fields)
                fields[:n] = head.fields
                h = head.hash
                head = None
            last = at
            if n < len(fields):
                fields[n] = field
            else:
                fields.append(field)
            n += 1
            h = ((h ^ field.serial) * MIX) & MASK
            h ^= h >> 29
        if room < 0 or most < 0:
            raise HeaderListTooLarge(f"header list over {self.max_list} octets or {self.max_fields} fields")
        if problem is not None:
            head = new_head(fields[:n] if head is None else head.fields)
            head.judge(problem, 0, None)
        elif head is None:
            head = head_of(fields, n, h)
            if stable_hash and last < stable:
                octets: bytes = octets_of(buf, start, stable - start)
                memorise(octets, stable_hash, head)
                if not head.encoded:  # they mean the same on every connection, also on those we send on
                    head.encoded = octets
        block.head = head
        return block

    def integer(self, prefix: cython.int) -> cython.Py_ssize_t:
        """RFC 7541, section 5.1; `prefix` is the mask of its first octet. More than four further octets are refused."""
        buf: bytearray = self.buf
        if self.position >= self.end:
            raise HpackError("block ends inside a field")
        octet: cython.int = buf[self.position] & prefix
        self.position += 1
        if octet < prefix:
            return octet
        value: cython.Py_ssize_t = prefix
        shift: cython.int = 0
        while True:
            if self.position >= self.end:
                raise HpackError("block ends inside an integer")
            if shift > 21:
                raise HpackError("integer is too long")
            octet = buf[self.position]
            self.position += 1
            value += cython.cast(cython.Py_ssize_t, octet & 0x7F) << shift
            if octet < 0x80:
                return value
            shift += 7

    def at(self, index: cython.Py_ssize_t) -> Field:
        """The entry at a table index (RFC 7541, section 2.3.3)."""
        if index > 61:
            index -= 61
            if index > self.entries:
                raise HpackError("index past the dynamic table")
            field: Field = cython.cast(Field, self.ring[(self.inserted - index) & self.mask])
            return field
        if index <= 0:
            raise HpackError("index 0")
        field = cython.cast(Field, STATIC_FIELDS[index])
        return field

    def skip_string(self) -> cython.Py_ssize_t:
        """How many octets the string literal at the position takes, with its length; the position moves behind it."""
        start: cython.Py_ssize_t = self.position
        n: cython.Py_ssize_t = 0x7F
        if start < self.end:
            n = self.buf[start] & 0x7F
        if n < 0x7F:
            self.position = start + 1
        else:
            n = self.integer(0x7F)
        if n > self.end - self.position:
            raise HpackError("string reaches past the block")
        self.position += n
        return self.position - start

    def insert(self, field: Field) -> cython.int:
        """RFC 7541, section 4.4: an entry larger than the table empties it."""
        self.evict(field.size)
        if field.size > self.max_size:
            return 0
        if self.entries > self.mask:
            self.widen()
        self.ring[self.inserted & self.mask] = field
        self.inserted += 1
        self.entries += 1
        self.size += field.size
        return 0

    def widen(self) -> cython.int:
        """Double the ring."""
        old: list[Any] = self.ring
        mask: cython.Py_ssize_t = self.mask
        ring: list[Any] = [None] * (2 * len(old))
        i: cython.Py_ssize_t
        for i in range(self.inserted - self.entries, self.inserted):
            ring[i & (2 * mask + 1)] = old[i & mask]
        self.ring = ring
        self.mask = 2 * mask + 1
        return 0

    def evict(self, room: cython.Py_ssize_t) -> cython.int:
        """Drop the oldest entries until `room` octets fit, or none is left."""
        field: Field
        place: cython.Py_ssize_t
        while self.entries > 0 and self.size + room > self.max_size:
            place = (self.inserted - self.entries) & self.mask
            field = cython.cast(Field, self.ring[place])
            self.size -= field.size
            self.ring[place] = None
            self.entries -= 1
        return 0

    def set_limit(self, size: cython.Py_ssize_t) -> cython.int:
        """Our SETTINGS_HEADER_TABLE_SIZE is in force: the peer has acknowledged it."""
        self.limit = size
        self.shrunk = size < self.max_size
        return 0

    def expect_update(self) -> cython.int:
        """RFC 7541, section 4.2: once the limit is below its table, a peer says first how it follows."""
        if self.position >= self.end or self.buf[self.position] & 0xE0 != 0x20:
            raise HpackError("no table size update though the limit was lowered")
        self.shrunk = False
        return 0

    def resize(self, size: cython.Py_ssize_t) -> cython.int:
        """RFC 7541, section 6.3. Two in a row are what section 4.2 asks for; more do no harm."""
        if size > self.limit:
            raise HpackError("table size update over the limit")
        self.max_size = size
        return self.evict(0)


class Encoder:
    """The encoding side of one connection. It keeps no dynamic table: what it makes of a section fits everywhere."""

    def __init__(self) -> None:
        self.pending: bool = False

    def encode(self, head: Head) -> bytes:
        """The header block of `head`; per-call fields may follow it as `literal()`s."""
        if not head.encoded:
            head.encoded = encode_fields(head.fields)
        if self.pending:
            self.pending = False
            return b"\x20" + head.encoded
        return head.encoded

    def set_max_table(self, size: cython.uint) -> cython.int:
        """The peer's SETTINGS_HEADER_TABLE_SIZE. Once it is below the initial 4,096 octets the peer must hear that we
        follow.

        RFC 7541, section 4.2: by a table size update at the start of the next block; ours is to 0, since we use none.
        """
        if size < 4096:
            self.pending = True
        return 0


def encode_fields(fields: list[Any]) -> bytes:
    """Their representations, one behind the other."""
    field: Field
    n: cython.Py_ssize_t = 0
    for field in fields:
        n += len(field.encode())
    if len(OUT) < n:
        OUT.extend(bytes(n - len(OUT)))
    at: cython.Py_ssize_t = 0
    for field in fields:
        put_octets(OUT, at, field.encoded)
        at += len(field.encoded)
    return octets_of(OUT, 0, n)


def new_head(fields: list[Any]) -> Head:
    """A section of these fields, judged."""
    head: Head = Head.__new__(Head)
    head.fields = fields
    head.size = head.status = head.attempts = 0
    head.method = head.scheme = head.authority = head.path = head.protocol = None
    head.is_grpc = head.idempotency_key = head.not_delivered = False
    head.grpc_status = head.content_length = -1
    head.request_problem = head.response_problem = head.trailers_problem = None
    head.grpc_message = head.reason = head.form = head.dropped_names = head.dropped = None
    head.encoded = b""
    head.hash = 0
    head.examine()
    return head


def head_of(fields: list[Any], n: cython.Py_ssize_t, h: cython.ulonglong) -> Head:
    """The shared section of the first `n` of `fields`, whose hash is `h`."""
    slot: cython.Py_ssize_t = 2 * (h & (HEAD_SETS - 1))
    way: cython.int
    i: cython.Py_ssize_t
    known: list[Any]
    head: Head | None
    for way in range(2):
        head = cython.cast(Head, HEADS[slot + way])
        if head is None or head.hash != h or len(head.fields) != n:
            continue
        known = head.fields
        for i in range(n):
            if known[i] is not fields[i]:
                break
        else:
            if way == 1:
                HEADS[slot + 1] = HEADS[slot]
                HEADS[slot] = head
            return head
    head = new_head(fields[:n])
    head.hash = h
    if n <= 64 and seen_before(SEEN, h):
        HEADS[slot + 1] = HEADS[slot]
        HEADS[slot] = head
    return head


def fewer(one: cython.int, other: cython.longlong) -> cython.int:
    """The lower of two numbers of attempts (`mesh.wire.chain`); one outside 1..10 says nothing, and neither is 0."""
    return one if other < 1 or other > 10 or 0 < one < other else other


def make_head(pairs: Sequence[tuple[bytes, bytes]]) -> Head:
    """A section of our own making; keep it and use it again. Per-call fields don't belong in it."""
    name: bytes
    value: bytes
    fields: list[Any] = []
    for name, value in pairs:
        fields.append(new_field(new_name(name, b""), value, b"", False))
    return new_head(fields)


def literal(name: bytes, value: bytes) -> bytes:
    """A field as a literal without indexing: to be put behind a block of `Encoder.encode`."""
    prefix: bytes | None = PREFIXES.get(name)
    if prefix is None:
        prefix = name_prefix(name)
        if len(PREFIXES) < 64:
            PREFIXES[name] = prefix
    return literal_octets(prefix, value, 0)
