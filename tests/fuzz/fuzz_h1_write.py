"""HTTP/1.1, writing: a section that came over HTTP/2 is written as one message to everybody who reads it, or refused.

Requests are read by `h11`, llhttp and ourselves, responses too: one message, the same method, target, fields and
content, and nothing behind it. A section that HTTP/1.1 can't say is refused before an octet is written (request
smuggling by downgrade).

An input: an octet that says what is written; lines of fields, `name\\0value`; behind an empty line trailers; behind
another the content.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import h1_compare
import h1_play
from h1_views import Message, View, by_llhttp, requests_h11, responses_h11
from hpack_blocks import FIELDS, NAMES, SECTIONS

from mesh.balance.rng import Rng
from mesh.wire.errors import ConnectionError_, StreamStateError
from mesh.wire.h1 import Connection
from mesh.wire.h2_events import EventLog
from mesh.wire.hpack import Decoder, Encoder, Head, make_head

MAX_LEN = 700
TOKENS = (
    *(
        *NAMES,
        b"\n",
        b"\n\n",
        b"\0",
        b"content-length\0",
        b"cookie\0a=1",
        b"host\0cart",
        b"CONNECT",
        b"GET",
        b"websocket",
    ),
    *(b" HTTP/1.1", b"\r", b"\r\n", b"/\xff", b"cart:80", b"chunked", b"te\0trailers"),
)
LATE_END, MANY, RESPONSE, HTTP10, HEAD_REQUEST = 2, 4, 8, 16, 32  # bits of the first octet
# What HTTP/2 carries to whom it may concern, and a server of HTTP/1.1 has to answer with an error.
HOP_REFUSES = {"unknown expectation": "RFC 9110, section 10.1.1", "sec-websocket-key twice": "RFC 6455, section 11.3.1"}
Pairs = list[tuple[bytes, bytes]]


def line(name: bytes, value: bytes) -> bytes:
    return name.replace(b"\n", b"") + b"\0" + value.replace(b"\n", b"") + b"\n"


def seeds() -> list[bytes]:
    sections = [b"".join(line(*field) for field in section) for section in SECTIONS]
    found = [bytes((how,)) + section + b"\ngrpc-status\x000\n\ncontent" for section in sections for how in (0, 7)]
    found += [bytes((how,)) + section for section in sections for how in (0, 8)]
    found += [bytes((how,)) + sections[0] + line(*field) + b"\n\nabc" for field in FIELDS for how in (0, 1)]
    found += [bytes((how,)) + sections[3] + line(*field) + b"\n\nabc" for field in FIELDS for how in (8, 9, 24, 40)]
    return found


def mutate(data: bytes, rng: random.Random, native: Callable[[bytes], bytes]) -> bytes:
    """A change to the options, to a line, or to half of one."""
    if not data or rng.random() < 0.1:
        return bytes((rng.randrange(64),)) + data[1:]
    lines = data[1:].split(b"\n")
    at = rng.randrange(len(lines))
    what = rng.randrange(7)
    if what == 0:
        lines.insert(at, line(*rng.choice(FIELDS))[:-1])
    elif what == 1:
        del lines[at]
    elif what == 2:
        lines.insert(at, rng.choice(lines))
    elif what == 3:
        name, _, value = lines[at].partition(b"\0")
        lines[at] = name + b"\0" + native(value).replace(b"\n", b"\r")
    elif what == 4:
        lines[at] = native(lines[at])
    elif what == 5:
        lines.insert(
            at,
            rng.choice(
                (b"", b"content-length\x003", b"content-length\x000", b"te\0trailers", b"expect\x00100-continue")
            ),
        )
    else:
        lines[at] = lines[at].partition(b"\0")[0] + b"\0" + rng.choice(FIELDS)[1]
    return data[:1] + b"\n".join(lines)


def fields_of(part: bytes) -> Pairs:
    lines = (text.partition(b"\0") for text in part.split(b"\n") if text)
    return [(name, value) for name, _, value in lines]


def over_http2(pairs: Pairs) -> Head:
    """The section as it comes: decoded, so that what is memorised plays a part."""
    code = Encoder().encode(make_head(pairs))
    return Decoder().decode(bytearray(code), 0, len(code)).head


class Writer:
    """A connection of ours that writes one message, after the request that a response needs."""

    def __init__(self, options: int) -> None:
        self.client = not options & RESPONSE
        self.log = EventLog()
        self.conn = Connection(self.client, self.log, None, Rng(7))
        self.log.conn, self.conn.now = self.conn, 1.0
        self.conn.start()
        if not self.client:
            method = b"HEAD" if options & HEAD_REQUEST else b"GET"
            version = b"1.0\r\nConnection: keep-alive" if options & HTTP10 else b"1.1"
            octets = bytearray(method + b" / HTTP/" + version + b"\r\nHost: cart\r\n\r\n")
            assert self.conn.receive(octets, len(octets)) == len(octets)

    def write(self, options: int, head: Head, trailers: Pairs, content: bytes) -> bool:
        """False if the section was refused; then nothing was written."""
        conn = self.conn
        end = not content and not trailers and not options & LATE_END
        try:
            if self.client:
                stream = conn.request(None, head, conn.field(b"x-extra", b"1"), end)
            else:
                stream = conn.all_streams()[0]
                conn.send_head(stream, head, conn.field(b"x-extra", b"1"), end)
        except StreamStateError:
            assert conn.take_output() == b""
            return False
        if end or stream.local_closed or not stream.headers_sent:
            return True
        content = content[: conn.sendable(stream)]
        cuts = [content[:1], content[1:4], content[4:]] if options & MANY else [content]
        try:
            for part in cuts:
                conn.send_data(stream, part, 0, len(part), False)
            if trailers:
                conn.send_head(stream, over_http2(trailers), conn.field(b"traceparent", b"00-1"), True)
            else:
                conn.send_data(stream, b"", 0, 0, True)
        except StreamStateError:
            conn.reset(stream, 8)  # more or less than content-length has promised, or trailers that are none
        return True


def whole(view: View, name: str) -> Message | None:
    """The one message of a view; None: its end did not come."""
    assert view.error is None, f"{name}: {view.error}"
    assert len(view.messages) <= 1, f"{name} reads several messages"
    assert not view.messages or view.messages[0].complete or not view.rest
    return view.messages[0] if view.messages and view.messages[0].complete else None


def read_by_us(client: bool, octets: bytes, options: int) -> list[h1_compare.Told]:
    log = EventLog()
    conn = Connection(client, log, None, Rng(7))
    log.conn, conn.now = conn, 1.0
    conn.start()
    if client:
        conn.request(None, h1_play.HEAD if options & HEAD_REQUEST else h1_play.GET, b"", True)
        conn.take_output()
    buf = bytearray(octets)
    try:
        used = conn.receive(buf, len(buf))
    except ConnectionError_ as error:
        if not h1_compare.known(error.reason, HOP_REFUSES):
            raise
        return []
    assert used == len(buf) or conn.reading() is False
    if not conn.ending:
        conn.receive_eof()
    return h1_compare.told(log.take())


def same_section(pairs: Pairs, message: Message) -> None:
    """What was meant is what they read: no field more, but for those that frame and route."""
    added = (
        b"x-extra",
        b"connection",
        b"transfer-encoding",
        b"content-length",
        b"host",
        b"upgrade",
        b"sec-websocket-key",
        b"cookie",
    )
    meant = [(name, value) for name, value in pairs if name[:1] != b":" and name not in (*added, b"http2-settings")]
    found = [(name, value) for name, value in message.fields if name not in added]
    assert [(name, value.strip(b" \t")) for name, value in found] == meant, f"{found} of {meant}"
    extra = [value for name, value in message.fields if name == b"x-extra"]
    assert extra == [value for name, value in pairs if name == b"x-extra"] + [b"1"]
    crumbs = [value for name, value in pairs if name == b"cookie"]
    cookies = [value for name, value in message.fields if name == b"cookie"]
    assert b"; ".join(cookies) == b"; ".join(crumbs)


def check(options: int, writer: Writer, pairs: Pairs, head: Head, octets: bytes) -> None:
    cut_off = writer.conn.ending == 2
    tunnel = head.method == b"CONNECT"
    if writer.client:
        views = {"h11": requests_h11(octets, False), "llhttp": by_llhttp(octets)}
    else:
        method = b"HEAD" if options & HEAD_REQUEST else b"GET"
        views = {"h11": responses_h11(octets, [method], writer.conn.ending == 1)}
        if not options & HEAD_REQUEST:
            views["llhttp"] = by_llhttp(octets, responses=True)
    views = {
        name: view for name, view in views.items() if "InvalidMethod" not in (view.error or "")
    }  # llhttp has a list
    if cut_off:
        for view in views.values():
            assert len(view.messages) <= 1
        return
    messages = [message for name, view in views.items() if (message := whole(view, name)) is not None]
    for message in messages:
        same_section(pairs, message)
    ours = read_by_us(not writer.client, octets, options)
    assert len(ours) <= 1
    for message in messages:
        if ours and ours[0].complete:
            h1_compare.same(ours[0], message)
    if writer.client and not tunnel:
        assert messages
        assert messages[0].start == (head.method, head.path), f"{messages[0].start}"
        assert not ours or ours[0].complete
    elif not writer.client and head.status >= 200:
        assert messages
        assert messages[0].start == (b"%d" % head.status,)


def run(data: bytes) -> object:
    if not data:
        return None
    options = data[0]
    section, _, rest = data[1:].partition(b"\n\n")
    behind, _, content = rest.partition(b"\n\n")
    pairs, trailers = fields_of(section), fields_of(behind)
    head = over_http2(pairs)
    problem = head.request_problem if not options & RESPONSE else head.response_problem
    if any(name in h1_compare.PER_CALL for name, _ in pairs):
        return None
    writer = Writer(options)
    taken = writer.write(options, head, trailers, content)
    assert not (taken and problem is not None), f"written though malformed: {problem}"
    octets = writer.conn.take_output()
    if taken:
        check(options, writer, pairs, head, octets)
    return taken, octets, writer.conn.ending
