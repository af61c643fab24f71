"""Other parsers of HTTP/1.1 (h11, and llhttp by httptools) and ours, told in the same words.

A message is (section, content, trailers): the section as HTTP/2 would have it, as far as it can be had from what the
other parser tells. Each parser tells the messages that are complete, and what became of the rest: it waits for more, it
refuses it, or it has no opinion (the connection is at its end, or speaks another protocol from there).
"""

from __future__ import annotations

from typing import Any

import h11
import httptools
from h1_peer import Side, head, request, told

Fields = tuple[tuple[bytes, bytes], ...]
Message = tuple[Fields, bytes, Fields]
WAITS, REFUSES, NO_OPINION = "waits", "refuses", "has no opinion"
Told = tuple[list[Message], str]
# RFC 9110, section 7.6.1, and Host, which becomes :authority.
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
PER_CALL = (b"traceparent", b"tracestate", b"grpc-timeout")


def members(values: list[bytes]) -> list[bytes]:
    return [part for value in values for member in value.lower().split(b",") if (part := member.strip(b" \t"))]


def values_of(headers: Fields, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def end_to_end(headers: Fields, http10: bool = False) -> list[tuple[bytes, bytes]]:
    """The fields that go on, sorted: per-call ones and TE are put elsewhere by our parser."""
    options = members(values_of(headers, b"connection"))
    kept = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    kept = [(name, value) for name, value in kept
            if name not in HOP_BY_HOP and name not in (b"host", b"te") and name not in options
            and not (http10 and name == b"expect")]
    kept = [(name, b"%d" % int(value)) if name == b"content-length" else (name, value) for name, value in kept]
    for name in PER_CALL:  # what HPACK's decoder makes of several
        several = [value for key, value in kept if key == name]
        if len(several) > 1:
            one = {b"traceparent": b"", b"tracestate": b",".join(several), b"grpc-timeout": several[-1]}[name]
            kept = [field for field in kept if field[0] != name] + [(name, one)]
    if b"trailers" in members(values_of(headers, b"te")):
        kept.append((b"te", b"trailers"))
    return sorted(kept)


def request_section(method: bytes, target: bytes, headers: Fields, http10: bool) -> Fields:
    """The section that a request line and fields mean."""
    host = b"".join(values_of(headers, b"host")).strip(b" \t")
    upgrade = members(values_of(headers, b"upgrade"))
    pseudo: list[tuple[bytes, bytes]]
    if method == b"CONNECT":
        kept = [field for field in end_to_end(headers) if field[0] != b"content-length"]
        return tuple(sorted([(b":authority", target), (b":method", b"CONNECT"), *kept]))
    scheme, path = b"http", target
    if not target.startswith((b"/", b"*")):
        found, _, rest = target.partition(b"://")
        scheme = found.lower()
        cut = min(at for at in (rest.find(b"/"), rest.find(b"?"), len(rest)) if at >= 0)
        host, path = rest[:cut], rest[cut:]
        if not path.startswith(b"/"):
            path = b"/" + path if path or method != b"OPTIONS" else b"*"
    pseudo = [(b":authority", host)] if host else []
    pseudo += [(b":method", method), (b":path", path), (b":scheme", scheme)]
    kept = end_to_end(headers, http10)
    if (method == b"GET" and not http10 and len(upgrade) == 1 and upgrade[0] not in (b"h2c", b"h2", b"http", b"tls")
            and b"/" not in upgrade[0] and b"upgrade" in members(values_of(headers, b"connection"))):
        pseudo = [(name, b"CONNECT" if name == b":method" else value) for name, value in pseudo]
        pseudo.append((b":protocol", upgrade[0]))
        kept = [field for field in kept if field[0] != b"content-length"]
    return tuple(sorted(pseudo + kept))


def response_section(status: int, headers: Fields) -> Fields:
    kept = end_to_end(headers)
    if status < 200 or status == 204:
        kept = [field for field in kept if field[0] != b"content-length"]
    return tuple(sorted([(b":status", b"200" if status == 101 else b"%d" % status), *kept]))


# -- ours


def messages_of(events: list[tuple[Any, ...]]) -> list[Message]:
    """The complete messages, and a tunnel's beginning."""
    found: list[Message] = []
    section: Fields | None = None
    content = b""
    for event in told(events):
        if event[0] == "headers":
            fields: Fields = tuple(sorted(event[2]))
            tunnel = dict(fields).get(b":method") == b"CONNECT"
            if section is not None and not any(name.startswith(b":") for name, _ in fields):
                found.append((section, content, fields))
                section = None
            elif event[3] or tunnel or dict(fields).get(b":status", b"200").startswith(b"1"):
                found.append((fields, b"", ()))
            else:
                section, content = fields, b""
        elif event[0] == "data" and section is not None:
            content += event[2]
            if event[3]:
                found.append((section, content, ()))
                section = None
    return found


def pieces(octets: bytes, cuts: tuple[int, ...]) -> list[bytes]:
    edges = (0, *cuts, len(octets))
    return [octets[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]


def our_requests(octets: bytes, cuts: tuple[int, ...] = ()) -> Told:
    """The requests, each answered with a 204, and what becomes of the rest."""
    side = Side()

    def answer(event: tuple[Any, ...], stream: Any) -> None:
        if event[0] in ("headers", "data") and event[3]:
            side.conn.send_head(stream, head((b":status", b"204")), b"", True)

    side.log.hook = answer
    for piece in pieces(octets, cuts):
        if side.error is None:
            side.feed(piece)
    return messages_of(side.events()), verdict(side)


def verdict(side: Side) -> str:
    if side.error is not None:
        return REFUSES
    return NO_OPINION if side.conn.ending or not side.conn.reading() else WAITS


def our_responses(octets: bytes, method: bytes = b"GET", cuts: tuple[int, ...] = ()) -> Told:
    """The responses to one request, the octets being all there are, and what becomes of the rest."""
    side = Side(client=True)
    side.conn.request(None, request(method), b"", True)
    for piece in pieces(octets, cuts):
        if side.error is None:
            side.feed(piece)
    if side.error is None and side.conn.active:
        side.conn.receive_eof()
    return messages_of(side.events()), verdict(side)


# -- h11


def h11_requests(octets: bytes) -> Told:
    conn = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 17)
    found: list[Message] = []
    section: Fields = ()
    content = b""
    try:
        conn.receive_data(octets)
        while True:
            event = conn.next_event()
            match event:
                case h11.Request():
                    headers = tuple((bytes(name), bytes(value)) for name, value in event.headers.raw_items())
                    section = request_section(event.method, event.target, headers, event.http_version == b"1.0")
                    content = b""
                    if dict(section)[b":method"] == b"CONNECT":
                        found.append((section, b"", ()))
                        return found, NO_OPINION
                case h11.Data():
                    content += bytes(event.data)
                case h11.EndOfMessage():
                    trailers = tuple((bytes(name), bytes(value)) for name, value in event.headers.raw_items())
                    found.append((section, content, tuple(end_to_end(trailers))))
                    conn.send(h11.Response(status_code=204, headers=[]))
                    conn.send(h11.EndOfMessage())
                    if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                        return found, NO_OPINION
                    conn.start_next_cycle()
                case _:
                    return found, WAITS if event is h11.NEED_DATA else NO_OPINION
    except h11.RemoteProtocolError as error:
        # RFC 9112, section 2.2, lets a few empty lines pass before a request; h11 doesn't.
        return found, NO_OPINION if str(error) == "no request line received" else REFUSES


def h11_responses(octets: bytes, method: bytes = b"GET") -> Told:
    conn = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 17)
    conn.send(h11.Request(method=method, target=b"/x", headers=[(b"host", b"cart")]))
    conn.send(h11.EndOfMessage())
    found: list[Message] = []
    section: Fields = ()
    content = b""
    try:
        conn.receive_data(octets)
        ended = False
        while True:
            event = conn.next_event()
            match event:
                case h11.InformationalResponse() | h11.Response():
                    headers = tuple((bytes(name), bytes(value)) for name, value in event.headers.raw_items())
                    section, content = response_section(event.status_code, headers), b""
                    if isinstance(event, h11.InformationalResponse):
                        found.append((section, b"", ()))
                case h11.Data():
                    content += bytes(event.data)
                case h11.EndOfMessage():
                    trailers = tuple((bytes(name), bytes(value)) for name, value in event.headers.raw_items())
                    found.append((section, content, tuple(end_to_end(trailers))))
                    return found, REFUSES if conn.trailing_data[0] else WAITS
                case h11.NEED_DATA if not ended:
                    conn.receive_data(b"")
                    ended = True
                case _:
                    return found, NO_OPINION
    except h11.RemoteProtocolError:
        return found, WAITS if ended else REFUSES  # an end in the middle is nobody's mistake


