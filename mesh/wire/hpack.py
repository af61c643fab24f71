# cython: language_level=3, wraparound=False, initializedcheck=False
"""HPACK (RFC 7541) for a proxy: header sections that repeat cost a few comparisons, and are judged once.

What lives here: interned names and fields, header sections (`Head`) shared between all calls that repeat them, decoder and
encoder. What this must not know: streams, connections, routes.

A call differs from the one before in `traceparent`, `tracestate` and `grpc-timeout`; everything else mostly repeats. So these
three are cut out of the section while it is decoded (`Block`), and the rest is looked up: each literal by the octets that came
in (no Huffman decoding, no new object), the section by the sequence of its fields. Equal sections are then one `Head` object,
with its validation, its own encoding and its owner's `tag` (a route decision) hanging on it, whatever happened to the dynamic
table. The caches are shared by the process, two-way associative (the less recently used of two makes room) and bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import cython

from mesh.wire.errors import HeaderListTooLarge, HpackError

if not cython.compiled:
    from mesh.wire.fieldrules import (
        AUTHORITY,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        GRPC_MESSAGE,
        GRPC_STATUS,
        GRPC_TIMEOUT,
        HOST,
        IDEMPOTENCY_KEY,
        KINDS,
        METHOD,
        NOT_DELIVERED,
        OTHER,
        PATH,
        PROTOCOL,
        REASON,
        SCHEME,
        STATUS,
        TRACEPARENT,
        TRACESTATE,
        digits,
        name_problem,
        value_problem,
    )
    from mesh.wire.huffman import huffman_decode
    from mesh.wire.octets import MASK, MIX, equal_at, hash_at, octets_of

from mesh.wire.static_table import STATIC_TABLE

MAX_INTERNED: int = 256  # octets of an interned value; with the sets below this bounds the caches to about 3 MiB
NAME_SETS: int = 128
FIELD_SETS: int = 1024
HEAD_SETS: int = 512
NAMES: list[Name | None] = [None] * (2 * NAME_SETS)
FIELDS: list[Field | None] = [None] * (2 * FIELD_SETS)
HEADS: list[Head | None] = [None] * (2 * HEAD_SETS)
SCRATCH: list[Field | None] = [None] * 128
PREFIXES: dict[bytes, bytes] = {}
SERIAL: int = 0
SEED: int = 0x2545F4914F6CDD1D


class Name:
    """A field name: what it means, what is wrong with it, and how we write it."""

    def __init__(self, octets: bytes, raw: bytes | None) -> None:
        global SERIAL
        self.octets: bytes = octets
        self.raw: bytes | None = raw  # the string literal it was read from
        self.kind: int = KINDS.get(octets, 0)
        self.problem: str | None = name_problem(octets)
        self.prefix: bytes = name_prefix(octets)
        self.static_values: dict[bytes, int] | None = STATIC_VALUES.get(octets)
        SERIAL += 1
        self.serial: int = (SERIAL * MIX) & MASK


class Field:
    """A header field, immutable. `size` is its share of a table or list (RFC 7541, section 4.1); `sensitive`: never indexed."""

    def __init__(self, ref: Name, value: bytes, raw: bytes | None, sensitive: cython.bint) -> None:
        global SERIAL
        self.ref: Name = ref
        self.name: bytes = ref.octets
        self.value: bytes = value
        self.raw: bytes | None = raw  # the string literal the value was read from
        self.size: int = 32 + len(self.name) + len(value)
        self.sensitive: bool = sensitive
        self.problem: str | None = ref.problem
        if self.problem is None:
            self.problem = value_problem(ref.kind, value)
        self.encoded: bytes | None = None
        SERIAL += 1
        self.serial: int = (SERIAL * MIX) & MASK

    @property
    def enc(self) -> bytes:
        """Its representation that neither reads nor changes a dynamic table."""
        return self.encode()

    def encode(self) -> bytes:
        if self.encoded is None:
            index: object = None
            if self.ref.static_values is not None and not self.sensitive:
                index = self.ref.static_values.get(self.value)
            if index is not None:
                self.encoded = integer_octets(index, 7, 0x80)
            else:
                prefix: bytes = self.ref.prefix
                if self.sensitive:  # RFC 7541, section 6.2.3: an intermediary keeps it so
                    prefix = bytes((prefix[0] | 0x10,)) + prefix[1:]
                self.encoded = prefix + integer_octets(len(self.value), 7, 0) + self.value
        return self.encoded

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {self.value!r})"


class Head:
    """A header section without its per-call fields; immutable and shared, so that what was derived from it can hang on it.

    The three `…_problem` say why the section is malformed as a request, a response (interim ones too) or a trailer section.
    `status` 0, `grpc_status` and `content_length` -1, `None` elsewhere: not there.
    """

    def __init__(self, fields: list[Field]) -> None:
        self.fields: list[Field] = fields
        self.method: bytes | None = None
        self.scheme: bytes | None = None
        self.authority: bytes | None = None
        self.path: bytes | None = None
        self.protocol: bytes | None = None
        self.status: int = 0
        self.is_grpc: bool = False
        self.grpc_status: int = -1
        self.grpc_message: bytes | None = None
        self.content_length: int = -1
        self.idempotency_key: bool = False
        self.not_delivered: bool = False
        self.reason: bytes | None = None
        self.request_problem: str | None = None
        self.response_problem: str | None = None
        self.trailers_problem: str | None = None
        self.tag: Any = None
        self.encoded: bytes | None = None
        self.hash: int = 0
        self.dropped_names: AbstractSet[bytes] | None = None
        self.dropped: Head | None = None
        self.examine()

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
                self.is_grpc = value == b"application/grpc" or value[:17] in (b"application/grpc+", b"application/grpc;")
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
            elif kind == HOST:
                if host is not None and problem is None:
                    problem = "host twice"
                host = value
        return self.judge(problem, seen, host)

    def judge(self, problem: str | None, seen: cython.int, host: bytes | None) -> cython.int:
        """Set the three problems: those of single fields count in every role, then the rules of RFC 9113, section 8.3."""
        if problem is not None:
            self.request_problem = self.response_problem = self.trailers_problem = problem
            return 0
        if seen:
            self.trailers_problem = "pseudo-header field in trailers"
        if seen != 1 << STATUS:
            self.response_problem = "not exactly :status" if seen else "no :status"
        elif self.status == 101:
            self.response_problem = ":status 101 has no place in HTTP/2"
        if seen & (1 << STATUS):
            self.request_problem = ":status in a request"
        elif self.method is None:
            self.request_problem = "no :method"
        elif self.method == b"CONNECT" and self.protocol is None:  # RFC 9113, section 8.5
            if self.scheme is not None or self.path is not None:
                self.request_problem = "CONNECT with :scheme or :path"
            elif not self.authority:
                self.request_problem = "CONNECT without :authority"
        elif self.protocol is not None and self.method != b"CONNECT":  # RFC 8441, section 4
            self.request_problem = ":protocol without CONNECT"
        elif self.scheme is None:
            self.request_problem = "no :scheme"
        elif self.path is None:
            self.request_problem = "no :path"
        elif self.path == b"*" and self.method != b"OPTIONS":
            self.request_problem = ":path * without OPTIONS"
        elif host is not None and self.authority is not None and host.lower() != self.authority.lower():
            self.request_problem = "host differs from :authority"
        return 0

    def without(self, names: AbstractSet[bytes]) -> Head:
        """This section less the fields of these names (the last answer is kept)."""
        if self.dropped is not None and self.dropped_names is names:
            return self.dropped
        field: Field
        kept: list[Field] = [field for field in self.fields if field.name not in names]
        self.dropped = self if len(kept) == len(self.fields) else Head(kept)
        self.dropped_names = names
        return self.dropped

    def __repr__(self) -> str:
        return f"Head({[(field.name, field.value) for field in self.fields]!r})"


@cython.freelist(256)
@cython.cclass
class Block:
    """One decoded header block: the section, and the fields that differ from call to call (None: not there)."""

    def __init__(self, head: Head | None) -> None:
        self.head: Head = head
        self.traceparent: bytes | None = None
        self.tracestate: bytes | None = None
        self.grpc_timeout: bytes | None = None

    def __repr__(self) -> str:
        return f"Block({self.head!r}, {self.traceparent!r}, {self.tracestate!r}, {self.grpc_timeout!r})"


class Decoder:
    """The decoding side of one connection.

    `max_table`: what we announced as SETTINGS_HEADER_TABLE_SIZE; `max_list`: as SETTINGS_MAX_HEADER_LIST_SIZE. Octets.
    """

    def __init__(self, max_table: cython.int = 4096, max_list: cython.int = 65536) -> None:
        self.ring: list[Field | None] = [None] * 8  # entry i (from 0, oldest first) is at i & mask
        self.mask: int = 7
        self.inserted: int = 0
        self.entries: int = 0
        self.size: int = 0
        self.limit: int = max_table
        self.max_size: int = max_table
        self.max_list: int = max_list
        self.buf: bytearray | None = None
        self.position: int = 0
        self.end: int = 0

    def decode(self, buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> Block:
        """Decode the header block `buf[start:end]`.

        HpackError: the block can't be decoded, the connection is lost. HeaderListTooLarge: it is over `max_list`, the table is
        in step.
        """
        if start < 0 or end > len(buf) or start > end:
            raise IndexError("block outside the buffer")
        self.buf = buf
        self.position = start
        self.end = end
        fields: list = SCRATCH
        n: cython.int = 0
        room: cython.longlong = self.max_list
        h: cython.ulonglong = SEED
        block: Block = Block(None)
        problem: str | None = None
        opening: cython.bint = True
        first: cython.int
        index: cython.Py_ssize_t
        kind: cython.int
        name: Name
        field: Field
        while self.position < end:
            first = buf[self.position]
            if first & 0x80:
                index = self.integer(0x7F)
                field = self.at(index)
                name = field.ref
            elif first & 0xE0 == 0x20:
                if not opening:
                    raise HpackError("table size update after a field")
                self.resize(self.integer(0x1F))
                continue
            else:
                index = self.integer(0x3F if first & 0x40 else 0x0F)
                name = self.at(index).ref if index else self.name_here()
                field = self.literal_here(name, first & 0xF0 == 0x10)
                if first & 0x40:
                    self.insert(field)
            opening = False
            room -= field.size
            if room < 0:
                continue
            kind = name.kind
            if TRACEPARENT <= kind <= GRPC_TIMEOUT:
                if field.problem is not None:
                    problem = field.problem
                if kind == GRPC_TIMEOUT:
                    block.grpc_timeout = field.value
                elif kind == TRACEPARENT:
                    # Two of them are as good as none: W3C Trace Context, section 3.2.
                    block.traceparent = field.value if block.traceparent is None else b""
                elif block.tracestate is None:
                    block.tracestate = field.value
                else:
                    block.tracestate = block.tracestate + b"," + field.value
                continue
            if n < len(fields):
                fields[n] = field
            else:
                fields.append(field)
            n += 1
            h = ((h ^ field.serial) * MIX) & MASK
            h ^= h >> 29
        self.buf = None
        if room < 0:
            raise HeaderListTooLarge(f"header list over {self.max_list} octets")
        if problem is None:
            block.head = head_of(fields, n, h)
        else:
            head: Head = Head(fields[:n])
            head.judge(problem, 0, None)
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

    def string(self) -> bytes:
        """A string literal (RFC 7541, section 5.2)."""
        if self.position >= self.end:
            raise HpackError("block ends before a string")
        coded: cython.bint = self.buf[self.position] & 0x80
        n: cython.Py_ssize_t = self.integer(0x7F)
        start: cython.Py_ssize_t = self.position
        if n > self.end - start:
            raise HpackError("string reaches past the block")
        self.position = start + n
        if coded:
            return huffman_decode(self.buf, start, n)
        return octets_of(self.buf, start, n)

    def at(self, index: cython.Py_ssize_t) -> Field:
        """The entry at a table index (RFC 7541, section 2.3.3)."""
        if index > 61:
            index -= 61
            if index > self.entries:
                raise HpackError("index past the dynamic table")
            return self.ring[(self.inserted - index) & self.mask]
        if index <= 0:
            raise HpackError("index 0")
        return STATIC_FIELDS[index]

    def name_here(self) -> Name:
        """The interned name whose literal stands at the position."""
        start: cython.Py_ssize_t = self.position
        n: cython.Py_ssize_t = 1
        if start < self.end:
            n += self.buf[start] & 0x7F
        name: Name | None
        if n > 64 or n > self.end - start:
            return Name(self.string(), None)
        slot: cython.Py_ssize_t = 2 * (hash_at(self.buf, start, n, SEED) & (NAME_SETS - 1))
        name = NAMES[slot]
        if name is not None and len(name.raw) == n and equal_at(self.buf, start, name.raw):
            self.position = start + n
            return name
        other: Name | None = name
        name = NAMES[slot + 1]
        if name is None or len(name.raw) != n or not equal_at(self.buf, start, name.raw):
            name = Name(self.string(), octets_of(self.buf, start, n))
        self.position = start + n
        NAMES[slot] = name
        NAMES[slot + 1] = other
        return name

    def literal_here(self, name: Name, sensitive: cython.bint) -> Field:
        """The interned field of this name whose value's literal stands at the position."""
        start: cython.Py_ssize_t = self.position
        n: cython.Py_ssize_t = MAX_INTERNED + 1
        field: Field | None
        if start < self.end:
            n = self.buf[start] & 0x7F
            # A length of several octets is read for its own sake; the key is all of the literal.
            n = 1 + n if n < 0x7F else self.long_literal()
        if n > MAX_INTERNED or n > self.end - start or TRACEPARENT <= name.kind <= GRPC_TIMEOUT:
            return Field(name, self.string(), None, sensitive)
        slot: cython.Py_ssize_t = 2 * (hash_at(self.buf, start, n, name.serial) & (FIELD_SETS - 1))
        field = FIELDS[slot]
        if (
            field is not None
            and field.ref is name
            and len(field.raw) == n
            and field.sensitive == sensitive
            and equal_at(self.buf, start, field.raw)
        ):
            self.position = start + n
            return field
        other: Field | None = field
        field = FIELDS[slot + 1]
        if (
            field is None
            or field.ref is not name
            or len(field.raw) != n
            or field.sensitive != sensitive
            or not equal_at(self.buf, start, field.raw)
        ):
            field = Field(name, self.string(), octets_of(self.buf, start, n), sensitive)
        self.position = start + n
        FIELDS[slot] = field
        FIELDS[slot + 1] = other
        return field

    def long_literal(self) -> cython.Py_ssize_t:
        """How many octets the string literal at the position takes, its length included; the position stays."""
        start: cython.Py_ssize_t = self.position
        n: cython.Py_ssize_t = self.integer(0x7F)
        n += self.position - start
        self.position = start
        return n

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
        old: list = self.ring
        mask: cython.longlong = self.mask
        ring: list = [None] * (2 * len(old))
        i: cython.longlong
        for i in range(self.inserted - self.entries, self.inserted):
            ring[i & (2 * mask + 1)] = old[i & mask]
        self.ring = ring
        self.mask = 2 * mask + 1
        return 0

    def evict(self, room: cython.int) -> cython.int:
        """Drop the oldest entries until `room` octets fit, or none is left."""
        field: Field
        place: cython.Py_ssize_t
        while self.entries > 0 and self.size + room > self.max_size:
            place = (self.inserted - self.entries) & self.mask
            field = self.ring[place]
            self.size -= field.size
            self.ring[place] = None
            self.entries -= 1
        return 0

    def resize(self, size: cython.Py_ssize_t) -> cython.int:
        """RFC 7541, section 6.3."""
        if size > self.limit:
            raise HpackError("table size update over the limit")
        self.max_size = size
        return self.evict(0)


