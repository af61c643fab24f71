# cython: language_level=3, wraparound=False, initializedcheck=False
"""Header fields as HPACK knows them: judged once, encoded once, compared by identity.

What lives here: names and fields, the static table made of them, and how they are written as literals (RFC 7541,
sections 5 and 6). What this must not know: sections, tables, connections.
"""

from __future__ import annotations

import cython

from mesh.wire.static_table import STATIC_TABLE

if not cython.compiled:
    from mesh.wire.fieldrules import KINDS, LOOK_ALIKES, name_problem, value_problem
    from mesh.wire.huffman import huffman_decode, huffman_encode
    from mesh.wire.octets import MASK, MIX, SEED, equal_at, hash_at, octets_of, put_octets

# Interned names and fields, in sets of two: about 2 MiB at the worst.
MAX_INTERNED: int = 256  # octets of a value's literal
NAME_SETS: int = 128
FIELD_SETS: int = 1024
NAMES: list[Name | None] = [None] * (2 * NAME_SETS)
FIELDS: list[Field | None] = [None] * (2 * FIELD_SETS)
SEEN: bytearray = bytearray(4096)
SERIAL: int = 0
# The names that differ from call to call, by the first octet of their string literals.
PER_CALL: list[Name | None] = [None] * 256
STATIC_INDEX: dict[bytes, int] = {}
STATIC_VALUES: dict[bytes, dict[bytes, int]] = {}
STATIC_FIELDS: list[Field | None] = [None]  # by index; the first is 1


@cython.no_gc  # can't be part of a cycle
@cython.freelist(64)
@cython.cclass
class Name:
    """A field name: what it means, what is wrong with it, and how we write it; `raw`: the literal it was read from;
    `look_alike`: some take it for one that frames."""

    octets: bytes
    raw: bytes
    kind: int
    problem: str | None
    prefix: bytes
    static_values: dict[bytes, int] | None
    look_alike: bool
    serial: int


@cython.no_gc
@cython.freelist(256)
@cython.cclass
class Field:
    """A header field, immutable.

    `size` is its share of a table or list (RFC 7541, section 4.1); `sensitive`: never indexed; `problem`: why it is
    malformed in any section, or None; `raw`: the string literal its value was read from (`named`: its name's too).
    `line`, `text`: for fields that are met often in HTTP/1.1, the line it was read from last, and the line it is
    written as, with its CRLF.
    """

    ref: Name
    name: bytes
    value: bytes
    raw: bytes
    size: int
    sensitive: bool
    named: bool
    problem: str | None
    encoded: bytes
    line: bytes
    text: bytes
    serial: int

    @property
    def enc(self) -> bytes:
        """Its representation that neither reads nor changes a dynamic table."""
        return self.encode()

    def encode(self) -> bytes:
        """See `enc`."""
        if not self.encoded:
            index: object = None
            if self.ref.static_values is not None and not self.sensitive:
                index = self.ref.static_values.get(self.value)
            if index is not None:
                self.encoded = integer_octets(index, 7, 0x80)
            else:
                # RFC 7541, section 6.2.3: what came as never indexed goes on as that.
                self.encoded = literal_octets(self.ref.prefix, self.value, 0x10 if self.sensitive else 0)
        return self.encoded

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {self.value!r})"


def new_name(octets: bytes, raw: bytes) -> Name:
    name: Name = Name.__new__(Name)
    name.octets = octets
    name.raw = raw
    name.kind = KINDS.get(octets, 0)
    name.problem = name_problem(octets)
    name.look_alike = octets in LOOK_ALIKES
    name.prefix = name_prefix(octets)
    name.static_values = STATIC_VALUES.get(octets)
    name.serial = next_serial()
    return name


