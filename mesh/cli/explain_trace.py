"""How a past call went, from the spans that its sidecars have left: each attempt with its endpoint, reason and time.

What lives here: spans to calls and attempts, and their print. What this must not know: how traces are stored.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import click

from mesh.cli.client import CallFailed, call
from mesh.cli.output import Cell, format_seconds, print_json, print_table
from mesh.cli.settings import Settings
from mesh.v1 import registry_pb2, trace_pb2


@dataclass
class Attempt:
    """One attempt; `start` and `duration` in nanoseconds, `start` since that of the trace. `failure`: reason code."""

    number: int
    start: int
    duration: int
    endpoint: str
    address: str
    status: str
    pick: str
    candidates: str
    failure: str = ""
    retry: str = ""  # why it was made again
    given_up: str = ""  # why it was not
    budget: float | None = None  # retries that were left then


@dataclass
class Call:
    """What one sidecar carried. `outcome`: "" where it went well."""

    caller: str
    service: str
    name: str
    listener: str
    version: str
    start: int
    duration: int
    outcome: str
    attempts: list[Attempt] = field(default_factory=list)


def explain_trace(settings: Settings, trace_id: str) -> None:
    """Print what the spans of a trace (its id, or the beginning of it) tell of its calls."""
    found = call(settings, "traces", "GetTrace", trace_pb2.GetTraceRequest(trace_id=trace_id))
    calls = calls_of(found.spans)
    if settings.json:
        print_json({"trace_id": found.trace_id, "calls": [_json(each) for each in calls]})
        return
    click.echo(f"Trace {found.trace_id}: {len(calls)} {'call' if len(calls) == 1 else 'calls'} between sidecars.")
    if not calls:
        click.echo("None of its spans is of a caller's sidecar, or they have not arrived yet: `mesh trace` shows all.")
    there = _there(settings, {each.service for each in calls})
    for each in calls:
        _print(each, there)


def calls_of(spans: Any) -> list[Call]:
    """Return the calls of a trace in the order of their starts: the client spans of sidecars, with their attempts."""
    begin = min((_nanos(span.start) for span in spans), default=0)
    whole = [span for span in spans if "mesh.attempts" in span.attributes]
    further: dict[str, list[Any]] = {}
    for span in spans:
        if "http.request.resend_count" in span.attributes and span.kind == "client":
            further.setdefault(span.parent_span_id, []).append(span)
    calls: list[Call] = []
    for span in whole:
        values = span.attributes
        made = Call(_instance(span), values.get("mesh.service", ""), span.name, values.get("mesh.listener", ""),
                    values.get("mesh.version", ""), _nanos(span.start) - begin, _nanos(span.duration),
                    _outcome(span))
        made.attempts = [_attempt(1, span, begin)]
        for again in sorted(further.get(span.span_id, ()), key=lambda each: _nanos(each.start)):
            made.attempts.append(_attempt(int(again.attributes["http.request.resend_count"]) + 1, again, begin))
        _add_failures(made, span, begin)
        calls.append(made)
    return sorted(calls, key=lambda each: each.start)


def _attempt(number: int, span: Any, begin: int) -> Attempt:
    values = span.attributes
    address, port = values.get("network.peer.address", ""), values.get("network.peer.port", "")
    return Attempt(number, _nanos(span.start) - begin, _nanos(span.duration), values.get("mesh.endpoint", ""),
                   f"{address}:{port}" if address else "", _status(values), values.get("mesh.pick", ""),
                   values.get("mesh.candidates", ""), values.get("mesh.reason", ""))


def _add_failures(made: Call, span: Any, begin: int) -> None:
    """Attempts that were repeated say why in events of the whole call's span."""
    by_number = {attempt.number: attempt for attempt in made.attempts}
    first = made.attempts[0]
    if len(made.attempts) > 1:  # what the span says is the last one's
        first.failure = first.status = ""
    for event in span.events:
        attempt = by_number.get(int(event.attributes.get("mesh.attempt", "0")))
        if attempt is None:
            continue
        if "mesh.budget" in event.attributes:
            attempt.budget = float(event.attributes["mesh.budget"])
        if event.name == "attempt failed":
            attempt.failure = event.attributes.get("mesh.reason", "")
            attempt.retry = event.attributes.get("mesh.retry", "")
            attempt.duration = _nanos(event.at) - begin - attempt.start
        elif event.name == "not tried again":
            attempt.given_up = event.attributes.get("mesh.retry", "")


def _instance(span: Any) -> str:
    instance = span.resource.get("service.instance.id", "")
    return f"{span.service}/{instance}" if instance else str(span.service)


def _outcome(span: Any) -> str:
    if not span.error:
        return ""
    return str(span.attributes.get("mesh.reason") or span.attributes.get("error.type") or "failed")


def _status(values: Any) -> str:
    if "rpc.grpc.status_code" in values:
        return f"gRPC {values['rpc.grpc.status_code']}"
    return f"HTTP {values['http.response.status_code']}" if "http.response.status_code" in values else ""


def _there(settings: Settings, services: set[str]) -> set[str]:
    """Those of `services` that the registry still has."""
    found: set[str] = set()
    for name in services:
        with contextlib.suppress(CallFailed):
            call(settings, "registry", "GetService", registry_pb2.GetServiceRequest(name=name))
            found.add(name)
    return found


def _print(made: Call, there: set[str]) -> None:
    where = f", taken by {made.listener}" if made.listener else ""
    click.echo(f"\n{made.caller} → {made.service}: {made.name}{where}")
    version = f"version {made.version}" if made.version else "a version that its spans don't name"
    gone = "" if made.service in there else "; the service does not exist any more"
    click.echo(f"  Service in force: {version}{gone}")
    click.echo(f"  {'failed: ' + made.outcome if made.outcome else 'went well'}, {_ms(made.duration)}, "
               f"{len(made.attempts)} {'attempt' if len(made.attempts) == 1 else 'attempts'}")
    print_table(["  ATTEMPT", "AFTER", "ENDPOINT", "ADDRESS", "PICKED BY", "OF", "TOOK", "ENDED", "AGAIN BECAUSE",
                 "BUDGET LEFT"], [_row(attempt) for attempt in made.attempts])


def _row(attempt: Attempt) -> list[Cell]:
    ended: Cell = (attempt.failure, "red") if attempt.failure else attempt.status or "-"
    return [f"  {attempt.number}", f"+{_ms(attempt.start)}", attempt.endpoint or "none", attempt.address or "-",
            attempt.pick or "-", attempt.candidates or "-", _ms(attempt.duration), ended,
            attempt.retry or (f"not: {attempt.given_up}" if attempt.given_up else "-"),
            f"{attempt.budget:.1f}" if attempt.budget is not None else "-"]


def _json(made: Call) -> dict[str, Any]:
    return {"caller": made.caller, "service": made.service, "name": made.name, "listener": made.listener or None,
            "version": made.version or None, "start_ns": made.start, "duration_ns": made.duration,
            "failure": made.outcome or None, "attempts": [
                {"number": each.number, "start_ns": each.start, "duration_ns": each.duration,
                 "endpoint": each.endpoint or None, "address": each.address or None, "status": each.status or None,
                 "pick": each.pick or None, "candidates": int(each.candidates) if each.candidates else None,
                 "failure": each.failure or None, "retry": each.retry or None, "given_up": each.given_up or None,
                 "retry_budget": each.budget}
                for each in made.attempts]}


def _ms(nanos: int) -> str:
    return format_seconds(nanos / 1e9)


def _nanos(message: Any) -> int:
    return int(message.seconds * 10**9 + message.nanos)