class Encoder:
    """The encoding side of one connection. It keeps no dynamic table: a section's encoding is the same on every connection."""

    def __init__(self) -> None:
        self.pending: bool = False

    def encode(self, head: Head) -> bytes:
        """The header block of `head`; per-call fields may follow it as `literal()`s."""
        if head.encoded is None:
            field: Field
            head.encoded = b"".join([field.encode() for field in head.fields])
        if self.pending:
            self.pending = False
            return b"\x20" + head.encoded
        return head.encoded

    def set_max_table(self, size: cython.uint) -> cython.int:
        """The peer's SETTINGS_HEADER_TABLE_SIZE. Once it is below the initial 4,096 octets the peer must hear that we follow.

        RFC 7541, section 4.2: by a table size update at the start of the next block; ours is to 0, since we use none.
        """
        if size < 4096:
            self.pending = True
        return 0


def head_of(fields: list[Any], n: cython.int, h: cython.ulonglong) -> Head:
    """The shared section of the first `n` of `fields`, whose hash is `h`."""
    slot: cython.Py_ssize_t = 2 * (h & (HEAD_SETS - 1))
    way: cython.int
    i: cython.int
    known: list
    head: Head | None
    for way in range(2):
        head = HEADS[slot + way]
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
    head = Head(fields[:n])
    head.hash = h
    if n <= 64:
        HEADS[slot + 1] = HEADS[slot]
        HEADS[slot] = head
    return head


