"""`mesh explain`: why a call would go where, asked of the very sidecar, and why a past one went where it did.

What lives here: arguments to questions, the answer for a person. What this must not know: how anything is decided; what
a trace tells is in `explain_trace`.
"""

from __future__ import annotations

import re
from typing import Any

import click
from google.protobuf.json_format import MessageToDict

from mesh.cli.client import call
from mesh.cli.explain_trace import explain_trace
from mesh.cli.output import Cell, format_seconds, print_json, print_table
from mesh.cli.settings import Settings, common
from mesh.errors import InvalidConfig
from mesh.model import Service
from mesh.resource.convert import service_from_proto
from mesh.resource.documents import service_to_document
from mesh.v1 import endpoint_pb2, introspection_pb2

_TRACE = re.compile(r"[0-9a-fA-F]{4,32}")
_HEALTH = {endpoint_pb2.HEALTH_UNHEALTHY: ("unhealthy", "red"), endpoint_pb2.HEALTH_DRAINING: ("draining", "yellow")}


@click.command(epilog="""\b
Examples:
  mesh explain cart /shop.Cart/Get --from storefront
  mesh explain cart /shop.Cart/Add --from storefront/storefront-0 -H user=7
  mesh explain images /logo.png --from web --method GET --json
  mesh explain 4bf92f35                     a past call, by its trace
Nobody makes the call: no endpoint's turn, no random number and no count is used up. With several instances of a
caller the first is asked, and the others are named.""")
@click.argument("what", metavar="SERVICE|TRACE_ID")
@click.argument("path", required=False, default="")
@click.option("--from", "caller", metavar="CALLER[/INSTANCE]", default="",
              help="Whose sidecar is asked: a service, an instance, or a worker of it.")
@click.option("-H", "--header", "headers", metavar="KEY=VALUE", multiple=True,
              help="A header of the call. May be repeated.")
@click.option("--method", default="", help="HTTP method (default: POST for gRPC, else GET).")
@click.option("--source", metavar="IP", default="", help="The caller's address, where hashing goes by it.")
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@common
@click.pass_obj
def explain(settings: Settings, what: str, path: str, caller: str, headers: tuple[str, ...], method: str, source: str,
            as_json: bool) -> None:
    """Explain where a call to SERVICE would go and why, or how the call of TRACE_ID went."""
    if as_json:
        settings.output = "json"
    if not caller:
        if path or headers or method or source or not _TRACE.fullmatch(what):
            raise InvalidConfig(f"{what}: a call to a service needs --from CALLER; a past one is named by its trace "
                                "id, 4..32 hex digits")
        explain_trace(settings, what.lower())
        return
    request = introspection_pb2.ExplainRequest(caller=caller, call=introspection_pb2.HypotheticalCall(
        service=what, path=path, method=method, source=source, headers=[_header(text) for text in headers]))
    answer = call(settings, "introspection", "Explain", request)
    if settings.json:
        print_json(to_json(answer, request.call))
    else:
        _print(answer, request.call)


def _header(text: str) -> introspection_pb2.CallHeader:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidConfig(f"-H {text}: write KEY=VALUE")
    return introspection_pb2.CallHeader(name=name.strip().lower(), value=value)