def sound_field(ref: Name, value: bytes) -> Field:
    """The field of a name and a value that has been found to be one of its values."""
    field: Field = Field.__new__(Field)
    field.ref = ref
    field.name = ref.octets
    field.value = value
    field.size = 32 + len(ref.octets) + len(value)
    field.sensitive = field.named = False
    field.problem = None
    field.raw = field.encoded = field.line = field.text = b""
    field.serial = next_serial()
    return field


def next_serial() -> cython.ulonglong:
    """A number that no other name or field has, well mixed."""
    global SERIAL
    SERIAL += 1
    return (SERIAL * MIX) & MASK


def new_field(ref: Name, value: bytes, raw: bytes, sensitive: cython.bint) -> Field:
    field: Field = Field.__new__(Field)
    field.ref = ref
    field.name = ref.octets
    field.value = value
    field.raw = raw
    field.size = 32 + len(ref.octets) + len(value)
    field.sensitive = sensitive
    field.named = False
    field.problem = ref.problem if ref.problem is not None else value_problem(ref.kind, value)
    field.encoded = b""
    field.line = field.text = b""
    field.serial = next_serial()
    return field


def intern_name(buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> Name:
    """The name whose string literal is the `n` octets at `start`."""
    if n > 64:
        return new_name(string_of(buf, start, n), b"")
    slot: cython.Py_ssize_t = 2 * (hash_at(buf, start, n, SEED) & (NAME_SETS - 1))
    name: Name | None = cython.cast(Name, NAMES[slot])
    if name is None or len(name.raw) != n or not equal_at(buf, start, name.raw):
        other: Name | None = name
        name = cython.cast(Name, NAMES[slot + 1])
        if name is None or len(name.raw) != n or not equal_at(buf, start, name.raw):
            name = new_name(string_of(buf, start, n), octets_of(buf, start, n))
        NAMES[slot] = name
        NAMES[slot + 1] = other
    return name


def intern_literal(buf: bytearray, start: cython.Py_ssize_t, name_n: cython.Py_ssize_t, n: cython.Py_ssize_t,
                   sensitive: cython.bint) -> Field:
    """The field whose name's and value's string literals are the `n` octets at `start`, `name_n` of them the name's."""
    name: Name
    if n > MAX_INTERNED:
        name = intern_name(buf, start, name_n)
        return new_field(name, string_of(buf, start + name_n, n - name_n), b"", sensitive)
    h: cython.ulonglong = hash_at(buf, start, n, MIX)
    slot: cython.Py_ssize_t = 2 * (h & (FIELD_SETS - 1))
    field: Field | None = cython.cast(Field, FIELDS[slot])
    if field is None or not is_literal(field, None, buf, start, n, sensitive):
        other: Field | None = field
        field = cython.cast(Field, FIELDS[slot + 1])
        if field is None or not is_literal(field, None, buf, start, n, sensitive):
            name = intern_name(buf, start, name_n)
            field = new_field(name, string_of(buf, start + name_n, n - name_n), octets_of(buf, start, n), sensitive)
            field.named = True
            if not seen_before(SEEN, h):
                return field
        FIELDS[slot] = field
        FIELDS[slot + 1] = other
    return field


def intern_field(name: Name, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                 sensitive: cython.bint) -> Field:
    """The field of this name (known by its index) whose value's string literal is the `n` octets at `start`."""
    if n > MAX_INTERNED:
        return new_field(name, string_of(buf, start, n), b"", sensitive)
    h: cython.ulonglong = hash_at(buf, start, n, name.serial)
    slot: cython.Py_ssize_t = 2 * (h & (FIELD_SETS - 1))
    field: Field | None = cython.cast(Field, FIELDS[slot])
    if field is None or not is_literal(field, name, buf, start, n, sensitive):
        other: Field | None = field
        field = cython.cast(Field, FIELDS[slot + 1])
        if field is None or not is_literal(field, name, buf, start, n, sensitive):
            field = new_field(name, string_of(buf, start, n), octets_of(buf, start, n), sensitive)
            if not seen_before(SEEN, h):
                return field
        FIELDS[slot] = field
        FIELDS[slot + 1] = other
    return field


def seen_before(seen: bytearray, h: cython.ulonglong) -> cython.bint:
    """True when something of this hash is met the second time: only that is worth keeping.

    What never repeats would push out what does, and dies cheaper while its memory is warm. Forgets, and errs rarely.
    """
    place: cython.Py_ssize_t = (h >> 40) & 4095
    mark: cython.int = ((h >> 32) & 0xFF) | 1
    if seen[place] == mark:
        return True
    seen[place] = mark
    return False


def is_literal(field: Field, name: Name | None, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
               sensitive: cython.bint) -> cython.bint:
    """True if `field` was read from these very octets: value under `name`, or (None) name and value."""
    if name is None:
        if not field.named:
            return False
    elif field.ref is not name or field.named:
        return False
    return len(field.raw) == n and field.sensitive == sensitive and equal_at(buf, start, field.raw)


def string_of(buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> bytes:
    """The text of the string literal (RFC 7541, section 5.2) of `n` octets at `start`; its length has been checked."""
    first: cython.int = buf[start]
    skip: cython.Py_ssize_t = 1
    if first & 0x7F == 0x7F:
        while buf[start + skip] & 0x80:
            skip += 1
        skip += 1
    if first & 0x80:
        return huffman_decode(buf, start + skip, n - skip)
    return octets_of(buf, start + skip, n - skip)


def integer_octets(value: cython.Py_ssize_t, bits: cython.int, first: cython.int) -> bytes:
    """RFC 7541, section 5.1: `value` with a prefix of `bits` bits, the others of the first octet taken from `first`."""
    prefix: cython.int = (1 << bits) - 1
    if value < prefix:
        single: bytes = ONE_OCTET[first | value]
        return single
    out: bytearray = bytearray((first | prefix,))
    value -= prefix
    while value >= 128:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def literal_octets(prefix: bytes, value: bytes, flag: cython.int) -> bytes:
    """A literal: type and name as in `prefix`, the type or-ed with `flag`, then the value as it is."""
    out: bytearray = SCRATCH
    at: cython.Py_ssize_t = len(prefix)
    n: cython.Py_ssize_t = len(value)
    if len(out) < at + n + 8:
        out.extend(bytes(at + n + 8 - len(out)))
    put_octets(out, 0, prefix)
    out[0] |= flag
    if n < 127:
        out[at] = n
        at += 1
    else:
        length: bytes = integer_octets(n, 7, 0)
        put_octets(out, at, length)
        at += len(length)
    put_octets(out, at, value)
    return octets_of(out, 0, at + n)


def name_prefix(name: bytes) -> bytes:
    """The beginning of a literal without indexing (RFC 7541, section 6.2.2): type and name."""
    index: object = STATIC_INDEX.get(name)
    if index is not None:
        return integer_octets(index, 4, 0)
    return b"\x00" + integer_octets(len(name), 7, 0) + name


SCRATCH: bytearray = bytearray(512)
ONE_OCTET: list[bytes] = [bytes((octet,)) for octet in range(256)]


def build_tables() -> None:
    index: int
    name: bytes
    value: bytes
    for index, (name, value) in enumerate(STATIC_TABLE, 1):
        STATIC_INDEX.setdefault(name, index)
        STATIC_VALUES.setdefault(name, {})[value] = index
    names: dict[bytes, Name] = {name: new_name(name, b"") for name in STATIC_INDEX}
    for name, value in STATIC_TABLE:
        STATIC_FIELDS.append(new_field(names[name], value, b"", False))
    text: bytes
    for name in (b"traceparent", b"tracestate", b"grpc-timeout"):
        for text in (bytes((len(name),)) + name, bytes((0x80 | len(huffman_encode(name)),)) + huffman_encode(name)):
            PER_CALL[text[0]] = new_name(name, text)


build_tables()
