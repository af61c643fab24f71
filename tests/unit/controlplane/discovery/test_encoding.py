from __future__ import annotations

import pytest

from controlplane.discovery.encoding import ENDPOINT, SERVICE, _varint
from controlplane.registry import Lease, Registry, Stored, View
from mesh.model import Endpoint, Health, Protocol
from mesh.v1 import endpoint_pb2, service_pb2
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryResponse


def view(endpoints: int = 2) -> View:
    registry = Registry(Stored(100), 0.0)
    made = View(Stored(100))
    for number in range(endpoints):
        made.publish(registry.register(Endpoint("cart", f"c-{number}", "127.0.0.1", 80 + number), Protocol.TCP,
                                       Lease(f"l{number}", 10.0), 0.0))
    made.publish(registry.drain("cart", "c-0", undo=False, now=0.0))
    return made


def test_a_response_is_what_protobuf_reads():
    made = view()
    raw = ENDPOINT.response(103, "7", made.of_service("cart"), ["cart/x", "pay/*"])
    response = DeltaDiscoveryResponse.FromString(raw)
    assert len(response.SerializeToString()) == len(raw)  # nothing of it is unknown
    assert (response.system_version_info, response.nonce, response.type_url) == ("103", "7", ENDPOINT.url)
    assert list(response.removed_resources) == ["cart/x", "pay/*"]
    assert [(resource.name, resource.version) for resource in response.resources] == [
        ("cart/c-0", "103"), ("cart/c-1", "102")]
    endpoint = endpoint_pb2.Endpoint()
    assert response.resources[0].resource.Unpack(endpoint)
    assert (endpoint.name, endpoint.port, endpoint.health) == ("c-0", 80, endpoint_pb2.HEALTH_DRAINING)
    assert made.endpoints.entries["cart/c-0"].record.base.health is Health.HEALTHY


def test_a_service_is_packed_under_its_type():
    made = view()
    response = DeltaDiscoveryResponse.FromString(SERVICE.response(1, "n", made.services.entries.values(), []))
    service = service_pb2.Service()
    assert response.resources[0].resource.Unpack(service)
    assert (service.name, service.protocol) == ("cart", service_pb2.PROTOCOL_TCP)


def test_a_resource_is_encoded_once_per_version():
    entry = view().of_service("cart")[0]
    assert ENDPOINT.payload(entry) is ENDPOINT.payload(entry)


def test_an_empty_response_and_a_long_nonce():
    nonce = "n" * 300
    response = DeltaDiscoveryResponse.FromString(SERVICE.response(0, nonce, [], []))
    assert response == DeltaDiscoveryResponse(system_version_info="0", type_url=SERVICE.url, nonce=nonce)


@pytest.mark.parametrize(("number", "expected"), [
    (0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (1 << 21, "80808001")])
def test_varint(number, expected):
    assert _varint(number).hex() == expected
