"""Trace context: `traceparent` is read as OpenTelemetry reads it, or by neither; written and read again it is the same.

`tracestate` is cut to its limits by whole members, and what was cut once isn't cut further.
"""

from __future__ import annotations

import re

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mesh.wire.tracecontext import format_traceparent, limit_tracestate, parse_traceparent

MAX_LEN = 700
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TOKENS = (
    b"00-",
    b"ff-",
    b"01-",
    b"-",
    b"0" * 32,
    b"0" * 16,
    b"congo=t61rcWkgMzE",
    b"rojo=00f067aa0ba902b7",
    b",",
    b"=",
    b" \t",
)
ORACLE = TraceContextTextMapPropagator()
SHAPE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.DOTALL)


def seeds() -> list[bytes]:
    return [
        PARENT,
        PARENT.upper(),
        PARENT + b"-",
        b"01" + PARENT[2:] + b"-more",
        b"cc" + PARENT[2:] + b"more",
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-00",
        b"ff" + PARENT[2:],
        PARENT[:-2] + b"ff",
        b"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
        b"a=1, b=2 ,\tc=3,,",
        b"novalue",
        b"=x",
        b"k=v," * 40,
        b"k=" + b"v" * 300 + b",l=" + b"w" * 300,
    ]


def run(data: bytes) -> object:
    parent = parse_traceparent(data)
    span = None
    # The oracle takes text, forgives white space, and looks at no more than 512 octets.
    if data.isascii() and data.strip() == data and b"\n" not in data and len(data) <= 512:
        context = ORACLE.extract({"traceparent": data.decode()})
        span = trace.get_current_span(context).get_span_context()
        if not span.is_valid:
            span = None
        assert (span is None) == (parent is None), f"{span}"
    state = limit_tracestate(data)
    members = [member.strip(b" \t") for member in data.split(b",")]
    kept = state.split(b",") if state else []
    assert kept == [member for member in members if member][: len(kept)]
    assert len(state) <= 512
    assert len(kept) <= 32
    assert limit_tracestate(state) == state
    if parent is None:
        return state
    assert SHAPE.fullmatch(data)
    if span is not None:
        assert (parent.trace_hi << 64 | parent.trace_lo, parent.span_id) == (span.trace_id, span.span_id)
        assert (parent.flags & 1) == (span.trace_flags & 1)
    written = format_traceparent(parent.trace_hi, parent.trace_lo, parent.span_id, parent.flags)
    assert written[3:52] == data[3:52]
    again = parse_traceparent(written)
    assert again is not None
    numbers = parent.trace_hi, parent.trace_lo, parent.span_id, parent.flags
    assert numbers == (again.trace_hi, again.trace_lo, again.span_id, again.flags)
    return state, written, numbers
