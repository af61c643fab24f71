"""`mesh get`: what is in the registry and who is connected to it.

What lives here: answers to tables and JSON. What this must not know: how the registry keeps it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import click

from mesh.cli.client import call, stream
from mesh.cli.output import Cell, format_ago, format_seconds, plain_table, print_json, print_table
from mesh.cli.settings import Settings, common
from mesh.model import Endpoint, Health, Service
from mesh.resource.convert import endpoint_from_proto, service_from_proto
from mesh.resource.documents import endpoint_to_document, service_to_document
from mesh.v1 import endpoint_pb2, health_pb2, registry_pb2

_COLOURS = {Health.HEALTHY: "green", Health.DRAINING: "yellow", Health.UNHEALTHY: "red"}


@click.group(epilog="""\b
Examples:
  mesh get services
  mesh get endpoints cart --watch
  mesh get sidecars -o json""")
def get() -> None:
    """List services, endpoints or sidecars."""


@get.command(epilog="""\b
Examples:
  mesh get services
  mesh get services cart -o json""")
@click.argument("name", required=False)
@common
@click.pass_obj
def services(settings: Settings, name: str | None) -> None:
    """The services and their policies, or the one called NAME."""
    if name:
        found = call(settings, "registry", "GetService", registry_pb2.GetServiceRequest(name=name))
        messages, revision = [found.service], found.revision
    else:
        listed = call(settings, "registry", "ListServices", registry_pb2.ListServicesRequest())
        messages, revision = list(listed.services), listed.revision
    values = [service_from_proto(message) for message in messages]
    if settings.json:
        print_json({"revision": revision, "services": [service_to_document(value) for value in values]})
        return
    request = registry_pb2.ListEndpointsRequest(service=name or "")
    endpoints = [item.endpoint for item in call(settings, "registry", "ListEndpoints", request).endpoints]
    print_table(["SERVICE", "PROTOCOL", "BALANCING", "ENDPOINTS", "ATTEMPTS", "CONNECT", "REQUEST"],
                [_service_row(value, [e for e in endpoints if e.service == value.name]) for value in values],
                "no services")


def _service_row(service: Service, endpoints: list[endpoint_pb2.Endpoint]) -> list[Cell]:
    unwell = (endpoint_pb2.HEALTH_UNHEALTHY, endpoint_pb2.HEALTH_DRAINING)
    healthy = sum(1 for endpoint in endpoints if endpoint.health not in unwell)
    count = f"{healthy}/{len(endpoints)}"
    custom = service.balance.custom
    own = f", {custom.class_name} ({custom.mode.value})" if custom.class_name else ""
    return [service.name, service.protocol.value, service.balance.algorithm.value + own,
            count if healthy == len(endpoints) and healthy else (count, "yellow" if healthy else "red"),
            str(service.retry.max_attempts), format_seconds(service.timeout.connect),
            format_seconds(service.timeout.request) if service.timeout.request else "none"]


_ENDPOINT_COLUMNS = ["SERVICE", "ENDPOINT", "ADDRESS", "WEIGHT", "HEALTH", "LOCALITY"]


@get.command(epilog="""\b
Examples:
  mesh get endpoints
  mesh get endpoints cart --watch
  mesh get endpoints cart --callers
