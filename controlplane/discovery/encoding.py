"""Discovery messages as bytes: each resource encoded once per version, responses made by joining.

What lives here: the two resource types and the wire form of DeltaDiscoveryResponse, so that ten thousand streams that
are told of the same change share its bytes. What this must not know: streams, subscriptions. Wire format:
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from controlplane.registry import EndpointRecord, Entry, ServiceRecord
from mesh.resource.convert import endpoint_to_proto, service_to_proto
from mesh.xds.v3 import discovery_pb2

R = TypeVar("R", ServiceRecord, EndpointRecord)

# Tags (field number << 3 | 2) of DeltaDiscoveryResponse.
_SYSTEM_VERSION, _RESOURCES, _TYPE_URL, _NONCE, _REMOVED = b"\x0a", b"\x12", b"\x22", b"\x2a", b"\x32"


@dataclass(frozen=True, slots=True)
class ResourceType(Generic[R]):
    """One type that can be subscribed to; operators are shown its resources as `<kind>/<name>`."""

    url: str
    kind: str
    message: Callable[[R], Message]

    def payload(self, entry: Entry[R]) -> bytes:
        """Return the entry as the bytes of one `resources` field; made once per version."""
        if entry.payload is None:
            packed = Any(type_url=self.url, value=self.message(entry.record).SerializeToString(deterministic=True))
            resource = discovery_pb2.Resource(version=entry.version, name=entry.name, resource=packed)
            entry.payload = _field(_RESOURCES, resource.SerializeToString())
        return entry.payload

    def response(self, revision: int, nonce: str, entries: Iterable[Entry[R]], removed: Iterable[str]) -> bytes:
        """Return a DeltaDiscoveryResponse."""
        parts = [_head(self.url, revision), _field(_NONCE, nonce.encode())]
        parts += [self.payload(entry) for entry in entries]
        parts += [_field(_REMOVED, name.encode()) for name in removed]
        return b"".join(parts)


@lru_cache(maxsize=16)
def _head(url: str, revision: int) -> bytes:
    return _field(_SYSTEM_VERSION, str(revision).encode()) + _field(_TYPE_URL, url.encode())


def _field(tag: bytes, value: bytes) -> bytes:
    size = len(value)
    return b"%b%c%b" % (tag, size, value) if size < 0x80 else tag + _varint(size) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _service(record: ServiceRecord) -> Message:
    message: Message = service_to_proto(record.service)
    return message


def _endpoint(record: EndpointRecord) -> Message:
    message: Message = endpoint_to_proto(record.effective)
    return message


SERVICE = ResourceType("type.googleapis.com/mesh.v1.Service", "service", _service)
ENDPOINT = ResourceType("type.googleapis.com/mesh.v1.Endpoint", "endpoint", _endpoint)