def make_head(pairs: Sequence[tuple[bytes, bytes]]) -> Head:
    """A section of our own making; keep it and use it again. Per-call fields don't belong in it."""
    name: bytes
    value: bytes
    return Head([Field(Name(name, None), value, None, False) for name, value in pairs])


def integer_octets(value: cython.Py_ssize_t, bits: cython.int, first: cython.int) -> bytes:
    """RFC 7541, section 5.1: `value` with a prefix of `bits` bits, the others of the first octet taken from `first`."""
    prefix: cython.int = (1 << bits) - 1
    if value < prefix:
        return bytes((first | value,))
    out: bytearray = bytearray((first | prefix,))
    value -= prefix
    while value >= 128:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def name_prefix(name: bytes) -> bytes:
    """The beginning of a literal without indexing (RFC 7541, section 6.2.2): type and name."""
    index: object = STATIC_INDEX.get(name)
    if index is not None:
        return integer_octets(index, 4, 0)
    return b"\x00" + integer_octets(len(name), 7, 0) + name


def literal(name: bytes, value: bytes) -> bytes:
    """A field as a literal without indexing: to be put behind a block of `Encoder.encode`."""
    prefix: bytes = PREFIXES.get(name)
    if prefix is None:
        prefix = name_prefix(name)
        if len(PREFIXES) < 64:
            PREFIXES[name] = prefix
    return prefix + integer_octets(len(value), 7, 0) + value


STATIC_INDEX: dict[bytes, int] = {}
STATIC_VALUES: dict[bytes, dict[bytes, int]] = {}
STATIC_FIELDS: list[Field | None] = [None]


def build_static_table() -> None:
    for index, (name, value) in enumerate(STATIC_TABLE, 1):
        STATIC_INDEX.setdefault(name, index)
        STATIC_VALUES.setdefault(name, {})[value] = index
    names = {name: Name(name, None) for name in STATIC_INDEX}
    for name, value in STATIC_TABLE:
        STATIC_FIELDS.append(Field(names[name], value, None, False))


build_static_table()
