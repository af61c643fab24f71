# cython: language_level=3, wraparound=False, initializedcheck=False
"""A `Head` as the text of an HTTP/1.1 message (RFC 9112): always written anew, never passed through.

What lives here: `Form`, the text of a section, which hangs on its `Head` and is made once. What this must not know:
connections, how a particular message is framed.

Nothing is written that could be read as more than one message: a section that HTTP/2 let through and HTTP/1.1 can't
say has a `problem`, and no text.
"""

from __future__ import annotations

import base64
from typing import Any

import cython

from mesh.wire.fields import Field
from mesh.wire.hpack import Head

if not cython.compiled:
    from mesh.wire.fieldrules import (
        CONTENT_LENGTH,
        COOKIE,
        HOST,
        HTTP2_SETTINGS,
        METHOD,
        STATUS,
        TE,
        WEBSOCKET_ACCEPT,
        WEBSOCKET_KEY,
    )
    from mesh.wire.h1_section import FORBIDDEN_TRAILERS
    from mesh.wire.h1_syntax import authority_problem, is_path, method_problem
    from mesh.wire.octets import octets_of, put_octets

# RFC 9110, section 15, and what IANA has registered since; a client ignores the words.
REASONS: dict[int, bytes] = {
    100: b"Continue", 101: b"Switching Protocols", 102: b"Processing", 103: b"Early Hints",
    200: b"OK", 201: b"Created", 202: b"Accepted", 203: b"Non-Authoritative Information", 204: b"No Content",
    205: b"Reset Content", 206: b"Partial Content", 207: b"Multi-Status", 208: b"Already Reported", 226: b"IM Used",
    300: b"Multiple Choices", 301: b"Moved Permanently", 302: b"Found", 303: b"See Other", 304: b"Not Modified",
    305: b"Use Proxy", 307: b"Temporary Redirect", 308: b"Permanent Redirect",
    400: b"Bad Request", 401: b"Unauthorized", 402: b"Payment Required", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 406: b"Not Acceptable", 407: b"Proxy Authentication Required", 408: b"Request Timeout",
    409: b"Conflict", 410: b"Gone", 411: b"Length Required", 412: b"Precondition Failed", 413: b"Content Too Large",
    414: b"URI Too Long", 415: b"Unsupported Media Type", 416: b"Range Not Satisfiable", 417: b"Expectation Failed",
    421: b"Misdirected Request", 422: b"Unprocessable Content", 423: b"Locked", 424: b"Failed Dependency",
    425: b"Too Early", 426: b"Upgrade Required", 428: b"Precondition Required", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 451: b"Unavailable For Legal Reasons",
    500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable",
    504: b"Gateway Timeout", 505: b"HTTP Version Not Supported", 506: b"Variant Also Negotiates",
    507: b"Insufficient Storage", 508: b"Loop Detected", 511: b"Network Authentication Required",
}  # fmt: skip
# Form.kind
TRAILERS: int = 0
RESPONSE: int = 1
REQUEST: int = 2
# A server may wait for content from these unless told that there is none (RFC 9110, section 8.6).
WITH_CONTENT: frozenset[bytes] = frozenset((b"POST", b"PUT", b"PATCH"))
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
TEXT: bytearray = bytearray(4096)


@cython.no_gc  # refers to octets only
@cython.cclass
class Form:
    """A section in text: `start`, the start line, and `lines`, its fields less content-length, each with CRLF.

    `length`: the content-length line, or b"". `with_content`: a request that says content-length: 0 when it has none.
    `tunnel`: CONNECT or an upgrade, the latter to `protocol`. `has_key`, `has_accept`: Sec-WebSocket-…
    """

    kind: int
    start: bytes
    lines: bytes
    length: bytes
    problem: str | None
    with_content: bool
    tunnel: bool
    protocol: bytes | None
    has_key: bool
    has_accept: bool


@cython.no_gc
@cython.cclass
class Segments:
    """The text of sections that differ in their path and a few fields: `parts[i]` stands before the field at
    `places[i]`, the last part at the end. `form`: of what they have in common."""

    form: Form
    parts: list[bytes]
    places: list[int]


def form_of(head: Head) -> Form:
    """The text of a section; never fails, see `Form.problem`."""
    known: object = head.form
    form: Form
    if known is None:
        form = new_form(head)
        head.form = form
    elif isinstance(known, Segments):
        form = joined(cython.cast(Segments, known), head)
        head.form = form
    else:
        form = cython.cast(Form, known)
    return form


def segments_of(base: Head, fields: list[Any], places: list[Any]) -> Segments:
    """The text of sections like `base` with `fields`, of which those at `places` differ."""
    segments: Segments = Segments.__new__(Segments)
    segments.form = form_of(base)
    segments.places = places
    segments.parts = []
    scratch: Form = Form.__new__(Form)
    scratch.kind = segments.form.kind
    scratch.tunnel = segments.form.tunnel
    scratch.protocol = None
    begin: cython.Py_ssize_t = 0
    cookies: list[Any] = [field for field in fields if field.name == b"cookie"]
    for end in [*places, len(fields)]:
        part: list[Any] = [field for field in fields[begin:end] if field.name != b"cookie"]
        if end == len(fields):
            part = part + cookies
        write_fields(scratch, base, part)
        segments.parts.append(scratch.lines)
        begin = end + 1
    return segments


