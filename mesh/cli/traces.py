"""`mesh traces` and `mesh trace`: what happened to requests.

What lives here: arguments to queries, answers to print. What this must not know: how traces are stored, how a waterfall
is laid out.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from typing import Any

import click
from google.protobuf.duration_pb2 import Duration

from mesh.cli.client import call
from mesh.cli.get import timestamp
from mesh.cli.output import Cell, format_ago, format_seconds, print_json, print_table
from mesh.cli.settings import Settings, common
from mesh.cli.waterfall import Event, Span, Style, render
from mesh.errors import InvalidConfig
from mesh.sidecar.config_values import duration
from mesh.v1 import trace_pb2

_SHOWN_ID = 16


@click.command(epilog="""\b
Examples:
  mesh traces
  mesh traces --service payment --errors
  mesh traces --min-duration 250ms --limit 100 -o json""")
@click.option("--service", default="", metavar="NAME", help="Only traces that this service took part in.")
@click.option("--errors", is_flag=True, help="Only traces with an error.")
@click.option("--min-duration", metavar="DURATION", help="Only traces at least this long: 250ms, 2s.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="At most this many, the newest (default: 20).")
@common
@click.pass_obj
def traces(settings: Settings, service: str, errors: bool, min_duration: str | None, limit: int) -> None:
    """List traces, newest first."""
    request = trace_pb2.ListTracesRequest(service=service, errors_only=errors, limit=limit)
    if min_duration is not None:
        try:
            nanos = round(duration(min_duration) * 1e9)
        except ValueError as error:
            raise InvalidConfig(f"--min-duration {min_duration}: {error}") from None
        request.min_duration.CopyFrom(Duration(seconds=nanos // 10**9, nanos=nanos % 10**9))
    found = call(settings, "traces", "ListTraces", request).traces
    if settings.json:
        print_json({"traces": [_summary_json(summary) for summary in found]})
        return
    now = time.time()
    print_table(["TRACE", "STARTED", "DURATION", "SPANS", "ERRORS", "ROOT", "SERVICES"],
                [_summary_row(summary, now) for summary in found], "no traces")


def _summary_row(summary: Any, now: float) -> list[Cell]:
    return [summary.trace_id[:_SHOWN_ID], format_ago(now - timestamp(summary.start)),
            format_seconds(_nanos(summary.duration) / 1e9), str(summary.spans),
            (str(summary.errors), "red") if summary.errors else "-",
            f"{summary.root_service} {summary.root_name}".strip() or "-", " ".join(summary.services)]


def _summary_json(summary: Any) -> dict[str, Any]:
    return {"trace_id": summary.trace_id, "start": summary.start.ToJsonString(), "start_ns": _nanos(summary.start),
            "duration_ns": _nanos(summary.duration), "root_service": summary.root_service,
            "root_name": summary.root_name, "spans": summary.spans, "errors": summary.errors,
            "services": list(summary.services)}


@click.command(epilog="""\b
Examples:
  mesh trace 4bf92f3577b34da6a3ce929d0e0e4736
  mesh trace 4bf92f35             a beginning that only one trace has
  mesh trace 4bf92f35 -o json""")
@click.argument("trace_id", metavar="ID")
@common
@click.pass_obj
def trace(settings: Settings, trace_id: str) -> None:
    """Draw the waterfall of the trace ID: 32 hex digits, or at least the first 4."""
    if not re.fullmatch(r"[0-9a-f]{4,32}", trace_id.lower()):
        raise InvalidConfig(f"{trace_id}: not a trace id: 4..32 hex digits")
    found = call(settings, "traces", "GetTrace", trace_pb2.GetTraceRequest(trace_id=trace_id.lower()))
    if settings.json:
        print_json({"trace_id": found.trace_id, "spans": [_span_json(span) for span in found.spans]})
        return
    for line in render(found.trace_id, [_span(span) for span in found.spans], _style()):
        click.echo(line)


def _style() -> Style:
    """What standard output can show; COLUMNS and NO_COLOR (no-color.org) are honoured."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    return Style(shutil.get_terminal_size((120, 24)).columns, terminal and not os.environ.get("NO_COLOR"),
                 encoding.startswith("utf"))


def _span(message: Any) -> Span:
    return Span(message.span_id, message.parent_span_id, message.name, message.kind, message.service,
                _nanos(message.start), _nanos(message.duration), message.error, message.status_message,
                dict(message.attributes),
                tuple(Event(_nanos(event.at), event.name, dict(event.attributes)) for event in message.events))


def _span_json(message: Any) -> dict[str, Any]:
    return {"span_id": message.span_id, "parent_span_id": message.parent_span_id or None, "name": message.name,
            "kind": message.kind, "service": message.service, "start": message.start.ToJsonString(),
            "start_ns": _nanos(message.start), "duration_ns": _nanos(message.duration), "error": message.error,
            "status_message": message.status_message, "attributes": dict(sorted(message.attributes.items())),
            "resource": dict(sorted(message.resource.items())),
            "events": [{"at": event.at.ToJsonString(), "at_ns": _nanos(event.at), "name": event.name,
                        "attributes": dict(sorted(event.attributes.items()))} for event in message.events]}


def _nanos(message: Any) -> int:
    return int(message.seconds * 10**9 + message.nanos)