# -- llhttp


class Callbacks:
    """What httptools calls."""

    def __init__(self) -> None:
        self.parser: Any = None
        self.url = self.content = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.in_content = False

    def on_message_begin(self) -> None:
        self.url = self.content = b""
        self.headers, self.trailers, self.in_content = [], [], False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        (self.trailers if self.in_content else self.headers).append((name, value))

    def on_headers_complete(self) -> None:
        self.in_content = True

    def on_body(self, body: bytes) -> None:
        self.content += body

    def on_message_complete(self) -> None:
        raise NotImplementedError


def fed(callbacks: Callbacks, octets: bytes) -> str:
    try:
        callbacks.parser.feed_data(octets)
    except httptools.HttpParserUpgrade:
        return NO_OPINION
    except httptools.HttpParserInvalidMethodError:
        return NO_OPINION  # it only knows methods that are registered
    except httptools.HttpParserError:
        # RFC 9110, section 5.5: a tab behind a value belongs to it no more than a space; it takes it for a coding.
        return NO_OPINION if b"chunked\t\r\n" in octets else REFUSES
    return WAITS


def llhttp_requests(octets: bytes) -> Told:
    found: list[Message] = []

    class Requests(Callbacks):
        def on_message_complete(self) -> None:
            http10 = self.parser.get_http_version() == "1.0"
            section = request_section(self.parser.get_method(), self.url, tuple(self.headers), http10)
            found.append((section, self.content, tuple(end_to_end(tuple(self.trailers)))))

    callbacks = Requests()
    callbacks.parser = httptools.HttpRequestParser(callbacks)
    how = fed(callbacks, octets)
    if how == NO_OPINION and found and callbacks.parser.should_upgrade():
        found.pop()  # it says nothing of content where an upgrade is asked for
    return found, how


def llhttp_responses(octets: bytes) -> Told:
    found: list[Message] = []

    class Responses(Callbacks):
        def on_message_complete(self) -> None:
            section = response_section(self.parser.get_status_code(), tuple(self.headers))
            found.append((section, self.content, tuple(end_to_end(tuple(self.trailers)))))
            self.in_content = False

    callbacks = Responses()
    callbacks.parser = httptools.HttpResponseParser(callbacks)
    how = fed(callbacks, octets)
    # It can't be told of the end of the connection, which may be the end of the content.
    return found, NO_OPINION if how == WAITS and callbacks.in_content else how


def disagreement(ours: Told, theirs: Told) -> str | None:
    """What two parsers make of the same octets that must not be, or None: we may refuse more, and nothing else."""
    (us, our_rest), (them, their_rest) = ours, theirs
    common = min(len(us), len(them))
    if us[:common] != them[:common]:
        return "a message differs"
    if len(them) < len(us):
        return None if their_rest == NO_OPINION else f"a message of ours: their parser {their_rest}"
    if len(them) > len(us):
        return f"a message of theirs: ours {our_rest}" if our_rest == WAITS else None
    if their_rest == REFUSES and our_rest == WAITS:
        return "they refuse the rest"
    return None
