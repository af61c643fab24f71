# cython: language_level=3, wraparound=False, initializedcheck=False
"""The view of a connection as a list of events, for tests and transcripts.

What lives here: a handler that writes down what it is told. What this must not know: anything that decides.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.codec import Handler, Stream
from mesh.wire.fields import Field
from mesh.wire.hpack import Block


class EventLog(Handler):
    """Collects in `events`, as tuples, all that a connection tells; `streams` has each stream it spoke of, by id.

    ("headers", id, ((name, value), …), end), the per-call fields last · ("data", id, octets, end) · ("reset", id,
    code, by_peer) · ("writable", id or 0) · ("goaway", last id, code, debug) · ("settings",) · ("ping_ack", data).
    With `conn` set and `auto_release`, DATA is released at once. `hook(event, stream)` is called for each event, if
    set.
    """

    def __init__(self, auto_release: bool = True) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.streams: dict[int, Stream] = {}
        self.conn: Any = None
        self.auto_release: bool = auto_release
        self.hook: Any = None

    def take(self) -> list[tuple[Any, ...]]:
        """The events so far; the list starts anew."""
        events: list[tuple[Any, ...]] = self.events
        self.events = []
        return events

    def note(self, event: tuple[Any, ...], stream: Stream | None) -> cython.int:
        self.events.append(event)
        if stream is not None:
            self.streams[stream.id] = stream
        if self.hook is not None:
            self.hook(event, stream)
        return 0

    def on_headers(self, stream: Stream, block: Block, end: cython.bint) -> cython.int:
        field: Field
        pairs: list[Any] = []
        for field in block.head.fields:
            pairs.append((field.name, field.value))
        if block.traceparent is not None:
            pairs.append((b"traceparent", block.traceparent))
        if block.tracestate is not None:
            pairs.append((b"tracestate", block.tracestate))
        if block.grpc_timeout is not None:
            pairs.append((b"grpc-timeout", block.grpc_timeout))
        return self.note(("headers", stream.id, tuple(pairs), bool(end)), stream)

    def on_data(self, stream: Stream, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                credit: cython.int, end: cython.bint) -> cython.int:
        self.note(("data", stream.id, bytes(buf[start : start + n]), bool(end)), stream)
        if self.auto_release and self.conn is not None:
            self.conn.release(stream, credit)
        return 0

    def on_reset(self, stream: Stream, code: cython.uint, by_peer: cython.bint) -> cython.int:
        return self.note(("reset", stream.id, code, bool(by_peer)), stream)

    def on_writable(self, stream: Stream | None) -> cython.int:
        return self.note(("writable", stream.id if stream is not None else 0), stream)

    def on_goaway(self, last_id: cython.uint, code: cython.uint, debug: bytes) -> cython.int:
        return self.note(("goaway", last_id, code, debug), None)

    def on_settings(self) -> cython.int:
        return self.note(("settings",), None)

    def on_ping_ack(self, data: bytes) -> cython.int:
        return self.note(("ping_ack", data), None)