def to_json(answer: Any, question: Any) -> dict[str, Any]:
    """An ExplainResponse in the shape of `-o json`."""
    found = answer.explanation
    return {
        "sidecar": answer.sidecar, "others": list(answer.others),
        "call": {"service": question.service, "path": question.path or "/", "method": found.method,
                 "headers": {header.name: header.value for header in question.headers}},
        "listener": found.listener, "address": found.address,
        "service": service_to_document(service_from_proto(found.service)),
        "service_version": found.service_version, "endpoints_version": found.endpoints_version,
        "refused": list(found.refused), "picked": found.picked or None, "reason": found.reason or None,
        "crowded": found.crowded or None,
        "why": found.why, "chance": found.chance or None, "score": found.score or None, "key": found.key or None,
        "levels": [MessageToDict(level, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
                   for level in found.levels],
        "endpoints": [_endpoint_json(each) for each in found.endpoints], "omitted": found.omitted,
        "retries": [{"failure": each.failure, "again": each.again, "why": each.why} for each in found.retries],
        "retry_budget": found.retry_budget,
    }


def _endpoint_json(each: Any) -> dict[str, Any]:
    endpoint = each.endpoint
    return {
        "name": endpoint.name, "host": endpoint.host, "port": endpoint.port, "weight": endpoint.weight,
        "priority": endpoint.priority, "region": endpoint.locality.region, "zone": endpoint.locality.zone,
        "health": _HEALTH.get(endpoint.health, ("healthy", ""))[0], "level": each.level, "state": each.state or None,
        "note": each.note or None, "in_flight": each.in_flight, "latency_s": _given(each, "latency"),
        "score": _given(each, "score"), "share": each.share, "ramp": each.ramp, "ejections": each.ejections,
    }


def _given(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _print(answer: Any, question: Any) -> None:
    found = answer.explanation
    service = service_from_proto(found.service)
    others = f"; it could also have been {', '.join(answer.others)}" if answer.others else ""
    click.echo(f"Asked {answer.sidecar}{others}.")
    for name, text in _facts(found, question, service):
        click.echo(f"{name:<10} {text}")
    click.echo()
    print_table(["", "ENDPOINT", "ADDRESS", "HEALTH", "ZONE", "LEVEL", "WEIGHT", "IN FLIGHT", "LATENCY", "SCORE",
                 "SHARE", "STATE"], [_row(each, found.picked) for each in found.endpoints], "no endpoints")
    if found.omitted:
        click.echo(f"... and {found.omitted} more")
    click.echo()
    if found.picked:
        click.echo(f"Picked     {found.picked}: {found.why}" + (f" ({found.chance})" if found.chance else ""))
    else:
        click.echo(click.style(f"Fails      {found.reason}: no endpoint can be picked", fg="red"))
    if found.crowded:
        click.echo(click.style(f"Waits      {found.crowded}", fg="yellow"))
    if found.score:
        click.echo(f"Score      {found.score}")
    _print_retries(found, service)


def _facts(found: Any, question: Any, service: Service) -> list[tuple[str, str]]:
    """What is known before any endpoint is looked at."""
    headers = "".join(f", {header.name}: {header.value}" for header in question.headers)
    facts = [("Call", f"{question.service}: {found.method} {question.path or '/'}{headers}" if found.method
              else f"{question.service}: a {service.protocol.value} connection or session"),
             ("Listener", f"{found.listener}, {found.address}"),
             ("Service", f"{service.name}, {service.protocol.value}, version {found.service_version or '?'}; "
                         f"endpoints of version {found.endpoints_version or '?'}")]
    facts += [("Refused", text) for text in found.refused]
    balance = service_to_document(service)["balance"]
    balance.get("custom", {}).pop("source", None)
    algorithm = balance.pop("algorithm")
    facts.append(("Balancing", ", ".join([algorithm, *(f"{k} {_short(v)}" for k, v in balance.items())])))
    if found.key:
        facts.append(("Key", found.key))
    if len(found.levels) > 1 or any(level.name or level.panic for level in found.levels):
        facts.append(("Levels", "; ".join(
            f"{level.name or 'first'}: {level.load:.0%} of the calls, {level.up:.0%} of it usable"
            + (", panic" if level.panic else "") for level in found.levels)))
    return facts


def _short(value: Any) -> str:
    return " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _row(each: Any, picked: str) -> list[Cell]:
    endpoint = each.endpoint
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    mine = f"{endpoint.service}/{endpoint.name}" == picked
    state = each.state or ("picked" if mine else "can be picked")
    weight = str(endpoint.weight) + (f" ({each.ramp:.0%} so far)" if each.ramp < 1 else "")
    return [("→", "green") if mine else "", endpoint.name, f"{host}:{endpoint.port}",
            _HEALTH.get(endpoint.health, ("healthy", "green")), endpoint.locality.zone or "-", each.level or "-",
            weight, str(each.in_flight), format_seconds(each.latency) if each.HasField("latency") else "-",
            f"{each.score:.4g}" if each.HasField("score") else "-", f"{each.share:.1%}",
            (f"{state}; {each.note}" if each.note else state, "red" if each.state else "green" if mine else "")]


def _print_retries(found: Any, service: Service) -> None:
    retry = service.retry
    if not found.retries:
        return
    click.echo(f"Retries    at most {retry.max_attempts} attempts; the budget allows {found.retry_budget:.1f} now "
               f"({retry.budget_ratio:.0%} + {retry.budget_min_per_second:g}/s over "
               f"{format_seconds(retry.budget_window)})")
    for each in found.retries:
        verdict = click.style("again", fg="green") if each.again else click.style("not again", fg="yellow")
        click.echo(f"           {each.failure}: {verdict}, {each.why}")
    timeout = service.timeout
    click.echo(f"Timeouts   connect {format_seconds(timeout.connect)}, request "
               + (format_seconds(timeout.request) if timeout.request else "none"))
