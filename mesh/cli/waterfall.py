"""The waterfall of a trace as lines of text: a tree of spans, each with a bar on a common time axis.

What lives here: pure layout; spans in, lines out. What this must not know: gRPC, the terminal (its width and abilities
are handed in). Colours are ANSI codes, so that nothing has to be imported for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.cli.output import format_seconds

MIN_WIDTH = 60
_MIN_BAR, _MAX_BAR = 10, 48
_DEPTH_SHOWN = 12  # deeper levels are not indented any further
_RED, _YELLOW, _DIM, _BOLD, _RESET = "\033[31m", "\033[33m", "\033[2m", "\033[1m", "\033[0m"


class Event(NamedTuple):
    """`at_ns` in unix nanoseconds."""

    at_ns: int
    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Span:
    """One span; times in unix nanoseconds, `parent_id` empty for a root."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    start_ns: int
    duration_ns: int
    error: bool = False
    status_message: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    @property
    def is_retry(self) -> bool:
        """Whether this is one more attempt of the request above it."""
        return "http.request.resend_count" in self.attributes


class Row(NamedTuple):
    """A span at its place in the tree. `branch` is the drawing before its name; `orphan`: its parent isn't here."""

    branch: str
    below: str
    span: Span
    orphan: bool


class Style(NamedTuple):
    """What the terminal can show; `width` in columns."""

    width: int = 100
    colour: bool = False
    unicode: bool = True


def tree(spans: Iterable[Span], unicode: bool = True) -> list[Row]:
    """Return the spans parents first, siblings by start; each once, also when the parents go in circles."""
    tee, corner, pipe = ("├ ", "└ ", "│ ") if unicode else ("|-", "`-", "| ")
    ordered = sorted(spans, key=lambda span: (span.start_ns, -span.duration_ns, span.span_id))
    ids = {span.span_id for span in ordered}
    children: dict[str, list[Span]] = {}
    roots: list[Span] = []
    for span in ordered:
        if span.parent_id in ids and span.parent_id != span.span_id:
            children.setdefault(span.parent_id, []).append(span)
        else:
            roots.append(span)
    rows: list[Row] = []
    seen: set[int] = set()

    def walk(start: Span) -> None:
        stack = [(start, "", "", 0)]
        while stack:
            span, branch, below, depth = stack.pop()
            if id(span) in seen:
                continue
            seen.add(id(span))
            rows.append(Row(branch, below, span, depth == 0 and bool(span.parent_id)))
            mine = children.get(span.span_id, ())
            for index in range(len(mine) - 1, -1, -1):
                last = index == len(mine) - 1
                deep = depth >= _DEPTH_SHOWN
                stack.append((mine[index], branch if deep else below + (corner if last else tee),
                              below if deep else below + ("  " if last else pipe), depth + 1))

    for root in roots:
        walk(root)
    for span in ordered:  # what only a circle of parents holds
        if id(span) not in seen:
            walk(span)
    return rows


