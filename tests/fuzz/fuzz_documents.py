"""Resources: a file or message is refused with the place named, or gives values that survive every way of writing them.

The first octet says what the rest is: YAML, JSON, TOML, a Service message, an Endpoint message. A value goes to a
document and back, to a message and back, and is the same.
"""

from __future__ import annotations

import json

import yaml
from google.protobuf.message import DecodeError

from mesh.errors import InvalidConfig, InvalidResource
from mesh.model.values import Endpoint, Service
from mesh.resource.convert import endpoint_from_proto, endpoint_to_proto, service_from_proto, service_to_proto
from mesh.resource.documents import (
    endpoint_from_document,
    endpoint_to_document,
    service_from_document,
    service_to_document,
)
from mesh.resource.files import parse_documents
from mesh.v1 import endpoint_pb2, service_pb2

MAX_LEN = 800
NAMES = ("f.yaml", "f.json", "f.toml")
TOKENS = tuple(
    b"kind: Service|kind: Endpoint|services:\n- |endpoints:\n- |name: |protocol: |grpc|http2|tcp|balance: |algorithm: |"
    b"retry: |max_attempts: |codes: [|UNAVAILABLE|budget_ratio: |budget_window: |250ms|1.5s|1e400|.inf|.nan|~|null|"
    b"timeout: |connect: |outlier: |max_ejection_ratio: |host: |port: |weight: |metadata: {|health: |locality: |&a |"
    b"*a|<<: |--- |!!binary |!!python/|? |: |{|}|[|]|99999999999999999999|-1|0x10|1_000|true|'|\"|\\u0000|\xef\xbb\xbf|"
    b"\xff|# |\t".split(b"|")
)  # fmt: skip
SERVICE = {
    "kind": "Service",
    "name": "cart",
    "protocol": "grpc",
    "balance": {"algorithm": "power_of_two"},
    "retry": {"max_attempts": 3, "codes": ["UNAVAILABLE"], "budget_ratio": 0.2, "backoff_base": "25ms"},
    "timeout": {"connect": "1s", "request": 0, "idle": "1h"},
    "outlier": {"consecutive_failures": 5, "max_ejection_ratio": 0.1},
}
ENDPOINT = {
    "kind": "Endpoint",
    "service": "cart",
    "name": "cart-1",
    "host": "10.0.0.1",
    "port": 80,
    "weight": 3,
    "locality": {"region": "eu", "zone": "a"},
    "health": "healthy",
    "metadata": {"version": "2"},
}


def seeds() -> list[bytes]:
    both = {"services": [{k: v for k, v in SERVICE.items() if k != "kind"}],
            "endpoints": [{k: v for k, v in ENDPOINT.items() if k != "kind"}]}  # fmt: skip
    found = [b"\0" + yaml.safe_dump(each, sort_keys=False).encode() for each in (SERVICE, ENDPOINT, both)]
    found += [
        b"\0" + yaml.safe_dump_all([SERVICE, ENDPOINT]).encode(),
        b"\0a: &a [*a]",
        b"\0- - - -",
        b"\0" + b"[" * 100,
    ]
    found += [b"\1" + json.dumps(each).encode() for each in (SERVICE, ENDPOINT, both)]
    found += [b'\2kind = "Service"\nname = "a"\n[retry]\nmax_attempts = 2\n', b'\2[[services]]\nname = "a"\n']
    service = service_from_document({k: v for k, v in SERVICE.items() if k != "kind"})
    endpoint = endpoint_from_document({k: v for k, v in ENDPOINT.items() if k != "kind"})
    found += [
        b"\3" + service_to_proto(service).SerializeToString(),
        b"\3" + service_pb2.Service(name="a").SerializeToString(),
    ]
    return [*found, b"\4" + endpoint_to_proto(endpoint).SerializeToString()]


def check(resource: Service | Endpoint) -> object:
    """Every way of writing it gives it back."""
    if isinstance(resource, Service):
        document = service_to_document(resource)
        assert service_from_document(document) == resource
        message = service_to_proto(resource)
        assert service_from_proto(message) == resource
        kind = "Service"
    else:
        document = endpoint_to_document(resource)
        assert endpoint_from_document(document) == resource
        other = endpoint_to_proto(resource)
        assert endpoint_from_proto(other) == resource
        kind = "Endpoint"
    whole = {"kind": kind, **document}
    assert parse_documents(json.dumps(whole).encode(), "f.json") == [resource]
    assert parse_documents(yaml.safe_dump(whole).encode(), "f.yaml") == [resource]
    return document


def from_message(kind: int, octets: bytes) -> list[Service | Endpoint] | str:
    try:
        if kind == 3:
            return [service_from_proto(service_pb2.Service.FromString(octets))]
        return [endpoint_from_proto(endpoint_pb2.Endpoint.FromString(octets))]
    except DecodeError:
        return "no message"
    except InvalidResource as error:
        return str(error)


def from_file(name: str, octets: bytes) -> list[Service | Endpoint] | str:
    try:
        return parse_documents(octets, name)
    except (InvalidConfig, InvalidResource) as error:
        text = str(error)
        assert text.startswith(name), text
        assert "\n" not in text, text
        return text


def run(data: bytes) -> object:
    if not data:
        return None
    kind = data[0] % 5
    found = from_file(NAMES[kind], data[1:]) if kind < 3 else from_message(kind, data[1:])
    return found if isinstance(found, str) else [check(resource) for resource in found]
