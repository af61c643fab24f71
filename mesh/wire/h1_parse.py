# cython: language_level=3, wraparound=False, initializedcheck=False
"""The head of an HTTP/1.1 message, from its octets to a `Head` as HTTP/2 has it (RFC 9112, sections 3 to 6).

What lives here: start lines, what a head says about its content and its connection, and the memory of heads. What this
must not know: connections, and the message a head belongs to.

Heads repeat but for `traceparent`, `tracestate` and `grpc-timeout`. These lines are cut out (`Block`), and what is left
is looked up by its octets: equal heads are one `Message`, read once. One is memorised when it is met the second time;
each set keeps two and drops the less recently used; at most 1 MiB in all. Whatever can't be taken for certain is
`Malformed`.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.errors import Malformed
from mesh.wire.fields import Field, Name
from mesh.wire.h1_section import Section
from mesh.wire.hpack import Block, Head

if not cython.compiled:
    from mesh.wire.fieldrules import GRPC_TIMEOUT, TRACEPARENT, TRACESTATE
    from mesh.wire.fields import STATIC_FIELDS, new_field, new_name, seen_before
    from mesh.wire.h1_section import field_named, new_section, value_problem_of
    from mesh.wire.h1_syntax import (
        MAX_SECTION,
        authority_problem,
        is_target,
        is_token,
        members,
        method_problem,
        same_word,
    )
    from mesh.wire.hpack import head_of
    from mesh.wire.octets import MASK, MIX, SEED, copy_octets, equal_at, find_octet, hash_at, octets_of

MAX_MEMO: int = 2048  # octets of a head
MEMO_SETS: int = 256
MEMOS: list[Message | None] = [None] * (2 * MEMO_SETS)
SEEN: bytearray = bytearray(4096)
SCRATCH: bytearray = bytearray(4096)
AUTHORITY_NAME: Name = cython.cast(Field, STATIC_FIELDS[1]).ref
METHOD_NAME: Name = cython.cast(Field, STATIC_FIELDS[2]).ref
PATH_NAME: Name = cython.cast(Field, STATIC_FIELDS[4]).ref
STATUS_NAME: Name = cython.cast(Field, STATIC_FIELDS[8]).ref
PROTOCOL_NAME: Name = new_name(b":protocol", b"")
HTTP: Field = cython.cast(Field, STATIC_FIELDS[6])
HTTPS: Field = cython.cast(Field, STATIC_FIELDS[7])
CONNECT: Field = new_field(METHOD_NAME, b"CONNECT", b"", False)
# What an Upgrade field may ask for without being heard: HTTP/2 is had by prior knowledge or ALPN only (h2c smuggling).
UNHEARD: frozenset[bytes] = frozenset((b"h2c", b"h2", b"http", b"tls"))
# How a message goes on
REQUEST: int = 0
RESPONSE: int = 1


@cython.no_gc  # never part of a cycle
@cython.cclass
class Message:
    """What a head says; immutable and shared.

    `http10`: of that version. `persistent`: the connection may stay. `chunked`, `length` (-1: not there): how its
    content is framed, if it may have some. `expects`: 100-continue. `tunnel`: it asks for CONNECT or an upgrade.
    `key`: its Sec-WebSocket-Key. `switched`: what a 101 has switched to; its section says 200. `keep_alive`: seconds
    its sender keeps an idle connection, 0 for unknown. `forgets`: which per-call fields are for the connection only.
    """

    octets: bytes
    hash: int
    head: Head
    http10: bool
    persistent: bool
    chunked: bool
    length: int
    expects: bool
    tunnel: bool
    key: bytes | None
    switched: bytes | None
    keep_alive: int
    forgets: int


class Reader:
    """Cuts the per-call lines out of a head: what is left is `source[at:at + n]`."""

    def __init__(self) -> None:
        self.source: bytearray = SCRATCH
        self.at: int = 0
        self.n: int = 0

    def cut(self, buf: bytearray, start: cython.Py_ssize_t, first: cython.Py_ssize_t, end: cython.Py_ssize_t,
            block: Block) -> cython.int:
        """Give the per-call lines of `buf[start:end]` to `block`; the first that could be one begins at `first`."""
        self.source = buf
        self.at = start
        self.n = end - start
        if first < 0:
            return 0
        kept: cython.Py_ssize_t = -1  # octets kept so far, once something was cut out
        copied: cython.bint = False
        line: cython.Py_ssize_t = first
        behind: cython.Py_ssize_t
        kind: cython.int
        while line < end:
            behind = find_octet(buf, 0x0A, line, end) + 1
            kind = per_call_kind(buf, line, behind)
            if kind:
                set_per_call(block, kind, buf, line, behind - 2)
                if kept < 0:
                    kept = line - start
            elif kept >= 0:
                if not copied:
                    copied = True
                    if len(SCRATCH) < end - start:
                        SCRATCH.extend(bytes(end - start - len(SCRATCH)))
                    copy_octets(SCRATCH, 0, buf, start, kept)
                copy_octets(SCRATCH, kept, buf, line, behind - line)
                kept += behind - line
            line = behind
        if kept >= 0:
            self.n = kept
            if copied:
                self.source = SCRATCH
                self.at = 0
        return 0


READER: Reader = Reader()


def message_at(role: cython.int, buf: bytearray, start: cython.Py_ssize_t, first: cython.Py_ssize_t,
               end: cython.Py_ssize_t, block: Block) -> Message:
    """The message whose start line and field lines, each with its CRLF, are `buf[start:end]`.

    `first`: where the first line begins that could be a per-call field, or -1. Malformed: it can't be taken.
    """
    block.traceparent = block.tracestate = block.grpc_timeout = None
    READER.cut(buf, start, first, end, block)
    source: bytearray = READER.source
    at: cython.Py_ssize_t = READER.at
    n: cython.Py_ssize_t = READER.n
    h: cython.ulonglong = 0
    slot: cython.Py_ssize_t = 0
    message: Message | None = None
    if n <= MAX_MEMO:
        h = hash_at(source, at, n, SEED + 2 * role)
        slot = 2 * (h & (MEMO_SETS - 1))
        message = recall(source, at, n, h, slot)
    if message is None:
        message = read_request(source, at, at + n) if role == REQUEST else read_response(source, at, at + n)
        if n <= MAX_MEMO and seen_before(SEEN, h):
            message.octets = octets_of(source, at, n)
            message.hash = h
            MEMOS[slot + 1] = MEMOS[slot]
            MEMOS[slot] = message
    block.head = message.head
    if message.forgets:
        if message.forgets & 1:
            block.traceparent = None
        if message.forgets & 2:
            block.tracestate = None
        if message.forgets & 4:
            block.grpc_timeout = None
    return message


def recall(buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t, h: cython.ulonglong,
           slot: cython.Py_ssize_t) -> Message | None:
    """The message memorised for these octets."""
    message: Message | None = cython.cast(Message, MEMOS[slot])
    if message is not None and message.hash == h and len(message.octets) == n and equal_at(buf, at, message.octets):
        return message
    other: Message | None = message
    message = cython.cast(Message, MEMOS[slot + 1])
    if message is not None and message.hash == h and len(message.octets) == n and equal_at(buf, at, message.octets):
        MEMOS[slot] = message
        MEMOS[slot + 1] = other
        return message
    return None


def trailers_at(buf: bytearray, start: cython.Py_ssize_t, first: cython.Py_ssize_t, end: cython.Py_ssize_t,
                block: Block) -> cython.int:
    """Read the trailer section `buf[start:end]` into `block`. Malformed: it can't be taken."""
    block.traceparent = block.tracestate = block.grpc_timeout = None
    READER.cut(buf, start, first, end, block)
    section: Section = new_section(True)
    section.read(READER.source, READER.at, READER.at + READER.n)
    block.head = shared(section.fields)
    return 0


