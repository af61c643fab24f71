"""A resource as it comes off the wire becomes a checked value, or a one-line reason why not.

What lives here: the two resource types and their unpacking. What this must not know: subscriptions, streams.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from mesh.errors import InvalidResource
from mesh.model import Endpoint, Service
from mesh.resource.convert import endpoint_from_proto, service_from_proto
from mesh.v1 import endpoint_pb2, service_pb2
from mesh.xds.v3.discovery_pb2 import Resource

SERVICE_TYPE = "type.googleapis.com/mesh.v1.Service"
ENDPOINT_TYPE = "type.googleapis.com/mesh.v1.Endpoint"


def decode_service(resource: Resource) -> Service:
    """Raises InvalidResource for a wrong type, undecodable bytes, a value out of bounds, or another service's name."""
    payload = _payload(resource, SERVICE_TYPE)
    try:
        service = service_from_proto(service_pb2.Service.FromString(payload))
    except DecodeError as exc:
        raise InvalidResource("", f"undecodable: {exc}") from None
    if service.name != resource.name:
        raise InvalidResource("name", f"{service.name!r} is not the resource's name")
    return service


def decode_endpoint(resource: Resource) -> Endpoint:
    """Raises InvalidResource as `decode_service` does."""
    payload = _payload(resource, ENDPOINT_TYPE)
    try:
        endpoint = endpoint_from_proto(endpoint_pb2.Endpoint.FromString(payload))
    except DecodeError as exc:
        raise InvalidResource("", f"undecodable: {exc}") from None
    if endpoint.resource != resource.name:
        raise InvalidResource("name", f"{endpoint.resource!r} is not the resource's name")
    return endpoint


def _payload(resource: Resource, url: str) -> bytes:
    if resource.resource.type_url != url:
        raise InvalidResource("", f"{resource.resource.type_url!r} is not {url}")
    return resource.resource.value


def one_line(text: str) -> str:
    """`text` without line breaks: a refusal is one line of the answer."""
    return " ".join(text.split())