def joined(segments: Segments, head: Head) -> Form:
    """The form of one of the sections that `segments` was made for."""
    base: Form = segments.form
    form: Form = Form.__new__(Form)
    form.kind = base.kind
    form.problem = base.problem
    form.start = base.start
    form.length = base.length
    form.with_content = base.with_content
    form.tunnel = base.tunnel
    form.protocol = base.protocol
    form.has_key = base.has_key
    form.has_accept = base.has_accept
    form.lines = b""
    if form.kind == REQUEST:
        form.problem = request_line(form, head)
    if form.problem is not None:
        return form
    if not segments.places:
        form.lines = segments.parts[0]
        return form
    at: cython.Py_ssize_t = 0
    i: cython.Py_ssize_t = 0
    place: cython.Py_ssize_t
    field: Field
    for place in segments.places:
        field = cython.cast(Field, head.fields[place])
        at = put_line(put_text(at, segments.parts[i]), field.name, field.value)
        i += 1
    form.lines = octets_of(TEXT, 0, put_text(at, segments.parts[i]))
    return form


def new_form(head: Head) -> Form:
    form: Form = Form.__new__(Form)
    form.start = form.lines = form.length = b""
    form.protocol = None
    form.with_content = form.tunnel = form.has_key = form.has_accept = False
    if head.status:
        form.kind = RESPONSE
        form.problem = head.response_problem
        form.start = b"HTTP/1.1 %d %b\r\n" % (head.status, REASONS.get(head.status, b""))
    elif head.method is not None:
        form.kind = REQUEST
        form.problem = head.request_problem
        if form.problem is None:
            form.problem = request_line(form, head)
    else:
        form.kind = TRAILERS
        form.problem = head.trailers_problem
    if form.problem is None:
        write_fields(form, head, head.fields)
    return form


def request_line(form: Form, head: Head) -> str | None:
    """Set the start line and what the method says; returns what is wrong."""
    method: bytes = head.method  # type: ignore[assignment]
    authority: bytes | None = head.authority
    target: bytes | None = head.path
    field: Field
    if method == b"CONNECT":
        form.tunnel = True
        if head.protocol is None:
            target = authority
        else:
            form.protocol = head.protocol
            method = b"GET"
    elif method_problem(method) is not None:
        return "a known method in another case"
    if authority is None:
        for field in head.fields:
            if field.ref.kind == HOST:
                authority = field.value
    if authority:
        problem: str | None = authority_problem(authority, form.tunnel and form.protocol is None)
        if problem is not None:
            return problem
    if target is None or not is_path(target):
        return "illegal octet in the request target"
    form.with_content = method in WITH_CONTENT
    # RFC 9112, section 3.2: Host is sent in any case, and first.
    at: cython.Py_ssize_t = put_text(0, method)
    at = put_text(at, b" ")
    at = put_text(at, target)
    at = put_text(at, b" HTTP/1.1\r\nhost: ")
    if authority is not None:
        at = put_text(at, authority)
    at = put_text(at, b"\r\n")
    form.start = octets_of(TEXT, 0, at)
    return None


def write_fields(form: Form, head: Head, fields: list[Any]) -> cython.int:
    """Set the lines of some or all of the fields of `head`."""
    field: Field
    kind: cython.int
    at: cython.Py_ssize_t = 0
    cookies: list[Any] | None = None
    if form.protocol is not None:
        at = put_line(at, b"upgrade", form.protocol)
        at = put_line(at, b"connection", b"upgrade")
    for field in fields:
        kind = field.ref.kind
        if form.kind == TRAILERS and field.name in FORBIDDEN_TRAILERS:
            continue
        if kind:
            if METHOD <= kind <= STATUS or kind == HTTP2_SETTINGS:
                continue
            if kind == CONTENT_LENGTH:
                # None in an interim response or a 204 (RFC 9110, section 8.6), nor in what opens a tunnel.
                if not (100 <= head.status < 200 or head.status == 204 or form.tunnel):
                    form.length = b"content-length: %d\r\n" % head.content_length
                continue
            if kind == HOST and form.kind == REQUEST:
                continue
            if kind == TE:  # RFC 9110, section 10.1.4
                at = put_line(at, b"connection", b"te")
            elif kind == WEBSOCKET_KEY:
                form.has_key = True
            elif kind == WEBSOCKET_ACCEPT:
                form.has_accept = True
            elif kind == COOKIE and form.kind == REQUEST:  # RFC 9113, section 8.2.3
                if cookies is None:
                    cookies = []
                cookies.append(field.value)
                continue
        at = put_text(at, field.text) if field.text else put_line(at, field.name, field.value)
    if cookies is not None:
        at = put_line(at, b"cookie", b"; ".join(cookies))
    form.lines = octets_of(TEXT, 0, at)
    return 0


def put_text(at: cython.Py_ssize_t, octets: bytes) -> cython.Py_ssize_t:
    """Write into TEXT at `at`; where it ends."""
    end: cython.Py_ssize_t = at + len(octets)
    if end > len(TEXT):
        TEXT.extend(bytes(end))
    put_octets(TEXT, at, octets)
    return end


def put_line(at: cython.Py_ssize_t, name: bytes, value: bytes) -> cython.Py_ssize_t:
    """Write a field line into TEXT at `at`; where it ends."""
    return put_text(put_text(put_text(put_text(at, name), b": "), value), b"\r\n")


def refusal(status: cython.int) -> bytes:
    """The whole answer to a request that can't be taken."""
    return (
        b"HTTP/1.1 %d %b\r\nconnection: close\r\ncontent-length: 0\r\nmesh-reason: caller_protocol_error\r\n\r\n"
        % (status, REASONS[status])
    )


def accept_of(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455, section 4.2.2)."""
    from hashlib import sha1

    return base64.b64encode(sha1(key + GUID, usedforsecurity=False).digest())