def per_call_kind(buf: bytearray, line: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
    """Which per-call field the line at `line` is, or 0."""
    if same_word(buf, line, end, b"traceparent") and buf[line + 11] == 0x3A:
        return TRACEPARENT
    if same_word(buf, line, end, b"grpc-timeout") and buf[line + 12] == 0x3A:
        return GRPC_TIMEOUT
    if same_word(buf, line, end, b"tracestate") and buf[line + 10] == 0x3A:
        return TRACESTATE
    return 0


def set_per_call(block: Block, kind: cython.int, buf: bytearray, line: cython.Py_ssize_t,
                 end: cython.Py_ssize_t) -> cython.int:
    """Take the value of a per-call line `buf[line:end]`."""
    at: cython.Py_ssize_t = find_octet(buf, 0x3A, line, end) + 1
    while at < end and (buf[at] == 0x20 or buf[at] == 9):
        at += 1
    while end > at and (buf[end - 1] == 0x20 or buf[end - 1] == 9):
        end -= 1
    value: bytes = octets_of(buf, at, end - at)
    problem: str | None = value_problem_of(value)
    if problem is not None:
        raise Malformed(400, problem)
    return block.set_per_call(kind, value)


def shared(fields: list[Any]) -> Head:
    """The section of these fields, the same one for the same fields. Malformed: as a list of HTTP/2 it is too large."""
    h: cython.ulonglong = SEED
    field: Field
    for field in fields:
        h = ((h ^ field.serial) * MIX) & MASK
        h ^= h >> 29
    head: Head = head_of(fields, len(fields), h)
    if head.size > MAX_SECTION:
        raise Malformed(431, "field section is too large")
    return head


def new_message(section: Section, http10: cython.bint) -> Message:
    """What the fields say about content and connection, whichever role they play. Its `head` is not set."""
    message: Message = Message.__new__(Message)
    message.octets = b""
    message.hash = 0
    message.http10 = http10
    message.length = section.length
    message.chunked = message.tunnel = False
    message.expects = section.expects
    message.key = message.switched = None
    message.keep_alive = section.keep_alive
    message.forgets = section.forgets
    options: Any = section.options
    if options is None:
        message.persistent = not http10
    else:
        message.persistent = b"close" not in options and (not http10 or b"keep-alive" in options)
    if section.coding is not None:
        # RFC 9112, section 6.1, lets a server choose in each of these cases; there is one choice that fools nobody.
        if http10:
            raise Malformed(400, "transfer-encoding in HTTP/1.0")
        if section.length >= 0:
            raise Malformed(400, "both transfer-encoding and content-length")
        if section.coding != b"chunked":
            if not section.coding or b"chunked" in members(section.coding):
                raise Malformed(400, "chunked is not the one transfer coding")
            raise Malformed(501, "unknown transfer coding")
        message.chunked = True
    return message


def message_like(base: Message, head: Head) -> Message:
    """The message that says of its content and its connection what `base` says, with another section."""
    message: Message = Message.__new__(Message)
    message.octets = b""
    message.hash = 0
    message.head = head
    message.http10 = base.http10
    message.persistent = base.persistent
    message.chunked = base.chunked
    message.length = base.length
    message.expects = base.expects
    message.tunnel = base.tunnel
    message.key = base.key
    message.switched = base.switched
    message.keep_alive = base.keep_alive
    message.forgets = base.forgets
    return message


# -- requests


def read_request(buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> Message:
    """Read a request's head. Malformed: with the status to answer."""
    stop: cython.Py_ssize_t = find_octet(buf, 0x0A, start, end) - 1
    space: cython.Py_ssize_t = find_octet(buf, 0x20, start, stop)
    if space < 0 or not is_token(buf, start, space):
        raise Malformed(400, "malformed request line")
    minor: cython.int = version_at(buf, stop - 8, stop) if stop - 9 > space and buf[stop - 9] == 0x20 else -1
    if minor < 0 or not is_target(buf, space + 1, stop - 9):
        raise Malformed(400, "malformed request line")
    if minor > 1:
        raise Malformed(505, "version is not HTTP/1.0 or HTTP/1.1")
    method: bytes = octets_of(buf, start, space - start)
    problem: str | None = method_problem(method)
    if problem is not None:
        raise Malformed(501, problem)
    section: Section = new_section(False)
    section.read(buf, stop + 2, end)
    if section.host is None and minor == 1:
        raise Malformed(400, "no host")
    if section.host and authority_problem(section.host) is not None:
        raise Malformed(400, "malformed host")
    if section.expects_other and minor == 1:
        raise Malformed(417, "unknown expectation")
    message: Message = new_message(section, minor == 0)
    if message.http10 and (message.expects or section.expects_other):  # RFC 9110, section 10.1.1: ignore it
        message.expects = False
        drop_field(section, b"expect")
    fields: list[Any] = pseudo_fields(section, message, method, octets_of(buf, space + 1, stop - 10 - space))
    fields.extend(section.fields)
    message.head = shared(fields)
    if message.head.request_problem is not None:
        raise Malformed(400, message.head.request_problem)
    return message


def version_at(buf: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
    """0 for HTTP/1.0, 1 for HTTP/1.1, 2 for any other, -1 if no version stands at `at`."""
    if end - at < 8 or not equal_at(buf, at, b"HTTP/"):
        return -1
    major: cython.int = buf[at + 5]
    minor: cython.int = buf[at + 7]
    if major < 0x30 or major > 0x39 or buf[at + 6] != 0x2E or minor < 0x30 or minor > 0x39:
        return -1
    if major != 0x31 or minor > 0x31:
        return 2
    return minor - 0x30


def pseudo_fields(section: Section, message: Message, method: bytes, target: bytes) -> list[Any]:
    """The pseudo-header fields of a request. `message` learns what it asks for."""
    scheme: Field = HTTP
    authority: bytes | None = section.host
    path: bytes = target
    protocol: bytes | None = None
    if method == b"CONNECT":
        return connect_fields(section, message, target)
    if target[0] != 0x2F and target != b"*":
        scheme = HTTPS if target[:8].lower() == b"https://" else HTTP
        if scheme is HTTP and target[:7].lower() != b"http://":
            raise Malformed(400, "request target is in none of the four forms")
        authority, path = absolute(target, 8 if scheme is HTTPS else 7, method)
        if section.host is not None and section.host.lower() != authority.lower():
            raise Malformed(400, "host differs from the request target")
    protocol = upgrade_of(section, message, method)
    if protocol is None:
        fields: list[Any] = [field_named(METHOD_NAME, method), scheme]
    else:
        message.tunnel = True
        message.key = section.key
        fields = [CONNECT, field_named(PROTOCOL_NAME, protocol), scheme]
    if authority:
        fields.append(field_named(AUTHORITY_NAME, authority))
    fields.append(field_named(PATH_NAME, path))
    return fields


def absolute(target: bytes, begin: cython.Py_ssize_t, method: bytes) -> tuple[bytes, bytes]:
    """Authority and path of a target in absolute form (RFC 9112, section 3.2.2); the authority begins at `begin`."""
    end: cython.Py_ssize_t = begin
    while end < len(target) and target[end] not in b"/?":
        end += 1
    authority: bytes = target[begin:end]
    problem: str | None = authority_problem(authority)
    if problem is not None:
        raise Malformed(400, problem)
    path: bytes = target[end:]
    if not path:
        return authority, b"*" if method == b"OPTIONS" else b"/"  # RFC 9112, section 3.2.4
    return authority, path if path[0] == 0x2F else b"/" + path


def connect_fields(section: Section, message: Message, target: bytes) -> list[Any]:
    """The pseudo-header fields of CONNECT (RFC 9110, section 9.3.6)."""
    problem: str | None = authority_problem(target, True)
    if problem is not None:
        raise Malformed(400, problem)
    if section.host is not None:
        host: bytes = section.host.lower()
        # The example of RFC 9112, section 3.2.3, has no port in Host; everybody sends one.
        if host != target.lower() and host != target[: target.rindex(b":")].lower():
            raise Malformed(400, "host differs from the request target")
    if message.chunked or message.length > 0:
        raise Malformed(400, "CONNECT with content")
    drop_length(section, message)
    message.tunnel = True
    return [CONNECT, field_named(AUTHORITY_NAME, target)]


def upgrade_of(section: Section, message: Message, method: bytes) -> bytes | None:
    """The protocol a request asks for (RFC 9110, section 7.8), if we hear it: one that has no version, by GET."""
    if section.protocols is None or message.http10 or method != b"GET" or len(section.protocols) != 1:
        return None
    protocol: bytes = section.protocols[0]
    if protocol in UNHEARD or section.options is None or b"upgrade" not in section.options:
        return None
    if not is_token(bytearray(protocol), 0, len(protocol)):
        return None
    if message.chunked or message.length > 0:
        raise Malformed(400, "upgrade with content")
    drop_length(section, message)
    if protocol == b"websocket" and (section.key is None or len(section.key) != 24):  # RFC 6455, section 4.2.1
        raise Malformed(400, "malformed sec-websocket-key")
    return protocol


def drop_length(section: Section, message: Message) -> cython.int:
    """Forget a content-length that means nothing."""
    if message.length >= 0:
        drop_field(section, b"content-length")
        message.length = -1
    return 0


def drop_field(section: Section, name: bytes) -> cython.int:
    """Leave out the fields of this name."""
    field: Field
    kept: list[Any] = []
    for field in section.fields:
        if field.name != name:
            kept.append(field)
    section.fields = kept
    return 0


# -- responses


def read_response(buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> Message:
    """Read a response's head. Malformed; its status means nothing."""
    stop: cython.Py_ssize_t = find_octet(buf, 0x0A, start, end) - 1
    minor: cython.int = version_at(buf, start, stop)
    if minor < 0 or minor > 1:
        raise Malformed(502, "malformed status line, or not HTTP/1.0 or HTTP/1.1")
    # The space behind the status is left out by some that have no reason phrase to say; nothing hangs on it.
    if stop - start < 12 or buf[start + 8] != 0x20 or (stop - start > 12 and buf[start + 12] != 0x20):
        raise Malformed(502, "malformed status line")
    status_field: Field = field_named(STATUS_NAME, octets_of(buf, start + 9, 3))
    if status_field.problem is not None:
        raise Malformed(502, status_field.problem)
    problem: str | None = value_problem_of(octets_of(buf, start + 12, stop - start - 12))
    if problem is not None:
        raise Malformed(502, problem)
    section: Section = new_section(False)
    section.read(buf, stop + 2, end)
    message: Message = new_message(section, minor == 0)
    status: bytes = status_field.value
    if status[0] == 0x31 or status == b"204":
        if message.chunked or message.length > 0:  # RFC 9112, section 6.1
            raise Malformed(502, "content in a response that has none")
        drop_length(section, message)
    if status == b"101":
        message.switched = b""
        if section.options is not None and b"upgrade" in section.options and section.protocols is not None:
            message.switched = b",".join(section.protocols)
        status_field = cython.cast(Field, STATIC_FIELDS[8])
    fields: list[Any] = [status_field]
    fields.extend(section.fields)
    message.head = shared(fields)
    if message.head.response_problem is not None:
        raise Malformed(502, message.head.response_problem)
    return message
