"""`mesh.v1.RegistryService` but for Watch: requests checked and turned into operations of the registry.

What lives here: the mapping, and the ids and times that the registry is handed. What this must not know: the registry's
rules, stores. Writes go through the ledger; reads come from the published view, so that nobody is shown what a crash
could take back.
"""

from __future__ import annotations

import re
import secrets
from time import monotonic, time

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.api.watch import Watches
from controlplane.errors import NotFound
from controlplane.ledger import Ledger
from controlplane.publisher import Publisher
from controlplane.registry import Change, EndpointRecord, Lease, Outcome, Registry, ServiceRecord, Stated, canonical
from controlplane.rpc import Context, Handler, both_streams, parse, read, server_stream, unary
from controlplane.status import SidecarReport, Sidecars
from mesh.errors import InvalidResource
from mesh.model import Endpoint, Service, check_name
from mesh.resource.convert import (
    duration_from_proto,
    duration_to_proto,
    endpoint_from_proto,
    endpoint_to_proto,
    protocol_from_proto,
    service_from_proto,
    service_to_proto,
)
from mesh.v1 import endpoint_pb2, registry_pb2, service_pb2

SERVICE_NAME = "mesh.v1.RegistryService"
DEFAULT_TIME_TO_LIVE = 10.0
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SIDECAR = re.compile(rf"{_LABEL}/{_LABEL}")
_OUTCOMES = {
    Outcome.CREATED: registry_pb2.AppliedResource.OUTCOME_CREATED,
    Outcome.CHANGED: registry_pb2.AppliedResource.OUTCOME_CHANGED,
    Outcome.UNCHANGED: registry_pb2.AppliedResource.OUTCOME_UNCHANGED,
}


