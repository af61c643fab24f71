"""`mesh.v1.IntrospectionService`: the grpc.aio shell around the desk, and what may be asked.

What lives here: reading, writing, and the checks of a question. What this must not know: how a sidecar answers.
"""

from __future__ import annotations

import ipaddress
import re
from time import time

import grpc

from controlplane.errors import InvalidRequest, RequestError, ShuttingDown, one_line
from controlplane.introspection.desk import Desk, Line, absent
from controlplane.rpc import Context, both_streams, parse, read, unary
from controlplane.status import Sidecars
from controlplane.tasks import spawn
from mesh.errors import InvalidResource
from mesh.model import check_name
from mesh.v1 import introspection_pb2 as pb

SERVICE_NAME = "mesh.v1.IntrospectionService"
MAX_ANSWER = 1 << 20  # bytes of a message of a sidecar's
MAX_HEADERS = 64
MAX_OCTETS = 8192  # of a path, and of all headers together
MAX_REPORTS = 1000
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SIDECAR = re.compile(rf"{_LABEL}/{_LABEL}(?:/[1-9][0-9]{{0,3}})?")
_FROM = re.compile(rf"{_LABEL}(?:/{_LABEL}(?:/[1-9][0-9]{{0,3}})?)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_PATH = re.compile(r"/[!-~]*")


class IntrospectionService:
    """Serves sidecars' streams until `close`, and operators' questions."""

    def __init__(self, sidecars: Sidecars, desk: Desk | None = None) -> None:
        self._sidecars = sidecars
        self._desk = desk or Desk()
        self._closed = False
        self._open: set[Line] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers of all methods."""
        return grpc.method_handlers_generic_handler(SERVICE_NAME, {
            "Attach": both_streams(self.attach),
            "Explain": unary(pb.ExplainRequest, self.explain),
            "ListPolicies": unary(pb.ListPoliciesRequest, self.list_policies),
        })

    async def attach(self, context: Context) -> None:
        """Serve one sidecar's stream."""
        raw = await read(context)
        if raw is None:
            return
        hello = _message(raw)
        if hello.WhichOneof("message") != "hello" or not _SIDECAR.fullmatch(hello.hello.id):
            raise InvalidRequest("hello.id: the first message says who it is, <service>/<instance>[/<worker>]")
        line = self._desk.attach(hello.hello.id)
        self._open.add(line)
        reader = spawn("introspection-read", self._read(line, context))
        try:
            while not line.ended:
                question = line.next_question()
                if question is None:
                    await line.woken.wait()
                else:
                    await context.write(question.SerializeToString())
        finally:
            reader.cancel()
            self._open.discard(line)
            self._desk.detach(line)
        if self._closed:
            raise ShuttingDown()

    def close(self) -> None:
        """End every stream, as the control plane shuts down."""
        self._closed = True
        for line in self._open:
            line.end()

    async def explain(self, request: pb.ExplainRequest) -> pb.ExplainResponse:
        """Ask the first sidecar that is meant."""
        name = request.caller
        if not _FROM.fullmatch(name):
            raise InvalidResource("caller", f"{name[:200]!r} is not <service>[/<instance>[/<worker>]]")
        check_call(request.call)
        lines = self._desk.named(name)
        if not lines:
            reports = self._sidecars.list(0, time())
            raise absent(name, ((report.id, report.connected) for report in reports))
        explanation = await lines[0].ask(request.call)
        return pb.ExplainResponse(sidecar=lines[0].id, others=[line.id for line in lines[1:]], explanation=explanation)

    async def list_policies(self, request: pb.ListPoliciesRequest) -> pb.ListPoliciesResponse:
        """Return what has been reported."""
        response = pb.ListPoliciesResponse()
        for line in self._desk.all():
            reports = [report for report in line.reports if request.service in ("", report.service)]
            if reports:
                response.sidecars.add(sidecar=line.id, reports=reports)
        return response

    async def _read(self, line: Line, context: Context) -> None:
        try:
            while (raw := await read(context)) is not None:
                message = _message(raw)
                match message.WhichOneof("message"):
                    case "answer":
                        line.receive(message.answer)
                    case "reports":
                        line.reports = tuple(message.reports.reports[:MAX_REPORTS])
                    case other:
                        raise InvalidRequest(f"{other or 'a message without content'} is out of place here")
        except (RequestError, grpc.RpcError, grpc.aio.BaseError, grpc.aio.UsageError):
            pass  # the stream is over; a sidecar that breaks the rules opens another
        finally:
            line.end()


def _message(raw: bytes) -> pb.SidecarMessage:
    if len(raw) > MAX_ANSWER:
        raise InvalidRequest(f"a message of {len(raw)} bytes, at most {MAX_ANSWER}")
    return parse(pb.SidecarMessage, raw)


def check_call(call: pb.HypotheticalCall) -> None:
    """Refuse what can't be a call (InvalidResource with field, value, bound)."""
    check_name(call.service, "call.service")
    if call.path and (not _PATH.fullmatch(call.path) or len(call.path) > MAX_OCTETS):
        raise InvalidResource("call.path", f"{one_line(call.path[:200])!r} is no path: '/' and visible ASCII, "
                                           f"at most {MAX_OCTETS:,} octets")
    if call.method and (not _TOKEN.fullmatch(call.method) or len(call.method) > 32):
        raise InvalidResource("call.method", f"{one_line(call.method[:100])!r} is no HTTP method")
    if len(call.headers) > MAX_HEADERS:
        raise InvalidResource("call.headers", f"{len(call.headers)} headers, at most {MAX_HEADERS}")
    octets = 0
    for index, header in enumerate(call.headers):
        where = f"call.headers[{index}]"
        if not _TOKEN.fullmatch(header.name) or header.name != header.name.lower():
            raise InvalidResource(where, f"{one_line(header.name[:100])!r} is no name of a header in lower case")
        if not header.value.isascii() or not all(c.isprintable() or c == "\t" for c in header.value):
            raise InvalidResource(where, f"the value of {header.name} is not printable ASCII")
        octets += len(header.name) + len(header.value)
    if octets > MAX_OCTETS:
        raise InvalidResource("call.headers", f"{octets:,} octets, at most {MAX_OCTETS:,}")
    if call.source:
        try:
            ipaddress.ip_address(call.source)
        except ValueError:
            raise InvalidResource("call.source", f"{one_line(call.source[:100])!r} is no IP address") from None