def render(trace_id: str, spans: Sequence[Span], style: Style) -> list[str]:
    """Return the lines: what the trace is, its waterfall, and its errors in full."""
    width = max(style.width, MIN_WIDTH)
    rows = tree(spans, style.unicode)
    start = min((span.start_ns for span in spans), default=0)
    total = max(max((span.start_ns + span.duration_ns for span in spans), default=0) - start, 1)
    names = [row.branch + _label(row.span) for row in rows]
    label = min(max(map(len, names), default=0), max(24, width * 2 // 5))
    details = [_detail(row, style.unicode) for row in rows]
    free = width - label - 11
    bar = max(_MIN_BAR, min(_MAX_BAR, free - min(max(map(len, details), default=0), free * 2 // 3)))
    room = free - bar
    lines = [_headline(trace_id, spans, total, style), ""]
    for row, name, detail in zip(rows, names, details, strict=True):
        span = row.span
        colour = _RED if span.error else _YELLOW if span.is_retry else ""
        lines.append(" ".join((
            _cut(name, label, style).ljust(label),
            _paint(_bar(span, start, total, bar, style.unicode), colour, style),
            format_seconds(span.duration_ns / 1e9).rjust(8),
            _paint(_cut(detail, room, style), colour, style))).rstrip())
        for event in span.events:
            text = f"{row.below}  {'·' if style.unicode else '*'} {_event(event, start)}"
            lines.append(_paint(_cut(text, width, style), _DIM, style))
    errors = [row.span for row in rows if row.span.error]
    if errors:
        lines += ["", "Errors:"]
        lines += [f"  {_label(span)}: {_reason(span)}" for span in errors]
    return lines


def _headline(trace_id: str, spans: Sequence[Span], total: int, style: Style) -> str:
    services = len({span.service for span in spans})
    errors = sum(1 for span in spans if span.error)
    retries = sum(1 for span in spans if span.is_retry)
    parts = [_many(len(spans), "span"), _many(services, "service"), format_seconds(total / 1e9)]
    parts += [_many(errors, "error")] if errors else []
    parts += [_many(retries, "retried attempt")] if retries else []
    return f"Trace {_paint(trace_id, _BOLD, style)}: {', '.join(parts)}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _label(span: Span) -> str:
    return _printable(f"{span.service} {span.name}" if span.service else span.name)


def _bar(span: Span, start: int, total: int, width: int, unicode: bool) -> str:
    """The span's share of the axis, at least one cell."""
    first = min((span.start_ns - start) * width // total, width - 1)
    length = max(1, min(round(span.duration_ns * width / total), width - first))
    full = ("▒" if span.error else "█") if unicode else ("x" if span.error else "=")
    return (" " * first + full * length).ljust(width)


def _detail(row: Row, unicode: bool) -> str:
    """What went wrong, where it went, how often."""
    span, attributes = row.span, row.span.attributes
    arrow, cross = ("→", "✗") if unicode else ("->", "x")
    picked = attributes.get("mesh.endpoint") if span.kind == "client" else None
    parts = [f"{cross} {_short_reason(span)}"] if span.error else []
    parts += [f"{arrow} {picked}"] if picked else []
    if span.is_retry:
        why = attributes.get("mesh.retry_reason")
        parts.append(f"retry {attributes['http.request.resend_count']}" + (f" after {why}" if why else ""))
    elif attributes.get("mesh.attempts", "1") not in ("", "0", "1"):
        parts.append(f"({attributes['mesh.attempts']} attempts)")
    if not span.error and attributes.get("mesh.reason"):
        parts.append(attributes["mesh.reason"])
    if row.orphan:
        parts.append("(its parent is not in the trace)")
    return _printable(" ".join(parts))


def _short_reason(span: Span) -> str:
    attributes = span.attributes
    return attributes.get("mesh.reason") or attributes.get("error.type") or span.status_message or "error"


def _reason(span: Span) -> str:
    """All that is known of a failure."""
    attributes = span.attributes
    known = [attributes.get("mesh.endpoint", ""), _short_reason(span)]
    if span.status_message and span.status_message not in known:
        known.append(span.status_message)
    if "rpc.grpc.status_code" in attributes:
        known.append(f"grpc-status {attributes['rpc.grpc.status_code']}")
    return _printable(", ".join(part for part in known if part))


def _event(event: Event, start: int) -> str:
    values = " ".join(value for _, value in sorted(event.attributes.items()))
    return _printable(f"+{format_seconds(max(0, event.at_ns - start) / 1e9)} {event.name} {values}".rstrip())


def _printable(text: str) -> str:
    """Names come from anywhere; none may move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _cut(text: str, width: int, style: Style) -> str:
    if len(text) <= width:
        return text
    return text[:max(0, width - 1)] + ("…" if style.unicode else "~")


def _paint(text: str, colour: str, style: Style) -> str:
    return f"{colour}{text}{_RESET}" if colour and style.colour and text.strip() else text
