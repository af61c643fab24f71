"""Resources off the wire: values, or one line of what is wrong."""

from __future__ import annotations

import pytest

from mesh.discovery.decode import ENDPOINT_TYPE, SERVICE_TYPE, decode_endpoint, decode_service, one_line
from mesh.errors import InvalidResource
from mesh.model import Endpoint, Protocol, Service
from mesh.resource.convert import endpoint_to_proto, service_to_proto
from mesh.xds.v3.discovery_pb2 import Resource


def resource(name: str, url: str, payload: bytes) -> Resource:
    made = Resource(name=name, version="1")
    made.resource.type_url = url
    made.resource.value = payload
    return made


SERVICE = Service("stock", Protocol.TCP)
ENDPOINT = Endpoint("stock", "stock-0", "10.0.0.1", 6379, 0)


def test_values_come_back() -> None:
    assert decode_service(resource("stock", SERVICE_TYPE, service_to_proto(SERVICE).SerializeToString())) == SERVICE
    assert decode_endpoint(resource("stock/stock-0", ENDPOINT_TYPE,
                                    endpoint_to_proto(ENDPOINT).SerializeToString())) == ENDPOINT


@pytest.mark.parametrize(("made", "says"), [
    (resource("stock", ENDPOINT_TYPE, b""), "is not type.googleapis.com/mesh.v1.Service"),
    (resource("stock", SERVICE_TYPE, b"\xff"), "undecodable"),
    (resource("stock", SERVICE_TYPE, b""), "'' is not a name"),
    (resource("other", SERVICE_TYPE, service_to_proto(SERVICE).SerializeToString()), "'stock' is not the resource's"),
])
def test_bad_services(made: Resource, says: str) -> None:
    with pytest.raises(InvalidResource, match=says):
        decode_service(made)


@pytest.mark.parametrize(("made", "says"), [
    (resource("stock/x", SERVICE_TYPE, b""), "is not type.googleapis.com/mesh.v1.Endpoint"),
    (resource("stock/x", ENDPOINT_TYPE, b"\x0a"), "undecodable"),
    (resource("stock/x", ENDPOINT_TYPE, endpoint_to_proto(ENDPOINT).SerializeToString()), "'stock/stock-0' is not"),
])
def test_bad_endpoints(made: Resource, says: str) -> None:
    with pytest.raises(InvalidResource, match=says):
        decode_endpoint(made)


def test_one_line() -> None:
    assert one_line(" a\nb\r\n\tc ") == "a b c"
