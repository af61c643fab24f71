"""What we were told of HTTP/1.1 messages against what `h11` and llhttp read, and where we differ from h11, and why."""

from __future__ import annotations

from typing import Any

from h1_views import Message, View

PER_CALL = (b"traceparent", b"tracestate", b"grpc-timeout")
# Fields that concern one connection, or stand elsewhere in our section.
OURS_ALONE = frozenset(
    (b"host", b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"http2-settings",
     b"te", b"content-length", b"expect", *PER_CALL)
)  # fmt: skip
# What we refuse and h11 takes.
STRICTER = {
    "white space before a field name": "RFC 9112, section 5.2: a folded line is refused or replaced; h11 replaces it",
    "a known method in another case": "methods are case-sensitive, and somebody behind us may not think so",
    "malformed request line": "section 3.2: a fragment, or octets that have no place in a target",
    "request target is in none of the four forms": "section 3.2",
    "illegal octet in :path": "section 3.2",
    ":path * without OPTIONS": "section 3.2.4",
    "version is not": "section 2.3; h11 takes any digits",
    "host twice": "section 3.2; in a response the field has no place at all, h11 passes it on",
    "malformed host": "section 3.2: answered with 400",
    "host differs from the request target": "section 3.2.2",
    "malformed authority": "section 3.2.3; h11 doesn't look at it",
    "authority without a port": "section 3.2.3",
    "port above 65535": "no such port",
    "bare LF": "section 2.2 allows either; h11 takes it",
    "content-length twice": "RFC 9110, section 8.6: refused or replaced; h11 replaces equal ones",
    "both transfer-encoding and content-length": "RFC 9112, section 6.1; h11 goes by transfer-encoding",
    "transfer-encoding in HTTP/1.0": "section 6.1",
    "content-length is too large": "18 digits",
    "CONNECT with content": "RFC 9110, section 9.3.6: it has no meaning",
    "upgrade with content": "what follows could be taken for either",
    "malformed sec-websocket-key": "RFC 6455, section 4.2.1",
    "sec-websocket-key twice": "RFC 6455, section 11.3.1",
    "content in a response that has none": "RFC 9112, section 6.1 (1xx, 204); h11 overlooks it",
    "malformed status line": "section 4; h11 takes any digits for the version",
    "content-length is not a number": "section 6.3, item 5: a list of equal ones is refused or replaced",
    "101 that was not asked for": "RFC 9110, section 7.8",
    "too many interim responses": "our limit",
    "octets after the response": "what nobody asked for",
    "unknown expectation": "RFC 9110, section 10.1.1: 417",
    "illegal octet in a field value": "section 5.5; h11 lets control characters through",
    "field that frames or routes in a trailer section": "section 6.5.1",
    "connection option is not a token": "section 7.6.1",
    "connection names a field that is not for it": "section 7.6.1",
    "malformed chunk": "RFC 9112, section 7.1.1: white space and extensions without a name",
    "illegal octet in a chunk extension": "section 7.1.1",
}
# What h11 refuses and we take.
MILDER = {
    "no request line received": "section 2.2: an empty line before a request is overlooked",
}


class Told:
    """One message as our handler was told of it."""

    def __init__(self, fields: tuple[tuple[bytes, bytes], ...]) -> None:
        self.fields = fields
        self.names = dict(fields)
        self.body = b""
        self.complete = False
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def tunnel(self) -> bool:
        return self.names.get(b":method") == b"CONNECT"


def told(events: list[tuple[Any, ...]]) -> list[Told]:
    """The messages of all streams in order; interim responses are left out."""
    messages: list[Told] = []
    stream = 0
    for event in events:
        if event[0] == "headers":
            names = dict(event[2])
            if names.get(b":status", b"200")[:1] == b"1":
                continue
            if event[1] != stream:
                stream = event[1]
                messages.append(Told(event[2]))
            else:
                messages[-1].trailers = event[2]
            messages[-1].complete |= event[3]
        elif event[0] == "data" and event[1] == stream:
            messages[-1].body += event[2]
            messages[-1].complete |= event[3]
    return messages


def known(reason: str, reasons: dict[str, str]) -> bool:
    return any(reason.startswith(each) for each in reasons)


def same_fields(ours: Told, theirs: Message) -> None:
    """Ours are theirs in their order, less those that concern the connection."""
    nominated = {
        option.strip(b" \t").lower()
        for name, value in theirs.fields if name == b"connection" for option in value.split(b",")
    }  # fmt: skip
    gone = OURS_ALONE | nominated
    expected = [(name, value.strip(b" \t")) for name, value in theirs.fields if name not in gone]
    found = [(name, value) for name, value in ours.fields if name not in gone and not name.startswith(b":")]
    assert found == expected, f"we were told {found}, h11 {expected}"
    for name in PER_CALL:
        assert name not in ours.names or name in dict(theirs.fields)
    lengths = [int(value) for name, value in theirs.fields if name == b"content-length"]
    if b"content-length" in ours.names:
        assert [int(ours.names[b"content-length"])] == lengths


def same_request(ours: Told, theirs: Message) -> None:
    method, target = theirs.start
    path = ours.names.get(b":path")
    if ours.tunnel and path is None:
        assert (method, target) == (b"CONNECT", ours.names[b":authority"])
        return
    assert method == (b"GET" if ours.tunnel else ours.names[b":method"])
    assert path is not None
    if target[:1] in (b"/", b"*"):
        assert path == target
        hosts = [value.strip(b" \t") for name, value in theirs.fields if name == b"host"]
        assert ours.names.get(b":authority", b"") == (hosts[0] if hosts else b"")
    else:
        scheme, _, rest = target.partition(b"://")
        assert scheme.lower() == ours.names[b":scheme"]
        authority = ours.names[b":authority"]
        assert rest[: len(authority)] == authority
        assert rest[len(authority) :] in (path, path[1:], b"")
        assert rest[len(authority) :] or path in (b"/", b"*")


def same(ours: Told, theirs: Message) -> None:
    if b":status" in ours.names:
        assert ours.names[b":status"] == theirs.start[0]
    else:
        same_request(ours, theirs)
    assert ours.body == theirs.body, f"we were told {ours.body!r}, they {theirs.body!r}"


def compare(messages: list[Told], error: tuple[int, str] | None, over: bool, view: View, llhttp: View) -> None:
    """`over`: ours ended the connection, for whatever reason."""
    ours = [message for message in messages if message.complete]
    for mine, other in zip(ours, view.messages, strict=False):
        assert other.complete or view.error, "complete only to us"
        if other.complete:
            same(mine, other)
            same_fields(mine, other)
            kept = [pair for pair in other.trailers if pair in mine.trailers]
            assert [pair for pair in mine.trailers if pair[0] not in PER_CALL] == [
                pair for pair in kept if pair[0] not in PER_CALL]  # fmt: skip
    for mine, other in zip(ours, llhttp.messages, strict=False):
        if other.complete:
            same(mine, other)
    theirs = sum(message.complete for message in view.messages)
    tunnel = any(message.tunnel for message in messages)
    if error is not None and theirs > len(ours):
        assert known(error[1], STRICTER), f"only we object: {error}"
    elif view.error is not None and len(ours) > theirs:
        assert known(view.error, MILDER), f"only h11 objects: {view.error}"
    elif not over and not tunnel and view.error is None:
        kept = view.http10 and len(ours) > theirs
        assert len(ours) == theirs or kept, f"we were told of {len(ours)} messages, h11 of {theirs}"
