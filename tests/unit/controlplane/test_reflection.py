from __future__ import annotations

from controlplane import reflection
from controlplane.api.registry import SERVICE_NAME
from controlplane.discovery.service import SERVICE_NAME as DISCOVERY
from controlplane.traces.service import EXPORT_NAME, QUERY_NAME
from mesh.xds.v3 import discovery_pb2


def test_the_pool_shows_our_services_and_discovery_under_envoys_name():
    pool = reflection.pool([SERVICE_NAME, EXPORT_NAME, QUERY_NAME])
    for name in (SERVICE_NAME, EXPORT_NAME, QUERY_NAME):
        assert pool.FindServiceByName(name).full_name == name
    method = pool.FindServiceByName(DISCOVERY).methods_by_name["DeltaAggregatedResources"]
    assert method.client_streaming
    assert method.server_streaming
    assert method.input_type.full_name == "envoy.service.discovery.v3.DeltaDiscoveryRequest"
    ours = discovery_pb2.DeltaDiscoveryRequest.DESCRIPTOR.fields
    theirs = method.input_type.fields
    assert [(field.name, field.number, field.type) for field in theirs] == [
        (field.name, field.number, field.type) for field in ours]
    assert method.input_type.fields_by_name["node"].message_type.full_name == "envoy.service.discovery.v3.Node"