A weight with a star was set by hand (mesh weight). --callers: who of the sidecars that call SERVICE sees whom as down,
and why.""")
@click.argument("service", required=False, default="")
@click.option("-w", "--watch", is_flag=True, help="Go on and print each change as it comes, until Ctrl-C.")
@click.option("--callers", is_flag=True, help="Who sees whom as down: a column for each sidecar that calls SERVICE.")
@common
@click.pass_obj
def endpoints(settings: Settings, service: str, watch: bool, callers: bool) -> None:
    """The endpoints of SERVICE, or of all services."""
    if callers and (watch or not service):
        raise click.UsageError("--callers needs a SERVICE" if not service else "--callers does not go with --watch")
    if watch:
        _watch(settings, service)
        return
    listed = call(settings, "registry", "ListEndpoints", registry_pb2.ListEndpointsRequest(service=service))
    seen = call(settings, "health", "ListVerdicts", health_pb2.ListVerdictsRequest(service=service)).verdicts
    if settings.json:
        found = {"revision": listed.revision,
                 "endpoints": [_endpoint_json(status, _down(status, seen)) for status in listed.endpoints]}
        print_json(found | {"callers": _callers(settings, service, seen)} if callers else found)
        return
    if callers:
        _print_matrix(listed.endpoints, _callers(settings, service, seen), seen)
        return
    rows = [[*_endpoint_row(endpoint_from_proto(status.endpoint), status.weight_set), status.sidecar or "-",
             format_ago(_seconds(status.last_heartbeat)) if status.HasField("last_heartbeat") else "-",
             _down_cell(_down(status, seen))]
            for status in listed.endpoints]
    print_table([*_ENDPOINT_COLUMNS, "SIDECAR", "HEARTBEAT", "DOWN FOR"], rows, "no endpoints")


_WORDS = {health_pb2.Verdict.KIND_EJECTED: "ejected", health_pb2.Verdict.KIND_CHECK_FAILED: "check_failed"}


def _down(status: Any, seen: Sequence[Any]) -> list[Any]:
    """Who sees this endpoint as down."""
    name = f"{status.endpoint.service}/{status.endpoint.name}"
    return [each for each in seen if each.verdict.endpoint == name]


def _down_cell(down: list[Any]) -> Cell:
    sidecars = list(dict.fromkeys(each.sidecar for each in down))
    if not sidecars:
        return "-"
    shown = ", ".join(sidecars[:3]) + (f" and {len(sidecars) - 3} more" if len(sidecars) > 3 else "")
    return f"{shown}: {down[0].verdict.reason}", "red"


def _callers(settings: Settings, service: str, seen: Sequence[Any]) -> list[str]:
    """The sidecars that are connected and subscribe to the service, and all that have a verdict. The service's own
    subscribe to it too, and are left out unless they have one."""
    listed = call(settings, "registry", "ListSidecars", registry_pb2.ListSidecarsRequest())
    found = {item.id for item in listed.sidecars if item.connected and f"endpoint/{service}/*" in item.subscriptions
             and not item.id.startswith(f"{service}/")}
    return sorted(found | {each.sidecar for each in seen})


def _print_matrix(statuses: Sequence[Any], callers: list[str], seen: Sequence[Any]) -> None:
    """A row for each endpoint, a column for each caller; below it why."""
    rows: list[list[Cell]] = []
    for status in statuses:
        row: list[Cell] = [status.endpoint.name]
        for caller in callers:
            kinds = [_WORDS.get(each.verdict.kind, "down") for each in _down(status, seen) if each.sidecar == caller]
            row.append((", ".join(kinds), "red") if kinds else ("up", "green"))
        rows.append(row)
    print_table(["ENDPOINT", *callers], rows, "no endpoints")
    if not callers:
        click.echo("no callers")
    now = time.time()
    reasons: list[list[Cell]] = [
        [each.sidecar, each.verdict.endpoint, _WORDS.get(each.verdict.kind, "down"),
         format_ago(max(0.0, now - timestamp(each.verdict.since))), _until(each.verdict, now), each.verdict.reason]
        for each in seen]
    if reasons:
        click.echo()
        print_table(["CALLER", "ENDPOINT", "VERDICT", "SINCE", "UNTIL", "REASON"], reasons)


def _until(verdict: Any, now: float) -> str:
    if not verdict.HasField("until"):
        return "its checks succeed"
    left = timestamp(verdict.until) - now
    return f"in {format_seconds(round(left))}" if left >= 0.5 else "a probe succeeds"


def _endpoint_row(endpoint: Endpoint, weight_set: bool = False) -> list[Cell]:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    locality = "/".join(part for part in (endpoint.locality.region, endpoint.locality.zone) if part)
    return [endpoint.service, endpoint.name, f"{host}:{endpoint.port}", f"{endpoint.weight}{'*' if weight_set else ''}",
            (endpoint.health.value, _COLOURS[endpoint.health]), locality or "-"]


def _verdict_json(each: Any) -> dict[str, Any]:
    verdict = each.verdict
    return {"caller": each.sidecar, "verdict": _WORDS.get(verdict.kind, "down"), "reason": verdict.reason,
            "since": verdict.since.ToJsonString(),
            "until": verdict.until.ToJsonString() if verdict.HasField("until") else None}


def _endpoint_json(status: Any, down: list[Any]) -> dict[str, Any]:
    beat = _seconds(status.last_heartbeat) if status.HasField("last_heartbeat") else None
    return {**endpoint_to_document(endpoint_from_proto(status.endpoint)),
            "status": {"sidecar": status.sidecar or None, "last_heartbeat_s": beat, "weight_set": status.weight_set,
                       "down_for": [_verdict_json(each) for each in down]}}


def _watch(settings: Settings, service: str) -> None:
    """One line (JSON: one object) per change; first those that bring the reader up to date."""
    kinds = registry_pb2.WatchResponse.Kind
    known: dict[str, list[Cell]] = {}
    synced = False
    for event in stream(settings, "registry", "Watch", registry_pb2.WatchRequest(service=service)):
        is_endpoint = event.resource.startswith("endpoint/")
        if settings.json:
            if is_endpoint or event.kind == kinds.KIND_SYNCED:
                click.echo(json.dumps({
                    "event": kinds.Name(event.kind).removeprefix("KIND_").lower(), "revision": event.revision,
                    "resource": event.resource or None,
                    "endpoint": endpoint_to_document(endpoint_from_proto(event.endpoint))
                    if event.kind == kinds.KIND_PUT else None}))
        elif event.kind == kinds.KIND_SYNCED:
            print_table(_ENDPOINT_COLUMNS, [known[name] for name in sorted(known)], "no endpoints yet")
            synced = True
        elif is_endpoint:
            before = known.pop(event.resource, None)
            row: list[Cell] = before or [event.resource]
            if event.kind == kinds.KIND_PUT:
                row = known[event.resource] = _endpoint_row(endpoint_from_proto(event.endpoint))
            if synced and (before != row or event.kind == kinds.KIND_REMOVED):
                word = "removed" if event.kind == kinds.KIND_REMOVED else "changed" if before else "added"
                click.echo(f"{time.strftime('%H:%M:%S')}  {word:<7}  {plain_table([''] * len(row), [row])[1]}"
                           f"  (revision {event.revision})")


@get.command(epilog="""\b
Examples:
  mesh get sidecars
  mesh get sidecars -o json""")
@common
@click.pass_obj
def sidecars(settings: Settings) -> None:
    """The sidecars that are connected, and those of the last hour."""
    listed = call(settings, "registry", "ListSidecars", registry_pb2.ListSidecarsRequest())
    if settings.json:
        print_json({"revision": listed.revision, "sidecars": [sidecar_json(item) for item in listed.sidecars]})
        return
    now = time.time()
    print_table(["SIDECAR", "CONNECTED", "SENT", "HOLDS", "REFUSES", "BUILD", "SUBSCRIBED TO"],
                [[item.id, ("yes", "green") if item.connected else (_left(item, now), "yellow"),
                  str(item.sent_revision), str(item.acked_revision),
                  (str(len(item.refusals)), "red") if item.refusals else "-", item.build or "-",
                  " ".join(sorted(item.subscriptions)) or "-"] for item in listed.sidecars],
                "no sidecars")


def _left(item: Any, now: float) -> str:
    return f"no, last heard {format_ago(now - timestamp(item.last_ack))}" if item.HasField("last_ack") else "no"


def sidecar_json(item: Any) -> dict[str, Any]:
    """A SidecarStatus in the shape of `-o json`; times as RFC 3339 text."""
    return {
        "id": item.id, "connected": item.connected, "build": item.build,
        "connected_at": item.connected_at.ToJsonString() if item.HasField("connected_at") else None,
        "last_ack": item.last_ack.ToJsonString() if item.HasField("last_ack") else None,
        "sent_revision": item.sent_revision, "acked_revision": item.acked_revision,
        "subscriptions": sorted(item.subscriptions),
        "refusals": [{"resource": refusal.resource, "version": refusal.version, "reason": refusal.reason,
                      "at": refusal.at.ToJsonString()} for refusal in item.refusals],
    }


def timestamp(message: Any) -> float:
    """A protobuf Timestamp as unix seconds."""
    return float(message.seconds + message.nanos / 1e9)


def _seconds(message: Any) -> float:
    return float(message.seconds + message.nanos / 1e9)
