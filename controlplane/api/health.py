"""`mesh.v1.HealthService`: requests checked and put into the table of verdicts.

What lives here: the mapping. What this must not know: how long verdicts are kept, and how many.
"""

from __future__ import annotations

import re
from time import monotonic

import grpc

from controlplane.rpc import Handler, unary
from controlplane.status.verdicts import MAX_VERDICTS, TIME_TO_LIVE, Verdicts
from mesh.errors import InvalidResource
from mesh.model import check_name
from mesh.resource.convert import duration_to_proto
from mesh.resource.verdicts import key_from_proto, verdict_from_proto, verdict_to_proto
from mesh.v1 import health_pb2

SERVICE_NAME = "mesh.v1.HealthService"
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SIDECAR = re.compile(rf"{_LABEL}/{_LABEL}(?:/[1-9][0-9]{{0,3}})?")


class HealthService:
    """The methods, named as in `health.proto`, where what they do is written."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers of all methods."""
        methods: dict[str, Handler] = {
            "ReportVerdicts": unary(health_pb2.ReportVerdictsRequest, self.report_verdicts),
            "ListVerdicts": unary(health_pb2.ListVerdictsRequest, self.list_verdicts),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def report_verdicts(self, request: health_pb2.ReportVerdictsRequest) -> health_pb2.ReportVerdictsResponse:
        if not _SIDECAR.fullmatch(request.sidecar):
            raise InvalidResource("sidecar", f"{request.sidecar[:200]!r} is not <service>/<instance>[/<worker>]")
        for field, count in (("down", len(request.down)), ("up", len(request.up))):
            if count > MAX_VERDICTS:
                raise InvalidResource(field, f"{count:,} entries, at most {MAX_VERDICTS:,}")
        down, up = [], []
        for index, message in enumerate(request.down):
            try:
                down.append(verdict_from_proto(message))
            except InvalidResource as error:
                raise error.under(f"down[{index}]") from None
        for index, key in enumerate(request.up):
            try:
                up.append(key_from_proto(key))
            except InvalidResource as error:
                raise error.under(f"up[{index}]") from None
        known = self._verdicts.report(request.sidecar, request.complete, down, up, monotonic())
        return health_pb2.ReportVerdictsResponse(unknown=not known, time_to_live=duration_to_proto(TIME_TO_LIVE))

    async def list_verdicts(self, request: health_pb2.ListVerdictsRequest) -> health_pb2.ListVerdictsResponse:
        if request.service:
            check_name(request.service, "service")
        return health_pb2.ListVerdictsResponse(verdicts=(
            health_pb2.SeenVerdict(sidecar=sidecar, verdict=verdict_to_proto(verdict))
            for sidecar, verdict in self._verdicts.list(request.service, monotonic())))
