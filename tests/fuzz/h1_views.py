"""HTTP/1.1 octets as `h11` and `httptools` (llhttp, which Node runs) read them, in one form to compare with ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import h11
import httptools

INTERIM = re.compile(rb"1[0-9]{2}")


@dataclass
class Message:
    """One message. `complete`: its end was met; `start`: method and target, or status."""

    start: tuple[bytes, ...]
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    complete: bool = False
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass
class View:
    """All messages of a connection, and why there are no more."""

    messages: list[Message]
    error: str | None = None
    interim: int = 0
    http10: bool = False  # the last request was of that version, after which h11 never goes on
    rest: bytes = b""  # behind a request or response that changed the protocol


def pairs(headers: object) -> list[tuple[bytes, bytes]]:
    return [(bytes(name).lower(), bytes(value)) for name, value in headers]  # type: ignore[attr-defined]


def take(conn: h11.Connection, view: View) -> bool:
    """The events of one message; True if it is complete and the connection may go on."""
    while True:
        event = conn.next_event()
        match event:
            case h11.Request():
                view.http10 = event.http_version == b"1.0"
                view.messages.append(Message((event.method, event.target), pairs(event.headers)))
            case h11.Response():
                view.messages.append(Message((b"%d" % event.status_code,), pairs(event.headers)))
            case h11.InformationalResponse():
                view.interim += 1
                if event.status_code == 101:
                    view.messages.append(Message((b"101",), pairs(event.headers), complete=True))
                    view.rest = conn.trailing_data[0]
                    return False
            case h11.Data():
                view.messages[-1].body += bytes(event.data)
            case h11.EndOfMessage():
                view.messages[-1].complete = True
                view.messages[-1].trailers = pairs(event.headers)
                return True
            case _:  # NEED_DATA, PAUSED, ConnectionClosed
                view.rest = conn.trailing_data[0]
                return False


def requests_h11(octets: bytes, eof: bool) -> View:
    """As a server reads them that answers each with 400, so that no tunnel opens."""
    conn, view = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 17), View([])
    try:
        if octets:
            conn.receive_data(octets)
        if eof:
            conn.receive_data(b"")
        while take(conn, view):
            conn.send(h11.Response(status_code=400, headers=[("content-length", "0")]))
            conn.send(h11.EndOfMessage())
            if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                break
            conn.start_next_cycle()
    except h11.RemoteProtocolError as error:
        view.error = str(error)
    return view


def responses_h11(octets: bytes, methods: list[bytes], eof: bool) -> View:
    """As a client reads them that has asked by these methods, one after the other."""
    conn, view = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 17), View([])
    try:
        for number, method in enumerate(methods):
            upgrade = [("upgrade", "websocket"), ("connection", "upgrade")] if method == b"UPGRADE" else []
            asked = b"GET" if method == b"UPGRADE" else method
            target = "cart:80" if method == b"CONNECT" else "/"
            conn.send(h11.Request(method=asked, target=target, headers=[("host", "cart"), *upgrade]))
            conn.send(h11.EndOfMessage())
            if number == 0:
                if octets:
                    conn.receive_data(octets)
                if eof:
                    conn.receive_data(b"")
            if not take(conn, view) or conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                break
            conn.start_next_cycle()
        else:
            view.rest = conn.trailing_data[0]
    except h11.RemoteProtocolError as error:
        view.error = str(error)
    return view


class Collector:
    """The callbacks of llhttp."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.parser: httptools.HttpRequestParser | httptools.HttpResponseParser | None = None
        self.url, self.fields = b"", list[tuple[bytes, bytes]]()
        self.content = False

    def on_message_begin(self) -> None:
        self.url, self.fields, self.content = b"", [], False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        (self.view.messages[-1].trailers if self.content else self.fields).append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.content = True
        if isinstance(self.parser, httptools.HttpRequestParser):
            start: tuple[bytes, ...] = self.parser.get_method(), self.url
        else:
            assert self.parser is not None
            start = (b"%d" % self.parser.get_status_code(),)
        self.view.messages.append(Message(start, self.fields))

    def on_body(self, body: bytes) -> None:
        self.view.messages[-1].body += body

    def on_message_complete(self) -> None:
        self.view.messages[-1].complete = True


def by_llhttp(octets: bytes, responses: bool = False) -> View:
    view = View([])
    collector = Collector(view)
    collector.parser = (httptools.HttpResponseParser if responses else httptools.HttpRequestParser)(collector)
    try:
        collector.parser.feed_data(octets)
    except httptools.HttpParserUpgrade as upgrade:
        # Whatever the version and the method are, it leaves the content to others.
        view.rest = octets[upgrade.args[0] :]
        view.messages[-1].complete = False
    except httptools.HttpParserError as error:
        view.error = f"{type(error).__name__}: {error}"
    view.messages = [message for message in view.messages if not INTERIM.fullmatch(message.start[0])]
    return view
