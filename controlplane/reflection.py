"""What server reflection shows: our services, and discovery under the name that its callers use.

What lives here: a descriptor pool in which `mesh.xds.v3` stands under Envoy's package name, with the service that the
`.proto` can't declare without clashing with Envoy's own. What this must not know: grpc servers.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool

from mesh.xds.v3 import discovery_pb2

_ENVOY = "envoy.service.discovery.v3"


def pool(services: Iterable[str]) -> DescriptorPool:
    """Return a pool that knows `services`, which are linked into this process, and the discovery service."""
    result = DescriptorPool()
    added: set[str] = set()
    for service in services:
        _add(Default().FindServiceByName(service).file, result, added)
    for dependency in discovery_pb2.DESCRIPTOR.dependencies:
        _add(dependency, result, added)
    result.AddSerializedFile(_discovery().SerializeToString())
    return result


def _add(file: FileDescriptor, result: DescriptorPool, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add(dependency, result, added)
    result.AddSerializedFile(file.serialized_pb)


def _discovery() -> FileDescriptorProto:
    proto = FileDescriptorProto()
    discovery_pb2.DESCRIPTOR.CopyToProto(proto)
    old, proto.package, proto.name = proto.package, _ENVOY, "envoy/service/discovery/v3/ads.proto"
    for message in proto.message_type:
        _rename(message, f".{old}.", f".{_ENVOY}.")
    method = proto.service.add(name="AggregatedDiscoveryService").method.add(name="DeltaAggregatedResources")
    method.input_type, method.output_type = f".{_ENVOY}.DeltaDiscoveryRequest", f".{_ENVOY}.DeltaDiscoveryResponse"
    method.client_streaming = method.server_streaming = True
    return proto


def _rename(message: DescriptorProto, old: str, new: str) -> None:
    for field in message.field:
        if field.type_name.startswith(old):
            field.type_name = new + field.type_name[len(old):]
    for nested in message.nested_type:
        _rename(nested, old, new)