class RegistryService:
    """The methods, named as in `registry.proto`, where what they do is written."""

    def __init__(self, ledger: Ledger, publisher: Publisher, sidecars: Sidecars, watches: Watches) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._view = publisher.view
        self._sidecars = sidecars
        self._watches = watches

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers of all methods."""
        pb = registry_pb2
        methods: dict[str, Handler] = {
            "Register": unary(pb.RegisterRequest, self.register),
            "Heartbeat": both_streams(self.heartbeat),
            "Deregister": unary(pb.DeregisterRequest, self.deregister),
            "Drain": unary(pb.DrainRequest, self.drain),
            "Apply": unary(pb.ApplyRequest, self.apply),
            "Delete": unary(pb.DeleteRequest, self.delete),
            "GetService": unary(pb.GetServiceRequest, self.get_service),
            "ListServices": unary(pb.ListServicesRequest, self.list_services),
            "ListEndpoints": unary(pb.ListEndpointsRequest, self.list_endpoints),
            "SetWeights": unary(pb.SetWeightsRequest, self.set_weights),
            "Watch": server_stream(pb.WatchRequest, self._watches.watch),
            "ListSidecars": unary(pb.ListSidecarsRequest, self.list_sidecars),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def register(self, request: registry_pb2.RegisterRequest) -> registry_pb2.RegisterResponse:
        endpoint = _endpoint(request.endpoint, "endpoint")
        protocol = protocol_from_proto(request.protocol)
        time_to_live = DEFAULT_TIME_TO_LIVE
        if request.HasField("time_to_live"):
            time_to_live = duration_from_proto("time_to_live", request.time_to_live)
        if not 1 <= time_to_live <= 3600:
            raise InvalidResource("time_to_live", f"{time_to_live:g} s is outside 1 s..1 h")
        if request.sidecar and not _SIDECAR.fullmatch(request.sidecar):
            raise InvalidResource("sidecar", f"{request.sidecar[:200]!r} is not <service>/<instance>")
        lease = Lease(secrets.token_hex(16), time_to_live, request.sidecar)
        revision = await self._ledger.write(lambda registry, now: registry.register(endpoint, protocol, lease, now))
        return registry_pb2.RegisterResponse(lease_id=lease.id, revision=revision,
                                             time_to_live=duration_to_proto(time_to_live))

    async def heartbeat(self, context: Context) -> None:
        while (raw := await read(context)) is not None:
            response = self.beat(parse(registry_pb2.HeartbeatRequest, raw).lease_id, monotonic())
            await context.write(response.SerializeToString())

    def beat(self, lease_id: str, now: float) -> registry_pb2.HeartbeatResponse:
        """Answer one heartbeat, heard at `now` (monotonic seconds)."""
        registry = self._ledger.registry
        alive = registry.heartbeat(lease_id, now)
        key = None if alive else registry.taken_over(lease_id)
        if key is None:
            return registry_pb2.HeartbeatResponse(lease_id=lease_id, alive=alive)
        # `replaced` is for good, so the newer registration must be: until it is committed, the earlier one stands.
        shown = self._view.endpoints.entries.get(f"{key[0]}/{key[1]}")
        newer = None if shown is None else shown.record.lease
        replaced = newer is not None and newer.id != lease_id
        return registry_pb2.HeartbeatResponse(lease_id=lease_id, alive=not replaced, replaced=replaced)

    async def deregister(self, request: registry_pb2.DeregisterRequest) -> registry_pb2.DeregisterResponse:
        revision = await self._ledger.write(lambda registry, now: registry.deregister(request.lease_id, now))
        return registry_pb2.DeregisterResponse(revision=revision)

    async def drain(self, request: registry_pb2.DrainRequest) -> registry_pb2.DrainResponse:
        revision = await self._ledger.write(
            lambda registry, now: registry.drain(request.service, request.endpoint, undo=request.undo, now=now))
        return registry_pb2.DrainResponse(revision=revision)

    async def apply(self, request: registry_pb2.ApplyRequest) -> registry_pb2.ApplyResponse:
        services = [_service(message, f"services[{index}]") for index, message in enumerate(request.services)]
        endpoints = [Stated(_endpoint(message, f"endpoints[{index}]"), weight=message.HasField("weight"),
                            health=message.health != endpoint_pb2.HEALTH_UNSPECIFIED)
                     for index, message in enumerate(request.endpoints)]
        outcomes: list[Outcome] = []

        def operation(registry: Registry, now: float) -> Change | None:
            change, found = registry.apply(services, endpoints, dry_run=request.dry_run, now=now)
            outcomes.extend(found)
            return change

        revision = await self._ledger.write(operation)
        names = [f"service/{service.name}" for service in services]
        names += (f"endpoint/{stated.endpoint.resource}" for stated in endpoints)
        applied = (registry_pb2.AppliedResource(resource=name, outcome=_OUTCOMES[outcome])
                   for name, outcome in zip(names, outcomes, strict=True))
        return registry_pb2.ApplyResponse(revision=revision, resources=applied)

    async def delete(self, request: registry_pb2.DeleteRequest) -> registry_pb2.DeleteResponse:
        revision = await self._ledger.write(
            lambda registry, now: registry.delete(request.service, request.endpoint, now))
        return registry_pb2.DeleteResponse(revision=revision)

    async def set_weights(self, request: registry_pb2.SetWeightsRequest) -> registry_pb2.SetWeightsResponse:
        revision = await self._ledger.write(
            lambda registry, now: registry.set_weights(request.service, request.weights, now))
        return registry_pb2.SetWeightsResponse(revision=revision)

    async def get_service(self, request: registry_pb2.GetServiceRequest) -> registry_pb2.GetServiceResponse:
        check_name(request.name)
        record = self._existing(request.name)
        return registry_pb2.GetServiceResponse(service=service_to_proto(record.service), revision=self._view.revision)

    async def list_services(self, _request: registry_pb2.ListServicesRequest) -> registry_pb2.ListServicesResponse:
        entries = sorted(self._view.services.entries.values(), key=lambda entry: entry.name)
        services = (service_to_proto(entry.record.service) for entry in entries)
        return registry_pb2.ListServicesResponse(services=services, revision=self._view.revision)

    async def list_endpoints(self, request: registry_pb2.ListEndpointsRequest) -> registry_pb2.ListEndpointsResponse:
        if request.service:
            check_name(request.service, "service")
            self._existing(request.service)
        now = monotonic()
        endpoints = (self._endpoint_status(entry.record, now) for entry in self._view.of_service(request.service))
        return registry_pb2.ListEndpointsResponse(endpoints=endpoints, revision=self._view.revision)

    async def list_sidecars(self, _request: registry_pb2.ListSidecarsRequest) -> registry_pb2.ListSidecarsResponse:
        reports = self._sidecars.list(self._publisher.told_revision, time())
        return registry_pb2.ListSidecarsResponse(sidecars=map(_sidecar_status, reports), revision=self._view.revision)

    def _existing(self, name: str) -> ServiceRecord:
        entry = self._view.services.entries.get(name)
        if entry is None:
            raise NotFound(f"service/{name} does not exist")
        return entry.record

    def _endpoint_status(self, record: EndpointRecord, now: float) -> registry_pb2.EndpointStatus:
        status = registry_pb2.EndpointStatus(endpoint=endpoint_to_proto(record.effective),
                                             weight_set=record.overlay.weight is not None)
        if record.lease is not None:
            status.sidecar = record.lease.sidecar
            heard = self._ledger.registry.leases.heard(record.lease.id)
            if heard is not None:
                status.last_heartbeat.CopyFrom(duration_to_proto(now - heard))
        return status


def _service(message: service_pb2.Service, where: str) -> Service:
    try:
        return service_from_proto(message)
    except InvalidResource as error:
        raise error.under(where) from None


def _endpoint(message: endpoint_pb2.Endpoint, where: str) -> Endpoint:
    try:
        return canonical(endpoint_from_proto(message))
    except InvalidResource as error:
        raise error.under(where) from None


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(round(seconds * 1e9))
    return timestamp


def _sidecar_status(report: SidecarReport) -> registry_pb2.SidecarStatus:
    status = registry_pb2.SidecarStatus(
        id=report.id, connected=report.connected, connected_at=_timestamp(report.connected_at),
        sent_revision=report.sent_revision, acked_revision=report.acked_revision, subscriptions=report.subscriptions,
        build=report.build)
    if report.last_ack is not None:
        status.last_ack.CopyFrom(_timestamp(report.last_ack))
    for refusal in report.refusals:
        status.refusals.add(resource=refusal.resource, version=refusal.version, reason=refusal.reason,
                            at=_timestamp(refusal.at))
    return status
