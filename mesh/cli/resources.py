"""Commands that change the registry: apply, delete, weight, drain.

What lives here: arguments to requests, answers to lines. What this must not know: the registry's rules.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import click

from mesh.cli.client import CallFailed, call
from mesh.cli.output import print_json
from mesh.cli.settings import Settings, common
from mesh.errors import InvalidConfig, InvalidResource
from mesh.model import MAX_WEIGHT, Endpoint, check_name
from mesh.resource.convert import endpoint_to_proto, service_to_proto
from mesh.resource.documents import Resource
from mesh.resource.files import MAX_BYTES, load_documents, parse_documents
from mesh.v1 import registry_pb2


@click.command(epilog="""\b
Examples:
  mesh apply -f shop.yaml
  mesh apply -f services.yaml -f endpoints.json --dry-run
  generate-policies | mesh apply -f -""")
@click.option("-f", "--file", "files", metavar="FILE", multiple=True, required=True,
              help="YAML, JSON or TOML; - is standard input. May be repeated.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@common
@click.pass_obj
def apply(settings: Settings, files: tuple[str, ...], dry_run: bool) -> None:
    """Create or replace services and endpoints, all or nothing.

    A field that a file leaves out gets its default. Exit code 2 when a file or a resource is wrong; then nothing
    was changed.
    """
    request = registry_pb2.ApplyRequest(dry_run=dry_run)
    places: dict[str, str] = {}
    for file in files:
        for resource in _read(file):
            name = f"endpoint/{resource.resource}" if isinstance(resource, Endpoint) else f"service/{resource.name}"
            if name in places:
                raise InvalidResource(file, f"{name} is in {places[name]} as well")
            places[name] = file
            if isinstance(resource, Endpoint):
                request.endpoints.append(endpoint_to_proto(resource))
            else:
                request.services.append(service_to_proto(resource))
    try:
        response = call(settings, "registry", "Apply", request)
    except CallFailed as error:
        raise CallFailed(_in_its_file(str(error), request, places), error.exit_code) from None
    outcomes = [(item.resource, _outcome(item.outcome)) for item in response.resources]
    if settings.json:
        print_json({"revision": response.revision, "dry_run": dry_run,
                    "resources": [{"resource": name, "outcome": outcome} for name, outcome in outcomes]})
        return
    for name, outcome in outcomes:
        click.echo(f"{name} {outcome}" + (" (dry run)" if dry_run else ""))


def _read(file: str) -> list[Resource]:
    if file == "-":
        if sys.stdin is None:
            raise InvalidConfig("standard input: closed")
        return parse_documents(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input", os.curdir)
    return load_documents(file)


def _in_its_file(message: str, request: registry_pb2.ApplyRequest, places: dict[str, str]) -> str:
    """The registry counts through all files, `endpoints[3].service: ...`: say which resource of which file that is."""
    found = re.match(r"(services|endpoints)\[([0-9]+)\]", message)
    if found is None:
        return message
    index = int(found[2])
    if found[1] == "services":
        name = f"service/{request.services[index].name}"
    else:
        name = f"endpoint/{request.endpoints[index].service}/{request.endpoints[index].name}"
    return f"{places[name]}: {name}{message[found.end():]}"


def _outcome(number: Any) -> str:
    return registry_pb2.AppliedResource.Outcome.Name(number).removeprefix("OUTCOME_").lower()


@click.command(epilog="""\b
Examples:
  mesh delete cart            the service with all its endpoints
  mesh delete cart cart-2     one endpoint""")
@click.argument("service")
@click.argument("endpoint", required=False, default="")
@common
@click.pass_obj
def delete(settings: Settings, service: str, endpoint: str) -> None:
    """Remove SERVICE with all its endpoints, or one ENDPOINT of it."""
    _check("SERVICE", service)
    if endpoint:
        _check("ENDPOINT", endpoint)
    response = call(settings, "registry", "Delete", registry_pb2.DeleteRequest(service=service, endpoint=endpoint))
    name = f"endpoint/{service}/{endpoint}" if endpoint else f"service/{service}"
    if settings.json:
        print_json({"revision": response.revision, "deleted": name})
    else:
        click.echo(f"{name} deleted")


@click.command(epilog="""\b
Examples:
  mesh weight cart cart-0=1 cart-1=9        the others keep theirs
  mesh weight cart cart-2=0                 never picked""")
@click.argument("service")
@click.argument("weights", metavar="ENDPOINT=N...", nargs=-1, required=True)
@common
@click.pass_obj
def weight(settings: Settings, service: str, weights: tuple[str, ...]) -> None:
    """Set the weights of endpoints of SERVICE in one step.

    They stand until they are set again, also when an instance starts anew.
    """
    _check("SERVICE", service)
    wanted = parse_weights(weights)
    response = call(settings, "registry", "SetWeights", registry_pb2.SetWeightsRequest(service=service, weights=wanted))
    if settings.json:
        print_json({"revision": response.revision, "service": service, "weights": wanted})
    else:
        click.echo(f"{service}: {' '.join(f'{name}={value}' for name, value in wanted.items())}"
                   f" (revision {response.revision})")


def parse_weights(arguments: tuple[str, ...]) -> dict[str, int]:
    """Return the weight of each endpoint named; InvalidConfig names the argument that is wrong."""
    wanted: dict[str, int] = {}
    for argument in arguments:
        name, separator, number = argument.partition("=")
        if not separator:
            raise InvalidConfig(f"{argument}: write ENDPOINT=WEIGHT")
        _check(argument, name)
        if name in wanted:
            raise InvalidConfig(f"{argument}: {name} is given twice")
        if not number.isascii() or not number.isdigit() or not int(number[:20]) <= MAX_WEIGHT:
            raise InvalidConfig(f"{argument}: {number!r} is not a weight, 0..{MAX_WEIGHT}")
        wanted[name] = int(number)
    return wanted


@click.command(epilog="""\b
Examples:
  mesh drain cart cart-2
  mesh drain cart cart-2 --undo""")
@click.argument("service")
@click.argument("endpoints", metavar="ENDPOINT...", nargs=-1, required=True)
@click.option("--undo", is_flag=True, help="Give them traffic again.")
@common
@click.pass_obj
def drain(settings: Settings, service: str, endpoints: tuple[str, ...], undo: bool) -> None:
    """Give endpoints of SERVICE nothing new; what they have they finish.

    It stands until it is undone, also when an instance starts anew.
    """
    _check("SERVICE", service)
    for endpoint in endpoints:
        _check("ENDPOINT", endpoint)
    if len(endpoints) > 1:  # each is a call of its own: the wrong one must not come to light halfway
        listed = call(settings, "registry", "ListEndpoints", registry_pb2.ListEndpointsRequest(service=service))
        there = {status.endpoint.name for status in listed.endpoints}
        for endpoint in endpoints:
            if endpoint not in there:
                raise InvalidConfig(f"endpoint/{service}/{endpoint} does not exist")
    revision = 0
    for endpoint in endpoints:
        request = registry_pb2.DrainRequest(service=service, endpoint=endpoint, undo=undo)
        revision = call(settings, "registry", "Drain", request).revision
        if not settings.json:
            click.echo(f"endpoint/{service}/{endpoint} {'healthy' if undo else 'draining'} (revision {revision})")
    if settings.json:
        print_json({"revision": revision, "service": service, "endpoints": list(endpoints), "draining": not undo})


def _check(place: str, name: str) -> None:
    try:
        check_name(name)
    except InvalidResource as error:
        raise InvalidConfig(f"{place}: {error.problem}") from None
